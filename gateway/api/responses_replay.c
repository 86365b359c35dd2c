/* A response that has ended, as the stream that it would have been. */
#include "base/json_view.h"
#include "gateway/api/responses.h"

struct replay {
    struct buf *out;
    uint64_t number, skip; /* of the next event; those before `skip` are left out */
    size_t from;           /* where the event under way begins */
};

static void event_begin(struct replay *p, const char *type)
{
    p->from = p->out->n;
    buf_addf(p->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type, type,
             (unsigned long long)p->number);
}

static void event_end(struct replay *p)
{
    buf_adds(p->out, "}\n\n");
    if (p->number++ >= p->skip || buf_err(p->out) < 0)
        return;
    p->out->n = p->from;
    p->out->p[p->from] = '\0';
}

/* The members of an object, but with others for some, and without those that are NULL. */
struct instead {
    const char *name, *value;
};

static void print_instead(struct buf *b, struct str object, const struct instead *others)
{
    struct json_view_walk w = json_view_walk(object);
    struct str key, value;
    bool first = true;
    buf_addc(b, '{');
    while (json_view_next(&w, &key, &value)) {
        const struct instead *o = others;
        while (o->name && !str_is(key, o->name))
            o++;
        if (o->name && !o->value)
            continue;
        buf_adds(b, first ? "\"" : ",\"");
        buf_add(b, key);
        buf_adds(b, "\":");
        if (o->name)
            buf_adds(b, o->value);
        else
            buf_add(b, value);
        first = false;
    }
    buf_addc(b, '}');
}

static void print_begun(struct replay *p, struct str response, const char *type)
{
    static const struct instead others[] = { { "status", "\"in_progress\"" },
                                             { "output", "[]" },
                                             { "error", "null" },
                                             { "incomplete_details", "null" },
                                             { "usage", NULL },
                                             { "completed_at", NULL },
                                             { NULL, NULL } };
    event_begin(p, type);
    buf_adds(p->out, ",\"response\":");
    print_instead(p->out, response, others);
    event_end(p);
}

static void event_of(struct replay *p, const char *type, struct str item, size_t index)
{
    event_begin(p, type);
    buf_adds(p->out, ",\"item_id\":");
    buf_add(p->out, json_view_get(item, "id"));
    buf_addf(p->out, ",\"output_index\":%zu", index);
}

static void print_item(struct replay *p, const char *type, struct str item, size_t index)
{
    static const struct instead begun[] = { { "status", "\"in_progress\"" },
                                            { "content", "[]" },
                                            { "summary", "[]" },
                                            { "arguments", "\"\"" },
                                            { NULL, NULL } };
    static const struct instead none[] = { { NULL, NULL } };
    bool ends = strcmp(type, "response.output_item.done") == 0;
    event_begin(p, type);
    buf_addf(p->out, ",\"output_index\":%zu,\"item\":", index);
    print_instead(p->out, item, ends ? none : begun);
    event_end(p);
}

static void print_arguments(struct replay *p, struct str item, size_t index)
{
    struct str arguments = json_view_get(item, "arguments");
    event_of(p, "response.function_call_arguments.delta", item, index);
    buf_adds(p->out, ",\"delta\":");
    buf_add(p->out, arguments);
    event_end(p);
    event_of(p, "response.function_call_arguments.done", item, index);
    buf_adds(p->out, ",\"name\":");
    buf_add(p->out, json_view_get(item, "name"));
    buf_adds(p->out, ",\"arguments\":");
    buf_add(p->out, arguments);
    event_end(p);
}

/* The events of a part of that type; `index` is what its place is called. */
static const struct part_events {
    const char *type, *text, *added, *delta, *done, *part_done, *index;
} part_events[] = {
    { "output_text", "text", "response.content_part.added", "response.output_text.delta",
      "response.output_text.done", "response.content_part.done", "content_index" },
    { "refusal", "refusal", "response.content_part.added", "response.refusal.delta",
      "response.refusal.done", "response.content_part.done", "content_index" },
    { "reasoning_text", "text", "response.content_part.added", "response.reasoning_text.delta",
      "response.reasoning_text.done", "response.content_part.done", "content_index" },
    { "summary_text", "text", "response.reasoning_summary_part.added",
      "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
      "response.reasoning_summary_part.done", "summary_index" },
};

struct part_place {
    struct str item;
    size_t index, part;
};

static void part_event(struct replay *p, const struct part_events *e, const char *type,
                       const struct part_place *at, struct str part)
{
    static const struct instead empty[] = {
        { "text", "\"\"" }, { "refusal", "\"\"" }, { "logprobs", "[]" }, { NULL, NULL }
    };
    static const struct instead none[] = { { NULL, NULL } };
    event_of(p, type, at->item, at->index);
    buf_addf(p->out, ",\"%s\":%zu", e->index, at->part);
    if (type == e->added || type == e->part_done) {
        buf_adds(p->out, ",\"part\":");
        print_instead(p->out, part, type == e->added ? empty : none);
    } else {
        struct str logprobs = json_view_get(part, "logprobs");
        buf_addf(p->out, ",\"%s\":", type == e->delta ? "delta" : e->text);
        buf_add(p->out, json_view_get(part, e->text));
        buf_adds(p->out, logprobs.p ? ",\"logprobs\":" : "");
        buf_add(p->out, logprobs);
    }
    event_end(p);
}

static void print_parts(struct replay *p, struct str item, size_t index, struct str parts)
{
    struct json_view_walk w = json_view_walk(parts);
    struct part_place at = { item, index, 0 };
    for (struct str part; json_view_next(&w, /* ret_key= */ NULL, &part); at.part++) {
        const struct part_events *e = NULL;
        for (size_t i = 0; i < ARRAY_LEN(part_events); i++)
            if (json_view_is(json_view_get(part, "type"), part_events[i].type))
                e = &part_events[i];
        if (!e)
            continue;
        part_event(p, e, e->added, &at, part);
        part_event(p, e, e->delta, &at, part);
        part_event(p, e, e->done, &at, part);
        part_event(p, e, e->part_done, &at, part);
    }
}

static const char *last_event(struct str status)
{
    return json_view_is(status, "completed")    ? "response.completed"
           : json_view_is(status, "incomplete") ? "response.incomplete"
           : json_view_is(status, "failed")     ? "response.failed"
                                                : NULL; /* cancelled: the stream just ends */
}

void responses_replay(struct buf *b, struct str response, uint64_t skip)
{
    struct replay p = { .out = b, .skip = skip };
    print_begun(&p, response, "response.created");
    print_begun(&p, response, "response.in_progress");
    struct json_view_walk w = json_view_walk(json_view_get(response, "output"));
    struct str item;
    for (size_t i = 0; json_view_next(&w, /* ret_key= */ NULL, &item); i++) {
        print_item(&p, "response.output_item.added", item, i);
        if (json_view_is(json_view_get(item, "type"), "function_call"))
            print_arguments(&p, item, i);
        print_parts(&p, item, i, json_view_get(item, "summary"));
        print_parts(&p, item, i, json_view_get(item, "content"));
        print_item(&p, "response.output_item.done", item, i);
    }
    const char *last = last_event(json_view_get(response, "status"));
    if (!last)
        return;
    event_begin(&p, last);
    buf_adds(b, ",\"response\":");
    buf_add(b, response);
    event_end(&p);
}
