/*
 * Knowledge bases and complexity: which label, group or level a text matches, what projections
 * measure, what a composer withholds, and what is wrong with a manifest.
 */
#include "tests/unit/router/support.h"

#include "base/file.h"
#include "base/limits.h"
#include "router/kb_manifest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1024 };

static const char manifest[] =
    "{\"version\": \"1\", \"labels\": {"
    "\"code\": {\"description\": \"x\", \"exemplars\": [\"refactor this python function\","
    " \"fix the compiler error in this class\"]},"
    "\"cooking\": {\"exemplars\": [\"how long do I bake this bread\","
    " \"a recipe for tomato soup\"]},"
    "\"gardening\": {\"exemplars\": [\"when should I plant tulips\","
    " \"how often do roses need water\"]},"
    "\"empty\": {\"exemplars\": []}}}";

/* Writes the manifest two folders above the policy, where it is to be found, and the policy. */
static const char *write_all(const char *policy)
{
    static char path[PATH_BYTES];
    const char *dir = test_temp_dir();
    char folder[PATH_BYTES], file[PATH_BYTES];
    (void)snprintf(folder, sizeof(folder), "%s/bases/home", dir);
    assert_int_equal(file_make_dirs(folder), 0);
    (void)snprintf(file, sizeof(file), "%s/bases/home/labels.json", dir);
    assert_int_equal(file_replace(file, str_of(manifest)), 0);
    (void)snprintf(folder, sizeof(folder), "%s/a/b", dir);
    assert_int_equal(file_make_dirs(folder), 0);
    (void)snprintf(path, sizeof(path), "%s/a/b/policy.yaml", dir);
    assert_int_equal(file_replace(path, str_of(policy)), 0);
    return path;
}

#define POLICY(threshold, rest)                                                                    \
    "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"                             \
    "global: {model_catalog: {kbs: [{name: k, source: {path: bases/home/}, threshold: " threshold  \
    ", label_thresholds: {gardening: 0.99}, groups: {work: [code], home: [cooking, gardening],"    \
    " all: [code, cooking, gardening]}, metrics: [{name: work_vs_home, type: group_margin,"        \
    " positive_group: work, negative_group: home}]}]}}\n"                                          \
    "routing:\n"                                                                                   \
    "  signals:\n"                                                                                 \
    "    kb:\n"                                                                                    \
    "      - {name: work, kb: k, match: best, target: {kind: group, value: work}}\n"               \
    "      - {name: home, kb: k, match: best, target: {kind: group, value: home}}\n"               \
    "      - {name: all, kb: k, match: best, target: {kind: group, value: all}}\n"                 \
    "      - {name: cooking, kb: k, match: best, target: {kind: label, value: cooking}}\n"         \
    "      - {name: near_garden, kb: k, target: {kind: label, value: gardening}}\n"                \
    "      - {name: near_cook, kb: k, match: threshold, target: {kind: label, value: cooking}}\n"  \
    "      - {name: near_home, kb: k, match: threshold, target: {kind: group, value: "             \
    "home}}\n" rest

#define DECIDE                                                                                     \
    "  projections:\n"                                                                             \
    "    scores: [{name: s, inputs: [{type: kb_metric, kb: k, metric: work_vs_home, weight: 1,"    \
    " value_source: score}]}]\n"                                                                   \
    "    mappings: [{name: m, source: s, outputs: [{name: at_work, gt: 0}, {name: at_home,"        \
    " lte: 0}]}]\n"                                                                                \
    "  decisions: [{name: d, rules: {operator: OR, conditions: [{type: projection, name:"          \
    " at_work}, {type: kb, name: work}]}}]\n"

