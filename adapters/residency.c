#include "adapters/residency.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "adapters/residency_impl.h"
#include "base/clock.h"
#include "base/metrics.h"

/* ---- lists and tables (under the lock) ---- */

void entries_add(struct list *l, struct entry *e)
{
    e->prev = l->last;
    e->next = NULL;
    *(l->last ? &l->last->next : &l->first) = e;
    l->last = e;
}

void entries_del(struct list *l, struct entry *e)
{
    *(e->prev ? &e->prev->next : &l->first) = e->next;
    *(e->next ? &e->next->prev : &l->last) = e->prev;
    e->prev = e->next = NULL;
}

static struct entry **bucket_of(struct residents *r, const struct sha256 *d)
{
    return &r->buckets[(d->b[0] << 5 | d->b[1] >> 3) & (N_BUCKETS - 1)];
}

static struct entry **names_of(struct residents *r, const char *base, const char *adapter)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const char *p = base; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    for (const char *p = adapter; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return &r->names[(h ^ h >> 16) & (N_BUCKETS - 1)];
}

struct entry *entry_find(struct residents *r, const char *base, const struct sha256 *d)
{
    struct entry *e = *bucket_of(r, d);
    while (e && (!sha256_eq(&e->rev.digest, d) || strcmp(e->rev.base, base) != 0))
        e = e->next_hash;
    return e;
}

void entry_unlink(struct residents *r, struct entry *e)
{
    struct entry **at = bucket_of(r, &e->rev.digest);
    while (*at != e)
        at = &(*at)->next_hash;
    *at = e->next_hash;
    for (at = names_of(r, e->rev.base, e->rev.adapter); *at != e;)
        at = &(*at)->next_name;
    *at = e->next_name;
    tenant_unref(r, e->tenant);
    e->tenant = NULL;
}

/* The first bytes of a digest are as good as random. */
static uint64_t id_of(const struct sha256 *d)
{
    uint64_t id;
    memcpy(&id, d->b, sizeof(id));
    return id;
}

static struct entry *entry_new(struct residents *r, const struct adapter_revision *rev,
                               struct str tenant)
{
    struct entry *e = calloc(1, sizeof(*e)), **at = bucket_of(r, &rev->digest);
    if (!e)
        return NULL;
    if (tenant_ref(r, tenant, &e->tenant) < 0) {
        free(e);
        return NULL;
    }
    e->rev = *rev;
    e->need = rev->bytes < r->limits.max_bytes ? rev->bytes : r->limits.max_bytes;
    warm_init(r->warmth, &e->warm, id_of(&rev->digest), e->need);
    e->next_hash = *at;
    *at = e;
    at = names_of(r, rev->base, rev->adapter);
    e->next_name = *at;
    *at = e;
    return e;
}

void residency_show(const struct residents *r)
{
    const struct lane *near = &r->lanes[LANE_near], *far = &r->lanes[LANE_far];
    size_t active = r->n_resident - warmth_idle(r->warmth);
    metrics_set(METRIC_adapters_resident, (int64_t)r->n_resident);
    metrics_set(METRIC_adapter_resident_bytes, (int64_t)r->bytes);
    metrics_set(METRIC_adapters_active, (int64_t)active);
    metrics_set(METRIC_adapter_active_bytes, (int64_t)(r->bytes - r->idle_bytes));
    metrics_set(METRIC_adapter_leases, (int64_t)r->n_leases);
    metrics_set(METRIC_adapter_fetches_waiting,
                (int64_t)(load_queue_len(far->wanted) + load_queue_len(far->ahead)));
    metrics_set(METRIC_adapter_loads_waiting, (int64_t)(r->n_unseen + load_queue_len(near->wanted) +
                                                        load_queue_len(near->ahead)));
}

/* ---- leases ---- */

void entry_grant(struct residents *r, struct entry *e, struct lease *l, enum residency from,
                 const struct adapter_revision *rev)
{
    *l = (struct lease){ .owner = r, .entry = e, .from = from, .rev = *rev };
    if (e->leases++ == 0) {
        warmth_del(r->warmth, &e->warm);
        r->idle_bytes -= e->need;
    }
    warm_use(r->warmth, &e->warm);
    r->n_leases++;
    metrics_add_label(METRIC_adapter_hits_total, from, 1);
    residency_show(r);
}

