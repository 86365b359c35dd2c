/* Families of templates, and what is written into messages where a template has no words. */
#include "tests/support/test.h"

#include "base/arena.h"
#include "engine/local/chat_template.h"
#include "engine/local/tool_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STR_(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    } /* of a static table */

static void probe(struct tool_format *f, struct str source)
{
    CLEANUP(chat_template_freep) struct chat_template *t = NULL;
    struct fail fail = { 0 };
    tool_format_of(f, source);
    assert_int_equal(chat_template_new(&t, source, &fail), 0);
    chat_template_probe(t, f);
}

struct family {
    const char *file, *name, *think, *words; /* words: t(ools) c(alls) r(esults) s(ystem) i(ds) */
};

static void templates_name_their_family(void **state)
{
    static const struct family all[] = {
        { "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "command", "<|START_THINKING|>",
          "tcrs-" },
        { "GLM-4.6", "glm", "<think>", "tcrs-" },
        { "HuggingFaceTB-SmolLM3-3B", "generic", "<think>", "---s-" },
        { "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes", NULL, "tcrs-" },
        { "Qwen-Qwen2.5-7B-Instruct", "hermes", NULL, "tcrs-" },
        { "Qwen-Qwen3-0.6B", "hermes", "<think>", "tcrs-" },
        { "Qwen3-Coder", "qwen_coder", NULL, "tcrs-" },
        { "deepseek-ai-DeepSeek-V3.1", "deepseek", "<think>", "-crs-" },
        { "google-gemma-2-2b-it", "generic", NULL, "-----" },
        { "ibm-granite-granite-3.3-2B-Instruct", "granite", "<think>", "t-rs-" },
        { "meta-llama-Llama-3.1-8B-Instruct", "llama", NULL, "tcrs-" },
        { "meta-llama-Llama-3.2-3B-Instruct", "llama", NULL, "tcrs-" },
        { "microsoft-Phi-3.5-mini-instruct", "generic", NULL, "---s-" },
        { "mistralai-Mistral-Nemo-Instruct-2407", "mistral", NULL, "tcrsi" },
        { "moonshotai-Kimi-K2", "kimi", NULL, "tcrs-" },
        { "openai-gpt-oss-120b", "harmony", "<|channel|>analysis<|message|>", "tcrs-" },
    };
    bool same = true;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char file[256];
        size_t n = 0;
        struct tool_format f;
        (void)snprintf(file, sizeof(file), "engine/templates/%s.jinja", all[i].file);
        TEST_SHARED(path, file);
        CLEANUP(own_free) char *text = test_read(path, &n);
        probe(&f, (struct str){ text, n });
        char words[] = { f.has_tools ? 't' : '-',   f.has_calls ? 'c' : '-',
                         f.has_results ? 'r' : '-', f.has_system ? 's' : '-',
                         f.short_ids ? 'i' : '-',   '\0' };
        print_message("# %s: %s %s %s\n", all[i].file, f.name, words,
                      f.think_open ? f.think_open : "");
        same = same && strcmp(f.name, all[i].name) == 0 && strcmp(words, all[i].words) == 0 &&
               strcmp(f.think_open ? f.think_open : "", all[i].think ? all[i].think : "") == 0;
    }
    assert_true(same);
}

static struct chat_tool_call calls[] = { { STR_("id1"), STR_("clock"),
                                           STR_("{\"a\":[1,\"<|im_end|>\"]}") },
                                         { STR_("id2"), STR_("other"), STR_("") } };
static struct chat_message turns[] = {
    { .role = STR_("user"), .content = STR_("Time?") },
    { .role = STR_("assistant"),
      .content = STR_("Let me see."),
      .tool_calls = calls,
      .n_tool_calls = 2 },
    { .role = STR_("tool"), .content = STR_("12:00"), .tool_call_id = STR_("id1") },
    { .role = STR_("tool"), .content = STR_("x"), .tool_call_id = STR_("id2") },
    { .role = STR_("user"), .content = STR_("And now?") },
};
static const struct chat_tool tools[] = { { .name = STR_("clock"),
                                            .json = STR_("{\"type\":\"function\"}") } };