static void the_most_similar_label_and_group_match(void **state)
{
    static const struct {
        const char *text, *matched, *missed; /* names of kb signals, separated by blanks */
        const char *output;
    } rows[] = {
        { "please refactor this python function", "work all", "home cooking near_garden near_home",
          "at_work" },
        { "a recipe for tomato soup", "home all cooking near_cook near_home", "work near_garden",
          "at_home" },
        { "when should I plant tulips", "home all", "work cooking near_cook near_garden near_home",
          "at_home" },
        { "", "", "work home all cooking near_garden near_cook near_home", "at_home" },
    };
    struct config *c = NULL;
    struct router *r = policy_from_file(write_all(POLICY("0.8", DECIDE)), &c);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new(8 * MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        for (int want = 0; want < 2; want++) {
            char names[128];
            (void)snprintf(names, sizeof(names), "%s", want ? rows[i].matched : rows[i].missed);
            char *rest = names;
            for (char *name; (name = strsep(&rest, " ")) != NULL;) {
                if (name[0] &&
                    (route_signal_of(&route, "kb", name)->value == TRUTH_true) != (want == 1))
                    fail_msg("'%s': %s", rows[i].text, name);
            }
        }
        assert_int_equal(route_signal_of(&route, "projection", rows[i].output)->value, TRUTH_true);
        for (size_t k = 0; k < route.n_signals; k++) /* what a projection measures is no signal */
            assert_true(str_find(route.signals[k].name, STR("kb_metric")) < 0);
        arena_free(a);
    }
    router_free(r);
    config_unref(c);
}

static void a_base_that_is_nowhere_leaves_its_signals_unknown(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(
        "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
        "routing:\n"
        "  signals: {kb: [{name: p, kb: privacy_kb, match: best, target: {kind: group, value:"
        " private}}]}\n"
        "  decisions: [{name: d, rules: {type: kb, name: p}}]\n",
        &c);
    struct arena *a = arena_new(MIB);
    struct route route;
    route_text(r, "auto", "my password", a, &route);
    assert_int_equal(route_signal_of(&route, "kb", "p")->value, TRUTH_unknown);
    arena_free(a);
    router_free(r);
    config_unref(c);
}

