/*
 * The vector space of the router: how fast it is, and how well similarity to examples tells rules
 * apart.
 *
 *     vectors [-m GGUF] [-e EXAMPLES] [-q QUERIES] [-o LABEL] [FILE.jsonl]
 *
 * Always: the time of a vector of a 200-token text, and of comparing it with 16 rules of 8
 * examples. With a file of {"text", "label"} lines: every label becomes a rule of N examples (10),
 * and as many other texts as --queries (10) are asked which rule they are like, by the best score
 * at or above a threshold; texts of the label --oos are like none. --model compares with an
 * encoder's space.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/local/engine_local.h"
#include "router/vectors/bank.h"

enum { MAX_TEXTS = 1 << 20, RULES = 16, EXAMPLES = 8, TOKENS = 200, ROUNDS = 2000, STEPS = 20 };

struct text {
    json_t *row; /* owned; text and label point into it */
    struct str text, label;
    uint64_t hash;
};

struct plan {
    const char *model, *oos, *file;
    uint64_t examples, queries;
};

struct rule {
    struct str label;
    struct bank *bank;
    size_t first, n; /* its texts */
};

struct answer {
    double score;
    bool right, oos;
};

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "vectors: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static const struct bank_options usual = { true, 0.9, 8, 0.75, 2, 0 };

static struct bank *bank_of(const struct vector_space *s, const struct str *texts, size_t n)
{
    struct bank *b = NULL;
    struct fail fail = { 0 };
    if (bank_new(&b, s, texts, n, &usual, &fail) != 0)
        die(fail.message, "examples");
    return b;
}

static const struct text_vector *vector_of(const struct vector_space *s, struct str text,
                                           struct arena *a)
{
    const struct text_vector *v = NULL;
    struct fail fail = { 0 };
    if (!a || vectors_of(s, &text, 1, a, &v, &fail) != 0)
        die(fail.message, "a text");
    return v;
}

/* ---- speed ---- */

static const char *const words[] = {
    "please",   "explain", "the",    "server", "of",      "a",     "database",  "which",
    "contract", "and",     "recipe", "in",     "quantum", "to",    "symptoms",  "my",
    "compare",  "is",      "market", "how",    "debug",   "for",   "algorithm", "poem",
    "history",  "that",    "refund", "with",   "cluster", "write", "summary",   "deploy",
};

static struct str make_text(size_t n, unsigned seed, char *ret, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245u + 12345u;
        at += (size_t)snprintf(ret + at, size - at, "%s ", words[(seed >> 16) % ARRAY_LEN(words)]);
    }
    return (struct str){ ret, at };
}

static void measure(const struct vector_space *s, unsigned rounds)
{
    static char text[TOKENS * 12], examples[EXAMPLES][16 * 12];
    struct str turn = make_text(TOKENS, 7, text, sizeof(text)), of[EXAMPLES];
    struct bank *banks[RULES];
    for (unsigned i = 0; i < RULES; i++) {
        for (unsigned k = 0; k < EXAMPLES; k++)
            of[k] = make_text(10, i * EXAMPLES + k, examples[k], sizeof(examples[k]));
        banks[i] = bank_of(s, of, EXAMPLES);
    }
    double vector = 0, banked = 0, sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new((size_t)1 << 22);
        double begin = now_us();
        const struct text_vector *v = vector_of(s, turn, a);
        double made = now_us();
        for (unsigned k = 0; k < RULES; k++)
            sum += bank_score(banks[k], v).score;
        banked += now_us() - made;
        vector += made - begin;
    }
    printf("a vector of %d tokens (%zu bytes): %.2f us; %d rules of %d examples: %.2f us (mean "
           "score %.3f)\n",
           TOKENS, turn.n, vector / rounds, RULES, EXAMPLES, banked / rounds, sum / rounds / RULES);
    for (unsigned i = 0; i < RULES; i++)
        bank_free(banks[i]);
}

/* ---- rules out of labels ---- */

static uint64_t hash_text(struct str s) /* FNV-1a, then the last steps of splitmix64 */
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static size_t read_texts(struct text **ret, const char *path)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t size = 0, n = 0;
    struct text *all = calloc(MAX_TEXTS, sizeof(*all));
    if (!f || !all)
        die(strerror(errno), path);
    while (getline(&line, &size, f) > 0 && n < MAX_TEXTS) {
        json_t *row = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(row, "text"));
        const char *label = json_string_value(json_object_get(row, "label"));
        if (!text || !label)
            die("want lines of {\"text\": \"…\", \"label\": \"…\"}", path);
        all[n++] = (struct text){ row, str_of(text), str_of(label), hash_text(str_of(text)) };
    }
    *ret = all;
    return n;
}

static int by_label(const void *a, const void *b)
{
    const struct text *x = a, *y = b;
    int r = str_cmp(x->label, y->label);
    return r ? r : (x->hash > y->hash) - (x->hash < y->hash);
}

