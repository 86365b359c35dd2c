#include "adapters/residency.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"

#define FAILURE_MS 1000 /* a load that failed is not tried again sooner */
#define MAX_LOADERS 64

enum entry_state {
    ENTRY_queued,   /* on the load queue */
    ENTRY_loading,  /* a loader thread works on it */
    ENTRY_resident, /* on the idle list while nobody leases it */
    ENTRY_failed,   /* remembered until retry_ms, on the failed list */
};

struct entry {
    struct entry *next_hash;
    struct entry *prev, *next; /* of the list that its state names */
    enum entry_state state;
    struct adapter_revision rev;
    uint64_t need; /* bytes: an estimate until loaded once, then exact */
    bool reserved; /* `need` is counted while it loads */
    unsigned leases;
    void *resident; /* owned; the loader's */
    enum residency from;
    struct lease_wait *waits; /* each a reference */
    struct fail fail;
    uint64_t retry_ms;
};

struct list {
    struct entry *first, *last;
};

struct lease {
    struct residents *owner; /* borrowed */
    struct entry *entry;     /* counted in entry->leases */
    enum residency from;
    bool pin;
    struct adapter_revision rev;
};

/* Whoever turns `claimed` on decides the outcome: completion, deadline or cancellation. */
struct lease_wait {
    atomic_bool claimed;
    atomic_uint refs;
    struct residents *owner; /* borrowed; used only by who claimed it */
    lease_fn fn;
    void *arg;
    uint64_t deadline_ms;
    struct lease *lease; /* made ahead, so that completion cannot fail */
    struct adapter_revision rev;
    /* under the owner's lock */
    struct entry *entry; /* whose load it waits for */
    struct lease_wait *prev_entry, *next_entry;
    struct lease_wait *prev_clock, *next_clock; /* by deadline */
    bool on_clock;
};

enum { N_BUCKETS = 8192 };

struct residents {
    struct adapter_loader loader;
    struct stager stager;
    uint64_t max_bytes;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* for loaders: the queue or the room changed */
    pthread_cond_t ticks; /* for the clock: the first deadline changed */
    bool stopping;
    struct entry *buckets[N_BUCKETS];
    struct list queue, idle, failed; /* idle: least recently used first */
    uint64_t bytes;                  /* of resident entries */
    uint64_t idle_bytes;             /* of those that nobody leases */
    uint64_t reserved;               /* of running loads */
    size_t n_resident, n_leases, n_failed;
    struct lease_wait *first_wait, *last_wait;
    pthread_t loaders[MAX_LOADERS], clock;
    unsigned n_loaders;
    bool clock_runs;
};

/* ---- lists and table (under the lock) ---- */

static void list_add(struct list *l, struct entry *e)
{
    e->prev = l->last;
    e->next = NULL;
    *(l->last ? &l->last->next : &l->first) = e;
    l->last = e;
}

static void list_del(struct list *l, struct entry *e)
{
    *(e->prev ? &e->prev->next : &l->first) = e->next;
    *(e->next ? &e->next->prev : &l->last) = e->prev;
    e->prev = e->next = NULL;
}

static struct entry **bucket_of(struct residents *r, const struct sha256 *d)
{
    return &r->buckets[(d->b[0] << 5 | d->b[1] >> 3) & (N_BUCKETS - 1)];
}

static struct entry *find(struct residents *r, const char *base, const struct sha256 *d)
{
    struct entry *e = *bucket_of(r, d);
    while (e && (!sha256_eq(&e->rev.digest, d) || strcmp(e->rev.base, base) != 0))
        e = e->next_hash;
    return e;
}

static void table_del(struct residents *r, struct entry *e)
{
    struct entry **at = bucket_of(r, &e->rev.digest);
    while (*at != e)
        at = &(*at)->next_hash;
    *at = e->next_hash;
}

static struct entry *table_add(struct residents *r, const struct adapter_revision *rev)
{
    struct entry *e = calloc(1, sizeof(*e)), **at = bucket_of(r, &rev->digest);
    if (!e)
        return NULL;
    e->rev = *rev;
    e->need = rev->bytes < r->max_bytes ? rev->bytes : r->max_bytes;
    e->next_hash = *at;
    *at = e;
    return e;
}