static void what_is_wrong_with_a_base_is_told(void **state)
{
    static const struct {
        const char *rule, *says;
    } rows[] = {
        { "{name: x, kb: nobody, target: {kind: label, value: code}}", "does not declare" },
        { "{name: x, kb: k, target: {kind: label, value: coding}}", "has no label 'coding'" },
        { "{name: x, kb: k, target: {kind: group, value: code}}", "has no group 'code'" },
        { "{name: x, kb: k, target: {kind: thing, value: code}}", "is not one of label, group" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(MIB);
        buf_addf(&b, POLICY("0.8", "      - %s\n"), rows[i].rule);
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = NULL;
        CLEANUP(router_freep) struct router *r = NULL;
        CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
        assert_int_equal(config_load(&c, write_all(b.p), p), 0);
        assert_int_equal(router_new(&r, c, p), -EINVAL);
        problems_print(p, &text);
        if (!strstr(text.p, rows[i].says))
            fail_msg("row %zu: %s", i, text.p);
        buf_done(&b);
    }
}

static void a_manifest_that_cannot_be_read_says_where(void **state)
{
    static const struct {
        const char *text, *says; /* NULL: nothing is wrong */
    } rows[] = {
        { "{\"labels\": {\"a\": {\"exemplars\": [\"x\", \"\\u00e9\\ud83d\\ude00\"]}}}", NULL },
        { "{\"labels\": {\"a\": {}}}", NULL },
        { "{\"labels\": {\"a\": {\"exemplars\": [\"x\",}}}", "line 1, column" },
        { "{\"labels\": {\"a\": {}, \"a\": {}}}", "duplicate" },
        { "", "line" },
        { "[]", "must be an object" },
        { "{}", "'labels' must be an object" },
        { "{\"labels\": {}}", "'labels' must be an object" },
        { "{\"labels\": {\"a\": [\"x\"]}}", "a: a label must be an object" },
        { "{\"labels\": {\"a\": {\"exemplars\": \"x\"}}}", "must be a list of texts" },
        { "{\"labels\": {\"a\": {\"exemplars\": [1]}}}", "must be a list of texts" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
        CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
        const struct kb_manifest_source source = { .at_path = "kbs[0]", .arena = a, .p = p };
        struct kb_manifest m;
        int e = kb_manifest_parse(&m, str_of(rows[i].text), "labels.json", &source);
        problems_print(p, &text);
        if (rows[i].says ? e != -EINVAL || !strstr(text.p, rows[i].says) : e != 0)
            fail_msg("row %zu: %d %s", i, e, text.p ? text.p : "");
    }
}

#define LEVELS(composer)                                                                           \
    "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"                             \
    "routing:\n"                                                                                   \
    "  signals:\n"                                                                                 \
    "    keywords: [{name: now, keywords: [now]}]\n"                                               \
    "    complexity:\n"                                                                            \
    "      - {name: work, threshold: 0.1, hard: {candidates: [design a distributed system with"    \
    " failure handling, debug a race condition in production]}, easy: {candidates: [write a"       \
    " helper function, fix a small typo]}" composer "}\n"                                          \
    "  decisions: [{name: hard, rules: {type: complexity, name: 'work:hard'}},"                    \
    " {name: easy, rules: {type: complexity, name: 'work:easy'}},"                                 \
    " {name: medium, rules: {type: complexity, name: 'work:medium'}}]\n"

static void a_text_has_one_level_unless_the_composer_withholds_it(void **state)
{
    static const char gated[] = LEVELS(", composer: {operator: AND, conditions: [{type: keyword,"
                                       " name: now}]}");
    static const struct {
        const char *yaml, *text, *decision;
    } rows[] = {
        { LEVELS(""), "design a distributed system with failure handling please", "hard" },
        { LEVELS(""), "write a helper function please", "easy" },
        { LEVELS(""), "zebra", "medium" },
        { LEVELS(""), "", "medium" },
        { gated, "write a helper function please", "" },
        { gated, "write a helper function now", "easy" },
        { LEVELS(", composer: {operator: NOT, conditions: [{type: keyword, name: now}]}"),
          "write a helper function now", "" },
        { "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
          "routing: {signals: {complexity: [{name: work}]}, decisions: ["
          "{name: hard, rules: {type: complexity, name: 'work:hard'}},"
          " {name: easy, rules: {type: complexity, name: 'work:easy'}}]}\n",
          "hello", "easy" }, /* without examples a short text looks easy */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].yaml, &c);
        struct arena *a = arena_new(8 * MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        if (!str_is(route.decision, rows[i].decision))
            fail_msg("row %zu: %.*s", i, STR_ARG(route.decision));
        size_t matched = 0;
        for (size_t k = 0; k < route.n_signals; k++)
            matched +=
                str_is(route.signals[k].type, "complexity") && route.signals[k].value == TRUTH_true;
        assert_int_equal(matched, rows[i].decision[0] ? 1 : 0);
        arena_free(a);
        router_free(r);
        config_unref(c);
    }
}

static void a_composer_asks_other_families_only(void **state)
{
    static const struct {
        const char *yaml, *says;
    } rows[] = {
        { LEVELS(", composer: {type: complexity, name: 'work:hard'}"), "cannot ask" },
        { LEVELS(", composer: {type: keyword, name: then}"), "'then' is not defined" },
        { LEVELS(", composer: {operator: XOR, conditions: []}"), "is not one of" },
        { "routing: {signals: {complexity: [{name: a}]}, decisions: [{name: d, rules: {type:"
          " complexity, name: a}}]}",
          "needs a level" },
        { "routing: {signals: {complexity: [{name: a}]}, decisions: [{name: d, rules: {type:"
          " complexity, name: 'b:hard'}}]}",
          "'b:hard' is not defined" },
        { "routing: {signals: {complexity: [{name: a}, {name: a}]}}", "defined twice" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int e;
        char *text = policy_problems(rows[i].yaml, &e);
        if (e != -EINVAL || !strstr(text, rows[i].says))
            fail_msg("row %zu: %s", i, text);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_similar_label_and_group_match),
        cmocka_unit_test(a_base_that_is_nowhere_leaves_its_signals_unknown),
        cmocka_unit_test(what_is_wrong_with_a_base_is_told),
        cmocka_unit_test(a_manifest_that_cannot_be_read_says_where),
        cmocka_unit_test(a_text_has_one_level_unless_the_composer_withholds_it),
        cmocka_unit_test(a_composer_asks_other_families_only),
    };
    return TEST_RUN(tests);
}
