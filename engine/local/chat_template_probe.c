/*
 * What a template has words for: its text alone does not say, so it is tried out.
 */
#include "engine/local/chat_template.h"

#include "engine/local/tool_format.h"

/* Whether the template renders these messages, and `needle` comes out. */
static bool shows(const struct chat_template *t, const struct chat_request *request,
                  const char *needle)
{
    struct chat_template_vars vars = { .request = request,
                                       .add_generation_prompt = true,
                                       .bos_token = STR("<s>"),
                                       .eos_token = STR("</s>") };
    CLEANUP(chat_rendering_done) struct chat_rendering r = { 0 };
    return chat_template_render(t, &vars, &r, /* reterr= */ NULL) == 0 &&
           str_find((struct str){ r.text, r.n }, str_of(needle)) >= 0;
}

void chat_template_probe(const struct chat_template *t, struct tool_format *f)
{
#define PROBE_TOOL(name)                                                                           \
    "[{\"type\": \"function\", \"function\": {\"name\": \"" name                                   \
    "\", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]"
    static const char tools[] = PROBE_TOOL("probe_name"), others[] = PROBE_TOOL("other");
    struct chat_tool_call call = { STR("probecall"), STR("probe_name"), STR("{\"a\": 1}") };
    struct chat_message system[] = { { .role = STR("system"), .content = STR("probe_system") },
                                     { .role = STR("user"), .content = STR("u") } };
    struct chat_message turns[] = {
        { .role = STR("user"), .content = STR("u") },
        { .role = STR("assistant"), .tool_calls = &call, .n_tool_calls = 1 },
        { .role = STR("tool"), .content = STR("probe_result"), .tool_call_id = STR("probecall") },
    };
    struct chat_request told = { .messages = system + 1, .n_messages = 1, .tools_json = STR_NULL };
    struct chat_request with_system = { .messages = system, .n_messages = 2 };
    struct chat_request called = { .messages = turns, .n_messages = 2 };
    struct chat_request answered = { .messages = turns, .n_messages = 3 };
    told.tools_json = str_of(tools);
    f->has_tools = shows(t, &told, "probe_name");
    if (f->has_tools) /* some walk over them without looking whether there are any */
        called.tools_json = answered.tools_json = with_system.tools_json = str_of(others);
    f->has_system = shows(t, &with_system, "probe_system");
    f->has_calls = shows(t, &called, "probe_name");
    f->has_results = (f->has_tools || f->has_calls) && shows(t, &answered, "probe_result");
}
