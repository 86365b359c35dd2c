/*
 * `system` and `messages`: content blocks → messages of role, text, parts and calls.
 */
#include "base/limits.h"
#include "gateway/api/body.h"
#include "gateway/api/messages.h"

#include <errno.h>

struct reader {
    struct arena *arena;
    struct fail *reterr;
    struct chat_message *messages; /* room for all that come */
    size_t n;
    bool in_prompt; /* `system` is being read; else … */
    size_t i, k;    /* … this message, and of either this block */
};

static int bad_block(const struct reader *d, const char *what)
{
    if (d->in_prompt)
        return fail_param(d->reterr, FAIL_invalid_request, "system", "system.%zu: %s", d->k, what);
    return fail_param(d->reterr, FAIL_invalid_request, "messages", "messages.%zu.content.%zu: %s",
                      d->i, d->k, what);
}

static int bad_message(const struct reader *d, const char *what)
{
    return fail_param(d->reterr, FAIL_invalid_request, "messages", "messages.%zu: %s", d->i, what);
}

/* ---- texts, joined ---- */

struct joined {
    struct str one; /* while there is no more than that */
    struct buf all;
    size_t n;
    const char *glue;
};

static void join(struct joined *j, struct str text)
{
    if (text.n == 0)
        return;
    if (j->n == 1)
        buf_add(&j->all, j->one);
    if (j->n++ == 0) {
        j->one = text;
        return;
    }
    buf_adds(&j->all, j->glue);
    buf_add(&j->all, text);
}

static int take_joined(struct joined *j, struct arena *arena, struct str *ret)
{
    *ret = j->n > 1 ? arena_str(arena, buf_str(&j->all)) : j->n ? j->one : STR("");
    return buf_err(&j->all) == 0 && ret->p ? 0 : -ENOMEM;
}

/* ---- one turn ---- */

struct turn {
    struct chat_message *m;
    struct joined text;
    struct joined reasoning;
    struct chat_part *parts;
    size_t n_parts, parts_room;
    bool is_rich; /* the parts say more than the text does */
    struct chat_tool_call *calls;
    size_t calls_room;
    struct chat_thought *thoughts;
    size_t n_thoughts, thoughts_room;
};

static void begin_turn(struct turn *t, const char *glue)
{
    t->text.glue = glue;
    t->reasoning.glue = "\n";
    t->text.all = BUF_INIT(LIMIT_BODY);
    t->reasoning.all = BUF_INIT(LIMIT_BODY);
}

/* The array with room for one more; NULL: no memory. */
static void *grown(struct arena *arena, void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return array;
    size_t more = n ? 2 * n : 4;
    void *larger = arena_array(arena, more, size);
    if (larger && n)
        memcpy(larger, array, n * size);
    *room = larger ? more : 0;
    return larger;
}

static int add_part(struct turn *t, struct chat_part part, struct reader *d)
{
    t->parts = grown(d->arena, t->parts, t->n_parts, &t->parts_room, sizeof(*t->parts));
    if (!t->parts)
        return body_no_memory(d->reterr);
    t->parts[t->n_parts++] = part;
    if (part.kind != CHAT_PART_text)
        t->m->n_images++;
    t->is_rich = t->is_rich || part.kind != CHAT_PART_text || part.cache_control.n;
    return 0;
}

static int say(struct turn *t, struct str text, struct str cache_control, struct reader *d)
{
    if (text.n == 0)
        return 0;
    join(&t->text, text);
    return add_part(
        t,
        (struct chat_part){ .kind = CHAT_PART_text, .text = text, .cache_control = cache_control },
        d);
}

static void turn_done(struct turn *t)
{
    buf_done(&t->text.all);
    buf_done(&t->reasoning.all);
}

static int end_turn(struct turn *t, struct reader *d)
{
    struct chat_message *m = t->m;
    if (take_joined(&t->text, d->arena, &m->content) < 0 ||
        take_joined(&t->reasoning, d->arena, &m->reasoning) < 0)
        return body_no_memory(d->reterr);
    m->source_content = m->content.p;
    if (t->is_rich || t->n_parts > 1) {
        m->parts = t->parts;
        m->n_parts = t->n_parts;
    }
    if (m->n_tool_calls)
        m->tool_calls = t->calls;
    m->thoughts = t->thoughts;
    m->n_thoughts = t->n_thoughts;
    return 0;
}

/* ---- blocks ---- */

static int read_text(struct str value, struct str *ret, struct reader *d)
{
    if (json_view_kind(value) != JSON_VIEW_string)
        return bad_block(d, "a text must be a string");
    *ret = json_view_text(value, d->arena);
    return ret->p ? 0 : body_no_memory(d->reterr);
}

