/* How endpoints are left out and come back, what is bounded, and that nothing breaks what holds. */
#include "tests/unit/engine/upstream/pool_fixture.h"

#include <stdlib.h>

static const struct pool_ask anything = { .prefix = 0 };

/* Picks that go to endpoint i, of n; each is over at once and tells nothing. */
static unsigned picks_of(struct fleet *f, unsigned i, unsigned n)
{
    unsigned found = 0;
    for (unsigned k = 0; k < n; k++) {
        unsigned at = fleet_begin(f, anything);
        fleet_end(f, at, POOL_neutral);
        found += at == i;
    }
    return found;
}

/* ---- ejection ---- */

static void faults_in_a_row_leave_an_endpoint_out(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 3);
    fleet_start(&f);
    fleet_faults(&f, 1, 4);
    fleet_one(&f, 1, POOL_ok); /* not in a row */
    fleet_faults(&f, 1, 4);
    for (unsigned k = 0; k < 10; k++)
        fleet_one(&f, 1, POOL_neutral); /* clients that leave say nothing of it */
    assert_false(fleet_look(&f, 1).ejected);
    fleet_faults(&f, 1, 1);
    assert_true(fleet_look(&f, 1).ejected);
    assert_int_equal(picks_of(&f, 1, 100), 0);
    assert_true(fleet_look(&f, 1).faults == 9 && fleet_look(&f, 1).requests == 20);
    fleet_stop(&f);
}

/* 1, 2, 4, 8, then 10 times as long; a trial each time. */
static void it_is_left_out_twice_as_long_each_time(void **state)
{
    static const uint64_t times_ms[] = { 30000, 60000, 120000, 240000, 300000, 300000 };
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    fleet_start(&f);
    fleet_faults(&f, 0, 5);
    for (size_t t = 0; t < ARRAY_LEN(times_ms); t++) {
        f.now_ms += times_ms[t] - 1;
        assert_int_equal(picks_of(&f, 0, 20), 0);
        f.now_ms += 1;
        assert_int_equal(fleet_begin(&f, anything), 0);
        fleet_end(&f, 0, POOL_fault);
        assert_int_equal(picks_of(&f, 0, 20), 0);
    }
    f.now_ms += 300000;
    assert_int_equal(fleet_begin(&f, anything), 0);
    fleet_end(&f, 0, POOL_ok);
    assert_false(fleet_look(&f, 0).ejected);
    /* It is remembered, and forgotten one step each eject_ms. */
    f.now_ms += 30000;
    fleet_faults(&f, 0, 5);
    f.now_ms += 239999;
    assert_int_equal(picks_of(&f, 0, 20), 0);
    f.now_ms += 1;
    assert_int_equal(fleet_begin(&f, anything), 0);
    fleet_end(&f, 0, POOL_ok);
    f.now_ms += 3600000;
    fleet_faults(&f, 0, 5);
    f.now_ms += 30000;
    assert_int_equal(fleet_pick(&f, anything), 0); /* all is forgotten */
    fleet_stop(&f);
}

static void one_trial_is_under_way_at_a_time(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 3);
    fleet_start(&f);
    fleet_faults(&f, 2, 5);
    f.now_ms += 30000;
    assert_int_equal(fleet_pick(&f, anything), 2); /* given, and perhaps never begun */
    assert_int_equal(picks_of(&f, 2, 50), 0);
    f.now_ms += 1000; /* … then another has it */
    assert_int_equal(fleet_begin(&f, anything), 2);
    assert_int_equal(picks_of(&f, 2, 50), 0);
    fleet_end(&f, 2, POOL_neutral); /* its client left: the next may try */
    assert_int_equal(fleet_begin(&f, anything), 2);
    f.now_ms += 29999;
    assert_int_equal(picks_of(&f, 2, 50), 0);
    f.now_ms += 1; /* it says nothing: another trial */
    assert_int_equal(fleet_begin(&f, anything), 2);
    fleet_end(&f, 2, POOL_busy); /* a refusal is a sign of life */
    assert_false(fleet_look(&f, 2).ejected);
    fleet_stop(&f);
}

