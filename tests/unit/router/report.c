/*
 * What a route says of itself: the body of /api/v1/eval and the explained line, read back as JSON.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <string.h>

#define HEAD                                                                                       \
    "providers: {defaults: {default_model: m}, models: [{name: m}, {name: n}]}\n"                  \
    "routing:\n"                                                                                   \
    "  signals:\n"                                                                                 \
    "    keywords: [{name: a, keywords: [aa]}, {name: b, keywords: [bb]}]\n"                       \
    "    structure: [{name: s, feature: {type: count, source: {type: regex, pattern: x}}, "        \
    "predicate: {gte: 2}}]\n"                                                                      \
    "    events: [{name: e, event_types: [outage]}]\n"                                             \
    "    role_bindings: [{name: r, role: boss, subjects: [{kind: User, name: ann}]}]\n"            \
    "  projections:\n"                                                                             \
    "    scores: [{name: sum, method: weighted_sum, inputs: "                                      \
    "[{type: keyword, name: a, weight: 1}, {type: keyword, name: b, weight: 1}]}]\n"               \
    "    mappings: [{name: band, source: sum, method: threshold_bands, outputs: "                  \
    "[{name: low, lt: 1.5}, {name: high, gte: 1.5}]}]\n"

#define TREE                                                                                       \
    "  decisions:\n"                                                                               \
    "    - {name: d, priority: 2, rules: {operator: AND, conditions: [{operator: OR, conditions: " \
    "[{type: keyword, name: a}, {type: structure, name: s}]}, {operator: NOT, conditions: "        \
    "[{type: projection, name: high}]}]}, modelRefs: [{model: m}, {model: n}]}\n"                  \
    "    - {name: staff, priority: 3, rules: {type: authz, name: boss}, modelRefs: [{model: "      \
    "m}]}\n"

struct bench {
    struct config *config;
    struct router *router;
    struct arena *arena;
    struct buf text;
    struct document *document;
    struct problems *problems;
    struct route route;
};

static const struct node *parse(struct bench *b)
{
    b->problems = problems_new();
    assert_int_equal(document_parse(&b->document, "report.json", buf_str(&b->text), b->problems),
                     0);
    return document_root(b->document);
}

static void open_bench(struct bench *b, const char *yaml)
{
    *b = (struct bench){ .text = BUF_INIT(MIB), .arena = arena_new(MIB) };
    b->router = policy_from(yaml, &b->config);
}

/* Previews one user turn; the parsed eval body. */
static const struct node *eval(struct bench *b, const char *yaml, const char *text, bool every)
{
    open_bench(b, yaml);
    struct chat_message m = { .role = STR("user"), .content = str_of(text) };
    struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
    struct route_request q = {
        .chat = &chat, .trace = true, .preview = true, .every_family = every
    };
    struct fail fail = { 0 };
    assert_int_equal(router_route(b->router, &q, b->arena, &b->route, &fail), 0);
    route_print_eval(b->router, &b->route, &b->text);
    return parse(b);
}

static void close_bench(struct bench *b)
{
    document_free(b->document);
    problems_free(b->problems);
    buf_done(&b->text);
    arena_free(b->arena);
    router_free(b->router);
    config_unref(b->config);
}

/* "a.b[0].c" */
static const struct node *at(const struct node *n, const char *path)
{
    struct str rest = str_of(path);
    while (n && rest.n) {
        struct str key = rest, after = STR_NULL;
        (void)str_cut(rest, '.', &key, &after);
        rest = key.n == rest.n ? STR_NULL : after;
        size_t bracket = 0;
        while (bracket < key.n && key.p[bracket] != '[')
            bracket++;
        char name[64];
        (void)snprintf(name, sizeof(name), "%.*s", (int)bracket, key.p);
        if (bracket)
            n = node_get(n, name);
        if (n && bracket < key.n)
            n = node_at(n, (size_t)(key.p[bracket + 1] - '0'));
    }
    return n;
}

static void expect(const struct node *root, const char *path, const char *want)
{
    const struct node *n = at(root, path);
    if (!want) {
        if (n)
            fail_msg("%s is there", path);
        return;
    }
    if (!n || n->kind != NODE_scalar || !str_is(n->scalar, want))
        fail_msg("%s is '%.*s', not '%s'", path, n ? (int)n->scalar.n : 4,
                 n && n->kind == NODE_scalar ? n->scalar.p : "none", want);
}

