#include "tests/golden/upstream/case.h"

#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/chat.h"
#include "gateway/api/completions.h"
#include "gateway/api/messages.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <zlib.h>

/* ---- the file ---- */

static struct str line_of(struct str *rest)
{
    struct str line = *rest, after = STR_NULL;
    if (!str_cut(*rest, '\n', &line, &after))
        after = str_sub(*rest, rest->n);
    *rest = after;
    return line;
}

static void split(struct upstream_case *c, struct str text)
{
    struct case_section *section = NULL;
    while (text.n) {
        const char *begin = text.p;
        struct str line = line_of(&text);
        if (str_starts(line, STR("=== "))) {
            assert_true(c->n_sections < CASE_SECTIONS);
            section = &c->sections[c->n_sections++];
            struct str head = str_sub(line, 4);
            section->name = head;
            (void)str_cut(head, ' ', &section->name, &section->options);
            section->text = text;
            section->text.n = 0;
        } else if (section) {
            section->text.n =
                (size_t)(text.n ? text.p - section->text.p : begin + line.n + 1 - section->text.p);
        }
    }
}

const struct case_section *case_section(const struct upstream_case *c, const char *name)
{
    for (size_t i = 0; i < c->n_sections; i++)
        if (str_is(c->sections[i].name, name))
            return &c->sections[i];
    return NULL;
}

static void add_header(struct chat_pair *pairs, size_t *n, struct str value)
{
    struct str key, text;
    assert_true(*n < CASE_HEADERS);
    assert_true(str_cut(value, '=', &key, &text));
    pairs[(*n)++] = (struct chat_pair){ key, text };
}

struct setting {
    const char *key;
    struct str *text;
    uint64_t *number;
    bool *flag;
};

static bool set(const struct setting *settings, size_t n, struct str key, struct str value)
{
    for (size_t i = 0; i < n; i++) {
        const struct setting *s = &settings[i];
        if (!str_is(key, s->key))
            continue;
        if (s->text)
            *s->text = value;
        else if (s->flag)
            *s->flag = str_is(value, "true");
        else
            assert_int_equal(num_parse_u64(s->number, value, 0, UINT64_MAX), 0);
        return true;
    }
    return false;
}

static void configure(struct upstream_case *c, struct str key, struct str value)
{
    struct config_endpoint *e = &c->endpoint;
    uint64_t choice = 0;
    struct str request_id = STR_NULL;
    const struct setting settings[] = {
        { "url", .text = &e->url },
        { "model", .text = &e->model },
        { "path", .text = &e->path },
        { "auth_header", .text = &e->auth_header },
        { "auth_prefix", .text = &e->auth_prefix },
        { "api_version", .text = &e->api_version },
        { "region", .text = &e->region },
        { "project", .text = &e->project },
        { "credentials", .text = &e->credentials },
        { "client_key", .flag = &e->client_key },
        { "max_tokens", .number = &c->upstream.max_tokens },
        { "drop_params", .flag = &c->upstream.drop_params },
        { "sent_model", .text = &c->job.model },
        { "secret", .text = &c->job.secret },
        { "verbatim", .flag = &c->job.verbatim },
        { "now", .number = &c->job.now_s },
        { "choice", .number = &choice },
        { "changed", .number = &c->changed },
        { "no_source", .flag = &c->no_source },
        { "request_id", .text = &request_id },
    };
    if (set(settings, ARRAY_LEN(settings), key, value)) {
        c->job.choice = (uint32_t)choice;
        if (request_id.p)
            c->job.request_id = arena_cstr(c->arena, request_id);
    } else if (str_is(key, "client_header")) {
        add_header(c->client_headers, &c->job.n_headers, value);
    } else if (str_is(key, "endpoint_header")) {
        struct chat_pair pair;
        size_t one = 0;
        add_header(&pair, &one, value);
        c->endpoint_headers[e->n_headers++] = (struct config_pair){ pair.key, pair.value };
    } else if (str_is(key, "answer_header")) {
        add_header(c->answer_headers, &c->head.n, value);
    } else if (str_is(key, "adapter")) {
        c->adapter = (struct chat_pair){ STR("lora"), value };
        c->job.adapter = &c->adapter;
    } else {
        fail_msg("no such setting: %.*s", (int)key.n, key.p);
    }
}

