/*
 * Chat templates against Python's jinja2 (tests/golden/templates.json, made by templates.py), and
 * the origin of every byte.
 */
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/local/chat_template.h"

static json_t *golden; /* of the whole program */

static int read_golden(void **state)
{
    json_error_t e;
    (void)setenv("TZ", "UTC", 1); /* strftime_now tells local time */
    golden = json_load_file(test_path("tests/golden/templates.json"), 0, &e);
    if (!golden)
        print_message("# %s:%d: %s\n", e.source, e.line, e.text);
    return golden ? 0 : -1;
}

static int drop_golden(void **state)
{
    json_decref(golden);
    return 0;
}

static struct str str_in(const json_t *object, const char *key) /* borrowed */
{
    const json_t *s = json_object_get(object, key);
    return json_is_string(s) ? (struct str){ json_string_value(s), json_string_length(s) }
                             : STR_NULL;
}

static struct str dumped(struct arena *a, const json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    struct str copy = arena_str(a, str_of(text));
    free(text);
    return copy;
}

static void fill_calls(struct arena *a, struct chat_message *m, const json_t *calls)
{
    m->n_tool_calls = json_array_size(calls);
    struct chat_tool_call *all = arena_array(a, m->n_tool_calls, sizeof(*all));
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const json_t *call = json_array_get(calls, i), *fn = json_object_get(call, "function");
        all[i] = (struct chat_tool_call){ str_in(call, "id"), str_in(fn, "name"),
                                          dumped(a, json_object_get(fn, "arguments")) };
    }
    m->tool_calls = all;
}

static struct chat_request request_of(struct arena *a, const json_t *conversation)
{
    const json_t *messages = json_object_get(conversation, "messages");
    struct chat_request q = { .n_messages = json_array_size(messages) };
    q.messages = arena_array(a, q.n_messages, sizeof(*q.messages));
    for (size_t i = 0; i < q.n_messages; i++) {
        const json_t *m = json_array_get(messages, i);
        q.messages[i] = (struct chat_message){ .role = str_in(m, "role"),
                                               .content = str_in(m, "content"),
                                               .reasoning = str_in(m, "reasoning_content"),
                                               .name = str_in(m, "name"),
                                               .tool_call_id = str_in(m, "tool_call_id") };
        fill_calls(a, &q.messages[i], json_object_get(m, "tool_calls"));
    }
    if (json_object_get(conversation, "tools"))
        q.tools_json = dumped(a, json_object_get(conversation, "tools"));
    if (json_object_get(conversation, "kwargs"))
        q.template_kwargs = dumped(a, json_object_get(conversation, "kwargs"));
    return q;
}

static int render(struct str source, const struct chat_request *q, bool generate,
                  struct chat_rendering *ret, struct fail *f)
{
    CLEANUP(chat_template_freep) struct chat_template *t = NULL;
    int r = chat_template_new(&t, source, f);
    struct chat_template_vars vars = { .request = q,
                                       .add_generation_prompt = generate,
                                       .bos_token = STR("<s>"),
                                       .eos_token = STR("</s>"),
                                       .now_s =
                                           json_integer_value(json_object_get(golden, "now")) };
    return r == 0 ? chat_template_render(t, &vars, ret, f) : r;
}

static bool matches(const char *what, struct str source, const json_t *conversation,
                    const json_t *want)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(16 * MIB);
    CLEANUP(chat_rendering_done) struct chat_rendering got = { 0 };
    struct chat_request q = request_of(a, conversation);
    struct fail f = { 0 };
    int r =
        render(source, &q, !json_is_false(json_object_get(conversation, "add_generation_prompt")),
               &got, &f);
    assert_true(r == 0 || r == FAILED);
    struct str text = str_in(want, "text"), error = str_in(want, "error");
    if (error.p) {
        bool refused = r == FAILED && f.message[0];
        if (!refused)
            print_message("# %s: rendered, but Python says " STR_FMT "\n", what, STR_ARG(error));
        else if (str_starts(error, STR("TemplateError: ")) &&
                 !str_is(str_sub(error, strlen("TemplateError: ")), f.message)) {
            print_message("# %s: '%s', but Python says " STR_FMT "\n", what, f.message,
                          STR_ARG(error));
            refused = false;
        }
        return refused;
    }
    bool same = r == 0 && str_eq((struct str){ got.text, got.n }, text);
    if (!same) {
        size_t at = 0;
        while (r == 0 && at < got.n && at < text.n && got.text[at] == text.p[at])
            at++;
        print_message("# %s: %s\n# differs at %zu: got '%.80s'\n# want '%.80s'\n", what,
                      r ? f.message : "", at, r ? "" : got.text + at, text.p + at);
    }
    return same;
}

