/*
 * Answers of Converse, one document or frames of an event stream, and of InvokeModel: Anthropic's,
 * a frame of the stream around each event.
 */
#include "engine/upstream/bedrock.h"

#include "base/limits.h"
#include "engine/upstream/anthropic.h"
#include "engine/upstream/aws_event_stream.h"
#include "engine/upstream/claude.h"

#include <errno.h>
#include <openssl/evp.h>

enum {
    CALLS_MAX = 256,        /* of one answer: more are an attack */
    SCRATCH_MAX = 64 * MIB, /* a decoded text: no longer than the answer it is of */
};

struct reader {
    struct provider_reader base;
    struct aws_event_stream frames;
    struct buf whole;
    struct buf text, id, name;
    bool is_known, is_stream;
    bool has_finish, has_input; /* of the open call: arguments came */
    bool is_call;               /* a call is open … */
    bool is_answer;             /* … and its input is the answer */
    uint32_t n_calls;
    enum finish_reason finish;
    struct provider_reader *claude; /* of InvokeModel; NULL: of Converse */
};

struct provider_reader *bedrock_reader_new(const struct provider_job *job,
                                           const struct call_head *head, struct reader_out out)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->base = (struct provider_reader){ .job = job, .out = out };
    if (bedrock_invokes(job) && !(r->claude = anthropic_reader_new(job, head, out))) {
        free(r);
        return NULL;
    }
    r->frames = AWS_EVENT_STREAM_INIT(LIMIT_UPSTREAM_EVENT);
    r->whole = BUF_INIT(LIMIT_UPSTREAM_ANSWER);
    r->text = r->id = r->name = BUF_INIT(SCRATCH_MAX);
    return &r->base;
}

void bedrock_reader_free(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (!r)
        return;
    if (r->claude)
        anthropic_reader_free(r->claude);
    aws_event_stream_done(&r->frames);
    buf_done(&r->whole);
    buf_done(&r->text);
    buf_done(&r->id);
    buf_done(&r->name);
    free(r);
}

/* ---- what both forms hold ---- */

static uint32_t count_of(struct str usage, const char *key)
{
    uint64_t n = 0;
    if (json_view_u64(json_view_get(usage, key), &n) != 0)
        return 0;
    return n < INT32_MAX ? (uint32_t)n : INT32_MAX;
}

/* inputTokens are those that no cache was read or written for. */
static void take_usage(struct reader *r, struct str usage)
{
    struct engine_usage *u = &r->base.usage;
    if (json_view_kind(usage) != JSON_VIEW_object)
        return;
    u->cached_tokens = count_of(usage, "cacheReadInputTokens");
    u->cache_write_tokens = count_of(usage, "cacheWriteInputTokens");
    u->prompt_tokens = count_of(usage, "inputTokens") + u->cached_tokens + u->cache_write_tokens;
    u->completion_tokens = count_of(usage, "outputTokens");
}

static void take_finish(struct reader *r, struct str reason)
{
    struct str word = reader_string(reason, &r->name);
    if (word.n == 0 || r->has_finish)
        return;
    r->has_finish = true;
    (void)reader_finish(word, &r->finish); /* it has none that means a fault */
}

static void begin_call(struct reader *r, struct str use)
{
    char made[READER_CALL_ID];
    struct str id = reader_string(json_view_get(use, "toolUseId"), &r->id);
    struct str name = reader_string(json_view_get(use, "name"), &r->name);
    r->is_call = true;
    r->has_input = false;
    r->is_answer = bedrock_answers_by_tool(r->base.job) && str_is(name, CLAUDE_ANSWER_TOOL);
    if (r->is_answer)
        return;
    if (r->n_calls == CALLS_MAX) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer calls too many tools");
        return;
    }
    if (id.n == 0) {
        reader_call_id(&r->base, r->n_calls, made);
        id = str_of(made);
    }
    struct engine_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = { .index = r->n_calls++,
                  .id = id,
                  .name = provider_tool_original(r->base.job->request, name, BEDROCK_TOOL_NAME) },
    };
    reader_event(&r->base, &e);
}

