/* Learned selectors: each kind against what is known by hand, their file, and decisions that use
 * them. */
#include "tests/unit/router/support.h"

#include "base/file.h"
#include "base/limits.h"
#include "router/selection/learned/train.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 8, DIMS = WIDTH + LEARNED_DOMAINS + LEARNED_SHAPE, SIDE = 60 };

static const struct str two[] = { { "small", 5 }, { "large", 5 } };

/* Two clouds of points: the first model is right in one, the second in the other. */
struct clouds {
    float x[2 * SIDE * DIMS], scores[2 * SIDE * 2];
    struct learned_examples e;
};

static void make_clouds(struct clouds *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    for (size_t i = 0; i < 2 * SIDE; i++) {
        for (size_t d = 0; d < WIDTH; d++)
            c->x[i * DIMS + d] =
                (float)(test_random(&seed) % 1000) / 2500.0F + (d == i % 2 ? 1.0F : 0);
        c->scores[i * 2 + i % 2] = 1;
    }
    c->e = (struct learned_examples){ .n = 2 * SIDE,
                                      .models = two,
                                      .n_models = 2,
                                      .width = WIDTH,
                                      .dims = DIMS,
                                      .x = c->x,
                                      .scores = c->scores };
}

static struct learned_options of_kind(enum learned_kind kind, double gamma)
{
    struct learned_options o = learned_default;
    o.kind = kind;
    o.gamma = gamma;
    o.clusters = 2;
    o.cost = 1;
    o.epochs = kind == LEARNED_mlp ? 60 : 0;
    return o;
}

static const struct {
    enum learned_kind kind;
    double gamma;
} kinds[] = { { LEARNED_knn, 0 },
              { LEARNED_kmeans, 0 },
              { LEARNED_svm, 0 },
              { LEARNED_svm, 1 },
              { LEARNED_mlp, 0 } };

static void every_kind_tells_two_clouds_apart(void **state)
{
    (void)state;
    static struct clouds seen, unseen;
    make_clouds(&seen, 1);
    make_clouds(&unseen, 2);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct arena *arena = arena_new(64 * MIB);
        struct learned l;
        struct learned_options o = of_kind(kinds[k].kind, kinds[k].gamma);
        float scratch[2 * SIDE];
        assert_int_equal(learned_train(&l, &seen.e, &o, arena), 0);
        for (size_t i = 0; i < 2 * SIDE; i++) {
            double scores[2];
            learned_scores(&l, unseen.x + i * DIMS, 5, scratch, scores);
            if (!(scores[i % 2] > scores[1 - i % 2]))
                fail_msg("kind %zu, example %zu: %f %f", k, i, scores[0], scores[1]);
        }
        arena_free(arena);
    }
}

static void the_vote_is_that_of_the_nearest(void **state)
{
    (void)state;
    static struct clouds c;
    struct arena *arena = arena_new(64 * MIB);
    struct learned l;
    struct learned_options o = of_kind(LEARNED_knn, 0);
    uint64_t seed = 9;
    make_clouds(&c, 3);
    for (size_t i = 0; i < 2 * SIDE * 2; i++) /* some are not measured */
        c.scores[i] = test_random(&seed) % 5 == 0 ? -1 : (float)(test_random(&seed) % 11) / 10;
    assert_int_equal(learned_train(&l, &c.e, &o, arena), 0);
    for (unsigned q = 0; q < 20; q++) {
        float x[DIMS] = { 0 }, scratch[2 * SIDE];
        double got[2], distance[2 * SIDE];
        for (size_t d = 0; d < WIDTH; d++)
            x[d] = (float)(test_random(&seed) % 1000) / 700;
        for (size_t i = 0; i < 2 * SIDE; i++) {
            distance[i] = 0;
            for (size_t d = 0; d < DIMS; d++)
                distance[i] += pow((double)x[d] - (double)c.x[i * DIMS + d], 2);
        }
        double sum[2] = { 0 }, weights[2] = { 0 }, most[2] = { 0 };
        for (unsigned j = 0; j < 7; j++) {
            size_t best = 0;
            for (size_t i = 1; i < 2 * SIDE; i++)
                best = distance[i] < distance[best] ? i : best;
            for (size_t m = 0; m < 2; m++) {
                double s = (double)c.scores[best * 2 + m], w = 1 / (0.1 + distance[best]);
                if (s < 0)
                    continue;
                sum[m] += w * s;
                weights[m] += w;
                most[m] = fmax(most[m], w);
            }
            distance[best] = INFINITY;
        }
        learned_scores(&l, x, 7, scratch, got);
        for (size_t m = 0; m < 2; m++) {
            double prior = 2 * (most[m] > 0 ? most[m] : 1);
            double want = (sum[m] + prior * (double)l.bias[m]) / (weights[m] + prior);
            assert_true(fabs(got[m] - want) < 1e-4);
        }
    }
    arena_free(arena);
}

