#include "tests/support/mock_answer.h"

#include "tests/support/mock_wires.h"

#include <ctype.h>
#include <endian.h>

enum { STORED_BLOCK = 60000 };

/* ---- what is asked ---- */

/* Where the value of a member stands, wherever in the document it is; 0: nowhere. */
static size_t value_of(struct str body, struct str quoted)
{
    for (size_t from = 0;;) {
        ptrdiff_t hit = str_find(str_sub(body, from), quoted);
        if (hit < 0)
            return 0;
        size_t at = from + (size_t)hit, p = at + quoted.n;
        from = p;
        while (p < body.n && isspace((unsigned char)body.p[p]))
            p++;
        if (p >= body.n || body.p[p] != ':' || (at && body.p[at - 1] == '\\'))
            continue;
        for (p++; p < body.n && isspace((unsigned char)body.p[p]);)
            p++;
        return p < body.n ? p : 0;
    }
}

static bool is_true(struct str body, struct str quoted)
{
    size_t p = value_of(body, quoted);
    return p && body.p[p] == 't';
}

static uint32_t number_of(struct str body, struct str quoted)
{
    uint32_t n = 0;
    size_t p = value_of(body, quoted);

    for (; p && p < body.n && isdigit((unsigned char)body.p[p]) && n < 1000; p++)
        n = n * 10 + (uint32_t)(body.p[p] - '0');
    return n ? n : 1;
}

/* Elements of an array of strings or of arrays of numbers; 1 for what is no array. */
static uint32_t elements_of(struct str body, struct str quoted)
{
    uint32_t n = 1, depth = 0;
    size_t p = value_of(body, quoted);
    bool text = false;

    for (; p && p < body.n; p++) {
        char c = body.p[p];
        if (c == '\\')
            p++;
        else if (c == '"')
            text = !text;
        else if (!text && c == '[')
            depth++;
        else if (!text && c == ']' && --depth == 0)
            break;
        else if (!text && c == ',' && depth == 1)
            n++;
        if (!depth && !text)
            break;
    }
    return n;
}

static const struct {
    const char *end;
    enum mock_wire wire;
    bool stream;
} paths[] = {
    { "/chat/completions", MOCK_WIRE_chat, false },
    { "/completions", MOCK_WIRE_text, false },
    { "/embeddings", MOCK_WIRE_embeddings, false },
    { "/messages", MOCK_WIRE_anthropic, false },
    { "/messages/count_tokens", MOCK_WIRE_count, false },
    { ":generateContent", MOCK_WIRE_gemini, false },
    { ":streamGenerateContent", MOCK_WIRE_gemini, true },
    { "/converse", MOCK_WIRE_bedrock, false },
    { "/converse-stream", MOCK_WIRE_bedrock, true },
    { "/api/chat", MOCK_WIRE_ollama, false },
    { "/models", MOCK_WIRE_models, false },
    { "/health", MOCK_WIRE_models, false },
};

void mock_ask_read(struct mock_ask *ret, struct str target, struct str body)
{
    struct str path = target, query = STR_NULL;

    (void)str_cut(target, '?', &path, &query);
    *ret = (struct mock_ask){ .wire = MOCK_WIRE_none, .n = 1, .inputs = 1 };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (str_ends(path, str_of(paths[i].end))) {
            ret->wire = paths[i].wire;
            ret->stream = paths[i].stream;
            break;
        }
    if (ret->wire == MOCK_WIRE_gemini) {
        ret->array = ret->stream && str_find(query, STR("alt=sse")) < 0;
    } else if (ret->wire == MOCK_WIRE_ollama) {
        size_t p = value_of(body, STR("\"stream\""));
        ret->stream = !p || body.p[p] == 't';
    } else if (ret->wire != MOCK_WIRE_bedrock) {
        ret->stream = is_true(body, STR("\"stream\""));
        ret->usage = is_true(body, STR("\"include_usage\""));
    }
    if (ret->wire == MOCK_WIRE_chat || ret->wire == MOCK_WIRE_text)
        ret->n = number_of(body, STR("\"n\""));
    if (ret->wire == MOCK_WIRE_embeddings)
        ret->inputs = elements_of(body, STR("\"input\""));
}