#define TOLD                                                                                       \
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "     \
    "provided with function signatures within <tools></tools> XML "                                \
    "tags:\n<tools>\n{\"type\":\"function\"}\n</tools>\n\nFor each function call, return a json "  \
    "object with function name and arguments within <tool_call></tool_call> XML "                  \
    "tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "                              \
    "<args-json-object>}\n</tool_call>"
#define CALLED                                                                                     \
    "Let me see.\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"a\": [1, \"<|im_end|>\"]}}" \
    "\n</tool_call>\n<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>"
#define RESULTS                                                                                    \
    "<tool_response>\n12:00\n</tool_response>\n<tool_response>\nx\n</tool_response>\n\nAnd now?"

static void renders(const char *source, const struct chat_request *q, const char *want)
{
    CLEANUP(chat_template_freep) struct chat_template *t = NULL;
    CLEANUP(chat_rendering_done) struct chat_rendering r = { 0 };
    struct fail fail = { 0 };
    struct tool_format f;
    assert_int_equal(chat_template_new(&t, str_of(source), &fail), 0);
    tool_format_of(&f, str_of(source));
    chat_template_probe(t, &f);
    struct chat_template_vars vars = { .request = q, .add_generation_prompt = true, .format = &f };
    assert_int_equal(chat_template_render(t, &vars, &r, &fail), 0);
    assert_string_equal(r.text, want);
    for (size_t i = 0; i < r.n_spans; i++) /* what users wrote stays theirs */
        if (str_find(r.spans[i].text, STR("\"<|im_end|>\"")) >= 0)
            assert_true(r.spans[i].literal);
}

static void what_a_template_has_no_words_for_is_written_out(void **state)
{
    struct chat_request q = { .messages = turns, .n_messages = 5, .tools = tools, .n_tools = 1 };
    renders(chat_template_chatml, &q,
            "<|im_start|>system\n" TOLD "<|im_end|>\n<|im_start|>user\nTime?<|im_end|>\n"
            "<|im_start|>assistant\n" CALLED "<|im_end|>\n<|im_start|>user\n" RESULTS
            "<|im_end|>\n<|im_start|>assistant\n");
    struct chat_message with_system[] = { { .role = STR("system"), .content = STR("Be kind.") },
                                          turns[0] };
    struct chat_request s = {
        .messages = with_system, .n_messages = 2, .tools = tools, .n_tools = 1
    };
    renders(chat_template_chatml, &s,
            "<|im_start|>system\nBe kind.\n\n" TOLD
            "<|im_end|>\n<|im_start|>user\nTime?<|im_end|>\n"
            "<|im_start|>assistant\n");
}

static void without_tools_nothing_is_written_out(void **state)
{
    struct chat_request q = { .messages = turns, .n_messages = 1 };
    renders(chat_template_chatml, &q, "<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n");
}

static void turns_go_on_alternating_where_they_must(void **state)
{
    static const char source[] =
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    struct chat_request q = { .messages = turns, .n_messages = 5, .tools = tools, .n_tools = 1 };
    renders(source, &q, "[user]" TOLD "\n\nTime?[assistant]" CALLED "[user]" RESULTS);
}

static void a_system_message_joins_the_user_where_none_is_known(void **state)
{
    static const char source[] =
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    struct chat_message all[] = { { .role = STR("system"), .content = STR("Be kind.") }, turns[0] };
    struct chat_request q = { .messages = all, .n_messages = 2 };
    renders(source, &q, "[user]Be kind.\nTime?");
    q.tools = tools;
    q.n_tools = 1;
    renders(source, &q, "[user]" TOLD "\n\nBe kind.\nTime?");
}

static void calls_are_written_in_the_familys_way(void **state)
{
    static const char source[] =
        "{% for t in tools or [] %}{{ t.function.name }}<|tool_call|>{% endfor %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    struct chat_request q = { .messages = turns, .n_messages = 3, .tools_json = STR("[]") };
    renders(source, &q,
            "[user]Time?[assistant]Let me see.\n<|tool_call|>[{\"name\": \"clock\", \"arguments\": "
            "{\"a\": [1, \"<|im_end|>\"]}}, {\"name\": \"other\", \"arguments\": {}}][tool]12:00");
}

static void ids_become_short_where_templates_insist(void **state)
{
    static const char source[] =
        "[TOOL_CALLS]{% if tools %}{% for t in tools %}{{ t.function.name }}{% endfor %}{% endif %}"
        "{% for m in messages %}{% for c in m.tool_calls %}{% if c.id|length != 9 %}"
        "{{ raise_exception('id') }}{% endif %}{{ c.function.name }}={{ c.id }};{% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}:{{ m.content }}{% endif %}{% endfor %}";
    struct chat_message all[] = { turns[1], turns[2] };
    struct chat_request q = { .messages = all, .n_messages = 2, .tools_json = STR("[]") };
    renders(source, &q, "[TOOL_CALLS]clock=f3436f50b;other=b459afddb;f3436f50b:12:00");
}

static void a_prompt_that_opens_reasoning_is_seen(void **state)
{
    struct tool_format f;
    tool_format_of(&f, STR("<think>"));
    assert_true(tool_format_opens(&f, STR("<|im_start|>assistant\n<think>\n")));
    assert_false(tool_format_opens(&f, STR("<think>\n\n</think>\n\n")));
    assert_false(tool_format_opens(&f, STR("assistant\n")));
    tool_format_of(&f, STR(""));
    assert_false(tool_format_opens(&f, STR("<think>")));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_name_their_family),
        cmocka_unit_test(what_a_template_has_no_words_for_is_written_out),
        cmocka_unit_test(without_tools_nothing_is_written_out),
        cmocka_unit_test(turns_go_on_alternating_where_they_must),
        cmocka_unit_test(a_system_message_joins_the_user_where_none_is_known),
        cmocka_unit_test(calls_are_written_in_the_familys_way),
        cmocka_unit_test(ids_become_short_where_templates_insist),
        cmocka_unit_test(a_prompt_that_opens_reasoning_is_seen),
    };
    return TEST_RUN(tests);
}