static void add_input(struct reader *r, struct str input)
{
    struct engine_event e = { .kind = ENGINE_EVENT_tool_call,
                              .call = { .index = r->n_calls - 1, .arguments = input } };
    if (input.n == 0 || !r->is_call)
        return;
    r->has_input = true;
    if (r->is_answer)
        reader_text(&r->base, input);
    else
        reader_event(&r->base, &e);
}

static void end_call(struct reader *r)
{
    if (r->is_call && !r->has_input)
        add_input(r, STR("{}"));
    r->is_call = false;
}

static void tell_signature(struct reader *r, struct str signature, struct str redacted)
{
    struct engine_event e = { .kind = ENGINE_EVENT_reasoning };
    e.signature = reader_string(signature, &r->text);
    e.redacted = reader_string(redacted, &r->id);
    if (e.signature.n || e.redacted.n)
        reader_event(&r->base, &e);
}

static void tell_error(struct reader *r, struct str kind, struct str message)
{
    reader_error(&r->base, kind, STR_NULL, message);
}

static void finish(struct reader *r)
{
    end_call(r);
    bool is_stop = r->finish == FINISH_stop || r->finish == FINISH_tool_calls;
    enum finish_reason as = r->n_calls ? FINISH_tool_calls : FINISH_stop;
    reader_done(&r->base, is_stop ? as : r->finish);
}

/* ---- a stream ---- */

static void on_delta(struct reader *r, struct str delta)
{
    struct str text = json_view_get(delta, "text"), use = json_view_get(delta, "toolUse");
    struct str reasoning = json_view_get(delta, "reasoningContent");
    if (text.p) {
        reader_text(&r->base, reader_string(text, &r->text));
    } else if (use.p) {
        add_input(r, reader_string(json_view_get(use, "input"), &r->text));
    } else if (reasoning.p) {
        reader_reasoning(&r->base, reader_string(json_view_get(reasoning, "text"), &r->text));
        tell_signature(r, json_view_get(reasoning, "signature"),
                       json_view_get(reasoning, "redactedContent"));
    }
}

static void on_event(struct reader *r, struct str kind, struct str json)
{
    if (str_is(kind, "contentBlockStart")) {
        struct str use = json_view_at(json, "start.toolUse");
        if (use.p)
            begin_call(r, use);
    } else if (str_is(kind, "contentBlockDelta")) {
        on_delta(r, json_view_get(json, "delta"));
    } else if (str_is(kind, "contentBlockStop")) {
        end_call(r);
    } else if (str_is(kind, "messageStop")) {
        take_finish(r, json_view_get(json, "stopReason"));
    } else if (str_is(kind, "metadata")) {
        take_usage(r, json_view_get(json, "usage"));
        if (r->has_finish)
            finish(r);
    }
}

static bool is_json(struct str text)
{
    size_t at = 0;
    enum json_view_fault fault = json_view_check(text, 2 * LIMIT_JSON_DEPTH, &at);
    return fault != JSON_VIEW_syntax && fault != JSON_VIEW_depth && fault != JSON_VIEW_encoding;
}

/* {"bytes": base64 of one of Anthropic's events} */
static int on_chunk(struct reader *r, struct str json)
{
    struct str text = reader_string(json_view_get(json, "bytes"), &r->text);
    buf_clear(&r->name);
    char *to = buf_space(&r->name, text.n);
    int n = to && text.n <= INT32_MAX
                ? EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text.p, (int)text.n)
                : -1;
    if (n < 0 || text.n % 4 != 0) {
        reader_fail(&r->base, FAIL_upstream_error, "an event of the stream is no base64");
        return 0;
    }
    while (text.n && text.p[text.n - 1] == '=' && n > 0) { /* filled up: decoded as zeros */
        text.n--;
        n--;
    }
    int err = anthropic_read_event(r->claude, STR_NULL, (struct str){ to, (size_t)n });
    r->base.ended = r->claude->ended;
    return err;
}

