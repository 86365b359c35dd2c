/* The chain: what is compiled, in which order it runs, where a stage ends, what each plugin does.
 */
#include "tests/unit/plugins/support.h"

#include "base/limits.h"

#include <errno.h>

/* ---- compiling ---- */

static const struct {
    const char *yaml;
    int r;
    enum problem_kind kind;
    const char *text; /* part of the first problem; NULL: none */
} compiled[] = {
    { "[]", 0, 0, NULL },
    { "[{type: pii}]", 0, 0, NULL },
    { "[{type: pii, configuration: {enabled: false, action: block}}]", 0, 0, NULL },
    { "[{type: pii, configuration: {entities: {credit_card: BLOCK, US_SSN: {threshold: 0.9}}}}]", 0,
      0, NULL },
    { "[{type: system_prompt, configuration: {enabled: true, mode: insert, system_prompt: x}}]", 0,
      0, NULL },
    { "[{type: header_mutation, configuration: {add: [{name: X-A, value: b}], delete: [X-C]}}]", 0,
      0, NULL },
    { "[{type: router_replay, configuration: {max_records: 0, max_body_bytes: 4096}}]", 0, 0,
      NULL },
    /* known, not served */
    { "[{type: semantic-cache, configuration: {enabled: true}}]", 0, PROBLEM_warning,
      "semantic-cache" },
    { "[{type: rag}]", 0, PROBLEM_warning, "rag" },
    { "[{type: pii, configuration: {entities: {PERSON: block}}}]", 0, PROBLEM_ignored, "PERSON" },
    { "[{type: system_prompt}]", 0, PROBLEM_warning, "empty" },
    /* mistakes */
    { "{type: pii}", -EINVAL, PROBLEM_error, "list" },
    { "[{type: router_replay, configuration: {max_record: 5}}]", -EINVAL, PROBLEM_error,
      "max_records" },
    { "[{type: pi}]", -EINVAL, PROBLEM_error, "did you mean 'pii'?" },
    { "[{type: system_promt}]", -EINVAL, PROBLEM_error, "did you mean 'system_prompt'?" },
    { "[{typ: pii}]", -EINVAL, PROBLEM_error, "type" },
    { "[{configuration: {}}]", -EINVAL, PROBLEM_error, "missing" },
    { "[{type: pii, config: {}}]", -EINVAL, PROBLEM_error, "configuration" },
    { "[{type: pii, configuration: {actoin: mask}}]", -EINVAL, PROBLEM_error, "action" },
    { "[{type: pii, configuration: {action: maks}}]", -EINVAL, PROBLEM_error, "mask" },
    { "[{type: pii, configuration: {threshold: 2}}]", -EINVAL, PROBLEM_error, "" },
    { "[{type: pii, configuration: {entities: {EMAIL_ADRESS: mask}}}]", -EINVAL, PROBLEM_error,
      "EMAIL_ADDRESS" },
    { "[{type: pii, configuration: {entities: {US_SSN: hide}}}]", -EINVAL, PROBLEM_error, "mask" },
    { "[{type: pii, configuration: {stages: [promt]}}]", -EINVAL, PROBLEM_error, "prompt" },
    { "[{type: pii, configuration: {pii_types_allowed: [CARD]}}]", -EINVAL, PROBLEM_error, "CARD" },
    { "[{type: fast_response}]", -EINVAL, PROBLEM_error, "message" },
    { "[{type: header_mutation, configuration: {add: [{name: 'a b', value: c}]}}]", -EINVAL,
      PROBLEM_error, "a b" },
    { "[{type: header_mutation, configuration: {update: [{name: a, value: \"b\\r\\nc: d\"}]}}]",
      -EINVAL, PROBLEM_error, "control" },
    { "[{type: header_mutation, configuration: {delete: [Content-Length]}}]", -EINVAL,
      PROBLEM_error, "connection" },
};

static void every_mistake_is_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(compiled); i++) {
        struct problems *p = NULL;
        CLEANUP(chain_freep) struct chain *c = NULL;
        int r = make_chain(&c, compiled[i].yaml, &p);
        size_t n = problems_len(p);
        if (r != compiled[i].r || (n > 0) != (compiled[i].text != NULL))
            fail_msg("%s: %d with %zu problems, first: %s", compiled[i].yaml, r, n,
                     n ? problems_at(p, 0)->text : "");
        if (n) {
            assert_int_equal(problems_at(p, 0)->kind, compiled[i].kind);
            if (!strstr(problems_at(p, 0)->text, compiled[i].text))
                fail_msg("%s: %s", compiled[i].yaml, problems_at(p, 0)->text);
            assert_int_equal(problems_at(p, 0)->line, 1);
        }
        (void)problems_free(p);
    }
}

