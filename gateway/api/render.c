#include "gateway/api/render.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"
#include "gateway/api/error.h"

#include <errno.h>

void render_usage(struct buf *b, const struct engine_usage *u)
{
    buf_addf(b,
             "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%llu,"
             "\"prompt_tokens_details\":{\"cached_tokens\":%u},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
             u->prompt_tokens, u->completion_tokens,
             (unsigned long long)u->prompt_tokens + u->completion_tokens, u->cached_tokens,
             u->reasoning_tokens);
}

void render_token(struct buf *b, struct str bytes)
{
    if (str_utf8_valid(bytes)) {
        buf_add_json(b, bytes);
        return;
    }
    buf_adds(b, "\"bytes:");
    for (size_t i = 0; i < bytes.n; i++)
        buf_addf(b, "\\\\x%02x", (unsigned char)bytes.p[i]);
    buf_addc(b, '"');
}

void render_logprob(struct buf *b, float logprob)
{
    if (!(logprob >= -9999.0f))
        logprob = -9999.0f;
    buf_addf(b, "%.7g", (double)logprob);
}

static void add_entry(struct buf *b, const struct token_logprob *t)
{
    buf_adds(b, "{\"token\":");
    render_token(b, t->bytes);
    buf_adds(b, ",\"logprob\":");
    render_logprob(b, t->logprob);
    buf_adds(b, ",\"bytes\":[");
    for (size_t i = 0; i < t->bytes.n; i++)
        buf_addf(b, "%s%u", i ? "," : "", (unsigned char)t->bytes.p[i]);
    buf_addc(b, ']');
}

void render_logprobs(struct buf *b, const struct engine_event *e, uint32_t n_top)
{
    for (size_t i = 0; e && i < e->n_tokens; i++) {
        const struct engine_token *t = &e->tokens[i];
        if (b->n && b->p[b->n - 1] != '[')
            buf_addc(b, ',');
        add_entry(b, &t->chosen);
        buf_adds(b, ",\"top_logprobs\":[");
        for (size_t k = 0; k < t->n_top && k < n_top; k++) {
            if (k)
                buf_addc(b, ',');
            add_entry(b, &t->top[k]);
            buf_addc(b, '}');
        }
        buf_adds(b, "]}");
    }
}

void render_finish(struct buf *b, enum finish_reason finish)
{
    buf_addf(b, "\"%s\"", finish_reason_word(finish));
}

void render_start(struct buf *b, const struct answer *a, const char *object)
{
    buf_addf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":", a->id, object,
             (unsigned long long)a->request->created_s);
    buf_add_json(b, a->model);
}

void render_whole(struct buf *b, struct answer *a, const char *object,
                  void (*add_choice)(struct answer *a, struct choice *c, struct buf *b))
{
    render_start(b, a, object);
    buf_adds(b, ",\"choices\":[");
    for (size_t i = 0; i < a->n_shown; i++)
        add_choice(a, a->shown[i], b);
    struct engine_usage u = answer_usage(a);
    buf_adds(b, "],\"usage\":");
    render_usage(b, &u);
    buf_adds(b, ",\"system_fingerprint\":\"rootstock-" ROOTSTOCK_VERSION "\"}");
}

void render_done(struct buf *b)
{
    buf_adds(b, "data: [DONE]\n\n");
}

void render_broken(struct answer *a, const struct fail *fail, struct buf *b)
{
    (void)a;
    buf_adds(b, "data: ");
    error_print(b, fail);
    buf_adds(b, "\n\n");
}

void render_keep_alive(struct answer *a, struct buf *b)
{
    (void)a;
    buf_adds(b, ": keep-alive\n\n");
}

/* An event's data in one line, however many it came in: JSON has line ends only between tokens. */
static void join_lines(struct buf *b, size_t from)
{
    for (char *at = b->p + from, *end = b->p + b->n;
         at && (at = memchr(at, '\n', (size_t)(end - at)));)
        *at = ' ';
}

