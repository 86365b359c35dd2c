/*
 * Projections: sums and bands worked out by hand, and what a signal that is unknown leaves open.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keywords a, b, c; an embedding e that is unknown (of images); the given projections. */
static struct router *policy(const char *projections, const char *leaf, struct config **c)
{
    struct buf b = BUF_INIT(MIB);
    buf_addf(&b,
             "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
             "routing:\n"
             "  signals:\n"
             "    keywords: [{name: a, keywords: [aa]}, {name: b, keywords: [bb]},"
             " {name: c, keywords: [cc]}]\n"
             "    context: [{name: any, min_tokens: 0}]\n"
             "    embeddings: [{name: e, query_modality: image}]\n"
             "  projections: {%s}\n"
             "  decisions: [{name: hit, rules: {type: projection, name: %s},"
             " modelRefs: [{model: m}]}]\n",
             projections, leaf);
    struct router *r = policy_from(b.p, c);
    buf_done(&b);
    return r;
}

#define IN(n, w) "{type: keyword, name: " n ", weight: " w "}"
#define UNKNOWN(w) "{type: embedding, name: e, weight: " w ", value_source: confidence}"
#define MAP(method, outputs)                                                                       \
    "mappings: [{name: m, source: s, method: " method ", outputs: [" outputs "]}]"
#define SUM(inputs) "scores: [{name: s, method: weighted_sum, inputs: [" inputs "]}], "
#define BANDS "{name: low, lt: 0.4}, {name: mid, gte: 0.4, lt: 0.8}, {name: high, gte: 0.8}"

