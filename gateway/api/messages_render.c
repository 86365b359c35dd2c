/*
 * How an answer looks: one message object, or its events. Blocks are numbered as they come:
 * reasoning, text and calls in whatever order.
 */
#include "base/limits.h"
#include "gateway/api/error.h"
#include "gateway/api/messages.h"
#include "gateway/choices.h"
#include "gateway/parts.h"

#include "base/json_view.h"

struct call_block { /* which block a call's arguments belong to; in the arena */
    struct call_block *next;
    uint32_t call;
    size_t block;
};

enum open_block { OPEN_none, OPEN_thinking, OPEN_text, OPEN_call };

struct messages_stream {
    enum open_block open;
    size_t n; /* blocks begun; the open one is the last */
    struct call_block *calls;
};

struct messages_stream *messages_stream_new(struct arena *arena)
{
    return arena_alloc(arena, sizeof(struct messages_stream));
}

/* ---- pieces ---- */

static void add_usage(struct buf *b, const struct engine_usage *u, bool is_begin)
{
    uint32_t cached = u->cached_tokens + u->cache_write_tokens;
    buf_addf(b,
             "{\"input_tokens\":%u,\"cache_creation_input_tokens\":%u,"
             "\"cache_read_input_tokens\":%u,\"output_tokens\":%u",
             u->prompt_tokens > cached ? u->prompt_tokens - cached : 0, u->cache_write_tokens,
             u->cached_tokens, is_begin ? 0 : u->completion_tokens);
    if (u->reasoning_tokens && !is_begin)
        buf_addf(b, ",\"output_tokens_details\":{\"thinking_tokens\":%u}", u->reasoning_tokens);
    buf_addc(b, '}');
}

