/*
 * Vertex AI: Google's models in Google's wire, Claude in Anthropic's.
 *
 * Source: "generateContent" and "Request predictions with Claude models" of the Vertex AI
 * documentation.
 */
#include "engine/upstream/anthropic.h"
#include "engine/upstream/gemini.h"
#include "engine/upstream/splice.h"

#define CLAUDE_VERSION "vertex-2023-10-16"

static const struct anthropic_place place = { .version = CLAUDE_VERSION, .no_model = true };

static const char *publisher_of(struct str model)
{
    if (memchr(model.p, '/', model.n)) /* "publishers/x/models/y" says it */
        return "/";
    return claude_is(model) ? "/publishers/anthropic/models/" : "/publishers/google/models/";
}

/* `model`: "claude-x", or a path of its publisher's. */
static void add_url_of(struct provider_call *call, const struct provider_job *job, struct str model,
                       const char *method)
{
    const struct config_endpoint *e = job->endpoint;
    struct str part;
    buf_add(&call->url, e->url);
    buf_addc(&call->url, '/');
    buf_add(&call->url, e->api_version.n ? e->api_version : STR("v1"));
    buf_adds(&call->url, "/projects/");
    buf_add_escaped(&call->url, e->project);
    buf_adds(&call->url, "/locations/");
    buf_add_escaped(&call->url, e->region);
    buf_adds(&call->url, claude_is(job->model) && !claude_is(model)
                             ? "/publishers/anthropic/models/"
                             : publisher_of(model));
    for (bool more = true; more;) {
        more = str_cut(model, '/', &part, &model);
        buf_add_escaped(&call->url, more ? part : model);
        if (more)
            buf_addc(&call->url, '/');
    }
    buf_adds(&call->url, method);
}

static void add_url(struct provider_call *call, const struct provider_job *job, const char *method)
{
    add_url_of(call, job, job->model, method);
}

static const char *method_of(const struct provider_job *job)
{
    bool is_stream = job->request->stream;
    if (claude_is(job->model))
        return is_stream ? ":streamRawPredict" : ":rawPredict";
    return is_stream ? ":streamGenerateContent?alt=sse" : ":generateContent";
}

static int vertex_write(struct provider_call *ret, const struct provider_job *job,
                        struct fail *reterr)
{
    if (!provider_own_path(ret, job->endpoint))
        add_url(ret, job, method_of(job));
    int r = provider_headers(ret, job, "authorization", "Bearer");
    if (r == 0)
        r = claude_is(job->model) ? anthropic_write_body(ret, job, &place, reterr)
                                  : gemini_write_body(ret, job, reterr);
    return r != 0 ? r : provider_written(ret, reterr);
}

static int add_version(struct buf *body)
{
    static const struct splice version = { .key = "anthropic_version",
                                           .json = { "\"" CLAUDE_VERSION "\"",
                                                     sizeof(CLAUDE_VERSION) + 1 },
                                           .keep = true };
    CLEANUP(buf_done) struct buf was = *body;
    *body = BUF_INIT(was.max);
    return splice_object(body, buf_str(&was), &version, 1);
}

static int vertex_write_relay(struct provider_call *ret, const struct provider_job *job,
                              const char *path, bool decoded, struct fail *reterr)
{
    if (strcmp(path, COUNT_TOKENS_PATH) != 0 || (!decoded && !claude_is(job->model)))
        return provider_no_relay(job, reterr);
    int r = provider_headers(ret, job, "authorization", "Bearer");
    if (claude_is(job->model)) { /* the body says of which */
        add_url_of(ret, job, STR("count-tokens"), ":rawPredict");
        if (r == 0)
            r = add_version(&ret->body);
    } else {
        add_url(ret, job, ":countTokens");
        buf_clear(&ret->body);
        if (r == 0)
            gemini_write_prompt(ret, job);
    }
    return r != 0 ? r : provider_written(ret, reterr);
}

static int vertex_read_relay(const struct provider_job *job, struct str body, struct buf *ret,
                             struct fail *reterr)
{
    if (!claude_is(job->model))
        return provider_read_count(job, body, "totalTokens", ret, reterr);
    buf_add(ret, body);
    return buf_err(ret);
}

/* ---- answers ---- */

static struct provider_reader *vertex_reader_new(const struct provider_job *job,
                                                 const struct call_head *head,
                                                 struct reader_out out)
{
    return claude_is(job->model) ? anthropic_reader_new(job, head, out)
                                 : gemini_reader_new(job, head, out);
}

static int vertex_read(struct provider_reader *r, struct str bytes)
{
    return claude_is(r->job->model) ? anthropic_read(r, bytes) : gemini_read(r, bytes);
}

static void vertex_end(struct provider_reader *r)
{
    if (claude_is(r->job->model))
        anthropic_end(r);
    else
        gemini_end(r);
}

static void vertex_reader_free(struct provider_reader *r)
{
    if (r && claude_is(r->job->model))
        anthropic_reader_free(r);
    else
        gemini_reader_free(r);
}

static void vertex_refusal(const struct provider_job *job, const struct call_head *head,
                           struct str body, struct provider_refusal *ret)
{
    if (claude_is(job->model))
        refusal_usual(job, head, body, WIRE_anthropic_messages, ret);
    else
        gemini_refusal(job, head, body, ret);
}

/* ---- embeddings ---- */

/* Of the newest models one text a call, of the others what the API takes. */
static size_t vertex_embed_max(const struct provider_job *job)
{
    enum { MOST = 250 };
    return str_find(job->model, STR("gemini-embedding")) >= 0 ? 1 : MOST;
}

static int vertex_write_embed(struct provider_call *ret, const struct provider_job *job,
                              const struct embed_input *inputs, size_t n, struct fail *reterr)
{
    struct buf *b = &ret->body;
    add_url(ret, job, ":predict");
    int r = provider_headers(ret, job, "authorization", "Bearer");
    if (r != 0)
        return r;
    buf_adds(b, "{\"instances\":[");
    for (size_t i = 0; i < n; i++) {
        if (inputs[i].ids)
            return provider_embed_text_only(job, reterr);
        buf_adds(b, i ? ",{\"content\":" : "{\"content\":");
        buf_add_json(b, inputs[i].text);
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
    return provider_written(ret, reterr);
}

static int vertex_read_embed(const struct provider_job *job, struct str body, size_t n,
                             struct embed_result *ret, struct fail *reterr)
{
    return provider_read_embeddings(
        job, body,
        &(struct embed_shape){ .list = "predictions",
                               .vector = "embeddings.values",
                               .tokens = "embeddings.statistics.token_count",
                               .n = n },
        ret, reterr);
}

const struct provider vertex_provider = {
    .name = "vertex",
    .speaks = provider_speaks_none,
    .speaks_at = claude_speaks_at,
    .write = vertex_write,
    .reader_new = vertex_reader_new,
    .read = vertex_read,
    .end = vertex_end,
    .reader_free = vertex_reader_free,
    .refusal = vertex_refusal,
    .write_relay = vertex_write_relay,
    .read_relay = vertex_read_relay,
    .embed_max = vertex_embed_max,
    .write_embed = vertex_write_embed,
    .read_embed = vertex_read_embed,
};