static void a_chain_names_its_plugins_in_order(void **state)
{
    CLEANUP(chain_freep)
    struct chain *c = good_chain("[{type: system_prompt, configuration: {system_prompt: x}},"
                                 " {type: pii, configuration: {enabled: false}}, {type: pii}]");
    assert_int_equal(chain_len(c), 2);
    assert_string_equal(chain_name(c, 0), "system_prompt");
    assert_string_equal(chain_name(c, 1), "pii");
    assert_true(chain_has_stream(c));
}

static void only_a_guard_of_responses_has_a_stream(void **state)
{
    CLEANUP(chain_freep)
    struct chain *a = good_chain("[{type: pii, configuration: {stages: [prompt]}}]");
    CLEANUP(chain_freep) struct chain *b = NULL;
    struct problems *p = problems_new();
    assert_int_equal(chain_new(&b, NULL, "plugins", p), 0);
    assert_false(chain_has_stream(a));
    assert_false(chain_has_stream(b));
    assert_int_equal(chain_len(b), 0);
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    assert_int_equal(feed(b, STR("a@b.com"), (size_t[]){ 3 }, 1, &out, NULL), VERDICT_pass);
    assert_true(str_is(buf_str(&out), "a@b.com"));
    (void)problems_free(p);
}

/* ---- the prompt stage ---- */

struct talk {
    struct arena *arena;
    struct chat_message messages[8];
    struct chat_request request;
    struct plugin_prompt io;
    const char *plugin;
    struct fail fail;
};

/* "role: text" a message. */
static struct talk *talk_new(const char *const *lines)
{
    struct talk *t = calloc(1, sizeof(*t));
    assert_non_null(t);
    t->arena = arena_new(MIB);
    for (; lines[t->request.n_messages]; t->request.n_messages++) {
        struct chat_message *m = &t->messages[t->request.n_messages];
        assert_true(str_cut(str_of(lines[t->request.n_messages]), ':', &m->role, &m->content));
        m->content = str_sub(m->content, 1);
    }
    t->request.messages = t->messages;
    t->io = (struct plugin_prompt){ .request = &t->request, .arena = t->arena };
    return t;
}

static struct talk *talk_free(struct talk *t)
{
    (void)arena_free(t->arena);
    free(t);
    return NULL;
}
DEFINE_CLEANUP(struct talk *, talk_free);

/* The conversation, a message a line. */
static void assert_talk(const struct talk *t, const char *expected)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    for (size_t i = 0; i < t->request.n_messages; i++) {
        buf_add(&b, t->request.messages[i].role);
        buf_adds(&b, ": ");
        buf_add(&b, t->request.messages[i].content);
        buf_addc(&b, '\n');
    }
    assert_string_equal(b.p, expected);
}

