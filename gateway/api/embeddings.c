/*
 * POST /v1/embeddings. Everything runs on a worker: decoding megabytes, cutting them into tokens,
 * the forward passes and the printing.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "gateway/api/api.h"
#include "gateway/api/body.h"
#include "gateway/api/model.h"
#include "gateway/relay.h"
#include "gateway/server.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Tokens that the engine gets at once: between such groups a client that left and a deadline are
 * noticed. */
enum { GROUP_TOKENS = 4096 };

struct ask {
    struct request *request;
    struct str model, format, user;
    int64_t dimensions;
    bool has_model, has_dimensions, is_base64;
    struct engine *engine;
    struct embed_input *inputs; /* first the texts, then their ids too */
    int32_t **owned;            /* ids that were cut from texts; of each input, or NULL */
    size_t n;
    uint64_t tokens;
    uint64_t engine_us;
    struct buf *out;
};
#define AT(member) offsetof(struct ask, member)
static const struct field ask_fields[] = {
    { "model", FIELD_text, AT(model), 0, 0, AT(has_model) },
    { "encoding_format", FIELD_text, AT(format), 0, 0, -1 },
    { "dimensions", FIELD_int, AT(dimensions), 1, INT32_MAX, AT(has_dimensions) },
    { "user", FIELD_text, AT(user), 0, 0, -1 },
    { 0 },
};

/* Of other servers. Without `input` a body with messages would be a chat to embed. */
static const struct refused refused_here[] = {
    { "messages", UNLESS_null },  { "truncate_prompt_tokens", UNLESS_null },
    { "normalize", UNLESS_true }, { "add_special_tokens", UNLESS_true },
    { NULL, UNLESS_null },
};

static void ask_done(struct ask *a)
{
    for (size_t i = 0; a->owned && i < a->n; i++)
        free(a->owned[i]);
}

/* ---- decode ---- */

static int decode_format(struct ask *a, struct fail *reterr)
{
    a->is_base64 = str_is(a->format, "base64");
    if (a->format.n == 0 || a->is_base64 || str_is(a->format, "float"))
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "encoding_format",
                      "'encoding_format' must be \"float\" or \"base64\"");
}

static int bad_input(struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, "input",
                      "'input' must be a string, an array of strings, an array of token ids, or an "
                      "array of such arrays");
}

static int bad_id(size_t i, size_t k, struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, "input",
                      "input[%zu] holds at position %zu what is no token id of this model", i, k);
}

static int decode_ids(struct ask *a, size_t i, struct str v, struct fail *reterr)
{
    size_t n = json_view_count(v), k = 0;
    if (n == 0)
        return fail_param(reterr, FAIL_empty_array, "input",
                          "input[%zu] is an empty array; it must hold at least one token id", i);
    if (n > LIMIT_CONTEXT)
        return fail_param(reterr, FAIL_context_length_exceeded, "input",
                          "input[%zu] has %zu token ids; at most %lu are taken", i, n,
                          LIMIT_CONTEXT);
    int32_t *ids = arena_array(a->request->arena, n, sizeof(*ids));
    if (!ids)
        return body_no_memory(reterr);
    struct str item;
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, NULL, &item); k++) {
        uint64_t x = 0;
        if (json_view_u64(item, &x) < 0 || x >= LIMIT_VOCAB ||
            !engine_token(a->engine, (int32_t)x, /* bytes= */ NULL).p)
            return bad_id(i, k, reterr);
        ids[k] = (int32_t)x;
    }
    a->inputs[i] = (struct embed_input){ .ids = ids, .n_ids = n };
    return 0;
}

static int decode_input(struct ask *a, size_t i, struct str v, struct fail *reterr)
{
    if (body_is_array(v))
        return decode_ids(a, i, v, reterr);
    if (!body_is_string(v))
        return bad_input(reterr);
    a->inputs[i] = (struct embed_input){ .text = json_view_text(v, a->request->arena) };
    if (!a->inputs[i].text.p)
        return body_no_memory(reterr);
    if (a->inputs[i].text.n)
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "input",
                      "input[%zu] is an empty string; it must have at least one character", i);
}