/* ---- codings ---- */

uint32_t mock_crc32(uint32_t crc, struct str s)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint8_t)s.p[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}

static void add_le(struct buf *b, uint32_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_addc(b, (char)(v >> (8 * i)));
}

/* Stored blocks of gzip (RFC 1951, 3.2.4; RFC 1952): each event can be unpacked when it came. */
static void gzip_add(struct mock_render *r, struct buf *out, struct str s, bool last)
{
    if (!r->coded)
        buf_add(out, (struct str){ "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10 });
    r->coded = true;
    r->crc = mock_crc32(r->crc, s);
    r->n_plain += (uint32_t)s.n;
    while (s.n) {
        struct str part = str_head(s, STORED_BLOCK);
        buf_addc(out, 0);
        add_le(out, (uint32_t)part.n, 2);
        add_le(out, (uint32_t)~part.n & 0xffff, 2);
        buf_add(out, part);
        s = str_sub(s, part.n);
    }
    if (!last)
        return;
    buf_add(out, (struct str){ "\x01\0\0\xff\xff", 5 });
    add_le(out, r->crc, 4);
    add_le(out, r->n_plain, 4);
}

/* ---- steps ---- */

static uint32_t step_parts(const struct mock_render *r)
{
    const struct mock_script *s = r->script;

    switch ((enum mock_step)r->step) {
    case STEP_bom:
        return s->bom;
    case STEP_start:
        return !(s->bare && s->error_at == 0);
    case STEP_strange:
        return s->strange;
    case STEP_think:
        return s->think;
    case STEP_text:
        return s->frames;
    case STEP_big:
        return s->big > 0;
    case STEP_tools:
        return s->tools ? MOCK_TOOL_PARTS : 0;
    case STEP_finish:
        return s->finish != MOCK_FINISH_none;
    case STEP_again:
        return s->finish == MOCK_FINISH_twice;
    case STEP_usage:
        return s->usage != MOCK_USAGE_never;
    case STEP_done:
        return !s->nodone;
    case STEP_open:
    case STEP_close:
    case STEP_over:
        return !(s->bare && s->error_at == 0) || r->step == STEP_over;
    case STEP_ended:
        break;
    }
    return UINT32_MAX;
}

static void step_settle(struct mock_render *r)
{
    while (r->step < STEP_ended && r->i >= step_parts(r)) {
        r->step++;
        r->i = 0;
    }
}

void mock_render_start(struct mock_render *r, const struct mock_ask *ask,
                       const struct mock_script *script)
{
    *r = (struct mock_render){ .ask = ask, .script = script, .json = r->json, .plain = r->plain };
    step_settle(r);
}

void mock_render_done(struct mock_render *r)
{
    buf_done(&r->json);
    buf_done(&r->plain);
}

enum mock_next mock_render_peek(const struct mock_render *r, uint32_t *ret_i)
{
    *ret_i = r->i;
    if (r->step == STEP_text)
        return MOCK_NEXT_text;
    if (r->step == STEP_done)
        return MOCK_NEXT_done;
    return r->step >= STEP_ended ? MOCK_NEXT_over : MOCK_NEXT_other;
}

static void render_plain(struct mock_render *r, struct buf *out)
{
    const struct mock_script *s = r->script;
    bool error = s->error_at != MOCK_NEVER && r->step >= STEP_text && r->step < STEP_over &&
                 (r->step > STEP_text || r->i >= s->error_at);

    if (r->step == STEP_bom) {
        buf_adds(out, "\xef\xbb\xbf");
    } else if (error) {
        mock_wire_error(r, out);
        r->step = STEP_over; /* nothing comes after it */
        r->i = 0;
        return;
    } else if (r->step != STEP_over) {
        mock_wire_next(r, out);
    }
    r->i++;
    step_settle(r);
}

void mock_render_next(struct mock_render *r, struct buf *out)
{
    if (!r->script->gzip) {
        render_plain(r, out);
        return;
    }
    bool last = r->step == STEP_over;
    buf_clear(&r->plain);
    render_plain(r, &r->plain);
    gzip_add(r, out, buf_str(&r->plain), last);
}

static void whole_plain(struct mock_render *r, struct buf *out)
{
    switch ((enum mock_kind)r->script->kind) {
    case MOCK_KIND_html:
        buf_addf(out, "<html><head><title>%u</title></head><body>the mock says no</body></html>",
                 r->script->status);
        return;
    case MOCK_KIND_garbage:
        buf_add(out, (struct str){ "{\"choices\": [{\"message\": \xff\0}", 28 });
        return;
    case MOCK_KIND_empty:
        return;
    case MOCK_KIND_json:
        break;
    }
    if (r->script->status >= 300)
        mock_wire_refusal(r, out);
    else
        mock_wire_whole(r, out);
}

void mock_render_whole(struct mock_render *r, struct buf *out)
{
    if (!r->script->gzip) {
        whole_plain(r, out);
        return;
    }
    buf_clear(&r->plain);
    whole_plain(r, &r->plain);
    gzip_add(r, out, buf_str(&r->plain), /* last= */ true);
}

/* ---- head ---- */

static const char *content_type(const struct mock_ask *ask, const struct mock_script *s)
{
    if (s->kind == MOCK_KIND_html)
        return "text/html";
    if (!ask->stream || s->status >= 300 || s->kind != MOCK_KIND_json || ask->array)
        return "application/json";
    if (ask->wire == MOCK_WIRE_bedrock)
        return "application/vnd.amazon.eventstream";
    if (ask->wire == MOCK_WIRE_ollama)
        return "application/x-ndjson";
    return "text/event-stream; charset=utf-8";
}

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 307:
        return "Temporary Redirect";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    default:
        return "Status";
    }
}

