/*
 * Loads. A fresh entry is looked up by a near loader (a few system calls), then queued: far, when
 * its files must be fetched or packed, else near, for memory. What the far loaders bring is queued
 * near. Waiting for memory so happens when all else is done, and never holds a far loader.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/residency_impl.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

#define FAILURE_MS 1000 /* a load that failed is not tried again sooner */
enum {
    MAX_FAILED = 1024,
    MAX_STAGED = 64, /* fetched files that wait for memory are held beyond the cache's bound */
    MAX_STALE = 2,   /* packed files of another layout, before it is loaded without one */
};
#define MAX_RETRY_S 60

/* ---- queues (under the lock) ---- */

static void wake(struct residents *r, unsigned lane)
{
    (void)pthread_cond_signal(&r->lanes[lane].work);
}

static struct load_queue *queue_of(struct residents *r, const struct entry *e)
{
    struct lane *l = &r->lanes[e->state == ENTRY_far ? LANE_far : LANE_near];
    return e->wanted ? l->wanted : l->ahead;
}

static struct str tenant_of(const struct entry *e)
{
    return (struct str){ e->tenant->name, e->tenant->n_name };
}

static bool is_queued(const struct entry *e)
{
    return e->state == ENTRY_far || e->state == ENTRY_near;
}

/* One with files of its own has left the near queue: the far loaders may go on. */
static void left_near(struct residents *r, const struct entry *e)
{
    if (e->stage.folder && r->n_staged-- == MAX_STAGED)
        (void)pthread_cond_broadcast(&r->lanes[LANE_far].work);
}

static void leave_queue(struct residents *r, struct entry *e)
{
    if (e->state == ENTRY_unseen) {
        entries_del(&r->unseen[e->wanted], e);
        r->n_unseen--;
    } else if (is_queued(e)) {
        load_queue_drop(queue_of(r, e), &e->item);
        if (e->state == ENTRY_near)
            left_near(r, e);
    }
}

static int join_queue(struct residents *r, struct entry *e, enum entry_state state, bool again)
{
    e->state = state;
    int k = load_queue_add(queue_of(r, e), &e->item, tenant_of(e), e->need, again);
    if (k < 0) {
        e->state = ENTRY_working;
        return k;
    }
    r->n_staged += state == ENTRY_near && e->stage.folder;
    wake(r, state == ENTRY_far ? LANE_far : LANE_near);
    return 0;
}

void load_begin(struct residents *r, struct entry *e)
{
    e->state = ENTRY_unseen;
    entries_add(&r->unseen[e->wanted], e);
    r->n_unseen++;
    wake(r, LANE_near);
}

void load_want(struct residents *r, struct entry *e)
{
    enum entry_state state = e->state;
    struct lane *l = &r->lanes[state == ENTRY_far ? LANE_far : LANE_near];
    e->only_pack = false;
    if (e->wanted || (is_queued(e) && load_queue_ready(l->wanted, tenant_of(e)) < 0))
        return;
    leave_queue(r, e);
    e->wanted = true;
    e->free_only = false;
    if (state == ENTRY_unseen)
        load_begin(r, e);
    else if (state == ENTRY_far || state == ENTRY_near)
        (void)join_queue(r, e, state, /* again= */ false);
}

static void set_kept(struct residents *r, struct entry *e, bool kept)
{
    r->n_kept += kept;
    r->n_kept -= e->kept;
    e->kept = kept;
}

bool load_keep(struct residents *r, struct entry *e)
{
    if (!e->kept && r->n_kept >= MAX_KEPT)
        return false;
    set_kept(r, e, true);
    return true;
}

/* Off the table, to be freed by `discard` when the lock is not held. */
static void abandon(struct residents *r, struct entry *e)
{
    set_kept(r, e, false);
    warm_forget(r->warmth, &e->warm);
    entry_unlink(r, e);
}

/* No lock, as the next. */
static void unstage(struct residents *r, struct entry *e)
{
    if (e->stage.folder)
        r->stager.unstage(r->stager.ctx, &e->stage);
    e->stage = (struct stage){ 0 };
}

