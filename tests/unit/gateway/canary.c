#include "tests/support/test.h"

#include "gateway/canary.h"

#include <math.h>
#include <stdint.h>

static const struct config_canary usual = {
    .window_ms = 60000, .min_requests = 20, .max_error_increase = 0.05, .max_latency_ratio = 1.5
};

static uint64_t state_of;

/* splitmix64, in [0, 1) */
static double uniform(void)
{
    uint64_t z = state_of += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Times spread as those of servers are: a log-normal around `middle`. */
static double time_around(double middle)
{
    double normal = sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
    return middle * exp(0.4 * normal);
}

struct side {
    double error_rate, first_token_ms, token_ms;
};

static void ask(struct canary_tally *t, const struct side *s)
{
    bool failed = uniform() < s->error_rate;
    canary_count(t, &(struct canary_sample){ failed, time_around(s->first_token_ms),
                                             time_around(s->token_ms) });
}

/* The requests of the canary until it is taken back, looked at after each; 0: never within n. */
static unsigned until(const struct side *canary, const struct side *prod, unsigned n, double share,
                      const struct config_canary *rule, enum canary_worse *ret)
{
    struct canary_tally c = { 0 }, p = { 0 };
    char why[160];
    *ret = CANARY_fine;
    for (unsigned i = 0; i < n; i++) {
        if (uniform() >= share) {
            ask(&p, prod);
            continue;
        }
        ask(&c, canary);
        *ret = canary_judge(&c, &p, rule, why);
        if (*ret != CANARY_fine)
            return (unsigned)c.requests;
    }
    return 0;
}

static const struct side good = { 0.01, 100, 20 };

static void a_canary_that_always_fails_goes_with_the_least_requests(void **state)
{
    (void)state;
    static const struct side broken = { 1, 100, 20 };
    enum canary_worse why;
    for (unsigned seed = 0; seed < 50; seed++) {
        state_of = seed;
        assert_int_equal(until(&broken, &good, 4000, 0.1, &usual, &why), usual.min_requests);
        assert_int_equal(why, CANARY_errors);
    }
}

static void a_canary_for_all_is_judged_by_its_errors_alone(void **state)
{
    (void)state;
    static const struct side broken = { 1, 100, 20 };
    enum canary_worse why;
    state_of = 1;
    assert_int_equal(until(&broken, &good, 100, 1.1, &usual, &why), usual.min_requests);
    assert_int_equal(until(&good, &good, 2000, 1.1, &usual, &why), 0);
}

static void what_is_worse_is_found_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct side canary;
        enum canary_worse why;
        unsigned within; /* requests of the canary */
    } rows[] = {
        { "a third fails", { 0.33, 100, 20 }, CANARY_errors, 120 },
        { "every sixth fails", { 0.17, 100, 20 }, CANARY_errors, 600 },
        { "three times to the first token", { 0.01, 300, 20 }, CANARY_first_token, 60 },
        { "twice a token", { 0.01, 100, 40 }, CANARY_token, 200 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (unsigned seed = 0; seed < 30; seed++) {
            enum canary_worse why;
            state_of = seed * 1000 + i;
            unsigned n = until(&rows[i].canary, &good, 20000, 0.1, &usual, &why);
            if (n == 0 || n > rows[i].within || why != rows[i].why)
                fail_msg("%s: after %u requests for reason %d (seed %u)", rows[i].name, n, why,
                         seed);
        }
}

/* Looking after every request must not add up to a verdict by chance. */
static void a_canary_within_its_bounds_stays(void **state)
{
    (void)state;
    static const struct side rows[] = {
        { 0.01, 100, 20 }, /* the same */
        { 0.05, 100, 20 }, /* somewhat more errors, as allowed */
        { 0.01, 145, 29 }, /* slower, as allowed */
        { 0.0, 50, 10 },   /* better */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (unsigned seed = 0; seed < 60; seed++) {
            enum canary_worse why;
            state_of = seed * 77 + i;
            unsigned n = until(&rows[i], &good, 20000, 0.2, &usual, &why);
            if (n)
                fail_msg("row %zu was taken back after %u requests for reason %d", i, n, why);
        }
}

static void both_sides_failing_alike_is_no_fault_of_the_canary(void **state)
{
    (void)state;
    static const struct side down = { 0.9, 100, 20 };
    enum canary_worse why;
    for (unsigned seed = 0; seed < 40; seed++) {
        state_of = seed;
        assert_int_equal(until(&down, &down, 10000, 0.3, &usual, &why), 0);
    }
}

static void bounds_of_one_and_none_turn_the_tests_off(void **state)
{
    (void)state;
    static const struct side bad = { 1, 5000, 900 }, slow = { 0, 5000, 900 };
    struct config_canary off = usual;
    enum canary_worse why;
    off.max_error_increase = 1;
    off.max_latency_ratio = 0;
    state_of = 3;
    assert_int_equal(until(&bad, &good, 5000, 0.5, &off, &why), 0);
    assert_int_equal(until(&slow, &good, 5000, 0.5, &off, &why), 0);
}

static void equal_times_are_no_difference(void **state)
{
    (void)state;
    struct canary_tally c = { 0 }, p = { 0 };
    char why[160];
    for (int i = 0; i < 1000; i++) {
        canary_count(&c, &(struct canary_sample){ false, 10, 1 });
        canary_count(&p, &(struct canary_sample){ false, 10, 1 });
        assert_int_equal(canary_judge(&c, &p, &usual, why), CANARY_fine);
    }
    canary_count(&c, &(struct canary_sample){ false, -1, -1 }); /* no token came */
    assert_int_equal(c.first_token.n, 1000);
    assert_int_equal(c.requests, 1001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_canary_that_always_fails_goes_with_the_least_requests),
        cmocka_unit_test(a_canary_for_all_is_judged_by_its_errors_alone),
        cmocka_unit_test(what_is_worse_is_found_and_named),
        cmocka_unit_test(a_canary_within_its_bounds_stays),
        cmocka_unit_test(both_sides_failing_alike_is_no_fault_of_the_canary),
        cmocka_unit_test(bounds_of_one_and_none_turn_the_tests_off),
        cmocka_unit_test(equal_times_are_no_difference),
    };
    return TEST_RUN(tests);
}
