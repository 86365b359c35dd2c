/*
 * A provider and a kind of model (first byte), how it was asked and how the answer is cut (second),
 * then the answer: it ends exactly once, says only UTF-8, and says the same however it is cut.
 * Another status than 200 is read as a refusal too.
 */
#include "tests/fuzz/fuzz.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/provider.h"

#include <stdlib.h>

struct heard {
    struct buf words;
    unsigned ends;
    bool is_openai;
};

static void hear_text(struct heard *h, struct str text)
{
    if (!str_utf8_valid(text))
        abort();
    buf_add(&h->words, text);
    buf_addc(&h->words, '|');
}

static void hear_span(const struct engine_event *e, struct engine_span span, struct str value)
{
    if (span.n != value.n || (value.p && e->text.p + span.at != value.p))
        abort();
}

/* What its reader found of it is what a walk over it finds. */
static void hear_found(const struct engine_event *e)
{
    struct str key, value, model = STR_NULL, choices = STR_NULL, usage = STR_NULL;
    const char *usage_key = e->text.p;
    for (struct json_view_walk w = json_view_walk(e->text); json_view_next(&w, &key, &value);) {
        if (str_is(key, "model"))
            model = value;
        if (str_is(key, "choices"))
            choices = value;
        if (str_is(key, "usage")) {
            usage = value;
            usage_key = key.p - 1;
        }
    }
    hear_span(e, e->found.model, model);
    hear_span(e, e->found.choices, choices);
    hear_span(e, e->found.usage, usage);
    if (e->text.p + e->found.usage_key != usage_key)
        abort();
}

static void hear(void *owner, const struct engine_event *e)
{
    struct heard *h = owner;
    if (h->ends)
        abort();
    if (h->is_openai && e->kind == ENGINE_EVENT_verbatim)
        hear_found(e);
    buf_addf(&h->words, "\n%d ", (int)e->kind);
    hear_text(h, e->text);
    hear_text(h, e->name);
    hear_text(h, e->signature);
    hear_text(h, e->call.id);
    hear_text(h, e->call.name);
    hear_text(h, e->call.arguments);
    hear_text(h, e->fail ? str_of(e->fail->message) : STR_NULL);
    buf_addf(&h->words, "%u %u %zu", e->usage.prompt_tokens, e->usage.completion_tokens,
             e->n_tokens);
    h->ends += e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed;
}

static void read_in_steps(const struct provider *p, const struct provider_job *job,
                          struct str answer, size_t step, struct heard *h)
{
    struct call_head head = { .status = 200 };
    h->words = BUF_INIT(64 * MIB);
    h->is_openai = provider_speaks(job->endpoint, WIRE_openai_completions);
    struct provider_reader *r = p->reader_new(job, &head, (struct reader_out){ hear, h });
    if (!r)
        return;
    for (; answer.n; answer = str_sub(answer, step))
        if (p->read(r, str_head(answer, step)) != 0)
            abort();
    p->end(r);
    p->reader_free(r);
    if (h->ends != 1)
        abort();
}

/* After the providers, in their order, those that speak another wire with another model. */
static const struct place {
    unsigned provider;
    struct str model;
    enum wire wire; /* of the client */
} others[] = {
    { UPSTREAM_vertex, { "gemini-3-pro", 12 }, WIRE_openai_chat },
    { UPSTREAM_bedrock, { "anthropic.claude-x", 18 }, WIRE_anthropic_messages },
};

static struct place place_of(uint8_t byte)
{
    enum { OWN = UPSTREAM_bedrock + 1 };
    unsigned i = byte % (OWN + ARRAY_LEN(others));
    if (i >= OWN)
        return others[i - OWN];
    return (struct place){ i, STR("claude-3-5-haiku"),
                           i == UPSTREAM_anthropic ? WIRE_anthropic_messages : WIRE_openai_chat };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct chat_tool tools[] = { { .name = { "f", 1 } } };
    if (size < 2)
        return 0;
    uint8_t how = data[1];
    struct config_upstream upstream = { 0 };
    struct place place = place_of(data[0]);
    struct config_endpoint endpoint = { .provider = place.provider,
                                        .url = STR("http://h"),
                                        .model = place.model };
    struct chat_request request = { .model = STR("m"), .stream = how & 1, .n = 1 };
    request.logprobs = how & 4;
    request.is_completion = how & 8;
    request.format = how & 16 ? CHAT_FORMAT_json_schema : CHAT_FORMAT_text;
    request.wire = place.wire;
    request.source = STR("{}");
    request.tools = tools;
    request.n_tools = 1;
    struct provider_job job = { .request = &request,
                                .verbatim = how & 2,
                                .upstream = &upstream,
                                .endpoint = &endpoint,
                                .model = endpoint.model,
                                .request_id = "req" };
    const struct provider *p = provider_of(endpoint.provider);
    job.verbatim = job.verbatim && provider_speaks(&endpoint, request.wire);
    struct str answer = { (const char *)data + 2, size - 2 };
    struct heard whole = { 0 }, cut = { 0 };
    read_in_steps(p, &job, answer, answer.n, &whole);
    read_in_steps(p, &job, answer, 1 + how / 32, &cut);
    if (!str_eq(buf_str(&whole.words), buf_str(&cut.words)))
        abort();
    buf_done(&whole.words);
    buf_done(&cut.words);
    struct call_head head = { .status = 400 + how };
    struct provider_refusal refusal;
    p->refusal(&job, &head, answer, &refusal);
    if (!str_utf8_valid(str_of(refusal.fail.message)))
        abort();
    return 0;
}
