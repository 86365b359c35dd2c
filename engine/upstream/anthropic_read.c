#include "engine/upstream/anthropic.h"

#include "base/limits.h"

#include <errno.h>

enum {
    BLOCKS_MAX = 4096,      /* of one answer: more are an attack */
    SCRATCH_MAX = 64 * MIB, /* a decoded text: no longer than the answer it is of */
};

enum block_kind { BLOCK_other, BLOCK_text, BLOCK_thinking, BLOCK_call, BLOCK_answer };

struct block {
    enum block_kind kind;
    uint32_t call;      /* of a call: which */
    bool has_arguments; /* … and whether they came */
};

struct reader {
    struct provider_reader base;
    struct reader_body body;
    struct buf text, name, stop;
    struct block *blocks;
    size_t n_blocks, room;
    uint32_t n_calls;
    uint32_t fresh, cache_read, cache_write; /* prompt tokens */
    enum finish_reason finish;
    bool has_finish, begun;
    int err;
};

struct provider_reader *anthropic_reader_new(const struct provider_job *job,
                                             const struct call_head *head, struct reader_out out)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->base = (struct provider_reader){ .job = job, .out = out };
    r->text = BUF_INIT(SCRATCH_MAX);
    r->name = BUF_INIT(SCRATCH_MAX);
    r->stop = BUF_INIT(SCRATCH_MAX);
    reader_body_init(&r->body);
    return &r->base;
}

void anthropic_reader_free(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (!r)
        return;
    buf_done(&r->text);
    buf_done(&r->name);
    buf_done(&r->stop);
    reader_body_done(&r->body);
    free(r->blocks);
    free(r);
}

/* ---- usage and the end ---- */

/* A later 0 is no news: some count the prompt in the first event alone, some in the last. */
static void take_count(uint32_t *n, struct str value)
{
    uint64_t v = 0;
    if (value.p && json_view_u64(value, &v) == 0 && v > 0)
        *n = v < UINT32_MAX / 4 ? (uint32_t)v : UINT32_MAX / 4;
}

/* Counts are of the whole answer so far: they are set, not added; what is missing stays. */
static void read_usage(struct reader *r, struct str usage)
{
    struct engine_usage *u = &r->base.usage;
    if (json_view_kind(usage) != JSON_VIEW_object)
        return;
    take_count(&r->fresh, json_view_get(usage, "input_tokens"));
    take_count(&r->cache_read, json_view_get(usage, "cache_read_input_tokens"));
    take_count(&r->cache_write, json_view_get(usage, "cache_creation_input_tokens"));
    take_count(&u->completion_tokens, json_view_get(usage, "output_tokens"));
    take_count(&u->reasoning_tokens, json_view_at(usage, "output_tokens_details.thinking_tokens"));
    u->prompt_tokens = r->fresh + r->cache_read + r->cache_write;
    u->cached_tokens = r->cache_read;
    u->cache_write_tokens = r->cache_write;
}

static void read_stop(struct reader *r, struct str delta)
{
    struct str v = json_view_get(delta, "stop_reason");
    if (json_view_kind(v) != JSON_VIEW_string || v.n == 2)
        return;
    struct str word = reader_string(v, &r->name);
    if (!reader_finish(word, &r->finish)) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer broke off (stop_reason %.*s)",
                    (int)str_head(word, 64).n, word.p);
        return;
    }
    r->has_finish = true;
    buf_clear(&r->stop);
    json_view_add_text(&r->stop, json_view_get(delta, "stop_sequence"));
}

static void tell_done(struct reader *r)
{
    bool is_answer = !r->base.job->verbatim && r->n_calls == 0;
    enum finish_reason finish =
        r->finish == FINISH_tool_calls && is_answer ? FINISH_stop : r->finish;
    struct engine_event e = { .kind = ENGINE_EVENT_done,
                              .finish = finish,
                              .stop = buf_str(&r->stop) };
    reader_event(&r->base, &e);
}

/* ---- blocks ---- */

static struct block *block_at(struct reader *r, struct str event)
{
    uint64_t i = 0;
    if (json_view_u64(json_view_get(event, "index"), &i) != 0)
        i = r->n_blocks ? r->n_blocks - 1 : 0;
    if (i >= BLOCKS_MAX) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer has too many content blocks");
        return NULL;
    }
    if (i >= r->room) {
        size_t room = i + 16 < BLOCKS_MAX ? i + 16 : BLOCKS_MAX;
        struct block *more = realloc(r->blocks, room * sizeof(*more));
        if (!more) {
            r->err = -ENOMEM;
            return NULL;
        }
        memset(more + r->room, 0, (room - r->room) * sizeof(*more));
        r->blocks = more;
        r->room = room;
    }
    if (i >= r->n_blocks)
        r->n_blocks = i + 1;
    return &r->blocks[i];
}

