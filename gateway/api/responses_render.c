/* The response object and the events of its stream, in the order in which OpenAI sends them. */
#include "base/clock.h"
#include "base/limits.h"
#include "gateway/api/render.h"
#include "gateway/api/responses.h"
#include "gateway/parts.h"

#include <errno.h>

static struct responses *of(const struct answer *a)
{
    return a->request->front;
}

/* ---- the response object ---- */

static void print_usage(struct buf *b, const struct engine_usage *u)
{
    buf_addf(b,
             ",\"usage\":{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u,"
             "\"cache_write_tokens\":%u},\"output_tokens\":%u,\"output_tokens_details\":"
             "{\"reasoning_tokens\":%u},\"total_tokens\":%llu}",
             u->prompt_tokens, u->cached_tokens, u->cache_write_tokens, u->completion_tokens,
             u->reasoning_tokens, (unsigned long long)u->prompt_tokens + u->completion_tokens);
}

/* The few words that the API has for it. */
static const char *error_word(const struct fail *fail)
{
    unsigned status = fail_status(fail->code);
    return status == 429 ? "rate_limit_exceeded" : status < 500 ? "invalid_prompt" : "server_error";
}

static const char *incomplete_word(const struct answer *a)
{
    const struct choice *c = a->n_choices ? &a->choices[0] : NULL;
    if (!c || !c->ended || c->finish == FINISH_stop || c->finish == FINISH_tool_calls)
        return NULL;
    if (c->finish == FINISH_content_filter && c->is_refusal && !c->is_blocked)
        return NULL; /* that is the answer */
    return c->finish == FINISH_content_filter ? "content_filter" : "max_output_tokens";
}

void responses_print(const struct responses *x, struct buf *b, const struct response_head *head)
{
    const char *status = head->status;
    buf_addf(b, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%llu,\"status\":\"%s\"",
             head->id, (unsigned long long)head->created_s, status);
    if (strcmp(status, "completed") == 0)
        buf_addf(b, ",\"completed_at\":%llu", (unsigned long long)clock_wall_s());
    buf_adds(b, ",\"error\":");
    if (head->fail) {
        buf_addf(b, "{\"code\":\"%s\",\"message\":", error_word(head->fail));
        buf_add_json(b, str_of(head->fail->message));
        buf_addc(b, '}');
    } else {
        buf_adds(b, "null");
    }
    buf_adds(b, ",\"incomplete_details\":");
    if (head->incomplete)
        buf_addf(b, "{\"reason\":\"%s\"}", head->incomplete);
    else
        buf_adds(b, "null");
    buf_adds(b, ",\"model\":");
    buf_add_json(b, head->model);
    buf_adds(b, ",\"output\":[");
    buf_add(b, buf_str(&x->output));
    buf_addc(b, ']');
    if (head->usage)
        print_usage(b, head->usage);
    buf_add(b, buf_str(&x->echo));
    buf_addc(b, '}');
}

static void print_response(struct answer *a, struct buf *b, const char *status,
                           const struct fail *fail)
{
    struct engine_usage u = answer_usage(a);
    bool ended = strcmp(status, "in_progress") != 0;
    const struct response_head head = {
        .id = a->id,
        .created_s = a->request->created_s,
        .model = a->model.n ? a->model : a->chats[0].model,
        .status = status,
        .fail = fail,
        .incomplete = strcmp(status, "incomplete") == 0 ? incomplete_word(a) : NULL,
        .usage = ended && a->n_choices ? &u : NULL,
    };
    responses_print(of(a), b, &head);
}

/* ---- output items ---- */

static void make_id(struct responses *x, struct responses_item *item)
{
    static const char *const prefixes[] = { "", "msg", "rs", "fc" };
    struct item_ids ids = { .base = x->base, .kind = 'o', .n = x->n_output };
    items_id(&ids, prefixes[item->kind], item->id);
}

static bool has_logprobs(const struct responses_item *item)
{
    return item->kind == ITEM_message && !item->is_refusal;
}

/* The member that holds what the item says. */
static const char *text_word(const struct responses_item *item)
{
    return item->kind == ITEM_call ? "arguments" : item->is_refusal ? "refusal" : "text";
}

