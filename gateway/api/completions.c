#include "gateway/api/completions.h"

#include "base/limits.h"
#include "gateway/api/decode.h"
#include "gateway/api/render.h"

#include <errno.h>
#include <math.h>

/* ---- decode ---- */

struct completion_knobs {
    bool echo;
    bool has_logprobs, has_best_of, has_max;
    int64_t logprobs, best_of, max;
};
#define AT(member) offsetof(struct completion_knobs, member)
static const struct field completion_fields[] = {
    { "echo", FIELD_bool, AT(echo), 0, 0, -1 },
    { "logprobs", FIELD_int, AT(logprobs), 0, LIMIT_LEGACY_LOGPROBS, AT(has_logprobs) },
    { "best_of", FIELD_int, AT(best_of), 1, LIMIT_CHOICES, AT(has_best_of) },
    { "max_tokens", FIELD_int, AT(max), 0, INT32_MAX, AT(has_max) },
    { 0 },
};

static const struct refused refused_here[] = {
    { "suffix", UNLESS_empty },
    { "add_special_tokens", UNLESS_true },
    { NULL, UNLESS_null },
};

static int bad_prompt(struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, "prompt",
                      "'prompt' must be a string, an array of strings, an array of token ids, or "
                      "an array of such arrays, none of them empty");
}

static int prompt_ids(struct chat_request *c, struct str v, struct arena *arena,
                      struct fail *reterr)
{
    size_t n = json_view_count(v), i = 0;
    if (n == 0 || n > LIMIT_CONTEXT)
        return bad_prompt(reterr);
    int32_t *ids = arena_array(arena, n, sizeof(*ids));
    if (!ids)
        return body_no_memory(reterr);
    struct str item;
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, NULL, &item); i++) {
        uint64_t id = 0;
        if (json_view_u64(item, &id) < 0 || id >= LIMIT_VOCAB)
            return bad_prompt(reterr);
        ids[i] = (int32_t)id;
    }
    c->prompt_ids = ids;
    c->n_prompt_ids = n;
    return 0;
}

static int one_prompt(struct chat_request *c, struct str v, struct arena *arena,
                      struct fail *reterr)
{
    if (body_is_array(v))
        return prompt_ids(c, v, arena, reterr);
    if (!body_is_string(v))
        return bad_prompt(reterr);
    c->prompt = json_view_text(v, arena);
    return c->prompt.p ? 0 : body_no_memory(reterr);
}

/* An array of numbers is one prompt; any other array holds prompts. */
static int decode_prompts(struct chat_request **ret, size_t *ret_n,
                          const struct chat_request *common, struct str v, struct arena *arena,
                          struct fail *reterr)
{
    struct json_view_walk w = json_view_walk(v);
    struct str prompt = v;
    bool many = body_is_array(v) && !(json_view_next(&w, NULL, &prompt) && body_is_number(prompt));
    size_t n = many ? json_view_count(v) : 1;
    if (!v.p)
        return fail_param(reterr, FAIL_invalid_request, "prompt", "'prompt' is missing");
    if (n == 0)
        return fail_param(reterr, FAIL_empty_array, "prompt",
                          "'prompt' is an empty array; it must hold at least one prompt");
    uint32_t each = common->best_of > common->n ? common->best_of : common->n;
    if (n > LIMIT_PROMPTS || n * each > LIMIT_PROMPTS)
        return fail_param(reterr, FAIL_invalid_request, "prompt",
                          "prompts times '%s' may be at most %d",
                          each > common->n ? "best_of" : "n", LIMIT_PROMPTS);
    struct chat_request *chats = arena_array(arena, n, sizeof(*chats));
    if (!chats)
        return body_no_memory(reterr);
    w = json_view_walk(v);
    for (size_t i = 0; i < n; i++) {
        if (!many)
            prompt = v;
        else if (!json_view_next(&w, NULL, &prompt))
            break;
        chats[i] = *common;
        int r = one_prompt(&chats[i], prompt, arena, reterr);
        if (r != 0)
            return r;
    }
    if (n == 1)
        chats->source_prompt =
            chats->prompt_ids ? (const void *)chats->prompt_ids : (const void *)chats->prompt.p;
    *ret = chats;
    *ret_n = n;
    return 0;
}

/* Without max_tokens a completion has 16, as OpenAI documents it; a chat ends by itself. */
enum { DEFAULT_MAX_TOKENS = 16 };

