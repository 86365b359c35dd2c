/*
 * What providers share, and embeddings of the OpenAI wire. Their translation of chats is held to
 * tests/golden/upstream.
 */
#include "engine/upstream/provider.h"

#include "base/limits.h"
#include "engine/upstream/provider_table.h"
#include "tests/support/test.h"

#include <errno.h>
#include <math.h>

struct fixture {
    struct chat_request request;
    struct config_upstream upstream;
    struct config_endpoint endpoint;
    struct provider_job job;
    struct provider_call call;
    struct fail fail;
};

static void begin(struct fixture *f, unsigned provider)
{
    *f = (struct fixture){
        .endpoint = { .provider = provider, .url = STR("http://h/v1"), .model = STR("emb") },
        .call = { .url = BUF_INIT(MIB), .body = BUF_INIT(MIB) }
    };
    f->call.arena = arena_new(MIB);
    assert_non_null(f->call.arena);
    f->job = (struct provider_job){ .request = &f->request,
                                    .upstream = &f->upstream,
                                    .endpoint = &f->endpoint,
                                    .model = STR("emb") };
}

static void assert_text(struct str is, const char *expected)
{
    if (!str_is(is, expected))
        fail_msg("\"%.*s\" is not \"%s\"", (int)is.n, is.p, expected);
}

/* ---- headers ---- */

static void a_header_is_replaced_without_regard_to_case(void **state)
{
    struct fixture f;
    begin(&f, UPSTREAM_openai);
    assert_int_equal(provider_call_header(&f.call, "X-Team", STR("a")), 0);
    assert_int_equal(provider_call_header(&f.call, "x-team", STR("b")), 0);
    assert_int_equal(f.call.n_headers, 1);
    assert_text(f.call.headers[0].value, "b");
    provider_call_done(&f.call);
}

static void no_value_smuggles_a_second_header(void **state)
{
    static const char *const bad[] = { "a\r\nx: y", "a\nb", "a\rb", "\x7f", "\x01" };
    struct fixture f;
    begin(&f, UPSTREAM_openai);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(provider_call_header(&f.call, "x", str_of(bad[i])), -EINVAL);
    assert_int_equal(provider_call_header(&f.call, "x", (struct str){ "a\0b", 3 }), -EINVAL);
    assert_int_equal(provider_call_header(&f.call, "x: y", STR("z")), -EINVAL);
    assert_int_equal(provider_call_header(&f.call, "", STR("z")), -EINVAL);
    assert_int_equal(f.call.n_headers, 0);
    provider_call_done(&f.call);
}

static void headers_are_bounded(void **state)
{
    struct fixture f;
    char name[16];
    begin(&f, UPSTREAM_openai);
    for (size_t i = 0; i < PROVIDER_HEADERS; i++) {
        (void)snprintf(name, sizeof(name), "x-%zu", i);
        assert_int_equal(provider_call_header(&f.call, name, STR("v")), 0);
    }
    assert_int_equal(provider_call_header(&f.call, "one-more", STR("v")), -E2BIG);
    assert_int_equal(provider_call_header(&f.call, "x-0", STR("w")), 0);
    provider_call_done(&f.call);
}

