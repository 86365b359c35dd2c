/*
 * OpenAI and what is compatible with it: one wire, a row of quirks for each engine.
 */
#include "engine/upstream/openai.h"

#include "base/limits.h"
#include "base/num.h"
#include "engine/upstream/openai_chunk.h"

#include <errno.h>

enum {
    KNOBS_openai = KNOB_presence | KNOB_frequency | KNOB_seed | KNOB_bias | KNOB_logprobs,
    KNOBS_engine =
        KNOBS_openai | KNOB_top_k | KNOB_min_p | KNOB_repetition | KNOB_ignore_eos | KNOB_kwargs,
};

static bool is_official(struct str url)
{
    return str_find(url, STR(".openai.com")) >= 0;
}

const struct openai_quirks *openai_quirks_of(const struct provider_job *job)
{
    static const struct openai_quirks official = { .knobs = KNOBS_openai,
                                                   .max_completion = true,
                                                   .strict_names = true,
                                                   .auth = "authorization",
                                                   .prefix = "Bearer" };
    static const struct openai_quirks rows[] = {
        /* Whoever is compatible knows the older name. */
        [UPSTREAM_openai] = { .knobs = KNOBS_openai,
                              .strict_names = true,
                              .auth = "authorization",
                              .prefix = "Bearer" },
        [UPSTREAM_vllm] = { .knobs = KNOBS_engine | KNOB_min_tokens | KNOB_stop_ids |
                                     KNOB_keep_stop | KNOB_keep_special | KNOB_grammar |
                                     KNOB_regex | KNOB_choice,
                            .no_developer = true,
                            .reasoning = "reasoning",
                            .auth = "authorization",
                            .prefix = "Bearer" },
        [UPSTREAM_sglang] = { .knobs = KNOBS_engine | KNOB_min_tokens | KNOB_stop_ids |
                                       KNOB_keep_stop | KNOB_keep_special | KNOB_grammar |
                                       KNOB_regex | KNOB_choice,
                              .no_developer = true,
                              .reasoning = "reasoning_content",
                              .grammar = "ebnf",
                              .regex = "regex",
                              .auth = "authorization",
                              .prefix = "Bearer" },
        [UPSTREAM_llama_server] = { .knobs =
                                        KNOBS_engine | KNOB_typical_p | KNOB_grammar | KNOB_choice,
                                    .no_developer = true,
                                    .slots = true,
                                    .counts = true,
                                    .choice_words = true,
                                    .reasoning = "reasoning_content",
                                    .repetition = "repeat_penalty",
                                    .grammar = "grammar",
                                    .auth = "authorization",
                                    .prefix = "Bearer" },
        [UPSTREAM_ollama] = { .knobs = KNOB_presence | KNOB_frequency | KNOB_seed | KNOB_logprobs,
                              .no_developer = true,
                              .one_choice = true,
                              .reasoning = "reasoning",
                              .auth = "authorization",
                              .prefix = "Bearer" },
        [UPSTREAM_azure] = { .knobs = KNOBS_openai,
                             .max_completion = true,
                             .strict_names = true,
                             .auth = "api-key",
                             .prefix = "" },
    };
    const struct config_endpoint *e = job->endpoint;
    if (e->provider == UPSTREAM_openai && is_official(e->url))
        return &official;
    return e->provider < ARRAY_LEN(rows) && rows[e->provider].auth ? &rows[e->provider]
                                                                   : &rows[UPSTREAM_openai];
}

static bool openai_speaks(enum wire wire)
{
    return wire == WIRE_openai_chat || wire == WIRE_openai_completions;
}

/* ---- addresses ---- */

#define AZURE_VERSION "2024-10-21" /* the newest that is no preview */

/* Azure: a deployment is part of the path, unless the resource serves OpenAI's own paths. */
static void azure_url(struct buf *url, const struct provider_job *job, const char *service)
{
    const struct config_endpoint *e = job->endpoint;
    bool is_plain = str_ends(e->url, STR("/openai/v1"));
    buf_add(url, e->url);
    if (!is_plain && str_find(e->url, STR("/openai/deployments/")) < 0) {
        buf_adds(url, str_ends(e->url, STR("/openai")) ? "/deployments/" : "/openai/deployments/");
        buf_add_escaped(url, job->model);
    }
    buf_adds(url, service);
    if (!is_plain || e->api_version.n) {
        buf_adds(url, "?api-version=");
        buf_add_escaped(url, e->api_version.n ? e->api_version : STR(AZURE_VERSION));
    }
}