/* A lease when the revision is resident now; else *ret stays NULL. */
static int lease_now(struct residents *r, const struct adapter_revision *rev, struct lease **ret)
{
    CLEANUP(own_free) struct lease *l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    LOCKED(&r->lock);
    struct entry *e = entry_find(r, rev->base, &rev->digest);
    if (!e || e->state != ENTRY_resident)
        return 0;
    e->tenant->used_ms = clock_ms();
    entry_grant(r, e, l, RESIDENCY_hit, rev);
    *ret = TAKE(l);
    return 0;
}

void lease_set_pin(struct lease *l)
{
    LOCKED(&l->owner->lock);
    l->pin = true;
    l->owner->n_leases--;
    residency_show(l->owner);
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
            warmth_add(r->warmth, &e->warm);
            r->idle_bytes += e->need;
            if (load_queue_len(r->lanes[LANE_near].wanted))
                (void)pthread_cond_broadcast(&r->lanes[LANE_near].work);
        }
        residency_show(r);
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

/* ---- joining ---- */

struct joining { /* of one wait to one load */
    const struct adapter_revision *rev;
    struct str tenant;
    struct lease_wait *wait;
    struct fail *fail;
    bool failed; /* the wait was claimed, for the failure */
};

/* What a request that does not wait is told; its load goes on without it. */
static void refuse_wait(struct residents *r, struct entry *e, struct fail *f)
{
    (void)fail_set(f, FAIL_adapter_loading, "adapter '%.100s' is not in memory yet; it is loading",
                   e->rev.adapter);
    f->retry_after_s = load_retry_s(r, e);
    metrics_add(METRIC_adapter_refused_waits_total, 1);
    if (!load_keep(r, e) && !e->waits)
        load_unwant(r, e);
}

static struct entry *entry_for(struct residents *r, struct joining *j)
{
    struct entry *e = entry_find(r, j->rev->base, &j->rev->digest);
    if (e && e->state == ENTRY_failed && !load_has_failed(r, e))
        e = NULL;
    if (e || r->stopping)
        return e;
    if ((e = entry_new(r, j->rev, j->tenant))) {
        e->wanted = true;
        load_begin(r, e);
    }
    return e;
}

/* Attaches the wait to a load. Returns the wait, claimed, when it can be answered at once. */
static struct lease_wait *join_locked(struct residents *r, struct joining *j)
{
    struct lease_wait *w = j->wait;
    struct entry *e = entry_for(r, j);
    bool is_failed = e && e->state == ENTRY_failed, here = e && e->state == ENTRY_resident;
    bool is_loading = e && !is_failed && !here;
    if (is_loading) {
        load_want(r, e);
        if (!w->no_wait) {
            w->rev = *j->rev;
            entry_add_wait(e, w);
            return NULL;
        }
        refuse_wait(r, e, j->fail);
    }
    if (atomic_exchange(&w->claimed, true))
        return NULL;
    clock_del(r, w);
    j->failed = !here;
    if (here)
        entry_grant(r, e, w->lease, RESIDENCY_hit, j->rev);
    else if (is_failed)
        *j->fail = e->fail;
    else if (!is_loading)
        (void)fail_errno(j->fail, -ENOMEM, "loading an adapter");
    return w;
}

void residency_join(struct residents *r, const struct adapter_revision *rev, struct str tenant,
                    struct lease_wait *w)
{
    struct fail f;
    struct joining j = { rev, tenant, w, &f, false };
    struct lease_wait *claimed;
    bool gone;
    {
        LOCKED(&r->lock);
        gone = atomic_load(&w->claimed);
        claimed = gone ? NULL : join_locked(r, &j);
        gone = gone || (!claimed && !w->entry);
    }
    if (claimed) {
        claimed->next_entry = NULL;
        answer_waits(claimed, j.failed ? &f : NULL);
    } else if (gone) {
        wait_unref(w);
    }
}

