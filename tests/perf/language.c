/*
 * How well the shipped model tells languages apart on labelled texts.
 *
 *     language [--common en,zh,…] [--confusions N] [--shipped] FILE.jsonl [TEST.jsonl]
 *
 * A line is an object with "text", "label" (ISO 639 code) and perhaps "kind". The model has learnt
 * from neither file: its texts were drawn from published counts (models/signals/language.md). So
 * with one file every fold of a cross-validation has the same model; five are scored to show the
 * spread. With two, TEST is scored. Beside it stand the commonest label of the other folds (or of
 * FILE), which --shipped leaves out, and CLD2 alone where it was found.
 *
 * Twice: among all languages, and for texts in the common ones among these alone.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "base/own.h"
#include "router/signals/language.h"

#ifdef WITH_CLD2
const char *cld2_shim(const char *text, int n, int *ret_percent, bool *ret_reliable);
#endif

enum {
    FOLDS = 5,
    MAX_TEXTS = 1 << 20,
    MAX_KINDS = 8,
    MAX_LABELS = 256,
    MAX_COMMON = 64,
    ROUNDS = 3
};

/* The policy language's own detector knows 75; these are the 22 that most requests are in. */
static const char common_22[] = "ar,bn,cs,de,en,es,fr,hi,id,it,ja,ko,nl,pl,pt,ru,sv,th,tr,uk,vi,zh";

enum method { METHOD_majority, METHOD_cld2, METHOD_model, METHOD_prior, METHOD_N };
static const char *const method_names[METHOD_N] = { "majority", "CLD2", "model", "with prior" };

struct text {
    json_t *row; /* owned; the strings point into it */
    const char *text, *label, *kind;
    unsigned fold;
    char said[METHOD_N][8]; /* among all, then among the common ones */
    char said_common[METHOD_N][8];
    double confidence, loss;
};

struct set {
    struct text *texts; /* owned */
    size_t n;
};

struct plan {
    const char *common;
    uint64_t confusions;
    bool shipped;
};

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "language: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static unsigned fold_of(const char *s) /* FNV-1a */
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return (unsigned)((h >> 32) % FOLDS);
}

static void read_set(struct set *ret, const char *path)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t size = 0, space = 0;
    if (!f)
        die(strerror(errno), path);
    while (getline(&line, &size, f) > 0) {
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        const char *text = json_string_value(json_object_get(row, "text"));
        const char *label = json_string_value(json_object_get(row, "label"));
        const char *kind = json_string_value(json_object_get(row, "kind"));
        if (!text || !label || ret->n == MAX_TEXTS)
            die("want lines of {\"text\": \"…\", \"label\": \"…\"}", path);
        if (ret->n == space) {
            space = space ? 2 * space : 1024;
            ret->texts = realloc(ret->texts, space * sizeof(*ret->texts));
            if (!ret->texts)
                die("no memory", path);
        }
        ret->texts[ret->n++] = (struct text){ .row = row,
                                              .text = text,
                                              .label = label,
                                              .kind = kind ? kind : "texts",
                                              .fold = fold_of(text) };
    }
}

static void set_done(struct set *s)
{
    for (size_t i = 0; i < s->n; i++)
        json_decref(s->texts[i].row);
    free(s->texts);
}

static bool listed(const char *list, const char *code)
{
    struct str rest = str_of(list), one = rest;
    while (str_cut(rest, ',', &one, &rest))
        if (str_is(one, code))
            return true;
    return str_is(rest, code);
}

/* ---- methods ---- */

/* The commonest label of the texts outside a fold (FOLDS: of all), and in the list when given. */
static const char *commonest(const struct set *s, unsigned fold, const char *list)
{
    const char *labels[MAX_LABELS];
    size_t counts[MAX_LABELS] = { 0 }, n = 0, best = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct text *t = &s->texts[i];
        if (t->fold == fold || (list && !listed(list, t->label)))
            continue;
        size_t at = 0;
        while (at < n && strcmp(labels[at], t->label) != 0)
            at++;
        if (at == n && n == MAX_LABELS)
            continue;
        if (at == n)
            labels[n++] = t->label;
        if (++counts[at] > counts[best])
            best = at;
    }
    return n ? labels[best] : "";
}

static void say(char ret[static 8], const char *code)
{
    (void)snprintf(ret, 8, "%s", code);
}

