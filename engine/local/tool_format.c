#include "engine/local/tool_format.h"

#include "base/own.h"

/*
 * The first row whose words a template holds is its family; so rows that hold another's words come
 * first. The formats are what the models' own templates show (Hugging Face, tokenizer_config.json).
 */
static const struct tool_format rows[] = {
    {
        .name = "harmony", /* gpt-oss */
        .detect = { "<|channel|>analysis", "<|message|>" },
        .body = TOOL_BODY_channels,
        .single = true,
        .begin = "<|channel|>commentary to=functions.",
        .mid = " <|constrain|>json<|message|>",
        .think_open = "<|channel|>analysis<|message|>",
        .think_close = "<|end|><|start|>assistant",
    },
    {
        .name = "kimi",
        .detect = { "<|tool_calls_section_begin|>" },
        .body = TOOL_BODY_named,
        .open = { "<|tool_calls_section_begin|>" },
        .call_open = "<|tool_call_begin|>",
        .name_prefix = "functions.",
        .separator = "<|tool_call_argument_begin|>",
        .close = { "<|tool_call_end|>", "<|tool_calls_section_end|>" },
        .begin = "<|tool_calls_section_begin|>",
        .pre = "<|tool_call_begin|>functions.",
        .mid = ":#<|tool_call_argument_begin|>",
        .post = "<|tool_call_end|>",
        .end = "<|tool_calls_section_end|>",
    },
    {
        .name = "deepseek_r1", /* V3 and R1, and models distilled from it */
        .detect = { "<｜tool▁calls▁begin｜>", "```json" },
        .body = TOOL_BODY_named,
        .open = { "<｜tool▁calls▁begin｜>" },
        .call_open = "<｜tool▁call▁begin｜>",
        .name_prefix = "function<｜tool▁sep｜>",
        .separator = "```json",
        .close = { "```<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>" },
        .begin = "<｜tool▁calls▁begin｜>",
        .pre = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        .mid = "\n```json\n",
        .post = "\n```<｜tool▁call▁end｜>",
        .join = "\n",
        .end = "<｜tool▁calls▁end｜>",
    },
    {
        .name = "deepseek",
        .detect = { "<｜tool▁calls▁begin｜>" },
        .body = TOOL_BODY_named,
        .open = { "<｜tool▁calls▁begin｜>" },
        .call_open = "<｜tool▁call▁begin｜>",
        .separator = "<｜tool▁sep｜>",
        .close = { "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>" },
        .begin = "<｜tool▁calls▁begin｜>",
        .pre = "<｜tool▁call▁begin｜>",
        .mid = "<｜tool▁sep｜>",
        .post = "<｜tool▁call▁end｜>",
        .end = "<｜tool▁calls▁end｜>",
    },
    {
        .name = "command", /* Command R7B */
        .detect = { "<|START_ACTION|>" },
        .open = { "<|START_ACTION|>" },
        .close = { "<|END_ACTION|>" },
        .begin = "<|START_ACTION|>[\n",
        .pre = "    {\"tool_call_id\": \"#\", \"tool_name\": \"",
        .mid = "\", \"parameters\": ",
        .post = "}",
        .join = ",\n",
        .end = "\n]<|END_ACTION|>",
        .answer_open = "<|START_RESPONSE|>",
        .answer_close = "<|END_RESPONSE|>",
    },
    {
        .name = "glm",
        .detect = { "<tool_call>", "<arg_key>", "<arg_value>" },
        .body = TOOL_BODY_tags,
        .open = { "<tool_call>" },
        .close = { "</tool_call>" },
        .pre = "<tool_call>",
        .mid = "\n",
        .post = "</tool_call>",
        .join = "\n",
        .separator = "\n",
        .key_open = "<arg_key>",
        .key_mid = "</arg_key>\n<arg_value>",
        .key_close = "</arg_value>\n",
    },
    {
        .name = "qwen_coder",
        .detect = { "<tool_call>", "<function=", "<parameter=" },
        .body = TOOL_BODY_tags,
        .open = { "<tool_call>" },
        .close = { "</tool_call>" },
        .pre = "<tool_call>\n<function=",
        .mid = ">\n",
        .post = "</function>\n</tool_call>",
        .join = "\n",
        .name_prefix = "<function=",
        .separator = ">",
        .key_open = "<parameter=",
        .key_mid = ">\n",
        .key_close = "\n</parameter>\n",
    },
    {
        .name = "mistral_args", /* Mistral Small 3.2, Magistral, Devstral */
        .detect = { "[TOOL_CALLS]", "[ARGS]" },
        .body = TOOL_BODY_named,
        .open = { "[TOOL_CALLS]" },
        .separator = "[ARGS]",
        .pre = "[TOOL_CALLS]",
        .mid = "[ARGS]",
    },
    {
        .name = "mistral",
        .detect = { "[TOOL_CALLS]" },
        .body = TOOL_BODY_named, /* newer models write names under an old template */
        .open = { "[TOOL_CALLS]" },
        .separator = "[ARGS]",
        .begin = "[TOOL_CALLS][",
        .pre = "{\"name\": \"",
        .mid = "\", \"arguments\": ",
        .post = "}",
        .join = ", ",
        .end = "]",
    },
    {
        .name = "granite",
        .detect = { "<|tool_call|>" },
        .open = { "<|tool_call|>" },
        .begin = "<|tool_call|>[",
        .pre = "{\"name\": \"",
        .mid = "\", \"arguments\": ",
        .post = "}",
        .join = ", ",
        .end = "]",
        .answer_open = "<response>",
        .answer_close = "</response>",
    },
    {
        .name = "hermes", /* Qwen 2.5, Qwen 3, Hermes 2 and 3, Granite 4 … */
        .detect = { "<tool_call>" },
        .open = { "<tool_call>" },
        .close = { "</tool_call>" },
        .pre = "<tool_call>\n{\"name\": \"",
        .mid = "\", \"arguments\": ",
        .post = "}\n</tool_call>",
        .join = "\n",
    },
    {
        .name = "llama", /* Llama 3.1, 3.2, 3.3 */
        .detect = { "<|start_header_id|>", "tool_calls", "\"parameters\"" },
        .implicit = true,
        .single = true,
        .open = { "<|python_tag|>" },
        .pre = "{\"name\": \"",
        .mid = "\", \"parameters\": ",
        .post = "}",
    },
    {
        .name = "generic",
        .implicit = true,
        .open = { "<tool_call>", "<|tool_call|>" },
        .close = { "</tool_call>" },
        .pre = "<tool_call>\n{\"name\": \"",
        .mid = "\", \"arguments\": ",
        .post = "}\n</tool_call>",
        .join = "\n",
    },
};

