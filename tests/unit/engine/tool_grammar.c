/* Forced calls: each family's words, arguments within their schemas, and the parser reads them. */
#include "tests/support/test.h"

#include "base/own.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/tool_format.h"
#include "engine/local/tool_parser.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct gguf *file;
static struct tokenizer *tokenizer;
static struct token_trie *trie;

static int set_up(void **state)
{
    struct fail f;
    return gguf_open(&file, test_path("models/demo.gguf"), &f) ||
           tokenizer_new(&tokenizer, file, &f) || token_trie_new(&trie, tokenizer);
}

static int tear_down(void **state)
{
    token_trie_free(trie);
    tokenizer_free(tokenizer);
    gguf_close(file);
    return 0;
}

/* clang-format off */
#define STR_(s) { s, sizeof(s) - 1 } /* of a static table */
/* clang-format on */

#define WEATHER                                                                                    \
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"enum\":[\"Bern\","       \
    "\"Chur\"]},\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9}},"                     \
    "\"required\":[\"city\"]}"

static const struct chat_tool two[] = {
    { .name = STR_("get_weather"), .parameters = STR_(WEATHER) },
    { .name = STR_("clock") },
};

struct wish {
    const char *format;
    enum tool_choice choice;
    bool opened, single, think, strict;
    const char *text;
    bool good;
};

static struct tool_format format_named(const struct wish *w)
{
    struct tool_format f = { 0 };
    for (size_t i = 0; tool_format_row(i); i++)
        if (strcmp(tool_format_row(i)->name, w->format) == 0)
            f = *tool_format_row(i);
    assert_non_null(f.name);
    if (w->think) {
        f.think_open = "<think>";
        f.think_close = "</think>";
    }
    return f;
}

static struct constraint *follow(const struct tool_format *f, const struct chat_request *q,
                                 bool opened)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    CLEANUP(grammar_unrefp) struct grammar *g = NULL;
    struct constraint *c = NULL;
    grammar_expr e;
    struct fail fail = { 0 };
    assert_int_equal(grammar_builder_new(&b), 0);
    if (tool_format_expr(b, f, q, opened, &e, &fail) != 0 || grammar_build(b, e, &g, &fail) != 0)
        fail_msg("%s: %s", f->name, fail.message);
    assert_int_equal(constraint_new(&c, g, trie), 0);
    return c;
}

#define BERN "{\"city\": \"Bern\", \"days\": 3}"