/* An adapter is not loaded at an endpoint only to try it, while others are well. */
static void a_trial_loads_no_adapter(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    fleet_start(&f);
    fleet_faults(&f, 0, 5);
    f.now_ms += 30000;
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .adapter = 9, .resident = 2 }), 1);
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .adapter = 9, .resident = 1 }), 0);
    f.now_ms += 1000;
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .adapter = 9, .excluded = 2 }), 0);
    fleet_stop(&f);
}

static void no_more_are_left_out_than_may_be(void **state)
{
    static const struct {
        unsigned endpoints, most;
        double fraction;
    } rows[] = { { 10, 3, 0.3 }, { 10, 5, 0.5 }, { 10, 1, 0.05 }, { 10, 0, 0 }, { 10, 10, 1 },
                 { 2, 1, 0.5 },  { 2, 1, 0.1 },  { 1, 0, 0.5 },   { 1, 1, 1 },  { 3, 1, 0.5 } };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct fleet f;
        unsigned out = 0;
        fleet_init(&f, rows[r].endpoints);
        f.config.eject_max = rows[r].fraction;
        fleet_start(&f);
        for (unsigned i = 0; i < rows[r].endpoints; i++)
            fleet_faults(&f, i, 20);
        for (unsigned i = 0; i < rows[r].endpoints; i++)
            out += fleet_look(&f, i).ejected;
        assert_int_equal(out, rows[r].most);
        fleet_stop(&f);
    }
    struct fleet f; /* a level of one may lose it where there is another level */
    fleet_init(&f, 2);
    f.endpoints[1].priority = 1;
    fleet_start(&f);
    fleet_faults(&f, 0, 5);
    assert_int_equal(fleet_pick(&f, anything), 1);
    fleet_stop(&f);
    fleet_init(&f, 3);
    f.config.eject_errors = 0; /* never */
    fleet_start(&f);
    fleet_faults(&f, 0, 100);
    assert_false(fleet_look(&f, 0).ejected);
    fleet_stop(&f);
}

static void its_share_grows_after_it_came_back(void **state)
{
    static const struct {
        uint64_t after_ms;
        double share;
    } rows[] = { { 0, 0.1 }, { 1000, 0.1 }, { 2500, 0.25 }, { 5000, 0.5 }, { 10000, 1 } };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct fleet f;
        fleet_init(&f, 2);
        fleet_start(&f);
        fleet_faults(&f, 0, 5);
        f.now_ms += 30000;
        assert_int_equal(fleet_begin(&f, anything), 0);
        fleet_end(&f, 0, POOL_ok);
        f.now_ms += rows[r].after_ms;
        double part = rows[r].share / (1 + rows[r].share);
        assert_true(fabs(picks_of(&f, 0, 10000) - 10000 * part) < 3);
        fleet_stop(&f);
    }
}

static void when_nobody_is_well_those_left_out_are_asked(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 4);
    f.config.eject_max = 1;
    fleet_start(&f);
    for (unsigned i = 0; i < 3; i++)
        fleet_faults(&f, i, 5);
    pool_probe(f.pool, 3, false, f.now_ms);
    unsigned asked = 0;
    for (unsigned k = 0; k < 8; k++)
        asked |= 1u << fleet_begin(&f, anything);
    assert_int_equal(asked, 0xf);
    for (unsigned k = 0; k < 8; k++)
        fleet_end(&f, k % 4, k % 4 == 1 ? POOL_ok : POOL_fault);
    assert_false(fleet_look(&f, 1).ejected); /* that one answered */
    assert_true(fleet_look(&f, 0).ejected);
    assert_int_equal(picks_of(&f, 1, 50), 50);
    f.now_ms += 30000; /* the time of the others was not made longer */
    assert_int_equal(fleet_pick(&f, anything), 0);
    fleet_stop(&f);
}

/* ---- busy, full, checked ---- */

