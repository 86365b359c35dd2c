/* A pool of endpoints that are only names, and time that the test turns. */
#pragma once

#include "tests/support/test.h"

#include "engine/upstream/pool.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

struct fleet {
    struct config_upstream config;
    struct config_endpoint endpoints[POOL_MAX];
    char names[POOL_MAX][16];
    struct pool *pool;
    uint64_t now_ms;
};

/* `n` endpoints "e0", "e1", … of weight 1 and priority 0, with the usual settings. Change them,
 * then fleet_start. */
static inline void fleet_init(struct fleet *f, unsigned n)
{
    *f = (struct fleet){ .now_ms = 1000000 };
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(f->names[i], sizeof(f->names[i]), "e%u", i);
        f->endpoints[i] = (struct config_endpoint){ .name = str_of(f->names[i]), .weight = 1 };
    }
    f->config = (struct config_upstream){ .endpoints = { f->endpoints, n },
                                          .balance = BALANCE_least_request,
                                          .affinity_load = 1.25,
                                          .retry_budget = 0.2,
                                          .retry_min = 3,
                                          .max_retry_after_s = 10,
                                          .eject_errors = 5,
                                          .eject_ms = 30000,
                                          .eject_max = 0.5,
                                          .slow_start_ms = 10000,
                                          .hedge_budget = 0.05 };
}

static inline void fleet_start(struct fleet *f)
{
    assert_int_equal(pool_new(&f->pool, &f->config, 42), 0);
}

static inline void fleet_stop(struct fleet *f)
{
    f->pool = pool_free(f->pool);
}

static inline int fleet_pick(struct fleet *f, struct pool_ask ask)
{
    uint64_t wait = 0;
    ask.now_ms = f->now_ms;
    return pool_pick(f->pool, &ask, &wait);
}

/* Picks and begins. */
static inline unsigned fleet_begin(struct fleet *f, struct pool_ask ask)
{
    int i = fleet_pick(f, ask);
    assert_in_range(i, 0, POOL_MAX - 1);
    pool_begin(f->pool, (unsigned)i, f->now_ms);
    return (unsigned)i;
}

static inline void fleet_end(struct fleet *f, unsigned i, enum pool_outcome outcome)
{
    struct pool_end end = { .now_ms = f->now_ms, .outcome = outcome };
    pool_end(f->pool, i, &end);
}

/* One request at endpoint i, whoever would have been asked. */
static inline void fleet_one(struct fleet *f, unsigned i, enum pool_outcome outcome)
{
    pool_begin(f->pool, i, f->now_ms);
    fleet_end(f, i, outcome);
}

static inline void fleet_faults(struct fleet *f, unsigned i, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        fleet_one(f, i, POOL_fault);
}

static inline struct pool_state fleet_look(struct fleet *f, unsigned i)
{
    struct pool_state s;
    pool_look(f->pool, i, f->now_ms, &s);
    return s;
}

/* A generator of the test's own (xorshift64*), so that no test shares the pool's. */
static inline uint64_t dice(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static inline double dice_unit(uint64_t *state)
{
    return ((double)(dice(state) >> 11) + 0.5) / 9007199254740992.0;
}
