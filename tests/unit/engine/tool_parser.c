/* A model's words → text (T), reasoning (R) and calls (C), whole and cut anywhere. */
#include "tests/support/test.h"

#include "engine/local/tool_parser.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct chat_tool tools[] = {
    { .name = STR("get_weather"),
      .parameters = STR("{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},"
                        "\"days\":{\"type\":\"integer\"},\"tags\":{\"type\":\"array\"}}}") },
    { .name = STR("clock"), .parameters = STR("{\"type\":\"object\",\"properties\":{}}") },
};

enum { CALLS_MAX = 8 };

struct heard {
    struct buf all; /* "T(…)R(…)C(name …)" */
    enum engine_event_kind last;
    uint32_t call;
    bool any;
    struct buf args[CALLS_MAX];
    size_t n_calls;
    uint64_t end; /* of the events so far */
    size_t deltas;
};

static void hear(void *owner, const struct tool_parser_event *e)
{
    struct heard *h = owner;
    assert_true(e->end >= e->begin && e->end >= h->end);
    h->end = e->end;
    if (e->kind == ENGINE_EVENT_tool_call) {
        if (e->call.name.n) {
            assert_int_equal(e->call.index, h->n_calls);
            assert_int_equal(e->call.id.n, strlen("call_") + 24);
            assert_true(str_starts(e->call.id, STR("call_")));
            if (h->any)
                buf_addc(&h->all, ')');
            buf_addf(&h->all, "C(" STR_FMT " ", STR_ARG(e->call.name));
            h->args[h->n_calls++] = BUF_INIT(1 << 20);
        }
        assert_int_equal(e->call.index, h->n_calls - 1);
        buf_add(&h->all, e->call.arguments);
        buf_add(&h->args[e->call.index], e->call.arguments);
        h->deltas += e->call.arguments.n > 0;
    } else {
        assert_true(e->text.n > 0 && str_utf8_valid(e->text));
        if (!h->any || h->last != e->kind)
            buf_addf(&h->all, "%s%s", h->any ? ")" : "",
                     e->kind == ENGINE_EVENT_text ? "T(" : "R(");
        buf_add(&h->all, e->text);
    }
    h->any = true;
    h->last = e->kind;
}

struct row {
    const char *what, *format; /* of the case; the row's name */
    bool think, opened, single, cut, no_tools, forced;
    const char *in, *want, *streamed; /* streamed: what differs where arguments leave at once */
};

static void format_of(struct tool_format *ret, const struct row *r)
{
    for (size_t i = 0; tool_format_row(i); i++)
        if (strcmp(tool_format_row(i)->name, r->format) == 0)
            *ret = *tool_format_row(i);
    assert_string_equal(ret->name, r->format);
    if (r->think && !ret->think_open) {
        ret->think_open = "<think>";
        ret->think_close = "</think>";
    }
}

/* Feeds in[0, a), in[a, b) and the rest. */
static void say(const struct row *r, bool whole, size_t a, size_t b, struct heard *h)
{
    struct tool_format f = { 0 };
    format_of(&f, r);
    struct tool_parser_options o = { .format = &f,
                                     .tools = tools,
                                     .n_tools = r->no_tools ? 0 : ARRAY_LEN(tools),
                                     .opened = r->opened,
                                     .whole = whole,
                                     .single = r->single,
                                     .forced = r->forced,
                                     .on_event = hear,
                                     .owner = h };
    CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
    assert_int_equal(tool_parser_new(&p, &o), 0);
    struct str in = str_of(r->in),
               parts[] = { str_head(in, a), str_head(str_sub(in, a), b - a), str_sub(in, b) };
    int s = 0;
    h->all = BUF_INIT(1 << 20);
    for (size_t i = 0; i < 3 && s == 0; i++)
        s = tool_parser_push(p, parts[i]);
    assert_int_equal(s, r->single && strchr(r->want, 'C') ? TOOL_PARSER_ENOUGH : 0);
    if (s == 0)
        assert_int_equal(tool_parser_end(p, r->cut), 0);
    assert_int_equal(tool_parser_calls(p), h->n_calls);
    if (h->any)
        buf_addc(&h->all, ')');
}

