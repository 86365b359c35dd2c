#include "engine/upstream/splice.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice_turns.h"

#include <assert.h>
#include <errno.h>

/* ---- an object ---- */

static bool is_there(struct str value)
{
    return value.p && json_view_kind(value) != JSON_VIEW_null;
}

static void add_member(struct buf *b, const struct splice *s)
{
    buf_add_json(b, str_of(s->key));
    buf_addc(b, ':');
    buf_add(b, s->json);
}

/* The splice of a member, or n; `key` as it is written between its quotes. */
static size_t splice_of(struct str key, const struct splice *splices, size_t n)
{
    struct str quoted = { key.p - 1, key.n + 2 };
    for (size_t i = 0; i < n; i++)
        if (json_view_is(quoted, splices[i].key))
            return i;
    return n;
}

/* Those that no member has. Returns whether there are any. */
static bool add_new(struct buf *b, const struct splice *splices, size_t n, uint64_t seen)
{
    bool added = false;
    for (size_t i = 0; i < n; i++) {
        if (!splices[i].json.p || splices[i].only_there || seen >> i & 1)
            continue;
        if (added)
            buf_addc(b, ',');
        add_member(b, &splices[i]);
        added = true;
    }
    return added;
}

/* What stands between members. */
static bool is_gap(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',';
}

/* What is copied of an object: up to `done` it was, or goes. */
struct copy {
    struct buf *out;
    const char *first, *done, *end; /* first: behind the brace */
    bool after; /* a member stands in `out` already: a comma comes before the next … */
    bool kept;  /* … which it has where it was not the first that is kept */
};

static void copy_to(struct copy *c, const char *to)
{
    if (!c->kept && c->done > c->first) { /* what stood before it is gone, its comma too */
        const char *comma = c->done;
        while (comma < to && is_gap(*comma) && *comma != ',')
            comma++;
        c->done = comma < to && *comma == ',' ? comma + 1 : c->done;
    }
    if (!c->kept && c->after)
        buf_addc(c->out, ',');
    c->kept = true;
    buf_add(c->out, (struct str){ c->done, (size_t)(to - c->done) });
    c->done = to;
}

static void copy_places(struct copy *c, const struct splice_place *places, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct splice_place *at = &places[i];
        const char *gap = at->member.p;
        while (gap > c->done && is_gap(gap[-1]))
            gap--;
        if (at->json.p) {
            copy_to(c, at->value.p);
            buf_add(c->out, at->json);
        } else if (gap > c->done) { /* others stand before it */
            copy_to(c, gap);
        }
        c->done = at->member.p + at->member.n;
    }
    const char *next = c->done;
    while (next < c->end && is_gap(*next))
        next++;
    if (next < c->end && *next == '"')
        copy_to(c, c->end);
    else
        buf_add(c->out, (struct str){ c->done, (size_t)(c->end - c->done) });
}

void splice_places(struct buf *out, struct str object, const struct splice_place *places, size_t n)
{
    struct copy c = {
        .out = out, .first = object.p + 1, .done = object.p + 1, .end = object.p + object.n
    };
    buf_addc(out, '{');
    copy_places(&c, places, n);
}

/* The members that the splices are for; *ret_seen: which of these have one. SIZE_MAX: too many. */
static size_t find_places(struct splice_place places[static SPLICES_MAX], struct str object,
                          const struct splice *splices, size_t n, uint64_t *ret_seen)
{
    size_t n_places = 0;
    struct str key, value;
    *ret_seen = 0;
    for (struct json_view_walk w = json_view_walk(object); json_view_next(&w, &key, &value);) {
        size_t i = splice_of(key, splices, n);
        if (i == n)
            continue;
        *ret_seen |= UINT64_C(1) << i;
        if (splices[i].json.p && splices[i].keep && is_there(value))
            continue;
        if (n_places == SPLICES_MAX)
            return SIZE_MAX;
        const char *quote = key.p - 1;
        places[n_places++] = (struct splice_place){
            .member = { quote, (size_t)(value.p + value.n - quote) },
            .value = value,
            .json = splices[i].json,
        };
    }
    return n_places;
}

int splice_object(struct buf *out, struct str object, const struct splice *splices, size_t n)
{
    struct splice_place places[SPLICES_MAX];
    const char *brace = object.n ? memchr(object.p, '{', object.n) : NULL;
    if (!brace || n > SPLICES_MAX || str_trim(object).p != brace)
        return -EINVAL;
    uint64_t seen = 0;
    struct copy c = {
        .out = out, .first = brace + 1, .done = brace + 1, .end = object.p + object.n
    };
    struct str body = { brace, (size_t)(c.end - brace) };
    size_t n_places = n ? find_places(places, body, splices, n, &seen) : 0;
    if (n_places == SIZE_MAX)
        return -EINVAL;
    if (out->n <= out->max && object.n <= out->max - out->n)
        (void)buf_space(out, object.n); /* grown once */
    buf_add(out, (struct str){ object.p, (size_t)(c.first - object.p) });
    c.after = add_new(out, splices, n, seen);
    copy_places(&c, places, n_places);
    return buf_err(out);
}