static void print_part(const struct responses *x, struct buf *b, const struct responses_item *item,
                       struct str text, struct str logprobs)
{
    const char *type = item->is_refusal             ? "refusal"
                       : item->kind == ITEM_message ? "output_text"
                       : x->wants_summary           ? "summary_text"
                                                    : "reasoning_text";
    buf_addf(b, "{\"type\":\"%s\",", type);
    if (has_logprobs(item)) {
        buf_adds(b, "\"annotations\":[],\"logprobs\":[");
        buf_add(b, logprobs);
        buf_adds(b, "],");
    }
    buf_addf(b, "\"%s\":", text_word(item));
    buf_add_json(b, text);
    buf_addc(b, '}');
}

static void print_call(struct buf *b, const struct responses_item *item, struct str arguments)
{
    buf_adds(b, ",\"call_id\":");
    buf_add_json(b, item->call_id);
    buf_adds(b, ",\"name\":");
    buf_add_json(b, item->name);
    buf_adds(b, ",\"arguments\":");
    buf_add_json(b, arguments);
}

/* At its begin (status in_progress) an item holds nothing yet. */
static void print_item(const struct responses *x, struct buf *b, const struct responses_item *item,
                       const char *status)
{
    static const char *const types[] = { "", "message", "reasoning", "function_call" };
    bool begins = strcmp(status, "in_progress") == 0;
    buf_addf(b, "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"%s\"", item->id, types[item->kind],
             status);
    if (item->kind == ITEM_call) {
        print_call(b, item, begins ? STR("") : buf_str(&item->text));
        buf_addc(b, '}');
        return;
    }
    bool is_summary = item->kind == ITEM_reasoning && x->wants_summary;
    if (item->kind == ITEM_message)
        buf_adds(b, ",\"role\":\"assistant\"");
    buf_addf(b, ",\"%s\":[", is_summary ? "summary" : "content");
    if (!begins && (item->text.n || item->kind == ITEM_message))
        print_part(x, b, item, buf_str(&item->text), buf_str(&item->logprobs));
    buf_addc(b, ']');
    if (item->kind == ITEM_reasoning && !is_summary)
        buf_adds(b, ",\"summary\":[]");
    if (item->encrypted.n) {
        buf_adds(b, ",\"encrypted_content\":");
        buf_add_json(b, item->encrypted);
    }
    buf_addc(b, '}');
}

/* The item that is under way becomes part of the output. */
static void keep_item(struct responses *x, const char *status)
{
    if (x->n_output)
        buf_addc(&x->output, ',');
    print_item(x, &x->output, &x->item, status);
    x->n_output++;
    x->item.kind = ITEM_none;
    x->item.is_refusal = false;
    x->item.encrypted = STR_NULL;
    buf_clear(&x->item.text);
    buf_clear(&x->item.logprobs);
}

static const char *item_status(const struct choice *c)
{
    return c->ended && incomplete_word(c->answer) ? "incomplete" : "completed";
}

/* ---- events ---- */

static void event_begin(struct responses *x, struct buf *b, const char *type)
{
    buf_addf(b, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type, type,
             (unsigned long long)x->sequence++);
}

static void event_end(struct buf *b)
{
    buf_adds(b, "}\n\n");
}

static void event_response(struct answer *a, struct buf *b, const char *type, const char *status)
{
    event_begin(of(a), b, type);
    buf_adds(b, ",\"response\":");
    print_response(a, b, status, /* fail= */ NULL);
    event_end(b);
}

static void event_of_item(struct responses *x, struct buf *b, const char *type)
{
    event_begin(x, b, type);
    buf_addf(b, ",\"item_id\":\"%s\",\"output_index\":%u", x->item.id, x->n_output);
    if (x->item.kind == ITEM_reasoning && x->wants_summary)
        buf_adds(b, ",\"summary_index\":0");
    else if (x->item.kind != ITEM_call)
        buf_adds(b, ",\"content_index\":0");
}

