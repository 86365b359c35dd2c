/*
 * What choosing an endpoint costs: ns for each pick, begin and end included and without, by balance
 * and affinity, for 2, 8 and 64 endpoints. Run by hand; prints a table.
 */

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/upstream/pool.h"

enum { PICKS = 1000000, ROUNDS = 5 };

static const char *const balances[] = { "least_request", "p2c", "round_robin", "random" };

/* The best of some rounds, in ns. */
static double measure(struct pool *pool, bool keyed, bool whole)
{
    double best = 1e9;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t wait_ms = 0, start = clock_ns(), sum = 0;
        for (uint64_t k = 0; k < PICKS; k++) {
            struct pool_ask ask = { .now_ms = 5000 + k / 1000, .prefix = keyed ? k % 64 + 1 : 0 };
            int i = pool_pick(pool, &ask, &wait_ms);
            sum += (uint64_t)i;
            if (!whole)
                continue;
            struct pool_end end = { .now_ms = ask.now_ms, .first_us = 1000 + k % 512 };
            pool_begin(pool, (unsigned)i, ask.now_ms);
            pool_end(pool, (unsigned)i, &end);
        }
        double ns = (double)(clock_ns() - start) / PICKS;
        assert(sum > 0);
        best = ns < best ? ns : best;
    }
    return best;
}

int main(void)
{
    static const unsigned sizes[] = { 2, 8, 64 };
    static char names[POOL_MAX][8];
    struct config_endpoint endpoints[POOL_MAX];
    printf("%-10s %-14s %10s %10s %10s\n", "endpoints", "balance", "pick ns", "by key ns",
           "whole ns");
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (unsigned b = 0; b < ARRAY_LEN(balances); b++) {
            for (unsigned i = 0; i < sizes[s]; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "e%u", i);
                endpoints[i] = (struct config_endpoint){ .name = str_of(names[i]), .weight = 1 };
            }
            struct config_upstream config = { .endpoints = { endpoints, sizes[s] },
                                              .balance = b,
                                              .affinity_load = 1.25,
                                              .eject_errors = 5,
                                              .eject_ms = 30000,
                                              .eject_max = 0.5,
                                              .slow_start_ms = 10000 };
            CLEANUP(pool_freep) struct pool *pool = NULL;
            assert(pool_new(&pool, &config, 1) == 0);
            double pick = measure(pool, false, false), whole = measure(pool, false, true);
            config.affinity = AFFINITY_prefix;
            double keyed = measure(pool, true, false);
            printf("%-10u %-14s %10.0f %10.0f %10.0f\n", sizes[s], balances[b], pick, keyed, whole);
        }
    return 0;
}