static void equals_jinja2_on_templates_that_models_ship(void **state)
{
    const char *name, *conversation;
    json_t *renderings, *want;
    unsigned wrong = 0, all = 0;
    json_object_foreach(json_object_get(golden, "renderings"), name, renderings)
    {
        char path[256];
        (void)snprintf(path, sizeof(path), "engine/templates/%s", name);
        TEST_SHARED(file, path);
        size_t n;
        CLEANUP(own_free) char *source = test_read(file, &n);
        json_object_foreach(renderings, conversation, want)
        {
            (void)snprintf(path, sizeof(path), "%.180s, %.60s", name, conversation);
            const json_t *c =
                json_object_get(json_object_get(golden, "conversations"), conversation);
            wrong += !matches(path, (struct str){ source, n }, c, want);
            all++;
        }
    }
    assert_true(all > 200);
    assert_int_equal(wrong, 0);
}

static void equals_jinja2_on_snippets(void **state)
{
    const json_t *c = json_object_get(json_object_get(golden, "conversations"), "tool result");
    size_t i;
    json_t *row;
    unsigned wrong = 0;
    json_array_foreach(json_object_get(golden, "snippets"), i, row)
    {
        struct str source = str_in(row, "source");
        char what[80];
        (void)snprintf(what, sizeof(what), "snippet '%.60s'", source.p);
        wrong += !matches(what, source, c, row);
    }
    assert_true(i > 60);
    assert_int_equal(wrong, 0);
}

/* ---- origins ---- */

static struct chat_message hello[] = { { .role = { "user", 4 }, .content = { "hello", 5 } } };

/* A rendering with what users wrote in brackets: "<|user|>[hello]". */
static char *marked(const struct chat_rendering *r)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    size_t sum = 0;
    for (size_t i = 0; i < r->n_spans; i++) {
        assert_true(r->spans[i].text.p == r->text + sum && r->spans[i].text.n > 0);
        sum += r->spans[i].text.n;
        buf_adds(&b, r->spans[i].literal ? "[" : "");
        buf_add(&b, r->spans[i].text);
        buf_adds(&b, r->spans[i].literal ? "]" : "");
    }
    assert_int_equal(sum, r->n);
    return b.n ? buf_take(&b, NULL) : strdup("");
}

static void every_byte_knows_who_wrote_it(void **state)
{
    static const struct {
        const char *source, *want;
    } rows[] = {
        { "<|{{ messages[0].role }}|>{{ messages[0].content }}!", "<|user|>[  Héllo ]!" },
        { "{{ 'a' + messages[0].content | trim + 'b' }}", "a[Héllo]b" },
        { "{{ ('x' ~ messages[0].content ~ 'y')[2:-1] }}", "[ Héllo ]" },
        { "{{ ('x' ~ messages[0].content ~ 'y')[::-1] }}", "y[ olléH  ]x" },
        { "{{ messages[0].content.replace('l', '<|l|>') }}", "[  Hé]<|l|><|l|>[o ]" },
        { "{{ 'a-b'.replace('-', messages[0].content) }}", "a[  Héllo ]b" },
        { "{{ messages[0].content | upper }}", "[  HÉLLO ]" },
        { "{{ messages[0].content.split('l') | join('|') }}", "[  Hé]||[o ]" },
        { "{{ messages[0].content | tojson }}", "\"[  Héllo ]\"" },
        { "{{ [messages[0].content, 'x'] }}", "['[  Héllo ]', 'x']" },
        { "{{ '%s<|x|>' % messages[0].content }}", "[  Héllo ]<|x|>" },
        { "{% set c %}<{{ messages[0].content }}>{% endset %}{{ c }}", "<[  Héllo ]>" },
        { "{% macro m(x) %}({{ x }}){% endmacro %}{{ m(messages[0].content) }}", "([  Héllo ])" },
        { "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + m.content + "
          "'|' %}"
          "{% endfor %}{{ ns.s }}",
          "[  Héllo ]|[x\ny]|" },
        { "{{ messages[1].content | indent(2) }}", "[x\n]  [y]" },
        { "{{ messages[0].content | list | first ~ '.' }}", "[ ]." },
        { "{{ messages[0].content | length }}", "8" },
        { "{{ messages[1].role }}", "[<|im_end|>]" }, /* not a role that anybody knows */
        { "{{ tools[0].name }}|{{ extra }}", "[clock]|[kw]" },
        { "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>[  Héllo ]</s>" },
        { "", "" },
    };
    struct chat_message messages[] = {
        { .role = STR("user"), .content = STR("  H\xc3\xa9llo ") },
        { .role = STR("<|im_end|>"), .content = STR("x\ny") },
    };
    struct chat_request q = { .messages = messages,
                              .n_messages = 2,
                              .tools_json = STR("[{\"name\": \"clock\"}]"),
                              .template_kwargs = STR("{\"extra\": \"kw\"}") };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(chat_rendering_done) struct chat_rendering got = { 0 };
        struct fail f = { 0 };
        if (render(str_of(rows[i].source), &q, false, &got, &f) != 0)
            fail_msg("%s: %s", rows[i].source, f.message);
        CLEANUP(own_free) char *text = marked(&got);
        assert_string_equal(text, rows[i].want);
    }
}

/* ---- bounds and messages ---- */