static void forget_failed(struct residents *r, struct entry *e)
{
    list_del(&r->failed, e);
    r->n_failed--;
    table_del(r, e);
    free(e);
}

static void show(const struct residents *r)
{
    metrics_set(METRIC_adapters_resident, (int64_t)r->n_resident);
    metrics_set(METRIC_adapter_resident_bytes, (int64_t)r->bytes);
    metrics_set(METRIC_adapter_leases, (int64_t)r->n_leases);
}

/* ---- leases ---- */

static void grant(struct residents *r, struct entry *e, struct lease *l, enum residency from,
                  const struct adapter_revision *rev)
{
    *l = (struct lease){ .owner = r, .entry = e, .from = from, .rev = *rev };
    if (e->leases++ == 0) {
        list_del(&r->idle, e);
        r->idle_bytes -= e->need;
    }
    r->n_leases++;
    metrics_add_label(METRIC_adapter_hits_total, from, 1);
    show(r);
}

/* A lease when the revision is resident now; else *ret stays NULL. */
static int lease_now(struct residents *r, const struct adapter_revision *rev, struct lease **ret)
{
    CLEANUP(own_free) struct lease *l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    LOCKED(&r->lock);
    struct entry *e = find(r, rev->base, &rev->digest);
    if (!e || e->state != ENTRY_resident)
        return 0;
    grant(r, e, l, RESIDENCY_hit, rev);
    *ret = TAKE(l);
    return 0;
}

void lease_set_pin(struct lease *l)
{
    LOCKED(&l->owner->lock);
    l->pin = true;
    l->owner->n_leases--;
    show(l->owner);
}

struct lease *lease_release(struct lease *l)
{
    if (!l)
        return NULL;
    struct residents *r = l->owner;
    struct entry *e = l->entry;
    {
        LOCKED(&r->lock);
        assert(e->leases > 0 && e->state == ENTRY_resident);
        if (!l->pin)
            r->n_leases--;
        if (--e->leases == 0) {
            list_add(&r->idle, e);
            r->idle_bytes += e->need;
            if (r->queue.first)
                (void)pthread_cond_broadcast(&r->work);
        }
        show(r);
    }
    free(l);
    return NULL;
}

void *lease_resident(const struct lease *l)
{
    return l->entry->resident;
}

const struct adapter_revision *lease_revision(const struct lease *l)
{
    return &l->rev;
}

enum residency lease_residency(const struct lease *l)
{
    return l->from;
}

/* ---- waits ---- */

static void wait_unref(struct lease_wait *w)
{
    if (atomic_fetch_sub(&w->refs, 1) == 1) {
        free(w->lease);
        free(w);
    }
}

static void clock_add(struct residents *r, struct lease_wait *w)
{
    if (w->deadline_ms == CLOCK_NEVER)
        return;
    struct lease_wait *before = r->last_wait; /* deadlines come nearly in order */
    while (before && before->deadline_ms > w->deadline_ms)
        before = before->prev_clock;
    w->prev_clock = before;
    w->next_clock = before ? before->next_clock : r->first_wait;
    *(w->next_clock ? &w->next_clock->prev_clock : &r->last_wait) = w;
    *(before ? &before->next_clock : &r->first_wait) = w;
    w->on_clock = true;
    if (!before)
        (void)pthread_cond_signal(&r->ticks);
}

static void clock_del(struct residents *r, struct lease_wait *w)
{
    if (!w->on_clock)
        return;
    *(w->prev_clock ? &w->prev_clock->next_clock : &r->first_wait) = w->next_clock;
    *(w->next_clock ? &w->next_clock->prev_clock : &r->last_wait) = w->prev_clock;
    w->on_clock = false;
}

static void entry_add_wait(struct entry *e, struct lease_wait *w)
{
    w->entry = e;
    w->prev_entry = NULL;
    w->next_entry = e->waits;
    if (e->waits)
        e->waits->prev_entry = w;
    e->waits = w;
}

