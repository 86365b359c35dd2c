/* rootstock selection: learned selectors, from measured answers. */
#include "gateway/cli/cli.h"

#include "base/file.h"
#include "base/limits.h"
#include "engine/local/engine_local.h"
#include "gateway/cli/measured.h"
#include "router/selection/draw.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SPEED_WEIGHT 0.1
#define FILE_BYTES (256 * MIB)
#define FOLDS_MAX 100

struct call {
    const char *kind, *out, *encoder;
    uint64_t clusters, hidden, epochs, seed, folds, k;
    double gamma, cost, speed;
};

static struct call defaults(void)
{
    const struct learned_options *d = &learned_default;
    return (struct call){ .clusters = d->clusters,
                          .hidden = d->hidden,
                          .epochs = d->epochs,
                          .seed = d->seed,
                          .folds = 5,
                          .k = LEARNED_K,
                          .gamma = d->gamma,
                          .cost = d->cost,
                          .speed = SPEED_WEIGHT };
}

static bool in_range(const struct call *c)
{
    bool good = c->clusters > 0 && c->clusters <= LEARNED_ROWS && c->hidden > 0 &&
                c->hidden <= LEARNED_ROWS && c->epochs <= 100000 && c->folds > 1 &&
                c->folds <= FOLDS_MAX && c->k > 0 && c->k <= LEARNED_K_MAX && c->gamma >= 0 &&
                c->cost > 0 && c->speed >= 0 && c->speed <= 1;
    if (!good)
        (void)fputs("rootstock: an option is out of its range; see --help\n", stderr);
    return good;
}

static struct learned_options options_of(const struct call *c, enum learned_kind kind)
{
    return (struct learned_options){ .kind = kind,
                                     .clusters = (uint32_t)c->clusters,
                                     .gamma = c->gamma,
                                     .cost = c->cost,
                                     .hidden = (uint32_t)c->hidden,
                                     .epochs = (uint32_t)c->epochs,
                                     .seed = c->seed };
}

/* The space of vectors, with the engine behind it. */
struct space {
    struct vector_space *vectors;
    struct engine *engine;
};

static void space_close(struct space *s)
{
    (void)vector_space_free(s->vectors);
    (void)engine_free(s->engine);
}

static bool space_open(struct space *ret, const char *encoder)
{
    struct fail fail = { 0 };
    struct config_model m = {
        .name = STR("encoder"), .path = str_of(encoder), .slots = 1, .queue = 64, .batch = 512
    };
    *ret = (struct space){ 0 };
    int r = encoder ? engine_local_new(&ret->engine, &m, &fail) : 0;
    if (r == 0)
        r = encoder ? vector_space_encoder(&ret->vectors, ret->engine)
                    : vector_space_lexical(&ret->vectors);
    if (r != 0)
        (void)fprintf(stderr, "rootstock: %s\n", r == FAILED ? fail.message : strerror(-r));
    return r == 0;
}

/* ---- train ---- */

static bool write_selector(struct learned *l, const struct vector_space *space, const char *path)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(FILE_BYTES);
    struct fail fail = { 0 };
    size_t width = 0;
    int r = learned_probe(space, l->probe, &width, &fail);
    if (r == 0) {
        learned_write(l, &b);
        r = buf_err(&b);
    }
    if (r == 0)
        r = file_replace(path, buf_str(&b));
    if (r != 0) {
        (void)fprintf(stderr, "rootstock: %s: %s\n", path,
                      r == FAILED ? fail.message : strerror(-r));
        return false;
    }
    (void)printf("%s: %s over %u models, %u rows of %u numbers, %zu bytes\n", path,
                 learned_kinds[l->kind], l->n_models, l->rows, l->dims, b.n);
    return true;
}

static int kind_of(const char *word)
{
    for (int i = 0; word && learned_kinds[i]; i++)
        if (strcmp(word, learned_kinds[i]) == 0)
            return i;
    (void)fputs("rootstock: --kind is one of knn, kmeans, svm, mlp\n", stderr);
    return -1;
}

