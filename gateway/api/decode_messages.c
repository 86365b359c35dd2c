#include "gateway/api/decode.h"

#include "base/limits.h"

struct where {
    size_t i;     /* of the message */
    bool lenient; /* nothing will be generated */
    struct arena *arena;
    struct fail *reterr;
};

static int bad_message(const struct where *w, const char *field, const char *what)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "messages[%zu]%s%s", w->i, field[0] ? "." : "", field);
    return fail_param(w->reterr, FAIL_invalid_request, param, "'%s' %s", param, what);
}

/* ---- media ---- */

void decode_part_url(struct chat_part *part, struct str url)
{
    struct str head, data, kind, more;
    struct str scheme = STR("data:"), coding = STR(";base64");
    if (str_starts(url, scheme) && str_cut(url, ',', &head, &data) && str_ends(head, coding)) {
        kind = str_sub(str_head(head, head.n - coding.n), scheme.n);
        (void)str_cut(kind, ';', &kind, &more); /* parameters */
        part->media_type = kind;
        part->data = data;
    } else {
        part->url = url;
    }
}

/* What a part of a type holds: by its address, or as data. */
struct medium {
    const char *type;
    enum chat_part_kind kind;
    const char *inner; /* member with the rest, or with the address alone */
    const char *url, *data;
};

static const struct medium media[] = {
    { "image_url", CHAT_PART_image, "image_url", "url", NULL },
    { "input_image", CHAT_PART_image, "image_url", "url", NULL },
    { "input_audio", CHAT_PART_audio, "input_audio", NULL, "data" },
    { "audio_url", CHAT_PART_audio, "audio_url", "url", NULL },
    { "video_url", CHAT_PART_file, "video_url", "url", NULL },
    { "file", CHAT_PART_file, "file", "file_url", "file_data" },
    { "input_file", CHAT_PART_file, NULL, "file_url", "file_data" },
};

/* "wav" → "audio/wav". */
static int put_format(struct chat_part *part, struct str format, const struct where *w)
{
    enum { LONGEST = 32 };
    if (str_is(format, "mp3"))
        format = STR("mpeg");
    const char *type = arena_printf(w->arena, "audio/" STR_FMT, STR_ARG(str_head(format, LONGEST)));
    part->media_type = str_of(type);
    return type ? 0 : body_no_memory(w->reterr);
}

static int decode_medium(struct chat_part *part, const struct medium *m, struct str object,
                         const struct where *w)
{
    enum { DETAIL, NAME, FORMAT };
    static const char *const names[] = { "detail", "filename", "format" };
    struct str more[ARRAY_LEN(names)];
    struct str inner = m->inner ? body_part(object, m->inner) : object;
    bool is_address = body_is_string(inner);
    struct str url = is_address ? inner : m->url ? body_part(inner, m->url) : STR_NULL;
    struct str data = m->data ? body_part(inner, m->data) : STR_NULL;
    part->kind = m->kind;
    decode_part_url(part, json_view_text(url.p ? url : data, w->arena));
    if (data.p && !part->data.n) { /* bare, without saying what it is */
        part->data = part->url;
        part->url = STR_NULL;
    }
    body_parts(is_address ? object : inner, names, ARRAY_LEN(names), more);
    part->detail = json_view_text(more[DETAIL], w->arena);
    part->name = json_view_text(more[NAME], w->arena);
    if (part->url.n || part->data.n || w->lenient)
        return more[FORMAT].p && m->kind == CHAT_PART_audio
                   ? put_format(part, json_view_text(more[FORMAT], w->arena), w)
                   : 0;
    if (m->kind != CHAT_PART_file)
        return bad_message(w, "content", "holds an image or sound without its data or address");
    /* Named by an id that only its owner can read. */
    part->name = STR("file_id");
    return body_part(inner, "file_id").p
               ? 0
               : bad_message(w, "content", "holds a file without its data, address or id");
}

