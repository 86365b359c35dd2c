#include "gateway/shadow.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    TEXT_MAX = 64 * 1024, /* bytes of either answer that are compared */
    RUNNING_MAX = 64,     /* adapters.shadow.max_running may not exceed it */
    COLD_WAIT_MS = 30000, /* for a load that no request waits for */
    LONGEST_MS = 120000,  /* of a copy whose request has no deadline */
};
/* All copies take turns in the engine as one tenant of their own. */
static const uint64_t TURNS = 0x736861646f77;
enum { SHADOW_answered, SHADOW_failed, SHADOW_busy, SHADOW_cold }; /* positions in the labels */
enum { AGREES_same, AGREES_different };

struct ended { /* on its way to the reaper */
    struct shadow *shadow;
    struct cold *cold; /* or this */
};

struct side { /* an answer, as far as it is compared */
    struct buf text;
    bool ended, whole, cut;
};

struct shadow {
    struct shadows *owner;
    _Atomic unsigned refs; /* the request's, the engine job's */
    pthread_mutex_t lock;
    struct side client, copy; /* under the lock */
    struct lease *lease;
    struct engine_job *job;
    _Atomic unsigned parts; /* submitting, and the job: who ends last hands it to the reaper */
    struct ended end;
    uint64_t begun_us, first_us;
    struct shadow *next, **at; /* the owner's list of those that run; under its lock */
};

struct cold { /* a load that only the next copies need */
    struct shadows *owner;
    struct lease *lease;
    struct lease_wait *wait;
    bool called, returned; /* under the owner's lock: who comes second hands it on */
    struct ended end;
};

struct shadows {
    struct adapters *adapters; /* borrowed */
    pthread_mutex_t lock;
    pthread_cond_t empty; /* nothing runs any more */
    struct shadow *running;
    struct cold *loading;
    size_t n;            /* of both */
    struct queue *ended; /* of struct ended; has room for all that can be under way */
    pthread_t reaper;
    bool reaps;
};

/* ---- comparing ---- */

static void add(struct side *s, struct str text)
{
    size_t room = TEXT_MAX - s->text.n;
    s->cut = s->cut || text.n > room;
    buf_add(&s->text, str_head(text, room));
}

/* The second of the two to end compares; under the lock. */
static void compare(const struct shadow *s)
{
    const struct side *a = &s->client, *b = &s->copy;
    if (!a->ended || !b->ended || !a->whole || !b->whole)
        return;
    bool same = a->cut == b->cut && str_eq(buf_str(&a->text), buf_str(&b->text));
    metrics_add_label(METRIC_shadow_answers_total, same ? AGREES_same : AGREES_different, 1);
}