static void the_trace_is_a_tree_of_operators_with_their_truth(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        { "eval_trace[0].decision_name", "staff" },
        { "eval_trace[0].matched", "false" },
        { "eval_trace[0].truth", "unknown" },
        { "eval_trace[1].decision_name", "d" },
        { "eval_trace[1].matched", "true" },
        { "eval_trace[1].priority", "2" },
        { "eval_trace[1].root_trace.node_type", "AND" },
        { "eval_trace[1].root_trace.operator", "AND" },
        { "eval_trace[1].root_trace.truth", "true" },
        { "eval_trace[1].root_trace.children[0].node_type", "OR" },
        { "eval_trace[1].root_trace.children[0].children[0].node_type", "leaf" },
        { "eval_trace[1].root_trace.children[0].children[0].signal_type", "keyword" },
        { "eval_trace[1].root_trace.children[0].children[0].signal_name", "a" },
        { "eval_trace[1].root_trace.children[0].children[0].matched", "true" },
        { "eval_trace[1].root_trace.children[0].children[1].truth", "false" },
        { "eval_trace[1].root_trace.children[1].operator", "NOT" },
        { "eval_trace[1].root_trace.children[1].confidence", "1" },
        { "eval_trace[1].root_trace.children[1].children[0].matched", "false" },
    };
    struct bench b;
    const struct node *root = eval(&b, HEAD TREE, "aa x", false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(root, rows[i].path, rows[i].want);
    close_bench(&b);
}

static void signals_are_listed_by_family_as_used_matched_and_not(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        { "decision_result.decision_name", "d" },
        { "decision_result.used_signals.keywords[0]", "a" },
        { "decision_result.used_signals.structure[0]", "s" },
        { "decision_result.used_signals.projection[0]", "high" },
        { "decision_result.used_signals.projections[0]", "high" },
        { "decision_result.used_signals.keywords[1]", NULL },
        { "decision_result.matched_signals.keywords[0]", "a" },
        { "decision_result.matched_signals.projection[0]", "low" },
        { "decision_result.matched_signals.projections[0]", "low" },
        { "decision_result.unmatched_signals.keywords[0]", "b" },
        { "decision_result.unmatched_signals.structure[0]", "s" },
        { "decision_result.unmatched_signals.authz[0]", "boss" },
        { "signal_values.structure:s", "1" },
        { "signal_values.projection:low", "1" },
        { "signal_confidences.keyword:a", "1" },
        { "signal_confidences.keyword:b", NULL },
        { "signal_errors.authz:boss", "the caller is not identified: send x-authz-user-id" },
        { "signal_errors.keyword:a", NULL },
        { "metrics.keyword.confidence", "1" },
        { "metrics.structure.confidence", "0" },
        { "metrics.classifier.execution_time_ms", "0" },
        { "decision_result.unmatched_signals.events", NULL },
        { "recommended_models[1]", "n" },
        { "selected_model", "m" },
        { "selection_status", "selected" },
        { "selection_method", "static" },
        { "routing_decision", "d" },
        { "original_text", "aa x" },
        { "requested_model", "auto" },
        { "recipe", "default" },
    };
    struct bench b;
    const struct node *root = eval(&b, HEAD TREE, "aa x", false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(root, rows[i].path, rows[i].want);
    close_bench(&b);
}

static void families_that_no_decision_needs_are_evaluated_on_demand(void **state)
{
    struct bench b;
    const struct node *root = eval(&b, HEAD TREE, "an outage", true);
    expect(root, "decision_result.matched_signals.events[0]", "e");
    expect(root, "decision_result.matched_signals.event[0]", "e");
    close_bench(&b);
}

#define PLAIN                                                                                      \
    "providers: {models: [{name: m}, {name: n}]}\nrouting:\n"                                      \
    "  signals: {keywords: [{name: a, keywords: [aa]}], role_bindings: [{name: r, role: boss, "    \
    "subjects: [{kind: User, name: ann}]}]}\n  decisions:\n    - {name: d, priority: 1, "
#define REFS "modelRefs: [{model: m}, {model: n}]"

