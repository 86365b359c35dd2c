/* Who is asked: shares by weight, load, latency, affinity, homes of adapters, priorities. */
#include "tests/unit/engine/upstream/pool_fixture.h"

#include <stdlib.h>

/* Shares of an idle pool against the weights: chi-square with n - 1 degrees of freedom. */
static double chi_square(const unsigned *counts, const double *weights, unsigned n, unsigned picks)
{
    double total = 0, sum = 0;
    for (unsigned i = 0; i < n; i++)
        total += weights[i];
    for (unsigned i = 0; i < n; i++) {
        double expected = picks * weights[i] / total;
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return sum;
}

static void an_idle_pool_is_shared_by_weight(void **state)
{
    static const double weights[] = { 80, 15, 4, 1 };
    static const struct {
        enum upstream_balance balance;
        bool exact; /* within one of its share, at any time */
    } rows[] = { { BALANCE_least_request, true },
                 { BALANCE_round_robin, true },
                 { BALANCE_random, false } };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        enum { PICKS = 100000 };
        struct fleet f;
        unsigned counts[4] = { 0 };
        fleet_init(&f, 4);
        f.config.balance = rows[r].balance;
        for (unsigned i = 0; i < 4; i++)
            f.endpoints[i].weight = weights[i];
        fleet_start(&f);
        for (unsigned k = 1; k <= PICKS; k++) {
            unsigned i = fleet_begin(&f, (struct pool_ask){ .prefix = 0 });
            fleet_end(&f, i, POOL_ok);
            counts[i]++;
            for (unsigned j = 0; rows[r].exact && j < 4; j++)
                assert_true(fabs(counts[j] - k * weights[j] / 100) < 2.01);
        }
        /* 16.27: one in a thousand with three degrees of freedom. */
        assert_true(chi_square(counts, weights, 4, PICKS) < 16.27);
        fleet_stop(&f);
    }
}

/* Whoever is asked, no other would have less under way for its weight after one more. */
static void least_request_asks_whoever_has_least_for_its_weight(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (unsigned round = 0; round < 200; round++) {
        struct fleet f;
        unsigned running[8] = { 0 }, n = 2 + (unsigned)(dice(&seed) % 7);
        bool equal = round % 2;
        fleet_init(&f, n);
        for (unsigned i = 0; i < n && !equal; i++)
            f.endpoints[i].weight = 1 + (double)(dice(&seed) % 9);
        fleet_start(&f);
        for (unsigned k = 0; k < 300; k++) {
            unsigned i = (unsigned)(dice(&seed) % n);
            if (dice(&seed) % 3 == 0 && running[i]) {
                fleet_end(&f, i, POOL_ok);
                running[i]--;
                continue;
            }
            i = fleet_begin(&f, (struct pool_ask){ .prefix = 0 });
            for (unsigned j = 0; j < n; j++) {
                double mine = running[i] / f.endpoints[i].weight;
                assert_true(mine < (running[j] + 1) / f.endpoints[j].weight + 1e-9);
                assert_true(!equal || running[i] <= running[j]);
            }
            running[i]++;
        }
        fleet_stop(&f);
    }
}

/* ---- queues ---- */

