/*
 * Answers of an engine behind that speaks OpenAI's wire, from its bytes to the client's: only the
 * model's name, and usage that nobody asked for, differ; of a whole answer, what OpenAI's clients
 * count on is added.
 */
#include "base/limits.h"
#include "engine/upstream/provider.h"
#include "gateway/api/render.h"
#include "tests/support/test.h"

struct fixture {
    struct chat_request chat;
    struct config_upstream upstream;
    struct config_endpoint endpoint;
    struct provider_job job;
    struct request request;
    struct answer answer;
    struct buf out;
    unsigned failed;
};

static void on_event(void *owner, const struct engine_event *e)
{
    struct fixture *f = owner;
    if (e->kind == ENGINE_EVENT_verbatim)
        render_verbatim(&f->answer, e, &f->out);
    f->failed += e->kind == ENGINE_EVENT_failed;
}

static void begin(struct fixture *f, bool stream, bool include_usage)
{
    *f = (struct fixture){
        .chat = { .model = STR("here"),
                  .wire = WIRE_openai_chat,
                  .source = STR("{}"),
                  .n = 1,
                  .stream = stream,
                  .include_usage = include_usage },
        .endpoint = { .provider = UPSTREAM_openai, .url = STR("http://h/v1") },
        .out = BUF_INIT(MIB),
    };
    f->job = (struct provider_job){ .request = &f->chat,
                                    .upstream = &f->upstream,
                                    .endpoint = &f->endpoint,
                                    .model = STR("there"),
                                    .verbatim = true };
    f->request.arena = arena_new(MIB);
    f->answer = (struct answer){
        .request = &f->request, .chats = &f->chat, .n_chats = 1, .model = STR("here \"x\"")
    };
}

static void end(struct fixture *f)
{
    buf_done(&f->out);
    (void)arena_free(f->request.arena);
}

static void hear(struct fixture *f, const char *bytes)
{
    struct call_head head = { .status = 200 };
    const struct provider *p = provider_of(UPSTREAM_openai);
    struct provider_reader *r = p->reader_new(&f->job, &head, (struct reader_out){ on_event, f });
    assert_non_null(r);
    assert_int_equal(p->read(r, str_of(bytes)), 0);
    p->end(r);
    p->reader_free(r);
    assert_int_equal(f->failed, 0);
}

#define NAME "\"here \\\"x\\\"\""
#define STOP "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"
#define SAID(text) "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]"