/* An array of numbers is one input; any other array holds inputs. */
static int decode_inputs(struct ask *a, struct str v, struct fail *reterr)
{
    struct json_view_walk w = json_view_walk(v);
    struct str input = v;
    bool many = body_is_array(v) && !(json_view_next(&w, NULL, &input) && body_is_number(input));
    size_t n = many ? json_view_count(v) : 1;
    if (!v.p)
        return fail_param(reterr, FAIL_invalid_request, "input", "'input' is missing");
    if (n == 0)
        return fail_param(reterr, FAIL_empty_array, "input",
                          "'input' is an empty array; it must hold at least one text");
    if (n > LIMIT_EMBED_INPUTS)
        return fail_param(reterr, FAIL_invalid_request, "input",
                          "'input' has %zu entries; at most %d are taken at once", n,
                          LIMIT_EMBED_INPUTS);
    a->inputs = arena_array(a->request->arena, n, sizeof(*a->inputs));
    a->owned = arena_array(a->request->arena, n, sizeof(*a->owned));
    if (!a->inputs || !a->owned)
        return body_no_memory(reterr);
    memset(a->owned, 0, n * sizeof(*a->owned));
    a->n = n;
    w = json_view_walk(v);
    for (size_t i = 0; i < n; i++) {
        if (!many)
            input = v;
        else if (!json_view_next(&w, NULL, &input))
            break;
        int r = decode_input(a, i, input, reterr);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- tokens ---- */

static int too_long(const struct ask *a, size_t i, struct fail *reterr)
{
    return fail_param(reterr, FAIL_context_length_exceeded, "input",
                      "input[%zu] has more than the %u tokens of this model's context; shorten it",
                      i, engine_context(a->engine));
}

static int count_input(struct ask *a, size_t i, struct fail *reterr)
{
    struct embed_input *in = &a->inputs[i];
    uint32_t context = engine_context(a->engine);
    if (!in->ids) {
        struct engine_encoding what = { .text = in->text, .ends = true, .max = context };
        int r = engine_encode(a->engine, &what, &a->owned[i], &in->n_ids, reterr);
        if (r == FAILED && reterr->code == FAIL_context_length_exceeded)
            return too_long(a, i, reterr);
        if (r != 0)
            return r;
        in->ids = a->owned[i];
    }
    if (in->n_ids == 0)
        return fail_param(reterr, FAIL_invalid_request, "input",
                          "input[%zu] has no tokens for this model", i);
    if (in->n_ids > context)
        return too_long(a, i, reterr);
    a->tokens += in->n_ids;
    if (a->tokens > LIMIT_EMBED_TOKENS)
        return fail_param(reterr, FAIL_invalid_request, "input",
                          "up to input[%zu] there are more than %d tokens; send fewer inputs at "
                          "once",
                          i, LIMIT_EMBED_TOKENS);
    return 0;
}

/* Somebody still waits for the answer. */
static int check_wanted(const struct ask *a, struct fail *reterr)
{
    struct request *r = a->request;
    if (flow_ended(&r->flow))
        return fail_set(reterr, FAIL_client_closed, "the client left");
    if (clock_ms() < r->deadline_ms)
        return 0;
    return fail_set(reterr, FAIL_timeout, "gateway.request_timeout passed; send fewer inputs");
}

static int count_inputs(struct ask *a, struct fail *reterr)
{
    for (size_t i = 0; i < a->n; i++) {
        int r = check_wanted(a, reterr);
        if (r == 0)
            r = count_input(a, i, reterr);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- vectors ---- */

static bool is_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

/* Base64 of the numbers as they lie in the memory of a little-endian machine. */
static void print_bytes(struct buf *b, const float *v, size_t n)
{
    CLEANUP(own_free) uint32_t *words = malloc(n * sizeof(*words));
    if (!words) {
        b->err = b->err ? b->err : -ENOMEM;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &v[i], sizeof(u));
        words[i] = htole32(u);
    }
    buf_addc(b, '"');
    buf_add_base64(b, (struct str){ (const char *)words, n * sizeof(*words) });
    buf_addc(b, '"');
}

static void print_vector(struct ask *a, size_t i, const float *v, size_t n)
{
    struct buf *b = a->out;
    buf_addf(b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
    if (a->is_base64) {
        print_bytes(b, v, n);
    } else {
        for (size_t k = 0; k < n; k++)
            buf_addf(b, "%c%.9g", k ? ',' : '[', (double)v[k]); /* 9 digits give the float back */
        buf_addc(b, ']');
    }
    buf_addc(b, '}');
}

static int print_group(struct ask *a, size_t from, const struct embed_result *got,
                       struct fail *reterr)
{
    size_t width = a->has_dimensions ? (size_t)a->dimensions : got->width;
    if (width > got->width)
        return fail_param(reterr, FAIL_invalid_request, "dimensions",
                          "'dimensions' is %zu; this model's vectors have %zu", width, got->width);
    for (size_t i = 0; i < got->n; i++) {
        float *v = got->values + i * got->width;
        if (!is_finite(v, got->width))
            return fail_set(reterr, FAIL_internal_error,
                            "the vector of input[%zu] is not of numbers", from + i);
        if (width < got->width)
            embed_unit_length(v, width);
        print_vector(a, from + i, v, width);
    }
    return 0;
}

static int embed_group(struct ask *a, size_t from, size_t n, struct fail *reterr)
{
    CLEANUP(embed_result_done) struct embed_result got = { 0 };
    uint64_t since = clock_us();
    int r = check_wanted(a, reterr);
    if (r == 0)
        r = engine_embed(a->engine, a->inputs + from, n, &got, reterr);
    a->engine_us += clock_us() - since;
    if (r == 0 && engine_is_upstream(a->engine))
        a->tokens += got.tokens;
    return r == 0 ? print_group(a, from, &got, reterr) : r;
}

static int embed_all(struct ask *a, struct fail *reterr)
{
    int r = 0;
    for (size_t from = 0, n = 0; r == 0 && from < a->n; from += n) {
        size_t tokens = a->inputs[from].n_ids;
        for (n = 1; from + n < a->n && tokens + a->inputs[from + n].n_ids <= GROUP_TOKENS; n++)
            tokens += a->inputs[from + n].n_ids;
        r = embed_group(a, from, n, reterr);
    }
    return r;
}

/* ---- the endpoint ---- */

/* To an engine behind that serves this API itself. false: it does not, and is asked by inputs. */
static bool passes(struct ask *a, int *ret, struct fail *reterr)
{
    *ret = relay_body(a->request, a->engine, a->model, "/embeddings", reterr);
    bool is_unserved = *ret == FAILED && reterr->code == FAIL_unsupported_parameter &&
                       str_is(str_of(reterr->param), "model");
    a->tokens = a->request->log_tokens;
    if (is_unserved)
        *ret = 0;
    return !is_unserved;
}

static int answer(struct ask *a, struct fail *reterr)
{
    struct body body; /* texts are borrowed from its text to the end */
    int r = check_wanted(a, reterr);
    if (r == 0)
        r = body_read(&body, buf_str(&a->request->body), a->request->arena, reterr);
    if (r == 0)
        r = body_fields(a, ask_fields, &body, a->request->arena, reterr);
    if (r == 0)
        r = body_refuse(refused_here, &body, reterr);
    if (r == 0)
        r = decode_format(a, reterr);
    if (r == 0)
        r = model_for_vectors(a->request, a->model, &a->engine, reterr);
    if (r == 0 && engine_is_upstream(a->engine) && passes(a, &r, reterr))
        return r;
    if (r == 0)
        r = decode_inputs(a, body_get(&body, "input"), reterr);
    if (r == 0 && !engine_is_upstream(a->engine)) /* nobody else tells before they are computed */
        r = count_inputs(a, reterr);
    buf_adds(a->out, "{\"object\":\"list\",\"data\":[");
    if (r == 0)
        r = embed_all(a, reterr);
    buf_adds(a->out, "],\"model\":");
    buf_add_json(a->out, a->model);
    buf_addf(a->out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
             (unsigned long long)a->tokens, (unsigned long long)a->tokens);
    return r < 0 ? fail_errno(reterr, r, "computing the embeddings") : r;
}

/* Worker. */
static void embed(struct request *r)
{
    struct ask a = { .request = r, .out = &r->reply.body };
    struct fail fail = { 0 };
    uint64_t since = clock_us();
    int err = answer(&a, &fail);
    r->log_tokens = a.tokens;
    if (err != 0) {
        (void)reply_fail(r, &fail);
    } else {
        uint64_t us = clock_us() - since - a.engine_us;
        if (a.n)
            reply_headerf(r, "x-rootstock-overhead-us", "%llu", (unsigned long long)us);
        reply_headerf(r, "x-rootstock-queue-us", "%llu",
                      (unsigned long long)(since - r->received_us));
        metrics_observe_us(METRIC_overhead_seconds, us);
        metrics_add(METRIC_embedding_inputs_total, (int64_t)a.n);
        metrics_add(METRIC_embedding_tokens_total, (int64_t)a.tokens);
    }
    ask_done(&a);
    buf_done(&r->body);
}

enum next api_embeddings(struct request *r)
{
    return server_compute(r, embed, reply_made);
}
