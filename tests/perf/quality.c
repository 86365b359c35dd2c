/*
 * How good the lexical classifiers of router/linear are on labelled texts.
 *
 *     quality [OPTION]… TRAIN.jsonl [TEST.jsonl]
 *     quality --difficulty PROMPTS.jsonl
 *
 * A line is an object with "text" and "label". With a test set: learns from one, scores the other.
 * Without: five-fold cross-validation, learning from 4/5 and scoring 1/5; the folds and shots
 * follow a hash of the text, so a run is repeatable. Texts whose first letters and digits are equal
 * (KEY_UNITS of them; of "key" where a line has it) count as the same: they stay in one fold, and
 * those of --also FILE, which are learnt from besides, are left out where such a text is scored.
 * Beside the accuracy stand what the commonest class of the training texts gets (majority), and the
 * best that one constant answer could (constant). With --oos LABEL the texts of that label are
 * never learnt from (and without it those of "oos" or "out_of_scope"): the AUROC says how well the
 * highest score tells them apart (any constant gets 0.5). Of two classes without such texts it says
 * how well the scores tell the second, in order of the alphabet, from the first, and beside it
 * stands how much of the second is found where 1 % and 5 % of the first are mistaken for it. A
 * label of the test set that the training set lacks counts as wrong. With --encoder the classifier
 * reads the vectors of that model, computed once, in place of words.
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

#include "base/arena.h"
#include "base/num.h"
#include "engine/engine.h"
#include "router/linear/classifier.h"
#include "router/signals/unicode.h"
#include "tests/perf/difficulty.h"
#include "tests/perf/encode.h"

enum {
    FOLDS = 5,
    MAX_TEXTS = 1 << 20,
    LABEL_BYTES = 256,
    KEY_UNITS = 64,
    NO_CLASS = -1,
    UNSEEN = -2
};

struct text {
    json_t *row; /* owned; text and label point into it */
    struct str text, label;
    uint64_t hash; /* of the first letters and digits */
    int y;         /* class; NO_CLASS: out of scope; UNSEEN: not of the training set */
    unsigned fold;
    struct features vector; /* with an encoder; owned */
};

struct set {
    struct text *texts; /* owned */
    size_t n;
};

struct plan {
    const char *label_key, *oos, *also, *encoder, *difficulty;
    uint64_t shots;     /* of a class; 0: all */
    const char *loss;   /* NULL: what suits the examples */
    double cost, prior; /* negative: likewise */
    unsigned folds;     /* to run */
    struct str *labels; /* of the classes, in order */
    uint32_t n_labels;
    struct text *names; /* with an encoder: the labels as texts */
};

struct learnt { /* one of them */
    struct classifier *classifier;
    struct linear *linear;
};

struct sets {
    struct set train, test, also; /* test: empty to cross-validate */
};

struct counts { /* of one class: examples, and what became of the scored texts */
    size_t trained, truth, said, right;
};

struct tally { /* sums over folds */
    size_t folds, texts, right, majority, constant, oos;
    size_t unseen;
    double f1, auroc, train_s, read_us, recall_1, recall_5;
};

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "quality: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of the first KEY_UNITS letters and digits: FNV-1a, then the last steps of splitmix64. */
static uint64_t hash_text(struct str text)
{
    CLEANUP(arena_freep) struct arena *a = arena_new((size_t)64 << 20);
    struct str folded = a ? unicode_fold_text(text, a) : STR_NULL;
    uint64_t h = 0xcbf29ce484222325u;
    if (!folded.p)
        die("no memory", "a text");
    for (size_t pos = 0, n = 0; pos < folded.n && n < KEY_UNITS;) {
        int cp = str_utf8_next(folded, &pos);
        if (!unicode_alnum(cp))
            continue;
        h = (h ^ (uint64_t)cp) * 0x100000001b3u;
        n++;
    }
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static void read_set(struct set *ret, const char *path, const struct plan *p)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t size = 0;
    if (!f)
        die(strerror(errno), path);
    ret->texts = calloc(MAX_TEXTS, sizeof(*ret->texts));
    if (!ret->texts)
        die("no memory", path);
    while (getline(&line, &size, f) > 0) {
        json_error_t error;
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        const char *text = json_string_value(json_object_get(row, "text"));
        const char *label = json_string_value(json_object_get(row, p->label_key));
        const char *key = json_string_value(json_object_get(row, "key"));
        if (!text || !label || strlen(label) >= LABEL_BYTES || ret->n == MAX_TEXTS)
            die("want lines of {\"text\": \"…\", \"label\": \"…\"}", path);
        ret->texts[ret->n++] = (struct text){ .row = row,
                                              .text = str_of(text),
                                              .label = str_of(label),
                                              .hash = hash_text(str_of(key ? key : text)),
                                              .y = NO_CLASS };
    }
}

