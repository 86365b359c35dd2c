/* Residency with a fake loader: budget, order of eviction, leases, shared loads, waits. */
#include "adapters/residency.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "tests/unit/adapters/common.h"

/* A stager without files, and a loader that counts and may be slow, refuse or be held back. */
struct fake {
    struct residents *r;
    atomic_uint loads, unloads, stages, running, most;
    atomic_uint delay_ms;
    atomic_bool refuse, hold;
    _Atomic size_t factor; /* resident bytes = factor × file bytes */
    _Atomic unsigned last_unloaded;
};

struct thing {
    unsigned id;
};

static int fake_stage(void *ctx, const struct adapter_revision *rev, struct stage *ret,
                      struct fail *reterr)
{
    struct fake *f = ctx;
    (void)reterr;
    atomic_fetch_add(&f->stages, 1);
    char text[32];
    (void)snprintf(text, sizeof(text), "%u %u", rev->digest.b[31], (unsigned)rev->bytes);
    *ret = (struct stage){ .folder = str_dup(str_of(text)), .from = RESIDENCY_cold };
    return 0;
}

static void fake_unstage(void *ctx, struct stage *s)
{
    struct fake *f = ctx;
    atomic_fetch_sub(&f->stages, 1);
    free(s->folder);
}

static int fake_load(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                     struct fail *reterr)
{
    struct fake *f = ctx;
    (void)base;
    unsigned now = atomic_fetch_add(&f->running, 1) + 1;
    if (now > atomic_load(&f->most))
        atomic_store(&f->most, now);
    atomic_fetch_add(&f->loads, 1);
    if (atomic_load(&f->delay_ms))
        (void)usleep(atomic_load(&f->delay_ms) * 1000);
    while (atomic_load(&f->hold))
        (void)usleep(1000);
    atomic_fetch_sub(&f->running, 1);
    if (atomic_load(&f->refuse))
        return fail_set(reterr, FAIL_unprocessable_adapter, "refused");
    struct thing *t = malloc(sizeof(*t));
    unsigned bytes;
    assert_int_equal(sscanf(folder, "%u %u", &t->id, &bytes), 2);
    *ret = t;
    *ret_bytes = bytes * (atomic_load(&f->factor) ? atomic_load(&f->factor) : 1);
    return 0;
}

static void fake_unload(void *ctx, void *resident)
{
    struct fake *f = ctx;
    struct thing *t = resident;
    atomic_store(&f->last_unloaded, t->id);
    atomic_fetch_add(&f->unloads, 1);
    free(t);
}

static void start(struct fake *f, uint64_t max_bytes, uint64_t max_loads)
{
    memset(f, 0, sizeof(*f));
    struct adapter_loader loader = { .load = fake_load, .unload = fake_unload, .ctx = f };
    struct stager stager = { .stage = fake_stage, .unstage = fake_unstage, .ctx = f };
    struct residency_limits limits = { .max_bytes = max_bytes, .max_loads = max_loads };
    assert_int_equal(residency_new(&f->r, &limits, &loader, &stager), 0);
}

static void finish(struct fake *f)
{
    f->r = residency_free(f->r);
    assert_int_equal(f->loads - f->unloads, atomic_load(&f->refuse) ? f->loads - f->unloads : 0);
    assert_int_equal(f->stages, 0);
}

static struct adapter_revision rev_of(unsigned id, uint64_t bytes)
{
    struct adapter_revision r = { .base = "demo", .adapter = "x", .ordinal = id, .bytes = bytes };
    r.digest.b[0] = (uint8_t)id;
    r.digest.b[31] = (uint8_t)id;
    return r;
}

static int take(struct fake *f, unsigned id, uint64_t bytes, unsigned wait_ms, struct waiting *w,
                struct lease **ret, struct fail *reterr)
{
    struct adapter_revision rev = rev_of(id, bytes);
    waiting_init(w);
    *ret = NULL;
    struct residency_ask ask = {
        .rev = &rev, .deadline_ms = clock_ms() + wait_ms, .fn = waiting_answer, .owner = w
    };
    return residency_acquire(f->r, &ask, ret, &w->wait, reterr);
}

