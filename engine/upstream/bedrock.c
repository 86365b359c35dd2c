/*
 * Amazon Bedrock: addresses, signatures, refusals, embeddings.
 */
#include "engine/upstream/bedrock.h"

#include "base/limits.h"
#include "engine/upstream/anthropic.h"
#include "engine/upstream/aws_sigv4.h"

#include <errno.h>
#include <openssl/crypto.h>

#define SERVICE "bedrock"

bool bedrock_invokes(const struct provider_job *job)
{
    return job->request->wire == WIRE_anthropic_messages && job->request->source.n &&
           claude_is(job->model);
}

static void add_url(struct provider_call *call, const struct provider_job *job, const char *method)
{
    buf_add(&call->url, job->endpoint->url);
    buf_adds(&call->url, "/model/");
    buf_add_escaped(&call->url, job->model);
    buf_adds(&call->url, method);
}

/* ---- signatures ---- */

/* Host, path and query of a URL, as they go over the wire. */
static void split_url(struct str url, struct str *host, struct str *path, struct str *query)
{
    bool is_tls = str_starts(url, STR("https://"));
    ptrdiff_t at = str_find(url, STR("://"));
    struct str rest = str_sub(url, at < 0 ? 0 : (size_t)at + 3), after;
    struct str usual = is_tls ? STR(":443") : STR(":80");
    *host = rest;
    *path = STR("/");
    *query = STR("");
    if (str_cut(rest, '/', host, &after))
        *path = (struct str){ after.p - 1, after.n + 1 };
    (void)str_cut(*path, '?', path, query);
    if (str_ends(*host, usual))
        host->n -= usual.n;
}

static int add_signed(struct provider_call *call, const struct aws_sigv4 *s, struct str token)
{
    int r = provider_call_header(call, "x-amz-date", str_of(s->date));
    if (r == 0)
        r = provider_call_header(call, "x-amz-content-sha256", str_of(s->body_sha256));
    if (r == 0 && token.n)
        r = provider_call_header(call, "x-amz-security-token", token);
    return r == 0 ? provider_call_header(call, "authorization", str_of(s->authorization)) : r;
}

int bedrock_sign(struct provider_call *call, const struct provider_job *job, struct fail *reterr)
{
    struct str secret = provider_secret(job), rest;
    struct aws_sigv4 signature;
    struct chat_pair content = { STR("content-type"), STR("application/json") };
    struct aws_sigv4_call c = { .method = "POST",
                                .headers = &content,
                                .n_headers = 1,
                                .body = buf_str(&call->body),
                                .region = job->endpoint->region,
                                .service = STR(SERVICE),
                                .now_s = job->now_s };
    if (secret.n == 0)
        return 0;
    if (!str_cut(secret, ':', &c.key_id, &rest)) {
        /* A key of Bedrock's own, which the client may have sent without its scheme. */
        CLEANUP(buf_done) struct buf value = BUF_INIT(LIMIT_HEADER);
        buf_adds(&value, str_starts(secret, STR("Bearer ")) ? "" : "Bearer ");
        buf_add(&value, secret);
        int r = buf_err(&value);
        if (r == 0)
            r = provider_call_header(call, "authorization", buf_str(&value));
        if (value.p)
            OPENSSL_cleanse(value.p, value.cap);
        return r;
    }
    c.secret = rest;
    (void)str_cut(rest, ':', &c.secret, &c.session_token);
    split_url(buf_str(&call->url), &c.host, &c.path, &c.query);
    int r = aws_sigv4_sign(&signature, &c);
    if (r == -EINVAL)
        return fail_set(reterr, FAIL_upstream_error,
                        "bedrock: the call cannot be signed: the keys are none");
    return r == 0 ? add_signed(call, &signature, c.session_token) : r;
}

/* ---- calls ---- */

static const char *method_of(const struct provider_job *job)
{
    bool is_stream = job->request->stream;
    if (bedrock_invokes(job))
        return is_stream ? "/invoke-with-response-stream" : "/invoke";
    return is_stream ? "/converse-stream" : "/converse";
}

static int bedrock_write(struct provider_call *ret, const struct provider_job *job,
                         struct fail *reterr)
{
    if (!provider_own_path(ret, job->endpoint))
        add_url(ret, job, method_of(job));
    static const struct anthropic_place place = {
        .version = "bedrock-2023-05-31", .no_model = true, .no_stream = true, .betas_in_body = true
    };
    int r = bedrock_invokes(job) ? anthropic_write_body(ret, job, &place, reterr)
                                 : bedrock_write_body(ret, job, reterr);
    if (r == 0)
        r = provider_written(ret, reterr);
    if (r == 0)
        r = provider_headers(ret, job, NULL, NULL);
    return r == 0 ? bedrock_sign(ret, job, reterr) : r;
}

/* ---- counting ---- */