static void a_busy_endpoint_is_left_alone_as_long_as_it_says(void **state)
{
    struct fleet f;
    uint64_t wait = 0;
    (void)state;
    fleet_init(&f, 2);
    fleet_start(&f);
    pool_begin(f.pool, 0, f.now_ms);
    struct pool_end busy = { .now_ms = f.now_ms, .outcome = POOL_busy, .retry_after_ms = 7000 };
    pool_end(f.pool, 0, &busy);
    assert_int_equal(picks_of(&f, 0, 50), 0);
    assert_true(fleet_look(&f, 0).faults == 0);
    struct pool_ask ask = { .now_ms = f.now_ms + 2000, .excluded = 2 };
    assert_int_equal(pool_pick(f.pool, &ask, &wait), -EAGAIN);
    assert_int_equal(wait, 5000);
    pool_begin(f.pool, 1, f.now_ms);
    busy.retry_after_ms = 3000;
    pool_end(f.pool, 1, &busy);
    ask.excluded = 0;
    assert_int_equal(pool_pick(f.pool, &ask, &wait), -EAGAIN);
    assert_int_equal(wait, 1000); /* the first that may be asked */
    ask.now_ms = f.now_ms + 3000;
    assert_int_equal(pool_pick(f.pool, &ask, &wait), 1);
    ask.excluded = 3;
    assert_int_equal(pool_pick(f.pool, &ask, &wait), -ENOENT);
    /* A year is not believed, and does not wrap. */
    busy.retry_after_ms = UINT64_MAX;
    pool_begin(f.pool, 0, f.now_ms);
    pool_end(f.pool, 0, &busy);
    f.now_ms += 3600000;
    assert_true(picks_of(&f, 0, 50) > 0);
    fleet_stop(&f);
}

static void the_only_endpoint_is_not_given_up_for_an_hour(void **state)
{
    struct fleet f;
    uint64_t wait = 0;
    (void)state;
    fleet_init(&f, 1);
    fleet_start(&f);
    struct pool_end busy = { .now_ms = f.now_ms, .outcome = POOL_busy, .retry_after_ms = 3600000 };
    pool_begin(f.pool, 0, f.now_ms);
    pool_end(f.pool, 0, &busy);
    struct pool_ask ask = { .now_ms = f.now_ms };
    assert_int_equal(pool_pick(f.pool, &ask, &wait), -EAGAIN);
    assert_int_equal(wait, 11000);
    ask.now_ms += 11000;
    assert_int_equal(pool_pick(f.pool, &ask, &wait), 0);
    fleet_stop(&f);
}

static void a_full_endpoint_is_passed_over(void **state)
{
    struct fleet f;
    uint64_t wait = 0;
    (void)state;
    fleet_init(&f, 2);
    f.config.breaker_pending = 3;
    f.config.affinity = AFFINITY_session;
    f.config.affinity_load = 100;
    fleet_start(&f);
    unsigned counts[2] = { 0 };
    for (unsigned k = 0; k < 6; k++)
        counts[fleet_begin(&f, (struct pool_ask){ .session = 5 })]++;
    assert_true(counts[0] == 3 && counts[1] == 3);
    struct pool_ask ask = { .now_ms = f.now_ms };
    assert_int_equal(pool_pick(f.pool, &ask, &wait), -EAGAIN);
    assert_in_range(wait, 1, 1000);
    assert_int_equal(pool_running(f.pool), 6);
    fleet_end(&f, 1, POOL_ok);
    assert_int_equal(fleet_pick(&f, anything), 1);
    fleet_stop(&f);
}

static void checks_leave_out_and_bring_back(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    f.config.slow_start_ms = 0;
    fleet_start(&f);
    pool_probe(f.pool, 0, false, f.now_ms); /* never seen well: out at once */
    assert_true(fleet_look(&f, 0).probe_failed && picks_of(&f, 0, 20) == 0);
    pool_probe(f.pool, 0, true, f.now_ms);
    assert_true(!fleet_look(&f, 0).probe_failed && picks_of(&f, 0, 20) == 10);
    pool_probe(f.pool, 0, false, f.now_ms); /* one slow check of an endpoint that serves */
    assert_false(fleet_look(&f, 0).probe_failed);
    pool_probe(f.pool, 0, true, f.now_ms);
    pool_probe(f.pool, 0, false, f.now_ms);
    assert_false(fleet_look(&f, 0).probe_failed);
    pool_probe(f.pool, 0, false, f.now_ms);
    assert_true(fleet_look(&f, 0).probe_failed);
    /* It was gone, also for requests, and is there again: tried at once. */
    fleet_faults(&f, 0, 5);
    pool_probe(f.pool, 0, true, f.now_ms);
    assert_int_equal(fleet_begin(&f, anything), 0);
    fleet_end(&f, 0, POOL_ok);
    assert_false(fleet_look(&f, 0).ejected);
    /* Requests know more than checks. */
    fleet_faults(&f, 0, 5);
    pool_probe(f.pool, 0, true, f.now_ms);
    assert_int_equal(picks_of(&f, 0, 20), 0);
    fleet_stop(&f);
}

