#include "gateway/api/chat.h"

#include "base/limits.h"
#include "gateway/api/decode.h"
#include "gateway/api/render.h"
#include "gateway/parts.h"

#include <errno.h>

/* ---- decode ---- */

static const struct refused refused_here[] = {
    { "audio", UNLESS_null },
    { "functions", UNLESS_empty },
    { "function_call", UNLESS_choice },
    { "web_search_options", UNLESS_null },
    { "chat_template", UNLESS_null },
    { "documents", UNLESS_empty },
    { "continue_final_message", UNLESS_false },
    { "add_generation_prompt", UNLESS_true },
    { "add_special_tokens", UNLESS_false },
    { "best_of", UNLESS_null },
    { "echo", UNLESS_false },
    { NULL, UNLESS_null },
};

static void note_modalities(struct chat_request *ret, struct str modalities)
{
    struct json_view_walk w = json_view_walk(modalities);
    for (struct str m; json_view_next(&w, NULL, &m);) {
        if (json_view_is(m, "text") || ret->unserved)
            continue;
        ret->unserved = "modalities";
        ret->unserved_why = STR("only the modality \"text\" is served");
    }
}

struct chat_knobs {
    bool logprobs, has_top;
    int64_t top;
};
static const struct field chat_fields[] = {
    { "logprobs", FIELD_bool, offsetof(struct chat_knobs, logprobs), 0, 0, -1 },
    { "top_logprobs", FIELD_int, offsetof(struct chat_knobs, top), 0, LIMIT_TOP_LOGPROBS,
      offsetof(struct chat_knobs, has_top) },
    { 0 },
};

static int decode_logprobs(struct chat_request *ret, const struct body *body, struct arena *arena,
                           struct fail *reterr)
{
    struct chat_knobs k = { 0 };
    int r = body_fields(&k, chat_fields, body, arena, reterr);
    if (r != 0)
        return r;
    if (k.top > 0 && !k.logprobs)
        return fail_param(reterr, FAIL_invalid_request, "top_logprobs",
                          "'top_logprobs' is only allowed when 'logprobs' is true");
    ret->logprobs = k.logprobs;
    ret->top_logprobs = (uint32_t)k.top;
    return 0;
}

static int decode_body(struct chat_request *ret, const struct body *body, struct arena *arena,
                       struct fail *reterr)
{
    double max = 1;
    int r = decode_common(ret, body, arena, reterr);
    if (r == 0)
        r = decode_messages(ret, body_get(body, "messages"), arena, reterr);
    if (r == 0)
        r = decode_logprobs(ret, body, arena, reterr);
    if (r == 0)
        r = decode_tools(ret, body, arena, reterr);
    if (r == 0)
        r = decode_tool_choice(ret, body, arena, reterr);
    if (r == 0 && json_view_double(body_get(body, "max_tokens"), &max) == 0 && max < 1)
        r = fail_param(reterr, FAIL_invalid_request, "max_tokens",
                       "'max_tokens' must be at least 1");
    if (r != 0)
        return r;
    decode_unserved(ret, refused_here, body);
    note_modalities(ret, body_get(body, "modalities"));
    ret->wire = WIRE_openai_chat;
    ret->source = body->text;
    return 0;
}

int chat_decode(struct chat_request *ret, struct str text, struct arena *arena, struct fail *reterr)
{
    struct body body;
    int r = body_read(&body, text, arena, reterr);
    return r != 0 ? r : decode_body(ret, &body, arena, reterr);
}

static int chat_decode_answer(struct answer *a, struct str body, struct fail *reterr)
{
    a->chats = arena_alloc(a->request->arena, sizeof(*a->chats));
    if (!a->chats)
        return -ENOMEM;
    a->n_chats = 1;
    return chat_decode(a->chats, body, a->request->arena, reterr);
}

/* ---- stream ---- */

static void chunk_start(struct answer *a, const struct choice *c, struct buf *b)
{
    buf_adds(b, "data: ");
    render_start(b, a, "chat.completion.chunk");
    buf_addf(b, ",\"choices\":[{\"index\":%u,\"delta\":", c->index);
}