/* A message up to its content. */
static void add_head(struct buf *b, const struct answer *a)
{
    buf_addf(b, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", a->id);
    buf_add_json(b, a->model);
    buf_adds(b, ",\"content\":[");
}

/* Whether it was not max_tokens that ended it. */
static bool fills_context(const struct choice *c)
{
    const struct core_model *m = c->answer->target.model;
    uint64_t n = (uint64_t)c->usage.prompt_tokens + c->usage.completion_tokens;
    return m && !engine_is_upstream(m->engine) && n >= engine_context(m->engine) &&
           c->usage.completion_tokens < c->answer->chats[0].max_tokens;
}

static void add_stop(struct buf *b, const struct choice *c, bool has_calls)
{
    const char *reason = "end_turn";
    bool sequence = c->finish == FINISH_stop && c->stop.n > 0 && !has_calls;
    switch (c->finish) {
    case FINISH_stop:
    case FINISH_tool_calls: /* also of a call that tool_choice named */
        reason = has_calls ? "tool_use" : sequence ? "stop_sequence" : "end_turn";
        break;
    case FINISH_length:
        reason = fills_context(c) ? "model_context_window_exceeded" : "max_tokens";
        break;
    case FINISH_content_filter:
        reason = "refusal";
        break;
    case FINISH_cancelled:
        break;
    }
    buf_addf(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (sequence)
        buf_add_json(b, c->stop);
    else
        buf_adds(b, "null");
}

/* A call's id is the engine's own, so that its next request knows it; ours where it has none. */
static void add_call_head(struct buf *b, const struct answer *a, struct str id, struct str name,
                          size_t block)
{
    buf_adds(b, "{\"type\":\"tool_use\",\"id\":");
    if (id.n)
        buf_add_json(b, id);
    else
        buf_addf(b, "\"toolu_%s_%zu\"", a->id + strlen("msg_"), block);
    buf_adds(b, ",\"name\":");
    buf_add_json(b, name);
    buf_adds(b, ",\"input\":");
}

/* ---- a stream ---- */

static void begin_event(struct buf *b, const char *name)
{
    buf_addf(b, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void end_event(struct buf *b)
{
    buf_adds(b, "}\n\n");
}

static void close_block(struct messages_stream *s, struct buf *b)
{
    if (s->open == OPEN_none)
        return;
    s->open = OPEN_none;
    begin_event(b, "content_block_stop");
    buf_addf(b, ",\"index\":%zu", s->n - 1);
    end_event(b);
}

/* The block's object follows. */
static void open_block(struct messages_stream *s, enum open_block kind, struct buf *b)
{
    close_block(s, b);
    s->open = kind;
    begin_event(b, "content_block_start");
    buf_addf(b, ",\"index\":%zu,\"content_block\":", s->n++);
}

static void add_delta(struct buf *b, size_t block, const char *type, const char *field,
                      struct str text)
{
    begin_event(b, "content_block_delta");
    buf_addf(b, ",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":", block, type, field);
    buf_add_json(b, text);
    buf_addc(b, '}');
    end_event(b);
}

void messages_begin(struct answer *a, struct choice *c, struct buf *b)
{
    begin_event(b, "message_start");
    buf_adds(b, ",\"message\":");
    add_head(b, a);
    buf_adds(b, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    add_usage(b, &c->usage, /* is_begin= */ true);
    buf_addc(b, '}');
    end_event(b);
}

void messages_text(struct answer *a, struct choice *c, struct str text,
                   const struct engine_event *e, struct buf *b)
{
    (void)c;
    (void)e;
    struct messages_stream *s = a->own;
    if (text.n == 0)
        return;
    if (s->open != OPEN_text) {
        open_block(s, OPEN_text, b);
        buf_adds(b, "{\"type\":\"text\",\"text\":\"\"}");
        end_event(b);
    }
    add_delta(b, s->n - 1, "text_delta", "text", text);
}

static void reasoning(struct messages_stream *s, const struct engine_event *e, struct buf *b)
{
    if (e->redacted.n) {
        open_block(s, OPEN_thinking, b);
        buf_adds(b, "{\"type\":\"redacted_thinking\",\"data\":");
        buf_add_json(b, e->redacted);
        buf_addc(b, '}');
        end_event(b);
        close_block(s, b);
    }
    if (e->text.n == 0 && e->signature.n == 0)
        return;
    if (s->open != OPEN_thinking) {
        open_block(s, OPEN_thinking, b);
        buf_adds(b, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
        end_event(b);
    }
    if (e->text.n)
        add_delta(b, s->n - 1, "thinking_delta", "thinking", e->text);
    if (e->signature.n) {
        add_delta(b, s->n - 1, "signature_delta", "signature", e->signature);
        close_block(s, b); /* it is the last of its block */
    }
}

static struct call_block *find_call(struct messages_stream *s, uint32_t call)
{
    struct call_block *k = s->calls;
    while (k && k->call != call)
        k = k->next;
    return k;
}

static void no_memory(struct answer *a)
{
    struct fail fail;
    (void)fail_set(&fail, FAIL_overloaded, "no memory for the answer");
    answer_fail(a, &fail);
}

static void call(struct answer *a, const struct engine_call *part, struct buf *b)
{
    struct messages_stream *s = a->own;
    struct call_block *k = find_call(s, part->index);
    if (!k) {
        k = arena_alloc(a->request->arena, sizeof(*k));
        if (!k) {
            no_memory(a);
            return;
        }
        open_block(s, OPEN_call, b);
        *k = (struct call_block){ s->calls, part->index, s->n - 1 };
        s->calls = k;
        add_call_head(b, a, part->id, part->name, k->block);
        buf_adds(b, "{}}");
        end_event(b);
    }
    if (part->arguments.n)
        add_delta(b, k->block, "input_json_delta", "partial_json", part->arguments);
}

void messages_part(struct answer *a, struct choice *c, const struct engine_event *e, struct buf *b)
{
    (void)c;
    if (e->kind == ENGINE_EVENT_reasoning)
        reasoning(a->own, e, b);
    else
        call(a, &e->call, b);
}

void messages_end(struct answer *a, struct choice *c, struct buf *b)
{
    (void)c;
    close_block(a->own, b);
}

void messages_finish(struct answer *a, struct buf *b)
{
    const struct messages_stream *s = a->own;
    struct engine_usage u = answer_usage(a);
    if (a->is_verbatim)
        return; /* the engine behind has said it */
    begin_event(b, "message_delta");
    buf_adds(b, ",\"delta\":{");
    add_stop(b, &a->choices[0], s->calls != NULL);
    buf_adds(b, "},\"usage\":");
    add_usage(b, &u, /* is_begin= */ false);
    end_event(b);
    begin_event(b, "message_stop");
    end_event(b);
}

void messages_fail(struct answer *a, const struct fail *fail, struct buf *b)
{
    buf_adds(b, "event: error\ndata: ");
    error_anthropic.print(b, fail, a->request->id);
    buf_adds(b, "\n\n");
}

void messages_beat(struct answer *a, struct buf *b)
{
    (void)a;
    begin_event(b, "ping");
    end_event(b);
}

/* ---- as the engine behind wrote it ---- */

/* Breaks of line in the JSON begin another data line: the client joins them again. */
static void add_lines(struct buf *b, struct str text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '\n' && text.p[i] != '\r')
            continue;
        buf_add(b, str_head(str_sub(text, from), i - from));
        buf_adds(b, "\ndata: ");
        from = i + 1;
    }
    buf_add(b, str_sub(text, from));
}

/* The same bytes with the client's name of the model where `at`, a view of them, is; p NULL:
 * nowhere. */
static void add_renamed(struct buf *b, struct str text, struct str at, struct str model)
{
    if (!at.p) {
        add_lines(b, text);
        return;
    }
    size_t begin = (size_t)(at.p - text.p);
    add_lines(b, str_head(text, begin));
    buf_add_json(b, model);
    add_lines(b, str_sub(text, begin + at.n));
}

void messages_verbatim(struct answer *a, const struct engine_event *e, struct buf *b)
{
    struct str model = json_view_get(e->text, "model");
    if (!a->chats[0].stream) {
        buf_add(b, model.p ? str_head(e->text, (size_t)(model.p - e->text.p)) : e->text);
        if (!model.p)
            return;
        buf_add_json(b, a->model);
        buf_add(b, str_sub(e->text, (size_t)(model.p - e->text.p) + model.n));
        return;
    }
    if (!model.p)
        model = json_view_at(e->text, "message.model"); /* of message_start */
    struct arena *arena = a->request->arena;
    struct str name = e->name.n ? e->name : json_view_text(json_view_get(e->text, "type"), arena);
    if (name.n)
        buf_addf(b, "event: " STR_FMT "\n", STR_ARG(name));
    buf_adds(b, "data: ");
    add_renamed(b, e->text, model, a->model);
    buf_adds(b, "\n\n");
}

/* ---- whole ---- */

void messages_collect(struct answer *a, struct choice *c, struct str text,
                      const struct engine_event *e)
{
    (void)a;
    (void)e;
    buf_add(&c->content, text);
}

static const char *comma(size_t *n)
{
    return (*n)++ ? "," : "";
}

static void add_thought(struct buf *b, struct str text, struct str signature, size_t *n)
{
    buf_addf(b, "%s{\"type\":\"thinking\",\"thinking\":", comma(n));
    buf_add_json(b, text);
    buf_adds(b, ",\"signature\":");
    buf_add_json(b, signature);
    buf_addc(b, '}');
}

static void add_reasoning(struct buf *b, const struct choice *c, size_t *n)
{
    for (const struct choice_thought *t = c->thoughts; t; t = t->next) {
        if (!t->redacted.n) {
            add_thought(b, parts_thought(c, t), t->signature, n);
            continue;
        }
        buf_addf(b, "%s{\"type\":\"redacted_thinking\",\"data\":", comma(n));
        buf_add_json(b, t->redacted);
        buf_addc(b, '}');
    }
    struct str rest = parts_unsigned(c);
    if (rest.n)
        add_thought(b, rest, STR(""), n);
}

/* Arguments that are no JSON object are none: nothing of them goes anywhere else. */
static void add_input(struct buf *b, struct str arguments)
{
    size_t at = 0;
    struct str value = json_view_value(arguments);
    bool is_object = json_view_kind(value) == JSON_VIEW_object &&
                     json_view_check(arguments, LIMIT_JSON_DEPTH, &at) == JSON_VIEW_ok;
    buf_add(b, is_object ? value : STR("{}"));
}

void messages_whole(struct answer *a, struct buf *b)
{
    const struct choice *c = a->shown[0];
    struct engine_usage u = answer_usage(a);
    size_t n = 0;
    add_head(b, a);
    add_reasoning(b, c, &n);
    if (c->content.n) {
        buf_addf(b, "%s{\"type\":\"text\",\"text\":", comma(&n));
        buf_add_json(b, buf_str(&c->content));
        buf_addc(b, '}');
    }
    for (const struct choice_call *k = c->calls; k; k = k->next) {
        buf_adds(b, comma(&n));
        add_call_head(b, a, k->id, k->name, n);
        add_input(b, buf_str(&k->arguments));
        buf_addc(b, '}');
    }
    buf_adds(b, "],");
    add_stop(b, c, c->calls != NULL);
    buf_adds(b, ",\"usage\":");
    add_usage(b, &u, /* is_begin= */ false);
    buf_addc(b, '}');
}