static void set_done(struct set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        json_decref(s->texts[i].row);
        free(s->texts[i].vector.id);
        free(s->texts[i].vector.value);
    }
    free(s->texts);
}

/* What is called so is out of scope where nothing else is said. */
static void find_scope(struct plan *p, const struct set *train)
{
    static const char *const names[] = { "oos", "out_of_scope" };
    for (size_t i = 0; i < train->n && !p->oos; i++)
        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            if (str_is(train->texts[i].label, names[k]))
                p->oos = names[k];
}

static int by_label(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int by_hash(const void *a, const void *b)
{
    const struct text *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* The labels of the training set, sorted, become the classes. */
static void find_classes(struct plan *p, const struct set *train)
{
    p->labels = calloc(train->n + 1, sizeof(*p->labels));
    if (!p->labels)
        die("no memory", "classes");
    size_t n = 0;
    for (size_t i = 0; i < train->n; i++)
        if (!p->oos || !str_is(train->texts[i].label, p->oos))
            p->labels[n++] = train->texts[i].label;
    qsort(p->labels, n, sizeof(*p->labels), by_label);
    for (size_t i = 0; i < n; i++)
        if (!p->n_labels || !str_eq(p->labels[p->n_labels - 1], p->labels[i]))
            p->labels[p->n_labels++] = p->labels[i];
}

static void number_classes(const struct plan *p, struct set *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct str *at =
            bsearch(&s->texts[i].label, p->labels, p->n_labels, sizeof(*p->labels), by_label);
        if (at)
            s->texts[i].y = (int)(at - p->labels);
        else
            s->texts[i].y = p->oos && str_is(s->texts[i].label, p->oos) ? NO_CLASS : UNSEEN;
    }
}

/* Sorts by hash and deals each class, and what is out of scope, over the folds in turn. */
static void deal_folds(const struct plan *p, struct set *s)
{
    CLEANUP(own_free) unsigned *dealt = calloc(p->n_labels + 1, sizeof(*dealt));
    if (!dealt)
        die("no memory", "folds");
    number_classes(p, s);
    qsort(s->texts, s->n, sizeof(*s->texts), by_hash);
    for (size_t i = 0; i < s->n; i++) {
        struct text *t = &s->texts[i];
        bool again = i && t->hash == t[-1].hash;
        t->fold = again ? t[-1].fold : dealt[t->y < 0 ? 0 : t->y + 1]++ % FOLDS;
    }
}

/* Whether a text like t is scored: in `fold` of `test` (FOLDS: anywhere in it). */
static bool is_scored(const struct text *t, const struct set *test, unsigned fold)
{
    const struct text *at = bsearch(t, test->texts, test->n, sizeof(*t), by_hash);
    return at && (fold == FOLDS || at->fold == fold);
}

/* What suits n examples, but for what was asked for. */
static struct linear_options options_for(const struct plan *p, size_t n)
{
    struct linear_options o = linear_options_for(p->n_labels, n);
    if (p->loss) {
        o.loss = !strcmp(p->loss, "hinge") ? LINEAR_hinge : LINEAR_softmax;
        o.cost = o.loss == LINEAR_hinge ? LINEAR_COST_HINGE : LINEAR_COST_SOFTMAX;
    }
    o.cost = p->cost < 0 ? o.cost : p->cost;
    o.prior = p->prior < 0 ? o.prior : p->prior;
    if (p->encoder)
        o.prior = 0; /* parts of vectors are no counts */
    return o;
}

/* Learns from n texts; with an encoder, from their vectors and those of the names. */
static struct learnt learn_from(const struct plan *p, const struct text *const *texts, size_t n)
{
    struct learnt ret = { 0 };
    struct linear_options o = options_for(p, n);
    size_t most = n + p->n_labels;
    CLEANUP(own_free) struct classifier_example *e = calloc(most, sizeof(*e));
    CLEANUP(own_free) struct linear_example *v = calloc(most, sizeof(*v));
    if (!e || !v)
        die("no memory", "training");
    for (size_t i = 0; i < n; i++) {
        e[i] = (struct classifier_example){ texts[i]->text, (uint32_t)texts[i]->y };
        v[i] = (struct linear_example){ &texts[i]->vector, (uint32_t)texts[i]->y };
    }
    for (uint32_t k = 0; p->encoder && k < p->n_labels; k++)
        v[n + k] = (struct linear_example){ &p->names[k].vector, k };
    int r = p->encoder ? linear_train(&ret.linear, v, most, &o)
                       : classifier_train(&ret.classifier, p->labels, e, n, &o);
    if (r < 0)
        die(strerror(-r), "training");
    return ret;
}

static void learnt_done(struct learnt *l)
{
    (void)classifier_free(l->classifier);
    (void)linear_free(l->linear);
}

/* Learns from the texts of `train` outside `fold` (FOLDS: all), and those besides. */
static struct learnt learn(const struct plan *p, const struct sets *s, unsigned fold,
                           struct counts *counts)
{
    const struct set *test = s->test.n ? &s->test : &s->train;
    CLEANUP(own_free)
    const struct text **e = calloc(s->train.n + s->also.n + 1, sizeof(*e));
    size_t n = 0;
    if (!e)
        die("no memory", "training");
    for (size_t i = 0; i < s->train.n; i++) {
        const struct text *t = &s->train.texts[i];
        if (t->y < 0 || t->fold == fold || (p->shots && counts[t->y].trained >= p->shots))
            continue;
        counts[t->y].trained++;
        e[n++] = t;
    }
    for (size_t i = 0; i < s->also.n; i++)
        if (s->also.texts[i].y >= 0 && !is_scored(&s->also.texts[i], test, fold))
            e[n++] = &s->also.texts[i];
    return learn_from(p, e, n);
}

struct scored {
    double score;
    bool in_scope;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score < y->score ? -1 : x->score > y->score;
}

/* The share of pairs (in scope, out of scope) that are in order; ties count half. */
static double auroc(struct scored *s, size_t n)
{
    double in = 0, out = 0, sum = 0;
    qsort(s, n, sizeof(*s), by_score);
    for (size_t i = 0, end; i < n; i = end) {
        double ins = 0, outs = 0;
        for (end = i; end < n && !(s[end].score > s[i].score); end++) {
            ins += s[end].in_scope;
            outs += !s[end].in_scope;
        }
        sum += ins * (out + outs / 2);
        in += ins;
        out += outs;
    }
    return sum / (in * out);
}

/* The share of what is in scope above the score that `rate` of the rest reaches; sorted. */
static double recall_at(const struct scored *s, size_t n, double rate)
{
    size_t in = 0, found = 0, out = 0, mistaken = 0;
    for (size_t i = 0; i < n; i++) {
        in += s[i].in_scope;
        out += !s[i].in_scope;
    }
    for (size_t i = n; i-- > 0;) {
        mistaken += !s[i].in_scope;
        if ((double)mistaken > rate * (double)out)
            break;
        found += s[i].in_scope;
    }
    return (double)found / (double)in;
}

/* Adds what the counts of one fold amount to. */
static void add_fold(struct tally *t, const struct counts *c, uint32_t n)
{
    uint32_t commonest = 0, seen = 0;
    size_t constant = 0;
    double f1 = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (c[k].trained > c[commonest].trained)
            commonest = k;
        if (c[k].truth > constant)
            constant = c[k].truth;
        t->texts += c[k].truth;
        t->right += c[k].right;
        seen += c[k].truth > 0;
        if (c[k].right)
            f1 += 2 * (double)c[k].right / (double)(c[k].truth + c[k].said);
    }
    t->majority += c[commonest].truth;
    t->constant += constant;
    t->f1 += seen ? f1 / seen : 0;
    t->folds++;
}