static void chunk_end(struct answer *a, struct buf *b)
{
    buf_adds(b, "}]");
    if (a->chats[0].include_usage)
        buf_adds(b, ",\"usage\":null");
    buf_adds(b, "}\n\n");
}

static void chat_begin(struct answer *a, struct choice *c, struct buf *b)
{
    chunk_start(a, c, b);
    buf_adds(b, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,"
                "\"finish_reason\":null");
    chunk_end(a, b);
}

static void chat_text(struct answer *a, struct choice *c, struct str text,
                      const struct engine_event *e, struct buf *b)
{
    buf_done(&c->reasoning); /* what was not signed by now never is */
    chunk_start(a, c, b);
    buf_adds(b, c->is_refusal ? "{\"refusal\":" : "{\"content\":");
    buf_add_json(b, text);
    buf_adds(b, "},\"logprobs\":");
    if (answer_shows_logprobs(a) && e) {
        buf_adds(b, "{\"content\":[");
        render_logprobs(b, e, a->chats[0].top_logprobs);
        buf_adds(b, "],\"refusal\":null}");
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, ",\"finish_reason\":null");
    chunk_end(a, b);
}

static void add_thought(struct buf *b, struct str text, struct str signature, struct str redacted)
{
    if (redacted.n) {
        buf_adds(b, "\"type\":\"redacted_thinking\",\"data\":");
        buf_add_json(b, redacted);
    } else {
        buf_adds(b, "\"type\":\"thinking\",\"thinking\":");
        buf_add_json(b, text);
        buf_adds(b, ",\"signature\":");
        buf_add_json(b, signature);
    }
    buf_addc(b, '}');
}

/* OpenAI has no word for what a provider wants back: a block of it is told whole, once it is
 * signed. With an index, as its clients put together lists of a stream. */
static void chat_thought(struct answer *a, struct choice *c, const struct engine_event *e,
                         struct buf *b)
{
    chunk_start(a, c, b);
    buf_addf(b, "{\"thinking_blocks\":[{\"index\":%u,", c->n_thoughts++);
    add_thought(b, buf_str(&c->reasoning), e->signature, e->redacted);
    buf_adds(b, "]},\"logprobs\":null,\"finish_reason\":null");
    chunk_end(a, b);
    if (e->signature.n)
        buf_clear(&c->reasoning);
}

static void chat_part(struct answer *a, struct choice *c, const struct engine_event *e,
                      struct buf *b)
{
    const struct engine_call *call = &e->call;
    if (e->kind == ENGINE_EVENT_reasoning && (e->signature.n || e->redacted.n)) {
        chat_thought(a, c, e, b); /* it has no text of its own (parts_take) */
        return;
    }
    if (e->kind == ENGINE_EVENT_reasoning)
        buf_add(&c->reasoning, e->text);
    chunk_start(a, c, b);
    if (e->kind == ENGINE_EVENT_reasoning) {
        buf_adds(b, "{\"reasoning_content\":");
        buf_add_json(b, e->text);
    } else {
        buf_addf(b, "{\"tool_calls\":[{\"index\":%u,", call->index);
        if (call->name.n) {
            buf_adds(b, "\"id\":");
            buf_add_json(b, call->id);
            buf_adds(b, ",\"type\":\"function\",\"function\":{\"name\":");
            buf_add_json(b, call->name);
            buf_addc(b, ',');
        } else {
            buf_adds(b, "\"function\":{");
        }
        buf_adds(b, "\"arguments\":");
        buf_add_json(b, call->arguments);
        buf_adds(b, "}}]");
    }
    buf_adds(b, "},\"logprobs\":null,\"finish_reason\":null");
    chunk_end(a, b);
}

/* A refusal is an answer that ended by itself. */
static enum finish_reason finish_of(const struct choice *c)
{
    return c->is_refusal && !c->is_blocked && c->finish == FINISH_content_filter ? FINISH_stop
                                                                                 : c->finish;
}