/* Acquires and waits for it. */
static int take_now(struct fake *f, unsigned id, uint64_t bytes, struct lease **ret,
                    struct fail *reterr)
{
    struct waiting w;
    int k = take(f, id, bytes, 5000, &w, ret, reterr);
    if (k != ADAPTERS_PENDING)
        return k;
    assert_true(waiting_done(&w, 10000));
    (void)lease_wait_free(w.wait);
    *ret = w.lease;
    if (!w.lease && reterr)
        *reterr = w.fail;
    return w.lease ? 0 : FAILED;
}

static void touch(struct fake *f, unsigned id, uint64_t bytes)
{
    struct lease *l;
    assert_int_equal(take_now(f, id, bytes, &l, NULL), 0);
    assert_int_equal(((struct thing *)lease_resident(l))->id, id);
    assert_null(lease_release(l));
}

static bool has(struct fake *f, unsigned id)
{
    struct adapter_revision rev = rev_of(id, 0);
    return residency_has(f->r, "demo", &rev.digest);
}

static void a_second_acquisition_is_a_hit(void **state)
{
    struct fake f;
    struct lease *a, *b;
    struct residency_state s;
    (void)state;
    start(&f, 100, 2);
    int64_t hits = metrics_get(METRIC_adapter_hits_total, RESIDENCY_hit);
    assert_int_equal(take_now(&f, 1, 10, &a, NULL), 0);
    assert_int_equal(lease_residency(a), RESIDENCY_cold);
    assert_int_equal(take_now(&f, 1, 10, &b, NULL), 0);
    assert_int_equal(lease_residency(b), RESIDENCY_hit);
    assert_ptr_equal(lease_resident(a), lease_resident(b));
    assert_int_equal(metrics_get(METRIC_adapter_hits_total, RESIDENCY_hit), hits + 1);
    residency_state(f.r, &s);
    assert_int_equal(s.resident, 1);
    assert_int_equal(s.leases, 2);
    assert_int_equal(s.bytes, 10);
    assert_int_equal(metrics_get(METRIC_adapter_leases, 0), 2);
    (void)lease_release(a);
    (void)lease_release(b);
    assert_null(lease_release(NULL));
    residency_state(f.r, &s);
    assert_int_equal(s.leases, 0);
    assert_int_equal(f.loads, 1);
    finish(&f);
}

static void the_least_recently_used_goes_first(void **state)
{
    struct fake f;
    (void)state;
    start(&f, 30, 1);
    touch(&f, 1, 10);
    touch(&f, 2, 10);
    touch(&f, 3, 10);
    touch(&f, 1, 10); /* 2 is the oldest now */
    touch(&f, 4, 10);
    assert_false(has(&f, 2));
    assert_true(has(&f, 1) && has(&f, 3) && has(&f, 4));
    touch(&f, 5, 10);
    assert_false(has(&f, 3));
    touch(&f, 6, 30); /* needs everything */
    assert_true(has(&f, 6));
    assert_false(has(&f, 1) || has(&f, 4) || has(&f, 5));
    assert_int_equal(f.unloads, 5);
    finish(&f);
}

static void a_leased_revision_is_never_evicted(void **state)
{
    struct fake f;
    struct lease *held, *l;
    struct waiting w;
    struct fail why;
    (void)state;
    start(&f, 30, 2);
    assert_int_equal(take_now(&f, 1, 20, &held, NULL), 0);
    touch(&f, 2, 10);
    touch(&f, 3, 10);
    touch(&f, 4, 10);
    assert_true(has(&f, 1));
    assert_int_equal(take(&f, 5, 20, 80, &w, &l, &why), ADAPTERS_PENDING); /* no room */
    assert_true(waiting_done(&w, 5000));
    assert_null(w.lease);
    assert_int_equal(w.fail.code, FAIL_timeout);
    (void)lease_wait_free(w.wait);
    assert_int_equal(take(&f, 5, 20, 5000, &w, &l, &why), ADAPTERS_PENDING);
    touch(&f, 6, 10); /* a smaller one passes meanwhile */
    (void)lease_release(held);
    assert_true(waiting_done(&w, 5000)); /* the room it waited for */
    assert_non_null(w.lease);
    assert_false(has(&f, 1));
    (void)lease_release(w.lease);
    (void)lease_wait_free(w.wait);
    finish(&f);
}