static int train(const struct call *c, char *const *files, int n)
{
    CLEANUP(measured_done) struct measured m = { 0 };
    CLEANUP(space_close) struct space space = { 0 };
    struct learned l;
    int kind = kind_of(c->kind);
    if (kind < 0 || !c->out) {
        if (kind >= 0)
            (void)fputs("rootstock: name the file to write with -o FILE\n", stderr);
        return EXIT_MISUSE;
    }
    if (!space_open(&space, c->encoder) || !measured_read(&m, files, n, c->speed) ||
        !measured_features(&m, space.vectors))
        return EXIT_FAILED;
    struct learned_options o = options_of(c, (enum learned_kind)kind);
    int r = learned_train(&l, &m.examples, &o, m.arena);
    if (r < 0) {
        (void)fprintf(stderr, "rootstock: training: %s\n", strerror(-r));
        return EXIT_FAILED;
    }
    return write_selector(&l, space.vectors, c->out) ? EXIT_OK : EXIT_FAILED;
}

/* ---- evaluate ---- */

/* One selector's choices over all folds. */
struct result {
    double quality;  /* mean score of what was chosen */
    double *leaning; /* of each example: score of the second model over the first; two models */
    bool has_leaning;
};

static float score_at(const struct measured *m, size_t i, uint32_t model)
{
    return m->examples.scores[i * m->examples.n_models + model];
}

/* Examples whose models were all measured: only they can be compared on. */
static bool complete(const struct measured *m, size_t i)
{
    for (uint32_t k = 0; k < m->examples.n_models; k++)
        if (score_at(m, i, k) < 0)
            return false;
    return true;
}

static uint64_t fold_of(size_t i, const struct call *c)
{
    uint64_t state = c->seed ^ (i + 1) * 0x9e3779b97f4a7c15u;
    return draw_next(&state) % c->folds;
}

/* The examples outside of a fold. */
static int outside(const struct measured *m, const struct call *c, uint64_t fold,
                   struct learned_examples *ret, struct arena *arena)
{
    const struct learned_examples *e = &m->examples;
    float *x = arena_array(arena, e->n * e->dims, sizeof(*x));
    float *scores = arena_array(arena, e->n * e->n_models, sizeof(*scores));
    if (!x || !scores)
        return -ENOMEM;
    *ret = *e;
    ret->x = x;
    ret->scores = scores;
    ret->n = 0;
    for (size_t i = 0; i < e->n; i++) {
        if (fold_of(i, c) == fold)
            continue;
        memcpy(x + ret->n * e->dims, e->x + i * e->dims, e->dims * sizeof(*x));
        memcpy(scores + ret->n * e->n_models, e->scores + i * e->n_models,
               e->n_models * sizeof(*scores));
        ret->n++;
    }
    return 0;
}

static int best_of(const double *scores, uint32_t n)
{
    int best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (scores[i] > scores[best] || isnan(scores[best]))
            best = (int)i;
    return best;
}

static int evaluate_fold(const struct measured *m, const struct call *c,
                         const struct learned_options *o, uint64_t fold, struct result *ret)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(2 * GIB);
    struct learned_examples rest;
    struct learned l;
    if (!arena || outside(m, c, fold, &rest, arena) < 0)
        return -ENOMEM;
    int r = learned_train(&l, &rest, o, arena);
    float *scratch = r == 0 ? arena_array(arena, l.rows, sizeof(*scratch)) : NULL;
    if (r < 0 || !scratch)
        return r < 0 ? r : -ENOMEM;
    for (size_t i = 0; i < m->n; i++) {
        double scores[LEARNED_MODELS];
        if (fold_of(i, c) != fold || !complete(m, i))
            continue;
        learned_scores(&l, m->examples.x + i * l.dims, (unsigned)c->k, scratch, scores);
        ret->quality += (double)score_at(m, i, (uint32_t)best_of(scores, l.n_models));
        if (ret->leaning && l.n_models == 2)
            ret->leaning[i] = scores[1] - scores[0];
    }
    return 0;
}

struct leaning {
    double value;
    size_t at;
};