/* ---- parts ---- */

static int text_part(struct chat_part *part, struct str text, const struct where *w)
{
    if (!body_is_string(text))
        return bad_message(w, "content", "holds a text part without its text");
    *part = (struct chat_part){ .kind = CHAT_PART_text, .text = json_view_text(text, w->arena) };
    return part->text.p ? 0 : body_no_memory(w->reterr);
}

static int decode_part(struct chat_part *part, struct str v, const struct where *w)
{
    enum { TYPE, TEXT, REFUSAL, CACHE };
    static const char *const names[] = { "type", "text", "refusal", "cache_control" };
    struct str given[ARRAY_LEN(names)];
    if (body_is_string(v)) /* seen in the wild */
        return text_part(part, v, w);
    body_parts(v, names, ARRAY_LEN(names), given);
    struct str type = given[TYPE];
    if (!body_is_string(type) || json_view_is(type, ""))
        return bad_message(w, "content", "holds a part without a type");
    int r = 0;
    size_t i = 0;
    while (i < ARRAY_LEN(media) && !json_view_is(type, media[i].type))
        i++;
    if (i < ARRAY_LEN(media)) {
        r = decode_medium(part, &media[i], v, w);
    } else if (json_view_is(type, "text") || json_view_is(type, "input_text") ||
               json_view_is(type, "output_text")) {
        r = text_part(part, given[TEXT], w);
    } else if (json_view_is(type, "refusal")) {
        r = text_part(part, given[REFUSAL], w);
    } else { /* whoever reads the client's own bytes may know it */
        part->kind = CHAT_PART_file;
        part->name = json_view_text(type, w->arena);
    }
    if (body_is_object(given[CACHE]))
        part->cache_control = given[CACHE];
    return r;
}

/* The texts, joined by newlines: a view where there is one. */
static int join_texts(struct chat_message *m, const struct where *w)
{
    size_t n = 0, texts = 0;
    for (size_t i = 0; i < m->n_parts; i++) {
        struct str text = m->parts[i].text;
        if (text.n == 0)
            continue;
        m->content = text;
        n += text.n + (texts++ > 0);
    }
    if (texts == 0)
        m->content = STR("");
    if (texts <= 1)
        return 0;
    char *joined = arena_alloc(w->arena, n);
    if (!joined)
        return body_no_memory(w->reterr);
    m->content = (struct str){ joined, n };
    for (size_t i = 0; i < m->n_parts; i++) {
        struct str text = m->parts[i].text;
        if (text.n == 0)
            continue;
        if (joined > m->content.p)
            *joined++ = '\n';
        memcpy(joined, text.p, text.n);
        joined += text.n;
    }
    return 0;
}

static int decode_parts(struct chat_message *m, struct str v, const struct where *w)
{
    size_t n = json_view_count(v);
    if (n > LIMIT_PARTS)
        return bad_message(w, "content", "holds more parts than are served");
    struct chat_part *parts = arena_array(w->arena, n ? n : 1, sizeof(*parts));
    if (!parts)
        return body_no_memory(w->reterr);
    m->parts = parts;
    struct str part;
    for (struct json_view_walk walk = json_view_walk(v); json_view_next(&walk, NULL, &part);) {
        int r = decode_part(&parts[m->n_parts], part, w);
        if (r != 0)
            return r;
        m->n_images += parts[m->n_parts++].kind != CHAT_PART_text;
    }
    return join_texts(m, w);
}

static int decode_content(struct chat_message *m, struct str v, bool may_lack,
                          const struct where *w)
{
    if (!v.p)
        return may_lack ? 0 : bad_message(w, "content", "is missing");
    if (body_is_string(v)) {
        m->content = json_view_text(v, w->arena);
        return m->content.p ? 0 : body_no_memory(w->reterr);
    }
    return body_is_array(v) ? decode_parts(m, v, w)
                            : bad_message(w, "content", "must be a string or an array of parts");
}