static void the_same_examples_and_seed_give_the_same_file(void **state)
{
    (void)state;
    static struct clouds c;
    make_clouds(&c, 4);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct arena *arena = arena_new(64 * MIB);
        struct buf b[2] = { BUF_INIT(MIB), BUF_INIT(MIB) };
        struct learned_options o = of_kind(kinds[k].kind, kinds[k].gamma);
        for (size_t i = 0; i < 2; i++) {
            struct learned l;
            assert_int_equal(learned_train(&l, &c.e, &o, arena), 0);
            learned_write(&l, &b[i]);
        }
        assert_true(str_eq(buf_str(&b[0]), buf_str(&b[1])));
        struct learned again;
        assert_int_equal(learned_read(&again, buf_str(&b[0]), arena), 0);
        buf_clear(&b[1]);
        learned_write(&again, &b[1]);
        assert_true(str_eq(buf_str(&b[0]), buf_str(&b[1])));
        assert_int_equal(learned_model(&again, STR("large")), 1);
        assert_int_equal(learned_model(&again, STR("huge")), -1);
        buf_done(&b[0]);
        buf_done(&b[1]);
        arena_free(arena);
    }
}

static void a_damaged_file_is_refused(void **state)
{
    (void)state;
    static struct clouds c;
    struct arena *arena = arena_new(64 * MIB);
    struct buf b = BUF_INIT(MIB);
    struct learned l;
    struct learned_options o = of_kind(LEARNED_kmeans, 0);
    make_clouds(&c, 4);
    assert_int_equal(learned_train(&l, &c.e, &o, arena), 0);
    learned_write(&l, &b);
    for (size_t n = 0; n < b.n; n += n < 200 ? 1 : 97)
        assert_int_equal(learned_read(&l, str_head(buf_str(&b), n), arena), -EINVAL);
    static const struct {
        size_t at; /* byte that becomes 255: magic, kind, width, dims, rows, models, names, gamma */
    } rows[] = { { 0 }, { 8 }, { 13 }, { 17 }, { 21 }, { 25 }, { 29 }, { 35 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *copy = malloc(b.n);
        assert_non_null(copy);
        memcpy(copy, b.p, b.n);
        copy[rows[i].at] = (char)0xff;
        if (rows[i].at == 35)
            copy[34] = (char)0xff; /* a gamma that is no number */
        assert_int_equal(learned_read(&l, (struct str){ copy, b.n }, arena), -EINVAL);
        free(copy);
    }
    buf_done(&b);
    arena_free(arena);
}

/* ---- in a policy ---- */

struct question {
    const char *text, *best;
};
static const struct question asked[] = {
    { "Write an SQL query that joins orders and customers", "b:x" },
    { "Which index makes this SQL query faster?", "b:x" },
    { "Create a table with a primary key in SQL", "b:x" },
    { "Delete all rows of a database table", "b:x" },
    { "Write a poem about the sea", "a" },
    { "A short poem about autumn leaves", "a" },
    { "Compose a song about love", "a" },
    { "Write lyrics for a happy tune", "a" },
};

static struct vector_space *space;

/* A selector that learned from the questions, in a file. */
static void train_file(const char *path, const struct learned_options *o, float probe)
{
    static const struct str names[] = { { "a", 1 }, { "b:x", 3 } };
    struct arena *arena = arena_new(256 * MIB);
    struct fail fail = { 0 };
    struct learned l;
    struct buf b = BUF_INIT(16 * MIB);
    float ignored[LEARNED_PROBE], scores[ARRAY_LEN(asked) * 2];
    size_t width = 0;
    assert_int_equal(learned_probe(space, ignored, &width, &fail), 0);
    size_t dims = learned_dims(width);
    float *x = arena_array(arena, ARRAY_LEN(asked) * dims, sizeof(*x));
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct str text = str_of(asked[i].text);
        struct learned_text of = { .text = text };
        assert_int_equal(vectors_of(space, &text, 1, arena, &of.vector, &fail), 0);
        learned_features(&of, NULL, width, x + i * dims);
        scores[2 * i] = asked[i].best[0] == 'a';
        scores[2 * i + 1] = asked[i].best[0] == 'b';
    }
    struct learned_examples e = { .n = ARRAY_LEN(asked),
                                  .models = names,
                                  .n_models = 2,
                                  .scores = scores,
                                  .x = x,
                                  .width = (uint32_t)width,
                                  .dims = (uint32_t)dims };
    assert_int_equal(learned_train(&l, &e, o, arena), 0);
    memcpy(l.probe, ignored, sizeof(l.probe));
    l.probe[0] += probe;
    learned_write(&l, &b);
    assert_int_equal(file_replace(path, buf_str(&b)), 0);
    buf_done(&b);
    arena_free(arena);
}