static int by_leaning(const void *a, const void *b)
{
    const struct leaning *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

/*
 * Of two models: the mean share of the gap between them that is recovered when the better one
 * answers those that lean to it most, over all numbers of calls (RouteLLM's APGR; chance: 0.5).
 */
static double recovered(const struct measured *m, const double *value, uint32_t strong)
{
    struct leaning *all = calloc(m->n + 1, sizeof(*all));
    double gap = 0, gained = 0, sum = 0;
    size_t n = 0;
    if (!all)
        return NAN;
    for (size_t i = 0; i < m->n; i++)
        if (complete(m, i)) {
            all[n++] = (struct leaning){ strong == 1 ? value[i] : -value[i], i };
            gap += (double)(score_at(m, i, strong) - score_at(m, i, 1 - strong));
        }
    qsort(all, n, sizeof(*all), by_leaning);
    for (size_t i = 0; i < n; i++) {
        gained += (double)(score_at(m, all[i].at, strong) - score_at(m, all[i].at, 1 - strong));
        sum += gained;
    }
    free(all);
    return gap > 0 && n ? sum / (double)n / gap : NAN;
}

struct baselines {
    size_t n; /* examples that count */
    uint32_t best, worst;
    double constant, random, oracle;
};

static struct baselines baselines_of(const struct measured *m)
{
    struct baselines b = { 0 };
    double sums[LEARNED_MODELS] = { 0 };
    for (size_t i = 0; i < m->n; i++) {
        float best = 0;
        if (!complete(m, i))
            continue;
        b.n++;
        for (uint32_t k = 0; k < m->examples.n_models; k++) {
            sums[k] += (double)score_at(m, i, k);
            best = fmaxf(best, score_at(m, i, k));
        }
        b.oracle += (double)best;
    }
    for (uint32_t k = 0; k < m->examples.n_models; k++) {
        b.best = sums[k] > sums[b.best] ? k : b.best;
        b.random += sums[k] / m->examples.n_models;
    }
    b.constant = sums[b.best];
    return b;
}

static void print_row(const char *name, double quality, size_t n, double apgr)
{
    (void)printf("%-28s %7.2f", name, 100 * quality / (double)n);
    if (!isnan(apgr))
        (void)printf(" %8.3f", apgr);
    (void)fputc('\n', stdout);
}

static int evaluate_kind(const struct measured *m, const struct call *c, const char *name,
                         const struct learned_options *o, const struct baselines *b)
{
    CLEANUP(own_free) double *leaning = calloc(m->n + 1, sizeof(*leaning));
    struct result result = { .leaning = leaning };
    int r = leaning ? 0 : -ENOMEM;
    for (uint64_t fold = 0; r == 0 && fold < c->folds; fold++) {
        cli_progress(name, fold, c->folds);
        r = evaluate_fold(m, c, o, fold, &result);
    }
    cli_progress_done();
    if (r == 0)
        print_row(name, result.quality, b->n,
                  m->examples.n_models == 2 ? recovered(m, leaning, b->best) : NAN);
    return r;
}

/* The rule that a learned router must beat: the longer the text, the better the model. */
static void print_length_rule(const struct measured *m, const struct baselines *b)
{
    CLEANUP(own_free) double *value = calloc(m->n + 1, sizeof(*value));
    if (!value || m->examples.n_models != 2)
        return;
    for (size_t i = 0; i < m->n; i++)
        value[i] = (b->best == 1 ? 1 : -1) * (double)m->texts[i].n;
    (void)printf("%-28s %7s %8.3f\n", "length rule", "-", recovered(m, value, b->best));
}

static int evaluate(const struct call *c, char *const *files, int n)
{
    CLEANUP(measured_done) struct measured m = { 0 };
    CLEANUP(space_close) struct space space = { 0 };
    if (!space_open(&space, c->encoder) || !measured_read(&m, files, n, c->speed) ||
        !measured_features(&m, space.vectors))
        return EXIT_FAILED;
    struct baselines b = baselines_of(&m);
    if (b.n == 0) {
        (void)fputs("rootstock: no text was measured with every model\n", stderr);
        return EXIT_FAILED;
    }
    (void)printf("%zu texts, %u models, %llu folds; mean score x 100%s\n", b.n, m.examples.n_models,
                 (unsigned long long)c->folds,
                 m.examples.n_models == 2 ? ", share of the gap recovered (APGR)" : "");
    print_row("random", b.random, b.n, m.examples.n_models == 2 ? 0.5 : NAN);
    char constant[LIMIT_NAME];
    (void)snprintf(constant, sizeof(constant), "always %.*s",
                   STR_ARG(str_head(m.examples.models[b.best], 20)));
    print_row(constant, b.constant, b.n, NAN);
    print_length_rule(&m, &b);
    struct learned_options all[] = { options_of(c, LEARNED_knn), options_of(c, LEARNED_kmeans),
                                     options_of(c, LEARNED_svm), options_of(c, LEARNED_svm),
                                     options_of(c, LEARNED_mlp) };
    static const char *const names[] = { "knn", "kmeans", "svm rbf", "svm linear", "mlp" };
    all[3].gamma = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int r = evaluate_kind(&m, c, names[i], &all[i], &b);
        if (r < 0) {
            (void)fprintf(stderr, "rootstock: %s: %s\n", names[i], strerror(-r));
            return EXIT_FAILED;
        }
    }
    print_row("oracle", b.oracle, b.n, NAN);
    return EXIT_OK;
}