static int put_knobs(struct chat_request *c, const struct completion_knobs *k, struct fail *reterr)
{
    c->is_completion = true;
    if (!k->has_max && c->max_tokens == 0)
        c->max_tokens = c->min_tokens > DEFAULT_MAX_TOKENS ? c->min_tokens : DEFAULT_MAX_TOKENS;
    c->echo = k->echo;
    c->logprobs = k->has_logprobs;
    c->top_logprobs = (uint32_t)k->logprobs;
    c->best_of = (uint32_t)k->best_of;
    if (k->has_best_of && c->best_of < c->n)
        return fail_param(reterr, FAIL_invalid_request, "best_of",
                          "'best_of' is %u; it must be at least 'n', which is %u", c->best_of,
                          c->n);
    if (c->best_of > c->n && c->stream)
        return fail_param(reterr, FAIL_invalid_request, "best_of",
                          "'best_of' above 'n' cannot be streamed: which are best is known at the "
                          "end");
    c->prompt_logprobs = k->echo && k->has_logprobs;
    c->prompt_only = c->prompt_logprobs && k->has_max && k->max == 0 && c->max_tokens == 0;
    return 0;
}

int completions_decode(struct chat_request **ret, size_t *ret_n, bool *ret_empty, struct str text,
                       struct arena *arena, struct fail *reterr)
{
    struct body body;
    struct chat_request common = { 0 };
    struct completion_knobs k = { 0 };
    int r = body_read(&body, text, arena, reterr);
    if (r == 0)
        r = decode_common(&common, &body, arena, reterr);
    if (r == 0)
        r = body_fields(&k, completion_fields, &body, arena, reterr);
    if (r == 0)
        r = put_knobs(&common, &k, reterr);
    if (r != 0)
        return r;
    decode_unserved(&common, refused_here, &body);
    common.wire = WIRE_openai_completions;
    common.source = body.text;
    r = decode_prompts(ret, ret_n, &common, body_get(&body, "prompt"), arena, reterr);
    if (r != 0)
        return r;
    *ret_empty = k.has_max && k.max == 0 && common.max_tokens == 0 && !common.prompt_only;
    return 0;
}

static int completions_decode_answer(struct answer *a, struct str body, struct fail *reterr)
{
    return completions_decode(&a->chats, &a->n_chats, &a->empty, body, a->request->arena, reterr);
}

/* ---- log-probabilities: four parallel arrays ---- */

enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSET };

static void comma(struct buf *b)
{
    if (b->n)
        buf_addc(b, ',');
}

static size_t code_points(struct str s)
{
    size_t n = 0, pos = 0;
    while (str_utf8_next(s, &pos) >= 0)
        n++;
    return n;
}

/* A prompt's first token has nothing before it that could make it likely. */
static bool is_first(const struct engine_token *t)
{
    return isnan(t->chosen.logprob);
}

static void add_top_entry(struct buf *b, const struct token_logprob *t, bool comma)
{
    if (comma)
        buf_addc(b, ',');
    render_token(b, t->bytes);
    buf_addc(b, ':');
    render_logprob(b, t->logprob);
}

/* The likeliest, and the one that came even where it is none of them. */
static void add_top(struct buf *b, const struct engine_token *t, uint32_t n_top)
{
    if (is_first(t)) {
        buf_adds(b, "null");
        return;
    }
    bool has_chosen = false;
    buf_addc(b, '{');
    for (size_t k = 0; k < t->n_top && k < n_top; k++) {
        add_top_entry(b, &t->top[k], k > 0);
        has_chosen = has_chosen || str_eq(t->top[k].bytes, t->chosen.bytes);
    }
    if (!has_chosen)
        add_top_entry(b, &t->chosen, t->n_top && n_top);
    buf_addc(b, '}');
}

static void add_logprobs(struct buf arrays[static 4], struct choice *c,
                         const struct engine_event *e, uint32_t n_top)
{
    for (size_t i = 0; e && i < e->n_tokens; i++) {
        const struct engine_token *t = &e->tokens[i];
        for (size_t k = 0; k < 4; k++)
            comma(&arrays[k]);
        render_token(&arrays[TOKENS], t->chosen.bytes);
        if (is_first(t))
            buf_adds(&arrays[TOKEN_LOGPROBS], "null");
        else
            render_logprob(&arrays[TOKEN_LOGPROBS], t->chosen.logprob);
        add_top(&arrays[TOP_LOGPROBS], t, n_top);
        buf_addf(&arrays[TEXT_OFFSET], "%zu", c->offset);
        c->offset += t->hidden ? 0 : code_points(t->chosen.bytes);
    }
}

