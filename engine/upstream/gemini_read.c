/*
 * Answers in Google's wire: one document, an array of them, or a stream of events. Calls come
 * whole; counts are of all so far.
 */
#include "engine/upstream/gemini.h"

#include "base/limits.h"
#include "base/num.h"

#include <errno.h>
#include <math.h>

enum {
    CALLS_MAX = 256,        /* of one answer: more are an attack */
    SCRATCH_MAX = 64 * MIB, /* a decoded text: no longer than the answer it is of */
    TOKENS_MAX = 4096,      /* of one chunk, with log-probabilities */
};

struct reader {
    struct provider_reader base;
    struct reader_body body;
    struct buf text, id, name;
    struct buf signature; /* of text: told at the end, unless a call brought one */
    struct arena *arena;  /* of one chunk's log-probabilities */
    uint32_t prompt, tool_prompt, candidates; /* tokens */
    uint32_t n_calls;
    bool has_signature; /* one was told */
    bool has_finish;
    enum finish_reason finish;
};

struct provider_reader *gemini_reader_new(const struct provider_job *job,
                                          const struct call_head *head, struct reader_out out)
{
    struct reader *r = calloc(1, sizeof(*r));
    (void)head;
    if (!r)
        return NULL;
    r->base = (struct provider_reader){ .job = job, .out = out };
    r->text = r->id = r->name = r->signature = BUF_INIT(SCRATCH_MAX);
    reader_body_init(&r->body);
    return &r->base;
}

void gemini_reader_free(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (!r)
        return;
    buf_done(&r->text);
    buf_done(&r->id);
    buf_done(&r->name);
    buf_done(&r->signature);
    reader_body_done(&r->body);
    r->arena = arena_free(r->arena);
    free(r);
}

/* ---- usage, errors, the end ---- */

static void take_count(uint32_t *n, struct str usage, const char *key)
{
    uint64_t v = 0;
    if (json_view_u64(json_view_get(usage, key), &v) == 0)
        *n = v < INT32_MAX ? (uint32_t)v : INT32_MAX;
}

/* Counts are of all so far: they are set, not added; what a chunk does not say stays. */
static void take_usage(struct reader *r, struct str usage)
{
    struct engine_usage *u = &r->base.usage;
    take_count(&r->prompt, usage, "promptTokenCount");
    take_count(&r->tool_prompt, usage, "toolUsePromptTokenCount");
    take_count(&r->candidates, usage, "candidatesTokenCount");
    take_count(&u->cached_tokens, usage, "cachedContentTokenCount");
    take_count(&u->reasoning_tokens, usage, "thoughtsTokenCount");
    u->prompt_tokens = r->prompt + r->tool_prompt;
    u->completion_tokens = r->candidates + u->reasoning_tokens;
}

static enum finish_reason finish_of(struct str word)
{
    static const char *const filtered[] = {
        "SAFETY",   "RECITATION", "BLOCKLIST",  "PROHIBITED_CONTENT",   "SPII",
        "LANGUAGE", "NO_IMAGE",   "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR"
    };
    if (str_is(word, "MAX_TOKENS") || str_is(word, "CONTINUATION"))
        return FINISH_length;
    if (str_starts(word, STR("IMAGE_")))
        return FINISH_content_filter;
    for (size_t i = 0; i < ARRAY_LEN(filtered); i++)
        if (str_is(word, filtered[i]))
            return FINISH_content_filter;
    return FINISH_stop; /* STOP, and whatever clients have no word for */
}

static void tell_signature(struct reader *r, struct str signature)
{
    struct engine_event e = { .kind = ENGINE_EVENT_reasoning, .signature = signature };
    if (signature.n == 0 || r->has_signature)
        return;
    r->has_signature = true;
    reader_event(&r->base, &e);
}

static void finish(struct reader *r)
{
    bool is_call = r->finish == FINISH_stop && r->n_calls > 0;
    tell_signature(r, buf_str(&r->signature));
    reader_done(&r->base, is_call ? FINISH_tool_calls : r->finish);
}

/* ---- log-probabilities ---- */

static struct token_logprob read_logprob(struct reader *r, struct str entry)
{
    uint64_t id = 0;
    double v = 0;
    bool has_id = json_view_u64(json_view_get(entry, "tokenId"), &id) == 0 && id <= INT32_MAX;
    bool has_value = json_view_double(json_view_get(entry, "logProbability"), &v) == 0;
    return (struct token_logprob){ .id = has_id ? (int32_t)id : -1,
                                   .logprob = has_value ? (float)v : NAN,
                                   .bytes =
                                       json_view_text(json_view_get(entry, "token"), r->arena) };
}