static struct shadow *unref(struct shadow *s)
{
    if (--s->refs > 0)
        return NULL;
    buf_done(&s->client.text);
    buf_done(&s->copy.text);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

void shadow_text(struct shadow *s, struct str text)
{
    if (!s)
        return;
    LOCKED(&s->lock);
    add(&s->client, text);
}

struct shadow *shadow_end(struct shadow *s, bool whole)
{
    if (!s)
        return NULL;
    {
        LOCKED(&s->lock);
        s->client.ended = true;
        s->client.whole = whole;
        compare(s);
    }
    return unref(s);
}

/* ---- running ---- */

static void hand_on(struct shadows *s, struct ended *e)
{
    void *item = e;
    int r = queue_put(s->ended, &item);
    assert(r == 0); /* there is room for all that is under way */
}

static void end_part(struct shadow *s)
{
    if (--s->parts == 0)
        hand_on(s->owner, &s->end);
}

static void on_event(void *owner, const struct engine_event *e)
{
    struct shadow *s = owner;
    bool token = e->kind == ENGINE_EVENT_text && !e->is_prompt;
    if (token && !s->first_us) {
        s->first_us = clock_us();
        metrics_observe_us(METRIC_shadow_first_token_seconds, s->first_us - s->begun_us);
    }
    bool done = e->kind == ENGINE_EVENT_done, failed = e->kind == ENGINE_EVENT_failed;
    {
        LOCKED(&s->lock);
        if ((token || done) && e->text.n)
            add(&s->copy, e->text);
        s->copy.ended = done || failed;
        s->copy.whole = done && e->finish != FINISH_cancelled;
        if (s->copy.ended)
            compare(s);
    }
    if (!done && !failed)
        return;
    metrics_add_label(METRIC_shadow_requests_total, done ? SHADOW_answered : SHADOW_failed, 1);
    metrics_observe_us(METRIC_shadow_seconds, clock_us() - s->begun_us);
    end_part(s);
}

static bool enlist(struct shadows *o, struct shadow *s, uint64_t max)
{
    LOCKED(&o->lock);
    if (o->n >= max || o->n >= RUNNING_MAX)
        return false;
    s->next = o->running;
    s->at = &o->running;
    if (s->next)
        s->next->at = &s->next;
    o->running = s;
    o->n++;
    return true;
}

static void strike(struct shadows *o, struct shadow *s)
{
    LOCKED(&o->lock);
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    if (--o->n == 0)
        (void)pthread_cond_signal(&o->empty);
}

/* Not on the engine's thread. */
static void finish(struct shadow *s)
{
    struct shadows *o = s->owner;
    (void)engine_job_unref(s->job);
    (void)lease_release(s->lease);
    strike(o, s);
    (void)unref(s);
}

/* ---- cold revisions ---- */

static void on_cold(void *owner, struct lease *lease, const struct fail *fail)
{
    struct cold *c = owner;
    (void)fail; /* the loader has logged it */
    bool second;
    {
        LOCKED(&c->owner->lock);
        c->lease = lease;
        c->called = true;
        second = c->returned;
    }
    if (second)
        hand_on(c->owner, &c->end);
}

static void finish_cold(struct cold *c)
{
    struct shadows *o = c->owner;
    (void)lease_wait_free(c->wait);
    (void)lease_release(c->lease);
    {
        LOCKED(&o->lock);
        o->loading = NULL;
        if (--o->n == 0)
            (void)pthread_cond_signal(&o->empty);
    }
    free(c);
}

static bool enlist_cold(struct shadows *o, struct cold *c)
{
    LOCKED(&o->lock);
    if (o->loading) /* one at a time: nobody waits for them */
        return false;
    o->loading = c;
    o->n++;
    return true;
}

/* A lease of the revision where its weights are in memory; else it begins to be loaded. */
static struct lease *lease_now(struct shadows *o, const struct adapter_trial *t)
{
    char selector[SHA256_HEX + 8] = "sha256:";
    sha256_hex(selector + strlen("sha256:"), &t->shadow);
    struct adapter_name name = { .base = str_of(t->revision.base),
                                 .adapter = str_of(t->revision.adapter),
                                 .selector = str_of(selector) };
    struct lease *lease = NULL;
    struct fail fail;
    struct cold *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->owner = o;
    c->end.cold = c;
    if (!enlist_cold(o, c)) {
        free(c);
        return NULL;
    }
    int r = adapters_acquire(o->adapters, &name, clock_ms() + COLD_WAIT_MS, on_cold, c, &lease,
                             &c->wait, &fail);
    bool second = false;
    if (r == ADAPTERS_PENDING) {
        LOCKED(&o->lock);
        c->returned = true;
        second = c->called;
    }
    if (second)
        hand_on(o, &c->end);
    if (r != ADAPTERS_PENDING)
        finish_cold(c);
    return r == 0 ? lease : NULL;
}

/* ---- beginning ---- */

/* The same request is copied by whichever gateway answers it. */
static bool is_drawn(struct str id, uint32_t weight)
{
    struct sha256 d = sha256_of(id);
    uint64_t x;
    memcpy(&x, d.b, sizeof(x));
    return x % CANARY_WHOLE < weight;
}

static bool submit(struct shadow *s, const struct shadow_offer *o)
{
    struct fail fail;
    uint64_t latest = clock_ms() + LONGEST_MS;
    struct engine_spec spec = { .request = o->chat,
                                .lora = lease_resident(s->lease),
                                .lora_digest = &o->trial->shadow,
                                .tenant = TURNS,
                                .deadline_ms = o->deadline_ms < latest ? o->deadline_ms : latest,
                                .on_event = on_event,
                                .owner = s };
    s->begun_us = clock_us();
    s->parts = 2;
    if (engine_submit(o->engine, &s->job, &spec, &fail) != 0)
        return false;
    end_part(s);
    return true;
}

static bool is_idle(struct engine *e)
{
    size_t running = 0, waiting = 0;
    (void)engine_load(e, &running, &waiting);
    return waiting == 0;
}

static struct shadow *make(struct shadows *o, uint64_t max)
{
    struct shadow *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->owner = o;
    s->refs = 2;
    s->end.shadow = s;
    (void)pthread_mutex_init(&s->lock, NULL);
    s->client.text = s->copy.text = BUF_INIT(TEXT_MAX + 1);
    if (enlist(o, s, max))
        return s;
    s->refs = 1;
    return unref(s);
}

struct shadow *shadow_begin(struct shadows *s, const struct shadow_offer *o)
{
    if (!s || o->trial->shadow_weight == 0 || !is_drawn(o->id, o->trial->shadow_weight))
        return NULL;
    struct shadow *x = is_idle(o->engine) ? make(s, o->max_running) : NULL;
    if (!x) {
        metrics_add_label(METRIC_shadow_requests_total, SHADOW_busy, 1);
        return NULL;
    }
    x->lease = lease_now(s, o->trial);
    bool cold = !x->lease;
    if (!cold && submit(x, o))
        return x;
    metrics_add_label(METRIC_shadow_requests_total, cold ? SHADOW_cold : SHADOW_failed, 1);
    finish(x);
    return unref(x);
}

/* ---- life ---- */

static void *reaper_main(void *arg)
{
    struct shadows *s = arg;
    void *item = NULL;
    while (queue_get(s->ended, &item, CLOCK_NEVER) == 0) {
        struct ended *e = item;
        if (e->shadow)
            finish(e->shadow);
        else
            finish_cold(e->cold);
    }
    return NULL;
}

int shadows_new(struct shadows **ret, struct adapters *a)
{
    static const char *const outcomes[] = { "answered", "failed", "busy", "cold" };
    static const char *const agrees[] = { "same", "different" };
    CLEANUP(shadows_freep) struct shadows *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    metrics_label(METRIC_shadow_requests_total, outcomes, ARRAY_LEN(outcomes));
    metrics_label(METRIC_shadow_answers_total, agrees, ARRAY_LEN(agrees));
    s->adapters = a;
    (void)pthread_mutex_init(&s->lock, NULL);
    int r = thread_cond_init(&s->empty);
    if (r == 0)
        r = queue_new(&s->ended, RUNNING_MAX + 1); /* all that can be under way */
    if (r == 0)
        r = thread_start(&s->reaper, THREAD_worker, reaper_main, s);
    if (r != 0)
        return r;
    s->reaps = true;
    *ret = TAKE(s);
    return 0;
}

/* A load that has not answered yet; true: it never will, and its wait is gone. */
static bool cancel_cold(struct shadows *s, struct cold **ret)
{
    struct lease_wait *wait = NULL;
    {
        LOCKED(&s->lock);
        *ret = s->loading;
        if (*ret && !(*ret)->called)
            wait = TAKE((*ret)->wait);
    }
    return wait && lease_wait_cancel(wait);
}

static void cancel_all(struct shadows *s)
{
    struct cold *cold = NULL;
    if (cancel_cold(s, &cold))
        finish_cold(cold);
    LOCKED(&s->lock);
    for (struct shadow *x = s->running; x; x = x->next)
        if (x->job)
            engine_cancel(x->job);
    while (s->n)
        (void)pthread_cond_wait(&s->empty, &s->lock);
}

struct shadows *shadows_free(struct shadows *s)
{
    if (!s)
        return NULL;
    if (s->reaps)
        cancel_all(s);
    if (s->ended)
        queue_close(s->ended);
    if (s->reaps)
        (void)pthread_join(s->reaper, NULL);
    (void)queue_free(s->ended);
    (void)pthread_cond_destroy(&s->empty);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