/* A string that may be absent, or is of no use as anything else. */
static struct str text_of(struct str object, const char *key, struct reader *d)
{
    return json_view_text(body_part(object, key), d->arena);
}

static struct str object_of(struct str block, const char *key)
{
    struct str v = body_part(block, key);
    return json_view_kind(v) == JSON_VIEW_object ? v : STR_NULL;
}

static int add_text(struct turn *t, struct str block, struct reader *d)
{
    struct str text = STR_NULL;
    int r = read_text(body_part(block, "text"), &text, d);
    return r != 0 ? r : say(t, text, object_of(block, "cache_control"), d);
}

/* What only an engine that reads the client's own bytes can make use of. */
static int add_unknown(struct turn *t, struct str block, struct reader *d)
{
    struct chat_part part = { .kind = CHAT_PART_file, .name = text_of(block, "type", d) };
    return add_part(t, part, d);
}

/* An image, or a document that is no text. */
static int add_media(struct turn *t, enum chat_part_kind kind, struct str block, struct reader *d)
{
    struct str source = body_part(block, "source"), type = body_part(source, "type");
    struct chat_part part = { .kind = kind,
                              .name = text_of(block, "title", d),
                              .cache_control = object_of(block, "cache_control") };
    if (json_view_is(type, "base64")) {
        part.media_type = text_of(source, "media_type", d);
        part.data = text_of(source, "data", d);
        if (part.media_type.n == 0 || part.data.n == 0)
            return bad_block(d, "a base64 source must have 'media_type' and 'data'");
    } else if (json_view_is(type, "url")) {
        part.url = text_of(source, "url", d);
        if (part.url.n == 0)
            return bad_block(d, "a url source must have 'url'");
    } else if (json_view_kind(type) != JSON_VIEW_string) {
        return bad_block(d, "must have a 'source' with its 'type'");
    }
    return add_part(t, part, d);
}

static int add_blocks(struct turn *t, struct str content, struct reader *d);

/* Plain text and blocks are read; what else there is goes as it came. */
static int add_document(struct turn *t, struct str block, struct reader *d)
{
    struct str source = body_part(block, "source"), type = body_part(source, "type");
    bool is_text = json_view_is(type, "text"), is_blocks = json_view_is(type, "content");
    if (!is_text && !is_blocks)
        return add_media(t, CHAT_PART_file, block, d);
    struct str content = body_part(source, is_text ? "data" : "content"), text = STR_NULL;
    int r = say(t, text_of(block, "title", d), STR_NULL, d);
    if (r == 0)
        r = say(t, text_of(block, "context", d), STR_NULL, d);
    if (r == 0 && json_view_kind(content) == JSON_VIEW_array)
        return add_blocks(t, content, d);
    if (r == 0)
        r = read_text(content, &text, d);
    return r != 0 ? r : say(t, text, object_of(block, "cache_control"), d);
}

static int add_found(struct turn *t, struct str block, struct reader *d)
{
    int r = say(t, text_of(block, "title", d), STR_NULL, d);
    if (r == 0)
        r = say(t, text_of(block, "source", d), STR_NULL, d);
    return r != 0 ? r : add_blocks(t, body_part(block, "content"), d);
}

/* Blocks that stand in a user's words, in a tool's result, in a document. */
static int add_block(struct turn *t, struct str block, struct reader *d)
{
    struct str type = body_part(block, "type");
    if (json_view_kind(block) != JSON_VIEW_object || json_view_kind(type) != JSON_VIEW_string)
        return bad_block(d, "a block must be an object with 'type'");
    if (json_view_is(type, "text"))
        return add_text(t, block, d);
    if (json_view_is(type, "image"))
        return add_media(t, CHAT_PART_image, block, d);
    if (json_view_is(type, "document"))
        return add_document(t, block, d);
    if (json_view_is(type, "search_result"))
        return add_found(t, block, d);
    if (json_view_is(type, "tool_reference")) /* the client looked a tool up: it is in `tools` */
        return 0;
    return add_unknown(t, block, d);
}

static int add_blocks(struct turn *t, struct str content, struct reader *d)
{
    struct json_view_walk w = json_view_walk(content);
    struct str block;
    int r = 0;
    while (r == 0 && json_view_next(&w, NULL, &block))
        r = add_block(t, block, d);
    return r;
}

/* ---- messages ---- */

/* The next of what comes out; all of it that one message says has that message's source. */
static struct chat_message *put(struct reader *d, struct str role, struct str source)
{
    struct chat_message *m = &d->messages[d->n++];
    *m = (struct chat_message){ .role = role, .source = source };
    return m;
}