static void the_key_stands_where_the_endpoint_wants_it(void **state)
{
    static const struct {
        struct str header, prefix;
        const char *name, *value;
    } rows[] = {
        { { 0 }, { 0 }, "authorization", "Bearer k" },
        { { "x-key", 5 }, { 0 }, "x-key", "k" },
        { { "x-key", 5 }, { "Token", 5 }, "x-key", "Token k" },
        { { 0 }, { "Token", 5 }, "authorization", "Token k" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        begin(&f, UPSTREAM_openai);
        f.job.secret = STR("k");
        f.endpoint.auth_header = rows[i].header;
        f.endpoint.auth_prefix = rows[i].prefix;
        assert_int_equal(provider_headers(&f.call, &f.job, "authorization", "Bearer"), 0);
        assert_text(f.call.headers[1].key, rows[i].name);
        assert_text(f.call.headers[1].value, rows[i].value);
        provider_call_done(&f.call);
    }
}

static void answers_pass_what_clients_count_on(void **state)
{
    static const struct chat_pair headers[] = {
        { { "x-ratelimit-remaining-tokens", 28 }, { "5", 1 } },
        { { "set-cookie", 10 }, { "a=b", 3 } },
        { { "openai-processing-ms", 20 }, { "7", 1 } },
        { { "server", 6 }, { "uvicorn", 7 } },
        { { "anthropic-ratelimit-unified-status", 34 }, { "ok", 2 } },
        { { "request-id", 10 }, { "r", 1 } },
    };
    struct call_head head = { .status = 200, .headers = headers, .n = ARRAY_LEN(headers) };
    struct chat_pair out[8];
    assert_int_equal(passing_response_headers(&head, out, ARRAY_LEN(out)), 4);
    assert_text(out[0].key, "x-ratelimit-remaining-tokens");
    assert_text(out[3].key, "request-id");
    assert_int_equal(passing_response_headers(&head, out, 1), 1);
}

/* ---- refusals ---- */

static void a_wait_is_read_in_each_of_its_forms(void **state)
{
    static const struct {
        const char *name, *value;
        unsigned seconds;
    } rows[] = {
        { "retry-after", "1", 1 },
        { "retry-after", "3600", 3600 },
        { "retry-after", " 2 ", 2 },
        { "retry-after", "1.2", 2 },
        { "retry-after", "0", 0 },
        { "retry-after", "-5", 0 },
        { "retry-after", "soon", 0 },
        { "retry-after", "99999999999999999999", 0 },
        { "retry-after", "Wed, 21 Oct 2026 12:00:30 GMT", 30 },
        { "retry-after", "Wed, 21 Oct 2026 11:00:30 GMT", 0 },
        { "retry-after", "Wed, 21 Oct 2036 11:00:30 GMT", 0 },
        { "retry-after-ms", "1500", 2 },
        { "retry-after-ms", "x", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_pair header = { str_of(rows[i].name), str_of(rows[i].value) };
        struct call_head head = { .status = 429, .headers = &header, .n = 1 };
        assert_int_equal(refusal_retry_after(&head, 1792584000), rows[i].seconds);
    }
}

static void a_status_alone_has_its_meaning(void **state)
{
    static const struct {
        unsigned status;
        enum fail_code code;
        enum refusal_kind kind;
    } rows[] = {
        { 400, FAIL_invalid_request, REFUSAL_final },
        { 401, FAIL_upstream_error, REFUSAL_elsewhere },
        { 402, FAIL_upstream_error, REFUSAL_elsewhere },
        { 403, FAIL_upstream_error, REFUSAL_elsewhere },
        { 404, FAIL_upstream_error, REFUSAL_elsewhere },
        { 413, FAIL_request_too_large, REFUSAL_final },
        { 422, FAIL_invalid_request, REFUSAL_final },
        { 429, FAIL_rate_limit_exceeded, REFUSAL_later },
        { 500, FAIL_upstream_error, REFUSAL_broken },
        { 501, FAIL_upstream_error, REFUSAL_elsewhere },
        { 502, FAIL_upstream_error, REFUSAL_broken },
        { 503, FAIL_overloaded, REFUSAL_later },
        { 504, FAIL_timeout, REFUSAL_later },
        { 529, FAIL_overloaded, REFUSAL_later },
        { 302, FAIL_upstream_error, REFUSAL_elsewhere },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct provider_refusal r = { 0 };
        refusal_by_status(&r, rows[i].status, STR_NULL);
        assert_int_equal(r.fail.code, rows[i].code);
        assert_int_equal(r.kind, rows[i].kind);
        assert_true(r.fail.message[0]);
    }
}

/* ---- tools ---- */

static void names_of_tools_are_respelt_and_found_again(void **state)
{
    static const struct chat_tool tools[] = { { .name = { "plain_name-1", 12 } },
                                              { .name = { "a b", 3 } },
                                              { .name = { "a.b", 3 } },
                                              { .name = { "\xc3\xa9", 2 } } };
    struct chat_request c = { .tools = tools, .n_tools = ARRAY_LEN(tools) };
    char first[TOOL_NAME_SENT + 1], second[TOOL_NAME_SENT + 1];
    assert_text(provider_tool_name(tools[0].name, 64, first), "plain_name-1");
    assert_false(str_eq(provider_tool_name(tools[1].name, 64, first),
                        provider_tool_name(tools[2].name, 64, second)));
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        struct str sent = provider_tool_name(tools[i].name, 64, first);
        assert_true(sent.n <= 64);
        assert_true(str_eq(provider_tool_original(&c, sent, 64), tools[i].name));
    }
    char text[100];
    memset(text, 'x', sizeof(text));
    struct str cut = provider_tool_name((struct str){ text, sizeof(text) }, 64, first);
    assert_int_equal(cut.n, 64);
    assert_text(provider_tool_original(&c, STR("stranger"), 64), "stranger");
}

static void arguments_are_an_object_always(void **state)
{
    static const char *const rows[][2] = {
        { "", "{}" },
        { "null", "{}" },
        { "[1]", "{}" },
        { "{\"a\":", "{}" },
        { "{\"a\":1}", "{\"a\":1}" },
        { " {} ", "{}" },
        { "{\"a\":1} x", "{}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_text(provider_arguments(str_of(rows[i][0])), rows[i][1]);
}

static void a_float_is_written_as_short_as_it_reads_back(void **state)
{
    static const float rows[] = { 0.7f, 0, 1, 0.1f, 1e-7f, 3.4028234e38f, -2, 0.30000001f };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(64);
        provider_add_float(&b, rows[i]);
        assert_true(strtof(b.p, NULL) == rows[i]);
    }
    CLEANUP(buf_done) struct buf b = BUF_INIT(64);
    provider_add_float(&b, 0.7f);
    assert_text(buf_str(&b), "0.7");
}

/* ---- embeddings ---- */

static void embeddings_are_asked_for_as_text_or_ids(void **state)
{
    static const int32_t ids[] = { 1, 22 };
    const struct embed_input inputs[] = { { .text = STR("a\"b") }, { .ids = ids, .n_ids = 2 } };
    struct fixture f;
    begin(&f, UPSTREAM_openai);
    f.job.secret = STR("k");
    assert_int_equal(openai_provider.write_embed(&f.call, &f.job, inputs, 2, &f.fail), 0);
    assert_text(buf_str(&f.call.url), "http://h/v1/embeddings");
    assert_text(buf_str(&f.call.body), "{\"model\":\"emb\",\"encoding_format\":\"float\","
                                       "\"input\":[\"a\\\"b\",[1,22]]}");
    provider_call_done(&f.call);
}

static void embeddings_are_read_as_numbers_or_base64(void **state)
{
    struct fixture f;
    struct embed_result r = { 0 };
    begin(&f, UPSTREAM_openai);
    /* struct.pack('<2f', 1.5, -0.25) in base64, and with the rows in another order */
    struct str body = STR("{\"data\":[{\"index\":1,\"embedding\":\"AADAPwAAgL4=\"},"
                          "{\"index\":0,\"embedding\":[0.5, 2e0]}],"
                          "\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}");
    assert_int_equal(openai_provider.read_embed(&f.job, body, 2, &r, &f.fail), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.width, 2);
    assert_int_equal(r.tokens, 7);
    assert_true(r.values[0] == 0.5f && r.values[1] == 2.0f);
    assert_true(r.values[2] == 1.5f && r.values[3] == -0.25f);
    embed_result_done(&r);
    provider_call_done(&f.call);
}

static void an_answer_without_its_embeddings_is_none(void **state)
{
    static const char *const rows[] = {
        "",
        "{",
        "<html>",
        "{}",
        "{\"data\":[]}",
        "{\"data\":[{\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[1,2]}]}",
        "{\"data\":[{\"embedding\":[]},{\"embedding\":[]}]}",
        "{\"data\":[{\"embedding\":[1]},{\"index\":5,\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":[\"x\"]},{\"embedding\":[1]}]}",
        "{\"data\":[{\"embedding\":\"AADAPw==\"},{\"embedding\":\"AADA*w==\"}]}",
        "{\"error\":{\"message\":\"no\",\"type\":\"x\"}}",
    };
    struct fixture f;
    begin(&f, UPSTREAM_openai);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct embed_result r = { 0 };
        assert_int_equal(openai_provider.read_embed(&f.job, str_of(rows[i]), 2, &r, &f.fail),
                         FAILED);
        assert_null(r.values);
        assert_int_equal(f.fail.code, FAIL_upstream_error);
    }
    provider_call_done(&f.call);
}

/* ---- all of them ---- */

static void every_provider_is_complete(void **state)
{
    for (unsigned p = UPSTREAM_openai; p <= UPSTREAM_bedrock; p++) {
        const struct provider *provider = provider_of(p);
        assert_non_null(provider->name);
        assert_true(provider->speaks && provider->write && provider->reader_new);
        assert_true(provider->read && provider->end && provider->reader_free && provider->refusal);
    }
    assert_string_equal(provider_of(UPSTREAM_anthropic)->name, "anthropic");
    assert_string_equal(provider_word(UPSTREAM_bedrock + 1), "upstream");
}

static void finish_reasons_of_all_engines_are_understood(void **state)
{
    static const struct {
        const char *word;
        enum finish_reason finish;
    } rows[] = {
        { "stop", FINISH_stop },
        { "eos_token", FINISH_stop },
        { "end_turn", FINISH_stop },
        { "STOP", FINISH_stop },
        { "never heard of", FINISH_stop },
        { "MAX_TOKENS", FINISH_length },
        { "model_length", FINISH_length },
        { "function_call", FINISH_tool_calls },
        { "tool_use", FINISH_tool_calls },
        { "RECITATION", FINISH_content_filter },
        { "guardrail_intervened", FINISH_content_filter },
    };
    enum finish_reason finish;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(reader_finish(str_of(rows[i].word), &finish));
        assert_int_equal(finish, rows[i].finish);
    }
    assert_false(reader_finish(STR("error"), &finish));
    assert_false(reader_finish(STR("abort"), &finish));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_replaced_without_regard_to_case),
        cmocka_unit_test(no_value_smuggles_a_second_header),
        cmocka_unit_test(headers_are_bounded),
        cmocka_unit_test(the_key_stands_where_the_endpoint_wants_it),
        cmocka_unit_test(answers_pass_what_clients_count_on),
        cmocka_unit_test(a_wait_is_read_in_each_of_its_forms),
        cmocka_unit_test(a_status_alone_has_its_meaning),
        cmocka_unit_test(names_of_tools_are_respelt_and_found_again),
        cmocka_unit_test(arguments_are_an_object_always),
        cmocka_unit_test(a_float_is_written_as_short_as_it_reads_back),
        cmocka_unit_test(embeddings_are_asked_for_as_text_or_ids),
        cmocka_unit_test(embeddings_are_read_as_numbers_or_base64),
        cmocka_unit_test(an_answer_without_its_embeddings_is_none),
        cmocka_unit_test(every_provider_is_complete),
        cmocka_unit_test(finish_reasons_of_all_engines_are_understood),
    };
    return TEST_RUN(tests);
}
