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

/* ---- verbatim ---- */

static struct str found(const struct engine_event *e, struct engine_span span)
{
    return span.n ? str_head(str_sub(e->text, span.at), span.n) : STR_NULL;
}

/* A whole answer on its way into the reply, with our name of the model. */
struct copy {
    struct buf *b;
    const char *done;
    struct str model, name; /* p NULL: there is none, or it is copied already */
};

static void copy_to(struct copy *c, const char *to)
{
    if (c->model.p && c->model.p >= c->done && c->model.p < to) {
        buf_add(c->b, (struct str){ c->done, (size_t)(c->model.p - c->done) });
        buf_add_json(c->b, c->name);
        c->done = c->model.p + c->model.n;
    }
    buf_add(c->b, (struct str){ c->done, (size_t)(to - c->done) });
    c->done = to;
}

/* Puts a member at the beginning of an object. */
static void copy_new(struct copy *c, struct str object, const char *member)
{
    copy_to(c, object.p + 1);
    buf_adds(c->b, member);
    buf_adds(c->b, json_view_has_any(object) ? "," : "");
}

/* What OpenAI always prints, where an engine left it out. */
static void copy_choice(struct copy *c, struct str choice)
{
    enum { MESSAGE, LOGPROBS, CONTENT = 0, REFUSAL };
    static const char *const of_choice[] = { "message", "logprobs" };
    static const char *const of_message[] = { "content", "refusal" };
    struct str given[2];
    json_view_get_all(choice, of_choice, ARRAY_LEN(of_choice), given);
    if (json_view_kind(choice) == JSON_VIEW_object && !given[LOGPROBS].p)
        copy_new(c, choice, "\"logprobs\":null");
    struct str message = given[MESSAGE];
    if (json_view_kind(message) != JSON_VIEW_object)
        return;
    json_view_get_all(message, of_message, ARRAY_LEN(of_message), given);
    bool lacks_content = !given[CONTENT].p, lacks_refusal = !given[REFUSAL].p;
    if (lacks_content || lacks_refusal)
        copy_new(c, message,
                 !lacks_refusal  ? "\"content\":null"
                 : lacks_content ? "\"content\":null,\"refusal\":null"
                                 : "\"refusal\":null");
}

static void render_verbatim_whole(struct answer *a, const struct engine_event *e, struct buf *b)
{
    struct copy c = { b, e->text.p, found(e, e->found.model), a->model };
    struct str choice, choices = e->found.lacks ? found(e, e->found.choices) : STR_NULL;
    for (struct json_view_walk w = json_view_walk(choices); json_view_next(&w, NULL, &choice);)
        copy_choice(&c, choice);
    copy_to(&c, e->text.p + e->text.n);
}

/* Whether a chunk says the usage and nothing else. */
static bool is_usage(const struct engine_event *e)
{
    return !e->has_content && !json_view_has_any(found(e, e->found.choices)) &&
           json_view_kind(found(e, e->found.usage)) == JSON_VIEW_object;
}

void render_verbatim(struct answer *a, const struct engine_event *e, struct buf *b)
{
    if (!a->chats[0].stream) {
        render_verbatim_whole(a, e, b);
        return;
    }
    bool hides = !a->chats[0].include_usage;
    if (hides && is_usage(e))
        return;
    struct splice_place places[2];
    size_t n = 0;
    struct str model = found(e, e->found.model), usage = found(e, e->found.usage);
    if (model.p && !a->model_json.p) {
        CLEANUP(buf_done) struct buf json = BUF_INIT(LIMIT_SSE_EVENT);
        buf_add_json(&json, a->model);
        a->model_json = arena_str(a->request->arena, buf_str(&json));
    }
    if (model.p && a->model_json.p)
        places[n++] = (struct splice_place){ model, model, a->model_json };
    if (hides && usage.p) {
        const char *key = e->text.p + e->found.usage_key;
        places[n++] =
            (struct splice_place){ { key, (size_t)(usage.p + usage.n - key) }, usage, STR_NULL };
    }
    if (n == 2 && places[1].value.p < places[0].value.p) {
        struct splice_place first = places[1];
        places[1] = places[0];
        places[0] = first;
    }
    buf_adds(b, "data: ");
    size_t from = b->n;
    splice_places(b, e->text, places, n); /* the reader has seen an object */
    if (!b->p)
        return;
    join_lines(b, from);
    buf_adds(b, "\n\n");
}