static void thirty_two_acquisitions_share_one_load(void **state)
{
    struct fake f;
    struct waiting w[32];
    struct lease *l;
    (void)state;
    start(&f, 100, 4);
    f.hold = true;
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(take(&f, 1, 10, 10000, &w[i], &l, NULL), ADAPTERS_PENDING);
    f.hold = false;
    for (unsigned i = 0; i < 32; i++) {
        assert_true(waiting_done(&w[i], 10000));
        assert_non_null(w[i].lease);
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(lease_residency(w[i].lease), RESIDENCY_cold);
        (void)lease_wait_free(w[i].wait);
        (void)lease_release(w[i].lease);
    }
    assert_int_equal(f.loads, 1);
    finish(&f);
}

static void no_more_loads_than_allowed_run_at_once(void **state)
{
    struct fake f;
    struct waiting w[12];
    struct lease *l;
    (void)state;
    start(&f, 1000, 3);
    f.delay_ms = 10;
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(take(&f, 1 + i, 10, 10000, &w[i], &l, NULL), ADAPTERS_PENDING);
    for (unsigned i = 0; i < 12; i++) {
        assert_true(waiting_done(&w[i], 10000));
        assert_non_null(w[i].lease);
        (void)lease_release(w[i].lease);
        (void)lease_wait_free(w[i].wait);
    }
    assert_int_equal(f.most, 3);
    finish(&f);
}

static void a_failed_load_answers_every_wait_and_is_tried_again_later(void **state)
{
    struct fake f;
    struct waiting w[4];
    struct lease *l;
    struct fail why;
    (void)state;
    start(&f, 100, 1);
    f.refuse = true;
    f.hold = true;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(take(&f, 1, 10, 5000, &w[i], &l, NULL), ADAPTERS_PENDING);
    f.hold = false;
    for (unsigned i = 0; i < 4; i++) {
        assert_true(waiting_done(&w[i], 5000));
        assert_null(w[i].lease);
        assert_int_equal(w[i].fail.code, FAIL_unprocessable_adapter);
        (void)lease_wait_free(w[i].wait);
    }
    assert_int_equal(take_now(&f, 1, 10, &l, &why), FAILED); /* remembered, not loaded again */
    assert_int_equal(why.code, FAIL_unprocessable_adapter);
    assert_int_equal(f.loads, 1);
    f.refuse = false;
    (void)usleep(1100 * 1000);
    touch(&f, 1, 10);
    assert_int_equal(f.loads, 2);
    f.refuse = true; /* for finish(): one load gave nothing to unload */
    finish(&f);
}

static void a_revision_above_the_budget_is_refused_with_the_numbers(void **state)
{
    struct fake f;
    struct lease *l;
    struct fail why;
    (void)state;
    start(&f, 100, 1);
    f.factor = 3;
    assert_int_equal(take_now(&f, 1, 50, &l, &why), FAILED);
    assert_int_equal(why.code, FAIL_unprocessable_adapter);
    assert_non_null(strstr(why.message, "150"));
    assert_non_null(strstr(why.message, "100"));
    finish(&f);
}