#ifdef WITH_CLD2
/* Codes of CLD2 that are older, or say more than a language. */
static const char *usual_code(const char *code)
{
    static const char *const pairs[][2] = {
        { "iw", "he" }, { "zh-Hant", "zh" }, { "sr-ME", "sr" }, { "no", "nb" }, { "fil", "tl" }
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (strcmp(code, pairs[i][0]) == 0)
            return pairs[i][1];
    return code;
}

static const char *by_cld2(const char *text)
{
    int percent = 0;
    bool reliable = false;
    return usual_code(cld2_shim(text, (int)strlen(text), &percent, &reliable));
}
#else
static const char *by_cld2(const char *text)
{
    (void)text;
    return "";
}
#endif

static void by_model(char ret[static 8], const struct language_candidates *c, const char *list,
                     bool prior)
{
    double best = -INFINITY;
    say(ret, "");
    for (size_t i = 0; i < c->n; i++) {
        double odds = c->of[i].log_odds + (prior ? c->of[i].prior : 0);
        if (odds > best && (!list || listed(list, c->of[i].code))) {
            best = odds;
            say(ret, c->of[i].code);
        }
    }
}

/* Of the right language, with the prior; nats. */
static double log_loss(const struct language_candidates *c, const char *label)
{
    double sum = 0, own = 0;
    for (size_t i = 0; i < c->n; i++) {
        double e = exp(c->of[i].log_odds + c->of[i].prior);
        sum += e;
        own += strcmp(c->of[i].code, label) == 0 ? e : 0;
    }
    return -log(c->n ? fmax(own / sum, 1e-6) : 1e-6);
}

static void judge(struct text *t, const struct plan *p)
{
    struct language_candidates c;
    language_candidates(&c, str_of(t->text));
    by_model(t->said[METHOD_model], &c, NULL, false);
    by_model(t->said[METHOD_prior], &c, NULL, true);
    by_model(t->said_common[METHOD_model], &c, p->common, false);
    by_model(t->said_common[METHOD_prior], &c, p->common, true);
    say(t->said[METHOD_cld2], by_cld2(t->text));
    say(t->said_common[METHOD_cld2], t->said[METHOD_cld2]);
    t->confidence = language_choose(&c).confidence;
    t->loss = log_loss(&c, t->label);
}

/* ---- tables ---- */

static bool right(const struct text *t, enum method m, const char *list)
{
    return strcmp(list ? t->said_common[m] : t->said[m], t->label) == 0;
}

/* Percent right of a kind in a fold (FOLDS: all of them). */
static double accuracy(const struct set *s, const char *kind, unsigned fold, enum method m,
                       const char *list)
{
    size_t n = 0, good = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct text *t = &s->texts[i];
        if ((kind && strcmp(t->kind, kind) != 0) || (fold < FOLDS && t->fold != fold) ||
            (list && !listed(list, t->label)))
            continue;
        n++;
        good += right(t, m, list);
    }
    return n ? 100.0 * (double)good / (double)n : NAN;
}

static void print_row(const struct set *s, const char *kind, const char *list, const struct plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += (!kind || strcmp(s->texts[i].kind, kind) == 0) &&
             (!list || listed(list, s->texts[i].label));
    if (!n)
        return;
    (void)printf("%-14s %6zu", kind ? kind : "together", n);
    for (enum method m = 0; m < METHOD_N; m++)
        if (m != METHOD_majority || !p->shipped)
            (void)printf(" %10.1f", accuracy(s, kind, FOLDS, m, list));
    double sum = 0, squares = 0;
    unsigned folds = 0;
    for (unsigned f = 0; f < FOLDS; f++) {
        double a = accuracy(s, kind, f, METHOD_prior, list);
        if (isnan(a))
            continue;
        sum += a;
        squares += a * a;
        folds++;
    }
    double mean = sum / folds;
    (void)printf(" %9.1f ±%4.1f\n", mean, sqrt(fmax(0, squares / folds - mean * mean)));
}

