/*
 * Whole policies: who wins, what the winner carries, what happens when nobody does, and what is
 * printed about it.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *decide(const struct router *r, const char *model, const char *text,
                          struct route *ret, struct arena *a)
{
    route_text(r, model, text, a, ret);
    return arena_cstr(a, ret->decision);
}

struct row {
    const char *model, *text, *decision, *adapter;
    const char *answers; /* the model that does; NULL: demo */
};

static void check_file(const char *path, const struct row *rows, size_t n)
{
    struct config *c = NULL;
    struct router *r = policy_from_file(test_path(path), &c);
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(MIB);
        struct route route;
        const char *got = decide(r, rows[i].model, rows[i].text, &route, a);
        if (strcmp(got, rows[i].decision) != 0 || !str_is(route.adapter, rows[i].adapter))
            fail_msg("%s: '%s' is decided %s", path, rows[i].text, got);
        assert_true(str_is(route.model, rows[i].answers ? rows[i].answers : "demo"));
        arena_free(a);
    }
    router_free(r);
    config_unref(c);
}

static void the_examples_route_as_their_comments_say(void **state)
{
    static const struct row adapters[] = {
        { "auto", "Write a SQL statement", "sql", "sql" },
        { "auto", "Напиши запрос к базе", "sql", "sql" },
        { "auto", "my databse is slow", "sql", "sql" },
        { "auto", "as JSON please", "json", "json@prod" },
        { "auto", "a query as JSON", "sql", "sql" },
        { "MoM", "Wie hoch ist der Eiffelturm und warum?", "german", "german" },
        { "auto", "hello there", "", "" },
    };
    static const struct row sizes[] = {
        { "auto", "What? Why? Who?", "reasoned", "" },
        { "auto", "First read it, then answer", "reasoned", "" },
        { "auto", "Hello", "direct", "" },
    };
    static const struct row profiles[] = {
        { "auto", "urgent!", "everyone", "" }, /* the caller is unknown: staff_only is open */
        { "support", "refunds please", "refund", "triage" },
        { "support/eu", "critical: card declined, refund", "payment", "triage" },
        { "support", "hello", "", "" },
    };
    static const struct row behind[] = {
        { "auto", "Refactor this, please", "coding", "", "qwen" },
        { "auto", "Is this clause usual?", "contracts", "", "claude" },
        { "auto", "Hello", "", "" },
    };
    check_file("config/policies/upstream.yaml", behind, ARRAY_LEN(behind));
    check_file("config/policies/examples/adapters.yaml", adapters, ARRAY_LEN(adapters));
    check_file("config/policies/examples/sizes.yaml", sizes, ARRAY_LEN(sizes));
    /* `payment` and `refund` both match at confidence 1: the name decides */
    check_file("config/policies/examples/profiles.yaml", profiles, ARRAY_LEN(profiles));
}

/* domains are switched off, so that they are unknown */
#define HEAD                                                                                       \
    "global: {model_catalog: {modules: {classifier: {domain: {enabled: false}}}}}\n"               \
    "providers: {defaults: {default_model: m, default_reasoning_effort: low},"                     \
    " models: [{name: m}, {name: n}]}\n"                                                           \
    "routing:\n"                                                                                   \
    "  signals:\n"                                                                                 \
    "    keywords: [{name: a, keywords: [aa]}, {name: b, keywords: [bb]}]\n"                       \
    "    structure: [{name: s, feature: {type: count, source: {type: regex, pattern: x}},"         \
    " predicate: {gte: 2}}]\n"                                                                     \
    "    domains: [{name: law}]\n"

static void check_policy(const char *yaml, const char *text, const char *decision)
{
    struct config *c = NULL;
    struct router *r = policy_from(yaml, &c);
    struct arena *a = arena_new(MIB);
    struct route route;
    const char *got = decide(r, "auto", text, &route, a);
    if (strcmp(got, decision) != 0)
        fail_msg("'%s' is decided %s, not %s, by\n%s", text, got, decision, yaml);
    arena_free(a);
    router_free(r);
    config_unref(c);
}

#define D(name, more) "    - {name: " name ", " more ", modelRefs: [{model: m}]}\n"
#define A "rules: {type: keyword, name: a}"
#define B "rules: {type: keyword, name: b}"
#define S "rules: {type: structure, name: s}"
#define LAW "rules: {type: domain, name: law}"
#define NOT_LAW "rules: {operator: NOT, conditions: [{type: domain, name: law}]}"
#define LAW_OR_A                                                                                   \
    "rules: {operator: OR, conditions: [{type: domain, name: law}, {type: keyword, name: a}]}"