/* ---- calls ---- */

static int decode_call(struct chat_tool_call *call, struct str v, const struct where *w)
{
    static const char *const names[] = { "name", "arguments" };
    struct str given[ARRAY_LEN(names)];
    body_parts(body_part(v, "function"), names, ARRAY_LEN(names), given);
    if (!body_is_string(given[0]) || (!body_is_string(given[1]) && !w->lenient))
        return bad_message(w, "tool_calls",
                           "must hold {\"function\":{\"name\",\"arguments\"}} with two strings");
    *call = (struct chat_tool_call){
        .id = json_view_text(body_part(v, "id"), w->arena),
        .name = json_view_text(given[0], w->arena),
        .arguments = json_view_text(given[1], w->arena),
    };
    return call->name.p && (call->arguments.p || w->lenient) ? 0 : body_no_memory(w->reterr);
}

static int decode_calls(struct chat_message *m, struct str v, const struct where *w)
{
    if (!v.p)
        return 0;
    if (!body_is_array(v))
        return bad_message(w, "tool_calls", "must be an array");
    size_t n = json_view_count(v);
    if (n > LIMIT_PARTS)
        return bad_message(w, "tool_calls", "holds more calls than are served");
    struct chat_tool_call *calls = arena_array(w->arena, n ? n : 1, sizeof(*calls));
    if (!calls)
        return body_no_memory(w->reterr);
    struct str call;
    for (struct json_view_walk walk = json_view_walk(v); json_view_next(&walk, NULL, &call);) {
        int r = decode_call(&calls[m->n_tool_calls++], call, w);
        if (r != 0)
            return r;
    }
    m->tool_calls = calls;
    return 0;
}

/* ---- messages ---- */

static bool known_role(struct str role)
{
    static const char *const roles[] = { "system",    "developer", "user",
                                         "assistant", "tool",      "function" };
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_is(role, roles[i]))
            return true;
    return false;
}

enum member {
    ROLE,
    CONTENT,
    NAME,
    CALL_ID,
    CALLS,
    REASONING,
    REASONING_TOO,
    THINKING,
    FUNCTION_CALL,
    REFUSAL,
    MEMBERS,
};
static const char *const members[MEMBERS] = {
    [ROLE] = "role",
    [CONTENT] = "content",
    [NAME] = "name",
    [CALL_ID] = "tool_call_id",
    [CALLS] = "tool_calls",
    [REASONING] = "reasoning_content",
    [REASONING_TOO] = "reasoning", /* as vLLM spells it since 0.12 */
    [THINKING] = "thinking_blocks",
    [FUNCTION_CALL] = "function_call",
    [REFUSAL] = "refusal",
};

static bool decode_thought(struct chat_thought *t, struct str block, const struct where *w)
{
    struct str type = body_part(block, "type");
    *t = (struct chat_thought){ 0 };
    if (json_view_is(type, "thinking")) {
        t->text = json_view_text(body_part(block, "thinking"), w->arena);
        t->signature = json_view_text(body_part(block, "signature"), w->arena);
    } else if (json_view_is(type, "redacted_thinking")) {
        t->redacted = json_view_text(body_part(block, "data"), w->arena);
    }
    return t->text.n || t->signature.n || t->redacted.n;
}

