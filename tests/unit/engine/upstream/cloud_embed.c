/* Embeddings and counts of Gemini, Vertex AI and Bedrock: what is sent, and what is made of their
 * answers. */
#include "base/limits.h"
#include "engine/upstream/provider.h"
#include "tests/support/test.h"

#include <stdlib.h>

static const struct config_upstream upstream;
static const struct chat_request request; /* nothing of one */

static struct provider_job job_of(const struct config_endpoint *e)
{
    return (struct provider_job){
        .request = &request, .upstream = &upstream, .endpoint = e, .model = e->model
    };
}

static struct config_endpoint endpoint_of(unsigned provider, const char *model)
{
    return (struct config_endpoint){ .provider = provider,
                                     .url = STR("http://h"),
                                     .region = STR("us-east-1"),
                                     .project = STR("p"),
                                     .model = str_of(model) };
}

static void sends_texts_as_each_wants_them(void **state)
{
    (void)state;
    static const struct {
        unsigned provider;
        const char *model;
        size_t n; /* of the texts "a" and "b" */
        const char *url, *body;
    } rows[] = {
        { UPSTREAM_gemini, "e", 2, "http://h/v1beta/models/e:batchEmbedContents",
          "{\"requests\":[{\"model\":\"models/e\",\"content\":{\"parts\":[{\"text\":\"a\"}]}},"
          "{\"model\":\"models/e\",\"content\":{\"parts\":[{\"text\":\"b\"}]}}]}" },
        { UPSTREAM_vertex, "e", 2,
          "http://h/v1/projects/p/locations/us-east-1/publishers/google/models/e:predict",
          "{\"instances\":[{\"content\":\"a\"},{\"content\":\"b\"}]}" },
        { UPSTREAM_bedrock, "amazon.titan-embed-text-v2:0", 1,
          "http://h/model/amazon.titan-embed-text-v2%3A0/invoke", "{\"inputText\":\"a\"}" },
        { UPSTREAM_bedrock, "cohere.embed-v4", 2, "http://h/model/cohere.embed-v4/invoke",
          "{\"input_type\":\"search_document\",\"embedding_types\":[\"float\"],\"texts\":[\"a\","
          "\"b\"]}" },
    };
    const struct embed_input inputs[] = { { .text = STR("a") }, { .text = STR("b") } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_endpoint e = endpoint_of(rows[i].provider, rows[i].model);
        struct provider_job job = job_of(&e);
        struct provider_call call = { .url = BUF_INIT(KIB),
                                      .body = BUF_INIT(KIB),
                                      .arena = arena_new(MIB) };
        struct fail f = { 0 };
        assert_int_equal(
            provider_of(rows[i].provider)->write_embed(&call, &job, inputs, rows[i].n, &f), 0);
        assert_string_equal(call.url.p, rows[i].url);
        assert_string_equal(call.body.p, rows[i].body);
        provider_call_done(&call);
    }
}