int openai_url(struct provider_call *call, const struct provider_job *job, const char *service)
{
    const struct config_endpoint *e = job->endpoint;
    bool is_chat = strcmp(service, "/chat/completions") == 0;
    if (is_chat && provider_own_path(call, e))
        return buf_err(&call->url);
    if (e->provider == UPSTREAM_azure) {
        azure_url(&call->url, job, service);
    } else {
        buf_add(&call->url, e->url);
        buf_adds(&call->url, e->provider == UPSTREAM_ollama ? "/v1" : "");
        buf_adds(&call->url, service);
    }
    return buf_err(&call->url);
}

/* ---- requests ---- */

/* Azure takes keys of its own, and tokens of the directory, which are JSON in base64. */
static int openai_headers(struct provider_call *call, const struct provider_job *job)
{
    const struct openai_quirks *q = openai_quirks_of(job);
    bool is_token =
        job->endpoint->provider == UPSTREAM_azure && str_starts(provider_secret(job), STR("eyJ"));
    return is_token ? provider_headers(call, job, "authorization", "Bearer")
                    : provider_headers(call, job, q->auth, q->prefix);
}

static int openai_write(struct provider_call *ret, const struct provider_job *job,
                        struct fail *reterr)
{
    int r =
        openai_url(ret, job, job->request->is_completion ? "/completions" : "/chat/completions");
    if (r == 0)
        r = openai_headers(ret, job);
    if (r == 0)
        r = openai_write_body(ret, job, reterr);
    return r != 0 ? r : provider_written(ret, reterr);
}

static void openai_refusal(const struct provider_job *job, const struct call_head *head,
                           struct str body, struct provider_refusal *ret)
{
    refusal_usual(job, head, body, WIRE_openai_chat, ret);
}

/* ---- embeddings ---- */

int openai_write_embed(struct provider_call *ret, const struct provider_job *job,
                       const struct embed_input *inputs, size_t n, struct fail *reterr)
{
    struct buf *b = &ret->body;
    int r = openai_url(ret, job, "/embeddings");
    if (r == 0)
        r = openai_headers(ret, job);
    if (r != 0)
        return r;
    buf_adds(b, "{\"model\":");
    buf_add_json(b, job->model);
    buf_adds(b, ",\"encoding_format\":\"float\",\"input\":[");
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, i ? "," : "");
        if (!inputs[i].ids) {
            buf_add_json(b, inputs[i].text);
            continue;
        }
        for (size_t k = 0; k < inputs[i].n_ids; k++)
            buf_addf(b, "%c%d", k ? ',' : '[', inputs[i].ids[k]);
        buf_adds(b, inputs[i].n_ids ? "]" : "[]");
    }
    buf_adds(b, "]}");
    return provider_written(ret, reterr);
}