static const struct wish wishes[] = {
    { "hermes", TOOL_CHOICE_required, .good = true,
      .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " BERN "}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_required, .good = true,
      .text = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n"
              "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Chur\"}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_required, .single = true,
      .text = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n"
              "{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_required, .text = "Hello" },
    { "hermes", TOOL_CHOICE_required, .text = "" },
    { "hermes", TOOL_CHOICE_required,
      .text = "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_required,
      .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_required,
      .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n"
              "</tool_call>" },
    { "hermes", TOOL_CHOICE_required, /* members that were not declared */
      .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\", \"x\": "
              "1}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_function, .good = true,
      .text = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_function,
      .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " BERN "}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_function, .think = true, .good = true,
      .text =
          "<think>\nHm <b>.\n</think>\n\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n"
          "</tool_call>" },
    { "hermes", TOOL_CHOICE_function, .think = true, .good = true,
      .text = "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_function, .think = true, .opened = true, .good = true,
      .text = "Hm.</think><tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_function, .think = true, .text = "<think>Hm." },
    { "hermes", TOOL_CHOICE_auto, .good = true, .text = "Hello <tool_cal" },
    { "hermes", TOOL_CHOICE_auto, .good = true, .text = "" },
    { "hermes", TOOL_CHOICE_auto, .good = true,
      .text = "See: <tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "hermes", TOOL_CHOICE_auto,
      .text = "See: <tool_call>\n{\"name\": \"clock\", \"arguments\": {\"a\": 1}}\n</tool_call>" },
    { "generic", TOOL_CHOICE_auto, .good = true, .text = "Hello {" },
    { "generic", TOOL_CHOICE_auto, .text = "{\"name\": \"clock\", \"arguments\": {\"a\": 1}}" },
    { "generic", TOOL_CHOICE_auto, .good = true,
      .text = "See: <tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>" },
    { "llama", TOOL_CHOICE_required, .good = true,
      .text = "{\"name\": \"get_weather\", \"parameters\": " BERN "}" },
    { "llama", TOOL_CHOICE_required,
      .text =
          "{\"name\": \"clock\", \"parameters\": {}}; {\"name\": \"clock\", \"parameters\": {}}" },
    { "llama", TOOL_CHOICE_auto, .good = true, .text = "Hello" },
    { "llama", TOOL_CHOICE_auto, .text = "{\"name\": \"clock\", \"parameters\": {\"a\": 1}}" },
    { "mistral", TOOL_CHOICE_required, .good = true,
      .text = "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": " BERN
              "}, {\"name\": \"clock\", \"arguments\": {}}]" },
    { "mistral_args", TOOL_CHOICE_required, .good = true,
      .text = "[TOOL_CALLS]get_weather[ARGS]" BERN "[TOOL_CALLS]clock[ARGS]{}" },
    { "deepseek", TOOL_CHOICE_required, .good = true,
      .text = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" BERN
              "<｜tool▁call▁end｜><｜tool▁calls▁end｜>" },
    { "deepseek_r1", TOOL_CHOICE_required, .good = true,
      .text =
          "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n"
          "```<｜tool▁call▁end｜><｜tool▁calls▁end｜>" },
    { "kimi", TOOL_CHOICE_required, .good = true,
      .text = "<|tool_calls_section_begin|><|tool_call_begin|>functions.clock:0"
              "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>" },
    { "granite", TOOL_CHOICE_required, .good = true,
      .text = "<|tool_call|>[{\"name\": \"clock\", \"arguments\": {}}]" },
    { "command", TOOL_CHOICE_required, .good = true,
      .text = "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"clock\", "
              "\"parameters\": {}}\n]<|END_ACTION|>" },
    { "harmony", TOOL_CHOICE_required, .good = true,
      .text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
              "to=functions.clock <|constrain|>json<|message|>{}" },
    { "qwen_coder", TOOL_CHOICE_required, .good = true,
      .text = "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n"
              "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>" },
    { "qwen_coder", TOOL_CHOICE_required,
      .text = "<tool_call>\n<function=get_weather>\n<parameter=days>\n3\n</parameter>\n"
              "</function>\n</tool_call>" },
    { "qwen_coder", TOOL_CHOICE_required,
      .text = "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n"
              "</function>\n</tool_call>" },
    { "glm", TOOL_CHOICE_required, .good = true,
      .text = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
              "</tool_call>\n<tool_call>clock\n</tool_call>" },
};

static void grammars_allow_calls_and_nothing_else(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        const struct wish *w = &wishes[i];
        struct tool_format f = format_named(w);
        struct chat_request q = { .tools = two,
                                  .n_tools = ARRAY_LEN(two),
                                  .tool_choice = w->choice,
                                  .tool_choice_name = STR("clock"),
                                  .single_tool_call = w->single };
        CLEANUP(constraint_freep) struct constraint *c = follow(&f, &q, w->opened);
        bool good = constraint_accept_bytes(c, str_of(w->text)) && constraint_may_end(c);
        if (good != w->good)
            fail_msg("%s: %s%s", w->format, w->text, good ? " is allowed" : " is refused");
    }
}

/* ---- random answers ---- */

#define DEEP                                                                                       \
    "{\"properties\":{\"kind\":{\"enum\":[\"a b\",\"<c>\",\"\xc3\xa4\\\"\"]},\"n\":{\"type\":"     \
    "\"integer\",\"minimum\":-3,\"maximum\":40},\"list\":{\"type\":\"array\",\"maxItems\":2,"      \
    "\"items\":{\"$ref\":\"#/$defs/"                                                               \
    "pair\"}}},\"required\":[\"kind\",\"list\"],\"$defs\":{\"pair\":"                              \
    "{\"type\":\"object\",\"properties\":{\"on\":{\"type\":\"boolean\"}},\"required\":[\"on\"],"   \
    "\"additionalProperties\":false}}}"

