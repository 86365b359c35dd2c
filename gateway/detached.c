#include "gateway/detached.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "gateway/answer.h"
#include "gateway/server.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

enum {
    THREADS = 2,
    RUNNING_MAX = 1024,
    ENDED_MAX = 64,                 /* that may still be read: their streams are kept in memory */
    ENDED_BYTES = 32 * 1024 * 1024, /* … within this */
    LOG_BYTES = 16 * 1024 * 1024,   /* of one: what comes then is not read along */
    BLOCK = 16 * 1024,
    ASK_MS = 500, /* whether others want one to end */
};

struct follower { /* in its request's arena */
    LIST_ENTRY(follower) next;
    struct request *request;
    struct live *live; /* a reference */
    size_t at;         /* bytes read of the log */
    uint64_t skip;     /* events still to be left out */
};

struct live {
    TAILQ_ENTRY(live) next;
    struct detached *all;
    unsigned refs; /* under all->lock: the list, while it runs; each follower */
    char *key;
    struct request *request; /* a reference until it has ended */
    detached_ended *ended;
    struct buf log;
    LIST_HEAD(, follower) followers;
    bool is_stream, has_ended, is_listed, is_unread;
};
TAILQ_HEAD(lives, live);

struct detached {
    pthread_mutex_t lock; /* of all that is in lives; nests outside of a flow's */
    pthread_cond_t ended;
    struct lives lives; /* oldest first */
    size_t n_running, n_ended, ended_bytes;
    struct queue *queue;
    pthread_t threads[THREADS];
    unsigned n_threads;
    detached_unwanted *unwanted; /* NULL: nobody else knows of them */
    void *ctx;
    _Atomic uint64_t ask_ms; /* when it is asked next */
};

/* ---- lives ---- */

/* Under the lock. */
static void live_unref(struct live *l)
{
    if (--l->refs > 0)
        return;
    buf_done(&l->log);
    free(l->key);
    free(l);
}

static struct live *find(struct detached *d, const char *key)
{
    struct live *l;
    TAILQ_FOREACH(l, &d->lives, next)
    if (strcmp(l->key, key) == 0)
        return l;
    return NULL;
}

static void unlist(struct live *l)
{
    TAILQ_REMOVE(&l->all->lives, l, next);
    l->is_listed = false;
    live_unref(l);
}

/* Under the lock: the oldest that have ended are given up. */
static void trim(struct detached *d)
{
    struct live *l, *then;
    for (l = TAILQ_FIRST(&d->lives); l && (d->n_ended > ENDED_MAX || d->ended_bytes > ENDED_BYTES);
         l = then) {
        then = TAILQ_NEXT(l, next);
        if (!l->has_ended)
            continue;
        d->n_ended--;
        d->ended_bytes -= l->log.n;
        unlist(l);
    }
}

static void wake_followers(struct live *l)
{
    struct follower *f;
    LIST_FOREACH(f, &l->followers, next)
    flow_wake(&f->request->flow);
}

/* ---- the steps of a detached request ---- */

static void end(struct live *l, struct request *r, bool complete)
{
    struct detached *d = l->all;
    flow_completed(&r->flow);
    if (!complete)
        request_cancel(r, FLOW_gone);
    CLEANUP(buf_done) struct buf last = BUF_INIT(LIMIT_UPSTREAM_ANSWER);
    l->ended(r, &last);
    server_depart(r, complete);
    {
        LOCKED(&d->lock);
        buf_add(&l->log, buf_str(&last));
        l->request = NULL;
        l->has_ended = true;
        d->n_running--;
        if (l->is_unread) {
            unlist(l);
        } else {
            d->n_ended++;
            d->ended_bytes += l->log.n;
        }
        wake_followers(l);
        (void)pthread_cond_broadcast(&d->ended);
        trim(d);
        live_unref(l);
    }
    request_unref(r);
}

static void log_block(struct live *l, struct str block)
{
    LOCKED(&l->all->lock);
    buf_add(&l->log, block);
    wake_followers(l);
}

/* false: it sleeps (and may run elsewhere by now), or has ended. */
static bool read_on(struct live *l, struct request *r)
{
    char block[BLOCK];
    ptrdiff_t n = answer_read(r, block, sizeof(block));
    if (n == 0)
        return false;
    if (n < 0) {
        end(l, r, /* complete= */ n == -1);
        return false;
    }
    log_block(l, (struct str){ block, (size_t)n });
    return true;
}

