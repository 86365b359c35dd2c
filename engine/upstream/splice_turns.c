#include "engine/upstream/splice_turns.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"

/* What came of one message, or run of items, of the client's: all with its source. */
struct group {
    const struct chat_message *first;
    size_t n;
    enum wire wire;
};

static struct group group_of(const struct chat_request *c, size_t i)
{
    struct group g = { &c->messages[i], 1, c->wire };
    while (g.first->source.n && i + g.n < c->n_messages &&
           c->messages[i + g.n].source.p == g.first->source.p)
        g.n++;
    return g;
}

static bool is_result(const struct chat_message *m)
{
    return str_is(m->role, "tool");
}

/* What was said in it, beside the results of tools; NULL: nothing. */
static const struct chat_message *said_of(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!is_result(&g->first[i]))
            return &g->first[i];
    return NULL;
}

static const struct chat_message *result_of(const struct group *g, struct str id)
{
    for (size_t i = 0; i < g->n; i++) {
        CLEANUP(buf_done) struct buf own = BUF_INIT(LIMIT_UPSTREAM_BODY);
        json_view_add_text(&own, id);
        if (is_result(&g->first[i]) && str_eq(g->first[i].tool_call_id, buf_str(&own)))
            return &g->first[i];
    }
    return NULL;
}

static bool group_is_as_sent(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!chat_is_as_sent(&g->first[i]))
            return false;
    return g->first->source.n > 0;
}

bool turns_is_apart(enum wire wire, const struct chat_message *m)
{
    bool is_system = str_is(m->role, "system") || str_is(m->role, "developer");
    if (!is_system || (wire != WIRE_anthropic_messages && wire != WIRE_openai_responses))
        return false;
    return json_view_kind(m->source) !=
           JSON_VIEW_object; /* which would be a message among others */
}

/* ---- as sent ---- */