static void chunks_differ_in_name_and_usage_only(void **state)
{
    static const struct {
        const char *chunk[3];  /* as sent, one after the other … */
        const char *shown[3];  /* … to who asked for usage; NULL: as sent */
        const char *hidden[3]; /* … and to who did not; NULL: as shown; "": swallowed */
    } rows[] = {
        { { "{\"model\":\"there\"," SAID("a") "}", "{\"model\":\"there\"," SAID("longer \\\"") "}",
            "{\"model\":\"there\"," SAID("b") "}" },
          { "{\"model\":" NAME "," SAID("a") "}", "{\"model\":" NAME "," SAID("longer \\\"") "}",
            "{\"model\":" NAME "," SAID("b") "}" },
          { NULL } },
        { { "{" SAID("a") ", \"usage\" : null , \"model\" : \"there\" }",
            "{" SAID("more") ", \"usage\" : null , \"model\" : \"there\" }",
            "{" SAID("") ", \"usage\" : null , \"model\" : \"there\" }" },
          { "{" SAID("a") ", \"usage\" : null , \"model\" : " NAME " }",
            "{" SAID("more") ", \"usage\" : null , \"model\" : " NAME " }",
            "{" SAID("") ", \"usage\" : null , \"model\" : " NAME " }" },
          { "{" SAID("a") " , \"model\" : " NAME " }", "{" SAID("more") " , \"model\" : " NAME " }",
            "{" SAID("") " , \"model\" : " NAME " }" } },
        { { "{ \"usage\":null, \"model\":\"there\"," SAID("a") ",\"obfuscation\":\"xyz\",\"z\":1}",
            "{ \"usage\":null, \"model\":\"there\"," SAID("aa") ",\"obfuscation\":\"x\",\"z\":1}",
            "{ \"usage\":null, \"model\":\"there\"," SAID("a") ",\"obfuscation\":\"\",\"z\":1}" },
          { "{ \"usage\":null, \"model\":" NAME "," SAID("a") ",\"obfuscation\":\"xyz\",\"z\":1}",
            "{ \"usage\":null, \"model\":" NAME "," SAID("aa") ",\"obfuscation\":\"x\",\"z\":1}",
            "{ \"usage\":null, \"model\":" NAME "," SAID("a") ",\"obfuscation\":\"\",\"z\":1}" },
          { "{ \"model\":" NAME "," SAID("a") ",\"obfuscation\":\"xyz\",\"z\":1}",
            "{ \"model\":" NAME "," SAID("aa") ",\"obfuscation\":\"x\",\"z\":1}",
            "{ \"model\":" NAME "," SAID("a") ",\"obfuscation\":\"\",\"z\":1}" } },
        { { "{" SAID("a") ",\"obfuscation\":\"xyz\",\"model\":\"there\",\"usage\":null}",
            "{" SAID("aaaa") ",\"obfuscation\":\"\",\"model\":\"there\",\"usage\":null}",
            "{" SAID("b") ",\"obfuscation\":\"12345\",\"model\":\"there\",\"usage\":null}" },
          { "{" SAID("a") ",\"obfuscation\":\"xyz\",\"model\":" NAME ",\"usage\":null}",
            "{" SAID("aaaa") ",\"obfuscation\":\"\",\"model\":" NAME ",\"usage\":null}",
            "{" SAID("b") ",\"obfuscation\":\"12345\",\"model\":" NAME ",\"usage\":null}" },
          { "{" SAID("a") ",\"obfuscation\":\"xyz\",\"model\":" NAME "}",
            "{" SAID("aaaa") ",\"obfuscation\":\"\",\"model\":" NAME "}",
            "{" SAID("b") ",\"obfuscation\":\"12345\",\"model\":" NAME "}" } },
        { { "{\"model\":\"there\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},"
            "\"finish_reason\":\"eos\"}],\"usage\":{\"prompt_tokens\":1}}",
            "{\"model\":\"there\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}",
            "{\"usage\":{\"prompt_tokens\":1},\"model\":\"there\"}" },
          { "{\"model\":" NAME ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},"
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}",
            "{\"model\":" NAME ",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}",
            "{\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"model\":" NAME "}" },
          { "{\"model\":" NAME ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},"
            "\"finish_reason\":\"stop\"}]}",
            "", "" } },
    };
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        struct fixture f;
        CLEANUP(buf_done) struct buf sent = BUF_INIT(MIB), want = BUF_INIT(MIB);
        bool shows = i % 2;
        begin(&f, /* stream= */ true, shows);
        for (size_t k = 0; k < 3; k++) {
            const char *is = rows[i / 2].shown[k];
            if (!shows && rows[i / 2].hidden[k])
                is = rows[i / 2].hidden[k];
            buf_addf(&sent, "data: %s\n\n", rows[i / 2].chunk[k]);
            if (is[0])
                buf_addf(&want, "data: %s\n\n", is);
        }
        if (i / 2 + 1 < ARRAY_LEN(rows)) { /* the last one ended */
            buf_addf(&sent, "data: %s\n\n", STOP);
            buf_addf(&want, "data: %s\n\n", STOP);
        }
        buf_adds(&sent, "data: [DONE]\n\n");
        hear(&f, sent.p);
        assert_string_equal(f.out.p, want.p);
        end(&f);
    }
}

static void whole_answers_have_what_clients_count_on(void **state)
{
    static const struct {
        const char *sent, *want;
    } rows[] = {
        { " {\"model\":\"there\", \"choices\":[{\"message\":{\"content\":\"a\",\"refusal\":null},"
          "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{}} ",
          "{\"model\":" NAME ", \"choices\":[{\"message\":{\"content\":\"a\",\"refusal\":null},"
          "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{}}" },
        { "{\"choices\":[{\"finish_reason\":\"eos\",\"message\":{\"content\":\"a\"}},"
          "{\"message\":{},\"logprobs\":{\"content\":[]},\"index\":1}],\"model\":\"there\"}",
          "{\"choices\":[{\"logprobs\":null,\"finish_reason\":\"stop\",\"message\":{"
          "\"refusal\":null,\"content\":\"a\"}},{\"message\":{\"content\":null,\"refusal\":null},"
          "\"logprobs\":{\"content\":[]},\"index\":1}],\"model\":" NAME "}" },
        { "{\"choices\":[{},{\"message\":{\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}",
          "{\"choices\":[{\"logprobs\":null},{\"logprobs\":null,\"message\":{\"content\":null,"
          "\"refusal\":\"no\"},\"finish_reason\":\"stop\"}]}" },
        { "{\"choices\":[{\"message\":{\"content\":\"\xff\",\"refusal\":null},\"logprobs\":null}],"
          "\"model\":\"there\"}",
          "{\"choices\":[{\"message\":{\"content\":\"\xef\xbf\xbd\",\"refusal\":null},"
          "\"logprobs\":null}],\"model\":" NAME "}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        begin(&f, /* stream= */ false, /* include_usage= */ false);
        hear(&f, rows[i].sent);
        assert_string_equal(f.out.p, rows[i].want);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_differ_in_name_and_usage_only),
        cmocka_unit_test(whole_answers_have_what_clients_count_on),
    };
    return TEST_RUN(tests);
}