static enum next drive(struct live *l, struct request *r)
{
    while (!l->is_stream) {
        enum next next = r->step(r);
        if (next == NEXT_wait) {
            if (flow_suspend(&r->flow))
                return NEXT_wait;
            continue;
        }
        if (next != NEXT_stream) {
            end(l, r, /* complete= */ next == NEXT_reply);
            return next;
        }
        l->is_stream = true;
    }
    while (read_on(l, r)) {
    }
    return NEXT_stream;
}

static void resume(void *owner)
{
    struct live *l = owner;
    void *item = l;
    int r = queue_put(l->all->queue, &item);
    assert(r == 0); /* there is room for all that run, each once */
    (void)r;
}

/* The next that runs, by its place; its key is the caller's. NULL: there are no more. */
static char *running_key(struct detached *d, size_t place)
{
    struct live *l;
    LOCKED(&d->lock);
    TAILQ_FOREACH(l, &d->lives, next)
    if (!l->has_ended && place-- == 0)
        return str_dup(str_of(l->key));
    return NULL;
}

/* One thread asks at a time: the one that moves the clock on. */
static void ask_all(struct detached *d)
{
    uint64_t now = clock_ms(), due = d->ask_ms;
    if (now < due || !atomic_compare_exchange_strong(&d->ask_ms, &due, now + ASK_MS))
        return;
    for (size_t i = 0;; i++) {
        CLEANUP(own_free) char *key = running_key(d, i);
        if (!key)
            return;
        if (d->unwanted(d->ctx, key))
            (void)detached_cancel(d, key);
    }
}

static void *detached_main(void *arg)
{
    struct detached *d = arg;
    for (;;) {
        void *item = NULL;
        int r = queue_get(d->queue, &item, d->unwanted ? clock_ms() + ASK_MS : CLOCK_NEVER);
        if (r == -EPIPE)
            return NULL;
        struct live *l = item;
        if (l)
            (void)drive(l, l->request);
        if (d->unwanted)
            ask_all(d);
    }
}

/* ---- for endpoints ---- */

static int copy_headers(struct request *to, const struct request *from)
{
    struct chat_pair *copy = arena_array(to->arena, from->n_headers + 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_headers; i++) {
        copy[i].key = arena_str(to->arena, from->headers[i].key);
        copy[i].value = arena_str(to->arena, from->headers[i].value);
        if (!copy[i].key.p || !copy[i].value.p)
            return -ENOMEM;
    }
    to->headers = copy;
    to->n_headers = from->n_headers;
    return 0;
}

struct request *detached_request(struct request *r)
{
    struct request *new = server_request(r->server, r->state);
    if (!new)
        return NULL;
    if (copy_headers(new, r) < 0) {
        request_unref(new);
        return NULL;
    }
    memcpy(new->id, r->id, sizeof(new->id));
    new->errors = r->errors;
    new->endpoint = r->endpoint;
    new->caller = r->caller; /* its names are the snapshot's */
    new->min_epoch = r->min_epoch;
    new->created_s = r->created_s;
    new->deadline_ms = r->deadline_ms;
    new->body = r->body;
    r->body = BUF_INIT(0);
    return new;
}

int detached_start(struct detached *d, struct request *r, const struct detached_task *task)
{
    struct live *l = calloc(1, sizeof(*l));
    char *key = str_dup(str_of(task->key));
    int err = l && key ? 0 : -ENOMEM;
    if (err == 0) {
        LOCKED(&d->lock);
        *l = (struct live){ .all = d, .refs = 2, .key = key, .request = r, .ended = task->ended };
        l->is_unread = task->unread;
        l->log = BUF_INIT(LOG_BYTES);
        LIST_INIT(&l->followers);
        err = d->n_running < RUNNING_MAX ? 0 : -EAGAIN;
        if (err == 0) {
            d->n_running++;
            TAILQ_INSERT_TAIL(&d->lives, l, next);
            l->is_listed = true;
        }
    }
    if (err != 0) {
        free(key);
        free(l);
        server_depart(r, /* complete= */ false);
        request_unref(r);
        return err;
    }
    flow_detach(&r->flow, resume, l);
    return drive(l, r) == NEXT_reply ? FAILED : 0;
}

bool detached_has_begun(struct detached *d, const char *key)
{
    LOCKED(&d->lock);
    const struct live *l = find(d, key);
    return l && !l->has_ended && l->log.n > 0;
}

int detached_cancel(struct detached *d, const char *key)
{
    struct request *r = NULL;
    {
        LOCKED(&d->lock);
        struct live *l = find(d, key);
        if (!l)
            return -ENOENT;
        if (l->request)
            r = request_ref(l->request);
    }
    if (r) {
        request_cancel(r, FLOW_gone);
        request_unref(r);
    }
    return 0;
}