static void chat_end(struct answer *a, struct choice *c, struct buf *b)
{
    chunk_start(a, c, b);
    buf_adds(b, "{},\"logprobs\":null,\"finish_reason\":");
    render_finish(b, finish_of(c));
    chunk_end(a, b);
}

static void add_usage(struct answer *a, struct buf *b)
{
    struct engine_usage u = answer_usage(a);
    buf_adds(b, "data: ");
    render_start(b, a, "chat.completion.chunk");
    buf_adds(b, ",\"choices\":[],\"usage\":");
    render_usage(b, &u);
    buf_adds(b, "}\n\n");
}

/* ---- whole ---- */

static void chat_collect(struct answer *a, struct choice *c, struct str text,
                         const struct engine_event *e)
{
    buf_add(&c->content, text);
    if (answer_shows_logprobs(a))
        render_logprobs(&c->logprobs[0], e, a->chats[0].top_logprobs);
}

static void add_calls(const struct choice *c, struct buf *b)
{
    if (!c->calls)
        return;
    buf_adds(b, ",\"tool_calls\":[");
    for (const struct choice_call *call = c->calls; call; call = call->next) {
        buf_adds(b, call == c->calls ? "{\"id\":" : ",{\"id\":");
        buf_add_json(b, call->id);
        buf_adds(b, ",\"type\":\"function\",\"function\":{\"name\":");
        buf_add_json(b, call->name);
        buf_adds(b, ",\"arguments\":");
        buf_add_json(b, buf_str(&call->arguments));
        buf_adds(b, "}}");
    }
    buf_addc(b, ']');
}

static void add_thoughts(const struct choice *c, struct buf *b)
{
    for (const struct choice_thought *t = c->thoughts; t; t = t->next) {
        buf_adds(b, t == c->thoughts ? ",\"thinking_blocks\":[{" : ",{");
        add_thought(b, parts_thought(c, t), t->signature, t->redacted);
    }
    if (c->thoughts)
        buf_addc(b, ']');
}

static void add_choice(struct answer *a, struct choice *c, struct buf *b)
{
    buf_addf(b, "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":",
             c->index ? "," : "", c->index);
    if (!c->is_refusal && (c->content.n || !c->calls))
        buf_add_json(b, buf_str(&c->content));
    else
        buf_adds(b, "null");
    if (c->reasoning.n) {
        buf_adds(b, ",\"reasoning_content\":");
        buf_add_json(b, buf_str(&c->reasoning));
    }
    add_thoughts(c, b);
    buf_adds(b, ",\"refusal\":");
    if (c->is_refusal)
        buf_add_json(b, buf_str(&c->content));
    else
        buf_adds(b, "null");
    add_calls(c, b);
    buf_adds(b, "},\"logprobs\":");
    if (answer_shows_logprobs(a)) {
        buf_adds(b, "{\"content\":[");
        buf_add(b, buf_str(&c->logprobs[0]));
        buf_adds(b, "],\"refusal\":null}");
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, ",\"finish_reason\":");
    render_finish(b, finish_of(c));
    buf_addc(b, '}');
}

static void chat_whole(struct answer *a, struct buf *b)
{
    render_whole(b, a, "chat.completion", add_choice);
}

static void chat_finish(struct answer *a, struct buf *b)
{
    if (a->chats[0].include_usage && !a->is_verbatim)
        add_usage(a, b);
    render_done(b);
}

const struct dialect chat_dialect = {
    .id_prefix = "chatcmpl-",
    .wire = WIRE_openai_chat,
    .decode = chat_decode_answer,
    .begin = chat_begin,
    .text = chat_text,
    .part = chat_part,
    .end = chat_end,
    .finish = chat_finish,
    .fail = render_broken,
    .beat = render_keep_alive,
    .verbatim = render_verbatim,
    .collect = chat_collect,
    .whole = chat_whole,
};

enum next api_chat(struct request *r)
{
    return answer_start(r, &chat_dialect);
}