static void forget(struct heard *h)
{
    for (size_t i = 0; i < h->n_calls; i++)
        buf_done(&h->args[i]);
    buf_done(&h->all);
}

static void check(const struct row *r, bool whole, size_t a, size_t b)
{
    struct heard h = { 0 };
    say(r, whole, a, b, &h);
    const char *want = !whole && r->streamed ? r->streamed : r->want;
    if (strcmp(h.all.p ? h.all.p : "", want) != 0)
        fail_msg("%s, %s, cut at %zu and %zu:\n  %s\nwanted\n  %s", r->what,
                 whole ? "whole" : "streamed", a, b, h.all.p ? h.all.p : "", want);
    for (size_t i = 0; i < h.n_calls && !r->cut && (whole || !r->streamed); i++) {
        json_auto_t *v = json_loadb(h.args[i].p, h.args[i].n, 0, NULL);
        assert_true(json_is_object(v));
    }
    forget(&h);
}

static bool is_border(const char *text, size_t at)
{
    return ((unsigned char)text[at] & 0xc0) != 0x80;
}

/* Whole, every single cut, and byte by byte around each place. */
static void check_cuts(const struct row *r)
{
    size_t n = strlen(r->in);
    for (int whole = 0; whole < 2; whole++) {
        for (size_t a = 0; a <= n; a++) {
            if (!is_border(r->in, a))
                continue;
            size_t b = a < n ? a + 1 : n;
            while (!is_border(r->in, b))
                b++;
            check(r, whole, a, a);
            check(r, whole, a, b);
        }
    }
}

/* One character a push. */
static void check_characters(const struct row *r, bool whole)
{
    struct tool_format f = { 0 };
    format_of(&f, r);
    struct heard h = { .all = BUF_INIT(1 << 20) };
    struct tool_parser_options o = { .format = &f,
                                     .tools = tools,
                                     .n_tools = r->no_tools ? 0 : ARRAY_LEN(tools),
                                     .opened = r->opened,
                                     .whole = whole,
                                     .single = r->single,
                                     .forced = r->forced,
                                     .on_event = hear,
                                     .owner = &h };
    CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
    assert_int_equal(tool_parser_new(&p, &o), 0);
    int s = 0;
    for (size_t a = 0, b; r->in[a] && s == 0; a = b) {
        for (b = a + 1; !is_border(r->in, b);)
            b++;
        s = tool_parser_push(p, (struct str){ r->in + a, b - a });
    }
    if (s == 0)
        assert_int_equal(tool_parser_end(p, r->cut), 0);
    if (h.any)
        buf_addc(&h.all, ')');
    const char *want = !whole && r->streamed ? r->streamed : r->want;
    if (strcmp(h.all.p ? h.all.p : "", want) != 0)
        fail_msg("%s, %s, by character:\n  %s\nwanted\n  %s", r->what, whole ? "whole" : "streamed",
                 h.all.p ? h.all.p : "", want);
    forget(&h);
}

static void check_all(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_cuts(&rows[i]);
        check_characters(&rows[i], true);
        check_characters(&rows[i], false);
    }
}

#define WEATHER                                                                                    \
    "{\"city\": \"Z\xc3\xbcrich \\\"}\\u00e4\", \"days\": -2.5e1, \"tags\": [\"a\", {}]}"
#define CALL_WEATHER "C(get_weather " WEATHER ")"