/* What the entry holds on disk, and the entry. */
static void discard(struct residents *r, struct entry *e)
{
    unstage(r, e);
    packed_release(r->packed, &e->rev, &e->packed);
    free(e);
}

void load_unwant(struct residents *r, struct entry *e)
{
    if (e->kept || e->state == ENTRY_working || e->state == ENTRY_resident)
        return;
    if (e->stage.folder || e->packed.held) /* a loader gives it back: that is I/O */
        return;
    leave_queue(r, e);
    abandon(r, e);
    free(e);
}

/* A loader thread has it from now on. */
static void begin_work(struct residents *r, struct entry *e)
{
    e->state = ENTRY_working;
    r->n_working++;
}

/* Nobody waits for it, and it was not asked for ahead. */
static bool is_unwanted(const struct entry *e)
{
    bool is_packed = e->only_pack && (e->packed.held || e->no_pack);
    return !e->waits && (!e->kept || is_packed);
}

/* ---- how fast ---- */

/* Moves on when the next load may begin (a leaky bucket that holds nothing); when this one may. */
static uint64_t pace_bytes(struct residents *r, uint64_t bytes)
{
    uint64_t now = clock_us(), from = r->pace_us > now ? r->pace_us : now;
    r->pace_us = from + (uint64_t)((double)bytes * 1e6 / (double)r->limits.max_rate);
    return from;
}

/* Counts its bytes against max_rate, once. */
static void pace(struct residents *r, struct entry *e)
{
    if (r->limits.max_rate && !e->paced)
        (void)pace_bytes(r, e->need);
    e->paced = true;
}

int residency_pace(struct residents *r, size_t bytes)
{
    uint64_t from_us;
    LOCKED(&r->lock);
    if (!r->limits.max_rate)
        return r->stopping ? -ECANCELED : 0;
    from_us = pace_bytes(r, bytes);
    while (!r->stopping && clock_us() < from_us)
        (void)thread_cond_wait_until(&r->paced, &r->lock, (from_us + 999) / 1000);
    return r->stopping ? -ECANCELED : 0;
}

bool residency_is_stopping(struct residents *r)
{
    LOCKED(&r->lock);
    return r->stopping;
}

/* Smoothed bytes a second of one thread. */
static void measure(struct lane *l, uint64_t bytes, uint64_t us)
{
    double rate = (double)bytes * 1e6 / (double)(us ? us : 1);
    l->rate = l->rate > 0 ? l->rate * 0.75 + rate * 0.25 : rate;
}

static double lane_seconds(const struct lane *l, struct str tenant, uint64_t bytes)
{
    uint64_t ahead = load_queue_ahead(l->wanted, tenant, bytes) + l->working;
    unsigned n = l->n_threads ? l->n_threads : 1;
    return l->rate > 0 ? (double)ahead / (l->rate * n) + (double)bytes / l->rate : 0;
}

unsigned load_retry_s(const struct residents *r, const struct entry *e)
{
    const struct lane *near = &r->lanes[LANE_near], *far = &r->lanes[LANE_far];
    double s = lane_seconds(near, tenant_of(e), e->need);
    bool away = e->state == ENTRY_far || e->state == ENTRY_unseen ||
                (e->state == ENTRY_working && e->is_cold);
    if (away && far->rate > 0)
        s += lane_seconds(far, tenant_of(e), e->need);
    uint64_t now = clock_us();
    if (r->limits.max_rate && r->pace_us > now)
        s += (double)(r->pace_us - now) / 1e6;
    return s >= MAX_RETRY_S ? MAX_RETRY_S : 1 + (unsigned)s;
}

/* ---- ends ---- */

static void forget_failed(struct residents *r, struct entry *e)
{
    entries_del(&r->failed, e);
    r->n_failed--;
    entry_unlink(r, e);
    free(e);
}