#define POLICY                                                                                     \
    "providers: {defaults: {default_model: a}, models: [{name: a}, {name: b}, {name: c}]}\n"       \
    "routing:\n  decisions:\n"                                                                     \
    "    - {name: d, modelRefs: [{model: c}, {model: a}, {model: b, lora_name: x}]%s}\n"           \
    "global: {router: {model_selection: %s}}\n"

static void a_decision_asks_what_was_learned(void **state)
{
    (void)state;
    static const struct question others[] = { { "an SQL query over a table of customers", "b" },
                                              { "a poem about love and the sea", "a" } };
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct learned_options o = of_kind(kinds[k].kind, kinds[k].gamma);
        const char *name = learned_kinds[kinds[k].kind];
        char path[512], algorithm[64], settings[1024], yaml[4096];
        (void)snprintf(path, sizeof(path), "%s/selector", test_temp_dir());
        (void)snprintf(algorithm, sizeof(algorithm), ", algorithm: {type: %s}", name);
        (void)snprintf(settings, sizeof(settings), "{ml: {%s: {pretrained_path: %s}}}", name, path);
        (void)snprintf(yaml, sizeof(yaml), POLICY, algorithm, settings);
        train_file(path, &o, 0);
        struct config *c = NULL;
        struct router *r = policy_from(yaml, &c);
        struct arena *arena = arena_new(16 * MIB);
        for (size_t i = 0; i < ARRAY_LEN(others); i++) {
            struct route route;
            route_text(r, "auto", others[i].text, arena, &route);
            if (!str_is(route.model, others[i].best) || route.selection != SELECTION_selected)
                fail_msg("%s: %s: %.*s", name, others[i].text, STR_ARG(route.model));
        }
        arena_free(arena);
        router_free(r);
        config_unref(c);
    }
}

