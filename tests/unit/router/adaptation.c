/* Router learning: when experience proposes another candidate, and when a conversation may change.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLICY                                                                                     \
    "providers:\n"                                                                                 \
    "  defaults: {default_model: a}\n"                                                             \
    "  models:\n"                                                                                  \
    "    - {name: a, pricing: {prompt_per_1m: 1, completion_per_1m: 1}}\n"                         \
    "    - {name: b, pricing: {prompt_per_1m: 1, completion_per_1m: 1}}\n"                         \
    "    - {name: c, pricing: {prompt_per_1m: 10, completion_per_1m: 10}}\n"                       \
    "routing:\n"                                                                                   \
    "  modelCards: [{name: a}, {name: b}, {name: c}]\n"                                            \
    "  signals: {keywords: [{name: other, operator: OR, keywords: [elsewhere]}]}\n"                \
    "  decisions:\n"                                                                               \
    "    - {name: e, priority: 5, tier: 2, modelRefs: [{model: c}],\n"                             \
    "       rules: {operator: AND, conditions: [{type: keyword, name: other}]}}\n"                 \
    "    - name: d\n"                                                                              \
    "      tier: 2\n"                                                                              \
    "      modelRefs: [{model: a}, {model: b}]\n"

struct past { /* of a, b and c */
    double good, weak, failed, over, tried, prefix;
};

struct row {
    const char *more; /* of the decision */
    const char *global;
    struct past past[3];
    struct route_session last; /* model empty: none */
    const char *messages;      /* roles: u, a, t */
    size_t bytes;              /* of the first message */
    const char *model, *actions, *reasons;
};

static const struct router *asking; /* it said what it may ask */

static void look(void *ctx, const struct candidate_query *q, struct candidate_state *ret)
{
    assert_int_equal(q->wants & ~router_wants(asking), 0);
    const struct past *p = &((const struct past *)ctx)[q->model.p[0] - 'a'];
    *ret = (struct candidate_state){ .known = KNOWN_outcomes | KNOWN_prefix,
                                     .good_fit = p->good,
                                     .underpowered = p->weak,
                                     .failed = p->failed,
                                     .overprovisioned = p->over,
                                     .attempts = p->tried,
                                     .prefix = p->prefix };
}

static struct route_request request_of(const struct row *row, struct chat_message *messages,
                                       struct chat_request *chat, char *text)
{
    static const char *const roles[] = { ['u'] = "user", ['a'] = "assistant", ['t'] = "tool" };
    size_t n = strlen(row->messages);
    memset(text, 'x', row->bytes);
    for (size_t i = 0; i < n; i++)
        messages[i] = (struct chat_message){ .role = str_of(roles[(unsigned char)row->messages[i]]),
                                             .content = STR("hello") };
    if (row->bytes)
        messages[0].content = (struct str){ text, row->bytes };
    *chat = (struct chat_request){ .model = STR("auto"), .messages = messages, .n_messages = n };
    return (struct route_request){ .chat = chat,
                                   .candidate = look,
                                   .candidate_ctx = (void *)(uintptr_t)row->past,
                                   .in_session = true,
                                   .last = row->last.model.n ? &row->last : NULL };
}

static void check(const struct row *rows, size_t n)
{
    static char text[65536];
    for (size_t i = 0; i < n; i++) {
        struct config *c = NULL;
        struct buf yaml = BUF_INIT(MIB);
        struct chat_message messages[8];
        struct chat_request chat;
        struct route route;
        struct fail fail = { 0 };
        buf_addf(&yaml, "%s%sglobal: {router: {learning: {enabled: true, %s}}}\n", POLICY,
                 rows[i].more, rows[i].global);
        struct router *r = policy_from(yaml.p, &c);
        struct arena *arena = arena_new(16 * MIB);
        asking = r;
        struct route_request q = request_of(&rows[i], messages, &chat, text);
        assert_int_equal(router_route(r, &q, arena, &route, &fail), 0);
        if (!str_is(route.model, rows[i].model) ||
            !str_is(route.learning.actions, rows[i].actions) ||
            !str_is(route.learning.reasons, rows[i].reasons))
            fail_msg("row %zu: '%.*s' by '%.*s' because '%.*s'", i, STR_ARG(route.model),
                     STR_ARG(route.learning.actions), STR_ARG(route.learning.reasons));
        arena_free(arena);
        router_free(r);
        config_unref(c);
        buf_done(&yaml);
    }
}

#define ADAPT "protection: {enabled: false}"
#define PROTECT "adaptation: {enabled: false}"
#define TRIED                                                                                      \
    {                                                                                              \
        0, 0, 0, 0, 1, 0                                                                           \
    }
#define GOOD(n)                                                                                    \
    {                                                                                              \
        n, 0, 0, 0, 9, 0                                                                           \
    }