static const struct row calls[] = {
    { "one call", "hermes",
      .in = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " WEATHER "}\n</tool_call>",
      .want = CALL_WEATHER },
    { "text, two calls, spaces between", "hermes",
      .in = "Let me see. \n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " WEATHER
            "}\n</tool_call>\n<tool_call>\n{\"name\": \"clock\", \"arguments\": "
            "{}}\n</tool_call>\n",
      .want = "T(Let me see.)" CALL_WEATHER "C(clock {})" },
    { "text behind a call", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>\n\nDone <b> 1 < 2",
      .want = "C(clock {})T(Done <b> 1 < 2)" },
    { "arguments first", "hermes",
      .in = "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"clock\"}</tool_call>",
      .want = "C(clock {\"a\": 1})" },
    { "no arguments", "hermes", .in = "<tool_call>{\"name\": \"clock\"}</tool_call>",
      .want = "C(clock {})" },
    { "null arguments", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": null}</tool_call>",
      .want = "C(clock {})" },
    { "arguments in a string", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
      .want = "C(clock {\"a\": 1})" },
    { "other members", "hermes",
      .in = "<tool_call>{\"id\": 7, \"x\": {\"name\": \"y\"}, \"name\": \"clock\", "
            "\"arguments\": {\"name\": \"z\"}, \"more\": [true]}</tool_call>",
      .want = "C(clock {\"name\": \"z\"})" },
    { "a newline inside a string", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": \"1\n\t2\"}}</tool_call>",
      .want = "C(clock {\"a\": \"1\\n\\t2\"})" },
    { "the closing mark is missing", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}}", .want = "C(clock {})" },
    { "the last brace is missing", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}", .want = "C(clock {})" },
    { "one call is enough", "hermes", .single = true,
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call><tool_call>{",
      .want = "C(clock {})" },
    { "bare JSON", "llama", .in = "{\"name\": \"get_weather\", \"parameters\": " WEATHER "}",
      .want = CALL_WEATHER },
    { "behind a tag, with a type", "llama",
      .in = "<|python_tag|>{\"type\": \"function\", \"name\": \"clock\", \"parameters\": {}}",
      .want = "C(clock {})" },
    { "several, with semicolons", "llama",
      .in = "\n{\"name\": \"clock\", \"parameters\": {}}; {\"name\": \"clock\", "
            "\"parameters\": {\"a\": 1}}\n{\"name\": \"clock\"}",
      .want = "C(clock {})C(clock {\"a\": 1})C(clock {})" },
    { "an array", "mistral",
      .in = "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": " WEATHER
            ", \"id\": \"abcdefgh1\"}, {\"name\": \"clock\", \"arguments\": {}, \"id\": "
            "\"abcdefgh2\"}]",
      .want = CALL_WEATHER "C(clock {})" },
    { "an array with spaces", "mistral",
      .in = " [TOOL_CALLS] [ {\"name\":\"clock\",\"arguments\":{}} ] ", .want = "C(clock {})" },
    { "names before arguments", "mistral_args",
      .in = "[TOOL_CALLS]get_weather[ARGS]" WEATHER "[TOOL_CALLS]clock[ARGS]{}",
      .want = CALL_WEATHER "C(clock {})" },
    { "names with ids", "mistral_args",
      .in = "ok[TOOL_CALLS]clock[CALL_ID]abcdefgh1[ARGS] {\"a\":[]}",
      .want = "T(ok)C(clock {\"a\":[]})" },
    { "DeepSeek V3.1", "deepseek",
      .in = "Sure<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" WEATHER
            "<｜tool▁call▁end｜><｜tool▁call▁begin｜>clock<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜>",
      .want = "T(Sure)" CALL_WEATHER "C(clock {})" },
    { "DeepSeek R1", "deepseek_r1",
      .in = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
            "```json\n" WEATHER "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
            "<｜tool▁sep｜>clock\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      .want = CALL_WEATHER "C(clock {})" },
    { "Kimi", "kimi",
      .in = "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
            "<|tool_call_argument_begin|>" WEATHER
            "<|tool_call_end|><|tool_call_begin|>functions.clock:11"
            "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
      .want = CALL_WEATHER "C(clock {})" },
    { "Granite", "granite",
      .in = "<|tool_call|>[{\"arguments\": {\"a\": 1}, \"name\": \"clock\"}, {\"name\": "
            "\"clock\", \"arguments\": {}}]",
      .want = "C(clock {\"a\": 1})C(clock {})" },
    { "Command R7B", "command",
      .in = "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"get_weather\", "
            "\"parameters\": " WEATHER "},\n    {\"tool_call_id\": \"1\", \"tool_name\": "
            "\"clock\", \"parameters\": {}}\n]<|END_ACTION|>",
      .want = CALL_WEATHER "C(clock {})" },
    { "tags", "qwen_coder",
      .in = "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nZ\xc3\xbcrich\n"
            "</parameter>\n<parameter=days>\n2\n</parameter>\n<parameter=tags>\n[1, "
            "\"<b>\"]\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=clock>\n"
            "</function>\n</tool_call>",
      .want = "T(I look.)C(get_weather {\"city\": \"Z\xc3\xbcrich\", \"days\": 2, \"tags\": "
              "[1, \"<b>\"]})C(clock {})" },
    { "a text parameter stays text", "qwen_coder",
      .in = "<tool_call><function=get_weather><parameter=city>\n42\nlines \"q\"\n\n</parameter>"
            "<parameter=days>many</parameter></function></tool_call>",
      .want = "C(get_weather {\"city\": \"42\\nlines \\\"q\\\"\\n\", \"days\": \"many\"})" },
    { "tags, ended early", "qwen_coder",
      .in = "<tool_call>\n<function=clock>\n<parameter=a>\n1\n</parameter>\n",
      .want = "C(clock {\"a\": 1})" },
    { "JSON where tags are usual", "qwen_coder",
      .in = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>",
      .want = "C(clock {})" },
    { "GLM", "glm",
      .in = "\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
            "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>clock"
            "</tool_call>",
      .want = "C(get_weather {\"city\": \"Bern\", \"days\": 3})C(clock {})" },
    { "gpt-oss", "harmony",
      .in = "<|channel|>analysis<|message|>Need the time.<|end|><|start|>assistant<|channel|>"
            "commentary to=functions.clock <|constrain|>json<|message|>{\"a\": 1}",
      .want = "R(Need the time.)C(clock {\"a\": 1})" },
    { "gpt-oss, receiver first", "harmony",
      .in = " to=functions.get_weather<|channel|>commentary json<|message|>" WEATHER "<|call|>",
      .want = CALL_WEATHER },
    { "gpt-oss, an answer", "harmony",
      .in = "<|channel|>analysis<|message|> Hm. <|end|><|start|>assistant<|channel|>final"
            "<|message|>It is <b>.<|return|>",
      .want = "R(Hm.)T(It is <b>.)" },
    { "either mark", "generic", .in = "<|tool_call|>[{\"name\": \"clock\", \"arguments\": {}}]",
      .want = "C(clock {})" },
    { "bare JSON", "generic", .in = "{\"name\": \"clock\", \"arguments\": {\"a\": null}}",
      .want = "C(clock {\"a\": null})" },
};

static void each_family_writes_calls_in_its_own_way(void **state)
{
    check_all(calls, ARRAY_LEN(calls));
}

static const struct row texts[] = {
    { "nothing", "hermes", .in = "", .want = "" },
    { "plain text", "hermes", .in = " Hello <tool world \n", .want = "T( Hello <tool world \n)" },
    { "an unknown function", "hermes",
      .in = "a <tool_call>{\"name\": \"rm\", \"arguments\": {\"x\": 1}}</tool_call> b",
      .want = "T(a <tool_call>{\"name\": \"rm\", \"arguments\": {\"x\": 1}}</tool_call> b)" },
    { "no JSON", "hermes", .in = "<tool_call>clock()</tool_call>",
      .want = "T(<tool_call>clock()</tool_call>)" },
    { "a broken call, then a good one", "hermes",
      .in = "<tool_call>{\"name\": clock}</tool_call>\n<tool_call>{\"name\": \"clock\"}"
            "</tool_call>",
      .want = "T(<tool_call>{\"name\": clock}</tool_call>)C(clock {})" },
    { "a call inside of a broken one", "hermes",
      .in = "<tool_call><tool_call>{\"name\": \"clock\"}</tool_call>",
      .want = "T(<tool_call>)C(clock {})" },
    { "arguments that are no object", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": [1]}</tool_call>",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": [1]}</tool_call>)" },
    { "a string that is no object", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": \"1\"}</tool_call>",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": \"1\"}</tool_call>)" },
    { "no name", "hermes", .in = "<tool_call>{\"arguments\": {}}</tool_call>",
      .want = "T(<tool_call>{\"arguments\": {}}</tool_call>)" },
    { "broken arguments", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": tru}}</tool_call>.",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": tru}}</tool_call>.)",
      .streamed = "C(clock {\"a\": tru)T(}}</tool_call>.)" },
    { "an end in the middle", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": [1, 2",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": [1, 2)",
      .streamed = "C(clock {\"a\": [1, 2)" },
    { "cut short in the middle", "hermes", .cut = true,
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": [1, 2",
      .want = "C(clock {\"a\": [1, 2)" },
    { "cut short in the name", "hermes", .cut = true, .in = "<tool_call>{\"name\": \"clo",
      .want = "T(<tool_call>{\"name\": \"clo)" },
    { "cut short in the mark", "hermes", .cut = true, .in = "hm <tool_c", .want = "T(hm <tool_c)" },
    { "a forced one cut in the mark", "hermes", .cut = true, .forced = true, .in = "<tool_c",
      .want = "" },
    { "a forced one cut in the name", "hermes", .cut = true, .forced = true,
      .in = "<tool_call>{\"name\": \"clo", .want = "" },
    { "a forced one cut in the middle", "hermes", .cut = true, .forced = true,
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": [1, 2",
      .want = "C(clock {\"a\": [1, 2)" },
    { "a second forced one cut in the name", "hermes", .cut = true, .forced = true,
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>\n<tool_call>{\"na",
      .want = "C(clock {})" },
    { "nothing was offered", "hermes", .no_tools = true,
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": {}}</tool_call>)" },
    { "JSON that is an answer", "llama", .in = "{\"answer\": 42}", .want = "T({\"answer\": 42})" },
    { "JSON with a name", "llama", .in = "{\"name\": \"Ann\", \"age\": 3}",
      .want = "T({\"name\": \"Ann\", \"age\": 3})" },
    { "JSON later on", "llama", .in = "So: {\"name\": \"clock\", \"parameters\": {}}",
      .want = "T(So: {\"name\": \"clock\", \"parameters\": {}})" },
    { "code behind the tag", "llama", .in = "<|python_tag|>print(1)",
      .want = "T(<|python_tag|>print(1))" },
    { "an empty array", "mistral", .in = "[TOOL_CALLS][]", .want = "T([TOOL_CALLS][])" },
    { "the second of an array", "mistral",
      .in = "[TOOL_CALLS][{\"name\": \"clock\", \"arguments\": {}}, {\"name\": \"rm\"}]",
      .want = "C(clock {})T(, {\"name\": \"rm\"}])" },
    { "an unknown name", "mistral_args", .in = "[TOOL_CALLS]rm[ARGS]{}",
      .want = "T([TOOL_CALLS]rm[ARGS]{})" },
    { "no arguments behind the name", "mistral_args", .in = "[TOOL_CALLS]clock[ARGS]now",
      .want = "T([TOOL_CALLS]clock[ARGS]now)" },
    { "a section without a call", "kimi", .in = "<|tool_calls_section_begin|>hm",
      .want = "T(<|tool_calls_section_begin|>hm)" },
    { "a tag without a function", "qwen_coder", .in = "<tool_call>\nhm <function=clock>",
      .want = "T(<tool_call>\nhm <function=clock>)" },
    { "an unknown function in a tag", "qwen_coder",
      .in = "<tool_call>\n<function=rm>\n</function>\n</tool_call>",
      .want = "T(<tool_call>\n<function=rm>\n</function>\n</tool_call>)" },
    { "junk between tags", "qwen_coder",
      .in = "<tool_call><function=clock>junk</function></tool_call>",
      .want = "T(<tool_call><function=clock>junk</function></tool_call>)",
      .streamed = "C(clock )T(junk</function></tool_call>)" },
    { "no header", "harmony", .in = "Hello <|x|> you", .want = "T(Hello <|x|> you)" },
    { "nested too deeply", "hermes",
      .in = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": "
            "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
      .want = "T(<tool_call>{\"name\": \"clock\", \"arguments\": {\"a\": "
              "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[)",
      .streamed = "C(clock {\"a\": "
                  "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[)"
                  "T([[[[[[[[[[)" },
};

static void what_is_no_call_stays_text(void **state)
{
    check_all(texts, ARRAY_LEN(texts));
}

static const struct row thoughts[] = {
    { "a block first", "hermes", .think = true,
      .in = "<think>\nHm, <b>?\n\n</think>\n\nYes </think> no.\n",
      .want = "R(Hm, <b>?)T(Yes </think> no.\n)" },
    { "opened by the prompt", "hermes", .think = true, .opened = true,
      .in = "\nHm.\n</think>\n\nYes.", .want = "R(Hm.)T(Yes.)" },
    { "never closed", "hermes", .think = true, .in = "<think>Hm </thi", .want = "R(Hm </thi)" },
    { "an empty block", "hermes", .think = true, .in = "<think>\n\n</think>\n\nYes",
      .want = "T(Yes)" },
    { "a mark in the text is text", "hermes", .think = true, .in = "The tag <think> begins.",
      .want = "T(The tag <think> begins.)" },
    { "no tools, still reasoning", "hermes", .think = true, .no_tools = true,
      .in = "\n<think>a</think>b \n", .want = "R(a)T(b \n)" },
    { "a family that does not think", "hermes", .in = "<think>a</think>b",
      .want = "T(<think>a</think>b)" },
    { "then a call", "hermes", .think = true, .opened = true,
      .in = "Time? <tool_call> is it.</think>\n\n<tool_call>\n{\"name\": "
            "\"clock\"}\n</tool_call>",
      .want = "R(Time? <tool_call> is it.)C(clock {})" },
    { "then a bare call", "generic", .think = true, .in = "<think>x</think>{\"name\": \"clock\"}",
      .want = "R(x)C(clock {})" },
    { "a response in marks", "granite", .think = true,
      .in = "<think>a</think>\n<response> b </response>", .want = "R(a)T(b)" },
    { "an empty one, then text", "command", .in = "Hello", .want = "T(Hello)" },
};

static void reasoning_comes_apart(void **state)
{
    check_all(thoughts, ARRAY_LEN(thoughts));
}

static void arguments_leave_as_they_arrive(void **state)
{
    static const char in[] = "<tool_call>{\"name\": \"clock\", \"arguments\": {\"zone\": "
                             "\"Europe/Zurich\"}}</tool_call>";
    static const struct row r = { "deltas", "hermes", .in = in, .want = "C" };
    struct tool_format f = { 0 };
    format_of(&f, &r);
    for (int whole = 0; whole < 2; whole++) {
        struct heard h = { .all = BUF_INIT(4096) };
        struct tool_parser_options o = { .format = &f,
                                         .tools = tools,
                                         .n_tools = ARRAY_LEN(tools),
                                         .whole = whole,
                                         .on_event = hear,
                                         .owner = &h };
        CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
        assert_int_equal(tool_parser_new(&p, &o), 0);
        for (size_t i = 0; in[i]; i++)
            assert_int_equal(tool_parser_push(p, (struct str){ in + i, 1 }), 0);
        assert_int_equal(h.deltas, whole ? 1 : strlen("{\"zone\": \"Europe/Zurich\"}"));
        forget(&h);
    }
}

static void a_long_answer_costs_linear_time(void **state)
{
    static const struct row r = { "long", "hermes", .in = "", .want = "" };
    struct tool_format f = { 0 };
    format_of(&f, &r);
    struct heard h = { .all = BUF_INIT(16 << 20) };
    struct tool_parser_options o = {
        .format = &f, .tools = tools, .n_tools = 2, .on_event = hear, .owner = &h
    };
    CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
    assert_int_equal(tool_parser_new(&p, &o), 0);
    for (size_t i = 0; i < 200000; i++) /* spaces may go with a mark: only some wait */
        assert_int_equal(tool_parser_push(p, STR("\n")), 0);
    assert_true(h.all.n > 199000);
    assert_int_equal(
        tool_parser_push(p, STR("<tool_call>{\"name\":\"clock\",\"arguments\":{\"a\":\"")), 0);
    for (size_t i = 0; i < 200000; i++)
        assert_int_equal(tool_parser_push(p, STR("x")), 0);
    assert_int_equal(h.args[0].n, strlen("{\"a\":\"") + 200000);
    forget(&h);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_writes_calls_in_its_own_way),
        cmocka_unit_test(what_is_no_call_stays_text),
        cmocka_unit_test(reasoning_comes_apart),
        cmocka_unit_test(arguments_leave_as_they_arrive),
        cmocka_unit_test(a_long_answer_costs_linear_time),
    };
    return TEST_RUN(tests);
}