static void bands_are_named_by_the_sum(void **state)
{
    static const struct {
        const char *projections, *leaf, *text;
        enum truth want;
    } rows[] = {
        { SUM(IN("a", "0.5") ", " IN("b", "0.3")) MAP("threshold_bands", BANDS), "low", "x",
          TRUTH_true },
        { SUM(IN("a", "0.5") ", " IN("b", "0.3")) MAP("threshold_bands", BANDS), "mid", "aa",
          TRUTH_true },
        { SUM(IN("a", "0.5") ", " IN("b", "0.3")) MAP("threshold_bands", BANDS), "mid", "bb",
          TRUTH_false },
        { SUM(IN("a", "0.5") ", " IN("b", "0.3")) MAP("threshold_bands", BANDS), "high", "aa bb",
          TRUTH_true },
        { SUM(IN("a", "0.5") ", " IN("b", "-0.3")) MAP("threshold_bands", BANDS), "low", "aa bb",
          TRUTH_true },
        /* the first band that holds, or all */
        { SUM(IN("a", "1")) MAP("threshold_bands", "{name: x, gte: 0}, {name: y, gte: 0}"), "y",
          "aa", TRUTH_false },
        { SUM(IN("a", "1")) MAP("multi_emit", "{name: x, gte: 0}, {name: y, gte: 0}"), "y", "aa",
          TRUTH_true },
        { SUM(IN("a", "1")) MAP("threshold_bands", "{name: x, gt: 1}, {name: rest}"), "rest", "aa",
          TRUTH_true },
        /* match and miss values, raw values */
        { SUM("{type: keyword, name: a, weight: 1, match: 0.2, miss: 0.9}")
              MAP("threshold_bands", BANDS),
          "low", "aa", TRUTH_true },
        { SUM("{type: keyword, name: a, weight: 1, match: 0.2, miss: 0.9}")
              MAP("threshold_bands", BANDS),
          "high", "x", TRUTH_true },
        { SUM("{type: context, name: any, weight: 0.1, value_source: raw}")
              MAP("threshold_bands", BANDS),
          "high", "0123456789012345", TRUTH_true }, /* 4 tokens, and 5 of role and framing */
        /* unknown: what it may add decides */
        { SUM(IN("a", "0.8") ", " UNKNOWN("0.2")) MAP("threshold_bands", BANDS), "high", "aa",
          TRUTH_true },
        { SUM(IN("a", "0.8") ", " UNKNOWN("0.2")) MAP("threshold_bands", BANDS), "low", "x",
          TRUTH_true },
        { SUM(IN("a", "0.5") ", " UNKNOWN("0.4")) MAP("threshold_bands", BANDS), "high", "aa",
          TRUTH_unknown },
        { SUM(IN("a", "0.5") ", " UNKNOWN("0.4")) MAP("threshold_bands", BANDS), "low", "aa",
          TRUTH_false },
        { SUM(IN("a", "0.5") ", " UNKNOWN("-0.4")) MAP("threshold_bands", BANDS), "high", "aa",
          TRUTH_false },
        { SUM(UNKNOWN("0")) MAP("threshold_bands", BANDS), "low", "aa", TRUTH_true },
        { SUM("{type: embedding, name: e, weight: 0.1, value_source: raw}")
              MAP("threshold_bands", BANDS),
          "mid", "aa", TRUTH_unknown },
        { SUM("{type: kb_metric, kb: privacy_kb, metric: best_score, weight: 0.3}")
              MAP("threshold_bands", BANDS),
          "low", "aa", TRUTH_true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy(rows[i].projections, rows[i].leaf, &c);
        struct arena *a = arena_new(MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        if (route.traces[0].matched != rows[i].want)
            fail_msg("row %zu (%s on '%s'): %d", i, rows[i].leaf, rows[i].text,
                     route.traces[0].matched);
        arena_free(a);
        router_free(r);
        config_unref(c);
    }
}

static void scores_may_use_scores_and_outputs(void **state)
{
    struct config *c = NULL;
    struct router *r = policy(
        "scores: [{name: top, inputs: [{type: projection, name: low, weight: 0.5},"
        " {type: projection, name: s, weight: 1, value_source: raw}]},"
        " {name: s, inputs: [" IN(
            "a", "0.3") "]}],"
                        " mappings: [{name: one, source: s, outputs: [{name: low, lt: 0.5}]},"
                        " {name: two, source: top, outputs: [{name: sum, gte: 0.8}]}]",
        "sum", &c);
    struct arena *a = arena_new(MIB);
    struct route route;
    route_text(r, "auto", "aa", a, &route); /* 0.5 × 1 + 0.3 */
    assert_int_equal(route.traces[0].matched, TRUTH_true);
    route_text(r, "auto", "x", a, &route); /* 0.5 × 1 + 0 */
    assert_int_equal(route.traces[0].matched, TRUTH_false);
    arena_free(a);
    router_free(r);
    config_unref(c);
}

static void confidence_is_a_sigmoid_of_the_distance(void **state)
{
    static const struct {
        const char *text, *leaf;
        double confidence;
    } rows[] = {
        { "aa", "high", 0.5 + 0.4168 }, /* 1 − 0.8 = 0.2: 1/(1+e^−2.4) = 0.9168 */
        { "x", "low", 0.99183743 },     /* 0.4: 1/(1+e^−4.8) */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r =
            policy(SUM(IN("a", "1")) MAP("threshold_bands", BANDS), rows[i].leaf, &c);
        struct arena *a = arena_new(MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        assert_true(fabs(route.confidence - rows[i].confidence) < 1e-3);
        arena_free(a);
        router_free(r);
        config_unref(c);
    }
}

static void a_projection_that_cannot_work_is_refused(void **state)
{
    static const struct {
        const char *projections, *says; /* NULL: nothing is wrong */
    } rows[] = {
        { SUM(IN("a", "1")) MAP("threshold_bands", "{name: x, gt: 1, gte: 2}"), "two bounds" },
        { SUM(IN("a", "1")) MAP("threshold_bands", ""), "needs outputs" },
        { SUM("") MAP("threshold_bands", "{name: x, gt: 1}"), "needs inputs" },
        { SUM("{type: projection, name: s, weight: 1}") MAP("threshold_bands", "{name: x, gt: 1}"),
          "depends on itself" },
        { SUM("{type: projection, name: x, weight: 1, value_source: confidence}")
              MAP("threshold_bands", "{name: x, gt: 1}"),
          "depends on itself" },
        { "scores: [{name: s, inputs: [{type: projection, name: t, weight: 1,"
          " value_source: confidence}]}, {name: t, inputs: [" IN(
              "a", "1") "]}],"
                        " mappings: [{name: m, source: s, outputs: [{name: x, gt: 1}]}]",
          "which has no confidence" },
        { SUM("{type: kb_metric, kb: k, weight: 1}") MAP("threshold_bands", "{name: x, gt: 1}"),
          "needs kb and metric" },
        { SUM("{type: keyword, name: nobody, weight: 1}")
              MAP("threshold_bands", "{name: x, gt: 1}"),
          "'nobody' is not defined" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(MIB);
        buf_addf(&b,
                 "routing: {signals: {keywords: [{name: a, keywords: [aa]}]}, projections: {%s}}",
                 rows[i].projections);
        int e;
        char *text = policy_problems(b.p, &e);
        if (e != -EINVAL || !strstr(text, rows[i].says))
            fail_msg("row %zu: %s", i, text);
        free(text);
        buf_done(&b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bands_are_named_by_the_sum),
        cmocka_unit_test(scores_may_use_scores_and_outputs),
        cmocka_unit_test(confidence_is_a_sigmoid_of_the_distance),
        cmocka_unit_test(a_projection_that_cannot_work_is_refused),
    };
    return TEST_RUN(tests);
}