static const struct row proposals[] = {
    /* equal: the base keeps its thousandth */
    { "",
      ADAPT,
      { TRIED, TRIED, TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=keep_base",
      "adaptation=base_best" },
    /* b 12/14 over a 1/2 */
    { "",
      ADAPT,
      { TRIED, GOOD(10), TRIED },
      { { 0 } },
      "u",
      0,
      "b",
      "adaptation=propose_switch",
      "adaptation=posterior_win" },
    /* c is of another decision, and dearer: only the wider sets have it */
    { "",
      ADAPT,
      { TRIED, TRIED, GOOD(20) },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=keep_base",
      "adaptation=base_best" },
    { "      adaptations: {adaptation: {candidate_set: tier}}\n",
      ADAPT,
      { TRIED, TRIED, GOOD(20) },
      { { 0 } },
      "u",
      0,
      "c",
      "adaptation=propose_switch",
      "adaptation=posterior_win" },
    { "",
      "adaptation: {candidate_set: global}, " ADAPT,
      { TRIED, TRIED, GOOD(20) },
      { { 0 } },
      "u",
      0,
      "c",
      "adaptation=propose_switch",
      "adaptation=posterior_win" },
    /* global asks for .08 more: c (2+1)/(4+1) = .6 less .1, a .5 less .01 */
    { "",
      "adaptation: {candidate_set: global}, " ADAPT,
      { TRIED, TRIED, GOOD(1) },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=keep_base",
      "adaptation=base_best" },
    /* failures: b (3/5 = .6) less .1 * 3/5; a .5 */
    { "",
      ADAPT,
      { TRIED, { 1, 0, 3, 0, 9, 0 }, TRIED },
      { { 0 } },
      "u",
      0,
      "b",
      "adaptation=propose_switch",
      "adaptation=posterior_win" },
    { "",
      ADAPT,
      { { 2, 0, 0, 0, 9, 0 }, { 2, 0, 9, 0, 9, 0 }, TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=keep_base",
      "adaptation=base_best" },
    { "      adaptations: {mode: observe}\n",
      ADAPT,
      { TRIED, GOOD(10), TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=observe",
      "adaptation=observe_only" },
    { "      adaptations: {mode: bypass}\n",
      ADAPT,
      { TRIED, GOOD(10), TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=bypass",
      "adaptation=decision_bypass" },
    { "      adaptations: {mode: observe, adaptation: {mode: apply}}\n",
      ADAPT,
      { TRIED, GOOD(10), TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "adaptation=observe",
      "adaptation=observe_only" },
};

static void experience_proposes_what_is_enough_better(void **state)
{
    (void)state;
    check(proposals, ARRAY_LEN(proposals));
}

#define LAST(who, n)                                                                               \
    {                                                                                              \
        .decision = { "d", 1 }, .model = { who, 1 }, .turns = n, .held = n                         \
    }
#define BOTH "protection: {scope: conversation}"

static const struct row protections[] = {
    { "",
      PROTECT,
      { TRIED, TRIED, TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "protection=establish_baseline",
      "protection=new_conversation" },
    { "",
      PROTECT ", protection: {scope: session}",
      { TRIED, TRIED, TRIED },
      { { 0 } },
      "u",
      0,
      "a",
      "protection=establish_baseline",
      "protection=new_session" },
    { "",
      PROTECT,
      { TRIED, TRIED, TRIED },
      LAST("a", 1),
      "u",
      0,
      "a",
      "protection=hold_current",
      "protection=current_best" },
    /* the base says a; b holds, for nothing is gained */
    { "",
      PROTECT,
      { TRIED, TRIED, TRIED },
      LAST("b", 1),
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=switch_margin_not_met" },
    /* .5 to 11/14: .286 over .05 + .2/8 */
    { "",
      PROTECT,
      { GOOD(10), TRIED, TRIED },
      LAST("b", 1),
      "u",
      0,
      "a",
      "protection=allow_switch",
      "protection=switch_allowed" },
    /* the same, and 8,192 tokens to be read again: .05 + .35 + .025 */
    { "",
      PROTECT,
      { GOOD(10), TRIED, TRIED },
      LAST("b", 1),
      "uau",
      32768,
      "b",
      "protection=hold_current",
      "protection=switch_margin_not_met" },
    { "      adaptations: {protection: {stability_weight: 0.1}}\n",
      PROTECT,
      { GOOD(10), TRIED, TRIED },
      LAST("b", 1),
      "uau",
      32768,
      "a",
      "protection=allow_switch",
      "protection=switch_allowed" },
    { "      adaptations: {protection: {switch_margin: 0.5}}\n",
      PROTECT,
      { GOOD(10), TRIED, TRIED },
      LAST("b", 1),
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=switch_margin_not_met" },
    /* all of its prompt is in b's cache: .45 */
    { "",
      PROTECT,
      { GOOD(10), { 0, 0, 0, 0, 1, 1 }, TRIED },
      LAST("b", 1),
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=switch_margin_not_met" },
    { "",
      PROTECT ", protection: {tuning: {min_turns_before_switch: 3}}",
      { GOOD(10), TRIED, TRIED },
      LAST("b", 2),
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=min_turns_before_switch" },
    { "",
      PROTECT ", protection: {scope: session}",
      { GOOD(10), TRIED, TRIED },
      LAST("b", 2),
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=session_scope" },
    /* a tool's answer is due */
    { "",
      PROTECT,
      { GOOD(90), TRIED, TRIED },
      LAST("b", 1),
      "uat",
      0,
      "b",
      "protection=hold_current",
      "protection=tool_or_protocol_state" },
    /* silent for too long; another decision; no candidate here any more */
    { "",
      PROTECT,
      { TRIED, TRIED, TRIED },
      { .decision = { "d", 1 }, .model = { "b", 1 }, .turns = 1, .held = 1, .idle = true },
      "u",
      0,
      "a",
      "protection=establish_baseline",
      "protection=idle_reset" },
    { "",
      PROTECT,
      { TRIED, TRIED, TRIED },
      { .decision = { "e", 1 }, .model = { "b", 1 }, .turns = 1, .held = 1 },
      "u",
      0,
      "a",
      "protection=establish_baseline",
      "protection=decision_changed" },
    /* an earlier decision asked to stay: also here */
    { "",
      PROTECT,
      { GOOD(90), TRIED, TRIED },
      { .decision = { "e", 1 }, .model = { "b", 1 }, .turns = 1, .held = 1, .keeps = true },
      "u",
      0,
      "b",
      "protection=hold_current",
      "protection=retention" },
    { "      adaptations: {mode: bypass}\n",
      PROTECT,
      { TRIED, TRIED, TRIED },
      LAST("b", 1),
      "u",
      0,
      "a",
      "protection=bypass",
      "protection=decision_bypass" },
    { "      adaptations: {protection: {mode: observe}}\n",
      PROTECT,
      { TRIED, TRIED, TRIED },
      LAST("b", 1),
      "u",
      0,
      "a",
      "protection=observe",
      "protection=observe_only" },
    /* both: what experience proposes must pay too */
    { "",
      BOTH,
      { TRIED, GOOD(10), TRIED },
      LAST("a", 1),
      "u",
      0,
      "b",
      "adaptation=propose_switch,protection=allow_switch",
      "adaptation=posterior_win,protection=switch_allowed" },
    { "",
      BOTH,
      { TRIED, GOOD(10), TRIED },
      LAST("a", 8),
      "uau",
      32768,
      "a",
      "adaptation=propose_switch,protection=hold_current",
      "adaptation=posterior_win,protection=switch_margin_not_met" },
};

static void a_conversation_changes_only_when_it_pays(void **state)
{
    (void)state;
    check(protections, ARRAY_LEN(protections));
}

static const struct row rescues[] = {
    { "",
      PROTECT,
      { TRIED, { 0, 2, 0, 0, 9, 1 }, TRIED },
      LAST("b", 9),
      "uau",
      32768,
      "a",
      "protection=rescue_switch",
      "protection=rescue_evidence" },
    { "",
      PROTECT,
      { TRIED, { 3, 2, 0, 0, 9, 1 }, TRIED },
      LAST("b", 9),
      "uau",
      32768,
      "b",
      "protection=hold_current",
      "protection=switch_margin_not_met" },
    { "",
      PROTECT,
      { TRIED, { 9, 0, 2, 0, 9, 1 }, TRIED },
      LAST("b", 9),
      "uau",
      32768,
      "a",
      "protection=rescue_switch",
      "protection=rescue_evidence" },
    /* in this conversation */
    { "",
      PROTECT,
      { TRIED, GOOD(9), TRIED },
      { .decision = { "d", 1 }, .model = { "b", 1 }, .turns = 3, .held = 3, .underpowered = 2 },
      "u",
      0,
      "a",
      "protection=rescue_switch",
      "protection=rescue_evidence" },
    /* the base itself is the weak one: the best of the others */
    { "",
      PROTECT,
      { { 0, 2, 0, 0, 9, 0 }, TRIED, TRIED },
      LAST("a", 3),
      "u",
      0,
      "b",
      "protection=rescue_switch",
      "protection=rescue_evidence" },
    /* nobody is better */
    { "",
      PROTECT,
      { { 0, 2, 0, 0, 9, 0 }, { 0, 3, 0, 0, 9, 0 }, TRIED },
      LAST("a", 3),
      "u",
      0,
      "a",
      "protection=hold_current",
      "protection=current_best" },
    { "",
      PROTECT ", protection: {scope: session}",
      { TRIED, { 0, 2, 0, 0, 9, 1 }, TRIED },
      LAST("b", 9),
      "u",
      0,
      "a",
      "protection=rescue_switch",
      "protection=rescue_evidence" },
};

static void a_model_that_is_too_weak_is_left(void **state)
{
    (void)state;
    check(rescues, ARRAY_LEN(rescues));
}

static void what_was_never_tried_is_tried_once(void **state)
{
    (void)state;
    static const struct row row = { "",
                                    ADAPT,
                                    { GOOD(50), { 0 }, TRIED },
                                    { { 0 } },
                                    "u",
                                    0,
                                    "b",
                                    "adaptation=propose_switch",
                                    "adaptation=cold_start" };
    struct config *c = NULL;
    struct buf yaml = BUF_INIT(MIB);
    struct chat_message messages[8];
    struct chat_request chat;
    struct route route;
    struct fail fail = { 0 };
    char text[1];
    buf_addf(&yaml, "%sglobal: {router: {learning: {enabled: true, %s}}}\n", POLICY, row.global);
    struct router *r = policy_from(yaml.p, &c);
    asking = r;
    struct arena *arena = arena_new(16 * MIB);
    struct route_request q = request_of(&row, messages, &chat, text);
    q.seed = 1;
    assert_int_equal(router_route(r, &q, arena, &route, &fail), 0);
    assert_true(str_is(route.model, row.model) && str_is(route.learning.reasons, row.reasons));
    /* without chance, as `rootstock route` asks, nothing is tried */
    q.seed = 0;
    assert_int_equal(router_route(r, &q, arena, &route, &fail), 0);
    assert_true(str_is(route.model, "a"));
    arena_free(arena);
    router_free(r);
    config_unref(c);
    buf_done(&yaml);
}

static void draws_follow_the_posterior(void **state)
{
    (void)state;
    static const struct row row = {
        "", ADAPT, { { 3, 3, 0, 0, 9, 0 }, { 3, 3, 0, 0, 9, 0 }, TRIED }, { { 0 } }, "u", 0, "",
        "", ""
    };
    struct config *c = NULL;
    struct buf yaml = BUF_INIT(MIB);
    struct chat_message messages[8];
    struct chat_request chat;
    struct fail fail = { 0 };
    char text[1];
    unsigned b = 0;
    buf_addf(&yaml, "%sglobal: {router: {learning: {enabled: true, %s}}}\n", POLICY, row.global);
    struct router *r = policy_from(yaml.p, &c);
    asking = r;
    struct route_request q = request_of(&row, messages, &chat, text);
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct arena *arena = arena_new(16 * MIB);
        struct route route;
        q.seed = seed;
        assert_int_equal(router_route(r, &q, arena, &route, &fail), 0);
        b += str_is(route.model, "b");
        arena_free(arena);
    }
    /* equal posteriors, a thousandth for the base: half of 2000, within 5 deviations of 22 */
    assert_in_range(b, 880, 1110);
    router_free(r);
    config_unref(c);
    buf_done(&yaml);
}

static void settings_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *learning, *problem;
    } rows[] = {
        { "{enabled: true, adaptation: {strategy: magic}}", "is not one of routing_sampling" },
        { "{enabled: true, adaptation: {strategy: linucb}}",
          "warning: global.router.learning.adaptation.strategy: 'linucb' is not served" },
        { "{enabled: true, protection: {scope: planet}}", "is not one of conversation, session" },
        { "{enabled: true, state_store: {backend: file}}", "the backend 'file' needs a path" },
        { "{enabled: true, state_store: {backend: redis}}", "kept in the memory of each process" },
        { "{enabled: true, protection: {tuning: {switch_margin: -1}}}", "switch_margin" },
        { "{enabled: true, protecton: {}}", "did you mean 'protection'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf yaml = BUF_INIT(MIB);
        int r = 0;
        buf_addf(&yaml, "%sglobal: {router: {learning: %s}}\n", POLICY, rows[i].learning);
        char *text = policy_problems(yaml.p, &r);
        if (!strstr(text, rows[i].problem))
            fail_msg("row %zu: %s", i, text);
        free(text);
        buf_done(&yaml);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(experience_proposes_what_is_enough_better),
        cmocka_unit_test(a_conversation_changes_only_when_it_pays),
        cmocka_unit_test(a_model_that_is_too_weak_is_left),
        cmocka_unit_test(what_was_never_tried_is_tried_once),
        cmocka_unit_test(draws_follow_the_posterior),
        cmocka_unit_test(settings_are_checked),
    };
    return TEST_RUN(tests);
}
