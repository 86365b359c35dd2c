/*
 * POST /tokenize and /detokenize, as vLLM and llama.cpp have them. Both run on a worker: a long
 * text takes seconds.
 */
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/decode.h"
#include "gateway/api/model.h"
#include "gateway/server.h"

#include <errno.h>
#include <stdlib.h>

struct ask {
    struct str model;
    bool has_ends, ends;         /* add_special_tokens of vLLM, add_special of llama.cpp */
    bool has_specials, specials; /* parse_special */
    bool strings;                /* return_token_strs */
    bool pieces;                 /* with_pieces */
    struct engine *engine;
    int32_t *ids; /* owned */
    size_t n;
};
#define AT(member) offsetof(struct ask, member)
static const struct field ask_fields[] = {
    { "model", FIELD_text, AT(model), 0, 0, -1 },
    { "add_special_tokens", FIELD_bool, AT(ends), 0, 0, AT(has_ends) },
    { "add_special", FIELD_bool, AT(ends), 0, 0, AT(has_ends) },
    { "parse_special", FIELD_bool, AT(specials), 0, 0, AT(has_specials) },
    { "return_token_strs", FIELD_bool, AT(strings), 0, 0, -1 },
    { "with_pieces", FIELD_bool, AT(pieces), 0, 0, -1 },
    { 0 },
};

static const struct refused refused_here[] = {
    { "add_generation_prompt", UNLESS_true },
    { "continue_final_message", UNLESS_false },
    { "chat_template", UNLESS_null },
    { NULL, UNLESS_null },
};

static int encode(struct ask *a, struct str text, const char *field, struct arena *arena,
                  struct fail *reterr)
{
    if (!body_is_string(text))
        return fail_param(reterr, FAIL_invalid_request, field, "'%s' must be a string, not %s",
                          field, body_kind(text));
    struct engine_encoding what = { .text = json_view_text(text, arena),
                                    .ends = a->ends,
                                    .specials = a->specials };
    if (!what.text.p)
        return -ENOMEM;
    return engine_encode(a->engine, &what, &a->ids, &a->n, reterr);
}

static int encode_chat(struct ask *a, const struct body *body, struct arena *arena,
                       struct fail *reterr)
{
    struct chat_request chat = { .n = 1, .sampling = SAMPLING_INIT };
    int r = decode_messages(&chat, body_get(body, "messages"), arena, reterr);
    if (r == 0)
        r = decode_tools(&chat, body, arena, reterr);
    if (r == 0)
        r = decode_served(&chat, reterr);
    struct str kwargs = body_get(body, "chat_template_kwargs");
    if (r == 0 && kwargs.p && !body_is_object(kwargs))
        return fail_param(reterr, FAIL_invalid_request, "chat_template_kwargs",
                          "'chat_template_kwargs' must be an object, not %s", body_kind(kwargs));
    chat.template_kwargs = kwargs;
    return r == 0 ? engine_tokenize(a->engine, &a->ids, &a->n, &chat, reterr) : r;
}

/* ---- printing ---- */

static void print_ids(const struct ask *a, struct buf *b)
{
    buf_adds(b, "\"tokens\":[");
    for (size_t i = 0; i < a->n; i++)
        buf_addf(b, "%s%d", i ? "," : "", a->ids[i]);
    buf_addc(b, ']');
}

static void print_strings(const struct ask *a, struct buf *b)
{
    if (!a->strings) {
        buf_adds(b, ",\"token_strs\":null");
        return;
    }
    buf_adds(b, ",\"token_strs\":[");
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_addc(b, ',');
        buf_add_json(b, engine_token(a->engine, a->ids[i], /* bytes= */ NULL));
    }
    buf_addc(b, ']');
}