static void print_logprobs(struct buf *b, const struct buf arrays[static 4])
{
    buf_adds(b, "{\"tokens\":[");
    buf_add(b, buf_str(&arrays[TOKENS]));
    buf_adds(b, "],\"token_logprobs\":[");
    buf_add(b, buf_str(&arrays[TOKEN_LOGPROBS]));
    buf_adds(b, "],\"top_logprobs\":[");
    buf_add(b, buf_str(&arrays[TOP_LOGPROBS]));
    buf_adds(b, "],\"text_offset\":[");
    buf_add(b, buf_str(&arrays[TEXT_OFFSET]));
    buf_adds(b, "]}");
}

/* ---- stream ---- */

static void chunk(struct answer *a, const struct choice *c, struct str text, struct buf *logprobs,
                  bool ended, struct buf *b)
{
    buf_adds(b, "data: ");
    render_start(b, a, "text_completion");
    buf_addf(b, ",\"choices\":[{\"index\":%u,\"text\":", c->index);
    buf_add_json(b, text);
    buf_adds(b, ",\"logprobs\":");
    if (logprobs)
        print_logprobs(b, logprobs);
    else
        buf_adds(b, "null");
    buf_adds(b, ",\"finish_reason\":");
    if (ended)
        render_finish(b, c->finish);
    else
        buf_adds(b, "null");
    buf_adds(b, "}]");
    if (a->chats[0].include_usage)
        buf_adds(b, ",\"usage\":null");
    buf_adds(b, "}\n\n");
}

/* Nothing to say before the first text: a completion has no role. */
static void completions_begin(struct answer *a, struct choice *c, struct buf *b)
{
    (void)a;
    (void)c;
    (void)b;
}

static void completions_text(struct answer *a, struct choice *c, struct str text,
                             const struct engine_event *e, struct buf *b)
{
    struct buf *logprobs = NULL;
    if (answer_shows_logprobs(a) && e) {
        logprobs = c->logprobs;
        for (size_t i = 0; i < ARRAY_LEN(c->logprobs); i++)
            buf_clear(&logprobs[i]);
        add_logprobs(logprobs, c, e, a->chats[0].top_logprobs);
    }
    chunk(a, c, text, logprobs, /* ended= */ false, b);
}

static void completions_end(struct answer *a, struct choice *c, struct buf *b)
{
    chunk(a, c, STR_NULL, /* logprobs= */ NULL, /* ended= */ true, b);
}

static void add_usage(struct answer *a, struct buf *b)
{
    struct engine_usage u = answer_usage(a);
    buf_adds(b, "data: ");
    render_start(b, a, "text_completion");
    buf_adds(b, ",\"choices\":[],\"usage\":");
    render_usage(b, &u);
    buf_adds(b, "}\n\n");
}

/* ---- whole ---- */

static void completions_collect(struct answer *a, struct choice *c, struct str text,
                                const struct engine_event *e)
{
    buf_add(&c->content, text);
    if (answer_shows_logprobs(a))
        add_logprobs(c->logprobs, c, e, a->chats[0].top_logprobs);
}

static void add_choice(struct answer *a, struct choice *c, struct buf *b)
{
    buf_addf(b, "%s{\"index\":%u,\"text\":", c->index ? "," : "", c->index);
    buf_add_json(b, buf_str(&c->content));
    buf_adds(b, ",\"logprobs\":");
    if (answer_shows_logprobs(a))
        print_logprobs(b, c->logprobs);
    else
        buf_adds(b, "null");
    buf_adds(b, ",\"finish_reason\":");
    render_finish(b, c->finish);
    buf_addc(b, '}');
}

static void completions_whole(struct answer *a, struct buf *b)
{
    render_whole(b, a, "text_completion", add_choice);
}

static void completions_finish(struct answer *a, struct buf *b)
{
    if (a->chats[0].include_usage && !a->is_verbatim)
        add_usage(a, b);
    render_done(b);
}

const struct dialect completions_dialect = {
    .id_prefix = "cmpl-",
    .wire = WIRE_openai_completions,
    .decode = completions_decode_answer,
    .begin = completions_begin,
    .text = completions_text,
    .end = completions_end,
    .finish = completions_finish,
    .fail = render_broken,
    .beat = render_keep_alive,
    .verbatim = render_verbatim,
    .collect = completions_collect,
    .whole = completions_whole,
};

enum next api_completions(struct request *r)
{
    return answer_start(r, &completions_dialect);
}