static void one_decision_wins(void **state)
{
    static const struct {
        const char *yaml, *text, *decision;
    } rows[] = {
        { HEAD "  decisions:\n" D("low", "priority: 1, " A) D("high", "priority: 2, " B), "aa bb",
          "high" },
        { HEAD "  decisions:\n" D("low", "priority: 1, " A) D("high", "priority: 2, " B), "aa",
          "low" },
        { HEAD "  decisions:\n" D("z", A) D("y", B), "aa bb", "y" },
        /* confidence before name: s matches at 0.5 */
        { HEAD "  decisions:\n" D("y", S) D("z", A), "aa x x", "z" },
        { HEAD "  strategy: confidence\n  decisions:\n" D("y", "priority: 9, " S) D("z", A),
          "aa x x", "z" },
        { HEAD "  strategy: priority\n  decisions:\n" D("y", "priority: 9, " S) D("z", A), "aa x x",
          "y" },
        { HEAD "  decisions:\n" D("t2", "tier: 2, priority: 9, " A) D("t1", "tier: 1, " S),
          "aa x x", "t1" },
        /* tiers count where one of those that match has one: s matches at 0.5 */
        { HEAD "  decisions:\n" D("t2", "tier: 2, " B) D("y", "priority: 9, " S) D("z", A),
          "aa x x", "y" },
        { HEAD "  decisions:\n" D("t2", "tier: 2, " B) D("y", "priority: 9, " S) D("z", A),
          "aa bb x x", "z" },
        { HEAD "  decisions:\n" D("any", "description: x") D("a", "priority: 1, " A), "aa", "a" },
        { HEAD "  decisions:\n" D("any", "description: x") D("a", "priority: 1, " A), "bb", "any" },
        { HEAD "  decisions:\n" D("any", "rules: {}"), "bb", "any" },
        { HEAD "  decisions:\n" D("nothing", "rules: {operator: OR, conditions: []}"), "bb", "" },
        /* unknown: neither it nor its opposite matches, unless the rest settles it */
        { HEAD "  decisions:\n" D("law", LAW) D("not", NOT_LAW), "aa", "" },
        { HEAD "  decisions:\n" D("law", LAW_OR_A), "aa", "law" },
        { HEAD "  decisions:\n" D("law", "on_unknown: match, " NOT_LAW), "aa", "law" },
        { HEAD "  decisions:\n" D("law", "rules: {type: domain, name: law, on_unknown: match}"),
          "aa", "law" },
        { HEAD "  decisions:\n" D("law", "rules: {type: domain, name: law, on_error: match}"), "aa",
          "law" },
        { HEAD "  decisions:\n" D("law", "on_unknown: fail_request, " LAW)
              D("a", "priority: 1, " A),
          "aa", "a" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_policy(rows[i].yaml, rows[i].text, rows[i].decision);
}

static void a_request_fails_when_its_policy_says_so(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(HEAD "  decisions:\n" D("law", "on_unknown: fail_request, " LAW)
                                       D("a", "priority: -1, " A),
                                   &c);
    for (int trace = 0; trace < 2; trace++) {
        struct arena *a = arena_new(MIB);
        struct chat_message m = { .role = STR("user"), .content = STR("aa") };
        struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
        struct route_request q = { .chat = &chat, .trace = trace };
        struct route route;
        struct fail fail = { 0 };
        assert_int_equal(router_route(r, &q, a, &route, &fail), FAILED);
        assert_int_equal(fail_status(fail.code), 503);
        assert_non_null(strstr(fail.message, "'law'"));
        arena_free(a);
    }
    router_free(r);
    config_unref(c);
}

static void the_winner_brings_model_adapter_and_reasoning(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(
        HEAD "  decisions:\n"
             "    - {name: a, " A
             ", modelRefs: [{model: n, lora_name: 'x@prod', use_reasoning: true,"
             " reasoning_effort: high, weight: 0.3}, {model: m}], plugins: [{type: pii}]}\n"
             "    - {name: b, " B ", modelRefs: [{model: 'm:y@v', use_reasoning: true}]}\n",
        &c);
    struct arena *a = arena_new(MIB);
    struct route route;
    assert_string_equal(decide(r, "auto", "aa", &route, a), "a");
    assert_true(str_is(route.model, "n") && str_is(route.adapter, "x@prod"));
    assert_true(route.use_reasoning && str_is(route.reasoning_effort, "high"));
    assert_true(str_is(route.algorithm, "static") && route.plugins->n == 1);
    assert_string_equal(decide(r, "auto", "bb", &route, a), "b");
    assert_true(str_is(route.model, "m") && str_is(route.adapter, "y@v"));
    assert_true(str_is(route.reasoning_effort, "low"));
    assert_string_equal(decide(r, "auto", "cc", &route, a), "");
    assert_true(str_is(route.model, "m") && route.adapter.n == 0 && !route.plugins);
    assert_int_equal(router_decisions(r), 2);
    const char *path;
    assert_non_null(router_decision_plugins(r, 0, &path));
    assert_string_equal(path, "routing.decisions[0].plugins");
    arena_free(a);
    router_free(r);
    config_unref(c);
}

static void without_a_default_model_nothing_answers(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from("routing: {}\n", &c);
    struct chat_request chat = { .model = STR("auto") };
    struct route_request q = { .chat = &chat };
    struct arena *a = arena_new(MIB);
    struct route route;
    struct fail fail = { 0 };
    assert_int_equal(router_route(r, &q, a, &route, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_model_not_found);
    assert_int_equal(router_default_model(r).n, 0);
    arena_free(a);
    router_free(r);
    config_unref(c);
}

static void the_line_is_json_with_the_promised_keys(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(
        HEAD
        "  decisions:\n    - {name: 'q\"\\', rules: {operator: AND, conditions: ["
        "{type: keyword, name: a}, {operator: NOT, conditions: [{type: keyword, name: b}]}]},"
        " modelRefs: [{model: m, lora_name: l}], plugins: [{type: pii}, {type: system_prompt}]}\n",
        &c);
    struct arena *a = arena_new(MIB);
    struct buf b = BUF_INIT(MIB);
    struct route route;
    (void)decide(r, "auto", "aa", &route, a);
    route.us = 7;
    route_print_line(&route, false, &b);
    assert_string_equal(b.p, "{\"decision\":\"q\\\"\\\\\",\"model\":\"m\",\"adapter\":\"l\","
                             "\"algorithm\":\"static\",\"plugins\":[\"pii\",\"system_prompt\"],"
                             "\"signals\":{\"keyword:a\":1},\"us\":7}");
    buf_clear(&b);
    route_print_line(&route, true, &b);
    assert_non_null(strstr(b.p, "\"reason\":\"keyword:a=1 AND NOT keyword:b=0\""));
    assert_non_null(strstr(b.p, "\"signals\":{\"keyword:a\":1,\"keyword:b\":0}"));
    buf_clear(&b);
    route_print_eval(r, &route, &b);
    struct problems *p = problems_new();
    struct document *d = NULL;
    assert_int_equal(document_parse(&d, "eval.json", buf_str(&b), p), 0);
    const struct node *root = document_root(d), *result = node_get(root, "decision_result");
    assert_true(node_is(node_get(result, "decision_name"), "q\"\\"));
    assert_true(
        node_is(node_at(node_get(node_get(result, "matched_signals"), "keywords"), 0), "a"));
    assert_true(node_is(node_at(node_get(root, "recommended_models"), 0), "m"));
    assert_true(node_is(node_get(root, "selection_status"), "selected"));
    document_free(d);
    problems_free(p);
    buf_done(&b);
    arena_free(a);
    router_free(r);
    config_unref(c);
}

/* A policy of random rules over signals of several families, one of them unknown. */
static void random_policy(uint64_t *seed, struct buf *b)
{
    static const char *const leaves[] = { "{type: keyword, name: a}", "{type: keyword, name: b}",
                                          "{type: structure, name: s}",
                                          "{type: domain, name: law}" };
    static const char *const heads[] = { "", "  strategy: confidence\n" };
    buf_adds(b, HEAD);
    buf_adds(b, heads[test_random(seed) % 2]);
    buf_adds(b, "  decisions:\n");
    bool tiers = test_random(seed) % 3 == 0;
    for (unsigned i = 0; i < 6; i++) {
        buf_addf(b, "    - {name: d%u, priority: %u, tier: %u, modelRefs: [{model: m}], rules: ", i,
                 (unsigned)(test_random(seed) % 3), tiers ? (unsigned)(test_random(seed) % 3) : 0);
        bool negate = test_random(seed) % 4 == 0;
        buf_addf(b, "%s{operator: %s, conditions: [", negate ? "{operator: NOT, conditions: [" : "",
                 test_random(seed) % 2 ? "AND" : "OR");
        for (unsigned k = 0, n = 1 + (unsigned)(test_random(seed) % 3); k < n; k++)
            buf_addf(b, "%s%s", k ? ", " : "", leaves[test_random(seed) % ARRAY_LEN(leaves)]);
        buf_addf(b, "]}%s}\n", negate ? "]}" : "");
    }
}

static void a_lazy_route_is_the_traced_one(void **state)
{
    static const char *const texts[] = { "aa", "bb x x", "aa bb x x x", "none", "" };
    uint64_t seed = 5;
    for (unsigned round = 0; round < 300; round++) {
        struct buf b = BUF_INIT(MIB);
        struct config *c = NULL;
        random_policy(&seed, &b);
        struct router *r = policy_from(b.p, &c);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            struct arena *a = arena_new(MIB);
            struct chat_message m = { .role = STR("user"), .content = str_of(texts[i]) };
            struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
            struct route_request lazy = { .chat = &chat }, all = { .chat = &chat, .trace = true };
            struct route x, y;
            struct fail fail;
            assert_int_equal(router_route(r, &lazy, a, &x, &fail), 0);
            assert_int_equal(router_route(r, &all, a, &y, &fail), 0);
            assert_true(str_eq(x.decision, y.decision));
            assert_true(fabs(x.confidence - y.confidence) < 1e-12);
            arena_free(a);
        }
        router_free(r);
        config_unref(c);
        buf_done(&b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_route_as_their_comments_say),
        cmocka_unit_test(one_decision_wins),
        cmocka_unit_test(a_request_fails_when_its_policy_says_so),
        cmocka_unit_test(the_winner_brings_model_adapter_and_reasoning),
        cmocka_unit_test(without_a_default_model_nothing_answers),
        cmocka_unit_test(the_line_is_json_with_the_promised_keys),
        cmocka_unit_test(a_lazy_route_is_the_traced_one),
    };
    return TEST_RUN(tests);
}
