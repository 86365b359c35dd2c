/*
 * Selection: settings that must be refused, with their place, and what describes a candidate.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS                                                                                     \
    "providers:\n"                                                                                 \
    "  defaults: {default_model: a}\n"                                                             \
    "  models:\n"                                                                                  \
    "    - {name: a, pricing: {prompt_per_1m: 1, completion_per_1m: 3}}\n"                         \
    "    - {name: b, pricing: {prompt_per_1m: 4, completion_per_1m: 12}}\n"                        \
    "    - {name: c}\n"                                                                            \
    "routing:\n"                                                                                   \
    "  modelCards: [{name: a, quality_score: 0.5}, {name: b, quality_score: 0.9}, {name: c}]\n"    \
    "  decisions:\n"                                                                               \
    "    - name: d\n"                                                                              \
    "      modelRefs: "

#define THREE "[{model: a}, {model: b, lora_name: x}, {model: c}]\n      algorithm: "

struct described {
    const char *of_b, *of_c; /* expected */
    bool capabilities;
    unsigned seen;
};

static void look_at_descriptions(void *ctx, const struct candidate_query *q,
                                 struct candidate_state *ret)
{
    struct described *d = ctx;
    (void)ret;
    d->seen++;
    assert_true(str_is(q->description, q->model.p[0] == 'b' ? d->of_b : d->of_c));
    assert_true((q->capabilities != NULL) == d->capabilities);
    if (q->capabilities)
        assert_int_equal(q->capabilities->n, q->model.p[0] == 'b' ? 2 : 0);
}

static void a_candidate_comes_with_what_describes_it(void **state)
{
#define CARDS                                                                                      \
    "providers: {defaults: {default_model: b}}\n"                                                  \
    "routing:\n"                                                                                   \
    "  modelCards:\n"                                                                              \
    "    - {name: b, description: base, capabilities: [code, sql], loras: [{name: x, "             \
    "description: queries}, {name: y}]}\n"                                                         \
    "    - {name: c}\n"                                                                            \
    "  decisions:\n"                                                                               \
    "    - {name: d, algorithm: {type: router_dc, router_dc: {use_capabilities: %s}}, modelRefs: " \
    "[{model: b%s}, {model: c}]}\n"
    static const struct {
        const char *use, *adapter, *of_b;
    } rows[] = {
        { "true", "", "base" },
        { "false", "", "base" },
        { "true", ", lora_name: x", "queries" },
        { "true", ", lora_name: x@prod", "queries" },
        { "false", ", lora_name: y", "base" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char yaml[1024];
        struct config *c = NULL;
        (void)snprintf(yaml, sizeof(yaml), CARDS, rows[i].use, rows[i].adapter);
        struct router *r = policy_from(yaml, &c);
        struct arena *a = arena_new(MIB);
        struct described d = { rows[i].of_b, "", strcmp(rows[i].use, "true") == 0, 0 };
        struct chat_message m = { .role = STR("user"), .content = STR("hello") };
        struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
        struct route_request q = { .chat = &chat,
                                   .candidate = look_at_descriptions,
                                   .candidate_ctx = &d };
        struct route route;
        struct fail fail;
        assert_int_equal(router_route(r, &q, a, &route, &fail), 0);
        assert_int_equal(d.seen, 2);
        arena_free(a);
        router_free(r);
        config_unref(c);
    }
}

static void settings_that_are_wrong_are_named(void **state)
{
#define ON(algorithm) MODELS THREE algorithm "\n"
    static const char *const rows[][2] = {
        { ON("{type: latency_aware}"), "algorithm.latency_aware: needs tpot_percentile or" },
        { ON("{type: latency_aware, latency_aware: {tpot_percentile: 101}}"), "tpot_percentile" },
        { ON("{type: latency_aware, latency_aware: {tpot_percentil: 90}}"),
          "did you mean 'tpot_percentile'?" },
        { ON("{type: multi_factor, multi_factor: {weights: {quality: -1}}}"), "weights.quality" },
        { ON("{type: multi_factor, multi_factor: {slo: {max_tpot: 3}}}"), "max_tpot" },
        { ON("{type: multi_factor, multi_factor: {on_no_candidates: cheapst}}"),
          "on_no_candidates: 'cheapst' is not one of" },
        { ON("{type: multi_factor, latency_aware: {tpot_percentile: 9}}"),
          "algorithm.latency_aware: holds settings of 'latency_aware', but the type is "
          "'multi_factor'" },
        { ON("{type: elo, elo: {initial_rating: x}}"), "elo.initial_rating" },
        { ON("{type: rl_driven, rl_driven: {exploration_rate: 1.5}}"), "exploration_rate" },
        { ON("{type: weighted, weighted: {sticky: sesion}}"), "'sesion' is not one of" },
        { ON("{type: confidence, confidence: {confidence_method: automix_entailment}}"),
          "needs verifier_server_url" },
        { ON("{type: confidence, confidence: {verifier_server_url: 'http://h'}}"),
          "automix_entailment only" },
        { ON("{type: confidence, confidence: {token_filter: some}}"), "'some' is not one of" },
        { ON("{type: ratings, ratings: {on_error: fallback}}"), "'fallback' is not one of" },
        { ON("{type: automix, automix: {max_escalations: 11}}"), "automix.max_escalations" },
        { ON("{type: hybrid, hybrid: {experience_weight: 0, router_dc_weight: 0, automix_weight: "
             "0, cost_weight: 0}}"),
          "algorithm.hybrid: every weight is 0" },
        { ON("{type: adapter_affinity, adapter_affinity: {queue_full: 0}}"), "queue_full" },
        { ON("{type: adapter_afinity}"), "'adapter_afinity' is not one of" },
        { ON("{type: prompt}"),
          "policy.yaml:12:18: error: routing.decisions[0].algorithm.prompt: 'model' is missing" },
        { ON("{type: prompt, prompt: {model: a, instruction: x}}"),
          "did you mean 'instructions'?" },
        { ON("{type: router_dc, router_dc: {min_similarity: 2}}"), "min_similarity" },
        { ON("{type: remom}"), "breadth_schedule is missing" },
        { ON("{type: remom, remom: {breadth_schedule: [3, 0]}}"), "breadth_schedule[1]" },
        { ON("{type: fusion, fusion: {grounding: {min_score: 2}}}"), "grounding.min_score" },
        { ON("{type: workflows}"), "mode: static needs roles" },
        { ON("{type: workflows, workflows: {mode: dynamic, roles: [{name: r, models: [a]}]}}"),
          "roles belong to mode: static" },
        { ON("{type: workflows, workflows: {roles: [{name: r, models: []}]}}"), "roles[0]" },
        { ON("{type: workflows, workflows: {mode: dynamic, min_successful_responses: 3}}"),
          "above max_parallel" },
        { "providers: {models: [{name: a, pricing: {prompt_per_1m: cheap}}]}\nrouting: {}\n",
          "providers.models[0].pricing.prompt_per_1m" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int result = 0;
        char *text = policy_problems(rows[i][0], &result);
        if (result != -EINVAL || !strstr(text, rows[i][1]))
            fail_msg("row %zu wants '%s': %d, %s", i, rows[i][1], result, text);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_candidate_comes_with_what_describes_it),
        cmocka_unit_test(settings_that_are_wrong_are_named),
    };
    return TEST_RUN(tests);
}