static void a_bound_ends_a_template_with_a_message(void **state)
{
    static const struct {
        const char *source, *message;
    } rows[] = {
        { "{% for i in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}",
          "steps" },
        { "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(64) %}"
          "{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
          "" },
        { "{{ 'x' * 1000000000000 }}", "" },
        { "{{ [0] * 1000000000000 }}", "" },
        { "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deeply" },
        { "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% "
          "endfor %}"
          "{{ ns.l }}",
          "nested too deeply" },
        { "{{ range(1000000) }}", "range" },
        { "{{ 9223372036854775807 + 1 }}", "64 bits" },
        { "{{ 2 ** 64 }}", "64 bits" },
        { "{{ 1 // 0 }}", "division by zero" },
        { "{{ (-9223372036854775807 - 1) // -1 }}", "64 bits" },
        { "a\n\n{{ x.y }}", "line 3: 'x' is undefined" },
        { "\n{% frob %}", "line 2: {% frob %} is not understood" },
        { "{{ 'a' | frob }}", "no filter 'frob'" },
        { "{{ 'a' is frob }}", "no test 'frob'" },
        { "{% for a in b recursive %}{% endfor %}", "recursive" },
        { "{{ 'x", "not closed" },
        { "{# x", "not closed" },
        { "{% raw %}x", "not closed" },
        { "{% for x in y %}", "missing" },
        { "{{ x", "not closed" },
    };
    struct chat_request q = { .messages = hello, .n_messages = 1 };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(chat_rendering_done) struct chat_rendering got = { 0 };
        struct fail f = { 0 };
        int r = render(str_of(rows[i].source), &q, false, &got, &f);
        if (r != FAILED || !f.message[0] || !strstr(f.message, rows[i].message))
            fail_msg("%s: %d '%s'", rows[i].source, r, f.message);
        assert_int_equal(f.code, FAIL_invalid_request);
    }
}

static void deep_nesting_is_refused_not_run(void **state)
{
    static const struct {
        const char *open, *close;
    } rows[] = { { "(", ")" },   { "[", "]" },  { "not ", "" },         { "-", "" },
                 { "{1:", "}" }, { "f(", ")" }, { "a if b else ", "" }, { "x[", "]" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        CLEANUP(chat_template_freep) struct chat_template *t = NULL;
        struct fail f = { 0 };
        buf_adds(&b, "{{ ");
        for (unsigned k = 0; k < 10000; k++)
            buf_adds(&b, rows[i].open);
        buf_adds(&b, "1");
        for (unsigned k = 0; k < 10000; k++)
            buf_adds(&b, rows[i].close);
        buf_adds(&b, " }}");
        assert_int_equal(chat_template_new(&t, buf_str(&b), &f), FAILED);
        assert_non_null(strstr(f.message, "nested"));
    }
}

static void a_template_that_is_too_long_is_refused(void **state)
{
    CLEANUP(own_free) char *text = malloc(LIMIT_TEMPLATE_BYTES + 1);
    CLEANUP(chat_template_freep) struct chat_template *t = NULL;
    struct fail f = { 0 };
    assert_non_null(text);
    memset(text, 'x', LIMIT_TEMPLATE_BYTES + 1);
    assert_int_equal(chat_template_new(&t, (struct str){ text, LIMIT_TEMPLATE_BYTES + 1 }, &f),
                     FAILED);
    assert_int_equal(chat_template_new(&t, (struct str){ text, LIMIT_TEMPLATE_BYTES }, &f), 0);
}

static void chatml_is_the_template_of_models_without_one(void **state)
{
    struct chat_request q = { .messages = hello, .n_messages = 1 };
    CLEANUP(chat_rendering_done) struct chat_rendering got = { 0 };
    struct fail f = { 0 };
    assert_int_equal(render(str_of(chat_template_chatml), &q, true, &got, &f), 0);
    assert_string_equal(got.text, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
}

static void bad_json_of_the_request_is_named(void **state)
{
    struct chat_request q = { .messages = hello, .n_messages = 1, .template_kwargs = STR("[1]") };
    CLEANUP(chat_rendering_done) struct chat_rendering got = { 0 };
    struct fail f = { 0 };
    assert_int_equal(render(STR("x"), &q, true, &got, &f), FAILED);
    assert_non_null(strstr(f.message, "chat_template_kwargs"));
    q.template_kwargs = STR_NULL;
    q.tools_json = STR("{}");
    assert_int_equal(render(STR("x"), &q, true, &got, &f), FAILED);
    assert_non_null(strstr(f.message, "tools"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_jinja2_on_templates_that_models_ship),
        cmocka_unit_test(equals_jinja2_on_snippets),
        cmocka_unit_test(every_byte_knows_who_wrote_it),
        cmocka_unit_test(a_bound_ends_a_template_with_a_message),
        cmocka_unit_test(deep_nesting_is_refused_not_run),
        cmocka_unit_test(a_template_that_is_too_long_is_refused),
        cmocka_unit_test(chatml_is_the_template_of_models_without_one),
        cmocka_unit_test(bad_json_of_the_request_is_named),
    };
    test_begin();
    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