/* ---- the request ---- */

struct decoder {
    const char *wire;
    int (*decode)(struct chat_request *ret, struct str text, struct arena *arena,
                  struct fail *reterr);
};

static int decode_completion(struct chat_request *ret, struct str text, struct arena *arena,
                             struct fail *reterr)
{
    struct chat_request *all = NULL;
    size_t n = 0;
    bool is_empty = false;
    int r = completions_decode(&all, &n, &is_empty, text, arena, reterr);
    if (r == 0)
        *ret = all[0];
    return r;
}

static int decode_message(struct chat_request *ret, struct str text, struct arena *arena,
                          struct fail *reterr)
{
    return messages_decode(ret, text, /* counts= */ false, arena, reterr);
}

static const struct decoder decoders[] = {
    { "chat", chat_decode },
    { "messages", decode_message },
    { "completions", decode_completion },
};

static void decode(struct upstream_case *c)
{
    const struct case_section *section = case_section(c, "request");
    struct fail fail = { 0 };
    if (!section)
        return;
    struct str wire = section->options.n ? section->options : STR("chat");
    for (size_t i = 0; i < ARRAY_LEN(decoders); i++) {
        if (!str_is(wire, decoders[i].wire))
            continue;
        int r = decoders[i].decode(&c->request, str_trim(section->text), c->arena, &fail);
        if (r != 0)
            fail_msg("the request is not decoded: %s", fail.message);
        return;
    }
    fail_msg("no such wire: %.*s", (int)wire.n, wire.p);
}

static unsigned answer_status(const struct upstream_case *c)
{
    const struct case_section *section = case_section(c, "answer");
    uint64_t status = 200;
    struct str word = section ? section->options : STR_NULL, rest;
    (void)str_cut(word, ' ', &word, &rest);
    if (word.n)
        assert_int_equal(num_parse_u64(&status, word, 100, 599), 0);
    return (unsigned)status;
}

void case_read(struct upstream_case *c, const char *path, unsigned provider)
{
    *c = (struct upstream_case){ .arena = arena_new(LIMIT_REQUEST_ARENA) };
    size_t n = 0;
    char *text = test_read(path, &n);
    split(c, arena_str(c->arena, (struct str){ text, n }));
    free(text);
    c->endpoint.provider = provider;
    c->endpoint.headers = c->endpoint_headers;
    c->head.headers = c->answer_headers;
    c->job = (struct provider_job){ .request = &c->request,
                                    .upstream = &c->upstream,
                                    .endpoint = &c->endpoint,
                                    .headers = c->client_headers,
                                    .request_id = "" };
    const struct case_section *config = case_section(c, "config");
    for (struct str rest = config ? config->text : STR_NULL; rest.n;) {
        struct str line = line_of(&rest), key, value;
        if (str_trim(line).n == 0 || line.p[0] == '#')
            continue;
        assert_true(str_cut(line, ':', &key, &value));
        configure(c, str_trim(key), str_trim(value));
    }
    decode(c);
    c->request.changed |= (unsigned)c->changed;
    if (c->no_source)
        c->request.source = STR_NULL;
    if (!c->job.model.n)
        c->job.model = c->endpoint.model;
    c->head.status = answer_status(c);
}

void case_done(struct upstream_case *c)
{
    c->arena = arena_free(c->arena);
}

/* ---- frames of an AWS event stream ---- */

static void add_big_endian(struct buf *b, uint32_t value, unsigned bytes)
{
    while (bytes-- > 0)
        buf_addc(b, (char)(value >> (8 * bytes)));
}

static void add_frame_header(struct buf *b, const char *name, struct str value)
{
    enum { STRING = 7 };
    buf_addc(b, (char)strlen(name));
    buf_adds(b, name);
    buf_addc(b, STRING);
    add_big_endian(b, (uint32_t)value.n, 2);
    buf_add(b, value);
}