int residency_acquire(struct residents *r, const struct residency_ask *ask, struct lease **ret,
                      struct lease_wait **ret_wait, struct fail *reterr)
{
    struct lease *now = NULL;
    int k = lease_now(r, ask->rev, &now);
    if (k < 0 || now) {
        *ret = now;
        return k;
    }
    struct lease_wait *w = wait_new(r, ask), *claimed;
    struct fail f;
    struct joining j = { ask->rev, ask->tenant, w, &f, false };
    if (!w)
        return -ENOMEM;
    {
        LOCKED(&r->lock);
        claimed = join_locked(r, &j);
        if (!claimed) {
            clock_add(r, w);
            *ret_wait = w;
        }
    }
    if (!claimed)
        return ADAPTERS_PENDING;
    if (!j.failed)
        *ret = TAKE(w->lease);
    else if (reterr)
        *reterr = f;
    wait_unref(w);
    wait_unref(w);
    return j.failed ? FAILED : 0;
}

/* ---- ahead of requests ---- */

/* As warm as the warmest revision of its name: its requests will come here. */
static void inherit(struct residents *r, struct entry *e)
{
    struct entry *x = *names_of(r, e->rev.base, e->rev.adapter);
    for (; x; x = x->next_name)
        if (x->warm.warmth > e->warm.warmth && strcmp(x->rev.adapter, e->rev.adapter) == 0 &&
            strcmp(x->rev.base, e->rev.base) == 0)
            e->warm.warmth = x->warm.warmth;
}

void residency_ahead(struct residents *r, const struct adapter_revision *rev, struct str tenant,
                     enum ahead why, double warmth)
{
    LOCKED(&r->lock);
    struct entry *e = entry_find(r, rev->base, &rev->digest);
    if (e && why != AHEAD_published)
        e->only_pack = false;
    if (r->stopping || (e && e->state != ENTRY_failed))
        return;
    if ((e && load_has_failed(r, e)) || r->n_kept >= MAX_KEPT || !(e = entry_new(r, rev, tenant)))
        return;
    if (why == AHEAD_hint)
        warm_use(r->warmth, &e->warm);
    else if (why == AHEAD_moved)
        inherit(r, e);
    else if (why == AHEAD_restored)
        warmth_restore(r->warmth, &e->warm, warmth);
    e->only_pack = why == AHEAD_published;
    e->free_only = why == AHEAD_restored;
    (void)load_keep(r, e);
    load_begin(r, e);
    metrics_add_label(METRIC_adapter_prefetches_total, why, 1);
}

struct str tenant_of_adapter(struct str adapter)
{
    struct str tenant, rest;
    return str_cut(adapter, '/', &tenant, &rest) ? tenant : STR("");
}

/* ---- lists ---- */

/* The cursor is a bucket, and how many of it were told, which is little. */
size_t residency_list(struct residents *r, size_t *cursor, struct warm_revision *ret, size_t max)
{
    enum { CHAIN = 1024, STRIDE = 256 }; /* buckets looked through in one hold of the lock */
    size_t n = 0;
    while (n == 0 && max && *cursor / CHAIN < N_BUCKETS) {
        size_t until = *cursor / CHAIN + STRIDE;
        LOCKED(&r->lock);
        for (; n < max && *cursor / CHAIN < N_BUCKETS && *cursor / CHAIN < until;
             *cursor += CHAIN - *cursor % CHAIN) {
            struct entry *e = r->buckets[*cursor / CHAIN];
            for (size_t skip = *cursor % CHAIN; e && skip; skip--)
                e = e->next_hash;
            for (; e && n < max; e = e->next_hash, ++*cursor)
                if (e->state == ENTRY_resident)
                    ret[n++] =
                        (struct warm_revision){ e->rev, warmth_relative(r->warmth, &e->warm) };
            if (e)
                break; /* the rest of this bucket next time */
        }
    }
    return n;
}

