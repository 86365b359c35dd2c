/*
 * Residency: which revisions are packed in memory, who leases them, and the loads that bring cold
 * ones in.
 *
 * Any thread. One lock, never held over a callback, a load or an unload. Loads of one revision are
 * shared. A load is looked up first, then, where its files must be fetched or packed, done by the
 * far loaders, and mapped by the near ones, so that what is on this disk never waits for what is
 * not; each kind has max_loads threads of low priority. Queues are fair between tenants
 * (load_queue.h); the idle revision that is worth least makes room (warmth.h), but of another
 * tenant none that it would be left with less than half its even share without.
 */
#pragma once

#include "adapters/adapters.h"
#include "adapters/blob_cache.h"

struct residents;

/* Where the files of a revision are; filled by stage(), undone by unstage() after the load. */
struct stage {
    char *folder;        /* owned by the stage */
    enum residency from; /* disk, or cold when they had to be fetched */
    void *held;          /* of the stager */
};

struct stager {
    int (*stage)(void *ctx, const struct adapter_revision *r, struct stage *ret,
                 struct fail *reterr);
    void (*unstage)(void *ctx, struct stage *s);
    /* Whether stage() has to fetch: disk or cold. Quick; NULL: it never has to. */
    enum residency (*where)(void *ctx, const struct adapter_revision *r);
    /* Where packed files are kept; NULL, or gives NULL: nowhere. May do I/O. */
    struct blob_cache *(*cache)(void *ctx);
    bool is_paced; /* stage() asks residency_pace for what it fetches */
    void *ctx;
};

struct residency_limits {
    uint64_t max_bytes; /* of resident revisions */
    uint64_t max_loads; /* threads of a kind */
    uint64_t max_rate;  /* bytes that may begin to load in a second; 0: any */
};

int residency_new(struct residents **ret, const struct residency_limits *limits,
                  const struct adapter_loader *loader, const struct stager *stager) MUST_USE;
/* Waits for running loads; fails the waits that are left. Asserts that no lease is held. */
struct residents *residency_free(struct residents *r);
DEFINE_CLEANUP(struct residents *, residency_free);

/* Sleeps until so many bytes may go on, by max_rate. -ECANCELED: we are stopping. Loader threads.
 */
int residency_pace(struct residents *r, size_t bytes) MUST_USE;
bool residency_is_stopping(struct residents *r);

struct residency_ask {
    const struct adapter_revision *rev;
    struct str tenant; /* for whom it is loaded; empty: of nobody */
    uint64_t deadline_ms;
    bool
        no_wait; /* FAILED (adapter_loading, with retry_after_s) in place of a wait; it is loaded */
    lease_fn fn;
    void *owner;
};

/*
 * Never blocks. 0: *ret is a lease. ADAPTERS_PENDING: `fn` will be called on a loader thread (or
 * the clock's), *ret_wait was set before. FAILED: it failed a moment ago. Negative errno.
 */
int residency_acquire(struct residents *r, const struct residency_ask *ask, struct lease **ret,
                      struct lease_wait **ret_wait, struct fail *reterr) MUST_USE;

/*
 * For a name that must be asked for first: a wait that only the clock knows. *ret is set before
 * `fn` can be called. It has two references: the caller's (lease_wait_cancel or lease_wait_free)
 * and one that join, fail or abandon takes. `rev` and `tenant` of the ask are not read.
 */
int residency_wait(struct residents *r, const struct residency_ask *ask,
                   struct lease_wait **ret) MUST_USE;
/* Queues the load of the revision, or joins it; `fn` may be called before this returns. */
void residency_join(struct residents *r, const struct adapter_revision *rev, struct str tenant,
                    struct lease_wait *w);
void residency_fail(struct residents *r, struct lease_wait *w, const struct fail *f);
/* true: the wait is gone and `fn` is never called. false: `fn` was called, the caller's reference
 * is left. */
bool residency_abandon(struct residents *r, struct lease_wait *w);

bool residency_has(struct residents *r, const char *base, const struct sha256 *digest);
/* A lease that keeps a configured adapter resident is not counted as a client's. */
void lease_set_pin(struct lease *l);

/* ---- ahead of requests ---- */

enum ahead {
    AHEAD_hint,     /* somebody says that it will be wanted: counts as a use */
    AHEAD_moved,    /* a name that is in use means this revision now */
    AHEAD_restored, /* it was warm before the restart */
    AHEAD_published /* it is new: packed, not loaded, unless there is much to do */
};

/*
 * Loads a revision that nobody waits for, behind those that somebody does. Into free room, or that
 * of idle ones worth less; restored ones into free room only. What finds no room is on this disk
 * then. Never blocks; too many at once are dropped. `warmth`: of a restored one, from
 * residency_list.
 */
void residency_ahead(struct residents *r, const struct adapter_revision *rev, struct str tenant,
                     enum ahead why, double warmth);
/* The tenant of an adapter's own name, "tenant/name"; else empty. Borrowed. */
struct str tenant_of_adapter(struct str adapter);

struct warm_revision {
    struct adapter_revision rev;
    double warmth; /* half-lives behind a use now: for residency_ahead */
};
/* The next resident revisions, `max` at most; 0 after the last. *cursor is 0 at first. What comes
 * or goes meanwhile may be left out or told twice. */
size_t residency_list(struct residents *r, size_t *cursor, struct warm_revision *ret, size_t max);
/* The digests of revisions that are leased now, `max` at most; returns how many. */
size_t residency_in_use(struct residents *r, struct sha256 *ret, size_t max);

struct residency_state {
    size_t resident, leases, active;
    size_t queued, loading; /* loads: on a queue, on a thread */
    uint64_t bytes, active_bytes;
};
void residency_state(struct residents *r, struct residency_state *ret);