static uint32_t sum_from(const struct buf *b, size_t at)
{
    return (uint32_t)crc32_z(0, (const unsigned char *)b->p + at, b->n - at);
}

/* "NAME JSON": an event; "!NAME JSON": an exception; "#NAME JSON": an event whose sum is wrong;
 * "chunk JSON": an event around it in base64. */
static void add_frame(struct buf *b, struct str line)
{
    CLEANUP(buf_done) struct buf head = BUF_INIT(KIB), payload = BUF_INIT(MIB);
    struct str name, json;
    size_t at = b->n;
    bool is_exception = line.p[0] == '!', is_damaged = line.p[0] == '#';
    assert_true(str_cut(str_sub(line, is_exception || is_damaged), ' ', &name, &json));
    add_frame_header(&head, ":message-type", is_exception ? STR("exception") : STR("event"));
    add_frame_header(&head, is_exception ? ":exception-type" : ":event-type", name);
    add_frame_header(&head, ":content-type", STR("application/json"));
    if (str_is(name, "chunk")) {
        buf_adds(&payload, "{\"bytes\":\"");
        buf_add_base64(&payload, json);
        buf_adds(&payload, "\",\"p\":\"abcdefgh\"}");
    } else {
        buf_add(&payload, json);
    }
    enum { AROUND = 16 }; /* two lengths, two sums */
    add_big_endian(b, (uint32_t)(AROUND + head.n + payload.n), 4);
    add_big_endian(b, (uint32_t)head.n, 4);
    add_big_endian(b, sum_from(b, at), 4);
    buf_add(b, buf_str(&head));
    buf_add(b, buf_str(&payload));
    add_big_endian(b, sum_from(b, at) ^ is_damaged, 4);
}

static struct str frames_of(const struct upstream_case *c, struct str text)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    while (text.n) {
        struct str line = str_trim(line_of(&text));
        if (line.n)
            add_frame(&b, line);
    }
    assert_int_equal(buf_err(&b), 0);
    return arena_str(c->arena, buf_str(&b));
}

struct str case_answer(const struct upstream_case *c)
{
    const struct case_section *section = case_section(c, "answer");
    assert_non_null(section);
    struct str text = section->text;
    if (str_find(section->options, STR("frames")) >= 0)
        return frames_of(c, text);
    if (str_find(section->options, STR("whole")) >= 0)
        return str_trim(text);
    if (str_find(section->options, STR("crlf")) < 0)
        return text;
    CLEANUP(buf_done) struct buf b = BUF_INIT(2 * text.n + 1);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            buf_addc(&b, '\r');
        buf_addc(&b, text.p[i]);
    }
    return arena_str(c->arena, buf_str(&b));
}

/* ---- its events ---- */

static void set_text(json_t *o, const char *key, struct str text)
{
    if (text.n)
        assert_int_equal(json_object_set_new(o, key, json_stringn(text.p, text.n)), 0);
}

static json_t *logprob_json(const struct token_logprob *t)
{
    /* Four digits: what a float holds of it. */
    char number[32];
    (void)snprintf(number, sizeof(number), "%.4f", (double)t->logprob);
    return json_pack("{s:o, s:s}", "token", json_stringn_nocheck(t->bytes.p, t->bytes.n), "logprob",
                     number);
}

static json_t *tokens_json(const struct engine_event *e)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < e->n_tokens; i++) {
        json_t *t = logprob_json(&e->tokens[i].chosen), *top = json_array();
        for (size_t k = 0; k < e->tokens[i].n_top; k++)
            (void)json_array_append_new(top, logprob_json(&e->tokens[i].top[k]));
        if (json_array_size(top))
            (void)json_object_set(t, "top", top);
        json_decref(top);
        (void)json_array_append_new(tokens, t);
    }
    return tokens;
}