size_t residency_in_use(struct residents *r, struct sha256 *ret, size_t max)
{
    size_t n = 0;
    LOCKED(&r->lock);
    for (size_t i = 0; i < N_BUCKETS && n < max; i++)
        for (struct entry *e = r->buckets[i]; e && n < max; e = e->next_hash)
            if (e->state == ENTRY_resident && e->leases)
                ret[n++] = e->rev.digest;
    return n;
}

/* ---- life ---- */

static int lanes_new(struct residents *r)
{
    int k = 0;
    for (unsigned i = 0; i < N_LANES && k == 0; i++) {
        struct lane *l = &r->lanes[i];
        k = load_queue_new(&l->wanted);
        if (k == 0)
            k = load_queue_new(&l->ahead);
        if (k == 0)
            k = thread_cond_init(&l->work);
    }
    return k;
}

int residency_new(struct residents **ret, const struct residency_limits *limits,
                  const struct adapter_loader *loader, const struct stager *stager)
{
    struct residents *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->loader = *loader;
    r->stager = *stager;
    r->limits = *limits;
    (void)pthread_mutex_init(&r->lock, NULL);
    int k = thread_cond_init(&r->ticks);
    if (k == 0)
        k = thread_cond_init(&r->paced);
    if (k == 0)
        k = lanes_new(r);
    if (k == 0)
        k = warmth_new(&r->warmth);
    if (k == 0)
        k = packed_new(&r->packed, loader, stager);
    if (k == 0)
        k = load_start(r);
    if (k == 0 && (k = thread_start(&r->clock, THREAD_catalog, clock_main, r)) == 0)
        r->clock_runs = true;
    if (k < 0) {
        (void)residency_free(r);
        return k;
    }
    LOCKED(&r->lock);
    residency_show(r);
    *ret = r;
    return 0;
}

static void stop(struct residents *r)
{
    struct fail f;
    load_stop(r);
    {
        LOCKED(&r->lock);
        (void)pthread_cond_broadcast(&r->ticks);
    }
    if (r->clock_runs)
        (void)pthread_join(r->clock, NULL);
    (void)fail_set(&f, FAIL_overloaded, "the server is stopping");
    answer_waits(load_drop_queued(r), &f);
    assert(!r->first_wait); /* the catalog's thread has given its own back before */
}

struct residents *residency_free(struct residents *r)
{
    struct entry *victims = NULL;
    if (!r)
        return NULL;
    stop(r);
    assert(r->idle_bytes == r->bytes); /* no lease is held */
    while (r->warmth && warmth_idle(r->warmth)) {
        struct entry *e = entry_of_warm(warmth_at(r->warmth, 0));
        room_leave(r, e);
        e->next = victims;
        victims = e;
    }
    room_unload(r, victims);
    for (unsigned i = 0; i < N_LANES; i++) {
        (void)load_queue_free(r->lanes[i].wanted);
        (void)load_queue_free(r->lanes[i].ahead);
        (void)pthread_cond_destroy(&r->lanes[i].work);
    }
    (void)warmth_free(r->warmth);
    (void)packed_free(r->packed);
    (void)pthread_cond_destroy(&r->paced);
    (void)pthread_cond_destroy(&r->ticks);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

/* ---- state ---- */

bool residency_has(struct residents *r, const char *base, const struct sha256 *digest)
{
    LOCKED(&r->lock);
    struct entry *e = entry_find(r, base, digest);
    return e && e->state == ENTRY_resident;
}

void residency_state(struct residents *r, struct residency_state *ret)
{
    LOCKED(&r->lock);
    size_t queued = r->n_unseen;
    for (unsigned i = 0; i < N_LANES; i++)
        queued += load_queue_len(r->lanes[i].wanted) + load_queue_len(r->lanes[i].ahead);
    *ret = (struct residency_state){ .resident = r->n_resident,
                                     .leases = r->n_leases,
                                     .active = r->n_resident - warmth_idle(r->warmth),
                                     .queued = queued,
                                     .loading = r->n_working,
                                     .bytes = r->bytes,
                                     .active_bytes = r->bytes - r->idle_bytes };
}