bool load_has_failed(struct residents *r, struct entry *e)
{
    if (e->state != ENTRY_failed)
        return false;
    if (e->retry_ms > clock_ms())
        return true;
    forget_failed(r, e);
    return false;
}

static void remember_failure(struct residents *r, struct entry *e, const struct fail *f)
{
    while (r->failed.first &&
           (r->n_failed >= MAX_FAILED || r->failed.first->retry_ms <= clock_ms()))
        forget_failed(r, r->failed.first);
    set_kept(r, e, false);
    e->state = ENTRY_failed;
    e->fail = *f;
    e->retry_ms = clock_ms() + FAILURE_MS;
    entries_add(&r->failed, e);
    r->n_failed++;
}

/* Ends a load that a thread works on with a failure: logged, told to all, remembered. */
static void fail_load(struct residents *r, struct entry *e, int k, struct fail *f)
{
    struct lease_wait *claimed;
    if (k < 0)
        (void)fail_errno(f, k, "loading an adapter");
    metrics_add(METRIC_adapter_load_failures_total, 1);
    log_line(LOG_warn, "adapter_load_failed", "adapter=%s:%s revision=%" PRIu64 " why=\"%s\"",
             e->rev.base, e->rev.adapter, e->rev.ordinal, f->message);
    unstage(r, e);
    packed_release(r->packed, &e->rev, &e->packed);
    {
        LOCKED(&r->lock);
        claimed = claim_waits(r, e);
        remember_failure(r, e, f);
        r->n_working--;
    }
    answer_waits(claimed, f);
}

/* What a thread works on goes into a queue, or away when nobody wants it any more. */
static void pass_on(struct residents *r, struct entry *e, enum entry_state state, bool again)
{
    struct fail f;
    bool gone;
    int k = 0;
    {
        LOCKED(&r->lock);
        gone = is_unwanted(e) || (r->stopping && !e->waits); /* load_drop_queued answers waits */
        if (gone)
            abandon(r, e);
        else
            k = join_queue(r, e, state, again);
        r->n_working -= k == 0;
    }
    if (gone)
        discard(r, e);
    else if (k < 0)
        fail_load(r, e, k, &f);
}

/* ---- looking ---- */

static struct entry *next_unseen(struct residents *r)
{
    bool wanted = r->unseen[true].first != NULL;
    struct entry *e = r->unseen[wanted].first;
    if (e) {
        leave_queue(r, e);
        begin_work(r, e);
    }
    return e;
}

static void look(struct residents *r, struct entry *e)
{
    int k = r->packed && !e->no_pack ? packed_find(r->packed, &e->rev, &e->packed) : -ENOTSUP;
    enum residency where =
        k == 0 || !r->stager.where ? RESIDENCY_disk : r->stager.where(r->stager.ctx, &e->rev);
    e->no_pack = e->no_pack || k == -ENOTSUP;
    {
        LOCKED(&r->lock); /* who estimates the load looks */
        e->is_cold = where == RESIDENCY_cold;
    }
    e->paced = e->is_cold && r->stager.is_paced;
    e->from = where;
    bool far = k != 0 && (e->is_cold || !e->no_pack);
    pass_on(r, e, far ? ENTRY_far : ENTRY_near, /* again= */ false);
}

/* ---- far: fetch and pack ---- */

static struct entry *entry_of(struct load_item *x)
{
    return x ? (struct entry *)((char *)x - offsetof(struct entry, item)) : NULL;
}

/* What is fetched waits at each part of it. */
static bool may_fetch(void *ctx, const struct load_item *x)
{
    const bool *may_begin = ctx;
    return *may_begin || entry_of((struct load_item *)(uintptr_t)x)->paced;
}

static struct entry *next_far(struct residents *r)
{
    struct lane *l = &r->lanes[LANE_far];
    if (r->n_staged >= MAX_STAGED)
        return NULL;
    bool may_begin = r->pace_us <= clock_us();
    struct load_item *x = load_queue_take(l->wanted, may_fetch, &may_begin);
    if (!x)
        x = load_queue_take(l->ahead, may_fetch, &may_begin);
    struct entry *e = entry_of(x);
    if (!e)
        return NULL;
    begin_work(r, e);
    l->working += e->need;
    pace(r, e);
    return e;
}