static void event_part(struct responses *x, struct buf *b, const char *type, bool done)
{
    event_of_item(x, b, type);
    buf_adds(b, ",\"part\":");
    print_part(x, b, &x->item, done ? buf_str(&x->item.text) : STR(""),
               done ? buf_str(&x->item.logprobs) : STR_NULL);
    event_end(b);
}

static void event_item(struct responses *x, struct buf *b, const char *type, const char *status)
{
    event_begin(x, b, type);
    buf_addf(b, ",\"output_index\":%u,\"item\":", x->n_output);
    print_item(x, b, &x->item, status);
    event_end(b);
}

/* The four events of a kind of item. */
static const struct item_events {
    const char *part_added, *delta, *done, *part_done;
} item_events[] = {
    [ITEM_message] = { "response.content_part.added", "response.output_text.delta",
                       "response.output_text.done", "response.content_part.done" },
    [ITEM_reasoning] = { "response.content_part.added", "response.reasoning_text.delta",
                         "response.reasoning_text.done", "response.content_part.done" },
    [ITEM_call] = { NULL, "response.function_call_arguments.delta",
                    "response.function_call_arguments.done", NULL },
};
static const struct item_events refusal_events = { "response.content_part.added",
                                                   "response.refusal.delta",
                                                   "response.refusal.done",
                                                   "response.content_part.done" };
static const struct item_events summary_events = { "response.reasoning_summary_part.added",
                                                   "response.reasoning_summary_text.delta",
                                                   "response.reasoning_summary_text.done",
                                                   "response.reasoning_summary_part.done" };

static const struct item_events *events_of(const struct responses *x)
{
    bool is_summary = x->item.kind == ITEM_reasoning && x->wants_summary;
    return is_summary           ? &summary_events
           : x->item.is_refusal ? &refusal_events
                                : &item_events[x->item.kind];
}

static void open_item(struct responses *x, struct buf *b, enum responses_kind kind)
{
    x->item.kind = kind;
    make_id(x, &x->item);
    event_item(x, b, "response.output_item.added", "in_progress");
    if (kind != ITEM_call)
        event_part(x, b, events_of(x)->part_added, /* done= */ false);
}

static void event_delta(struct responses *x, struct buf *b, struct str text, struct str logprobs)
{
    buf_add(&x->item.text, text);
    event_of_item(x, b, events_of(x)->delta);
    buf_adds(b, ",\"delta\":");
    buf_add_json(b, text);
    if (has_logprobs(&x->item)) {
        buf_adds(b, ",\"logprobs\":[");
        buf_add(b, logprobs);
        buf_addc(b, ']');
    }
    event_end(b);
}

static void close_item(struct choice *c, struct buf *b)
{
    struct responses *x = of(c->answer);
    const char *status = item_status(c);
    if (x->item.kind == ITEM_none)
        return;
    if (x->item.kind == ITEM_call && x->item.text.n == 0)
        event_delta(x, b, STR("{}"), STR_NULL); /* no arguments are an empty object */
    event_of_item(x, b, events_of(x)->done);
    if (x->item.kind == ITEM_call) {
        buf_adds(b, ",\"name\":");
        buf_add_json(b, x->item.name);
    }
    buf_addf(b, ",\"%s\":", text_word(&x->item));
    buf_add_json(b, buf_str(&x->item.text));
    if (has_logprobs(&x->item)) {
        buf_adds(b, ",\"logprobs\":[");
        buf_add(b, buf_str(&x->item.logprobs));
        buf_addc(b, ']');
    }
    event_end(b);
    if (x->item.kind != ITEM_call)
        event_part(x, b, events_of(x)->part_done, /* done= */ true);
    event_item(x, b, "response.output_item.done", status);
    keep_item(x, status);
}

/* ---- a stream ---- */

static void begin_stream(struct answer *a, struct choice *c, struct buf *b)
{
    (void)c;
    event_response(a, b, "response.created", "in_progress");
    event_response(a, b, "response.in_progress", "in_progress");
}