static int on_frame(void *ctx, const struct aws_event *event)
{
    struct reader *r = ctx;
    if (r->base.ended)
        return 0;
    if (r->claude)
        r->base.usage = r->claude->usage;
    if (!str_is(event->message_type, "event")) {
        struct str message = event->error_message;
        if (message.n == 0)
            message = reader_string(json_view_get(event->payload, "message"), &r->text);
        tell_error(r, event->failure, message);
        return 0;
    }
    if (event->payload.n == 0) /* as the first, which says nothing, may come */
        return 0;
    if (!is_json(event->payload)) {
        reader_fail(&r->base, FAIL_upstream_error, "an event of the stream is no JSON");
        return 0;
    }
    struct str json = json_view_value(event->payload);
    if (r->claude)
        return str_is(event->event_type, "chunk") ? on_chunk(r, json) : 0;
    on_event(r, event->event_type, json);
    return 0;
}

/* ---- a document ---- */

static void read_block(struct reader *r, struct str block)
{
    struct str text = json_view_get(block, "text"), use = json_view_get(block, "toolUse");
    struct str reasoning = json_view_get(block, "reasoningContent");
    if (text.p) {
        reader_text(&r->base, reader_string(text, &r->text));
    } else if (use.p) {
        struct str input = json_view_get(use, "input");
        begin_call(r, use);
        if (json_view_kind(input) == JSON_VIEW_object)
            add_input(r, input);
        end_call(r);
    } else if (reasoning.p) {
        struct str said = json_view_get(reasoning, "reasoningText");
        reader_reasoning(&r->base, reader_string(json_view_get(said, "text"), &r->text));
        tell_signature(r, json_view_get(said, "signature"),
                       json_view_get(reasoning, "redactedContent"));
    }
}

static void read_document(struct reader *r)
{
    struct str text = buf_str(&r->whole), block;
    if (!is_json(text)) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer is no JSON, or is cut short");
        return;
    }
    struct str object = json_view_value(text);
    struct str content = json_view_at(object, "output.message.content");
    if (json_view_kind(content) != JSON_VIEW_array) {
        tell_error(r, reader_string(json_view_get(object, "__type"), &r->name),
                   reader_string(json_view_get(object, "message"), &r->text));
        return;
    }
    take_usage(r, json_view_get(object, "usage"));
    struct json_view_walk walk = json_view_walk(content);
    while (!r->base.ended && json_view_next(&walk, NULL, &block))
        read_block(r, block);
    take_finish(r, json_view_get(object, "stopReason"));
    if (r->has_finish)
        finish(r);
}

/* ---- bytes ---- */

int bedrock_read(struct provider_reader *base, struct str bytes)
{
    struct reader *r = (struct reader *)base;
    if (base->ended || bytes.n == 0)
        return 0;
    if (!r->is_known) { /* a frame's length never begins with a letter or a brace: it is bounded */
        r->is_known = true;
        r->is_stream = (unsigned char)bytes.p[0] <= LIMIT_UPSTREAM_EVENT >> 24;
    }
    if (!r->is_stream && r->claude) {
        int err = anthropic_read(r->claude, bytes);
        base->ended = r->claude->ended;
        return err;
    }
    if (!r->is_stream) {
        buf_add(&r->whole, bytes);
        int err = buf_err(&r->whole);
        if (err == -EMSGSIZE)
            reader_fail(base, FAIL_upstream_error, "the answer is larger than is ever read");
        return err == -EMSGSIZE ? 0 : err;
    }
    int err = aws_event_stream_push(&r->frames, bytes, on_frame, r);
    if (err == -EBADMSG)
        reader_fail(base, FAIL_upstream_error, "a frame of the stream is damaged");
    else if (err == -EMSGSIZE)
        reader_fail(base, FAIL_upstream_error, "a frame of the stream is larger than is ever read");
    return err == -EBADMSG || err == -EMSGSIZE ? 0 : err;
}

void bedrock_end(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (base->ended)
        return;
    if (r->claude) {
        if (r->is_stream)
            anthropic_end_stream(r->claude);
        else
            anthropic_end(r->claude);
        base->ended = r->claude->ended;
        return;
    }
    if (r->is_known && !r->is_stream)
        read_document(r);
    if (base->ended)
        return;
    if (r->has_finish && !aws_event_stream_is_open(&r->frames))
        finish(r); /* a stream without its last event lacks no more than the usage */
    else
        reader_fail(base, FAIL_upstream_error,
                    "the answer ended before its stopReason came: it is cut short");
}