/* Takes a wait off its load; the reference that the load held is the caller's now, when true. */
static bool entry_del_wait(struct residents *r, struct lease_wait *w)
{
    struct entry *e = w->entry;
    if (!e)
        return false;
    *(w->prev_entry ? &w->prev_entry->next_entry : &e->waits) = w->next_entry;
    if (w->next_entry)
        w->next_entry->prev_entry = w->prev_entry;
    w->entry = NULL;
    if (!e->waits && e->state == ENTRY_queued) { /* nobody wants it any more */
        list_del(&r->queue, e);
        table_del(r, e);
        free(e);
    }
    return true;
}

static struct lease_wait *wait_new(struct residents *r, uint64_t deadline_ms, lease_fn fn,
                                   void *owner)
{
    struct lease_wait *w = calloc(1, sizeof(*w));
    if (!w || !(w->lease = malloc(sizeof(*w->lease)))) {
        free(w);
        return NULL;
    }
    atomic_init(&w->refs, 2);
    w->owner = r;
    w->fn = fn;
    w->arg = owner;
    w->deadline_ms = deadline_ms;
    return w;
}

int residency_wait(struct residents *r, uint64_t deadline_ms, lease_fn fn, void *owner,
                   struct lease_wait **ret)
{
    struct lease_wait *w = wait_new(r, deadline_ms, fn, owner);
    if (!w)
        return -ENOMEM;
    *ret = w;
    LOCKED(&r->lock);
    clock_add(r, w);
    return 0;
}

bool lease_wait_cancel(struct lease_wait *w)
{
    if (atomic_exchange(&w->claimed, true)) {
        wait_unref(w);
        return false;
    }
    bool mine;
    {
        LOCKED(&w->owner->lock);
        clock_del(w->owner, w);
        mine = entry_del_wait(w->owner, w);
    }
    if (mine)
        wait_unref(w);
    wait_unref(w);
    return true;
}

struct lease_wait *lease_wait_free(struct lease_wait *w)
{
    if (w)
        wait_unref(w);
    return NULL;
}

/* Takes a wait that is not on a load off the clock; false: it was answered or cancelled. */
static bool claim_alone(struct residents *r, struct lease_wait *w)
{
    if (atomic_exchange(&w->claimed, true))
        return false;
    LOCKED(&r->lock);
    clock_del(r, w);
    return true;
}

void residency_fail(struct residents *r, struct lease_wait *w, const struct fail *f)
{
    if (claim_alone(r, w))
        w->fn(w->arg, NULL, f);
    wait_unref(w);
}

bool residency_abandon(struct residents *r, struct lease_wait *w)
{
    bool mine = claim_alone(r, w);
    if (mine)
        wait_unref(w);
    wait_unref(w);
    return mine;
}

/* Chains the open waits of an entry, claimed, by next_entry; the others lose its reference. */
static struct lease_wait *claim_waits(struct residents *r, struct entry *e)
{
    struct lease_wait *claimed = NULL;
    while (e->waits) {
        struct lease_wait *w = e->waits;
        e->waits = w->next_entry;
        w->entry = NULL;
        if (atomic_exchange(&w->claimed, true)) {
            wait_unref(w); /* its canceller holds another */
            continue;
        }
        clock_del(r, w);
        w->next_entry = claimed;
        claimed = w;
    }
    return claimed;
}

static void answer(struct lease_wait *waits, const struct fail *f)
{
    while (waits) {
        struct lease_wait *w = waits;
        waits = w->next_entry;
        w->fn(w->arg, f ? NULL : TAKE(w->lease), f);
        wait_unref(w);
    }
}

/* ---- joining ---- */

/* Attaches the wait to a load. Returns the wait, claimed, when it can be answered at once. */
static struct lease_wait *join_locked(struct residents *r, const struct adapter_revision *rev,
                                      struct lease_wait *w, struct fail *ret_fail, bool *ret_failed)
{
    struct entry *e = find(r, rev->base, &rev->digest);
    if (e && e->state == ENTRY_failed && e->retry_ms <= clock_ms()) {
        forget_failed(r, e);
        e = NULL;
    }
    bool fresh = !e;
    if (fresh && !r->stopping)
        e = table_add(r, rev);
    bool now = !e || e->state == ENTRY_resident || e->state == ENTRY_failed;
    if (now) {
        if (atomic_exchange(&w->claimed, true))
            return NULL;
        clock_del(r, w);
        *ret_failed = !e || e->state == ENTRY_failed;
        if (!e)
            (void)fail_errno(ret_fail, -ENOMEM, "loading an adapter");
        else if (*ret_failed)
            *ret_fail = e->fail;
        else
            grant(r, e, w->lease, RESIDENCY_hit, rev);
        return w;
    }
    if (fresh) {
        e->state = ENTRY_queued;
        list_add(&r->queue, e);
        (void)pthread_cond_signal(&r->work);
    }
    w->rev = *rev;
    entry_add_wait(e, w);
    return NULL;
}