/* What OpenAI always prints, where an engine left it out. */
static const struct splice always_message[] = {
    { .key = "content", .json = { "null", 4 }, .keep = true },
    { .key = "refusal", .json = { "null", 4 }, .keep = true },
};
static const struct splice always_choice[] = {
    { .key = "logprobs", .json = { "null", 4 }, .keep = true },
};

static bool has_all(struct str object, const struct splice *always, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!json_view_get(object, always[i].key).p)
            return false;
    return true;
}

static bool is_whole_choice(struct str choice)
{
    struct str message = json_view_get(choice, "message");
    return has_all(choice, always_choice, ARRAY_LEN(always_choice)) &&
           (!message.p || has_all(message, always_message, ARRAY_LEN(always_message)));
}

static void add_whole_choice(struct buf *b, struct str choice)
{
    CLEANUP(buf_done) struct buf message = BUF_INIT(LIMIT_REQUEST_ARENA);
    struct str given = json_view_get(choice, "message");
    struct splice all[] = { always_choice[0], { .key = "message", .only_there = true } };
    if (json_view_kind(given) == JSON_VIEW_object) {
        (void)splice_object(&message, given, always_message, ARRAY_LEN(always_message));
        all[1].json = buf_str(&message);
    }
    bool is_ours = all[1].json.p && buf_err(&message) == 0;
    if (splice_object(b, choice, all, is_ours ? 2 : 1) == -EINVAL)
        buf_add(b, choice);
}

/* The choices with all that they must have; nothing is added where they have it. */
static void add_whole_choices(struct buf *b, struct str choices)
{
    struct str choice;
    bool lacks = false;
    for (struct json_view_walk w = json_view_walk(choices); json_view_next(&w, NULL, &choice);)
        lacks = lacks || !is_whole_choice(choice);
    if (!lacks)
        return;
    const char *between = "[";
    for (struct json_view_walk w = json_view_walk(choices); json_view_next(&w, NULL, &choice);) {
        buf_adds(b, between);
        add_whole_choice(b, choice);
        between = ",";
    }
    buf_addc(b, ']');
}

static void render_verbatim_whole(struct answer *a, struct str text, struct buf *b)
{
    CLEANUP(buf_done) struct buf model = BUF_INIT(LIMIT_SSE_EVENT);
    CLEANUP(buf_done) struct buf choices = BUF_INIT(LIMIT_REQUEST_ARENA);
    buf_add_json(&model, a->model);
    add_whole_choices(&choices, json_view_get(text, "choices"));
    struct splice splices[] = {
        { .key = "model", .json = buf_str(&model), .only_there = true },
        { .key = "choices", .json = buf_str(&choices), .only_there = true },
    };
    bool is_ours = choices.n && buf_err(&choices) == 0;
    (void)splice_object(b, text, splices, is_ours ? 2 : 1); /* the reader has seen an object */
}

void render_verbatim(struct answer *a, const struct engine_event *e, struct buf *b)
{
    if (!a->chats[0].stream) {
        render_verbatim_whole(a, e->text, b);
        return;
    }
    bool hides = !a->chats[0].include_usage;
    if (hides && !e->has_content && json_view_count(json_view_get(e->text, "choices")) == 0 &&
        json_view_kind(json_view_get(e->text, "usage")) == JSON_VIEW_object)
        return;
    CLEANUP(buf_done) struct buf model = BUF_INIT(LIMIT_SSE_EVENT);
    buf_add_json(&model, a->model);
    const struct splice splices[] = {
        { .key = "model", .json = buf_str(&model), .only_there = true },
        { .key = "usage", .only_there = true },
    };
    buf_adds(b, "data: ");
    size_t from = b->n;
    (void)splice_object(b, e->text, splices, hides ? 2 : 1); /* the reader has seen an object */
    if (!b->p)
        return;
    join_lines(b, from);
    buf_adds(b, "\n\n");
}
