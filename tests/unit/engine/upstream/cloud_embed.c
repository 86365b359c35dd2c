/* Embeddings of Gemini, Vertex AI and Bedrock: what is sent, and what is made of their answers. */
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_texts_as_each_wants_them),
        cmocka_unit_test(refuses_what_none_of_them_takes),
        cmocka_unit_test(reads_the_vectors_of_each),
        cmocka_unit_test(believes_no_other_answer),
    };
    return TEST_RUN(tests);
}