static void stream_text(struct answer *a, struct choice *c, struct str text,
                        const struct engine_event *e, struct buf *b)
{
    struct responses *x = of(a);
    if (x->item.kind != ITEM_message || x->item.is_refusal != c->is_refusal) {
        close_item(c, b);
        x->item.is_refusal = c->is_refusal;
        open_item(x, b, ITEM_message);
    }
    size_t from = x->item.logprobs.n;
    if (e && answer_shows_logprobs(a))
        render_logprobs(&x->item.logprobs, e, a->chats[0].top_logprobs);
    struct str added = str_sub(buf_str(&x->item.logprobs), from);
    if (added.n && added.p[0] == ',')
        added = str_sub(added, 1);
    event_delta(x, b, text, added);
}

static void take_encrypted(struct responses *x, const struct engine_event *e)
{
    struct str what = e->redacted.n ? e->redacted : e->signature;
    if (what.n)
        x->item.encrypted = arena_str(x->arena, what);
}

static void stream_part(struct answer *a, struct choice *c, const struct engine_event *e,
                        struct buf *b)
{
    struct responses *x = of(a);
    if (e->kind == ENGINE_EVENT_reasoning) {
        if (x->item.kind != ITEM_reasoning) {
            close_item(c, b);
            open_item(x, b, ITEM_reasoning);
        }
        take_encrypted(x, e);
        if (e->text.n)
            event_delta(x, b, e->text, STR_NULL);
        return;
    }
    if (e->call.name.n) {
        close_item(c, b);
        x->item.name = arena_str(x->arena, e->call.name);
        x->item.call_id = arena_str(x->arena, e->call.id);
        open_item(x, b, ITEM_call);
    }
    if (e->call.arguments.n && x->item.kind == ITEM_call)
        event_delta(x, b, e->call.arguments, STR_NULL);
}

static void end_item(struct answer *a, struct choice *c, struct buf *b)
{
    struct responses *x = of(a);
    if (x->item.kind == ITEM_none && x->n_output == 0)
        open_item(x, b, ITEM_message); /* it said nothing */
    close_item(c, b);
}

static void finish_stream(struct answer *a, struct buf *b)
{
    struct responses *x = of(a);
    event_begin(x, b, incomplete_word(a) ? "response.incomplete" : "response.completed");
    buf_adds(b, ",\"response\":");
    buf_add(b, buf_str(&x->final));
    event_end(b);
}

void responses_print_failure(struct answer *a, const struct fail *fail, struct buf *b)
{
    struct responses *x = of(a);
    if (x->sequence == 0) /* readers begin with what they know by its name */
        begin_stream(a, /* c= */ NULL, b);
    event_begin(x, b, "error");
    buf_adds(b, ",\"code\":");
    buf_add_json(b, str_of(fail_word(fail->code)));
    buf_adds(b, ",\"message\":");
    buf_add_json(b, str_of(fail->message));
    buf_adds(b, ",\"param\":");
    if (fail->param[0])
        buf_add_json(b, str_of(fail->param));
    else
        buf_adds(b, "null");
    event_end(b);
    event_begin(x, b, "response.failed");
    buf_adds(b, ",\"response\":");
    if (x->final.n)
        buf_add(b, buf_str(&x->final));
    else
        print_response(a, b, "failed", fail);
    event_end(b);
}

/* ---- a whole answer ---- */

static void collect(struct answer *a, struct choice *c, struct str text,
                    const struct engine_event *e)
{
    buf_add(&c->content, text);
    if (e && answer_shows_logprobs(a))
        render_logprobs(&c->logprobs[0], e, a->chats[0].top_logprobs);
}

static void whole_item(struct responses *x, enum responses_kind kind, struct str text,
                       struct str logprobs, const char *status)
{
    x->item.kind = kind;
    make_id(x, &x->item);
    buf_add(&x->item.text, text);
    buf_add(&x->item.logprobs, logprobs);
    keep_item(x, status);
}