static void refuses_what_none_of_them_takes(void **state)
{
    (void)state;
    static const int32_t ids[] = { 1 };
    static const struct {
        unsigned provider;
        const char *model;
        struct embed_input inputs[2];
        size_t n;
    } rows[] = {
        { UPSTREAM_gemini, "e", { { .ids = ids, .n_ids = 1 } }, 1 },
        { UPSTREAM_vertex, "e", { { .ids = ids, .n_ids = 1 } }, 1 },
        { UPSTREAM_bedrock, "cohere.e", { { .ids = ids, .n_ids = 1 } }, 1 },
        { UPSTREAM_bedrock, "amazon.titan", { { .text = { "a", 1 } }, { .text = { "b", 1 } } }, 2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_endpoint e = endpoint_of(rows[i].provider, rows[i].model);
        struct provider_job job = job_of(&e);
        struct provider_call call = { .url = BUF_INIT(KIB),
                                      .body = BUF_INIT(KIB),
                                      .arena = arena_new(MIB) };
        struct fail f = { 0 };
        assert_int_equal(
            provider_of(rows[i].provider)->write_embed(&call, &job, rows[i].inputs, rows[i].n, &f),
            FAILED);
        assert_int_equal(f.code, FAIL_unsupported_parameter);
        assert_string_equal(f.param, "input");
        provider_call_done(&call);
    }
}

static void reads_the_vectors_of_each(void **state)
{
    (void)state;
    static const struct {
        unsigned provider;
        const char *model, *body;
        size_t n, width;
        uint64_t tokens;
        float last;
    } rows[] = {
        { UPSTREAM_gemini, "e", "{\"embeddings\":[{\"values\":[1,2]},{\"values\":[3,0.5]}]}", 2, 2,
          0, 0.5f },
        { UPSTREAM_vertex, "e",
          "{\"predictions\":[{\"embeddings\":{\"values\":[1],\"statistics\":{\"token_count\":3}}},"
          "{\"embeddings\":{\"values\":[-2],\"statistics\":{\"token_count\":4}}}]}",
          2, 1, 7, -2 },
        { UPSTREAM_bedrock, "amazon.titan-embed-text-v2:0",
          "{\"embedding\":[1,2,3e0],\"inputTextTokenCount\":5}", 1, 3, 5, 3 },
        { UPSTREAM_bedrock, "cohere.embed-english-v3", "{\"embeddings\":[[1],[2]]}", 2, 1, 0, 2 },
        { UPSTREAM_bedrock, "cohere.embed-v4", "{\"embeddings\":{\"float\":[[1,4]]}}", 1, 2, 0, 4 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_endpoint e = endpoint_of(rows[i].provider, rows[i].model);
        struct provider_job job = job_of(&e);
        struct embed_result got = { 0 };
        struct fail f = { 0 };
        assert_int_equal(provider_of(rows[i].provider)
                             ->read_embed(&job, str_of(rows[i].body), rows[i].n, &got, &f),
                         0);
        assert_int_equal(got.n, rows[i].n);
        assert_int_equal(got.width, rows[i].width);
        assert_int_equal(got.tokens, rows[i].tokens);
        assert_true(got.values[got.n * got.width - 1] == rows[i].last);
        embed_result_done(&got);
    }
}

static void believes_no_other_answer(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "<html>",
        "{}",
        "[]",
        "{\"embeddings\":[]}",
        "{\"embeddings\":[{\"values\":[]},{\"values\":[]}]}",
        "{\"embeddings\":[{\"values\":[1,2]},{\"values\":[3]}]}",
        "{\"embeddings\":[{\"values\":[1]},{\"values\":[3,4]}]}",
        "{\"embeddings\":[{\"values\":[1]},{\"values\":[\"x\"]}]}",
        "{\"embeddings\":[{\"values\":[1]}]}",
        "{\"error\":{\"code\":500,\"message\":\"no\"}}",
    };
    struct config_endpoint e = endpoint_of(UPSTREAM_gemini, "e");
    struct provider_job job = job_of(&e);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct embed_result got = { 0 };
        struct fail f = { 0 };
        int r = provider_of(UPSTREAM_gemini)->read_embed(&job, str_of(bodies[i]), 2, &got, &f);
        assert_int_equal(r, FAILED);
        assert_int_equal(f.code, FAIL_upstream_error);
        assert_null(got.values);
    }
}