static const char *exception_of(unsigned status)
{
    return status == 429   ? "ThrottlingException"
           : status == 503 ? "ServiceUnavailableException"
           : status >= 500 ? "InternalServerException"
                           : "ValidationException";
}

void mock_answer_head(struct buf *out, const struct mock_ask *ask, const struct mock_script *script,
                      int64_t length)
{
    if (script->nohttp) {
        buf_adds(out, "SSH-2.0-mock\r\n");
        return;
    }
    if (script->hint)
        buf_adds(out, "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n");
    buf_addf(out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nx-request-id: req_mock\r\n",
             script->status, reason_of(script->status), content_type(ask, script));
    if (script->retry_after[0])
        buf_addf(out, "Retry-After: %s\r\n", script->retry_after);
    if (script->location[0])
        buf_addf(out, "Location: %s\r\n", script->location);
    if (script->header[0])
        buf_addf(out, "%s\r\n", script->header);
    if (script->head_bytes) {
        buf_adds(out, "x-long: ");
        char *room = buf_space(out, script->head_bytes);
        if (room) {
            memset(room, 'h', script->head_bytes);
            out->n += script->head_bytes;
        }
        buf_adds(out, "\r\n");
    }
    if (script->gzip)
        buf_adds(out, "Content-Encoding: gzip\r\n");
    if (ask->wire == MOCK_WIRE_bedrock) {
        buf_adds(out, "x-amzn-RequestId: amzn-mock\r\n");
        if (script->status >= 300)
            buf_addf(out, "x-amzn-ErrorType: %s\r\n", exception_of(script->status));
    }
    if (length == MOCK_CHUNKED)
        buf_adds(out, "Transfer-Encoding: chunked\r\n\r\n");
    else if (length == MOCK_CLOSE)
        buf_adds(out, "Connection: close\r\n\r\n");
    else
        buf_addf(out, "Content-Length: %lld\r\n\r\n", (long long)length);
}