static void a_load_that_grew_waits_for_room(void **state)
{
    struct fake f;
    struct lease *held, *l;
    struct waiting w;
    struct residency_state s;
    (void)state;
    start(&f, 100, 1);
    assert_int_equal(take_now(&f, 1, 60, &held, NULL), 0);
    f.factor = 2;
    assert_int_equal(take(&f, 2, 30, 10000, &w, &l, NULL), ADAPTERS_PENDING); /* really 60 */
    for (unsigned i = 0; i < 1000 && f.unloads == 0; i++)
        (void)usleep(1000);
    assert_int_equal(f.unloads, 1); /* it did not fit and was given back */
    residency_state(f.r, &s);
    assert_int_equal(s.bytes, 60);
    (void)lease_release(held);
    assert_true(waiting_done(&w, 5000));
    assert_non_null(w.lease);
    residency_state(f.r, &s);
    assert_int_equal(s.bytes, 60);
    assert_false(has(&f, 1));
    (void)lease_release(w.lease);
    (void)lease_wait_free(w.wait);
    finish(&f);
}

static void a_deadline_answers_while_the_loader_works(void **state)
{
    struct fake f;
    struct waiting w, late;
    struct lease *l;
    (void)state;
    start(&f, 100, 1);
    f.hold = true;
    assert_int_equal(take(&f, 1, 10, 50, &w, &l, NULL), ADAPTERS_PENDING);
    assert_int_equal(take(&f, 1, 10, 8000, &late, &l, NULL), ADAPTERS_PENDING);
    uint64_t start_ms = clock_ms();
    assert_true(waiting_done(&w, 5000));
    assert_true(clock_ms() - start_ms < 3000);
    assert_int_equal(w.fail.code, FAIL_timeout);
    assert_false(lease_wait_cancel(w.wait)); /* it was called */
    f.hold = false;
    assert_true(waiting_done(&late, 5000));
    assert_non_null(late.lease); /* the load went on for the others */
    (void)lease_release(late.lease);
    (void)lease_wait_free(late.wait);
    assert_int_equal(w.calls, 1);
    finish(&f);
}

static void a_cancelled_wait_is_never_called(void **state)
{
    struct fake f;
    struct waiting first, w;
    struct lease *l;
    (void)state;
    start(&f, 100, 1);
    f.hold = true;
    assert_int_equal(take(&f, 1, 10, 10000, &first, &l, NULL), ADAPTERS_PENDING);
    assert_int_equal(take(&f, 2, 10, 10000, &w, &l, NULL), ADAPTERS_PENDING);
    assert_true(lease_wait_cancel(w.wait));
    f.hold = false;
    assert_true(waiting_done(&first, 5000));
    (void)lease_release(first.lease);
    (void)lease_wait_free(first.wait);
    (void)usleep(20000);
    assert_int_equal(w.calls, 0);
    assert_int_equal(f.loads, 1); /* nobody wanted the second any more */
    finish(&f);
}

static void stopping_answers_what_waits(void **state)
{
    struct fake f;
    struct waiting w[3];
    struct lease *l;
    (void)state;
    start(&f, 100, 1);
    f.delay_ms = 50;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(take(&f, 1 + i, 10, 10000, &w[i], &l, NULL), ADAPTERS_PENDING);
    while (f.loads == 0)
        (void)usleep(1000);
    finish(&f); /* one runs, two are queued */
    assert_int_equal(f.loads, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_null(w[i].lease);
        assert_int_equal(w[i].fail.code, FAIL_overloaded);
        (void)lease_wait_free(w[i].wait);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_acquisition_is_a_hit),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(a_leased_revision_is_never_evicted),
        cmocka_unit_test(thirty_two_acquisitions_share_one_load),
        cmocka_unit_test(no_more_loads_than_allowed_run_at_once),
        cmocka_unit_test(a_failed_load_answers_every_wait_and_is_tried_again_later),
        cmocka_unit_test(a_revision_above_the_budget_is_refused_with_the_numbers),
        cmocka_unit_test(a_load_that_grew_waits_for_room),
        cmocka_unit_test(a_deadline_answers_while_the_loader_works),
        cmocka_unit_test(a_cancelled_wait_is_never_called),
        cmocka_unit_test(stopping_answers_what_waits),
    };
    return TEST_RUN(tests);
}