enum { SERVERS = 8, JOBS = 40000 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/*
 * Poisson arrivals at servers that take one job after the other, exponential service; server 0 is
 * `slower` times as slow as the rest. The 99th percentile of the time in the system, in ms.
 */
static double simulate(enum upstream_balance balance, double slower)
{
    const double mean_ms = 100, load = 0.75;
    static double stay[JOBS], ends[JOBS];
    static unsigned where[JOBS], open[JOBS];
    struct fleet f;
    double free_at[SERVERS] = { 0 }, now = 0;
    double capacity = (SERVERS - 1 + 1 / slower) / mean_ms;
    uint64_t seed = 11;
    unsigned n_open = 0;
    fleet_init(&f, SERVERS);
    f.config.balance = balance;
    fleet_start(&f);
    uint64_t start = f.now_ms;
    for (unsigned j = 0; j < JOBS; j++) {
        now -= log(dice_unit(&seed)) / (load * capacity);
        for (unsigned k = 0; k < n_open;) { /* whoever has ended by now */
            unsigned job = open[k];
            if (ends[job] > now) {
                k++;
                continue;
            }
            struct pool_end end = { .now_ms = start + (uint64_t)ends[job],
                                    .outcome = POOL_ok,
                                    .first_us = 1 + (uint64_t)(stay[job] * 1000) };
            pool_end(f.pool, where[job], &end);
            open[k] = open[--n_open];
        }
        f.now_ms = start + (uint64_t)now;
        unsigned i = fleet_begin(&f, (struct pool_ask){ .prefix = 0 });
        double service = -log(dice_unit(&seed)) * mean_ms * (i == 0 ? slower : 1);
        double begin = free_at[i] > now ? free_at[i] : now;
        free_at[i] = ends[j] = begin + service;
        stay[j] = ends[j] - now;
        where[j] = i;
        open[n_open++] = j;
    }
    fleet_stop(&f);
    qsort(stay, JOBS, sizeof(*stay), by_value);
    return stay[JOBS * 99 / 100];
}

/* long: four simulations of equal servers and three of unequal ones. */
static void load_and_latency_make_queues_shorter_than_chance(void **state)
{
    (void)state;
    double chance = simulate(BALANCE_random, 1), least = simulate(BALANCE_least_request, 1);
    double two = simulate(BALANCE_p2c, 1), turn = simulate(BALANCE_round_robin, 1);
    print_message("# p99 of equal servers: random %.0f ms, in turn %.0f, p2c %.0f, least %.0f\n",
                  chance, turn, two, least);
    assert_true(least < 0.6 * chance && two < 0.75 * chance && turn < chance && least < turn);
    chance = simulate(BALANCE_random, 4);
    least = simulate(BALANCE_least_request, 4);
    two = simulate(BALANCE_p2c, 4);
    print_message("# with one four times as slow: random %.0f ms, p2c %.0f, least %.0f\n", chance,
                  two, least);
    assert_true(least < 0.5 * chance && two < 0.5 * chance);
}

static void latency_decides_between_two_and_fades(void **state)
{
    struct fleet f;
    unsigned slow = 0;
    (void)state;
    fleet_init(&f, 2);
    f.config.balance = BALANCE_p2c;
    fleet_start(&f);
    for (unsigned k = 0; k < 400; k++) {
        unsigned i = fleet_begin(&f, (struct pool_ask){ .prefix = 0 });
        struct pool_end end = { .now_ms = f.now_ms, .first_us = i ? 400000 : 50000 };
        slow += i;
        pool_end(f.pool, i, &end);
        f.now_ms += 10;
    }
    assert_in_range(slow, 1, 3); /* asked once, then known */
    struct pool_end faster = { .now_ms = f.now_ms, .first_us = 50000 };
    assert_true(fleet_look(&f, 1).first_ewma_us > 200000);
    f.now_ms += 60000; /* nobody asks: what was known fades, and it is asked again */
    assert_true(fleet_look(&f, 1).first_ewma_us < 2000);
    fleet_one(&f, 0, POOL_ok);
    faster.now_ms = f.now_ms;
    pool_begin(f.pool, 0, f.now_ms);
    pool_end(f.pool, 0, &faster);
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .prefix = 0 }), 1);
    fleet_faults(&f, 1, 1); /* a quick fault is no good latency */
    assert_true(fleet_look(&f, 1).first_ewma_us >= 100000);
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .prefix = 0 }), 0);
    fleet_stop(&f);
}