static const struct {
    const char *open, *close;
} thoughts[] = {
    { "<think>", "</think>" },
    { "[THINK]", "[/THINK]" },
    { "<|START_THINKING|>", "<|END_THINKING|>" },
};

static bool holds(struct str text, const char *what)
{
    return !what || str_find(text, str_of(what)) >= 0;
}

const struct tool_format *tool_format_row(size_t i)
{
    return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}

void tool_format_of(struct tool_format *ret, struct str chat_template)
{
    size_t i = 0;
    for (; i + 1 < ARRAY_LEN(rows); i++) {
        const char *const *words = rows[i].detect;
        if (holds(chat_template, words[0]) && holds(chat_template, words[1]) &&
            holds(chat_template, words[2]))
            break;
    }
    *ret = rows[i];
    for (size_t k = 0; !ret->think_open && k < ARRAY_LEN(thoughts); k++)
        if (holds(chat_template, thoughts[k].open) || holds(chat_template, thoughts[k].close)) {
            ret->think_open = thoughts[k].open;
            ret->think_close = thoughts[k].close;
        }
    ret->has_tools = ret->has_results = holds(chat_template, "tools");
    ret->has_calls = holds(chat_template, "tool_calls");
    ret->has_system = true;
    ret->short_ids = holds(chat_template, "length != 9");
}

/* ---- marks ---- */

static size_t add_mark(struct str *marks, size_t n, const char *mark)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(marks[i], mark))
            return n;
    marks[n] = str_of(mark);
    return n + 1;
}

size_t tool_format_marks(const struct tool_format *f, struct str ret[static TOOL_MARKS_MAX])
{
    static const char *const channels[] = { "<|channel|>",   "<|message|>", "<|start|>", "<|end|>",
                                            "<|constrain|>", "<|call|>",    "<|return|>" };
    const char *const fields[] = {
        f->open[0],      f->open[1],
        f->call_open,    f->close[0],
        f->close[1],     f->think_open,
        f->think_close,  f->answer_open,
        f->answer_close, f->body == TOOL_BODY_named ? f->separator : NULL
    };
    size_t n = 0;
    if (f->body == TOOL_BODY_channels) {
        for (size_t i = 0; i < ARRAY_LEN(channels); i++)
            n = add_mark(ret, n, channels[i]);
        return n;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i])
            n = add_mark(ret, n, fields[i]);
    if (f->name_prefix && f->body == TOOL_BODY_named)
        n = add_mark(ret, n, f->name_prefix);
    return n;
}

bool tool_format_is_mark(const struct tool_format *f, struct str text)
{
    struct str marks[TOOL_MARKS_MAX];
    size_t n = tool_format_marks(f, marks);
    for (size_t i = 0; i < n; i++)
        if (str_find(marks[i], text) >= 0)
            return text.n > 0;
    return false;
}

bool tool_format_opens(const struct tool_format *f, struct str prompt)
{
    return f->think_open && str_ends(str_trim(prompt), str_of(f->think_open));
}