static void a_preview_says_what_would_refuse_the_request(void **state)
{
    static const struct {
        const char *policy, *status, *model, *decision;
    } rows[] = {
        { PLAIN "rules: {type: keyword, name: a}, " REFS "}\n", "unavailable", "", "" },
        { PLAIN "rules: {type: authz, name: boss}, on_unknown: fail_request, " REFS "}\n", "failed",
          "", "" },
        { PLAIN "algorithm: {type: knn, on_error: fail}, " REFS "}\n", "failed", "", "d" },
        { PLAIN "algorithm: {type: knn}, " REFS "}\n", "fallback", "m", "d" },
        { PLAIN "algorithm: {type: latency_aware, latency_aware: {tpot_percentile: 50}}, " REFS
                "}\n",
          "selected", "m", "d" },
        { PLAIN
          "algorithm: {type: remom, remom: {breadth_schedule: [2], synthesis_model: n}}, " REFS
          "}\n",
          "planned_final", "n", "d" },
        { PLAIN "algorithm: {type: confidence}, " REFS "}\n", "execution_required", NULL, "d" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        const struct node *root = eval(&b, rows[i].policy, "zz", false);
        expect(root, "selection_status", rows[i].status);
        expect(root, "selected_model", rows[i].model);
        expect(root, "routing_decision", rows[i].decision);
        assert_true(at(root, "selection_reason")->scalar.n > 0);
        close_bench(&b);
    }
}

#define TWO(strategy, first, second)                                                               \
    HEAD strategy "  decisions:\n    - {name: p, " first                                           \
                  ", modelRefs: [{model: m}], rules: {type: keyword, "                             \
                  "name: a}}\n    - {name: q, " second                                             \
                  ", modelRefs: [{model: m}], rules: {type: projection, name: high}}\n"

static void why_the_winner_won_and_who_came_second_is_told(void **state)
{
    static const struct {
        const char *policy, *text, *winner, *second, *because;
    } rows[] = {
        { TWO("", "priority: 2", "priority: 1"), "aa bb", "p", "q", "its priority is higher" },
        { TWO("", "priority: 1", "priority: 1"), "aa bb", "p", "q", "its confidence is higher" },
        { TWO("  strategy: confidence\n", "priority: 2", "priority: 1"), "aa bb", "p", "q",
          "its confidence is higher" },
        { TWO("", "tier: 2", "tier: 1"), "aa bb", "q", "p", "its tier goes before" },
        { TWO("", "priority: 2", "priority: 1"), "aa", "p", "", "no other decision matched" },
        { TWO("", "priority: 2", "priority: 1"), "zz", "", "", "no decision matched" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        open_bench(&b, rows[i].policy);
        route_text(b.router, "auto", rows[i].text, b.arena, &b.route);
        route_print_line(&b.route, true, &b.text);
        const struct node *root = parse(&b);
        expect(root, "why.winner", rows[i].winner);
        expect(root, "why.second", rows[i].second);
        expect(root, "why.because", rows[i].because);
        assert_non_null(at(root, "trace[1].root_trace"));
        assert_non_null(at(root, "values.keyword:a"));
        close_bench(&b);
    }
}

static void options_add_their_parts(void **state)
{
    struct bench b;
    open_bench(&b, HEAD TREE);
    route_text(b.router, "auto", "aa", b.arena, &b.route);
    struct eval_options all = { .probabilities = true,
                                .explanation = true,
                                .confidence_threshold = 0.9 };
    route_print_eval_as(b.router, &b.route, &all, &b.text);
    const struct node *root = parse(&b);
    assert_int_equal(at(root, "eval_trace")->n, 0);
    expect(root, "explanation.winner", "d");
    expect(root, "confident", "true");
    assert_non_null(at(root, "probabilities"));
    close_bench(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trace_is_a_tree_of_operators_with_their_truth),
        cmocka_unit_test(signals_are_listed_by_family_as_used_matched_and_not),
        cmocka_unit_test(families_that_no_decision_needs_are_evaluated_on_demand),
        cmocka_unit_test(a_preview_says_what_would_refuse_the_request),
        cmocka_unit_test(why_the_winner_won_and_who_came_second_is_told),
        cmocka_unit_test(options_add_their_parts),
    };
    return TEST_RUN(tests);
}