/* A profile that spans regions is "us.anthropic.…"; counting wants the model alone. */
static struct str without_region(struct str model)
{
    static const char *const regions[] = { "us.", "eu.", "apac.",   "jp.",
                                           "au.", "ca.", "us-gov.", "global." };
    for (size_t i = 0; i < ARRAY_LEN(regions); i++)
        if (str_starts(model, str_of(regions[i])))
            return str_sub(model, strlen(regions[i]));
    return model;
}

static int bedrock_write_relay(struct provider_call *ret, const struct provider_job *job,
                               const char *path, bool decoded, struct fail *reterr)
{
    struct provider_job named = *job;
    if (strcmp(path, COUNT_TOKENS_PATH) != 0 || !decoded)
        return provider_no_relay(job, reterr);
    named.model = without_region(job->model);
    add_url(ret, &named, "/count-tokens");
    buf_clear(&ret->body);
    buf_adds(&ret->body, "{\"input\":{\"converse\":");
    int r = bedrock_write_prompt(ret, job, reterr);
    buf_adds(&ret->body, "}}");
    if (r == 0)
        r = provider_written(ret, reterr);
    if (r == 0)
        r = provider_headers(ret, job, NULL, NULL);
    return r == 0 ? bedrock_sign(ret, job, reterr) : r;
}

static int bedrock_read_relay(const struct provider_job *job, struct str body, struct buf *ret,
                              struct fail *reterr)
{
    return provider_read_count(job, body, "inputTokens", ret, reterr);
}

/* ---- refusals ---- */

static void bedrock_refusal(const struct provider_job *job, const struct call_head *head,
                            struct str body, struct provider_refusal *ret)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4 * LIMIT_UPSTREAM_REFUSAL);
    struct provider_error e = { 0 };
    struct str kind = call_header(head, "x-amzn-errortype"), rest;
    *ret = (struct provider_refusal){ 0 };
    if (arena)
        provider_error_read(&e, body, arena);
    (void)str_cut(kind, ':', &kind, &rest); /* "ThrottlingException:http://…" */
    if (kind.n)
        e.type = kind;
    refusal_by_error(ret, job, head->status, &e);
    ret->fail.retry_after_s = refusal_retry_after(head, job->now_s);
}

/* ---- embeddings: Titan, one text a call; Cohere, many ---- */

static bool is_cohere(const struct provider_job *job)
{
    return str_find(job->model, STR("cohere.")) >= 0;
}

static size_t bedrock_embed_max(const struct provider_job *job)
{
    enum { COHERE = 96 };
    return is_cohere(job) ? COHERE : 1;
}

static int write_inputs(struct buf *b, const struct provider_job *job,
                        const struct embed_input *inputs, size_t n, struct fail *reterr)
{
    if (!is_cohere(job)) {
        if (n != 1)
            return fail_param(reterr, FAIL_unsupported_parameter, "input",
                              "the model embeds one text a request");
        buf_adds(b, "{\"inputText\":");
        buf_add_json(b, inputs[0].text);
        buf_addc(b, '}');
        return 0;
    }
    buf_adds(b, "{\"input_type\":\"search_document\",\"embedding_types\":[\"float\"],\"texts\":[");
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, i ? "," : "");
        buf_add_json(b, inputs[i].text);
    }
    buf_adds(b, "]}");
    return 0;
}

static int bedrock_write_embed(struct provider_call *ret, const struct provider_job *job,
                               const struct embed_input *inputs, size_t n, struct fail *reterr)
{
    for (size_t i = 0; i < n; i++)
        if (inputs[i].ids)
            return provider_embed_text_only(job, reterr);
    add_url(ret, job, "/invoke");
    int r = write_inputs(&ret->body, job, inputs, n, reterr);
    if (r == 0)
        r = provider_written(ret, reterr);
    if (r == 0)
        r = provider_headers(ret, job, NULL, NULL);
    return r == 0 ? bedrock_sign(ret, job, reterr) : r;
}

static int bedrock_read_embed(const struct provider_job *job, struct str body, size_t n,
                              struct embed_result *ret, struct fail *reterr)
{
    bool is_typed = json_view_at(json_view_value(body), "embeddings.float").p != NULL;
    struct embed_shape cohere = { .list = is_typed ? "embeddings.float" : "embeddings", .n = n };
    if (is_cohere(job))
        return provider_read_embeddings(job, body, &cohere, ret, reterr);
    return provider_read_embeddings(
        job, body,
        &(struct embed_shape){
            .whole = true, .vector = "embedding", .tokens = "inputTextTokenCount", .n = 1 },
        ret, reterr);
}

const struct provider bedrock_provider = {
    .name = "bedrock",
    .speaks = provider_speaks_none,
    .speaks_at = claude_speaks_at,
    .write = bedrock_write,
    .reader_new = bedrock_reader_new,
    .read = bedrock_read,
    .end = bedrock_end,
    .reader_free = bedrock_reader_free,
    .refusal = bedrock_refusal,
    .write_relay = bedrock_write_relay,
    .read_relay = bedrock_read_relay,
    .embed_max = bedrock_embed_max,
    .write_embed = bedrock_write_embed,
    .read_embed = bedrock_read_embed,
};
