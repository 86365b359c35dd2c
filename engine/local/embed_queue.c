#include "engine/local/embed_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/thread.h"

enum { RETRY_AFTER_S = 1 };

struct embed_call { /* on its caller's stack */
    struct embed_task *tasks;
    size_t n, taken, left;
    int error;
    struct embed_call *next; /* while it has tasks that are not taken */
};

struct embed_queue {
    struct embed_backend backend;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a call ended, or the lead is free */
    struct embed_call *first, *last;
    size_t calls, max_calls;
    bool led, draining;
    struct embed_task **active; /* of the running step; the leader's alone */
    size_t n_active;
};

int embed_queue_new(struct embed_queue **ret, const struct embed_backend *backend, size_t calls)
{
    assert(backend->tasks > 0);
    struct embed_queue *q = calloc(1, sizeof(*q));
    struct embed_task **active = calloc(backend->tasks, sizeof(struct embed_task *));
    if (!q || !active) {
        free(q);
        free(active);
        return -ENOMEM;
    }
    q->backend = *backend;
    q->active = active;
    q->max_calls = calls;
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_cond_init(&q->changed, NULL);
    *ret = q;
    return 0;
}

static void wait_until_empty(struct embed_queue *q)
{
    LOCKED(&q->lock);
    q->draining = true;
    while (q->calls)
        (void)pthread_cond_wait(&q->changed, &q->lock);
}

struct embed_queue *embed_queue_free(struct embed_queue *q)
{
    if (!q)
        return NULL;
    wait_until_empty(q);
    (void)pthread_cond_destroy(&q->changed);
    (void)pthread_mutex_destroy(&q->lock);
    free(q->active);
    free(q);
    return NULL;
}

static void append(struct embed_queue *q, struct embed_call *c)
{
    c->next = NULL;
    if (q->last)
        q->last->next = c;
    else
        q->first = c;
    q->last = c;
}

static int enter(struct embed_queue *q, struct embed_call *c, struct fail *reterr)
{
    LOCKED(&q->lock);
    if (q->draining || q->calls >= q->max_calls) {
        if (q->draining)
            (void)fail_set(reterr, FAIL_overloaded,
                           "the server is draining; retry elsewhere or later");
        else
            (void)fail_set(reterr, FAIL_queue_full,
                           "%zu requests wait for this model already; retry later", q->calls);
        if (reterr)
            reterr->retry_after_s = RETRY_AFTER_S;
        return FAILED;
    }
    q->calls++;
    append(q, c);
    return 0;
}

/* false: the call has ended. Else the caller leads now. */
static bool wait_for_lead(struct embed_queue *q, const struct embed_call *c)
{
    LOCKED(&q->lock);
    while (c->left && q->led)
        (void)pthread_cond_wait(&q->changed, &q->lock);
    if (!c->left)
        return false;
    q->led = true;
    return true;
}

/* One task of each call in turn, so that a small call does not wait for a large one. */
static void fill(struct embed_queue *q)
{
    LOCKED(&q->lock);
    size_t rows = 0;
    for (size_t i = 0; i < q->n_active; i++)
        rows += q->active[i]->n;
    while (q->first && q->n_active < q->backend.tasks) {
        struct embed_call *c = q->first;
        struct embed_task *t = &c->tasks[c->taken];
        if (q->n_active && rows + t->n > q->backend.rows)
            return;
        q->first = c->next;
        if (!q->first)
            q->last = NULL;
        if (++c->taken < c->n)
            append(q, c);
        rows += t->n;
        q->active[q->n_active++] = t;
    }
}

/* Takes what is finished out of the step; false: the leader's own call has ended. */
static bool settle(struct embed_queue *q, int error, const struct embed_call *own)
{
    LOCKED(&q->lock);
    size_t kept = 0;
    bool ended = false;
    for (size_t i = 0; i < q->n_active; i++) {
        struct embed_task *t = q->active[i];
        if (!t->done && error == 0) {
            q->active[kept++] = t;
            continue;
        }
        if (!t->done)
            t->call->error = error;
        ended = --t->call->left == 0 || ended;
    }
    q->n_active = kept;
    if (ended)
        (void)pthread_cond_broadcast(&q->changed);
    return own->left > 0;
}

static void lead(struct embed_queue *q, const struct embed_call *own)
{
    int r;
    do {
        fill(q);
        r = q->backend.step(q->backend.owner, q->active, q->n_active);
    } while (settle(q, r, own));
}

static void give_lead_back(struct embed_queue *q)
{
    LOCKED(&q->lock);
    q->led = false;
    (void)pthread_cond_broadcast(&q->changed);
}

static void leave(struct embed_queue *q)
{
    LOCKED(&q->lock);
    q->calls--;
    (void)pthread_cond_broadcast(&q->changed);
}

int embed_queue_run(struct embed_queue *q, struct embed_task *tasks, size_t n, struct fail *reterr)
{
    struct embed_call call = { .tasks = tasks, .n = n, .left = n };
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        tasks[i].call = &call;
    int r = enter(q, &call, reterr);
    if (r != 0)
        return r;
    while (wait_for_lead(q, &call)) {
        lead(q, &call);
        give_lead_back(q);
    }
    r = call.error;
    leave(q); /* the last touch of q: it may be freed now */
    return r;
}

void embed_queue_drain(struct embed_queue *q)
{
    LOCKED(&q->lock);
    q->draining = true;
}

void embed_queue_load(struct embed_queue *q, size_t *ret_running, size_t *ret_waiting)
{
    LOCKED(&q->lock);
    size_t waiting = 0;
    for (const struct embed_call *c = q->first; c; c = c->next)
        waiting += c->taken == 0;
    *ret_waiting = waiting;
    *ret_running = q->calls - waiting;
}
