/* A format (first byte), how it is cut (second), then a model's words: all of them come out once.
 */
#include "tests/fuzz/fuzz.h"

#include "engine/local/tool_parser.h"

#include <stdlib.h>

static void hear(void *owner, const struct tool_parser_event *e)
{
    uint64_t *end = owner;
    if (e->end < e->begin || e->end < *end || (e->kind != ENGINE_EVENT_tool_call && !e->text.n))
        abort();
    *end = e->end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct chat_tool tools[] = { { .name = { "clock", 5 } }, { .name = { "f", 1 } } };
    if (size < 2)
        return 0;
    size_t rows = 0, step = 1 + data[1] % 7;
    while (tool_format_row(rows))
        rows++;
    struct tool_format f = *tool_format_row(data[0] % rows);
    if (!f.think_open && data[1] & 64) {
        f.think_open = "<think>";
        f.think_close = "</think>";
    }
    uint64_t end = 0;
    struct tool_parser_options o = { .format = &f, .tools = tools, .n_tools = 2, .owner = &end };
    o.whole = data[1] & 128;
    o.opened = f.think_open && data[1] & 32;
    o.on_event = hear;
    CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
    if (tool_parser_new(&p, &o) < 0)
        return 0;
    struct str rest = { (const char *)data + 2, size - 2 };
    for (; rest.n; rest = str_sub(rest, step))
        if (tool_parser_push(p, str_head(rest, step)) < 0)
            return 0;
    if (tool_parser_end(p, data[1] & 16) < 0 || end > size - 2)
        abort();
    return 0;
}
