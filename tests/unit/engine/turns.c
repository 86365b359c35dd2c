/*
 * Whose turn it is, against a plain model of the virtual token counter: lists of jobs, counters in
 * rational numbers, every question answered by looking at all of it.
 */
#include "tests/support/test.h"

#include <string.h>

#include "engine/local/pace.h"
#include "engine/local/turns.h"

enum { TENANTS = 6, JOBS = 4096, ROUNDS = 20000 };

/* ---- the model ---- */

struct model_job {
    struct job job;
    unsigned tenant;
    enum { NEW, WAITING, RUNNING, OVER } stage;
};

static struct model_job jobs[JOBS];
static size_t n_jobs;
static double counter[TENANTS], counter_last;
static const uint32_t weights[TENANTS] = { 1, 1, 2, 4, 1, 8 };

static unsigned count(unsigned tenant, int stage)
{
    unsigned n = 0;
    for (size_t i = 0; i < n_jobs; i++)
        n += jobs[i].tenant == tenant && (int)jobs[i].stage == stage;
    return n;
}

/* Who comes back to the list is lifted to the lowest of those with jobs, less the credit. */
static void model_lift(unsigned tenant)
{
    double least = -1;
    if (count(tenant, WAITING) > 0)
        return;
    for (unsigned t = 0; t < TENANTS; t++)
        if (t != tenant && count(t, WAITING) + count(t, RUNNING) > 0 &&
            (least < 0 || counter[t] < least))
            least = counter[t];
    least = (least < 0 ? counter_last : least) - TURNS_CREDIT;
    if (counter[tenant] < least)
        counter[tenant] = least;
}

static struct model_job *model_oldest(unsigned tenant)
{
    for (size_t i = 0; i < n_jobs; i++)
        if (jobs[i].tenant == tenant && jobs[i].stage == WAITING)
            return &jobs[i];
    return NULL;
}

static struct model_job *model_next(uint32_t running)
{
    struct model_job *best = NULL;
    for (unsigned t = 0; t < TENANTS; t++) {
        struct model_job *j = model_oldest(t);
        if (!j || count(t, RUNNING) >= running)
            continue;
        if (!best || counter[t] < counter[best->tenant] ||
            (counter[t] == counter[best->tenant] && j < best))
            best = j;
    }
    return best;
}

static void model_left_list(unsigned tenant)
{
    if (count(tenant, WAITING) == 0)
        counter_last = counter[tenant];
}

/* ---- both side by side ---- */

static void restart(struct turns *t)
{
    n_jobs = 0;
    counter_last = 0;
    memset(counter, 0, sizeof(counter));
    turns_init(t, JOBS);
}

static struct model_job *put(struct turns *t, unsigned tenant, uint32_t prompt)
{
    struct model_job *j = &jobs[n_jobs];
    *j = (struct model_job){
        .job = { .tenant = tenant * 77 + 1, .weight = weights[tenant], .n_prompt = prompt },
        .tenant = tenant
    };
    model_lift(tenant);
    n_jobs++;
    j->stage = WAITING;
    assert_int_equal(turns_put(t, &j->job, 0), 0);
    return j;
}

static struct model_job *next(struct turns *t, uint32_t running)
{
    struct model_job *want = model_next(running);
    struct job *got = turns_next(t, running);
    assert_ptr_equal(got, want ? &want->job : NULL);
    if (!want)
        return NULL;
    counter[want->tenant] += (double)want->job.n_prompt * TURNS_INPUT / weights[want->tenant];
    want->stage = RUNNING;
    model_left_list(want->tenant);
    return want;
}

static void generate(struct turns *t, struct model_job *j, uint32_t n)
{
    j->job.n_generated += n;
    counter[j->tenant] += (double)n * TURNS_OUTPUT / weights[j->tenant];
    turns_charge(t, &j->job);
}

static void leave(struct turns *t, struct model_job *j)
{
    turns_leave(t, &j->job);
    j->stage = OVER;
}

static struct model_job *any(uint64_t *random, int stage)
{
    size_t from = n_jobs ? test_random(random) % n_jobs : 0;
    for (size_t i = 0; i < n_jobs; i++) {
        struct model_job *j = &jobs[(from + i) % n_jobs];
        if ((int)j->stage == stage)
            return j;
    }
    return NULL;
}

static void one_round(struct turns *t, uint64_t *random)
{
    uint64_t x = test_random(random);
    struct model_job *j;
    switch (x % 8) {
    case 0:
    case 1:
    case 2:
        (void)put(t, (unsigned)(x / 8 % TENANTS), 1 + (uint32_t)(x / 64 % 900));
        return;
    case 3:
    case 4:
        (void)next(t, x / 8 % 4 == 0 ? 1 + (uint32_t)(x / 64 % 3) : UINT32_MAX);
        return;
    case 5:
        if ((j = any(random, RUNNING)))
            generate(t, j, (uint32_t)(x / 8 % 60));
        return;
    case 6:
        if ((j = any(random, RUNNING)))
            leave(t, j);
        return;
    default:
        if (x / 8 % 6 == 0 && (j = any(random, WAITING))) { /* cancelled */
            turns_drop(t, &j->job);
            j->stage = OVER;
            model_left_list(j->tenant);
        }
    }
}

static void empty(struct turns *t)
{
    struct model_job *j;
    while ((j = next(t, UINT32_MAX)))
        leave(t, j);
    turns_done(t);
}

static void turns_are_those_of_the_model(void **state)
{
    uint64_t random = 7;
    for (int run = 0; run < 5; run++) {
        struct turns t;
        restart(&t);
        for (int i = 0; i < ROUNDS && n_jobs + 1 < JOBS; i++)
            one_round(&t, &random);
        assert_true(n_jobs > 500);
        empty(&t);
    }
}