static void read_one(const struct learnt *l, const struct text *x, float *scores)
{
    CLEANUP(arena_freep) struct arena *a = arena_new((size_t)64 << 20);
    if (l->linear)
        linear_scores(l->linear, &x->vector, scores);
    else if (!a || classifier_scores(l->classifier, x->text, scores, a) < 0)
        die("no memory", "scoring");
}

static void count_text(struct counts *counts, const struct text *x, uint32_t said)
{
    if (x->y < 0)
        return;
    counts[x->y].truth++;
    counts[x->y].right += (int)said == x->y;
    counts[said].said++;
}

/* Classifies the texts of `fold` (FOLDS: all). */
static void score(const struct plan *p, const struct learnt *l, const struct set *s, unsigned fold,
                  struct counts *counts, struct tally *t)
{
    CLEANUP(own_free) float *scores = calloc(p->n_labels, sizeof(*scores));
    CLEANUP(own_free) struct scored *best = calloc(s->n + 1, sizeof(*best));
    size_t n = 0, positive = 0;
    bool binary = p->n_labels == 2 && !p->oos;
    if (!scores || !best)
        die("no memory", "scoring");
    for (size_t i = 0; i < s->n; i++) {
        const struct text *x = &s->texts[i];
        uint32_t k = 0;
        if (fold != FOLDS && x->fold != fold)
            continue;
        read_one(l, x, scores);
        for (uint32_t j = 1; j < p->n_labels; j++)
            if (scores[j] > scores[k])
                k = j;
        count_text(counts, x, k);
        t->unseen += x->y == UNSEEN;
        t->oos += x->y == NO_CLASS;
        if (x->y == UNSEEN)
            continue;
        best[n] = binary ? (struct scored){ (double)(scores[1] - scores[0]), x->y == 1 }
                         : (struct scored){ (double)scores[k], x->y != NO_CLASS };
        positive += best[n++].in_scope;
    }
    if (positive && positive < n) {
        t->auroc += auroc(best, n);
        t->recall_1 += recall_at(best, n, 0.01);
        t->recall_5 += recall_at(best, n, 0.05);
    }
}