static void a_first_token_counts_while_its_answer_goes_on(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    f.config.balance = BALANCE_p2c;
    f.config.hedge_percentile = 0.95;
    fleet_start(&f);
    for (unsigned i = 0; i < 2; i++)
        pool_begin(f.pool, i, f.now_ms);
    pool_first(f.pool, 0, 400000, f.now_ms);
    pool_first(f.pool, 1, 50000, f.now_ms);
    assert_int_equal(fleet_look(&f, 0).running, 1);
    assert_true(fleet_look(&f, 0).first_ewma_us > 390000);
    for (unsigned k = 0; k < 20; k++) /* both have one under way: latency decides */
        assert_int_equal(fleet_pick(&f, (struct pool_ask){ .prefix = 0 }), 1);
    for (unsigned k = 0; k < 30; k++)
        pool_first(f.pool, 1, 50000, f.now_ms);
    assert_in_range(pool_hedge_after(f.pool), 50, 440);
    fleet_end(&f, 0, POOL_ok);
    assert_true(fleet_look(&f, 0).first_ewma_us > 390000); /* its end tells no other */
    assert_int_equal(fleet_look(&f, 0).running, 0);
    fleet_stop(&f);
}

static void who_was_not_waited_for_costs_that_at_least(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 2);
    fleet_start(&f);
    pool_waited(f.pool, 0, 80000, f.now_ms);
    assert_true(fleet_look(&f, 0).first_ewma_us == 80000);
    pool_waited(f.pool, 0, 20000, f.now_ms); /* that is no news */
    assert_true(fleet_look(&f, 0).first_ewma_us == 80000);
    fleet_stop(&f);
}

/* ---- affinity ---- */

static void keys_stay_when_others_leave(void **state)
{
    enum { KEYS = 20000, N = 8 };
    static uint8_t before[KEYS];
    struct fleet f, turned;
    unsigned counts[N] = { 0 };
    double weights[N];
    (void)state;
    fleet_init(&f, N);
    fleet_init(&turned, N);
    f.config.affinity = turned.config.affinity = AFFINITY_prefix;
    for (unsigned i = 0; i < N; i++) {
        weights[i] = f.endpoints[i].weight = i < 4 ? 1 : 2;
        turned.endpoints[N - 1 - i] = f.endpoints[i]; /* the same ones in another order */
    }
    fleet_start(&f);
    fleet_start(&turned);
    for (uint64_t k = 0; k < KEYS; k++) {
        struct pool_ask ask = { .prefix = pool_prefix_hash((char *)&k, sizeof(k)) };
        before[k] = (uint8_t)fleet_pick(&f, ask);
        counts[before[k]]++;
        assert_int_equal(fleet_pick(&turned, ask), N - 1 - before[k]);
    }
    assert_true(chi_square(counts, weights, N, KEYS) < 24.32); /* 1 in 1000, 7 degrees */
    for (unsigned gone = 0; gone < N; gone++)
        for (uint64_t k = 0; k < KEYS; k++) {
            int i =
                fleet_pick(&f, (struct pool_ask){ .prefix = pool_prefix_hash((char *)&k, sizeof(k)),
                                                  .excluded = 1ull << gone });
            assert_true(before[k] == gone ? i != (int)gone : i == before[k]);
        }
    fleet_stop(&f);
    fleet_stop(&turned);
}

