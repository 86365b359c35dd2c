/*
 * What the parts of the pool share: choosing, health, budgets. Everything here is under the pool's
 * lock.
 */
#pragma once

#include <stdatomic.h>

#include "base/thread.h"
#include "engine/upstream/pool.h"

enum {
    POOL_GRANT_MS = 1000,   /* a trial that was picked and never begun is given to another then */
    POOL_FULL_WAIT_MS = 25, /* all are full: one may have come back then */
    POOL_HIST_FINE = 8,     /* buckets an octave: within 9% */
    POOL_HIST_BUCKETS = 36 * POOL_HIST_FINE,
    POOL_HIST_RECENT = 1024, /* samples; then all counts are halved */
    POOL_HEDGE_KNOWN = 20,   /* samples before a percentile says something */
    POOL_RECENT_S = 10,
};

struct pool_endpoint {
    double weight;
    double share, one; /* the weight, or 1 where it is 0; and 1 / share */
    uint64_t id;       /* hash of its name: the same wherever it stands in the list */
    unsigned level;
    unsigned running;
    uint64_t requests, faults;
    /* Health. While it is ejected only trials go there, or whatever comes when nobody is left. */
    bool is_ejected;
    unsigned in_a_row;           /* faults, since something went well */
    unsigned heat;               /* how often it was ejected lately: each doubles the time */
    unsigned trials;             /* requests under way that began while it was ejected */
    uint64_t ejected_until_ms;   /* then it may be tried */
    uint64_t trial_until_ms;     /* no other trial before */
    uint64_t returned_ms;        /* since when its share grows; 0: it has its own */
    uint64_t cooled_ms;          /* heat is counted down from here */
    unsigned probe_faults;       /* active checks that failed, in a row */
    bool was_well, probe_failed; /* was_well: something went well, ever */
    uint64_t busy_until_ms;
    /* Balance. */
    double ewma_us; /* of first tokens, as of ewma_ms */
    uint64_t ewma_ms;
    double turn; /* of the smooth weighted round robin: their sum stays as it is */
};

/* Endpoints of one priority: bits. */
struct pool_level {
    uint64_t usual, resort; /* of some weight, of weight 0 */
    uint64_t priority;
    unsigned n, n_ejected;
};

/* Tokens that requests and time earn. What is saved is bounded: `most`, and what the requests of
 * the last POOL_RECENT_S seconds earned. */
struct pool_bucket {
    uint64_t tokens, most; /* millionths */
    uint64_t each;         /* millionths that a request earns */
};

/* Requests of the last seconds. */
struct pool_recent {
    uint32_t count[POOL_RECENT_S];
    uint64_t second, total;
};

struct pool_histogram {
    uint32_t count[POOL_HIST_BUCKETS];
    uint64_t samples; /* since the pool began */
    uint64_t total;   /* in count */
};

struct pool {
    pthread_mutex_t lock;
    const struct config_upstream *config;
    unsigned n, n_levels;
    struct pool_endpoint endpoints[POOL_MAX];
    struct pool_level levels[POOL_MAX];
    /* Who needs a second look before it is asked; everybody else is well, and has its whole share.
     */
    uint64_t watched, growing;
    bool all_alike; /* weights are the same */
    uint64_t random;
    struct pool_bucket retries, hedges;
    struct pool_recent recent;
    uint64_t filled_ms; /* retries have their share of time up to here */
    struct pool_histogram first;
    _Atomic size_t running;
};

/* Who is asked among those of `among` (bits), which is not empty: the part that balances. */
unsigned pool_choose(struct pool *p, const struct pool_ask *ask, uint64_t among);
/* The part of its share that its slow start allows now. */
double pool_grown(struct pool *p, unsigned i, uint64_t now_ms);

enum pool_fitness {
    POOL_fit,
    POOL_trial, /* left out, and due: one request may try it */
    POOL_out,   /* left out: ejected, or its checks fail */
    POOL_later, /* busy or full */
};
/* *ret_wait_ms where it is later. */
enum pool_fitness pool_fitness(struct pool *p, unsigned i, uint64_t now_ms, uint64_t *ret_wait_ms);
/* How an endpoint of another pool is: as that one left it. */
void pool_take_over(struct pool *p, unsigned i, const struct pool_endpoint *was, uint64_t now_ms);
void pool_ended(struct pool *p, unsigned i, const struct pool_end *end);
void pool_sample(struct pool *p, struct pool_endpoint *e, const struct pool_end *end);
double pool_cost_us(const struct pool_endpoint *e, uint64_t now_ms); /* its EWMA, aged */

void pool_budgets_start(struct pool *p);
void pool_histogram_add(struct pool_histogram *h, uint64_t us);

static inline uint64_t pool_mix(uint64_t x) /* the finalizer of SplitMix64 (Steele, 2014) */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t pool_random(struct pool *p)
{
    p->random += 0x9e3779b97f4a7c15u;
    return pool_mix(p->random);
}

static inline double pool_unit(uint64_t bits) /* in (0, 1) */
{
    return ((double)(bits >> 11) + 0.5) * 0x1p-53;
}