static void read_tops(struct reader *r, struct engine_token *token, struct str candidates)
{
    size_t n = json_view_count(candidates), at = 0;
    n = n < r->base.job->request->top_logprobs ? n : r->base.job->request->top_logprobs;
    struct token_logprob *top = n ? arena_array(r->arena, n, sizeof(*top)) : NULL;
    struct json_view_walk walk = json_view_walk(candidates);
    for (struct str entry; top && at < n && json_view_next(&walk, NULL, &entry); at++)
        top[at] = read_logprob(r, entry);
    token->top = top;
    token->n_top = at;
}

/* Tokens of a chunk; they live until the next. */
static size_t read_tokens(struct reader *r, struct str result, struct engine_token **ret)
{
    struct str chosen = json_view_get(result, "chosenCandidates");
    size_t n = json_view_count(chosen), at = 0;
    n = n < TOKENS_MAX ? n : TOKENS_MAX;
    if (n == 0 || !r->base.job->request->logprobs)
        return 0;
    r->arena = arena_free(r->arena);
    r->arena = arena_new(SCRATCH_MAX);
    struct engine_token *tokens = r->arena ? arena_array(r->arena, n, sizeof(*tokens)) : NULL;
    struct json_view_walk walk = json_view_walk(chosen);
    struct json_view_walk tops = json_view_walk(json_view_get(result, "topCandidates"));
    struct str top;
    for (struct str entry; tokens && at < n && json_view_next(&walk, NULL, &entry); at++) {
        tokens[at].chosen = read_logprob(r, entry);
        if (json_view_next(&tops, NULL, &top))
            read_tops(r, &tokens[at], json_view_get(top, "candidates"));
    }
    *ret = tokens;
    return at;
}

/* ---- parts ---- */

static void tell_call(struct reader *r, struct str call, struct str signature)
{
    char made[READER_CALL_ID];
    struct str id = reader_string(json_view_get(call, "id"), &r->id);
    struct str name = reader_string(json_view_get(call, "name"), &r->name);
    struct str args = json_view_get(call, "args");
    if (r->n_calls == CALLS_MAX) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer calls too many tools");
        return;
    }
    tell_signature(r, signature);
    if (id.n == 0) {
        reader_call_id(&r->base, r->n_calls, made);
        id = str_of(made);
    }
    struct engine_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = { .index = r->n_calls,
                  .id = id,
                  .name = provider_tool_original(r->base.job->request, name, GEMINI_TOOL_NAME) },
    };
    reader_event(&r->base, &e);
    e.call.id = e.call.name = STR_NULL;
    e.call.arguments = json_view_kind(args) == JSON_VIEW_object ? args : STR("{}");
    reader_event(&r->base, &e);
    r->n_calls++;
}

/* The tokens of a chunk go with its first text. */
struct tokens {
    struct engine_token *p;
    size_t n;
};

static void tell_text(struct reader *r, struct str text, struct tokens *tokens)
{
    struct engine_event e = {
        .kind = ENGINE_EVENT_text, .text = text, .tokens = tokens->p, .n_tokens = tokens->n
    };
    if (text.n == 0)
        return;
    *tokens = (struct tokens){ 0 };
    reader_event(&r->base, &e);
}

static void read_part(struct reader *r, struct str part, struct tokens *tokens)
{
    struct str call = json_view_get(part, "functionCall");
    struct str text = json_view_get(part, "text");
    struct buf scratch = BUF_INIT(SCRATCH_MAX);
    struct str signature = reader_string(json_view_get(part, "thoughtSignature"), &scratch);
    if (call.p) {
        tell_call(r, call, signature);
        buf_done(&scratch);
        return;
    }
    if (signature.n && r->signature.n == 0)
        buf_add(&r->signature, signature);
    buf_done(&scratch);
    if (json_view_true(json_view_get(part, "thought")))
        reader_reasoning(&r->base, reader_string(text, &r->text));
    else if (text.p)
        tell_text(r, reader_string(text, &r->text), tokens);
}