/* ---- budgets ---- */

/*
 * The same by another way: all times of requests are kept, the last ten whole seconds of them are
 * counted anew each time, and money is counted in millionths.
 */
struct ledger {
    uint64_t *at_ms;
    size_t n;
    uint64_t saved, saved_most, filled_ms, rate;
    uint64_t each;
};

static void ledger_move(struct ledger *l, uint64_t now_ms, uint64_t earned)
{
    uint64_t recent = 0;
    for (size_t i = l->n; i > 0 && l->at_ms[i - 1] / 1000 + 10 > now_ms / 1000; i--)
        recent++;
    uint64_t most = l->saved_most + recent * l->each;
    uint64_t ms = l->filled_ms ? now_ms - l->filled_ms : 0;
    l->filled_ms = now_ms;
    l->saved += (ms < 10000 ? ms : 10000) * l->rate * 1000 + earned;
    l->saved = l->saved < most ? l->saved : most;
}

static bool ledger_take(struct ledger *l, uint64_t now_ms)
{
    ledger_move(l, now_ms, 0);
    if (l->saved < 1000000)
        return false;
    l->saved -= 1000000;
    return true;
}

static void ledger_count(struct ledger *l, uint64_t now_ms)
{
    ledger_move(l, now_ms, 0);
    l->at_ms[l->n++] = now_ms;
    ledger_move(l, now_ms, l->each);
}