static void a_file_that_does_not_fit_is_named_and_the_first_answers(void **state)
{
    (void)state;
    char folder[256], yaml[4096];
    (void)snprintf(folder, sizeof(folder), "%s", test_temp_dir());
    struct learned_options knn = of_kind(LEARNED_knn, 0);
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/svm.select", folder);
    train_file(path, &knn, 0); /* of another kind */
    (void)snprintf(path, sizeof(path), "%s/knn.select", folder);
    train_file(path, &knn, 0.5F); /* of other vectors */
    (void)snprintf(path, sizeof(path), "%s/mlp.select", folder);
    assert_int_equal(file_replace(path, STR("anything")), 0);
    static const struct {
        const char *kind, *why;
    } rows[] = { { "svm", "svm.select holds another kind: knn" },
                 { "knn", "knn.select learned from other vectors than those in use" },
                 { "mlp", "mlp.select is no selector that was trained here" },
                 { "kmeans", "kmeans.select: No such file or directory" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char algorithm[64], settings[512];
        int r = 0;
        (void)snprintf(algorithm, sizeof(algorithm), ", algorithm: {type: %s}", rows[i].kind);
        (void)snprintf(settings, sizeof(settings), "{ml: {models_path: %s}}", folder);
        (void)snprintf(yaml, sizeof(yaml), POLICY, algorithm, settings);
        char *text = policy_problems(yaml, &r);
        assert_int_equal(r, 0);
        if (!strstr(text, rows[i].why) || !strstr(text, "rootstock selection train"))
            fail_msg("row %zu: %s", i, text);
        free(text);
        struct config *c = NULL;
        struct router *router = policy_from(yaml, &c);
        struct arena *arena = arena_new(16 * MIB);
        struct route route;
        route_text(router, "auto", "hello", arena, &route);
        assert_true(str_is(route.model, "c") && route.selection == SELECTION_fallback);
        arena_free(arena);
        router_free(router);
        config_unref(c);
    }
}

static void what_the_policy_says_of_the_file_is_compared(void **state)
{
    (void)state;
    char path[512], yaml[4096];
    (void)snprintf(path, sizeof(path), "%s/selector", test_temp_dir());
    struct learned_options kmeans = of_kind(LEARNED_kmeans, 0);
    train_file(path, &kmeans, 0);
    static const struct {
        const char *settings, *problem; /* "": none */
    } rows[] = { { "num_clusters: 2", "" },
                 { "num_clusters: 8", "ml.kmeans.num_clusters is not what the file" },
                 { "device: cuda", "ml.mlp.device" },
                 { "num_clusters: 8.5", "num_clusters" },
                 { "efficiency_weight: 2", "efficiency_weight" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char settings[1024];
        int r = 0;
        (void)snprintf(settings, sizeof(settings), "{ml: {kmeans: {pretrained_path: %s, %s}}}",
                       path, rows[i].settings);
        (void)snprintf(yaml, sizeof(yaml), POLICY, ", algorithm: {type: kmeans}", settings);
        char *text = policy_problems(yaml, &r);
        if (rows[i].problem[0] ? !strstr(text, rows[i].problem) : text[0] != '\0')
            fail_msg("row %zu: %s", i, text);
        free(text);
    }
}

/* ---- what decisions inherit ---- */

static void decisions_inherit_method_and_settings(void **state)
{
    (void)state;
    static const struct {
        const char *decision, *global, *algorithm, *reason;
    } rows[] = {
        { "", "{method: latency_aware, latency_aware: {ttft_percentile: 50}}", "latency_aware",
          "too few latencies observed: the first candidate" },
        { "", "{enabled: false, method: router_dc}", "static", "the first candidate" },
        { "", "{enabled: true}", "static", "the first candidate" },
        { ", algorithm: {type: weighted}", "{method: router_dc}", "weighted", "drawn by weight" },
        /* without the global block the percentiles would be missing: an error */
        { ", algorithm: {type: latency_aware}", "{latency_aware: {tpot_percentile: 9}}",
          "latency_aware", "too few latencies observed: the first candidate" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char yaml[4096];
        struct config *c = NULL;
        struct route route;
        (void)snprintf(yaml, sizeof(yaml), POLICY, rows[i].decision, rows[i].global);
        struct router *r = policy_from(yaml, &c);
        struct arena *arena = arena_new(16 * MIB);
        route_text(r, "auto", "hello", arena, &route);
        if (!str_is(route.algorithm, rows[i].algorithm) ||
            !str_is(route.selection_reason, rows[i].reason))
            fail_msg("row %zu: %.*s: %.*s", i, STR_ARG(route.algorithm),
                     STR_ARG(route.selection_reason));
        arena_free(arena);
        router_free(r);
        config_unref(c);
    }
    char yaml[4096];
    int r = 0;
    (void)snprintf(yaml, sizeof(yaml), POLICY, "", "{method: magic}");
    char *text = policy_problems(yaml, &r);
    assert_non_null(strstr(text, "global.router.model_selection.method: is no algorithm"));
    free(text);
    (void)snprintf(yaml, sizeof(yaml), POLICY, ", algorithm: {type: automix}",
                   "{automix: {max_escalations: many}}");
    text = policy_problems(yaml, &r);
    assert_non_null(strstr(text, "global.router.model_selection.automix.max_escalations"));
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_tells_two_clouds_apart),
        cmocka_unit_test(the_vote_is_that_of_the_nearest),
        cmocka_unit_test(the_same_examples_and_seed_give_the_same_file),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(a_decision_asks_what_was_learned),
        cmocka_unit_test(a_file_that_does_not_fit_is_named_and_the_first_answers),
        cmocka_unit_test(what_the_policy_says_of_the_file_is_compared),
        cmocka_unit_test(decisions_inherit_method_and_settings),
    };
    if (vector_space_lexical(&space) < 0)
        return 1;
    int r = TEST_RUN(tests);
    (void)vector_space_free(space);
    return r;
}