static const struct {
    const char *yaml;
    const char *messages[5];
    enum verdict verdict;
    const char *after; /* the conversation, or the answer */
} prompts[] = {
    { "[{type: system_prompt, configuration: {system_prompt: Be brief.}}]",
      { "system: Be long.", "user: Hi." },
      VERDICT_changed,
      "system: Be brief.\nuser: Hi.\n" },
    { "[{type: system_prompt, configuration: {system_prompt: Be brief.}}]",
      { "user: Hi." },
      VERDICT_changed,
      "system: Be brief.\nuser: Hi.\n" },
    { "[{type: system_prompt, configuration: {system_prompt: S, mode: replace}}]",
      { "system: a", "user: b", "developer: c" },
      VERDICT_changed,
      "system: S\nuser: b\n" },
    { "[{type: system_prompt, configuration: {system_prompt: S, mode: insert}}]",
      { "system: a", "user: b", "system: c" },
      VERDICT_changed,
      "system: S\n\na\nuser: b\nsystem: c\n" },
    { "[{type: system_prompt, configuration: {system_prompt: S, mode: insert}}]",
      { "user: b" },
      VERDICT_changed,
      "system: S\nuser: b\n" },
    { "[{type: system_prompt, configuration: {system_prompt: S, enabled: false}}]",
      { "user: b" },
      VERDICT_pass,
      "user: b\n" },
    { "[{type: fast_response, configuration: {message: No.}}]",
      { "user: b" },
      VERDICT_answer,
      "No." },
    { "[{type: pii}]",
      { "system: a@b.com", "user: a@b.com!", "assistant: a@b.com", "user: hi" },
      VERDICT_changed,
      "system: a@b.com\nuser: [EMAIL_ADDRESS]!\nassistant: a@b.com\nuser: hi\n" },
    { "[{type: pii, configuration: {include_history: true}}]",
      { "system: a@b.com", "user: hi", "assistant: 123-45-6789" },
      VERDICT_changed,
      "system: [EMAIL_ADDRESS]\nuser: hi\nassistant: [US_SSN]\n" },
    { "[{type: pii, configuration: {action: redact}}]",
      { "user: mail a@b.com now" },
      VERDICT_changed,
      "user: mail  now\n" },
    { "[{type: pii, configuration: {mask_char: '*'}}]",
      { "user: 4111 1111 1111 1111, a.b@c.com" },
      VERDICT_changed,
      "user: **** **** **** ****, *.*@*.***\n" },
    { "[{type: pii, configuration: {mask_char: \"\xe2\x80\xa2\", keep_last: 4}}]",
      { "user: 378282246310005" },
      VERDICT_changed,
      "user: \xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2"
      "\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2"
      "0005\n" },
    { "[{type: pii, configuration: {placeholder: '<{type}>'}}]",
      { "user: at 10.0.0.1" },
      VERDICT_changed,
      "user: at <IP_ADDRESS>\n" },
    { "[{type: pii, configuration: {entities: {IP_ADDRESS: allow, EMAIL_ADDRESS: redact}}}]",
      { "user: 10.0.0.1 a@b.com 123-45-6789" },
      VERDICT_changed,
      "user: 10.0.0.1  [US_SSN]\n" },
    { "[{type: pii, configuration: {pii_types_allowed: [EMAIL_ADDRESS], action: block}}]",
      { "user: a@b.com" },
      VERDICT_pass,
      "user: a@b.com\n" },
    { "[{type: pii, configuration: {threshold: 0.99}}]",
      { "user: 10.0.0.1 a@b.com" },
      VERDICT_changed,
      "user: 10.0.0.1 [EMAIL_ADDRESS]\n" },
    { "[{type: pii, configuration: {stages: [response]}}]",
      { "user: a@b.com" },
      VERDICT_pass,
      "user: a@b.com\n" },
    /* the first answer or block ends the stage */
    { "[{type: fast_response, configuration: {message: A}}, {type: pii, configuration: {action:"
      " block}}]",
      { "user: a@b.com" },
      VERDICT_answer,
      "A" },
    { "[{type: pii}, {type: fast_response, configuration: {message: A}},"
      " {type: fast_response, configuration: {message: B}}]",
      { "user: a@b.com" },
      VERDICT_answer,
      "A" },
    /* each sees what the one before made of it */
    { "[{type: pii, configuration: {placeholder: 10.0.0.1, entities: {IP_ADDRESS: allow}}},"
      " {type: pii}]",
      { "user: a@b.com" },
      VERDICT_changed,
      "user: [IP_ADDRESS]\n" },
};

static void the_prompt_stage_rewrites_and_answers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(prompts); i++) {
        CLEANUP(chain_freep) struct chain *c = good_chain(prompts[i].yaml);
        CLEANUP(talk_freep) struct talk *t = talk_new(prompts[i].messages);
        enum verdict v = chain_prompt(c, &t->io, &t->plugin, &t->fail);
        if (v != prompts[i].verdict)
            fail_msg("%s gives verdict %d", prompts[i].yaml, (int)v);
        if (v == VERDICT_answer)
            assert_true(str_is(t->io.answer, prompts[i].after));
        else
            assert_talk(t, prompts[i].after);
    }
}