/* ---- a request ---- */

/* What a wire calls what may have changed. */
struct names {
    const char *turns, *apart;   /* the conversation, and what stands outside; NULL: it has none */
    const char *effort, *format; /* where they stand: a member, … */
    bool is_inner;               /* … or an object that holds them as "effort" and "format" */
    bool is_chat;                /* stream_options.include_usage, chat_template_kwargs */
};

static const struct names names_of[] = {
    [WIRE_openai_chat] = { .turns = "messages",
                           .effort = "reasoning_effort",
                           .format = "response_format",
                           .is_chat = true },
    [WIRE_openai_completions] = { .effort = "reasoning_effort",
                                  .format = "response_format",
                                  .is_chat = true },
    [WIRE_openai_responses] = { .turns = "input",
                                .apart = "instructions",
                                .effort = "reasoning",
                                .format = "text",
                                .is_inner = true },
    [WIRE_anthropic_messages] = { .turns = "messages",
                                  .apart = "system",
                                  .effort = "output_config",
                                  .format = "output_config",
                                  .is_inner = true },
};

/* The members of the client's body that are looked at here. */
static const char *const looked_at[] = { "model",          "messages",  "input",
                                         "instructions",   "system",    "text",
                                         "stream_options", "reasoning", "output_config" };

enum { MADE = 16 };

struct plan {
    struct str given[ARRAY_LEN(looked_at)];
    struct splice splices[SPLICES_MAX];
    size_t n;
    struct buf made[MADE]; /* owned: what splices hold that was made here */
    size_t n_made;
    int err;
};

static void plan_done(struct plan *p)
{
    for (size_t i = 0; i < p->n_made; i++)
        buf_done(&p->made[i]);
}

static void plan_look(struct plan *p, struct str source)
{
    struct str key, value;
    memset(p->given, 0, sizeof(p->given));
    for (struct json_view_walk w = json_view_walk(source); json_view_next(&w, &key, &value);)
        for (size_t i = 0; i < ARRAY_LEN(looked_at); i++)
            if (json_view_is((struct str){ key.p - 1, key.n + 2 }, looked_at[i]))
                p->given[i] = value;
}

static bool is_same(const char *a, const char *b)
{
    return a[0] == b[0] && strcmp(a, b) == 0;
}

/* The client's value, or what was planned for it. */
static struct str plan_given(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (is_same(p->splices[i].key, name))
            return p->splices[i].json;
    for (size_t i = 0; i < ARRAY_LEN(looked_at); i++)
        if (is_same(looked_at[i], name))
            return p->given[i];
    return STR_NULL;
}

/* The later of two goes before, unless it yields. */
static void plan(struct plan *p, const struct splice *s)
{
    size_t i = 0;
    while (i < p->n && !is_same(p->splices[i].key, s->key))
        i++;
    if (i < p->n && s->keep)
        return;
    if (i == SPLICES_MAX) {
        p->err = -EINVAL;
        return;
    }
    p->splices[i] = *s;
    if (i == p->n)
        p->n++;
}

/* A buffer whose text becomes the member's value by plan_made. */
static struct buf *plan_begin(struct plan *p)
{
    assert(p->n_made < MADE);
    p->made[p->n_made] = BUF_INIT(LIMIT_UPSTREAM_BODY);
    return &p->made[p->n_made++];
}

static void plan_made(struct plan *p, const char *key, const struct buf *b)
{
    if (buf_err(b) < 0 && p->err == 0)
        p->err = buf_err(b);
    plan(p, &(struct splice){ .key = key, .json = buf_str(b) });
}

static void plan_model(struct plan *p, struct str model)
{
    struct str plain;
    if (model.n == 0 || (json_view_plain(plan_given(p, "model"), &plain) && str_eq(plain, model)))
        return;
    struct buf *b = plan_begin(p);
    buf_add_json(b, model);
    plan_made(p, "model", b);
}

/* A member of a member of the body; the outer one is made where it is not there. */
static void plan_inner(struct plan *p, const char *outer, const char *key, struct str json)
{
    struct str given = plan_given(p, outer);
    struct splice inner = { .key = key, .json = json };
    struct buf *b = plan_begin(p);
    bool is_object = json_view_kind(given) == JSON_VIEW_object;
    (void)splice_object(b, is_object ? given : STR("{}"), &inner, 1); /* b keeps its error */
    plan_made(p, outer, b);
}

