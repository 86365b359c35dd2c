#include "gateway/api/render.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"
#include "gateway/api/error.h"

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

void render_verbatim(struct answer *a, const struct engine_event *e, struct buf *b)
{
    bool stream = a->chats[0].stream, hides = stream && !a->chats[0].include_usage;
    if (hides && !e->has_content && json_view_count(json_view_get(e->text, "choices")) == 0 &&
        json_view_kind(json_view_get(e->text, "usage")) == JSON_VIEW_object)
        return;
    CLEANUP(buf_done) struct buf model = BUF_INIT(LIMIT_SSE_EVENT);
    buf_add_json(&model, a->model);
    const struct splice splices[] = {
        { .key = "model", .json = buf_str(&model), .only_there = true },
        { .key = "usage", .only_there = true },
    };
    if (stream)
        buf_adds(b, "data: ");
    size_t from = b->n;
    (void)splice_object(b, e->text, splices, hides ? 2 : 1); /* the reader has seen an object */
    if (!stream || !b->p)
        return;
    join_lines(b, from);
    buf_adds(b, "\n\n");
}