static void a_block_names_types_and_repeats_nothing(void **state)
{
    CLEANUP(chain_freep)
    struct chain *c = good_chain("[{type: system_prompt, configuration: {system_prompt: S}},"
                                 " {type: pii, configuration: {action: block}},"
                                 " {type: fast_response, configuration: {message: A}}]");
    static const char *const lines[] = { "user: joe@example.com", "user: ssn 123-45-6789", NULL };
    CLEANUP(talk_freep) struct talk *t = talk_new(lines);
    assert_int_equal(chain_prompt(c, &t->io, &t->plugin, &t->fail), VERDICT_block);
    assert_string_equal(t->plugin, "pii");
    assert_int_equal(t->fail.code, FAIL_content_policy_violation);
    assert_non_null(strstr(t->fail.message, "EMAIL_ADDRESS, US_SSN"));
    assert_null(strstr(t->fail.message, "joe"));
    assert_null(strstr(t->fail.message, "6789"));
}

static void a_completions_prompt_is_checked_too(void **state)
{
    CLEANUP(chain_freep) struct chain *c = good_chain("[{type: pii}]");
    static const char *const none[] = { NULL };
    CLEANUP(talk_freep) struct talk *t = talk_new(none);
    t->request.is_completion = true;
    t->request.prompt = STR("card 4111111111111111");
    assert_int_equal(chain_prompt(c, &t->io, NULL, &t->fail), VERDICT_changed);
    assert_true(str_is(t->request.prompt, "card [CREDIT_CARD]"));
}

static void headers_are_added_set_and_removed(void **state)
{
    CLEANUP(chain_freep)
    struct chain *c = good_chain("[{type: header_mutation, configuration: {target: both,"
                                 "   add: [{name: X-A, value: '1'}, {name: X-B, value: '2'}]}},"
                                 " {type: header_mutation, configuration: {"
                                 "   update: [{name: x-a, value: '3'}], delete: [X-B, X-C]}}]");
    static const char *const lines[] = { "user: hi", NULL };
    CLEANUP(talk_freep) struct talk *t = talk_new(lines);
    assert_int_equal(chain_prompt(c, &t->io, NULL, &t->fail), VERDICT_changed);
    assert_int_equal(t->io.n_response_headers, 2);
    assert_true(str_is(t->io.response_headers[0].key, "X-A"));
    assert_true(str_is(t->io.response_headers[1].value, "2"));
    assert_int_equal(t->io.n_upstream_headers, 3);
    assert_true(str_is(t->io.upstream_headers[0].key, "x-a"));
    assert_true(str_is(t->io.upstream_headers[0].value, "3"));
    assert_true(str_is(t->io.upstream_headers[1].key, "X-B"));
    assert_null(t->io.upstream_headers[1].value.p);
    assert_null(t->io.upstream_headers[2].value.p);
}

/* ---- guard ---- */

static void guard_reports_offsets_in_bytes_of_the_text(void **state)
{
    CLEANUP(chain_freep)
    struct chain *c = good_chain("[{type: pii, configuration: {entities: {US_SSN: block}}}]");
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    for (int response = 0; response < 2; response++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
        struct guarded g = { .text = &out };
        struct fail fail = { 0 };
        assert_int_equal(
            chain_guard(c, STR("\xc3\xa9: a@b.com, 10.0.0.1"), response, arena, &g, &fail),
            VERDICT_changed);
        const struct finding *f = g.findings;
        assert_int_equal(g.n, 2);
        assert_true(str_is(f[0].type, "EMAIL_ADDRESS"));
        assert_int_equal(f[0].start, 4);
        assert_int_equal(f[0].end, 11);
        assert_true(f[0].score == 1);
        assert_int_equal(f[1].start, 13);
        assert_int_equal(f[1].end, 21);
        assert_true(str_is(buf_str(&out), "\xc3\xa9: [EMAIL_ADDRESS], [IP_ADDRESS]"));
        buf_clear(&out);
        assert_int_equal(chain_guard(c, STR("ssn 123-45-6789"), response, arena, &g, &fail),
                         VERDICT_block);
        assert_int_equal(g.n, 1);
        assert_true(str_is(buf_str(&out), response ? "ssn " : ""));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_is_named),
        cmocka_unit_test(a_chain_names_its_plugins_in_order),
        cmocka_unit_test(only_a_guard_of_responses_has_a_stream),
        cmocka_unit_test(the_prompt_stage_rewrites_and_answers),
        cmocka_unit_test(a_block_names_types_and_repeats_nothing),
        cmocka_unit_test(a_completions_prompt_is_checked_too),
        cmocka_unit_test(headers_are_added_set_and_removed),
        cmocka_unit_test(guard_reports_offsets_in_bytes_of_the_text),
    };
    return TEST_RUN(tests);
}
