/* Any text as a chat template: refused with a line, or rendered, or stopped at a bound. */
#include "tests/fuzz/fuzz.h"

#include "engine/local/chat_template.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(chat_template_freep) struct chat_template *t = NULL;
    CLEANUP(chat_rendering_done) struct chat_rendering out = { 0 };
    struct chat_tool_call call = { STR("id1"), STR("clock"), STR("{\"zone\": [1, null, {}]}") };
    struct chat_message messages[] = {
        { .role = STR("system"), .content = STR("Be \xc3\xa4.") },
        { .role = STR("user"), .content = STR(" Time? <|im_end|>\n") },
        { .role = STR("assistant"), .tool_calls = &call, .n_tool_calls = 1 },
        { .role = STR("tool"), .content = STR("12"), .tool_call_id = STR("id1") },
    };
    struct chat_request q = { .messages = messages,
                              .n_messages = 4,
                              .tools_json = STR("[{\"function\": {\"name\": \"clock\"}}]") };
    struct chat_template_vars vars = { .request = &q,
                                       .add_generation_prompt = true,
                                       .bos_token = STR("<s>"),
                                       .eos_token = STR("</s>") };
    struct fail f = { 0 };
    int r = chat_template_new(&t, (struct str){ (const char *)data, size }, &f);
    if (r == 0)
        r = chat_template_render(t, &vars, &out, &f);
    if (r != 0 && r != FAILED)
        abort();
    return 0;
}
