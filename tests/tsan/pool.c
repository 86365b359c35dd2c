/*
 * The pool under ThreadSanitizer: threads pick, begin, end, check and look at the same endpoints;
 * at the end nothing is under way, and all that began was counted.
 */

#include <assert.h>

#include "base/thread.h"
#include "engine/upstream/pool.h"

enum { THREADS = 4, REQUESTS = 20000, ENDPOINTS = 6 };

struct worker {
    pthread_t thread;
    struct pool *pool;
    unsigned number;
    uint64_t begun;
};

static void one(struct worker *w, uint64_t k)
{
    const uint64_t now_ms = 1000 + k / 8;
    struct pool_ask ask = { .now_ms = now_ms, .prefix = k % 5, .adapter = k % 3 };
    uint64_t wait_ms = 0;
    pool_count(w->pool, now_ms);
    int i = pool_pick(w->pool, &ask, &wait_ms);
    if (i < 0)
        return;
    pool_begin(w->pool, (unsigned)i, now_ms);
    w->begun++;
    struct pool_end end = { .now_ms = now_ms,
                            .outcome = (enum pool_outcome)((k + w->number) % 4),
                            .first_us = 1000 + k % 77,
                            .retry_after_ms = 2 };
    assert(pool_running(w->pool) >= 1);
    pool_end(w->pool, (unsigned)i, &end);
    (void)pool_may_retry(w->pool, now_ms);
    (void)pool_may_hedge(w->pool, now_ms);
    (void)pool_hedge_after(w->pool);
    if (k % 16 == 0)
        pool_probe(w->pool, (unsigned)(k % ENDPOINTS), k % 48 != 0, now_ms);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (uint64_t k = 0; k < REQUESTS; k++)
        one(w, k);
    return NULL;
}

int main(void)
{
    struct config_endpoint endpoints[ENDPOINTS];
    static const char *const names[ENDPOINTS] = { "a", "b", "c", "d", "e", "f" };
    for (unsigned i = 0; i < ENDPOINTS; i++)
        endpoints[i] = (struct config_endpoint){ .name = str_of(names[i]), .weight = 1 + i };
    const struct config_upstream config = { .endpoints = { endpoints, ENDPOINTS },
                                            .balance = BALANCE_p2c,
                                            .affinity = AFFINITY_prefix,
                                            .affinity_load = 1.25,
                                            .retry_budget = 0.2,
                                            .retry_min = 3,
                                            .eject_errors = 3,
                                            .eject_ms = 20,
                                            .eject_max = 0.5,
                                            .slow_start_ms = 10,
                                            .breaker_pending = 3,
                                            .hedge_ms = 5,
                                            .hedge_percentile = 0.9,
                                            .hedge_budget = 0.05 };
    struct worker workers[THREADS];
    CLEANUP(pool_freep) struct pool *pool = NULL;
    uint64_t begun = 0, counted = 0;
    assert(pool_new(&pool, &config, 1) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .pool = pool, .number = i };
        assert(thread_start(&workers[i].thread, THREAD_worker, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert(pthread_join(workers[i].thread, NULL) == 0);
        begun += workers[i].begun;
    }
    for (unsigned i = 0; i < ENDPOINTS; i++) {
        struct pool_state s;
        pool_look(pool, i, 1, &s);
        assert(s.running == 0);
        counted += s.requests;
    }
    assert(pool_running(pool) == 0 && begun == counted && begun > 0);
    return 0;
}