static const struct chat_tool many[] = {
    { .name = STR_("get_weather"), .parameters = STR_(WEATHER) },
    { .name = STR_("clock") },
    { .name = STR_("deep"), .parameters = STR_(DEEP) },
};

struct heard {
    struct buf args, name;
    size_t n_calls, n_text;
};

static void check_arguments(struct heard *h)
{
    if (!h->name.n)
        return;
    json_auto_t *v = json_loadb(h->args.p ? h->args.p : "", h->args.n, 0, NULL);
    if (!json_is_object(v))
        fail_msg("%s: %s", h->name.p, h->args.p ? h->args.p : "");
    const json_t *city = json_object_get(v, "city"), *days = json_object_get(v, "days");
    const json_t *list = json_object_get(v, "list"), *kind = json_object_get(v, "kind");
    if (strcmp(h->name.p, "clock") == 0)
        assert_int_equal(json_object_size(v), 0);
    if (strcmp(h->name.p, "get_weather") == 0) {
        assert_true(json_is_string(city));
        assert_true(strcmp(json_string_value(city), "Bern") == 0 ||
                    strcmp(json_string_value(city), "Chur") == 0);
        assert_true(!days || (json_integer_value(days) >= 1 && json_integer_value(days) <= 9));
    }
    if (strcmp(h->name.p, "deep") == 0) {
        assert_true(json_is_string(kind) && json_is_array(list) && json_array_size(list) <= 2);
        for (size_t i = 0; i < json_array_size(list); i++)
            assert_true(json_is_boolean(json_object_get(json_array_get(list, i), "on")));
    }
    buf_clear(&h->args);
    buf_clear(&h->name);
}

static void hear(void *owner, const struct tool_parser_event *e)
{
    struct heard *h = owner;
    h->n_text += e->kind == ENGINE_EVENT_text;
    if (e->kind != ENGINE_EVENT_tool_call)
        return;
    if (e->call.name.n) {
        check_arguments(h);
        buf_add(&h->name, e->call.name);
        h->n_calls++;
    }
    buf_add(&h->args, e->call.arguments);
}

/* A token of the mask, any as likely as any other; -1: the text may end, and does. */
static int32_t draw(struct constraint *c, uint64_t *random)
{
    const uint32_t *mask = constraint_mask(c);
    uint32_t n = 0, vocab = tokenizer_vocab(tokenizer);
    int32_t chosen = -1;
    assert_non_null(mask);
    if (constraint_must_end(c) || (constraint_may_end(c) && test_random(random) % 2))
        return -1;
    for (uint32_t id = 0; id < vocab; id++)
        if ((mask[id / 32] >> id % 32 & 1) && !tokenizer_is_eog(tokenizer, (int32_t)id) &&
            test_random(random) % ++n == 0)
            chosen = (int32_t)id;
    return chosen;
}

enum { STEPS_MAX = 600 };

/* Whether it came to an end. */
static bool random_answer(const struct tool_format *f, enum tool_choice choice, uint64_t *random)
{
    struct heard h = { .args = BUF_INIT(1 << 20), .name = BUF_INIT(1 << 20) };
    struct chat_request q = { .tools = many,
                              .n_tools = ARRAY_LEN(many),
                              .tool_choice = choice,
                              .tool_choice_name = STR("deep") };
    struct tool_parser_options o = {
        .format = f, .tools = many, .n_tools = ARRAY_LEN(many), .on_event = hear, .owner = &h
    };
    CLEANUP(constraint_freep) struct constraint *c = follow(f, &q, false);
    CLEANUP(tool_parser_freep) struct tool_parser *p = NULL;
    assert_int_equal(tool_parser_new(&p, &o), 0);
    bool ended = false;
    for (int i = 0; i < STEPS_MAX && !ended; i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
        int32_t id = draw(c, random);
        ended = id < 0;
        if (ended)
            break;
        assert_true(constraint_accept(c, id));
        tokenizer_decode(tokenizer, id, true, &text);
        assert_int_equal(tool_parser_push(p, buf_str(&text)), 0);
    }
    if (ended) {
        assert_int_equal(tool_parser_end(p, false), 0);
        check_arguments(&h);
        assert_int_equal(h.n_text, 0);
        assert_true(choice == TOOL_CHOICE_function ? h.n_calls == 1 : h.n_calls >= 1);
    }
    buf_done(&h.args);
    buf_done(&h.name);
    return ended;
}