/* A piece is a string, or an array of bytes where it is not whole characters. */
static void print_pieces(const struct ask *a, struct buf *b)
{
    CLEANUP(buf_done) struct buf piece = BUF_INIT(LIMIT_GGUF_STRING);
    buf_adds(b, "\"tokens\":[");
    for (size_t i = 0; i < a->n; i++) {
        buf_clear(&piece);
        (void)engine_token(a->engine, a->ids[i], &piece);
        struct str s = buf_str(&piece);
        buf_addf(b, "%s{\"id\":%d,\"piece\":", i ? "," : "", a->ids[i]);
        if (str_utf8_valid(s))
            buf_add_json(b, s);
        for (size_t k = 0; !str_utf8_valid(s) && k < s.n; k++)
            buf_addf(b, "%c%u%s", k ? ',' : '[', (unsigned char)s.p[k], k + 1 == s.n ? "]" : "");
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void print_tokens(const struct ask *a, bool is_content, struct buf *b)
{
    buf_addc(b, '{');
    if (is_content && a->pieces)
        print_pieces(a, b);
    else if (is_content)
        print_ids(a, b);
    else {
        buf_addf(b, "\"count\":%zu,\"max_model_len\":%u,", a->n, engine_context(a->engine));
        print_ids(a, b);
        print_strings(a, b);
    }
    buf_addc(b, '}');
}

/* ---- /tokenize ---- */

/*
 * `prompt` is vLLM's: ends by default, and control tokens stay text, as in /v1/completions.
 * `content` is llama.cpp's: no ends, and control tokens are parsed, as its server has it.
 */
static int tokenize_body(struct request *r, struct ask *a, const struct body *body,
                         struct fail *reterr)
{
    struct str prompt = body_get(body, "prompt"), messages = body_get(body, "messages"),
               content = body_get(body, "content");
    bool is_content = content.p;
    int err = body_fields(a, ask_fields, body, r->arena, reterr);
    if (err == 0)
        err = body_refuse(refused_here, body, reterr);
    if (err == 0)
        err = model_for_tokens(r, a->model, &a->engine, reterr);
    if (err != 0)
        return err;
    if (!a->has_ends)
        a->ends = !is_content;
    if (!a->has_specials)
        a->specials = is_content;
    if (messages.p)
        err = encode_chat(a, body, r->arena, reterr);
    else if (is_content)
        err = encode(a, content, "content", r->arena, reterr);
    else if (prompt.p)
        err = encode(a, prompt, "prompt", r->arena, reterr);
    else
        err = fail_param(reterr, FAIL_invalid_request, "prompt",
                         "send 'prompt' (a string) or 'messages' (an array)");
    if (err == 0)
        print_tokens(a, is_content, &r->reply.body);
    return err;
}

static void finish(struct request *r, struct ask *a, int err, struct fail *fail)
{
    if (err < 0)
        err = fail_errno(fail, err, "reading the tokens");
    if (err != 0)
        (void)reply_fail(r, fail);
    else
        r->log_tokens = a->n;
    free(a->ids);
    buf_done(&r->body);
}

static void tokenize(struct request *r)
{
    struct ask a = { 0 };
    struct fail fail = { 0 };
    struct body body;
    int err = body_read(&body, buf_str(&r->body), r->arena, &fail);
    if (err == 0)
        err = tokenize_body(r, &a, &body, &fail);
    finish(r, &a, err, &fail);
}

enum next api_tokenize(struct request *r)
{
    return server_compute(r, tokenize, reply_made);
}

/* ---- /detokenize ---- */

static int read_ids(struct ask *a, struct str v, struct fail *reterr)
{
    size_t n = json_view_count(v);
    struct json_view_walk w = json_view_walk(v);
    if (!body_is_array(v))
        return fail_param(reterr, FAIL_invalid_request, "tokens",
                          "'tokens' must be an array of token ids%s", v.p ? "" : "; it is missing");
    if (n > LIMIT_CONTEXT)
        return fail_param(reterr, FAIL_invalid_request, "tokens",
                          "'tokens' has %zu ids; at most %lu are taken", n, LIMIT_CONTEXT);
    a->ids = calloc(n ? n : 1, sizeof(*a->ids));
    if (!a->ids)
        return -ENOMEM;
    for (struct str item; json_view_next(&w, NULL, &item); a->n++) {
        uint64_t id = 0;
        if (json_view_u64(item, &id) < 0 || id > INT32_MAX)
            return fail_param(reterr, FAIL_invalid_request, "tokens",
                              "tokens[%zu] is not a token id", a->n);
        a->ids[a->n] = (int32_t)id;
    }
    return 0;
}

/* llama.cpp's clients name no model and read `content`. */
static int detokenize_body(struct request *r, struct ask *a, const struct body *body,
                           struct fail *reterr)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    struct buf *b = &r->reply.body;
    int err = body_fields(a, ask_fields, body, r->arena, reterr);
    if (err == 0)
        err = model_for_tokens(r, a->model, &a->engine, reterr);
    if (err == 0)
        err = read_ids(a, body_get(body, "tokens"), reterr);
    if (err == 0)
        err = engine_spell(a->engine, a->ids, a->n, &text, reterr);
    if (err == 0)
        err = buf_err(&text);
    if (err != 0)
        return err;
    buf_adds(b, "{\"prompt\":");
    buf_add_json(b, buf_str(&text));
    if (a->model.n == 0) {
        buf_adds(b, ",\"content\":");
        buf_add_json(b, buf_str(&text));
    }
    buf_addc(b, '}');
    return 0;
}

static void detokenize(struct request *r)
{
    struct ask a = { 0 };
    struct fail fail = { 0 };
    struct body body;
    int err = body_read(&body, buf_str(&r->body), r->arena, &fail);
    if (err == 0)
        err = detokenize_body(r, &a, &body, &fail);
    finish(r, &a, err, &fail);
}

enum next api_detokenize(struct request *r)
{
    return server_compute(r, detokenize, reply_made);
}