/* What was thought, with what its provider signed it by: given back as it came. */
static int decode_reasoning(struct chat_message *m, const struct str given[static MEMBERS],
                            const struct where *w)
{
    bool first = body_is_string(given[REASONING]);
    m->reasoning = json_view_text(given[first ? REASONING : REASONING_TOO], w->arena);
    size_t n = json_view_count(given[THINKING]);
    if (n == 0 || n > LIMIT_PARTS)
        return 0;
    struct chat_thought *thoughts = arena_array(w->arena, n, sizeof(*thoughts));
    if (!thoughts)
        return body_no_memory(w->reterr);
    struct str block;
    for (struct json_view_walk walk = json_view_walk(given[THINKING]);
         json_view_next(&walk, NULL, &block);)
        m->n_thoughts += decode_thought(&thoughts[m->n_thoughts], block, w);
    m->thoughts = thoughts;
    if (m->n_thoughts == 1 && !thoughts[0].redacted.n && !thoughts[0].text.n)
        thoughts[0].text = m->reasoning; /* the signature alone was kept beside it */
    for (size_t i = 0; i < m->n_thoughts && !m->reasoning.n; i++)
        m->reasoning = thoughts[i].text;
    return 0;
}

static int decode_message(struct chat_message *m, struct str v, const struct where *w)
{
    struct str given[MEMBERS];
    if (!body_is_object(v))
        return bad_message(w, "", "must be an object with 'role' and 'content'");
    body_parts(v, members, MEMBERS, given);
    m->source = v;
    m->role = json_view_text(given[ROLE], w->arena);
    if (!body_is_string(given[ROLE]) || !known_role(m->role))
        return bad_message(w, "role",
                           "must be one of system, developer, user, assistant, tool, function");
    m->name = json_view_text(given[NAME], w->arena);
    if (str_is(m->role, "tool") && !body_is_string(given[CALL_ID]) && !w->lenient)
        return bad_message(w, "tool_call_id", "is missing");
    m->tool_call_id = json_view_text(given[CALL_ID], w->arena);
    bool is_assistant = str_is(m->role, "assistant");
    if (is_assistant) {
        int r = decode_reasoning(m, given, w);
        if (r == 0)
            r = decode_calls(m, given[CALLS], w);
        if (r != 0)
            return r;
    }
    bool may_lack =
        w->lenient || (is_assistant && (m->n_tool_calls || given[FUNCTION_CALL].p ||
                                        m->reasoning.n || m->n_thoughts || given[REFUSAL].p));
    int r = decode_content(m, given[CONTENT], may_lack, w);
    m->source_content = m->content.p;
    return r;
}

static int read_messages(struct chat_request *ret, struct str messages, bool lenient,
                         struct arena *arena, struct fail *reterr)
{
    if (!messages.p)
        return fail_param(reterr, FAIL_invalid_request, "messages", "'messages' is missing");
    if (!body_is_array(messages))
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "'messages' must be an array, not %s", body_kind(messages));
    enum { USUAL = 16 }; /* messages that are looked for once */
    struct str usual[USUAL], message;
    struct json_view_walk walk = json_view_walk(messages), rest = walk;
    size_t n = 0;
    for (; json_view_next(&walk, NULL, &message); n++) {
        if (n >= USUAL)
            continue;
        usual[n] = message;
        rest = walk;
    }
    if (n == 0)
        return fail_param(reterr, FAIL_empty_array, "messages",
                          "'messages' is an empty array; it must hold at least one message");
    if (n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "'messages' may hold at most %d messages", LIMIT_MESSAGES);
    struct chat_message *m = arena_array(arena, n, sizeof(*m));
    if (!m)
        return body_no_memory(reterr);
    struct where w = { 0, lenient, arena, reterr };
    for (; w.i < n; w.i++) {
        if (w.i < USUAL)
            message = usual[w.i];
        else
            (void)json_view_next(&rest, NULL, &message);
        int r = decode_message(&m[w.i], message, &w);
        if (r != 0)
            return r;
    }
    ret->messages = m;
    ret->n_messages = n;
    return 0;
}

int decode_messages(struct chat_request *ret, struct str messages, struct arena *arena,
                    struct fail *reterr)
{
    return read_messages(ret, messages, /* lenient= */ false, arena, reterr);
}

int decode_conversation(struct chat_request *ret, struct str messages, struct arena *arena,
                        struct fail *reterr)
{
    return read_messages(ret, messages, /* lenient= */ true, arena, reterr);
}