static void affinity_takes_the_key_that_it_is_for(void **state)
{
    static const struct {
        enum upstream_affinity affinity;
        bool by_session, by_prefix; /* what decides when both are known */
    } rows[] = { { AFFINITY_none, false, false },
                 { AFFINITY_prefix, false, true },
                 { AFFINITY_session, true, false },
                 { AFFINITY_auto, true, false } };
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct fleet f;
        bool session_moves = false, prefix_moves = false;
        fleet_init(&f, 8);
        f.config.affinity = rows[r].affinity;
        fleet_start(&f);
        int first = fleet_pick(&f, (struct pool_ask){ .prefix = 1, .session = 1 });
        for (uint64_t k = 2; k < 40; k++) {
            session_moves |=
                fleet_pick(&f, (struct pool_ask){ .prefix = 1, .session = k }) != first;
            prefix_moves |= fleet_pick(&f, (struct pool_ask){ .prefix = k, .session = 1 }) != first;
        }
        bool none = !rows[r].by_session && !rows[r].by_prefix;
        assert_true(session_moves == (rows[r].by_session || none));
        assert_true(prefix_moves == (rows[r].by_prefix || none));
        if (rows[r].affinity == AFFINITY_auto) { /* without a session, by prefix */
            int by_prefix = fleet_pick(&f, (struct pool_ask){ .prefix = 5 });
            for (unsigned k = 0; k < 20; k++)
                assert_int_equal(fleet_pick(&f, (struct pool_ask){ .prefix = 5 }), by_prefix);
        }
        fleet_stop(&f);
    }
}

/* Few keys are most of the requests; whoever is asked stays within its bound. */
static void nobody_is_loaded_beyond_the_bound(void **state)
{
    enum { N = 6, OPEN = 400 };
    static const double factors[] = { 1, 1.25, 2 };
    unsigned stuck = 0;
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(factors); r++) {
        struct fleet f;
        unsigned running[N] = { 0 }, total = 0, ring[OPEN], homes[N] = { 0 };
        double weights = 0;
        uint64_t seed = 3;
        fleet_init(&f, N);
        f.config.affinity = AFFINITY_prefix;
        f.config.affinity_load = factors[r];
        for (unsigned i = 0; i < N; i++)
            weights += f.endpoints[i].weight = 1 + i % 3;
        fleet_start(&f);
        for (unsigned k = 0; k < 40000; k++) {
            if (total == OPEN || (total && dice(&seed) % 64 == 0)) {
                unsigned at = (unsigned)(dice(&seed) % total), i = ring[at];
                fleet_end(&f, i, POOL_ok);
                running[i]--;
                ring[at] = ring[--total];
            }
            uint64_t key = 1 + (uint64_t)(10 * pow(dice_unit(&seed), 4)); /* mostly 1 and 2 */
            unsigned i = fleet_begin(&f, (struct pool_ask){ .prefix = key });
            double bound = ceil(factors[r] * (total + 1) * f.endpoints[i].weight / weights - 1e-9);
            assert_true(running[i] + 1 <= fmax(bound, 4));
            homes[i] += key == 1;
            running[i]++;
            ring[total++] = i;
        }
        unsigned most = 0;
        for (unsigned i = 0; i < N; i++)
            most = homes[i] > most ? homes[i] : most;
        assert_true(most > stuck); /* the looser the bound, the more of a key stay at its home */
        stuck = most;
        fleet_stop(&f);
    }
}

/* ---- adapters ---- */

static void an_adapter_goes_where_it_is_then_home_then_on(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 6);
    fleet_start(&f);
    const struct pool_ask cold = { .adapter = 77 };
    int first = fleet_pick(&f, cold);
    for (unsigned k = 0; k < 50; k++)
        assert_int_equal(fleet_pick(&f, cold), first); /* its home, again and again */
    unsigned other = ((unsigned)first + 1) % 6;
    const struct pool_ask warm = { .adapter = 77, .resident = 1ull << other };
    assert_int_equal(fleet_pick(&f, warm), other); /* resident beats home */
    for (unsigned k = 0; k < 4; k++)
        assert_int_equal(fleet_begin(&f, warm), other);
    assert_int_equal(fleet_begin(&f, warm), first); /* it is loaded enough: home */
    for (unsigned k = 0; k < 3; k++)
        assert_int_equal(fleet_begin(&f, warm), first);
    int third = fleet_pick(&f, warm); /* both are: the next of the draw */
    assert_true(third != first && third != (int)other);
    /* Of two that have it, the balance or the key decides, never one that has it not. */
    const uint64_t two = 1ull << 2 | 1ull << 3;
    for (uint64_t k = 1; k < 40; k++) {
        int i = fleet_pick(&f, (struct pool_ask){ .adapter = k, .resident = two });
        bool has_room = fleet_look(&f, 2).running < 4 || fleet_look(&f, 3).running < 4;
        assert_true(!has_room || i == 2 || i == 3);
    }
    fleet_stop(&f);
}

