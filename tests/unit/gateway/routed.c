/*
 * What the winning decision changes in a request: the template's word on reasoning, and the form of
 * the answer.
 */
#include "gateway/api/routed.h"

#include "base/limits.h"
#include "router/output_contract.h"
#include "tests/support/test.h"

#include <errno.h>
#include <string.h>

#define FAMILIES                                                                                   \
    "providers: {defaults: {default_model: m, default_reasoning_effort: high, "                    \
    "reasoning_families: "                                                                         \
    "{flag: {type: chat_template_kwargs, parameter: enable_thinking}, word: {type: "               \
    "reasoning_effort, parameter: reasoning.effort}, top: {type: top_level_reasoning_effort, "     \
    "parameter: reasoning_effort}}}, models: [{name: m}, {name: flag, reasoning_family: flag}, "   \
    "{name: word, reasoning_family: word}, {name: top, reasoning_family: top}]}\n"

static void route_of(struct router **ret, struct config **c, const char *ref, struct arena *a,
                     struct route *route)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    buf_addf(&b, FAMILIES "routing: {decisions: [{name: d, modelRefs: [%s]}]}\n", ref);
    assert_int_equal(config_parse(c, "policy.yaml", buf_str(&b), p), 0);
    assert_int_equal(router_new(ret, *c, p), 0);
    struct chat_message m = { .role = STR("user"), .content = STR("x") };
    struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
    struct route_request q = { .chat = &chat };
    struct fail fail = { 0 };
    assert_int_equal(router_route(*ret, &q, a, route, &fail), 0);
}

static void the_template_is_told_to_reason(void **state)
{
    static const struct {
        const char *ref, *given, *want;
    } rows[] = {
        { "{model: m, use_reasoning: true}", "", "" }, /* it has no family */
        { "{model: flag, use_reasoning: true}", "", "{\"enable_thinking\":true}" },
        { "{model: flag}", "", "{\"enable_thinking\":false}" },
        { "{model: flag}", "{\"x\":1,\"enable_thinking\":true}",
          "{\"x\":1,\"enable_thinking\":false}" },
        { "{model: word, use_reasoning: true}", "", "{\"reasoning_effort\":\"high\"}" },
        { "{model: word, use_reasoning: true, reasoning_effort: minimal}",
          "{\"reasoning_effort\":\"low\"}", "{\"reasoning_effort\":\"minimal\"}" },
        { "{model: word}", "", "{\"reasoning_effort\":\"low\"}" },
        { "{model: word}", "{\"reasoning_effort\":\"high\"}", "{\"reasoning_effort\":\"high\"}" },
        { "{model: top, use_reasoning: true}", "", "{\"reasoning_effort\":\"high\"}" },
        { "{model: top}", "", "" },
        { "{model: top}", "{\"reasoning_effort\":\"high\"}", "{\"reasoning_effort\":\"high\"}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(8 * MIB);
        CLEANUP(router_freep) struct router *r = NULL;
        CLEANUP(config_unrefp) struct config *c = NULL;
        struct route route;
        struct chat_request chat = { .template_kwargs = str_of(rows[i].given) };
        route_of(&r, &c, rows[i].ref, a, &route);
        assert_int_equal(routed_apply(&chat, &route, a), 0);
        if (!str_is(chat.template_kwargs, rows[i].want))
            fail_msg("row %zu: %.*s", i, STR_ARG(chat.template_kwargs));
        bool set = strcmp(rows[i].given, rows[i].want) != 0;
        bool effort = set && strstr(rows[i].want, "reasoning_effort");
        assert_int_equal(chat.changed, effort ? CHAT_CHANGED_effort
                                       : set  ? CHAT_CHANGED_template
                                              : 0);
        assert_true((chat.reasoning_effort.n > 0) == effort);
        (void)router_free(TAKE(r)); /* before its configuration */
    }
}

static void the_answer_takes_the_form_of_the_contract(void **state)
{
    static const struct output_contract choice = {
        CONTRACT_choice, { "[\"a\",\"b\"]", 9 }, { "", 0 }, false
    };
    static const struct output_contract json = { .type = CONTRACT_structured_json };
    static const struct output_contract reference = { .type = CONTRACT_reference_selection };
    static const struct chat_tool tool = { .name = { "f", 1 } };
    const struct {
        const struct output_contract *contract;
        struct chat_request chat;
        enum chat_format want;
    } rows[] = {
        { NULL, { .n = 1 }, CHAT_FORMAT_text },
        { &choice, { .n = 1 }, CHAT_FORMAT_choice },
        { &json, { .n = 1 }, CHAT_FORMAT_json_object },
        { &reference, { .n = 1 }, CHAT_FORMAT_text },
        { &choice, { .format = CHAT_FORMAT_json_object }, CHAT_FORMAT_json_object },
        { &choice, { .tools = &tool, .n_tools = 1 }, CHAT_FORMAT_text },
        { &choice,
          { .tools = &tool, .n_tools = 1, .tool_choice = TOOL_CHOICE_none },
          CHAT_FORMAT_choice },
        { &choice, { .is_completion = true }, CHAT_FORMAT_text },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_request chat = rows[i].chat;
        struct route route = { .contract = rows[i].contract };
        assert_int_equal(routed_apply(&chat, &route, NULL), 0);
        assert_int_equal(chat.format, rows[i].want);
        assert_int_equal(chat.changed,
                         chat.format == rows[i].chat.format ? 0 : CHAT_CHANGED_format);
        if (chat.format == CHAT_FORMAT_choice)
            assert_true(str_is(chat.format_text, "[\"a\",\"b\"]"));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_template_is_told_to_reason),
        cmocka_unit_test(the_answer_takes_the_form_of_the_contract),
    };
    return TEST_RUN(tests);
}