static void budgets_are_kept_to_the_last_attempt(void **state)
{
    enum { STEPS = 20000 };
    static const struct {
        double fraction;
        uint64_t a_second;
    } rows[] = { { 0.2, 3 }, { 0.05, 0 }, { 0, 2 }, { 0, 0 }, { 1, 100 } };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct fleet f;
        uint64_t seed = 21, tried = 0, hedged = 0, start;
        fleet_init(&f, 3);
        f.config.retry_budget = f.config.hedge_budget = rows[r].fraction;
        f.config.retry_min = rows[r].a_second;
        fleet_start(&f);
        start = f.now_ms;
        uint64_t each = (uint64_t)(rows[r].fraction * 1e6 + 0.5);
        uint64_t saved = rows[r].a_second * 10 * 1000000, ten = each ? 10000000 : 0;
        struct ledger retries = { .saved = saved, .saved_most = saved, .rate = rows[r].a_second },
                      hedges = { .saved = ten, .saved_most = ten };
        retries.at_ms = calloc(STEPS, sizeof(uint64_t));
        hedges.at_ms = calloc(STEPS, sizeof(uint64_t));
        assert_true(retries.at_ms && hedges.at_ms);
        retries.each = hedges.each = each;
        for (unsigned k = 0; k < STEPS; k++) {
            uint64_t what = dice(&seed) % 8;
            /* Now thick, now thin, and now and then a pause. */
            f.now_ms += dice(&seed) % (k / 2000 % 2 ? 5 : 300);
            if (dice(&seed) % 2000 == 0)
                f.now_ms += 60000;
            if (what < 4) {
                pool_count(f.pool, f.now_ms);
                ledger_count(&retries, f.now_ms);
                ledger_count(&hedges, f.now_ms);
            } else if (what < 7) {
                bool may = pool_may_retry(f.pool, f.now_ms);
                assert_true(may == ledger_take(&retries, f.now_ms));
                ledger_move(&hedges, f.now_ms, 0);
                tried += may;
            } else {
                bool may = pool_may_hedge(f.pool, f.now_ms);
                assert_true(may == ledger_take(&hedges, f.now_ms));
                ledger_move(&retries, f.now_ms, 0);
                hedged += may;
            }
        }
        uint64_t earned = retries.n * each;
        assert_true(tried * 1000000 <=
                    earned + saved + (f.now_ms - start) * rows[r].a_second * 1000);
        assert_true(hedged * 1000000 <= earned + ten);
        assert_true(rows[r].fraction > 0 || rows[r].a_second > 0 || tried + hedged == 0);
        free(retries.at_ms);
        free(hedges.at_ms);
        fleet_stop(&f);
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void a_hedge_comes_when_a_first_token_is_late(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    fleet_start(&f);
    assert_true(pool_hedge_after(f.pool) == UINT64_MAX); /* switched off */
    fleet_stop(&f);

    fleet_init(&f, 1);
    f.config.hedge_ms = 700;
    fleet_start(&f);
    assert_true(pool_hedge_after(f.pool) == UINT64_MAX); /* there is nowhere else */
    fleet_stop(&f);

    fleet_init(&f, 2);
    f.config.hedge_ms = 700;
    f.config.hedge_percentile = 0.95;
    fleet_start(&f);
    assert_int_equal(pool_hedge_after(f.pool), 700); /* until enough is known */
    enum { SAMPLES = 900 };
    static uint64_t sorted[SAMPLES];
    uint64_t seed = 5;
    for (unsigned k = 0; k < SAMPLES; k++) {
        sorted[k] = (uint64_t)(100000 * exp(2 * dice_unit(&seed)));
        struct pool_end end = { .now_ms = f.now_ms, .first_us = sorted[k] };
        pool_begin(f.pool, 0, f.now_ms);
        pool_end(f.pool, 0, &end);
    }
    qsort(sorted, SAMPLES, sizeof(*sorted), by_size);
    const size_t rank = SAMPLES * 95 / 100;
    double exact = (double)sorted[rank] / 1000;
    double said = (double)pool_hedge_after(f.pool);
    assert_true(said >= exact * 0.99 && said <= exact * 1.1 + 1);
    for (unsigned k = 0; k < 20000; k++) { /* it got quicker, and the old is forgotten */
        struct pool_end end = { .now_ms = f.now_ms, .first_us = 10000 };
        pool_begin(f.pool, 0, f.now_ms);
        pool_end(f.pool, 0, &end);
    }
    assert_in_range(pool_hedge_after(f.pool), 10, 12);
    fleet_stop(&f);
}

/* ---- whatever happens ---- */

enum { OPEN_MAX = 4096 };

struct trace {
    unsigned where[OPEN_MAX], n;
    unsigned running[POOL_MAX];
    uint64_t busy_until[POOL_MAX];
};

static void random_pick(struct fleet *f, struct trace *t, uint64_t *seed)
{
    unsigned n = (unsigned)f->config.endpoints.n;
    uint64_t all = n == POOL_MAX ? UINT64_MAX : (1ull << n) - 1, wait = UINT64_MAX;
    uint64_t few = dice(seed); /* an eighth of the bits */
    few &= dice(seed);
    few &= dice(seed);
    struct pool_ask ask = { .now_ms = f->now_ms,
                            .prefix = dice(seed) % 4,
                            .session = dice(seed) % 3,
                            .adapter = dice(seed) % 3,
                            .resident = dice(seed),
                            .excluded = few };
    int i = pool_pick(f->pool, &ask, &wait);
    if (i >= 0) {
        assert_true((unsigned)i < n && !(ask.excluded >> i & 1));
        assert_true(t->busy_until[i] <= f->now_ms);
        assert_true(t->running[i] < f->config.breaker_pending);
        if (t->n < OPEN_MAX && dice(seed) % 50) { /* some picks are never begun */
            pool_begin(f->pool, (unsigned)i, f->now_ms);
            t->running[i]++;
            t->where[t->n++] = (unsigned)i;
        }
        return;
    }
    assert_true(i == -EAGAIN || i == -ENOENT);
    assert_true((i == -ENOENT) == ((all & ~ask.excluded) == 0));
    assert_true(i == -ENOENT || (wait > 0 && wait <= 3600000));
    for (unsigned k = 0; k < n; k++) /* nobody who could be asked was passed over */
        assert_true((ask.excluded >> k & 1) || t->busy_until[k] > f->now_ms ||
                    t->running[k] >= f->config.breaker_pending);
}

static void random_end(struct fleet *f, struct trace *t, uint64_t *seed)
{
    if (t->n == 0)
        return;
    unsigned at = (unsigned)(dice(seed) % t->n), i = t->where[at];
    struct pool_end end = { .now_ms = f->now_ms - dice(seed) % 3, /* threads come late */
                            .outcome = (enum pool_outcome)(dice(seed) % 4),
                            .first_us = dice(seed) % 2 ? dice(seed) % 1000000 : 0,
                            .retry_after_ms = dice(seed) % 200 };
    if (i % 3 == 0 && f->now_ms / 100000 % 2) /* times in which some fail all they get */
        end.outcome = POOL_fault;
    pool_end(f->pool, i, &end);
    if (end.outcome == POOL_busy && end.now_ms + end.retry_after_ms > t->busy_until[i])
        t->busy_until[i] = end.now_ms + end.retry_after_ms;
    t->running[i]--;
    t->where[at] = t->where[--t->n];
}

/* long: a million operations over pools of several sizes and all balances. */
/* ---- a pool that takes the place of another ---- */

static void a_successor_knows_what_was_known_of_its_endpoints(void **state)
{
    struct fleet old, new;
    (void)state;
    fleet_init(&old, 4);
    fleet_init(&new, 4);
    static const char *const urls[] = { "http://a", "http://b", "http://c", "http://d" };
    for (unsigned i = 0; i < 4; i++) {
        old.endpoints[i].url = str_of(urls[i]);
        new.endpoints[i].url = str_of(urls[3 - i]); /* turned round */
        new.endpoints[i].name = STR("renamed");
    }
    new.endpoints[0].url = STR("http://e"); /* d left, e came */
    old.config.health_path = new.config.health_path = STR("/health");
    fleet_start(&old);
    fleet_start(&new);
    for (unsigned k = 0; k < 50; k++) {
        pool_begin(old.pool, 1, old.now_ms);
        pool_first(old.pool, 1, 70000, old.now_ms);
        fleet_end(&old, 1, POOL_ok);
    }
    fleet_faults(&old, 0, 5);
    pool_probe(old.pool, 2, false, old.now_ms); /* it never was well */
    pool_begin(old.pool, 1, old.now_ms);        /* and one still runs there */
    new.config.hedge_percentile = 0.9;
    pool_adopt(new.pool, old.pool, new.now_ms);
    fleet_end(&old, 1, POOL_ok);
    struct pool_state a = fleet_look(&new, 3), b = fleet_look(&new, 2), c = fleet_look(&new, 1),
                      e = fleet_look(&new, 0);
    assert_true(a.ejected && a.faults == 5 && a.requests == 5);
    assert_true(b.requests == 51 && b.running == 0 && b.first_ewma_us > 60000);
    assert_true(c.probe_failed && !c.ejected);
    assert_true(e.requests == 0 && !e.ejected && !e.probe_failed && e.first_ewma_us <= 0);
    assert_in_range(pool_hedge_after(new.pool), 70, 80); /* of latencies, that are still known */
    assert_int_equal(picks_of(&new, 1, 50) + picks_of(&new, 3, 50), 0);
    new.now_ms += 30000; /* its time is over, as it would have been there */
    assert_int_equal(fleet_begin(&new, anything), 3);
    fleet_end(&new, 3, POOL_ok);
    assert_false(fleet_look(&new, 3).ejected);
    pool_probe(new.pool, 1, true, new.now_ms);
    assert_false(fleet_look(&new, 1).probe_failed);
    fleet_stop(&old);
    fleet_stop(&new);
}

static void a_successor_without_checks_or_ejection_leaves_nobody_out(void **state)
{
    struct fleet old, new;
    (void)state;
    fleet_init(&old, 2);
    fleet_init(&new, 2);
    old.endpoints[0].url = new.endpoints[0].url = STR("http://a");
    old.endpoints[1].url = new.endpoints[1].url = STR("http://b");
    old.config.health_path = STR("/health");
    new.config.eject_errors = 0;
    fleet_start(&old);
    fleet_start(&new);
    pool_probe(old.pool, 0, false, old.now_ms);
    fleet_faults(&old, 1, 5);
    assert_true(fleet_look(&old, 0).probe_failed && fleet_look(&old, 1).ejected);
    pool_adopt(new.pool, old.pool, new.now_ms);
    assert_false(fleet_look(&new, 0).probe_failed || fleet_look(&new, 1).ejected);
    assert_int_equal(picks_of(&new, 0, 100), 50);
    fleet_stop(&old);
    fleet_stop(&new);
}

static void a_million_operations_keep_what_holds(void **state)
{
    static const unsigned sizes[] = { 1, 2, 5, 8, 64 };
    (void)state;
    uint64_t seed = 99, ejections = 0;
    for (unsigned round = 0; round < 20; round++) {
        static struct trace t;
        struct fleet f;
        unsigned n = sizes[round % ARRAY_LEN(sizes)];
        t = (struct trace){ .n = 0 };
        fleet_init(&f, n);
        f.config.balance = round / 5;
        f.config.affinity = round % 4;
        f.config.breaker_pending = 20;
        f.config.eject_ms = 500;
        f.config.slow_start_ms = 300;
        for (unsigned i = 0; i < n; i++) {
            f.endpoints[i].weight = (double)(dice(&seed) % 4);
            f.endpoints[i].priority = dice(&seed) % 3;
        }
        fleet_start(&f);
        for (unsigned k = 0; k < 50000; k++) {
            uint64_t what = dice(&seed) % 100;
            f.now_ms += dice(&seed) % 4;
            if (what < 50)
                random_pick(&f, &t, &seed);
            else if (what < 98)
                random_end(&f, &t, &seed);
            else
                pool_probe(f.pool, (unsigned)(dice(&seed) % n), dice(&seed) % 3, f.now_ms);
            assert_int_equal(pool_running(f.pool), t.n);
            if (k % 64)
                continue;
            unsigned out[3] = { 0 }, level[3] = { 0 };
            for (unsigned i = 0; i < n; i++) {
                struct pool_state s = fleet_look(&f, i);
                assert_int_equal(s.running, t.running[i]);
                assert_true(s.first_ewma_us >= 0 && s.first_ewma_us < 1e9);
                out[f.endpoints[i].priority] += s.ejected;
                level[f.endpoints[i].priority]++;
                ejections += s.ejected;
            }
            for (unsigned p = 0; p < 3; p++)
                assert_true(out[p] <= level[p] / 2 || (out[p] == 1 && n > 1));
        }
        fleet_stop(&f);
    }
    assert_true(ejections > 1000); /* all of it did happen */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_in_a_row_leave_an_endpoint_out),
        cmocka_unit_test(it_is_left_out_twice_as_long_each_time),
        cmocka_unit_test(one_trial_is_under_way_at_a_time),
        cmocka_unit_test(a_trial_loads_no_adapter),
        cmocka_unit_test(no_more_are_left_out_than_may_be),
        cmocka_unit_test(its_share_grows_after_it_came_back),
        cmocka_unit_test(when_nobody_is_well_those_left_out_are_asked),
        cmocka_unit_test(a_busy_endpoint_is_left_alone_as_long_as_it_says),
        cmocka_unit_test(the_only_endpoint_is_not_given_up_for_an_hour),
        cmocka_unit_test(a_full_endpoint_is_passed_over),
        cmocka_unit_test(checks_leave_out_and_bring_back),
        cmocka_unit_test(budgets_are_kept_to_the_last_attempt),
        cmocka_unit_test(a_hedge_comes_when_a_first_token_is_late),
        cmocka_unit_test(a_successor_knows_what_was_known_of_its_endpoints),
        cmocka_unit_test(a_successor_without_checks_or_ejection_leaves_nobody_out),
        cmocka_unit_test(a_million_operations_keep_what_holds),
    };
    return TEST_RUN(tests);
}
