/*
 * The Gemini API (generativelanguage.googleapis.com).
 */
#include "engine/upstream/gemini.h"

#define API_VERSION "v1beta"

/* "models/x" where the model's name does not say what it is ("tunedModels/x"). */
static void add_model(struct buf *b, struct str model)
{
    struct str part;
    if (!memchr(model.p, '/', model.n))
        buf_adds(b, "models/");
    for (bool more = true; more;) {
        more = str_cut(model, '/', &part, &model);
        buf_add_escaped(b, more ? part : model);
        if (more)
            buf_addc(b, '/');
    }
}

static void add_url(struct provider_call *call, const struct provider_job *job, const char *method)
{
    const struct config_endpoint *e = job->endpoint;
    buf_add(&call->url, e->url);
    buf_addc(&call->url, '/');
    buf_add(&call->url, e->api_version.n ? e->api_version : STR(API_VERSION));
    buf_addc(&call->url, '/');
    add_model(&call->url, job->model);
    buf_adds(&call->url, method);
}

/* A key of the API, or a token where the endpoint has a service account. */
static int add_headers(struct provider_call *call, const struct provider_job *job)
{
    const struct config_endpoint *e = job->endpoint;
    bool is_token = e->credentials.n && !e->key_env.n && !e->key_file.n && !e->key.n;
    return is_token ? provider_headers(call, job, "authorization", "Bearer")
                    : provider_headers(call, job, "x-goog-api-key", "");
}

static int gemini_write(struct provider_call *ret, const struct provider_job *job,
                        struct fail *reterr)
{
    if (!provider_own_path(ret, job->endpoint))
        add_url(ret, job,
                job->request->stream ? ":streamGenerateContent?alt=sse" : ":generateContent");
    int r = add_headers(ret, job);
    if (r == 0)
        r = gemini_write_body(ret, job, reterr);
    return r != 0 ? r : provider_written(ret, reterr);
}

/* {"generateContentRequest":{"model",…}} */
static int gemini_write_relay(struct provider_call *ret, const struct provider_job *job,
                              const char *path, bool decoded, struct fail *reterr)
{
    struct buf *b = &ret->body;
    if (strcmp(path, COUNT_TOKENS_PATH) != 0 || !decoded)
        return provider_no_relay(job, reterr);
    add_url(ret, job, ":countTokens");
    int r = add_headers(ret, job);
    if (r != 0)
        return r;
    buf_clear(b);
    buf_adds(b, "{\"generateContentRequest\":");
    gemini_write_prompt(ret, job);
    if (buf_err(b) == 0)
        b->n--; /* the object goes on */
    buf_adds(b, ",\"model\":\"");
    add_model(b, job->model);
    buf_adds(b, "\"}}");
    return provider_written(ret, reterr);
}

static int gemini_read_relay(const struct provider_job *job, struct str body, struct buf *ret,
                             struct fail *reterr)
{
    return provider_read_count(job, body, "totalTokens", ret, reterr);
}

static size_t gemini_embed_max(const struct provider_job *job)
{
    (void)job;
    return 100; /* of one batch */
}

static int gemini_write_embed(struct provider_call *ret, const struct provider_job *job,
                              const struct embed_input *inputs, size_t n, struct fail *reterr)
{
    struct buf *b = &ret->body;
    add_url(ret, job, ":batchEmbedContents");
    int r = add_headers(ret, job);
    if (r != 0)
        return r;
    buf_adds(b, "{\"requests\":[");
    for (size_t i = 0; i < n; i++) {
        if (inputs[i].ids)
            return provider_embed_text_only(job, reterr);
        buf_adds(b, i ? ",{\"model\":\"" : "{\"model\":\"");
        add_model(b, job->model);
        buf_adds(b, "\",\"content\":{\"parts\":[{\"text\":");
        buf_add_json(b, inputs[i].text);
        buf_adds(b, "}]}}");
    }
    buf_adds(b, "]}");
    return provider_written(ret, reterr);
}

static int gemini_read_embed(const struct provider_job *job, struct str body, size_t n,
                             struct embed_result *ret, struct fail *reterr)
{
    return provider_read_embeddings(
        job, body, &(struct embed_shape){ .list = "embeddings", .vector = "values", .n = n }, ret,
        reterr);
}

const struct provider gemini_provider = {
    .name = "gemini",
    .speaks = provider_speaks_none,
    .write = gemini_write,
    .reader_new = gemini_reader_new,
    .read = gemini_read,
    .end = gemini_end,
    .reader_free = gemini_reader_free,
    .refusal = gemini_refusal,
    .write_relay = gemini_write_relay,
    .read_relay = gemini_read_relay,
    .embed_max = gemini_embed_max,
    .write_embed = gemini_write_embed,
    .read_embed = gemini_read_embed,
};
