#include "engine/upstream/splice_turns.h"

/* ---- parts ---- */

static void add_member(struct buf *b, const char *key, struct str text)
{
    if (b->n && b->p[b->n - 1] != '{')
        buf_addc(b, ',');
    buf_add_json(b, str_of(key));
    buf_addc(b, ':');
    buf_add_json(b, text);
}

void turn_write_text(struct buf *b, struct str kind, struct str text, struct str cache_control)
{
    buf_addc(b, '{');
    add_member(b, "type", kind);
    add_member(b, "text", text);
    if (str_is(kind, "output_text"))
        buf_adds(b, ",\"annotations\":[]");
    if (cache_control.n) {
        buf_adds(b, ",\"cache_control\":");
        buf_add(b, cache_control);
    }
    buf_addc(b, '}');
}

/* The address of what it holds, or itself as one. */
static void add_url(struct buf *b, const char *key, const struct chat_part *p)
{
    if (p->url.n) {
        add_member(b, key, p->url);
        return;
    }
    add_member(b, key, STR("data:"));
    if (buf_err(b) < 0)
        return;
    b->n--; /* its closing quote */
    buf_add_json_chars(b, p->media_type);
    buf_adds(b, ";base64,");
    buf_add_json_chars(b, p->data);
    buf_addc(b, '"');
}

static void add_chat_part(struct buf *b, const struct chat_part *p)
{
    struct str kind, format = p->media_type;
    switch (p->kind) {
    case CHAT_PART_text:
        break;
    case CHAT_PART_image:
        buf_adds(b, "{\"type\":\"image_url\",\"image_url\":{");
        add_url(b, "url", p);
        if (p->detail.n)
            add_member(b, "detail", p->detail);
        break;
    case CHAT_PART_audio:
        buf_adds(b, "{\"type\":\"input_audio\",\"input_audio\":{");
        add_member(b, "data", p->data);
        (void)str_cut(p->media_type, '/', &kind, &format);
        add_member(b, "format", str_is(format, "mpeg") ? STR("mp3") : format);
        break;
    case CHAT_PART_file:
        buf_adds(b, "{\"type\":\"file\",\"file\":{");
        if (p->name.n)
            add_member(b, "filename", p->name);
        add_url(b, "file_data", p);
        break;
    }
    buf_adds(b, "}}");
}

static void add_responses_part(struct buf *b, const struct chat_part *p)
{
    if (p->kind == CHAT_PART_image) {
        buf_adds(b, "{\"type\":\"input_image\"");
        add_url(b, "image_url", p);
        if (p->detail.n)
            add_member(b, "detail", p->detail);
    } else {
        buf_adds(b, "{\"type\":\"input_file\"");
        if (p->name.n)
            add_member(b, "filename", p->name);
        add_url(b, p->url.n ? "file_url" : "file_data", p);
    }
    buf_addc(b, '}');
}

static void add_anthropic_part(struct buf *b, const struct chat_part *p)
{
    buf_addf(b, "{\"type\":\"%s\",\"source\":{", p->kind == CHAT_PART_image ? "image" : "document");
    add_member(b, "type", p->url.n ? STR("url") : STR("base64"));
    if (p->url.n) {
        add_member(b, "url", p->url);
    } else {
        add_member(b, "media_type", p->media_type);
        add_member(b, "data", p->data);
    }
    buf_addc(b, '}');
    if (p->name.n && p->kind == CHAT_PART_file)
        add_member(b, "title", p->name);
    if (p->cache_control.n) {
        buf_adds(b, ",\"cache_control\":");
        buf_add(b, p->cache_control);
    }
    buf_addc(b, '}');
}

static struct str text_kind(enum wire wire, const struct chat_message *m)
{
    if (wire != WIRE_openai_responses)
        return STR("text");
    return str_is(m->role, "assistant") ? STR("output_text") : STR("input_text");
}

static bool has_media(const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts && chat_is_as_sent(m); i++)
        if (m->parts[i].kind != CHAT_PART_text)
            return true;
    return false;
}

