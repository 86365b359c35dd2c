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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_jinja2_on_templates_that_models_ship),
        cmocka_unit_test(equals_jinja2_on_snippets),
    };
    test_begin();
    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