static int bad_embedding(const struct provider_job *job, struct fail *reterr, const char *what)
{
    return fail_set(reterr, FAIL_upstream_error, "%s: the answer %s",
                    provider_word(job->endpoint->provider), what);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Little-endian floats in base64: OpenAI's "encoding_format": "base64". false: they are not
 * `width` of them. */
static bool read_base64(struct str text, float *row, size_t width)
{
    uint32_t bits = 0, word = 0;
    unsigned n_bits = 0;
    size_t n = 0;
    while (text.n && text.p[text.n - 1] == '=')
        text.n--;
    for (size_t i = 0; i < text.n; i++) {
        int digit = base64_digit(text.p[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6) | (uint32_t)digit;
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        word |= ((bits >> n_bits) & 0xff) << (8 * (n % 4));
        if (n++ % 4 != 3)
            continue;
        if (n / 4 > width)
            return false;
        memcpy(&row[n / 4 - 1], &word, sizeof(word));
        word = 0;
    }
    return n == width * 4;
}

static size_t embedding_width(struct str v)
{
    struct str text;
    if (json_view_plain(v, &text)) {
        while (text.n && text.p[text.n - 1] == '=')
            text.n--;
        return text.n * 3 / 4 / sizeof(float);
    }
    return json_view_count(v);
}

static bool read_row(struct str v, float *row, size_t width)
{
    struct str text;
    double number = 0;
    size_t i = 0;
    if (json_view_plain(v, &text))
        return read_base64(text, row, width);
    struct json_view_walk w = json_view_walk(v);
    for (struct str value; i < width && json_view_next(&w, NULL, &value); i++) {
        if (json_view_double(value, &number) != 0)
            return false;
        row[i] = (float)number;
    }
    return i == width && !json_view_next(&w, NULL, &text);
}

enum { EMBED_WIDTH_MAX = 65536 }; /* far beyond any model's */

static int read_rows(const struct provider_job *job, struct str data, struct embed_result *ret,
                     struct fail *reterr)
{
    size_t at = 0;
    uint64_t index;
    struct json_view_walk w = json_view_walk(data);
    for (struct str item; json_view_next(&w, NULL, &item); at++) {
        struct str v = json_view_get(item, "embedding");
        if (json_view_u64(json_view_get(item, "index"), &index) != 0)
            index = at;
        if (index >= ret->n || embedding_width(v) != ret->width ||
            !read_row(v, ret->values + index * ret->width, ret->width))
            return bad_embedding(job, reterr, "holds an embedding that is none");
    }
    return 0;
}

int openai_read_embed(const struct provider_job *job, struct str body, size_t n,
                      struct embed_result *ret, struct fail *reterr)
{
    size_t at = 0, cells = 0;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return bad_embedding(job, reterr, "is no JSON");
    struct str object = json_view_value(body), data = json_view_get(object, "data");
    if (!data.p && json_view_get(object, "error").p) {
        struct provider_refusal refusal = { 0 };
        struct provider_error e = { 0 };
        CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_UPSTREAM_REFUSAL);
        if (!arena)
            return -ENOMEM;
        provider_error_read(&e, object, arena);
        refusal_by_error(&refusal, job, 0, &e);
        *reterr = refusal.fail;
        return FAILED;
    }
    if (json_view_count(data) != n)
        return bad_embedding(job, reterr, "does not hold one embedding an input");
    size_t width = embedding_width(json_view_at(data, "0.embedding"));
    if (width == 0 || width > EMBED_WIDTH_MAX || !mul_ok(n, width, &cells))
        return bad_embedding(job, reterr, "holds embeddings of no use");
    struct embed_result result = { .values = calloc(cells, sizeof(float)), .n = n, .width = width };
    if (!result.values)
        return -ENOMEM;
    struct engine_usage usage = { 0 };
    openai_usage(&usage, json_view_get(object, "usage"));
    result.tokens = usage.prompt_tokens;
    int r = read_rows(job, data, &result, reterr);
    if (r == 0)
        *ret = result;
    else
        embed_result_done(&result);
    return r;
}

/* ---- the table's rows ---- */

static int openai_write_relay(struct provider_call *ret, const struct provider_job *job,
                              const char *path, bool decoded, struct fail *reterr)
{
    static const char v1[] = "/v1";
    (void)decoded;
    bool counts = strcmp(path, COUNT_TOKENS_PATH) == 0 && openai_quirks_of(job)->counts;
    if (strncmp(path, "/v1/", strlen("/v1/")) == 0 && !counts) /* of another wire */
        return provider_no_relay(job, reterr);
    int r = openai_url(ret, job, counts ? path + strlen(v1) : path);
    if (r == 0)
        r = openai_headers(ret, job);
    return r != 0 ? r : provider_written(ret, reterr);
}

#define OPENAI_PROVIDER(word)                                                                      \
    {                                                                                              \
        .name = (word), .speaks = openai_speaks, .write = openai_write,                            \
        .reader_new = openai_reader_new, .read = openai_read, .end = openai_end,                   \
        .reader_free = openai_reader_free, .refusal = openai_refusal,                              \
        .write_embed = openai_write_embed, .read_embed = openai_read_embed,                        \
        .write_relay = openai_write_relay                                                          \
    }

const struct provider openai_provider = OPENAI_PROVIDER("openai");
const struct provider vllm_provider = OPENAI_PROVIDER("vllm");
const struct provider sglang_provider = OPENAI_PROVIDER("sglang");
const struct provider llama_server_provider = OPENAI_PROVIDER("llama_server");
const struct provider ollama_provider = OPENAI_PROVIDER("ollama");
const struct provider azure_provider = OPENAI_PROVIDER("azure");