static void tell_signature(struct reader *r, struct str signature, struct str redacted)
{
    struct engine_event e = { .kind = ENGINE_EVENT_reasoning,
                              .signature = signature,
                              .redacted = redacted };
    if (signature.n || redacted.n)
        reader_event(&r->base, &e);
}

static void tell_arguments(struct reader *r, struct block *b, struct str arguments)
{
    struct engine_event e = { .kind = ENGINE_EVENT_tool_call,
                              .call = { .index = b->call, .arguments = arguments } };
    if (arguments.n == 0)
        return;
    b->has_arguments = true;
    if (b->kind == BLOCK_answer)
        reader_text(&r->base, arguments);
    else
        reader_event(&r->base, &e);
}

static void begin_call(struct reader *r, struct block *b, struct str content)
{
    char made[READER_CALL_ID];
    struct str name = reader_string(json_view_get(content, "name"), &r->name);
    struct str id = reader_string(json_view_get(content, "id"), &r->text);
    bool is_answer = anthropic_answers_by_tool(r->base.job);
    b->kind = is_answer && str_is(name, CLAUDE_ANSWER_TOOL) ? BLOCK_answer : BLOCK_call;
    if (b->kind == BLOCK_answer)
        return;
    b->call = r->n_calls++;
    if (!id.n) {
        reader_call_id(&r->base, b->call, made);
        id = str_of(made);
    }
    struct engine_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = { .index = b->call,
                  .id = id,
                  .name = provider_tool_original(r->base.job->request, name, ANTHROPIC_TOOL_NAME) },
    };
    reader_event(&r->base, &e);
}

/* A block's beginning: of a stream nearly empty, of a whole answer all of it. */
static void begin_block(struct reader *r, struct block *b, struct str content)
{
    struct str type = json_view_get(content, "type"), input = json_view_get(content, "input");
    *b = (struct block){ .kind = BLOCK_other };
    if (json_view_is(type, "text")) {
        b->kind = BLOCK_text;
        reader_text(&r->base, reader_string(json_view_get(content, "text"), &r->text));
    } else if (json_view_is(type, "thinking")) {
        b->kind = BLOCK_thinking;
        reader_reasoning(&r->base, reader_string(json_view_get(content, "thinking"), &r->text));
        tell_signature(r, reader_string(json_view_get(content, "signature"), &r->text), STR_NULL);
    } else if (json_view_is(type, "redacted_thinking")) {
        b->kind = BLOCK_thinking;
        tell_signature(r, STR_NULL, reader_string(json_view_get(content, "data"), &r->text));
    } else if (json_view_is(type, "tool_use")) {
        begin_call(r, b, content);
        if (json_view_count(input) > 0)
            tell_arguments(r, b, input);
    }
}

static void add_delta(struct reader *r, struct block *b, struct str delta)
{
    struct str type = json_view_get(delta, "type");
    if (json_view_is(type, "text_delta")) {
        reader_text(&r->base, reader_string(json_view_get(delta, "text"), &r->text));
    } else if (json_view_is(type, "thinking_delta")) {
        reader_reasoning(&r->base, reader_string(json_view_get(delta, "thinking"), &r->text));
    } else if (json_view_is(type, "signature_delta")) {
        tell_signature(r, reader_string(json_view_get(delta, "signature"), &r->text), STR_NULL);
    } else if (json_view_is(type, "input_json_delta") &&
               (b->kind == BLOCK_call || b->kind == BLOCK_answer)) {
        tell_arguments(r, b, reader_string(json_view_get(delta, "partial_json"), &r->text));
    }
}

/* A call that took nothing has an object without members. */
static void end_block(struct reader *r, struct block *b)
{
    if ((b->kind == BLOCK_call || b->kind == BLOCK_answer) && !b->has_arguments)
        tell_arguments(r, b, STR("{}"));
}

/* ---- a stream ---- */

/* What of an event concerns every answer, also one that is passed on. */
static void note(struct reader *r, struct str type, struct str json)
{
    if (json_view_is(type, "message_start")) {
        r->begun = true;
        read_usage(r, json_view_at(json, "message.usage"));
    } else if (json_view_is(type, "message_delta")) {
        read_usage(r, json_view_get(json, "usage"));
        read_stop(r, json_view_get(json, "delta"));
    } else if (json_view_is(type, "error")) {
        reader_error_in(&r->base, json);
    }
}

static void translate(struct reader *r, struct str type, struct str json)
{
    bool starts = json_view_is(type, "content_block_start");
    bool adds = json_view_is(type, "content_block_delta");
    if (!starts && !adds && !json_view_is(type, "content_block_stop"))
        return;
    struct block *b = block_at(r, json);
    if (!b)
        return;
    if (starts)
        begin_block(r, b, json_view_get(json, "content_block"));
    else if (adds)
        add_delta(r, b, json_view_get(json, "delta"));
    else
        end_block(r, b);
}