static void a_thousand_adapters_spread_by_their_homes(void **state)
{
    enum { N = 5, ADAPTERS = 5000 };
    static const double weights[N] = { 1, 1, 1, 1, 1 };
    struct fleet f;
    unsigned counts[N] = { 0 };
    (void)state;
    fleet_init(&f, N);
    fleet_start(&f);
    for (uint64_t a = 1; a <= ADAPTERS; a++)
        counts[fleet_pick(&f, (struct pool_ask){ .adapter = a })]++;
    assert_true(chi_square(counts, weights, N, ADAPTERS) < 18.47); /* 1 in 1000, 4 degrees */
    fleet_stop(&f);
}

/* ---- priorities ---- */

static void the_next_level_is_asked_when_none_of_one_can_be(void **state)
{
    struct fleet f;
    (void)state;
    fleet_init(&f, 5);
    f.endpoints[0].priority = f.endpoints[1].priority = 2;
    f.endpoints[2].priority = 7;
    f.endpoints[3].priority = 2;
    f.endpoints[3].weight = 0; /* the last resort of all */
    f.endpoints[4].priority = 1;
    fleet_start(&f);
    static const struct {
        uint64_t excluded, allowed;
    } rows[] = {
        { 0x00, 1 << 4 }, { 0x10, 1 << 0 | 1 << 1 }, { 0x11, 1 << 1 }, { 0x13, 1 << 2 },
        { 0x17, 1 << 3 }, { 0x08, 1 << 4 },          { 0x0f, 1 << 4 }, { 0x12, 1 << 0 },
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (unsigned k = 0; k < 20; k++) {
            int i = fleet_pick(&f, (struct pool_ask){ .excluded = rows[r].excluded });
            assert_true(i >= 0 && (rows[r].allowed >> i & 1));
        }
    assert_int_equal(fleet_pick(&f, (struct pool_ask){ .excluded = 0x1f }), -ENOENT);
    fleet_stop(&f);
}

static void hashes_differ_where_texts_do(void **state)
{
    enum { N = 70 };
    char text[N] = { 0 };
    uint64_t seen[2 * N];
    (void)state;
    for (size_t n = 0; n < N; n++) { /* of every length, and with every byte changed */
        seen[n] = pool_prefix_hash(text, n);
        text[n] = 1;
        seen[N + n] = pool_prefix_hash(text, N);
        text[n] = 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
        assert_true(seen[i] != 0);
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
    assert_true(pool_prefix_hash("abc", 3) == pool_prefix_hash("abcd", 3));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_pool_is_shared_by_weight),
        cmocka_unit_test(least_request_asks_whoever_has_least_for_its_weight),
        cmocka_unit_test(load_and_latency_make_queues_shorter_than_chance),
        cmocka_unit_test(latency_decides_between_two_and_fades),
        cmocka_unit_test(a_first_token_counts_while_its_answer_goes_on),
        cmocka_unit_test(who_was_not_waited_for_costs_that_at_least),
        cmocka_unit_test(keys_stay_when_others_leave),
        cmocka_unit_test(affinity_takes_the_key_that_it_is_for),
        cmocka_unit_test(nobody_is_loaded_beyond_the_bound),
        cmocka_unit_test(an_adapter_goes_where_it_is_then_home_then_on),
        cmocka_unit_test(a_thousand_adapters_spread_by_their_homes),
        cmocka_unit_test(the_next_level_is_asked_when_none_of_one_can_be),
        cmocka_unit_test(hashes_differ_where_texts_do),
    };
    return TEST_RUN(tests);
}