void detached_cancel_all(struct detached *d)
{
    for (;;) {
        struct request *r = NULL;
        struct live *l;
        {
            LOCKED(&d->lock);
            TAILQ_FOREACH(l, &d->lives, next)
            if (l->request && flow_ended(&l->request->flow) == FLOW_open) {
                r = request_ref(l->request);
                break;
            }
        }
        if (!r)
            return;
        request_cancel(r, FLOW_shutdown);
        request_unref(r);
    }
}

void detached_wait(struct detached *d, const char *key, unsigned ms)
{
    uint64_t until = clock_ms() + ms;
    LOCKED(&d->lock);
    for (;;) {
        const struct live *l = find(d, key);
        if (!l || l->has_ended || thread_cond_wait_until(&d->ended, &d->lock, until) == -ETIMEDOUT)
            return;
    }
}

/* ---- readers ---- */

static void unfollow(void *front)
{
    struct follower *f = front;
    struct detached *d = f->live->all;
    LOCKED(&d->lock);
    LIST_REMOVE(f, next);
    live_unref(f->live);
}

/* Bytes of the log that are new; 0: none. *ret_end: none will come. */
static size_t take(struct follower *f, char *into, size_t max, bool *ret_end)
{
    struct live *l = f->live;
    LOCKED(&l->all->lock);
    while (f->skip) { /* an event ends with an empty line */
        struct str rest = str_sub(buf_str(&l->log), f->at);
        ptrdiff_t gap = str_find(rest, STR("\n\n"));
        if (gap < 0)
            break;
        f->at += (size_t)gap + 2;
        f->skip--;
    }
    size_t n = f->skip ? 0 : l->log.n - f->at;
    n = n < max ? n : max;
    if (n)
        memcpy(into, l->log.p + f->at, n);
    f->at += n;
    *ret_end = n == 0 && l->has_ended;
    return n;
}

static ptrdiff_t follow(struct request *r, char *into, size_t max)
{
    static const char beat[] = ": keep-alive\n\n";
    struct follower *f = r->front;
    for (;;) {
        bool ended = false;
        enum flow_end end = flow_ended(&r->flow);
        if (end != FLOW_open && end != FLOW_answered)
            return -2;
        size_t n = take(f, into, max, &ended);
        if (n == 0 && !ended && flow_take_beat(&r->flow) && max >= sizeof(beat)) {
            n = sizeof(beat) - 1;
            memcpy(into, beat, n);
        }
        if (n) {
            flow_wrote(&r->flow, clock_ms());
            return (ptrdiff_t)n;
        }
        if (ended) {
            (void)flow_close(&r->flow, FLOW_answered);
            return -1;
        }
        if (server_suspend(r))
            return 0;
    }
}

int detached_follow(struct detached *d, struct request *r, const char *key, uint64_t skip)
{
    struct follower *f = arena_alloc(r->arena, sizeof(*f));
    if (!f)
        return -ENOMEM;
    {
        LOCKED(&d->lock);
        struct live *l = find(d, key);
        if (!l)
            return -ENOENT;
        *f = (struct follower){ .request = r, .live = l, .skip = skip };
        l->refs++;
        LIST_INSERT_HEAD(&l->followers, f, next);
    }
    if (r->front_done)
        r->front_done(r->front);
    r->front = f;
    r->front_done = unfollow;
    r->read = follow;
    LOCKED(&r->flow.lock);
    r->flow.eager = true;
    r->flow.wrote_ms = clock_ms();
    return 0;
}

/* ---- life ---- */

int detached_new(struct detached **ret, detached_unwanted *unwanted, void *ctx)
{
    CLEANUP(detached_freep) struct detached *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    TAILQ_INIT(&d->lives);
    d->unwanted = unwanted;
    d->ctx = ctx;
    (void)pthread_mutex_init(&d->lock, /* attr= */ NULL);
    int r = thread_cond_init(&d->ended);
    if (r == 0)
        r = queue_new(&d->queue, RUNNING_MAX);
    while (r == 0 && d->n_threads < THREADS) {
        r = thread_start(&d->threads[d->n_threads], THREAD_worker, detached_main, d);
        d->n_threads += r == 0;
    }
    if (r == 0)
        *ret = TAKE(d);
    return r;
}

struct detached *detached_free(struct detached *d)
{
    if (!d)
        return NULL;
    if (d->queue)
        queue_close(d->queue);
    for (unsigned i = 0; i < d->n_threads; i++)
        (void)pthread_join(d->threads[i], /* result= */ NULL);
    for (struct live *l; (l = TAILQ_FIRST(&d->lives)) != NULL;)
        unlist(l);
    (void)queue_free(d->queue);
    (void)pthread_cond_destroy(&d->ended);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
    return NULL;
}