static bool is_content(struct str type, struct str json)
{
    if (json_view_is(type, "content_block_delta"))
        return true;
    return json_view_is(type, "content_block_start") &&
           !json_view_is(json_view_at(json, "content_block.type"), "text") &&
           !json_view_is(json_view_at(json, "content_block.type"), "thinking");
}

int anthropic_read_event(struct provider_reader *base, struct str name, struct str data)
{
    struct reader *r = (struct reader *)base;
    data = str_trim(data);
    if (base->ended || data.n == 0)
        return 0;
    struct str json = json_view_value(data), type = json_view_get(json, "type");
    if (json_view_kind(json) != JSON_VIEW_object || json.n != data.n) {
        reader_fail(base, FAIL_upstream_error, "the stream holds an event that is no JSON");
        return 0;
    }
    if (json_view_kind(type) != JSON_VIEW_string) {
        if (json_view_get(json, "error").p || str_is(name, "error"))
            reader_error_in(&r->base, json);
        return 0;
    }
    note(r, type, json);
    if (base->ended)
        return 0;
    if (base->job->verbatim) {
        struct str word = reader_string(type, &r->name);
        reader_verbatim(base, name.n ? name : word, json, is_content(type, json));
    } else {
        translate(r, type, json);
    }
    if (r->err == 0 && json_view_is(type, "message_stop")) {
        if (r->has_finish)
            tell_done(r);
        else
            reader_fail(base, FAIL_upstream_error, "the stream ended without a stop_reason");
    }
    return r->err;
}

static int on_event(void *ctx, const struct sse_event *event)
{
    struct reader *r = ctx;
    if (r->base.job->verbatim && !r->base.job->request->stream) {
        reader_fail(&r->base, FAIL_upstream_error,
                    "the answer came as a stream where none was asked for");
        return 0;
    }
    return anthropic_read_event(ctx, event->name, event->data);
}

int anthropic_read(struct provider_reader *base, struct str bytes)
{
    struct reader *r = (struct reader *)base;
    return reader_body_push(&r->body, base, bytes, on_event);
}

void anthropic_end_stream(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (base->ended)
        return;
    if (r->has_finish) { /* all was said; only the last event is missing */
        if (base->job->verbatim)
            reader_verbatim(base, STR("message_stop"), STR("{\"type\":\"message_stop\"}"), false);
        tell_done(r);
    } else {
        reader_fail(base, FAIL_upstream_error, "the stream ended without message_stop");
    }
}

/* ---- a whole answer ---- */

static void read_content(struct reader *r, struct str json)
{
    size_t n = 0;
    struct json_view_walk w = json_view_walk(json_view_get(json, "content"));
    for (struct str content; r->err == 0 && json_view_next(&w, NULL, &content); n++) {
        struct block b;
        begin_block(r, &b, content);
        end_block(r, &b);
    }
}

static void read_whole(struct reader *r, struct str json)
{
    if (!json_view_is(json_view_get(json, "type"), "message")) {
        bool is_error = json_view_get(json, "error").p;
        if (is_error)
            reader_error_in(&r->base, json);
        else
            reader_fail(&r->base, FAIL_upstream_error, "the answer is no message");
        return;
    }
    read_usage(r, json_view_get(json, "usage"));
    read_stop(r, json);
    if (r->base.ended)
        return;
    if (!r->has_finish)
        reader_fail(&r->base, FAIL_upstream_error, "the answer has no stop_reason");
    else if (r->base.job->verbatim)
        reader_verbatim(&r->base, STR_NULL, json,
                        json_view_count(json_view_get(json, "content")) > 0);
    else
        read_content(r, json);
    tell_done(r);
}

void anthropic_end(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    size_t at = 0;
    if (base->ended)
        return;
    if (!r->body.is_known) {
        reader_fail(base, FAIL_upstream_error, "the answer is empty");
        return;
    }
    if (r->body.is_stream) {
        anthropic_end_stream(base);
        return;
    }
    struct str text = reader_body_whole(&r->body);
    enum json_view_fault fault = json_view_check(text, LIMIT_JSON_DEPTH * 2, &at);
    struct str json = json_view_value(text);
    bool is_stream = base->job->verbatim && base->job->request->stream;
    if (fault == JSON_VIEW_syntax || fault == JSON_VIEW_depth ||
        json_view_kind(json) != JSON_VIEW_object)
        reader_fail(base, FAIL_upstream_error, "the answer is no JSON, or breaks off");
    else if (is_stream && !json_view_get(json, "error").p)
        reader_fail(base, FAIL_upstream_error,
                    "the answer came as a whole where a stream was asked for");
    else
        read_whole(r, json);
}