static void put_end(json_t *o, const struct engine_event *e)
{
    const struct engine_usage *u = &e->usage;
    if (e->kind == ENGINE_EVENT_done) {
        static const char *const words[] = { [FINISH_stop] = "stop",
                                             [FINISH_length] = "length",
                                             [FINISH_cancelled] = "cancelled",
                                             [FINISH_content_filter] = "content_filter",
                                             [FINISH_tool_calls] = "tool_calls" };
        (void)json_object_set_new(o, "done", json_string(words[e->finish]));
        set_text(o, "stop", e->stop);
    } else {
        (void)json_object_set_new(o, "failed", json_string(fail_word(e->fail->code)));
        (void)json_object_set_new(o, "message", json_string(e->fail->message));
    }
    if (u->prompt_tokens || u->completion_tokens)
        (void)json_object_set_new(o, "usage",
                                  json_pack("[iiii]", (int)u->prompt_tokens, (int)u->cached_tokens,
                                            (int)u->completion_tokens, (int)u->reasoning_tokens));
}

static json_t *event_json(const struct engine_event *e)
{
    json_t *o = json_object();
    switch (e->kind) {
    case ENGINE_EVENT_admitted:
        (void)json_object_set_new(o, "admitted", json_true());
        break;
    case ENGINE_EVENT_text:
        (void)json_object_set_new(o, "text", json_stringn(e->text.p ? e->text.p : "", e->text.n));
        if (e->n_tokens)
            (void)json_object_set_new(o, "tokens", tokens_json(e));
        break;
    case ENGINE_EVENT_reasoning:
        (void)json_object_set_new(o, "reasoning",
                                  json_stringn(e->text.p ? e->text.p : "", e->text.n));
        set_text(o, "signature", e->signature);
        set_text(o, "redacted", e->redacted);
        break;
    case ENGINE_EVENT_tool_call:
        (void)json_object_set_new(o, "call", json_integer(e->call.index));
        set_text(o, "id", e->call.id);
        set_text(o, "name", e->call.name);
        set_text(o, "arguments", e->call.arguments);
        break;
    case ENGINE_EVENT_verbatim:
        (void)json_object_set_new(o, "verbatim",
                                  json_stringn(e->text.p ? e->text.p : "", e->text.n));
        set_text(o, "event", e->name);
        if (e->has_content)
            (void)json_object_set_new(o, "content", json_true());
        break;
    case ENGINE_EVENT_done:
    case ENGINE_EVENT_failed:
        put_end(o, e);
        break;
    }
    return o;
}

void case_event_line(struct buf *out, const struct engine_event *e)
{
    json_t *o = event_json(e);
    char *text = json_dumps(o, JSON_COMPACT);
    assert_non_null(text); /* NULL: some text is not UTF-8 */
    buf_adds(out, text);
    buf_addc(out, '\n');
    free(text);
    json_decref(o);
}

struct listener {
    struct buf *lines;
    unsigned ends;
    bool after_end;
};

static void heard(void *owner, const struct engine_event *e)
{
    struct listener *l = owner;
    assert_int_equal(l->ends, 0); /* nothing follows the end */
    if (e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed)
        l->ends++;
    case_event_line(l->lines, e);
}

unsigned case_read_answer(const struct upstream_case *c, const struct case_reading *how,
                          struct buf *lines)
{
    const struct provider *p = provider_of(c->endpoint.provider);
    struct listener l = { .lines = lines };
    struct provider_reader *r = p->reader_new(&c->job, &c->head, (struct reader_out){ heard, &l });
    assert_non_null(r);
    size_t from = 0;
    for (size_t i = 0; i <= how->n_cuts; i++) {
        size_t to = i < how->n_cuts ? how->cuts[i] : how->bytes.n;
        /* Each piece in memory of its own: who keeps a view of it is caught. */
        char *piece = malloc(to - from + 1);
        assert_non_null(piece);
        memcpy(piece, how->bytes.p + from, to - from);
        assert_int_equal(p->read(r, (struct str){ piece, to - from }), 0);
        free(piece);
        from = to;
    }
    p->end(r);
    p->reader_free(r);
    return l.ends;
}