/* What it holds beside text goes to the user's words behind it: most engines take media there
 * alone. */
static int read_result(struct turn *user, struct str block, struct str source, struct reader *d)
{
    struct str content = body_part(block, "content");
    struct turn t = { .m = put(d, STR("tool"), source) };
    struct str id = text_of(block, "tool_use_id", d);
    if (id.n == 0)
        return bad_block(d, "a tool_result must have 'tool_use_id'");
    t.m->tool_call_id = id;
    t.m->is_error = json_view_true(body_part(block, "is_error"));
    begin_turn(&t, "\n");
    int r = 0;
    struct str text = STR_NULL;
    if (json_view_kind(content) == JSON_VIEW_array)
        r = add_blocks(&t, content, d);
    else if (content.p)
        r = read_text(content, &text, d);
    join(&t.text, text);
    for (size_t i = 0; r == 0 && i < t.n_parts; i++)
        if (t.parts[i].kind != CHAT_PART_text)
            r = add_part(user, t.parts[i], d);
    t.m->n_images = 0;
    t.n_parts = 0;
    t.is_rich = false;
    if (r == 0)
        r = end_turn(&t, d);
    turn_done(&t);
    return r;
}

static int read_user(struct str content, struct str source, struct reader *d)
{
    struct chat_message said = { .role = STR("user"), .source = source };
    struct turn t = { .m = &said };
    struct json_view_walk w = json_view_walk(content);
    struct str block;
    size_t before = d->n;
    int r = 0;
    begin_turn(&t, "\n");
    for (; r == 0 && json_view_next(&w, NULL, &block); d->k++)
        r = json_view_is(body_part(block, "type"), "tool_result")
                ? read_result(&t, block, source, d)
                : add_block(&t, block, d);
    if (r == 0)
        r = end_turn(&t, d);
    turn_done(&t);
    if (r == 0 && (d->n == before || said.content.n || said.n_images))
        d->messages[d->n++] = said;
    return r;
}

static int read_call(struct turn *t, struct str block, struct reader *d)
{
    struct str input = body_part(block, "input");
    struct chat_tool_call call = { text_of(block, "id", d), text_of(block, "name", d), input };
    if (call.id.n == 0 || call.name.n == 0)
        return bad_block(d, "a tool_use must have 'id' and 'name'");
    if (input.p && json_view_kind(input) != JSON_VIEW_object)
        return bad_block(d, "the 'input' of a tool_use must be an object");
    if (!input.p)
        call.arguments = STR("{}");
    size_t n = t->m->n_tool_calls;
    t->calls = grown(d->arena, t->calls, n, &t->calls_room, sizeof(*t->calls));
    if (!t->calls)
        return body_no_memory(d->reterr);
    t->calls[t->m->n_tool_calls++] = call;
    return 0;
}

static int add_thought(struct turn *t, struct chat_thought thought, struct reader *d)
{
    t->thoughts =
        grown(d->arena, t->thoughts, t->n_thoughts, &t->thoughts_room, sizeof(*t->thoughts));
    if (!t->thoughts)
        return body_no_memory(d->reterr);
    t->thoughts[t->n_thoughts++] = thought;
    join(&t->reasoning, thought.text);
    return 0;
}

/* Blocks of tools that the engine behind runs itself are of no use to any other. */
static int read_answer_block(struct turn *t, struct str block, struct reader *d)
{
    struct str type = body_part(block, "type");
    if (json_view_kind(block) != JSON_VIEW_object || json_view_kind(type) != JSON_VIEW_string)
        return bad_block(d, "a block must be an object with 'type'");
    if (json_view_is(type, "text"))
        return add_text(t, block, d);
    if (json_view_is(type, "tool_use"))
        return read_call(t, block, d);
    if (json_view_is(type, "thinking"))
        return add_thought(t,
                           (struct chat_thought){ .text = text_of(block, "thinking", d),
                                                  .signature = text_of(block, "signature", d) },
                           d);
    if (json_view_is(type, "redacted_thinking"))
        return add_thought(t, (struct chat_thought){ .redacted = text_of(block, "data", d) }, d);
    return 0;
}

static int read_assistant(struct str content, struct str source, struct reader *d)
{
    struct turn t = { .m = put(d, STR("assistant"), source) };
    struct json_view_walk w = json_view_walk(content);
    struct str block;
    int r = 0;
    begin_turn(&t, ""); /* they are pieces of one text */
    for (; r == 0 && json_view_next(&w, NULL, &block); d->k++)
        r = read_answer_block(&t, block, d);
    if (r == 0)
        r = end_turn(&t, d);
    turn_done(&t);
    return r;
}

