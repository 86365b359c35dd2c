/*
 * Residency: which revisions are packed in memory, who leases them, and the loads that bring cold
 * ones in.
 *
 * Any thread. One lock, never held over a callback, a load or an unload. Loads of one revision are
 * shared; at most max_loads run, each on a loader thread of its own; the least recently used
 * revision without a lease makes room.
 */
#pragma once

#include "adapters/adapters.h"

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
    void *ctx;
};

int residency_new(struct residents **ret, uint64_t max_bytes, uint64_t max_loads,
                  const struct adapter_loader *loader, const struct stager *stager) MUST_USE;
/* Waits for running loads; fails the waits that are left. Asserts that no lease is held. */
struct residents *residency_free(struct residents *r);
DEFINE_CLEANUP(struct residents *, residency_free);

/*
 * Never blocks. 0: *ret is a lease. ADAPTERS_PENDING: `fn` will be called on a loader thread (or
 * the clock's), *ret_wait was set before. FAILED: it failed a moment ago. Negative errno.
 */
int residency_acquire(struct residents *r, const struct adapter_revision *rev, uint64_t deadline_ms,
                      lease_fn fn, void *owner, struct lease **ret, struct lease_wait **ret_wait,
                      struct fail *reterr) MUST_USE;

/*
 * For a name that must be asked for first: a wait that only the clock knows. *ret is set before
 * `fn` can be called. It has two references: the caller's (lease_wait_cancel or lease_wait_free)
 * and one that join, fail or abandon takes.
 */
int residency_wait(struct residents *r, uint64_t deadline_ms, lease_fn fn, void *owner,
                   struct lease_wait **ret) MUST_USE;
/* Queues the load of the revision, or joins it; `fn` may be called before this returns. */
void residency_join(struct residents *r, const struct adapter_revision *rev, struct lease_wait *w);
void residency_fail(struct residents *r, struct lease_wait *w, const struct fail *f);
/* true: the wait is gone and `fn` is never called. false: `fn` was called, the caller's reference
 * is left. */
bool residency_abandon(struct residents *r, struct lease_wait *w);

bool residency_has(struct residents *r, const char *base, const struct sha256 *digest);
/* A lease that keeps a configured adapter resident is not counted as a client's. */
void lease_set_pin(struct lease *l);

struct residency_state {
    size_t resident, leases;
    uint64_t bytes;
};
void residency_state(struct residents *r, struct residency_state *ret);