static int by_score(const void *a, const void *b)
{
    const struct answer *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

static size_t make_rules(const struct vector_space *s, const struct plan *p, struct text *texts,
                         size_t n, struct rule *rules)
{
    size_t n_rules = 0;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && str_eq(texts[end].label, texts[i].label);)
            end++;
        struct rule *r = &rules[n_rules++];
        *r = (struct rule){ .label = texts[i].label, .first = i, .n = end - i };
        if (p->oos && str_is(r->label, p->oos))
            continue;
        struct str examples[256];
        size_t most = p->examples < ARRAY_LEN(examples) ? p->examples : ARRAY_LEN(examples), k = 0;
        for (; k < most && k < r->n; k++)
            examples[k] = texts[i + k].text;
        r->bank = bank_of(s, examples, k);
    }
    return n_rules;
}

static struct answer ask(const struct vector_space *s, const struct rule *rules, size_t n_rules,
                         const struct rule *truth, struct str text)
{
    CLEANUP(arena_freep) struct arena *a = arena_new((size_t)1 << 24);
    const struct text_vector *v = vector_of(s, text, a);
    const struct rule *best = NULL;
    double score = -2;
    for (size_t i = 0; i < n_rules; i++) {
        double one = rules[i].bank ? bank_score(rules[i].bank, v).score : -2;
        if (one > score) {
            score = one;
            best = &rules[i];
        }
    }
    return (struct answer){ score, best == truth, truth->bank == NULL };
}

static void print_quality(struct answer *all, size_t n)
{
    size_t right = 0, within = 0, said = 0, best_at = 0;
    double best = 0;
    for (size_t i = 0; i < n; i++) {
        within += !all[i].oos;
        right += all[i].right;
    }
    printf("%zu queries, %zu out of scope; the best rule is right: %.1f %%\n", n, n - within,
           100.0 * (double)right / (double)within);
    qsort(all, n, sizeof(*all), by_score);
    right = 0;
    for (size_t i = 0, step = STEPS; i <= n; i++) {
        while (step > 0 && (i == n || all[i].score < (double)step / STEPS)) {
            if (step >= 6 && step <= 18)
                printf("  at %.2f: precision %5.1f %% recall %5.1f %%\n", (double)step / STEPS,
                       said ? 100.0 * (double)right / (double)said : 100.0,
                       100.0 * (double)right / (double)within);
            step--;
        }
        if (i == n)
            break;
        said++;
        right += all[i].right;
        double f1 = 2.0 * (double)right / (double)(said + within);
        if (f1 > best) {
            best = f1;
            best_at = i;
        }
    }
    printf("  best F1 %.1f %% at %.3f\n", 100 * best, n ? all[best_at].score : 0);
}

static void judge(const struct vector_space *s, const struct plan *p)
{
    struct text *texts;
    size_t n = read_texts(&texts, p->file), n_answers = 0;
    qsort(texts, n, sizeof(*texts), by_label);
    struct rule *rules = calloc(n + 1, sizeof(*rules));
    struct answer *answers = calloc(n + 1, sizeof(*answers));
    if (!rules || !answers)
        die("no memory", p->file);
    size_t n_rules = make_rules(s, p, texts, n, rules);
    for (size_t i = 0; i < n_rules; i++) {
        size_t from = rules[i].bank ? p->examples : 0;
        size_t most = rules[i].bank ? p->queries : p->queries * n_rules / 10;
        for (size_t k = from; k < rules[i].n && k < from + most; k++)
            answers[n_answers++] =
                ask(s, rules, n_rules, &rules[i], texts[rules[i].first + k].text);
    }
    printf("%s: %zu rules of %llu examples: ", p->file, n_rules, (unsigned long long)p->examples);
    print_quality(answers, n_answers);
    for (size_t i = 0; i < n_rules; i++)
        bank_free(rules[i].bank);
    for (size_t i = 0; i < n; i++)
        json_decref(texts[i].row);
    free(texts);
    free(rules);
    free(answers);
}

/* ---- the command ---- */

static void read_plan(struct plan *p, int argc, char **argv)
{
    *p = (struct plan){ .examples = 10, .queries = 10 };
    for (int o; (o = getopt(argc, argv, "m:e:q:o:")) != -1;) {
        uint64_t *number = o == 'e' ? &p->examples : &p->queries;
        if (o == 'm')
            p->model = optarg;
        else if (o == 'o')
            p->oos = optarg;
        else if (o == '?')
            exit(2);
        else if (num_parse_u64(number, str_of(optarg), 1, MAX_TEXTS) < 0)
            die("not a number", optarg);
    }
    p->file = argv[optind];
}

int main(int argc, char **argv)
{
    struct plan p;
    CLEANUP(engine_freep) struct engine *encoder = NULL;
    CLEANUP(vector_space_freep) struct vector_space *s = NULL;
    read_plan(&p, argc, argv);
    struct config_model model = {
        .name = STR("encoder"), .path = str_of(p.model), .slots = 1, .queue = 1024, .batch = 256
    };
    struct fail fail = { 0 };
    if (p.model && engine_local_new(&encoder, &model, &fail) != 0)
        die(fail.message, p.model);
    int r = encoder ? vector_space_encoder(&s, encoder) : vector_space_lexical(&s);
    if (r < 0)
        die(strerror(-r), "vectors");
    measure(s, encoder ? 3 : ROUNDS);
    if (p.file)
        judge(s, &p);
    return EXIT_SUCCESS;
}