int cli_selection(int argc, char **argv)
{
    struct call c = defaults();
    const struct cli_option options[] = {
        { "--kind", 0, CLI_text, &c.kind, "WORD", "train: knn, kmeans, svm or mlp" },
        { "--out", 'o', CLI_text, &c.out, "FILE", "train: the file to write" },
        { "--encoder", 'm', CLI_text, &c.encoder, "GGUF",
          "vectors of engine.embedding's model, where the policy's are" },
        { "--clusters", 0, CLI_uint, &c.clusters, "N", "of kmeans (8)" },
        { "--gamma", 0, CLI_float, &c.gamma, "X", "of svm's radial functions (1); 0: linear" },
        { "--cost", 0, CLI_float, &c.cost, "X", "of an error of svm (0.1)" },
        { "--hidden", 0, CLI_uint, &c.hidden, "N", "units of mlp (32)" },
        { "--epochs", 0, CLI_uint, &c.epochs, "N", "of svm and mlp (60 and 8)" },
        { "--neighbours", 'k', CLI_uint, &c.k, "N", "evaluate: of knn (5)" },
        { "--folds", 0, CLI_uint, &c.folds, "N", "evaluate: learn on all but one (5)" },
        { "--speed", 0, CLI_float, &c.speed, "X", "weight of speed in a score (0.1)" },
        { "--seed", 0, CLI_uint, &c.seed, "N", "of chance (1)" },
        { NULL, 0, CLI_flag, NULL, NULL, NULL },
    };
    static const char usage[] = "selection train|evaluate [OPTIONS] FILE.jsonl...";
    const struct cli_command cmd = {
        usage,
        "Learns which model answers which text best, for algorithms knn, kmeans, svm and mlp, or\n"
        "tells by cross-validation how good that is beside the best single model and chance.\n"
        "A line: {\"text\", \"model\", \"score\", \"latency\"}, {\"text\", \"models\": {NAME: "
        "{\"score\"}}}\nor {\"text\", \"NAME_correct\": true, …}; scores are 0 to 1.",
        options,
    };
    int operands = 0;
    int r = cli_parse(&cmd, argc, argv, &operands);
    if (r != CLI_GO)
        return r;
    bool trains = operands > 0 && strcmp(argv[1], "train") == 0;
    if (operands < 2 || (!trains && strcmp(argv[1], "evaluate") != 0)) {
        (void)fprintf(stderr, "usage: rootstock %s\n", usage);
        return EXIT_MISUSE;
    }
    if (!in_range(&c))
        return EXIT_MISUSE;
    return trains ? train(&c, argv + 2, operands - 1) : evaluate(&c, argv + 2, operands - 1);
}