static bool is_streamed(const struct chat_request *c, const struct splice *more, size_t n)
{
    bool is = c->stream;
    for (size_t i = 0; i < n; i++)
        if (strcmp(more[i].key, "stream") == 0 && !more[i].keep)
            is = json_view_true(more[i].json);
    return is;
}

static void plan_usage(struct plan *p)
{
    struct str options = plan_given(p, "stream_options");
    if (!json_view_true(json_view_get(options, "include_usage")))
        plan_inner(p, "stream_options", "include_usage", STR("true"));
}

static void plan_turns(struct plan *p, const struct chat_request *c, const struct names *names)
{
    if (names->turns && !turns_are_as_sent(c, plan_given(p, names->turns))) {
        struct buf *b = plan_begin(p);
        turns_write(b, c);
        plan_made(p, names->turns, b);
    }
    if (!names->apart || turns_apart_are_as_sent(c, plan_given(p, names->apart)))
        return;
    struct buf *b = plan_begin(p);
    if (turns_write_apart(b, c))
        plan_made(p, names->apart, b);
    else
        plan(p, &(struct splice){ .key = names->apart });
}

/* A body may hold many prompts, of which this request is one. */
static void plan_prompt(struct plan *p, const struct chat_request *c)
{
    const void *now = c->prompt_ids ? (const void *)c->prompt_ids : c->prompt.p;
    if (c->source_prompt && c->source_prompt == now)
        return;
    struct buf *b = plan_begin(p);
    if (!c->prompt_ids)
        buf_add_json(b, c->prompt);
    for (size_t i = 0; c->prompt_ids && i < c->n_prompt_ids; i++)
        buf_addf(b, "%c%d", i ? ',' : '[', c->prompt_ids[i]);
    if (c->prompt_ids)
        buf_addc(b, ']');
    plan_made(p, "prompt", b);
}

/* What `b` holds, at its place in the wire. */
static void plan_put(struct plan *p, const struct names *names, const char *place, struct buf *b)
{
    bool is_effort =
        strcmp(place, names->effort) == 0 && json_view_kind(buf_str(b)) == JSON_VIEW_string;
    if (!names->is_inner)
        plan_made(p, place, b);
    else if (buf_err(b) < 0)
        p->err = buf_err(b);
    else
        plan_inner(p, place, is_effort ? "effort" : "format", buf_str(b));
}

static void plan_effort(struct plan *p, const struct chat_request *c, const struct names *names)
{
    struct buf *b = plan_begin(p);
    buf_add_json(b, c->reasoning_effort);
    plan_put(p, names, names->effort, b);
}

static void plan_format(struct plan *p, const struct chat_request *c, const struct names *names)
{
    bool is_anthropic = c->wire == WIRE_anthropic_messages;
    bool is_schema = c->format == CHAT_FORMAT_json_schema;
    if (!is_schema && (c->format != CHAT_FORMAT_json_object || is_anthropic))
        return; /* how an engine is asked for it differs: its provider says it */
    struct buf *b = plan_begin(p);
    if (!is_schema) {
        buf_adds(b, "{\"type\":\"json_object\"}");
    } else {
        buf_adds(b, "{\"type\":\"json_schema\",");
        buf_adds(b, names->is_chat ? "\"json_schema\":{" : "");
        buf_adds(b, is_anthropic ? "\"schema\":" : "\"name\":\"answer\",\"schema\":");
        buf_add(b, c->format_text);
        buf_adds(b, c->format_strict && !is_anthropic ? ",\"strict\":true" : "");
        buf_adds(b, names->is_chat ? "}}" : "}");
    }
    plan_put(p, names, names->format, b);
}

int splice_request(struct buf *out, const struct chat_request *request, struct str model,
                   const struct splice *more, size_t n_more)
{
    CLEANUP(plan_done) struct plan p; /* not zeroed as a whole: it is large */
    p.n = p.n_made = 0;
    p.err = 0;
    if (request->wire == WIRE_none || json_view_kind(request->source) != JSON_VIEW_object)
        return -EINVAL;
    const struct names *names = &names_of[request->wire];
    plan_look(&p, request->source);
    plan_model(&p, model);
    plan_turns(&p, request, names);
    if (request->wire == WIRE_openai_completions)
        plan_prompt(&p, request);
    if (request->changed & CHAT_CHANGED_effort)
        plan_effort(&p, request, names);
    if (request->changed & CHAT_CHANGED_format)
        plan_format(&p, request, names);
    if (names->is_chat && (request->changed & CHAT_CHANGED_template))
        plan(&p,
             &(struct splice){ .key = "chat_template_kwargs", .json = request->template_kwargs });
    if (names->is_chat && is_streamed(request, more, n_more))
        plan_usage(&p);
    for (size_t i = 0; i < n_more; i++)
        plan(&p, &more[i]);
    return p.err < 0 ? p.err : splice_object(out, request->source, p.splices, p.n);
}
