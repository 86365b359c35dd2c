/*
 * The third-party cases of core selection whose algorithms need no model: who answers is among
 * those that the case expects. The cases say nothing of prices and qualities; those here are ours.
 */
#include "router/selection/learning.h"
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

static const char *const models[] = { "gpt-3.5-turbo", "gpt-4", "claude-3-opus" };

/* The cheapest is named first: preferring it is what feedback has to overcome. */
#define POLICY                                                                                     \
    "providers:\n"                                                                                 \
    "  defaults: {default_model: gpt-4}\n"                                                         \
    "  models:\n"                                                                                  \
    "    - {name: gpt-3.5-turbo, pricing: {prompt_per_1m: 1, completion_per_1m: 2}}\n"             \
    "    - {name: gpt-4, pricing: {prompt_per_1m: 30, completion_per_1m: 60}}\n"                   \
    "    - {name: claude-3-opus, pricing: {prompt_per_1m: 15, completion_per_1m: 75}}\n"           \
    "routing:\n"                                                                                   \
    "  modelCards:\n"                                                                              \
    "    - {name: gpt-3.5-turbo, quality_score: 0.6}\n"                                            \
    "    - {name: gpt-4, quality_score: 0.9}\n"                                                    \
    "    - {name: claude-3-opus, quality_score: 0.92}\n"                                           \
    "  decisions:\n"                                                                               \
    "    - name: d\n"                                                                              \
    "      modelRefs: [{model: gpt-3.5-turbo}, {model: gpt-4}, {model: claude-3-opus}]\n"          \
    "      algorithm: %s\n"

struct known_case {
    const char *name, *algorithm;
};

/* Left out: router_dc_coding, gmtrouter_personalized, router_r1_reasoning (they need a model). */
static const struct known_case known[] = {
    { "static_basic", "{type: static}" },
    { "elo_after_feedback", "{type: elo}" },
    { "automix_simple", "{type: automix}" },
    { "automix_complex", "{type: automix, automix: {cost_aware_routing: false}}" },
    { "hybrid_multi_signal", "{type: hybrid}" },
    { "thompson_exploration", "{type: rl_driven}" },
};

struct ratings {
    double of[ARRAY_LEN(models)];
    bool known;
};

static size_t index_of(struct str model)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        if (str_is(model, models[i]))
            return i;
    fail_msg("the case names the model '%.*s'", STR_ARG(model));
    return 0;
}

static void look(void *ctx, const struct candidate_query *q, struct candidate_state *ret)
{
    const struct ratings *r = ctx;
    if (r->known)
        *ret =
            (struct candidate_state){ .known = KNOWN_rating, .rating = r->of[index_of(q->model)] };
}

static void take_feedback(struct ratings *r, const struct node *list)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        r->of[i] = 1500;
    for (size_t i = 0; list && i < list->n; i++) {
        size_t winner = index_of(node_get(list->items[i], "winner_model")->scalar);
        size_t loser = index_of(node_get(list->items[i], "loser_model")->scalar);
        elo_update(&r->of[winner], &r->of[loser], 32, false);
        r->known = true;
    }
}

static void run_case(const struct node *at, const char *algorithm)
{
    char yaml[2048];
    struct config *c = NULL;
    struct ratings ratings = { .known = false };
    (void)snprintf(yaml, sizeof(yaml), POLICY, algorithm);
    struct router *r = policy_from(yaml, &c);
    struct arena *a = arena_new(MIB);
    struct chat_message m = { .role = STR("user"), .content = node_get(at, "query")->scalar };
    struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
    struct route_request q = { .chat = &chat, .candidate = look, .candidate_ctx = &ratings };
    struct route route;
    struct fail fail;
    take_feedback(&ratings, node_get(at, "feedback_before"));
    const struct node *expected = node_get(at, "expected_models");
    bool found = false;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        q.seed = seed;
        assert_int_equal(router_route(r, &q, a, &route, &fail), 0);
        found = false;
        for (size_t i = 0; i < expected->n; i++)
            found = found || str_eq(expected->items[i]->scalar, route.model);
        if (!found)
            fail_msg("%s: %.*s", algorithm, STR_ARG(route.model));
    }
    arena_free(a);
    router_free(r);
    config_unref(c);
}

static void third_party_cases_pick_who_they_expect(void **state)
{
    TEST_SHARED(path, "conformance/semantic-router/e2e/core_selection_cases.json");
    struct problems *p = problems_new();
    struct document *d = NULL;
    size_t ran = 0;
    assert_int_equal(document_load(&d, path, p), 0);
    const struct node *cases = node_get(document_root(d), "test_cases");
    for (size_t i = 0; cases && i < cases->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            if (str_is(node_get(cases->items[i], "name")->scalar, known[k].name)) {
                run_case(cases->items[i], known[k].algorithm);
                ran++;
            }
    assert_int_equal(ran, ARRAY_LEN(known));
    document_free(d);
    problems_free(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(third_party_cases_pick_who_they_expect),
    };
    return TEST_RUN(tests);
}