/* One fold, or the whole test set. */
static void run_fold(const struct plan *p, const struct sets *s, unsigned fold, struct tally *t)
{
    CLEANUP(own_free) struct counts *counts = calloc(p->n_labels, sizeof(*counts));
    if (!counts)
        die("no memory", "a fold");
    double from = seconds();
    CLEANUP(learnt_done) struct learnt l = learn(p, s, fold, counts);
    t->train_s += seconds() - from;
    from = seconds();
    score(p, &l, fold == FOLDS ? &s->test : &s->train, fold, counts, t);
    t->read_us += (seconds() - from) * 1e6;
    add_fold(t, counts, p->n_labels);
}

static void report(const struct plan *p, const struct tally *t)
{
    double n = (double)(t->texts + t->unseen), folds = (double)t->folds;
    (void)printf("classes %u  shots ", p->n_labels);
    (void)(p->shots ? printf("%u", (unsigned)p->shots) : printf("all"));
    (void)printf("  scored %zu\n", t->texts + t->unseen);
    if (t->unseen)
        (void)printf("of these, with a label never trained: %zu, all wrong\n", t->unseen);
    (void)printf("accuracy %.2f %%  macro-F1 %.2f %%\n", 100 * (double)t->right / n,
                 100 * t->f1 / folds);
    (void)printf("majority %.2f %%  constant %.2f %%\n", 100 * (double)t->majority / n,
                 100 * (double)t->constant / n);
    if (t->oos)
        (void)printf("out of scope %zu  AUROC %.4f  constant 0.5000\n", t->oos, t->auroc / folds);
    else if (p->n_labels == 2)
        (void)printf("'" STR_FMT "'  AUROC %.4f  constant 0.5000  recall %.1f %% at 1 %%, %.1f %% "
                     "at 5 %% false alarms\n",
                     STR_ARG(p->labels[1]), t->auroc / folds, 100 * t->recall_1 / folds,
                     100 * t->recall_5 / folds);
    (void)printf("training %.2f s a fold  reading %.1f us a text (processor time%s)\n",
                 t->train_s / folds, t->read_us / (n + (double)t->oos),
                 p->encoder ? ", without the model's forward" : "");
}

/* ---- vectors of an encoder ---- */

