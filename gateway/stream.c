#include "gateway/stream.h"

#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/transport.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>

int flow_init(struct flow *f, struct MHD_Connection *connection)
{
    *f = (struct flow){ .connection = connection };
    f->last = &f->first;
    int r = pthread_mutex_init(&f->lock, /* attr= */ NULL);
    return -r;
}

void flow_done(struct flow *f)
{
    for (struct flow_event *e = f->first, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    f->first = NULL;
    (void)pthread_mutex_destroy(&f->lock);
}

bool flow_suspend(struct flow *f)
{
    LOCKED(&f->lock);
    if (f->woken) {
        f->woken = false;
        return false;
    }
    f->suspended = true;
    if (f->connection)
        MHD_suspend_connection(f->connection);
    return true;
}

/* Under the lock: the connection cannot complete while it is suspended, so it is valid here. */
static void wake_locked(struct flow *f)
{
    if (!f->connection && !f->resume)
        return;
    if (!f->suspended) {
        f->woken = true;
        return;
    }
    f->suspended = false;
    f->woken = false;
    if (!f->connection) {
        f->resume(f->owner);
        return;
    }
    MHD_resume_connection(f->connection);
    if (f->loop)
        transport_nudge(f->loop);
}

void flow_detach(struct flow *f, void (*resume)(void *owner), void *owner)
{
    LOCKED(&f->lock);
    f->resume = resume;
    f->owner = owner;
}

void flow_wake(struct flow *f)
{
    LOCKED(&f->lock);
    wake_locked(f);
}

void flow_completed(struct flow *f)
{
    LOCKED(&f->lock);
    f->connection = NULL;
    f->resume = NULL;
}

void flow_tick(struct flow *f, uint64_t now_ms, uint64_t keep_alive_ms)
{
    LOCKED(&f->lock);
    if (!f->suspended || !f->eager || keep_alive_ms == 0 || now_ms < f->wrote_ms + keep_alive_ms)
        return;
    f->beat = true;
    f->wrote_ms = now_ms;
    wake_locked(f);
}

void flow_job_add(struct flow *f)
{
    f->jobs++;
}

bool flow_job_drop(struct flow *f)
{
    return --f->jobs == 0;
}

static char *put(char **at, struct str s)
{
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    *at += s.n;
    return p;
}

static size_t tokens_size(const struct engine_event *e)
{
    size_t n = e->n_tokens * sizeof(struct engine_token);
    for (size_t i = 0; i < e->n_tokens; i++) {
        const struct engine_token *t = &e->tokens[i];
        n += t->chosen.bytes.n + t->n_top * sizeof(struct token_logprob);
        for (size_t k = 0; k < t->n_top; k++)
            n += t->top[k].bytes.n;
    }
    return n;
}

static size_t headers_size(const struct engine_event *e)
{
    size_t n = e->n_headers * sizeof(struct chat_pair);
    for (size_t i = 0; i < e->n_headers; i++)
        n += e->headers[i].key.n + e->headers[i].value.n;
    return n;
}

/* One block: the event, its tokens, their alternatives, headers, its failure, then all bytes. */
static struct flow_event *event_copy(const struct engine_event *e, size_t *ret_size)
{
    size_t n_top = 0;
    for (size_t i = 0; i < e->n_tokens; i++)
        n_top += e->tokens[i].n_top;
    const struct engine_call *call = &e->call;
    size_t n_fails = e->fail ? 1 : 0;
    size_t size = sizeof(struct flow_event) + n_fails * sizeof(struct fail) + tokens_size(e) +
                  e->text.n + call->id.n + call->name.n + call->arguments.n + e->name.n +
                  e->signature.n + e->redacted.n + e->stop.n + headers_size(e);
    struct flow_event *c = malloc(size);
    if (!c)
        return NULL;
    *c = (struct flow_event){ .event = *e };
    struct engine_token *tokens = (struct engine_token *)(c + 1);
    struct token_logprob *top = (struct token_logprob *)(tokens + e->n_tokens);
    struct chat_pair *headers = (struct chat_pair *)(top + n_top);
    struct fail *fail = (struct fail *)(headers + e->n_headers);
    char *bytes = (char *)(fail + n_fails);
    for (size_t i = 0; i < e->n_tokens; i++) {
        tokens[i] = e->tokens[i];
        tokens[i].chosen.bytes.p = put(&bytes, e->tokens[i].chosen.bytes);
        tokens[i].top = top;
        for (size_t k = 0; k < e->tokens[i].n_top; k++, top++) {
            *top = e->tokens[i].top[k];
            top->bytes.p = put(&bytes, e->tokens[i].top[k].bytes);
        }
    }
    if (e->fail)
        *fail = *e->fail;
    c->event.fail = e->fail ? fail : NULL;
    c->event.tokens = e->n_tokens ? tokens : NULL;
    c->event.text.p = put(&bytes, e->text);
    c->event.name.p = put(&bytes, e->name);
    c->event.signature.p = put(&bytes, e->signature);
    c->event.redacted.p = put(&bytes, e->redacted);
    c->event.stop.p = put(&bytes, e->stop);
    for (size_t i = 0; i < e->n_headers; i++) {
        headers[i] = e->headers[i];
        headers[i].key.p = put(&bytes, e->headers[i].key);
        headers[i].value.p = put(&bytes, e->headers[i].value);
    }
    c->event.headers = e->n_headers ? headers : NULL;
    c->event.call.id.p = put(&bytes, call->id);
    c->event.call.name.p = put(&bytes, call->name);
    c->event.call.arguments.p = put(&bytes, call->arguments);
    *ret_size = size;
    return c;
}

bool flow_push(struct flow *f, uint32_t choice, const struct engine_event *e,
               enum flow_left *ret_left)
{
    bool ends = e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed;
    size_t size = 0;
    struct flow_event *c = event_copy(e, &size);
    LOCKED(&f->lock);
    bool last = ends && --f->jobs == 0;
    if (c) {
        c->choice = choice;
        *f->last = c;
        f->last = &c->next;
        f->bytes += size;
        f->largest = size > f->largest ? size : f->largest;
    }
    /* Bytes of an answer that is sent as a whole are bounded by the model's context. */
    /* The largest does not count: a single event may be as large as an engine's events may be. */
    bool fits = c && (!f->eager || f->bytes - f->largest <= LIMIT_STREAM_BACKLOG);
    f->unsettled = last && fits && f->connection;
    *ret_left = f->unsettled ? FLOW_handed : last ? FLOW_last : FLOW_more;
    if (f->eager || ends || !fits)
        wake_locked(f);
    return fits;
}

bool flow_take_settle(struct flow *f)
{
    return f->unsettled && atomic_exchange(&f->unsettled, false);
}

struct flow_event *flow_take(struct flow *f)
{
    LOCKED(&f->lock);
    struct flow_event *e = TAKE(f->first);
    f->last = &f->first;
    f->bytes = f->largest = 0;
    return e;
}

bool flow_take_beat(struct flow *f)
{
    return f->beat && atomic_exchange(&f->beat, false);
}

bool flow_close(struct flow *f, enum flow_end why)
{
    LOCKED(&f->lock);
    if (f->end != FLOW_open)
        return false;
    f->end = why;
    wake_locked(f);
    return true;
}

enum flow_end flow_ended(const struct flow *f)
{
    return f->end;
}

uint64_t flow_now_us(const struct flow *f)
{
    return f->loop ? transport_now_us(f->loop) : clock_us();
}

void flow_wrote(struct flow *f, uint64_t now_ms)
{
    LOCKED(&f->lock);
    f->wrote_ms = now_ms;
}