static int bring_near(struct residents *r, struct entry *e, struct fail *f)
{
    int k = e->stage.folder ? 0 : r->stager.stage(r->stager.ctx, &e->rev, &e->stage, f);
    if (k != 0)
        return k;
    if (e->stage.from == RESIDENCY_cold)
        e->from = RESIDENCY_cold;
    if (e->no_pack)
        return 0;
    k = packed_make(r->packed, &e->rev, e->stage.folder, &e->packed, f);
    if (k == FAILED)
        return k;
    if (k < 0) { /* a full disk, say: it can be loaded all the same */
        static struct log_rate rate;
        log_rated(&rate, LOG_warn, "adapter_pack", "adapter=%s:%s why=\"%s\", continuing",
                  e->rev.base, e->rev.adapter, strerror(-k));
        e->no_pack = true;
        return 0;
    }
    unstage(r, e);
    return 0;
}

static void work_far(struct residents *r, struct entry *e)
{
    struct fail f;
    struct lane *l = &r->lanes[LANE_far];
    uint64_t start_us = clock_us();
    int k = bring_near(r, e, &f);
    uint64_t us = clock_us() - start_us;
    metrics_observe_us(METRIC_adapter_fetch_seconds, us);
    {
        LOCKED(&r->lock);
        l->working -= e->need;
        measure(l, e->need, us);
    }
    if (k != 0)
        fail_load(r, e, k, &f);
    else
        pass_on(r, e, ENTRY_near, /* again= */ false);
}

/* ---- near: into memory ---- */

struct turn { /* of a near loader: what it took, at most one of the first three, and victims */
    struct residents *r;
    struct entry *seen, *load, *dropped;
    struct entry *victims;
    bool may_begin; /* by max_rate */
};

static bool fits(void *ctx, const struct load_item *x)
{
    struct turn *t = ctx;
    const struct entry *e = entry_of((struct load_item *)(uintptr_t)x);
    return is_unwanted(e) ||
           ((e->paced || t->may_begin) && room_make(t->r, e, e->need, &t->victims));
}

static void drop(struct turn *t, struct entry *e)
{
    abandon(t->r, e);
    t->dropped = e;
}

/* A load ahead of requests that has no room is on this disk now, and that is all. */
static void drop_ahead(struct turn *t)
{
    struct lane *l = &t->r->lanes[LANE_near];
    struct entry *e = entry_of(load_queue_any(l->ahead));
    if (!e || e->waits || load_queue_len(l->wanted) || !(e->paced || t->may_begin))
        return;
    leave_queue(t->r, e);
    drop(t, e);
}

static void next_near(struct turn *t)
{
    struct residents *r = t->r;
    struct lane *l = &r->lanes[LANE_near];
    t->may_begin = r->pace_us <= clock_us();
    if (warmth_reserve(r->warmth, r->n_resident + r->n_loading + 1) < 0)
        return;
    struct load_item *x = load_queue_take(l->wanted, fits, t);
    if (!x)
        x = load_queue_take(l->ahead, fits, t);
    struct entry *e = t->load = entry_of(x);
    if (!e) {
        drop_ahead(t);
        return;
    }
    left_near(r, e);
    if (is_unwanted(e)) {
        t->load = NULL;
        drop(t, e);
        return;
    }
    begin_work(r, e);
    r->reserved += e->need;
    r->n_loading++;
    l->working += e->need;
    pace(r, e);
}