static void read_candidate(struct reader *r, struct str candidate)
{
    struct tokens tokens = { 0 };
    struct str word = json_view_get(candidate, "finishReason"), part;
    uint64_t index = 0;
    if (json_view_u64(json_view_get(candidate, "index"), &index) == 0 && index > 0)
        return; /* one was asked for */
    tokens.n = read_tokens(r, json_view_get(candidate, "logprobsResult"), &tokens.p);
    struct json_view_walk walk = json_view_walk(json_view_at(candidate, "content.parts"));
    while (!r->base.ended && json_view_next(&walk, NULL, &part))
        read_part(r, part, &tokens);
    /* Some models say STOP with every chunk: what counts is the last of them. */
    if (json_view_kind(word) == JSON_VIEW_string && word.n > 2 &&
        !json_view_is(word, "FINISH_REASON_UNSPECIFIED")) {
        r->has_finish = true;
        r->finish = finish_of(reader_string(word, &r->name));
    }
}

static void read_chunk(struct reader *r, struct str json)
{
    struct str candidates = json_view_get(json, "candidates"), candidate;
    struct str usage = json_view_get(json, "usageMetadata");
    struct str reason = json_view_at(json, "promptFeedback.blockReason");
    if (json_view_kind(json_view_get(json, "error")) == JSON_VIEW_object) {
        reader_error_in(&r->base, json);
        return;
    }
    take_usage(r, usage);
    struct json_view_walk walk = json_view_walk(candidates);
    while (!r->base.ended && json_view_next(&walk, NULL, &candidate))
        read_candidate(r, candidate);
    if (!r->has_finish && json_view_kind(reason) == JSON_VIEW_string &&
        json_view_count(candidates) == 0) {
        r->has_finish = true; /* the prompt was refused: there is nothing else to come */
        r->finish = FINISH_content_filter;
    }
}

/* A chunk, or an array of them, as errors and unframed streams come. */
static void read_json(struct reader *r, struct str text)
{
    struct str v, item;
    size_t at = 0;
    enum json_view_fault fault = json_view_check(text, 2 * LIMIT_JSON_DEPTH, &at);
    if (fault == JSON_VIEW_syntax || fault == JSON_VIEW_depth) {
        reader_fail(&r->base, FAIL_upstream_error, "a part of the answer is no JSON (byte %zu)",
                    at);
        return;
    }
    v = json_view_value(text);
    if (json_view_kind(v) != JSON_VIEW_array) {
        read_chunk(r, v);
        return;
    }
    struct json_view_walk walk = json_view_walk(v);
    while (!r->base.ended && json_view_next(&walk, NULL, &item))
        read_chunk(r, item);
}

static int on_event(void *ctx, const struct sse_event *event)
{
    struct reader *r = ctx;
    if (!r->base.ended && !str_is(str_trim(event->data), "[DONE]"))
        read_json(r, event->data);
    return 0;
}

int gemini_read(struct provider_reader *base, struct str bytes)
{
    struct reader *r = (struct reader *)base;
    return reader_body_push(&r->body, base, bytes, on_event);
}

void gemini_end(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (!base->ended && r->body.is_known && !r->body.is_stream) {
        struct str whole = reader_body_whole(&r->body);
        if (whole.p)
            read_json(r, whole);
    }
    if (base->ended)
        return;
    if (r->has_finish)
        finish(r);
    else
        reader_fail(base, FAIL_upstream_error,
                    "the answer ended before its finishReason came: it is cut short");
}

/* ---- refusals ---- */

/* When to come back, of google.rpc.RetryInfo: "31s" or "0.5s"; 0: it does not say. */
static unsigned retry_delay(struct str body)
{
    struct str v = json_view_value(body), detail, text, whole, rest;
    uint64_t seconds = 0;
    if (json_view_kind(v) == JSON_VIEW_array)
        v = json_view_at(v, "0");
    struct json_view_walk walk = json_view_walk(json_view_at(v, "error.details"));
    while (json_view_next(&walk, NULL, &detail)) {
        if (!json_view_plain(json_view_get(detail, "retryDelay"), &text) ||
            !str_ends(text, STR("s")))
            continue;
        text.n--;
        bool has_fraction = str_cut(text, '.', &whole, &rest);
        if (num_parse_u64(&seconds, has_fraction ? whole : text, 0, UINT32_MAX - 1) == 0)
            return (unsigned)seconds + (has_fraction ? 1 : 0);
    }
    return 0;
}

void gemini_refusal(const struct provider_job *job, const struct call_head *head, struct str body,
                    struct provider_refusal *ret)
{
    refusal_usual(job, head, body, WIRE_none, ret);
    bool is_later = ret->kind == REFUSAL_later && ret->fail.retry_after_s == 0;
    if (is_later)
        ret->fail.retry_after_s = retry_delay(body);
}