void residency_join(struct residents *r, const struct adapter_revision *rev, struct lease_wait *w)
{
    struct fail f;
    bool failed = false, gone;
    struct lease_wait *claimed;
    {
        LOCKED(&r->lock);
        gone = atomic_load(&w->claimed);
        claimed = gone ? NULL : join_locked(r, rev, w, &f, &failed);
        gone = gone || (!claimed && !w->entry);
    }
    if (claimed) {
        claimed->next_entry = NULL;
        answer(claimed, failed ? &f : NULL);
    } else if (gone) {
        wait_unref(w);
    }
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_acquire */
int residency_acquire(struct residents *r, const struct adapter_revision *rev, uint64_t deadline_ms,
                      lease_fn fn, void *owner, struct lease **ret, struct lease_wait **ret_wait,
                      struct fail *reterr)
{
    struct lease *now = NULL;
    int k = lease_now(r, rev, &now);
    if (k < 0 || now) {
        *ret = now;
        return k;
    }
    struct lease_wait *w = wait_new(r, deadline_ms, fn, owner), *claimed;
    struct fail f;
    bool failed = false;
    if (!w)
        return -ENOMEM;
    {
        LOCKED(&r->lock);
        claimed = join_locked(r, rev, w, &f, &failed);
        if (!claimed) {
            clock_add(r, w);
            *ret_wait = w;
        }
    }
    if (!claimed)
        return ADAPTERS_PENDING;
    if (!failed)
        *ret = TAKE(w->lease);
    else if (reterr)
        *reterr = f;
    wait_unref(w);
    wait_unref(w);
    return failed ? FAILED : 0;
}

/* ---- making room and loading ---- */

/* Moves idle entries, oldest first, into *victims until `need` fits; false: it cannot. */
static bool make_room(struct residents *r, uint64_t need, struct entry **victims)
{
    uint64_t kept = r->bytes - r->idle_bytes + r->reserved; /* what no eviction can free */
    if (kept > r->max_bytes || need > r->max_bytes - kept)
        return false;
    while (r->bytes + r->reserved + need > r->max_bytes) {
        struct entry *e = r->idle.first;
        list_del(&r->idle, e);
        table_del(r, e);
        r->bytes -= e->need;
        r->idle_bytes -= e->need;
        r->n_resident--;
        e->next = *victims;
        *victims = e;
        metrics_add(METRIC_adapter_evictions_total, 1);
    }
    show(r);
    return true;
}

static void unload(struct residents *r, struct entry *victims)
{
    while (victims) {
        struct entry *e = victims;
        victims = e->next;
        r->loader.unload(r->loader.ctx, e->resident);
        free(e);
    }
}

/* The first queued load that fits, reserved and on its way; NULL: none now. */
static struct entry *next_load(struct residents *r, struct entry **victims)
{
    for (struct entry *e = r->queue.first; e; e = e->next) {
        if (!make_room(r, e->need, victims))
            continue;
        list_del(&r->queue, e);
        e->state = ENTRY_loading;
        r->reserved += e->need;
        return e;
    }
    return NULL;
}

static int load_files(struct residents *r, struct entry *e, size_t *ret_bytes, struct fail *f)
{
    struct stage s = { 0 };
    int k = r->stager.stage(r->stager.ctx, &e->rev, &s, f);
    if (k != 0)
        return k;
    e->from = s.from;
    k = r->loader.load(r->loader.ctx, str_of(e->rev.base), s.folder, &e->resident, ret_bytes, f);
    r->stager.unstage(r->stager.ctx, &s);
    return k;
}

static void remember_failure(struct residents *r, struct entry *e, const struct fail *f)
{
    enum { MAX_FAILED = 1024 };
    while (r->failed.first &&
           (r->n_failed >= MAX_FAILED || r->failed.first->retry_ms <= clock_ms()))
        forget_failed(r, r->failed.first);
    e->state = ENTRY_failed;
    e->fail = *f;
    e->retry_ms = clock_ms() + FAILURE_MS;
    list_add(&r->failed, e);
    r->n_failed++;
}

/* Enters what was loaded and grants it to its waits; to nobody when we are stopping. */
static struct lease_wait *settle(struct residents *r, struct entry *e, size_t bytes)
{
    e->state = ENTRY_resident;
    e->need = bytes;
    r->bytes += bytes;
    r->idle_bytes += bytes;
    r->n_resident++;
    list_add(&r->idle, e);
    struct lease_wait *claimed = claim_waits(r, e);
    for (struct lease_wait *w = r->stopping ? NULL : claimed; w; w = w->next_entry)
        grant(r, e, w->lease, e->from, &w->rev);
    show(r);
    return claimed;
}

/* It took more than was reserved and leases hold the rest: back to the queue with the true size. */
static void requeue(struct residents *r, struct entry *e, size_t bytes)
{
    e->need = bytes;
    e->state = ENTRY_queued;
    if (e->waits) {
        list_add(&r->queue, e);
        return;
    }
    table_del(r, e);
    free(e);
}

static void finish_load(struct residents *r, struct entry *e, int k, size_t bytes, struct fail *f)
{
    struct entry *victims = NULL;
    struct lease_wait *claimed = NULL;
    void *surplus = NULL;
    if (k == 0 && bytes > r->max_bytes) {
        k = fail_set(f, FAIL_unprocessable_adapter,
                     "adapter '%.100s' needs %zu bytes resident, adapters.residency.max_bytes is "
                     "%" PRIu64,
                     e->rev.adapter, bytes, r->max_bytes);
        surplus = TAKE(e->resident);
    }
    {
        LOCKED(&r->lock);
        r->reserved -= e->need;
        if (k == 0 && make_room(r, bytes, &victims)) {
            claimed = settle(r, e, bytes);
            if (r->stopping)
                k = fail_set(f, FAIL_overloaded, "the server is stopping");
        } else if (k == 0) {
            surplus = TAKE(e->resident);
            requeue(r, e, bytes);
        } else {
            claimed = claim_waits(r, e);
            remember_failure(r, e, f);
        }
        (void)pthread_cond_broadcast(&r->work);
    }
    if (surplus)
        r->loader.unload(r->loader.ctx, surplus);
    unload(r, victims);
    answer(claimed, k ? f : NULL);
}

static void load(struct residents *r, struct entry *e)
{
    struct fail f;
    size_t bytes = 0;
    uint64_t start_us = clock_us();
    int k = load_files(r, e, &bytes, &f);
    if (k < 0)
        k = fail_errno(&f, k, "loading an adapter");
    metrics_observe_us(METRIC_adapter_load_seconds, clock_us() - start_us);
    metrics_add(k ? METRIC_adapter_load_failures_total : METRIC_adapter_loads_total, 1);
    if (k)
        log_line(LOG_warn, "adapter_load_failed", "adapter=%s:%s revision=%" PRIu64 " why=\"%s\"",
                 e->rev.base, e->rev.adapter, e->rev.ordinal, f.message);
    finish_load(r, e, k, bytes, &f);
}

static void *loader_main(void *arg)
{
    struct residents *r = arg;
    for (;;) {
        struct entry *e, *victims = NULL;
        {
            LOCKED(&r->lock);
            while (!(e = next_load(r, &victims)) && !r->stopping)
                (void)pthread_cond_wait(&r->work, &r->lock);
            if (r->stopping && e) { /* residency_free fails its waits */
                r->reserved -= e->need;
                e->state = ENTRY_queued;
                list_add(&r->queue, e);
                e = NULL;
            }
        }
        unload(r, victims);
        if (!e)
            return NULL;
        load(r, e);
    }
}

/* ---- deadlines ---- */

static struct lease_wait *expire(struct residents *r, uint64_t now_ms)
{
    struct lease_wait *late = NULL;
    while (r->first_wait && r->first_wait->deadline_ms <= now_ms) {
        struct lease_wait *w = r->first_wait;
        clock_del(r, w);
        if (atomic_exchange(&w->claimed, true))
            continue;
        if (!entry_del_wait(r, w))
            atomic_fetch_add(&w->refs, 1); /* the catalog's thread still holds its own */
        w->next_entry = late;
        late = w;
    }
    return late;
}

static void *clock_main(void *arg)
{
    struct residents *r = arg;
    struct fail f;
    (void)fail_set(&f, FAIL_timeout, "the adapter was not loaded in time; try again");
    f.retry_after_s = 1;
    for (;;) {
        struct lease_wait *late;
        {
            LOCKED(&r->lock);
            late = expire(r, clock_ms());
            if (!late && r->stopping)
                return NULL;
            if (!late)
                (void)thread_cond_wait_until(
                    &r->ticks, &r->lock, r->first_wait ? r->first_wait->deadline_ms : CLOCK_NEVER);
        }
        answer(late, &f);
    }
}

/* ---- life ---- */

int residency_new(struct residents **ret, uint64_t max_bytes, uint64_t max_loads,
                  const struct adapter_loader *loader, const struct stager *stager)
{
    struct residents *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->loader = *loader;
    r->stager = *stager;
    r->max_bytes = max_bytes;
    (void)pthread_mutex_init(&r->lock, NULL);
    int k = thread_cond_init(&r->work);
    if (k == 0)
        k = thread_cond_init(&r->ticks);
    uint64_t n = max_loads < 1 ? 1 : max_loads > MAX_LOADERS ? MAX_LOADERS : max_loads;
    while (k == 0 && r->n_loaders < n)
        if ((k = thread_start(&r->loaders[r->n_loaders], THREAD_loader, loader_main, r)) == 0)
            r->n_loaders++;
    if (k == 0 && (k = thread_start(&r->clock, THREAD_catalog, clock_main, r)) == 0)
        r->clock_runs = true;
    if (k < 0) {
        (void)residency_free(r);
        return k;
    }
    show(r);
    *ret = r;
    return 0;
}

static struct lease_wait *stop(struct residents *r)
{
    struct lease_wait *left = NULL;
    LOCKED(&r->lock);
    while (r->queue.first) {
        struct entry *e = r->queue.first;
        list_del(&r->queue, e);
        struct lease_wait *claimed = claim_waits(r, e), **end = &claimed;
        while (*end)
            end = &(*end)->next_entry;
        *end = left;
        left = claimed;
        table_del(r, e);
        free(e);
    }
    while (r->failed.first)
        forget_failed(r, r->failed.first);
    assert(!r->first_wait); /* the catalog's thread has given its own back before */
    return left;
}

struct residents *residency_free(struct residents *r)
{
    if (!r)
        return NULL;
    {
        LOCKED(&r->lock);
        r->stopping = true;
        (void)pthread_cond_broadcast(&r->work);
        (void)pthread_cond_broadcast(&r->ticks);
    }
    for (unsigned i = 0; i < r->n_loaders; i++)
        (void)pthread_join(r->loaders[i], NULL);
    if (r->clock_runs)
        (void)pthread_join(r->clock, NULL);
    struct fail f;
    struct entry *victims = NULL;
    (void)fail_set(&f, FAIL_overloaded, "the server is stopping");
    answer(stop(r), &f);
    r->max_bytes = 0;
    assert(r->idle_bytes == r->bytes); /* no lease is held */
    (void)make_room(r, 0, &victims);
    unload(r, victims);
    (void)pthread_cond_destroy(&r->work);
    (void)pthread_cond_destroy(&r->ticks);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

/* ---- state ---- */

bool residency_has(struct residents *r, const char *base, const struct sha256 *digest)
{
    LOCKED(&r->lock);
    struct entry *e = find(r, base, digest);
    return e && e->state == ENTRY_resident;
}

void residency_state(struct residents *r, struct residency_state *ret)
{
    LOCKED(&r->lock);
    *ret = (struct residency_state){ r->n_resident, r->n_leases, r->bytes };
}