static int load_files(struct residents *r, struct entry *e, size_t *ret_bytes, struct fail *f)
{
    if (e->packed.held)
        return packed_map(r->packed, &e->rev, &e->packed, &e->resident, ret_bytes, f);
    int k = e->stage.folder ? 0 : r->stager.stage(r->stager.ctx, &e->rev, &e->stage, f);
    if (k != 0)
        return k;
    if (e->stage.from == RESIDENCY_cold)
        e->from = RESIDENCY_cold;
    k = r->loader.load(r->loader.ctx, str_of(e->rev.base), e->stage.folder, &e->resident, ret_bytes,
                       f);
    unstage(r, e);
    return k;
}

/* Enters what was loaded and grants it to its waits; to nobody when we are stopping. */
static struct lease_wait *settle(struct residents *r, struct entry *e, size_t bytes)
{
    r->n_working--;
    set_kept(r, e, false);
    room_enter(r, e, bytes);
    struct lease_wait *claimed = claim_waits(r, e);
    for (struct lease_wait *w = r->stopping ? NULL : claimed; w; w = w->next_entry)
        entry_grant(r, e, w->lease, e->from, &w->rev);
    residency_show(r);
    return claimed;
}

/* It is resident, or, when it took more than was reserved and leases hold the rest, back in the
 * queue with its true size. */
static void finish_load(struct residents *r, struct entry *e, size_t bytes)
{
    struct entry *victims = NULL;
    struct lease_wait *claimed = NULL;
    struct fail f;
    bool fit, stopping;
    {
        LOCKED(&r->lock);
        r->reserved -= e->need;
        r->n_loading--;
        stopping = r->stopping;
        fit = room_make(r, e, bytes, &victims);
        if (fit)
            claimed = settle(r, e, bytes);
        e->need = bytes;
        (void)pthread_cond_broadcast(&r->lanes[LANE_near].work);
    }
    if (!fit) {
        r->loader.unload(r->loader.ctx, e->resident);
        packed_release(r->packed, &e->rev, &e->packed);
        e->resident = NULL;
        pass_on(r, e, ENTRY_near, /* again= */ true);
    }
    room_unload(r, victims);
    if (stopping)
        (void)fail_set(&f, FAIL_overloaded, "the server is stopping");
    answer_waits(claimed, stopping ? &f : NULL);
}

/* The load gave nothing. */
static void load_ended(struct residents *r, struct entry *e)
{
    LOCKED(&r->lock);
    r->reserved -= e->need;
    r->n_loading--;
    (void)pthread_cond_broadcast(&r->lanes[LANE_near].work);
}

static void count_load(struct residents *r, struct entry *e, uint64_t bytes, uint64_t us)
{
    metrics_observe_us(METRIC_adapter_load_seconds, us);
    metrics_add_label(METRIC_adapter_loads_total, e->packed.held ? 0 : 1, 1);
    metrics_add(METRIC_adapter_loaded_bytes_total, (int64_t)bytes);
    LOCKED(&r->lock);
    measure(&r->lanes[LANE_near], bytes, us);
}

static void work_near(struct residents *r, struct entry *e)
{
    struct fail f;
    size_t bytes = 0;
    uint64_t start_us = clock_us();
    int k = load_files(r, e, &bytes, &f);
    {
        LOCKED(&r->lock);
        r->lanes[LANE_near].working -= e->need;
    }
    if (k == 0) {
        count_load(r, e, bytes, clock_us() - start_us);
        if (bytes <= r->limits.max_bytes) {
            finish_load(r, e, bytes);
            return;
        }
        r->loader.unload(r->loader.ctx, e->resident);
        e->resident = NULL;
        k = fail_set(&f, FAIL_unprocessable_adapter,
                     "adapter '%.100s' needs %zu bytes resident, adapters.residency.max_bytes is "
                     "%" PRIu64,
                     e->rev.adapter, bytes, r->limits.max_bytes);
    }
    load_ended(r, e);
    if (k == -ESTALE) { /* packed anew, or, when that does not help, loaded without */
        e->no_pack = ++e->stale >= MAX_STALE;
        pass_on(r, e, ENTRY_far, /* again= */ false);
    } else {
        fail_load(r, e, k, &f);
    }
}

/* ---- threads ---- */