static void random_answers_are_calls_that_the_parser_reads(void **state)
{
    uint64_t random = 7;
    unsigned n = 0;
    for (size_t i = 0; tool_format_row(i); i++)
        for (int k = 0; k < 12; k++)
            n += random_answer(tool_format_row(i),
                               k % 2 ? TOOL_CHOICE_function : TOOL_CHOICE_required, &random);
    print_message("# %u answers ended\n", n);
    assert_true(n > 100);
}

/* ---- what cannot be honoured ---- */

static void schemas_that_cannot_be_honoured_are_named(void **state)
{
    static const struct {
        const char *format, *parameters, *param, *message;
    } rows[] = {
        { "hermes", "[]", "tools[1].function.parameters", "JSON schema" },
        { "hermes", "{\"type\":\"array\"}", "tools[1].function.parameters", "\"object\"" },
        { "hermes", "{\"properties\":{\"a\":{\"uniqueItems\":true,\"type\":\"array\"}}}",
          "tools[1].function.parameters", "uniqueItems" },
        { "qwen_coder", "{\"properties\":{\"a\":{\"type\":\"string\",\"format\":\"date\"}}}",
          "tools[1].function.parameters", "'format'" },
        { "glm", "{\"anyOf\":[{}]}", "tools[1].function.parameters", "'anyOf'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_tool tools[] = {
            two[0], { .name = STR("x"), .parameters = str_of(rows[i].parameters) }
        };
        struct tool_format f = format_named(&(struct wish){ .format = rows[i].format });
        struct chat_request q = { .tools = tools,
                                  .n_tools = 2,
                                  .tool_choice = TOOL_CHOICE_required };
        CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
        grammar_expr e;
        struct fail fail = { 0 };
        assert_int_equal(grammar_builder_new(&b), 0);
        assert_int_equal(tool_format_expr(b, &f, &q, false, &e, &fail), FAILED);
        if (!str_starts(str_of(fail.param), str_of(rows[i].param)) ||
            !strstr(fail.message, rows[i].message))
            fail_msg("%s: param %s: %s", rows[i].parameters, fail.param, fail.message);
    }
}

static void strict_functions_constrain_even_free_choice(void **state)
{
    static const struct chat_tool strict = {
        .name = STR_("x"), .json = STR_("{\"function\":{\"name\":\"x\",\"strict\":true}}")
    };
    struct tool_format f = format_named(&(struct wish){ .format = "hermes" });
    struct tool_format channels = format_named(&(struct wish){ .format = "harmony" });
    struct chat_request q = { .tools = two, .n_tools = 2 };
    assert_false(tool_format_constrains(&f, &q));
    q.tools = &strict;
    q.n_tools = 1;
    assert_true(tool_format_constrains(&f, &q));
    assert_false(tool_format_constrains(&channels, &q));
    q.tool_choice = TOOL_CHOICE_none;
    assert_false(tool_format_constrains(&f, &q));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars_allow_calls_and_nothing_else),
        cmocka_unit_test(random_answers_are_calls_that_the_parser_reads),
        cmocka_unit_test(schemas_that_cannot_be_honoured_are_named),
        cmocka_unit_test(strict_functions_constrain_even_free_choice),
    };
    test_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