static void print_table(const struct set *s, const char *list, const struct plan *p)
{
    const char *kinds[MAX_KINDS];
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t at = 0;
        while (at < n && strcmp(kinds[at], s->texts[i].kind) != 0)
            at++;
        if (at == n && n < MAX_KINDS)
            kinds[n++] = s->texts[i].kind;
    }
    (void)printf("\n%s%s\n%-14s %6s", list ? "common alone: " : "all languages", list ? list : "",
                 "kind", "texts");
    for (enum method m = 0; m < METHOD_N; m++)
        if (m != METHOD_majority || !p->shipped)
            (void)printf(" %10s", method_names[m]);
    (void)printf(" %16s\n", "its folds");
    for (size_t i = 0; i < n; i++)
        print_row(s, kinds[i], list, p);
    print_row(s, NULL, list, p);
}

struct confusion {
    const char *label, *said;
    size_t n;
};

static int by_count(const void *a, const void *b)
{
    const struct confusion *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->label, y->label);
}

static void print_confusions(const struct set *s, uint64_t most)
{
    CLEANUP(own_free) struct confusion *all = calloc(s->n + 1, sizeof(*all));
    size_t n = 0;
    if (!all)
        die("no memory", "confusions");
    for (size_t i = 0; i < s->n; i++) {
        const struct text *t = &s->texts[i];
        size_t at = 0;
        if (right(t, METHOD_prior, NULL))
            continue;
        while (at < n && (strcmp(all[at].label, t->label) != 0 ||
                          strcmp(all[at].said, t->said[METHOD_prior]) != 0))
            at++;
        if (at == n)
            all[n++] = (struct confusion){ t->label, t->said[METHOD_prior], 0 };
        all[at].n++;
    }
    qsort(all, n, sizeof(*all), by_count);
    (void)printf("\nis   said  times (all languages, with prior)\n");
    for (size_t i = 0; i < n && i < most; i++)
        (void)printf("%-4s %-4s %6zu\n", all[i].label, all[i].said[0] ? all[i].said : "–",
                     all[i].n);
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_summary(const struct set *s)
{
    double loss = 0, confidence = 0, best = INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        loss += s->texts[i].loss;
        confidence += s->texts[i].confidence;
    }
    for (int round = 0; round < ROUNDS; round++) {
        double from = seconds();
        for (size_t i = 0; i < s->n; i++)
            (void)language_detect(str_of(s->texts[i].text));
        best = fmin(best, seconds() - from);
    }
    (void)printf("\nlog-loss %.3f, mean confidence %.3f, %.1f us a text\n", loss / (double)s->n,
                 confidence / (double)s->n, best * 1e6 / (double)s->n);
}

static const char usage[] = "[--common CODES] [--confusions N] [--shipped] FILE.jsonl [TEST.jsonl]";

int main(int argc, char **argv)
{
    struct plan p = { .common = common_22 };
    static const struct option longs[] = { { "common", required_argument, NULL, 'c' },
                                           { "confusions", required_argument, NULL, 'n' },
                                           { "shipped", no_argument, NULL, 's' },
                                           { 0 } };
    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (o == 'c')
            p.common = optarg;
        else if (o == 's')
            p.shipped = true;
        else if (o != 'n' || num_parse_u64(&p.confusions, str_of(optarg), 0, MAX_TEXTS) < 0)
            die(usage, "usage");
    }
    if (argc - optind < 1 || argc - optind > 2)
        die(usage, "usage");
    bool apart = argc - optind == 2;
    CLEANUP(set_done) struct set learn = { 0 };
    CLEANUP(set_done) struct set score = { 0 };
    read_set(&learn, argv[optind]);
    if (apart)
        read_set(&score, argv[optind + 1]);
    struct set *s = apart ? &score : &learn;
    const char *majority[FOLDS + 1], *majority_common[FOLDS + 1];
    for (unsigned f = 0; f <= FOLDS; f++) {
        majority[f] = commonest(&learn, f, NULL);
        majority_common[f] = commonest(&learn, f, p.common);
    }
    for (size_t i = 0; i < s->n; i++) {
        struct text *t = &s->texts[i];
        judge(t, &p);
        say(t->said[METHOD_majority], majority[apart ? FOLDS : t->fold]);
        say(t->said_common[METHOD_majority], majority_common[apart ? FOLDS : t->fold]);
    }
    if (!s->n)
        die("no texts", argv[optind]);
    print_table(s, p.common, &p);
    print_table(s, NULL, &p);
    print_summary(s);
    if (p.confusions)
        print_confusions(s, p.confusions);
    return EXIT_SUCCESS;
}
