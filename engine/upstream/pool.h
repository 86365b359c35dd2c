/*
 * Pool: the endpoints of one model, who of them is asked next, and how they are.
 *
 * Choosing: among those of the lowest priority that can be asked; there by adapter residency
 * (ledger.h tells), by affinity, else by the balance. Who has a home there is asked while it has
 * less than four requests under way, or no more than affinity_load times its share.
 *
 * Health: an endpoint that failed `eject_errors` times in a row is left out for a while (never more
 * than `eject_max` of a priority's, but one where there is another), comes back with one trial
 * request, then with a growing share. When nobody who is well is left, at no priority, those left
 * out are asked: that is better than to fail. Busy and full ones are not.
 *
 * Time is given by the caller (clock_ms), so that tests need none; threads may be a little late.
 * Any thread; one short lock.
 *
 * Sources: Mitzenmacher, "The power of two choices" (2001); Peak EWMA (Finagle); rendezvous hashing
 * (Thaler and Ravishankar, 1998); bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016); Envoy's
 * outlier detection, slow start and retry budgets.
 */
#pragma once

#include "config/config.h"

struct pool;

/* `config` is borrowed for the pool's life. 0 or -ENOMEM. */
int pool_new(struct pool **ret, const struct config_upstream *config, uint64_t seed) MUST_USE;
struct pool *pool_free(struct pool *p);
/*
 * What is known of endpoints (by url; of several with one, by name too), of latencies and of
 * budgets is taken over from the pool that this one replaces. Requests under way stay there. Before
 * anybody else has `p`.
 */
void pool_adopt(struct pool *p, struct pool *from, uint64_t now_ms);
DEFINE_CLEANUP(struct pool *, pool_free);

enum { POOL_MAX = 64 }; /* endpoints */

struct pool_ask {
    uint64_t now_ms;
    uint64_t prefix;   /* hash of how the prompt begins; 0: unknown */
    uint64_t session;  /* 0: unknown */
    uint64_t adapter;  /* hash of the revision; 0: the base. Gives its home endpoint */
    uint64_t resident; /* bit i: endpoint i has it loaded now */
    uint64_t excluded; /* bit i: tried already, or cannot serve this request */
};

/* The endpoint to ask: its index. -EAGAIN: all can only be asked later, *ret_wait_ms says when;
 * -ENOENT: all are excluded. */
int pool_pick(struct pool *p, const struct pool_ask *ask, uint64_t *ret_wait_ms) MUST_USE;

enum pool_outcome {
    POOL_ok,
    POOL_fault,   /* unreachable, broken, 5xx, a time-out: counts towards ejection */
    POOL_busy,    /* 429, 503 with Retry-After: left alone that long, no fault */
    POOL_neutral, /* the client left, or the request was at fault */
};
struct pool_end {
    uint64_t now_ms;
    enum pool_outcome outcome;
    uint64_t first_us;       /* to the first token; 0: none came, or pool_first told it */
    uint64_t retry_after_ms; /* of busy */
};
void pool_begin(struct pool *p, unsigned i, uint64_t now_ms);          /* a request goes to it */
void pool_end(struct pool *p, unsigned i, const struct pool_end *end); /* it came back */
/* Its first token came after `us`, while the answer goes on. */
void pool_first(struct pool *p, unsigned i, uint64_t us, uint64_t now_ms);
/* It was given up after `us` without a token: it costs that at least. */
void pool_waited(struct pool *p, unsigned i, uint64_t us, uint64_t now_ms);

/* Active checks, and whoever else knows. */
void pool_probe(struct pool *p, unsigned i, bool healthy, uint64_t now_ms);

/* Budgets, as token buckets over recent requests: true takes one. */
void pool_count(struct pool *p, uint64_t now_ms); /* a request of a client came */
bool pool_may_retry(struct pool *p, uint64_t now_ms);
bool pool_may_hedge(struct pool *p, uint64_t now_ms);
/* When to hedge, in ms after the start; UINT64_MAX: never (too little is known, or switched off).
 */
uint64_t pool_hedge_after(struct pool *p);

struct pool_state { /* for metrics and the admin API */
    unsigned running;
    bool ejected, probe_failed;
    double first_ewma_us;
    uint64_t requests, faults;
};
void pool_look(struct pool *p, unsigned i, uint64_t now_ms, struct pool_state *ret);
size_t pool_running(const struct pool *p); /* requests under way, over all endpoints */

/* Hash of how a prompt begins: the same for prompts whose first `bytes` of role and text agree. */
uint64_t pool_prefix_hash(const char *p, size_t n);