/* Two that always have jobs waiting are served in proportion to their weights, to within what the
 * jobs in flight cost; one that came late gains no more than the credit. */
static void the_busy_get_their_shares(void **state)
{
    enum { SLOTS = 4, COST = 100 + 2 * 20 };
    struct turns t;
    restart(&t);
    double served[TENANTS] = { 0 };
    struct model_job *running[SLOTS] = { 0 };
    for (int i = 0; i < 1200; i++) {
        struct model_job **at = &running[i % SLOTS];
        if (*at) {
            generate(&t, *at, 20);
            leave(&t, *at);
            served[(*at)->tenant] += COST;
        }
        for (unsigned who = 0; who < 4; who++)
            if (who != 1 || i > 600) /* the second comes late */
                while (count(who, WAITING) < 2)
                    (void)put(&t, who, 100);
        *at = next(&t, UINT32_MAX);
        assert_non_null(*at);
    }
    double unit = served[0];
    assert_true(served[2] > 2 * unit - 10 * COST && served[2] < 2 * unit + 10 * COST);
    assert_true(served[3] > 4 * unit - 20 * COST && served[3] < 4 * unit + 20 * COST);
    assert_true(served[1] <= 600.0 * COST / 8 + TURNS_CREDIT + 10 * COST);
    assert_true(served[1] >= 600.0 * COST / 8 - 10 * COST);
    for (int i = 0; i < SLOTS; i++)
        if (running[i])
            leave(&t, running[i]);
    empty(&t);
}

static void who_asks_rarely_comes_next(void **state)
{
    struct turns t;
    restart(&t);
    for (int i = 0; i < 100; i++)
        (void)put(&t, 0, 200);
    for (int i = 0; i < 50; i++)
        leave(&t, next(&t, UINT32_MAX));
    struct model_job *rare = put(&t, 1, 50);
    assert_ptr_equal(next(&t, UINT32_MAX), rare);
    struct model_job *flood = next(&t, UINT32_MAX);
    assert_false(turns_yields(&t, &rare->job));
    assert_true(turns_yields(&t, &flood->job));
    generate(&t, rare, TURNS_SLACK); /* far more than its turn */
    assert_false(turns_yields(&t, &rare->job));
    assert_false(turns_yields(&t, &flood->job));
    assert_null(turns_next(&t, 1)); /* the flood has a job running */
    leave(&t, rare);
    leave(&t, flood);
    empty(&t);
}

static void a_full_list_gives_up_the_newest_of_who_fills_it(void **state)
{
    struct turns t;
    restart(&t);
    struct model_job *last = NULL;
    for (int i = 0; i < 6; i++)
        last = put(&t, 0, 10);
    assert_null(turns_victim(&t, jobs[0].job.tenant, 1)); /* its own */
    assert_ptr_equal(turns_victim(&t, 12345, 1), &last->job);
    for (int i = 0; i < 5; i++)
        (void)put(&t, 1, 10);
    assert_null(turns_victim(&t, 1 * 77 + 1, 1));                  /* it would have as many */
    assert_ptr_equal(turns_victim(&t, 1 * 77 + 1, 2), &last->job); /* for its weight it has less */
    assert_ptr_equal(turns_victim(&t, 12345, 1), &last->job);
    empty(&t);
}

static void tenants_that_are_gone_take_no_room(void **state)
{
    static struct job j;
    struct turns t;
    turns_init(&t, 4);
    for (uint64_t i = 1; i <= 100000; i++) {
        j = (struct job){ .tenant = i, .n_prompt = 1 };
        assert_int_equal(turns_put(&t, &j, i), 0);
        assert_ptr_equal(turns_next(&t, UINT32_MAX), &j);
        turns_leave(&t, &j);
    }
    assert_true(t.n <= 4 + 64);
    assert_int_equal(turns_active(&t, 100000, 10), 10);
    turns_done(&t);
}

/* ---- what a step costs ---- */

static void the_cost_of_a_step_is_learnt(void **state)
{
    struct pace p = { 0 };
    uint64_t random = 3;
    assert_int_equal(pace_rows(&p, 1000), UINT32_MAX);
    assert_int_equal(pace_extra(&p, 20, 0.1), 2);
    for (int i = 0; i < 100; i++)
        pace_note(&p, 8, 350 + 8 * 170); /* all alike: no slope */
    assert_int_equal(pace_rows(&p, 1000), UINT32_MAX);
    for (int i = 0; i < 400; i++) {
        uint32_t rows = 1 + (uint32_t)(test_random(&random) % 30);
        pace_note(&p, rows, 350 + rows * 170);
    }
    assert_in_range(pace_rows(&p, 3400), 19, 20);
    assert_in_range(pace_rows(&p, 1), 2, 3); /* as long as the fixed part */
    assert_in_range(pace_extra(&p, 10, 0.1), 1, 2);
    for (int i = 0; i < 1000; i++) { /* another machine: memory is all that counts */
        uint32_t rows = 1 + (uint32_t)(test_random(&random) % 30);
        pace_note(&p, rows, 50000 + rows * 10);
    }
    assert_true(pace_extra(&p, 1, 0.1) > 300);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_those_of_the_model),
        cmocka_unit_test(the_busy_get_their_shares),
        cmocka_unit_test(who_asks_rarely_comes_next),
        cmocka_unit_test(a_full_list_gives_up_the_newest_of_who_fills_it),
        cmocka_unit_test(tenants_that_are_gone_take_no_room),
        cmocka_unit_test(the_cost_of_a_step_is_learnt),
    };
    return TEST_RUN(tests);
}