static void counts_in_the_words_of_each(void **state)
{
    (void)state;
    static const struct chat_message said[] = {
        { .role = { "system", 6 }, .content = { "be", 2 }, .source_content = "be" },
        { .role = { "user", 4 }, .content = { "hi", 2 }, .source_content = "hi" },
    };
    static const char of_google[] =
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}],"
        "\"systemInstruction\":{\"parts\":[{\"text\":\"be\"}]}";
    static const struct {
        unsigned provider;
        const char *model, *url, *body, *answer;
    } rows[] = {
        { UPSTREAM_gemini, "gemini-2.5-pro", "http://h/v1beta/models/gemini-2.5-pro:countTokens",
          "{\"generateContentRequest\":{%s,\"model\":\"models/gemini-2.5-pro\"}}",
          "{\"totalTokens\":7,\"promptTokensDetails\":[]}" },
        { UPSTREAM_vertex, "gemini-2.5-pro",
          "http://h/v1/projects/p/locations/us-east-1/publishers/google/models/"
          "gemini-2.5-pro:countTokens",
          "{%s}", "{\"totalTokens\":7,\"totalBillableCharacters\":4}" },
        { UPSTREAM_vertex, "claude-opus-4-1@20250805",
          "http://h/v1/projects/p/locations/us-east-1/publishers/anthropic/models/"
          "count-tokens:rawPredict",
          "{\"anthropic_version\":\"vertex-2023-10-16\",\"model\":\"m\"}", "{\"input_tokens\":7}" },
        { UPSTREAM_bedrock, "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
          "http://h/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens",
          "{\"input\":{\"converse\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":"
          "\"hi\"}]}]"
          ",\"system\":[{\"text\":\"be\"}]}}}",
          "{\"inputTokens\":7}" },
    };
    struct chat_message messages[] = { said[0], said[1] };
    struct chat_request chat = { .messages = messages, .n_messages = 2, .n = 1 };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        messages[i].source_content = messages[i].content.p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct provider *p = provider_of(rows[i].provider);
        struct config_endpoint e = endpoint_of(rows[i].provider, rows[i].model);
        struct provider_job job = job_of(&e);
        struct provider_call call = { .url = BUF_INIT(KIB),
                                      .body = BUF_INIT(KIB),
                                      .arena = arena_new(MIB) };
        CLEANUP(buf_done) struct buf answer = BUF_INIT(KIB), body = BUF_INIT(KIB);
        struct fail f = { 0 };
        const char *more = strstr(rows[i].body, "%s");
        buf_add(&body, (struct str){ rows[i].body,
                                     more ? (size_t)(more - rows[i].body) : strlen(rows[i].body) });
        buf_adds(&body, more ? of_google : "");
        buf_adds(&body, more ? more + 2 : "");
        job.request = &chat;
        buf_adds(&call.body, "{\"model\":\"m\"}");
        assert_int_equal(p->write_relay(&call, &job, "/v1/messages/count_tokens", true, &f), 0);
        assert_string_equal(call.url.p, rows[i].url);
        assert_string_equal(call.body.p, body.p);
        assert_int_equal(p->read_relay(&job, str_of(rows[i].answer), &answer, &f), 0);
        assert_string_equal(answer.p, "{\"input_tokens\":7}");
        assert_int_equal(p->write_relay(&call, &job, "/moderations", true, &f), FAILED);
        assert_int_equal(f.code, FAIL_unsupported_parameter);
        provider_call_done(&call);
    }
    struct config_endpoint e = endpoint_of(UPSTREAM_gemini, "m");
    struct provider_job job = job_of(&e);
    CLEANUP(buf_done) struct buf answer = BUF_INIT(KIB);
    struct fail f = { 0 };
    static const char *const none[] = { "", "[]", "{\"totalTokens\":-1}", "<html>" };
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(
            provider_of(UPSTREAM_gemini)->read_relay(&job, str_of(none[i]), &answer, &f), FAILED);
}

static void asks_for_what_stands_beside_the_other_paths(void **state)
{
    static const struct {
        enum upstream_provider provider;
        const char *path, *url; /* NULL: it does not serve it */
    } rows[] = {
        { UPSTREAM_llama_server, "/v1/messages/count_tokens", "http://h/messages/count_tokens" },
        { UPSTREAM_llama_server, "/v1/messages", NULL },
        { UPSTREAM_llama_server, "/rerank", "http://h/rerank" },
        { UPSTREAM_openai, "/v1/messages/count_tokens", NULL },
        { UPSTREAM_openai, "/moderations", "http://h/moderations" },
        { UPSTREAM_vllm, "/v1/messages/count_tokens", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_endpoint e = endpoint_of(rows[i].provider, "m");
        struct provider_job job = job_of(&e);
        struct provider_call call = { .url = BUF_INIT(KIB),
                                      .body = BUF_INIT(KIB),
                                      .arena = arena_new(MIB) };
        struct fail f = { 0 };
        buf_adds(&call.body, "{\"model\":\"m\"}");
        int r = provider_of(rows[i].provider)->write_relay(&call, &job, rows[i].path, true, &f);
        assert_int_equal(r, rows[i].url ? 0 : FAILED);
        if (rows[i].url)
            assert_string_equal(call.url.p, rows[i].url);
        else
            assert_int_equal(f.code, FAIL_unsupported_parameter);
        assert_string_equal(call.body.p, "{\"model\":\"m\"}");
        provider_call_done(&call);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_texts_as_each_wants_them),
        cmocka_unit_test(refuses_what_none_of_them_takes),
        cmocka_unit_test(reads_the_vectors_of_each),
        cmocka_unit_test(believes_no_other_answer),
        cmocka_unit_test(counts_in_the_words_of_each),
        cmocka_unit_test(asks_for_what_stands_beside_the_other_paths),
    };
    return TEST_RUN(tests);
}