static void whole_output(struct answer *a)
{
    struct responses *x = of(a);
    struct choice *c = &a->choices[0];
    const char *status = item_status(c);
    for (const struct choice_thought *t = c->thoughts; t; t = t->next) {
        x->item.encrypted = t->redacted.n ? t->redacted : t->signature;
        whole_item(x, ITEM_reasoning, parts_thought(c, t), STR_NULL, "completed");
    }
    x->item.encrypted = STR_NULL;
    if (parts_unsigned(c).n)
        whole_item(x, ITEM_reasoning, parts_unsigned(c), STR_NULL, "completed");
    x->item.is_refusal = c->is_refusal;
    if (c->content.n || !c->calls)
        whole_item(x, ITEM_message, buf_str(&c->content), buf_str(&c->logprobs[0]), status);
    for (const struct choice_call *call = c->calls; call; call = call->next) {
        struct str arguments = buf_str(&call->arguments);
        x->item.name = call->name;
        x->item.call_id = call->id;
        whole_item(x, ITEM_call, arguments.n ? arguments : STR("{}"), STR_NULL,
                   call->next ? "completed" : status);
    }
}

void responses_record(struct responses *x, struct str response)
{
    struct str context = x->context.n > 2 ? x->context : STR_NULL; /* "[…]" */
    struct str inner = context.n ? (struct str){ context.p + 1, context.n - 2 } : STR_NULL;
    buf_adds(&x->record, "{\"response\":");
    buf_add(&x->record, response);
    buf_adds(&x->record, ",\"input\":[");
    buf_add(&x->record, inner);
    if (inner.n && x->own.n)
        buf_addc(&x->record, ',');
    buf_add(&x->record, buf_str(&x->own));
    buf_adds(&x->record, "]}");
}

void responses_end(struct answer *a)
{
    struct responses *x = of(a);
    if (!a->chats[0].stream)
        whole_output(a);
    const char *status = a->is_failed ? "failed" : incomplete_word(a) ? "incomplete" : "completed";
    print_response(a, &x->final, status, a->is_failed ? &a->failed : NULL);
    responses_record(x, buf_str(&x->final));
}

void responses_break(struct answer *a, const char *status, const struct fail *fail)
{
    struct responses *x = of(a);
    if (x->item.kind != ITEM_none)
        keep_item(x, "incomplete");
    print_response(a, &x->final, status, fail);
    responses_record(x, buf_str(&x->final));
    x->conversation = STR_NULL; /* it does not grow by half an answer */
}

static void print_whole(struct answer *a, struct buf *b)
{
    buf_add(b, buf_str(&of(a)->final));
}

/* ---- too long for the context ---- */

enum { CUT_PART = 4 }; /* of what may go, this part at once */

/* Of the turns between the instructions and the last of the user's, the oldest go; an output of a
 * call never stays without the call. */
static bool shorten(struct answer *a)
{
    struct chat_request *c = &a->chats[0];
    size_t from = 0, last = c->n_messages;
    if (!of(a)->may_cut)
        return false;
    while (from < c->n_messages && (str_is(c->messages[from].role, "system") ||
                                    str_is(c->messages[from].role, "developer")))
        from++;
    while (last > from && !str_is(c->messages[last - 1].role, "user"))
        last--;
    if (last <= from + 1)
        return false;
    size_t n = (last - 1 - from + CUT_PART - 1) / CUT_PART, to = from + n;
    while (to < last - 1 && str_is(c->messages[to].role, "tool"))
        to++;
    memmove(&c->messages[from], &c->messages[to], (c->n_messages - to) * sizeof(*c->messages));
    c->n_messages -= to - from;
    return true;
}

/* ---- the dialect ---- */

static int decode(struct answer *a, struct str body, struct fail *reterr)
{
    (void)body; /* it was read before */
    struct arena *arena = a->request->arena;
    a->chats = arena_alloc(arena, sizeof(*a->chats));
    if (!a->chats)
        return -ENOMEM;
    a->n_chats = 1;
    int r = responses_decode(of(a), a->chats, arena, reterr);
    if (of(a)->background)
        a->chats->stream = true; /* nobody waits for all of it at once */
    return r;
}

const struct dialect responses_dialect = {
    .id_prefix = "resp_",
    .wire = WIRE_openai_responses,
    .decode = decode,
    .begin = begin_stream,
    .text = stream_text,
    .part = stream_part,
    .end = end_item,
    .finish = finish_stream,
    .fail = responses_print_failure,
    .beat = render_keep_alive,
    .settle = responses_settle,
    .shorten = shorten,
    .collect = collect,
    .whole = print_whole,
};