/* Every text once, and the names of the classes, their underscores as spaces. */
static void encode_all(struct plan *p, struct sets *s)
{
    CLEANUP(engine_freep) struct engine *e = encode_open(p->encoder);
    struct set *const all[] = { &s->train, &s->test, &s->also };
    double from = seconds();
    size_t n = 0;
    for (size_t k = 0; k < ARRAY_LEN(all); k++)
        for (size_t i = 0; i < all[k]->n; i++, n++)
            encode_text(e, all[k]->texts[i].text, &all[k]->texts[i].vector);
    p->names = calloc(p->n_labels, sizeof(*p->names));
    for (uint32_t k = 0; k < p->n_labels; k++) {
        CLEANUP(own_free) char *name = str_dup(p->labels[k]);
        if (!p->names || !name)
            die("no memory", "the names");
        for (char *c = name; *c; c++)
            *c = (char)(*c == '_' ? ' ' : *c);
        encode_text(e, str_of(name), &p->names[k].vector);
    }
    (void)printf("encoder %.2f ms a text (processor time)\n", (seconds() - from) * 1e3 / (double)n);
}

/* ---- the command ---- */

static double number(const char *s, double min, double max)
{
    double value;
    if (num_parse_double(&value, str_of(s), min, max) < 0)
        die("not a number in its range", s);
    return value;
}

static int usage(void)
{
    (void)fputs("usage: quality [--shots N] [--loss softmax|hinge] [--cost C] [--prior P] "
                "[--folds N] [--oos LABEL] [--label KEY] [--also FILE] [--encoder MODEL.gguf]\n"
                "               TRAIN.jsonl [TEST.jsonl]\n"
                "       quality --difficulty PROMPTS.jsonl\n",
                stderr);
    return 2;
}

static bool read_options(struct plan *p, int argc, char **argv)
{
    static const struct option options[] = { { "shots", required_argument, NULL, 's' },
                                             { "loss", required_argument, NULL, 'l' },
                                             { "cost", required_argument, NULL, 'c' },
                                             { "prior", required_argument, NULL, 'p' },
                                             { "folds", required_argument, NULL, 'f' },
                                             { "oos", required_argument, NULL, 'o' },
                                             { "label", required_argument, NULL, 'k' },
                                             { "also", required_argument, NULL, 'a' },
                                             { "encoder", required_argument, NULL, 'e' },
                                             { "difficulty", required_argument, NULL, 'd' },
                                             { 0 } };
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's')
            p->shots = (uint64_t)number(optarg, 0, MAX_TEXTS);
        else if (o == 'l' && (!strcmp(optarg, "hinge") || !strcmp(optarg, "softmax")))
            p->loss = optarg;
        else if (o == 'c')
            p->cost = number(optarg, 1e-6, 1e6);
        else if (o == 'f')
            p->folds = (unsigned)number(optarg, 1, FOLDS);
        else if (o == 'p')
            p->prior = number(optarg, 0, 100);
        else if (o == 'o')
            p->oos = optarg;
        else if (o == 'a')
            p->also = optarg;
        else if (o == 'e')
            p->encoder = optarg;
        else if (o == 'd')
            p->difficulty = optarg;
        else if (o == 'k')
            p->label_key = optarg;
        else
            return false;
    }
    return p->difficulty ? optind == argc : optind < argc && argc - optind <= 2;
}

int main(int argc, char **argv)
{
    struct plan p = { .label_key = "label", .cost = -1, .prior = -1, .folds = FOLDS };
    struct sets s = { 0 };
    struct tally t = { 0 };
    if (!read_options(&p, argc, argv))
        return usage();
    if (p.difficulty)
        return difficulty_report(p.difficulty);
    const char *train_path = argv[optind], *test_path = argv[optind + 1];
    read_set(&s.train, train_path, &p);
    find_scope(&p, &s.train);
    find_classes(&p, &s.train);
    if (!p.n_labels)
        die("has no labelled text", train_path);
    deal_folds(&p, &s.train);
    if (p.also) {
        read_set(&s.also, p.also, &p);
        deal_folds(&p, &s.also);
    }
    if (test_path) {
        read_set(&s.test, test_path, &p);
        deal_folds(&p, &s.test);
    }
    if (p.encoder)
        encode_all(&p, &s);
    if (test_path)
        run_fold(&p, &s, FOLDS, &t);
    for (unsigned fold = 0; !test_path && fold < p.folds; fold++)
        run_fold(&p, &s, fold, &t);
    report(&p, &t);
    set_done(&s.train);
    set_done(&s.test);
    set_done(&s.also);
    for (uint32_t k = 0; p.names && k < p.n_labels; k++) {
        free(p.names[k].vector.id);
        free(p.names[k].vector.value);
    }
    free(p.names);
    free(p.labels);
    return 0;
}