static bool is_between(char c)
{
    return c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool turns_are_as_sent(const struct chat_request *request, struct str value)
{
    bool is_array = json_view_kind(value) == JSON_VIEW_array;
    const char *p = value.p, *end = value.p + value.n;
    size_t i = 0;
    if (is_array) { /* where its items are, the sources say: nothing else may stand between them */
        p++;
        end--;
    }
    for (;;) {
        while (p < end && is_between(*p))
            p++;
        while (i < request->n_messages && turns_is_apart(request->wire, &request->messages[i]))
            i++;
        if (p >= end)
            return i == request->n_messages;
        struct group g = { .n = 0 };
        if (i < request->n_messages)
            g = group_of(request, i);
        if (!g.n || g.first->source.p != p || !group_is_as_sent(&g))
            return false;
        p += g.first->source.n; /* may be more than one item */
        i += g.n;
    }
}

bool turns_apart_are_as_sent(const struct chat_request *request, struct str value)
{
    bool is_there =
        json_view_kind(value) > JSON_VIEW_none && json_view_kind(value) != JSON_VIEW_null;
    const struct chat_message *apart = NULL;
    size_t n = 0;
    for (size_t i = 0; i < request->n_messages; i++) {
        if (!turns_is_apart(request->wire, &request->messages[i]))
            continue;
        apart = &request->messages[i];
        n++;
    }
    bool is_array = json_view_kind(value) == JSON_VIEW_array;
    if (n == 0) /* one that says nothing may not have become a message */
        return !is_there || json_view_is(value, "") || (is_array && json_view_count(value) == 0);
    return n == 1 && apart->source.n && apart->source.p == value.p && chat_is_as_sent(apart);
}

/* ---- parts whose text was replaced ---- */

/* Whether the text of a part became part of the message's. */
static bool is_text(struct str part)
{
    static const char *const types[] = { "text", "input_text", "output_text", "refusal",
                                         "search_result" };
    struct str type = json_view_get(part, "type"), source;
    if (json_view_kind(part) == JSON_VIEW_string)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (json_view_is(type, types[i]))
            return true;
    if (!json_view_is(type, "document"))
        return false;
    source = json_view_get(json_view_get(part, "source"), "type");
    return json_view_is(source, "text") || json_view_is(source, "content");
}

/* The parts of a message with one text instead of those they had, at the place of the first. */
struct rewriting {
    struct buf *b;
    const struct group *group;
    const struct chat_message *said; /* whose text it is; NULL: no text is replaced */
    struct str kind;                 /* of the text's part */
    struct str cache_control;        /* of the last text: where the cached prompt ends */
    bool any, has_text;
};

static void next_part(struct rewriting *r)
{
    if (r->any)
        buf_addc(r->b, ',');
    r->any = true;
}

static void put_text(struct rewriting *r)
{
    if (r->has_text || !r->said || (r->said->content.n == 0 && !r->cache_control.n))
        return;
    r->has_text = true;
    next_part(r);
    turn_write_text(r->b, r->kind, r->said->content, r->cache_control);
}

static void look_at_text(struct rewriting *r, struct str part)
{
    static const char *const kinds[] = { "text", "input_text", "output_text" };
    struct str cache = json_view_get(part, "cache_control");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (json_view_is(json_view_get(part, "type"), kinds[i]))
            r->kind = str_of(kinds[i]);
    if (json_view_kind(cache) == JSON_VIEW_object)
        r->cache_control = cache;
}

static void rewrite_content(struct buf *b, struct str content, const struct group *group,
                            const struct chat_message *said);

/* A tool's result as a part of its message. */
static void rewrite_result(struct rewriting *r, struct str part)
{
    const struct chat_message *m = result_of(r->group, json_view_get(part, "tool_use_id"));
    next_part(r);
    if (!m || chat_is_as_sent(m)) {
        buf_add(r->b, part);
        return;
    }
    CLEANUP(buf_done) struct buf text = BUF_INIT(r->b->max);
    struct group alone = { m, 1, r->group->wire };
    rewrite_content(&text, json_view_get(part, "content"), &alone, m);
    struct splice s = { .key = "content", .json = buf_str(&text) };
    if (buf_err(&text) < 0)
        r->b->err = buf_err(&text);
    else
        (void)splice_object(r->b, part, &s, 1);
}

/* `said`: whose text is replaced; NULL: none. */
static void rewrite_parts(struct buf *b, struct str parts, const struct group *group,
                          const struct chat_message *said)
{
    bool is_responses = group->wire == WIRE_openai_responses;
    bool is_answer = said && str_is(said->role, "assistant");
    struct rewriting r = { .b = b, .group = group, .said = said };
    r.kind = !is_responses ? STR("text") : is_answer ? STR("output_text") : STR("input_text");
    struct str part;
    for (struct json_view_walk w = json_view_walk(parts); said && json_view_next(&w, NULL, &part);)
        if (is_text(part))
            look_at_text(&r, part);
    buf_addc(b, '[');
    for (struct json_view_walk w = json_view_walk(parts); json_view_next(&w, NULL, &part);) {
        if (json_view_is(json_view_get(part, "type"), "tool_result")) {
            rewrite_result(&r, part);
        } else if (said && is_text(part)) {
            put_text(&r);
        } else {
            next_part(&r);
            buf_add(b, part);
        }
    }
    put_text(&r);
    if (!r.any && said)
        turn_write_text(b, r.kind, said->content, STR_NULL);
    buf_addc(b, ']');
}

/* The value of `content`: a string, or parts. */
static void rewrite_content(struct buf *b, struct str content, const struct group *group,
                            const struct chat_message *said)
{
    if (json_view_kind(content) == JSON_VIEW_array)
        rewrite_parts(b, content, group, said);
    else if (said)
        buf_add_json(b, said->content);
    else
        buf_add(b, content);
}

/* ---- messages ---- */

/* One message of the client's, or one of the items that became one. */
static void rewrite_item(struct buf *b, struct str item, const struct group *g)
{
    struct str type = json_view_get(item, "type");
    bool is_output = g->wire == WIRE_openai_responses && json_view_is(type, "function_call_output");
    bool is_message = !type.p || json_view_is(type, "message") || g->wire != WIRE_openai_responses;
    const char *member = is_output ? "output" : "content";
    const struct chat_message *said = g->wire == WIRE_openai_chat ? g->first : said_of(g);
    if (is_output)
        said = result_of(g, json_view_get(item, "call_id"));
    if (said && chat_is_as_sent(said))
        said = NULL;
    bool has_results = g->wire == WIRE_anthropic_messages && is_result(g->first);
    if ((!said && !has_results) || (!is_output && !is_message)) {
        buf_add(b, item);
        return;
    }
    CLEANUP(buf_done) struct buf text = BUF_INIT(b->max);
    rewrite_content(&text, json_view_get(item, member), g, said);
    struct splice s = { .key = member, .json = buf_str(&text) };
    if (buf_err(&text) < 0)
        b->err = buf_err(&text);
    else
        (void)splice_object(b, item, &s, 1);
}

static void write_group(struct buf *b, const struct group *g)
{
    struct str source = g->first->source, item;
    bool is_text_alone = json_view_kind(source) == JSON_VIEW_string; /* `input` */
    if (source.n == 0 || is_text_alone) {
        turn_write_new(b, g->wire, g->first);
        return;
    }
    if (group_is_as_sent(g)) {
        buf_add(b, source);
        return;
    }
    struct json_view_walk w = { source, false };
    for (size_t i = 0; json_view_next(&w, NULL, &item); i++) {
        if (i)
            buf_addc(b, ',');
        rewrite_item(b, item, g);
    }
}

void turns_write(struct buf *b, const struct chat_request *request)
{
    size_t n = 0;
    buf_addc(b, '[');
    for (size_t i = 0; i < request->n_messages;) {
        if (turns_is_apart(request->wire, &request->messages[i])) {
            i++;
            continue;
        }
        struct group g = group_of(request, i);
        if (n++)
            buf_addc(b, ',');
        write_group(b, &g);
        i += g.n;
    }
    buf_addc(b, ']');
}

/* ---- apart ---- */

static void apart_as_text(struct buf *b, const struct chat_request *request)
{
    size_t n = 0;
    buf_addc(b, '"');
    for (size_t i = 0; i < request->n_messages; i++) {
        if (!turns_is_apart(request->wire, &request->messages[i]))
            continue;
        if (n++)
            buf_adds(b, "\\n\\n");
        buf_add_json_chars(b, request->messages[i].content);
    }
    buf_addc(b, '"');
}

/* Its parts without the brackets. */
static void add_inner(struct buf *b, struct str array)
{
    struct str part;
    size_t n = 0;
    for (struct json_view_walk w = json_view_walk(array); json_view_next(&w, NULL, &part); n++) {
        if (n)
            buf_addc(b, ',');
        buf_add(b, part);
    }
}

static void apart_as_parts(struct buf *b, const struct chat_request *request)
{
    size_t n = 0;
    buf_addc(b, '[');
    for (size_t i = 0; i < request->n_messages; i++) {
        const struct chat_message *m = &request->messages[i];
        bool has_parts = json_view_kind(m->source) == JSON_VIEW_array;
        if (!turns_is_apart(request->wire, m) || (m->content.n == 0 && !has_parts))
            continue;
        if (n++)
            buf_addc(b, ',');
        CLEANUP(buf_done) struct buf parts = BUF_INIT(b->max);
        struct group alone = { m, 1, request->wire };
        if (!has_parts)
            turn_write_text(b, STR("text"), m->content, STR_NULL);
        else if (chat_is_as_sent(m))
            add_inner(b, m->source);
        else
            rewrite_parts(&parts, m->source, &alone, m);
        add_inner(b, buf_str(&parts));
        if (buf_err(&parts) < 0)
            b->err = buf_err(&parts);
    }
    buf_addc(b, ']');
}

bool turns_write_apart(struct buf *b, const struct chat_request *request)
{
    size_t n = 0;
    bool has_parts = false;
    for (size_t i = 0; i < request->n_messages; i++) {
        const struct chat_message *m = &request->messages[i];
        if (!turns_is_apart(request->wire, m))
            continue;
        has_parts |= json_view_kind(m->source) == JSON_VIEW_array;
        n++;
    }
    bool as_text = request->wire == WIRE_openai_responses || (n == 1 && !has_parts);
    if (n && as_text)
        apart_as_text(b, request);
    else if (n)
        apart_as_parts(b, request);
    return n > 0;
}