/* Waits for work, or for when max_rate allows the next load. */
static void rest(struct residents *r, struct lane *l)
{
    uint64_t now = clock_us();
    bool paced = r->pace_us > now && load_queue_len(l->wanted) + load_queue_len(l->ahead);
    if (paced)
        metrics_add(METRIC_adapter_load_paced_total, 1);
    (void)thread_cond_wait_until(&l->work, &r->lock,
                                 paced ? (r->pace_us + 999) / 1000 : CLOCK_NEVER);
}

/* false: we are stopping. */
static bool take_turn(struct turn *t)
{
    struct residents *r = t->r;
    LOCKED(&r->lock);
    for (;;) {
        if (r->stopping)
            return false;
        if (!(t->seen = next_unseen(r)))
            next_near(t);
        if (t->seen || t->load || t->dropped || t->victims) {
            residency_show(r);
            return true;
        }
        rest(r, &r->lanes[LANE_near]);
    }
}

static void *near_main(void *arg)
{
    struct residents *r = arg;
    thread_background();
    for (;;) {
        struct turn t = { .r = r };
        if (!take_turn(&t))
            return NULL;
        room_unload(r, t.victims);
        if (t.dropped)
            discard(r, t.dropped);
        if (t.seen)
            look(r, t.seen);
        else if (t.load)
            work_near(r, t.load);
    }
}

static void *far_main(void *arg)
{
    struct residents *r = arg;
    thread_background();
    for (;;) {
        struct entry *e = NULL;
        {
            LOCKED(&r->lock);
            while (!r->stopping && !(e = next_far(r)))
                rest(r, &r->lanes[LANE_far]);
            residency_show(r);
        }
        if (!e)
            return NULL;
        work_far(r, e);
    }
}

int load_start(struct residents *r)
{
    static void *(*const mains[])(void *) = { [LANE_near] = near_main, [LANE_far] = far_main };
    uint64_t n = r->limits.max_loads < 1 ? 1 : r->limits.max_loads;
    if (n > MAX_LOADERS)
        n = MAX_LOADERS;
    for (unsigned i = 0; i < N_LANES; i++) {
        struct lane *l = &r->lanes[i];
        while (l->n_threads < n) {
            int k = thread_start(&l->threads[l->n_threads], THREAD_loader, mains[i], r);
            if (k < 0)
                return k;
            l->n_threads++;
        }
    }
    return 0;
}

void load_stop(struct residents *r)
{
    {
        LOCKED(&r->lock);
        r->stopping = true;
        (void)pthread_cond_broadcast(&r->paced);
        for (unsigned i = 0; i < N_LANES; i++)
            (void)pthread_cond_broadcast(&r->lanes[i].work);
    }
    for (unsigned i = 0; i < N_LANES; i++)
        for (unsigned t = 0; t < r->lanes[i].n_threads; t++)
            (void)pthread_join(r->lanes[i].threads[t], NULL);
}

static struct entry *any_queued(struct residents *r)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->unseen); i++)
        if (r->unseen[i].first)
            return r->unseen[i].first;
    for (unsigned i = 0; i < N_LANES && r->lanes[i].ahead; i++) {
        struct load_item *x = load_queue_any(r->lanes[i].wanted);
        if (!x)
            x = load_queue_any(r->lanes[i].ahead);
        if (x)
            return entry_of(x);
    }
    return NULL;
}

struct lease_wait *load_drop_queued(struct residents *r)
{
    struct lease_wait *left = NULL;
    for (;;) {
        struct entry *e;
        {
            LOCKED(&r->lock);
            if (!(e = any_queued(r)))
                break;
            leave_queue(r, e);
            struct lease_wait *claimed = claim_waits(r, e), **end = &claimed;
            while (*end)
                end = &(*end)->next_entry;
            *end = left;
            left = claimed;
            abandon(r, e);
        }
        discard(r, e);
    }
    LOCKED(&r->lock);
    while (r->failed.first)
        forget_failed(r, r->failed.first);
    return left;
}