static int read_system(struct str content, struct str source, struct reader *d)
{
    struct turn t = { .m = put(d, STR("system"), source) };
    struct json_view_walk w = json_view_walk(content);
    struct str block;
    int r = 0;
    begin_turn(&t, "\n");
    for (; r == 0 && json_view_next(&w, NULL, &block); d->k++)
        r = json_view_is(body_part(block, "type"), "text")
                ? add_text(&t, block, d)
                : bad_block(d, "only text may stand in a system prompt");
    if (r == 0)
        r = end_turn(&t, d);
    turn_done(&t);
    return r;
}

static int read_plain(struct str role, struct str content, struct str source, struct reader *d)
{
    struct chat_message *m = put(d, role, source);
    m->content = json_view_text(content, d->arena);
    m->source_content = m->content.p;
    return m->content.p ? 0 : body_no_memory(d->reterr);
}

static int read_message(struct str message, struct reader *d)
{
    static const struct {
        const char *role;
        int (*read)(struct str content, struct str source, struct reader *d);
    } roles[] = {
        { "user", read_user },
        { "assistant", read_assistant },
        { "system", read_system }, /* in the middle, where newer models take it */
    };
    struct str role = body_part(message, "role"), content = body_part(message, "content");
    size_t i = 0;
    d->k = 0;
    if (json_view_kind(message) != JSON_VIEW_object)
        return bad_message(d, "a message must be an object with 'role' and 'content'");
    while (i < ARRAY_LEN(roles) && !json_view_is(role, roles[i].role))
        i++;
    if (i == ARRAY_LEN(roles))
        return bad_message(d, "'role' must be 'user' or 'assistant'");
    if (json_view_kind(content) == JSON_VIEW_string)
        return read_plain(str_of(roles[i].role), content, message, d);
    if (json_view_kind(content) != JSON_VIEW_array)
        return bad_message(d, "'content' must be a string or an array of blocks");
    return roles[i].read(content, message, d);
}

/* Messages that come out: one for each tool result, and one for all else. */
static size_t count_messages(struct str messages)
{
    struct json_view_walk w = json_view_walk(messages);
    struct str message, block;
    size_t n = 1; /* the system prompt */
    for (; json_view_next(&w, NULL, &message); n++) {
        struct json_view_walk blocks = json_view_walk(body_part(message, "content"));
        while (json_view_next(&blocks, NULL, &block))
            n += json_view_is(body_part(block, "type"), "tool_result");
    }
    return n;
}

static int check_messages(struct str messages, size_t n, struct fail *reterr)
{
    if (!messages.p)
        return fail_param(reterr, FAIL_invalid_request, "messages", "messages: Field required");
    if (json_view_kind(messages) != JSON_VIEW_array)
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "messages: must be an array, not %s", body_kind(messages));
    if (n < 2)
        return fail_param(reterr, FAIL_empty_array, "messages",
                          "messages: at least one message is required");
    if (n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "messages: at most %d are served, each tool_result counted as one",
                          LIMIT_MESSAGES);
    return 0;
}

static int read_system_prompt(struct str system, struct reader *d)
{
    enum json_view_kind kind = json_view_kind(system);
    if (!system.p)
        return 0;
    if (kind == JSON_VIEW_string)
        return read_plain(STR("system"), system, system, d);
    if (kind == JSON_VIEW_array)
        return read_system(system, system, d);
    return fail_param(d->reterr, FAIL_invalid_request, "system",
                      "system: must be a string or an array of text blocks, not %s",
                      body_kind(system));
}

int messages_decode_turns(struct chat_request *ret, struct str system, struct str messages,
                          struct arena *arena, struct fail *reterr)
{
    size_t n = count_messages(messages);
    int r = check_messages(messages, n, reterr);
    if (r != 0)
        return r;
    struct reader d = { .arena = arena, .reterr = reterr };
    d.messages = arena_array(arena, n, sizeof(*d.messages));
    if (!d.messages)
        return body_no_memory(reterr);
    d.in_prompt = true;
    r = read_system_prompt(system, &d);
    d.in_prompt = false;
    if (r == 0 && d.n && d.messages[0].content.n == 0)
        d.n = 0; /* an empty one says nothing */
    struct json_view_walk w = json_view_walk(messages);
    struct str message;
    for (; r == 0 && json_view_next(&w, NULL, &message); d.i++)
        r = read_message(message, &d);
    ret->messages = d.messages;
    ret->n_messages = d.n;
    return r;
}