/* The parts, each after a comma unless *first. */
static void add_parts(struct buf *b, enum wire wire, const struct chat_message *m, bool *first)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct chat_part *p = &m->parts[i];
        if (p->kind == CHAT_PART_text && p->text.n == 0)
            continue;
        buf_adds(b, *first ? "" : ",");
        *first = false;
        if (p->kind == CHAT_PART_text)
            turn_write_text(b, text_kind(wire, m), p->text, p->cache_control);
        else if (wire == WIRE_anthropic_messages)
            add_anthropic_part(b, p);
        else if (wire == WIRE_openai_responses)
            add_responses_part(b, p);
        else
            add_chat_part(b, p);
    }
}

/* "content": a string, or parts where there is more than text. */
static void add_content(struct buf *b, enum wire wire, const struct chat_message *m)
{
    bool first = true;
    if (!has_media(m)) {
        add_member(b, "content", m->content);
        return;
    }
    buf_adds(b, ",\"content\":[");
    add_parts(b, wire, m, &first);
    buf_addc(b, ']');
}

/* ---- messages ---- */

static struct str arguments_of(const struct chat_tool_call *call)
{
    return call->arguments.n ? call->arguments : STR("{}");
}

static void write_chat(struct buf *b, const struct chat_message *m)
{
    buf_addc(b, '{');
    add_member(b, "role", m->role);
    if (m->name.n)
        add_member(b, "name", m->name);
    if (m->tool_call_id.n)
        add_member(b, "tool_call_id", m->tool_call_id);
    if (m->n_tool_calls && m->content.n == 0)
        buf_adds(b, ",\"content\":null");
    else
        add_content(b, WIRE_openai_chat, m);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        buf_adds(b, i ? ",{" : ",\"tool_calls\":[{");
        add_member(b, "id", call->id);
        buf_adds(b, ",\"type\":\"function\",\"function\":{");
        add_member(b, "name", call->name);
        add_member(b, "arguments", arguments_of(call));
        buf_adds(b, "}}");
    }
    buf_adds(b, m->n_tool_calls ? "]}" : "}");
}

static void write_anthropic_result(struct buf *b, const struct chat_message *m)
{
    buf_adds(b, "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\"");
    add_member(b, "tool_use_id", m->tool_call_id);
    add_content(b, WIRE_anthropic_messages, m);
    buf_adds(b, m->is_error ? ",\"is_error\":true}]}" : "}]}");
}

static void write_anthropic(struct buf *b, const struct chat_message *m)
{
    bool first = true;
    if (str_is(m->role, "tool")) {
        write_anthropic_result(b, m);
        return;
    }
    buf_addc(b, '{');
    add_member(b, "role", m->role);
    if (m->n_tool_calls == 0) {
        add_content(b, WIRE_anthropic_messages, m);
        buf_addc(b, '}');
        return;
    }
    buf_adds(b, ",\"content\":[");
    if (has_media(m)) {
        add_parts(b, WIRE_anthropic_messages, m, &first);
    } else if (m->content.n) {
        turn_write_text(b, STR("text"), m->content, STR_NULL);
        first = false;
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        buf_adds(b, first ? "{\"type\":\"tool_use\"" : ",{\"type\":\"tool_use\"");
        first = false;
        add_member(b, "id", m->tool_calls[i].id);
        add_member(b, "name", m->tool_calls[i].name);
        buf_adds(b, ",\"input\":");
        buf_add(b, arguments_of(&m->tool_calls[i]));
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
}

static void write_responses(struct buf *b, const struct chat_message *m)
{
    bool says = m->content.n || has_media(m) || m->n_tool_calls == 0;
    if (str_is(m->role, "tool")) {
        buf_adds(b, "{\"type\":\"function_call_output\"");
        add_member(b, "call_id", m->tool_call_id);
        add_member(b, "output", m->content);
        buf_addc(b, '}');
        return;
    }
    if (says) {
        buf_addc(b, '{');
        add_member(b, "role", m->role);
        add_content(b, WIRE_openai_responses, m);
        buf_addc(b, '}');
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        buf_adds(b, says || i ? ",{\"type\":\"function_call\"" : "{\"type\":\"function_call\"");
        add_member(b, "call_id", call->id);
        add_member(b, "name", call->name);
        add_member(b, "arguments", arguments_of(call));
        buf_addc(b, '}');
    }
}

void turn_write_new(struct buf *b, enum wire wire, const struct chat_message *m)
{
    if (wire == WIRE_anthropic_messages)
        write_anthropic(b, m);
    else if (wire == WIRE_openai_responses)
        write_responses(b, m);
    else
        write_chat(b, m);
}
