/* Residency's loads: lanes, packed files, fairness between tenants, pace, and loads ahead. */
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "tests/unit/adapters/residency_fake.h"

#define WAIT_MS 10000

static const struct residency_limits roomy = { .max_bytes = 10000, .max_loads = 1 };

static bool is_even(unsigned id)
{
    return id % 2 == 0;
}

static bool is_any(unsigned id)
{
    return true;
}

static void with_cache(struct fake *f)
{
    struct fail why;
    if (blob_cache_open(&f->cache, test_temp_dir(), 64 * MIB, &why) != 0)
        fail_msg("%s", why.message);
}

/* Begins to wait for a lease. */
static void begin(struct fake *f, unsigned id, uint64_t bytes, const char *tenant,
                  struct waiting *w)
{
    struct lease *l;
    struct residency_ask how = { .tenant = str_of(tenant), .deadline_ms = clock_ms() + WAIT_MS };
    assert_int_equal(fake_take(f, id, bytes, &how, w, &l, NULL), ADAPTERS_PENDING);
}

static void end(struct waiting *w)
{
    assert_true(waiting_done(w, WAIT_MS + 5000));
    if (!w->lease)
        fail_msg("%s", w->fail.message);
    (void)lease_release(w->lease);
    (void)lease_wait_free(w->wait);
}

/* ---- lanes ---- */

static void a_stuck_fetch_holds_back_no_load_from_this_disk(void **state)
{
    static struct fake f;
    struct waiting stuck[3];
    (void)state;
    f = (struct fake){ .is_local = is_even, .hold_stage = true };
    fake_start(&f, &roomy);
    for (unsigned i = 0; i < ARRAY_LEN(stuck); i++)
        begin(&f, 1 + 2 * i, 10, "", &stuck[i]);
    while (atomic_load(&f.stages) == 0)
        (void)usleep(500);
    for (unsigned id = 2; id < 40; id += 2)
        fake_touch(&f, id, 10, "");
    assert_false(fake_has(&f, 1));
    f.hold_stage = false;
    for (unsigned i = 0; i < ARRAY_LEN(stuck); i++)
        end(&stuck[i]);
    fake_finish(&f);
}

static void a_packed_file_is_mapped_while_fetches_are_stuck(void **state)
{
    static struct fake f;
    struct waiting stuck[4];
    (void)state;
    f = (struct fake){ 0 };
    with_cache(&f);
    fake_start(&f, &(struct residency_limits){ .max_bytes = 100, .max_loads = 2 });
    fake_touch(&f, 1, 20, "");
    fake_touch(&f, 2, 100, ""); /* 1 is on disk only now */
    assert_false(fake_has(&f, 1));
    f.hold_stage = true;
    for (unsigned i = 0; i < ARRAY_LEN(stuck); i++)
        begin(&f, 3 + i, 20, "", &stuck[i]);
    while (atomic_load(&f.stages) < 2)
        (void)usleep(500);
    struct lease *l;
    assert_int_equal(fake_take_now(&f, 1, 20, "", &l, NULL), 0);
    assert_int_equal(lease_residency(l), RESIDENCY_disk);
    (void)lease_release(l);
    assert_int_equal(f.staged_by_id[1], 1);
    f.hold_stage = false;
    for (unsigned i = 0; i < ARRAY_LEN(stuck); i++)
        end(&stuck[i]);
    fake_finish(&f);
}

static void what_waits_for_memory_is_brought_near_meanwhile(void **state)
{
    static struct fake f;
    struct waiting w[8];
    struct lease *held;
    (void)state;
    f = (struct fake){ 0 };
    with_cache(&f);
    fake_start(&f, &(struct residency_limits){ .max_bytes = 20, .max_loads = 1 });
    assert_int_equal(fake_take_now(&f, 100, 20, "", &held, NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        begin(&f, 1 + i, 10, "", &w[i]);
    for (unsigned i = 0; i < 2000 && atomic_load(&f.packs) < 1 + ARRAY_LEN(w); i++)
        (void)usleep(1000);
    assert_int_equal(f.packs, 1 + ARRAY_LEN(w)); /* all packed, none in memory */
    assert_int_equal(f.maps, 1);
    (void)lease_release(held);
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        end(&w[i]);
    assert_int_equal(f.maps, 1 + ARRAY_LEN(w));
    fake_finish(&f);
}

/* ---- packed files ---- */

static void a_revision_is_packed_once_and_mapped_at_each_load(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ 0 };
    with_cache(&f);
    fake_start(&f, &(struct residency_limits){ .max_bytes = 20, .max_loads = 2 });
    for (unsigned round = 0; round < 5; round++)
        for (unsigned id = 1; id <= 3; id++)
            fake_touch(&f, id, 20, "");
    assert_int_equal(f.packs, 3);
    assert_int_equal(f.maps, 15);
    assert_int_equal(f.loads, 0);
    assert_int_equal(f.staged_by_id[1], 1);
    fake_finish(&f);
}

static void a_packed_file_of_another_layout_is_packed_anew_once(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ 0 };
    with_cache(&f);
    fake_start(&f, &(struct residency_limits){ .max_bytes = 20, .max_loads = 2 });
    fake_touch(&f, 1, 20, "");
    fake_touch(&f, 2, 20, "");
    f.layout = 1; /* as after an upgrade */
    fake_touch(&f, 1, 20, "");
    assert_int_equal(f.packs, 3);
    assert_int_equal(f.maps, 4);
    fake_touch(&f, 2, 20, "");
    assert_int_equal(f.packs, 4);
    assert_int_equal(f.loads, 0);
    fake_finish(&f);
}

static void what_cannot_be_kept_packed_is_loaded_all_the_same(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ .no_space = true };
    with_cache(&f);
    fake_start(&f, &roomy);
    fake_touch(&f, 1, 20, "");
    assert_int_equal(f.loads, 1);
    assert_int_equal(f.maps, 0);
    f.base_id = 0; /* a base without an identity */
    fake_touch(&f, 2, 20, "");
    assert_int_equal(f.loads, 2);
    assert_int_equal(f.packs, 1);
    fake_finish(&f);
}

static void what_packing_refuses_is_told_to_who_waits(void **state)
{
    static struct fake f;
    struct lease *l;
    struct fail why;
    (void)state;
    f = (struct fake){ .refuse_pack = true };
    with_cache(&f);
    fake_start(&f, &roomy);
    assert_int_equal(fake_take_now(&f, 1, 20, "", &l, &why), FAILED);
    assert_int_equal(why.code, FAIL_unprocessable_adapter);
    assert_string_equal(why.message, "refused");
    fake_finish(&f);
}

/* ---- fairness ---- */

static void a_flood_of_one_tenant_delays_another_by_one_load_of_each(void **state)
{
    static struct fake f;
    struct waiting flood[60], other[3];
    (void)state;
    f = (struct fake){ .is_local = is_any, .hold = true };
    fake_start(&f, &roomy);
    begin(&f, 200, 10, "big", &flood[0]);
    while (atomic_load(&f.loads) == 0)
        (void)usleep(500);
    for (unsigned i = 1; i < ARRAY_LEN(flood); i++)
        begin(&f, i, 10, "big", &flood[i]);
    for (unsigned i = 0; i < ARRAY_LEN(other); i++)
        begin(&f, 100 + i, 10, "small", &other[i]);
    f.hold = false;
    for (unsigned i = 0; i < ARRAY_LEN(flood); i++)
        end(&flood[i]);
    for (unsigned i = 0; i < ARRAY_LEN(other); i++)
        end(&other[i]);
    unsigned seen = 0;
    for (unsigned i = 0; i < 9; i++) /* one that ran, then by turns */
        seen += f.order[i] >= 100 && f.order[i] < 200;
    assert_int_equal(seen, ARRAY_LEN(other));
    fake_finish(&f);
}

static void turns_are_by_bytes_and_in_order_within_a_tenant(void **state)
{
    static struct fake f;
    struct waiting large[6], small[24];
    (void)state;
    f = (struct fake){ .is_local = is_any, .hold = true };
    fake_start(&f, &roomy);
    struct waiting first;
    begin(&f, 255, 1, "z", &first);
    while (atomic_load(&f.loads) == 0)
        (void)usleep(500);
    for (unsigned i = 0; i < ARRAY_LEN(large); i++)
        begin(&f, 1 + i, 40, "large", &large[i]);
    for (unsigned i = 0; i < ARRAY_LEN(small); i++)
        begin(&f, 100 + i, 10, "small", &small[i]);
    f.hold = false;
    end(&first);
    for (unsigned i = 0; i < ARRAY_LEN(large); i++)
        end(&large[i]);
    for (unsigned i = 0; i < ARRAY_LEN(small); i++)
        end(&small[i]);
    int of_large = 0, of_small = 0, last_large = 0, last_small = 0;
    for (unsigned i = 1; i < f.n_order; i++) {
        int id = (int)f.order[i];
        bool is_small = id >= 100;
        int *last = is_small ? &last_small : &last_large;
        assert_true(id > *last);
        *last = id;
        of_small += is_small ? 10 : 0;
        of_large += is_small ? 0 : 40;
        assert_true(of_large - of_small <= 50 && of_small - of_large <= 50);
    }
    fake_finish(&f);
}

static void a_tenant_keeps_half_its_share_from_the_flood_of_another(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ .is_local = is_any };
    fake_start(&f, &(struct residency_limits){ .max_bytes = 100, .max_loads = 1 });
    fake_touch(&f, 1, 10, "small");
    fake_touch(&f, 2, 10, "small");
    for (unsigned round = 0; round < 4; round++)
        for (unsigned id = 10; id < 40; id++) {
            fake_touch(&f, id, 10, "big");
            fake_touch(&f, id, 10, "big"); /* used more than the others */
        }
    assert_true(fake_has(&f, 1) && fake_has(&f, 2)); /* 20 of 100: below half of 50 */
    fake_touch(&f, 50, 100, "big");                  /* needs all: nobody else is asked to wait */
    assert_true(fake_has(&f, 50));
    fake_finish(&f);
}

/* ---- not waiting ---- */

static void who_does_not_wait_is_told_when_to_come_and_it_loads(void **state)
{
    static struct fake f;
    struct waiting w;
    struct lease *l;
    struct fail why = { 0 };
    struct residency_ask how = { .deadline_ms = CLOCK_NEVER, .no_wait = true };
    (void)state;
    f = (struct fake){ .delay_ms = 20 };
    fake_start(&f, &roomy);
    assert_int_equal(fake_take(&f, 1, 10, &how, &w, &l, &why), FAILED);
    assert_int_equal(why.code, FAIL_adapter_loading);
    assert_true(why.retry_after_s >= 1);
    assert_int_equal(fake_take(&f, 1, 10, &how, &w, &l, &why), FAILED);
    fake_settle(&f);
    assert_int_equal(fake_take(&f, 1, 10, &how, &w, &l, &why), 0);
    (void)lease_release(l);
    assert_int_equal(f.loads, 1);
    /* the estimate grows with what is queued before it */
    f.hold_stage = true;
    for (unsigned i = 0; i < 100; i++)
        (void)!fake_take(&f, 2 + i, 90, &how, &w, &l, &why);
    unsigned late = why.retry_after_s;
    assert_int_equal(fake_take(&f, 150, 1, &how, &w, &l, &why), FAILED);
    assert_true(why.retry_after_s >= late);
    f.hold_stage = false;
    fake_settle(&f);
    fake_finish(&f);
}

/* ---- pace ---- */

static void no_more_bytes_begin_to_load_than_the_rate_allows(void **state)
{
    static struct fake f;
    struct waiting w[6];
    (void)state;
    f = (struct fake){ .is_local = is_any };
    fake_start(&f,
               &(struct residency_limits){ .max_bytes = 10000, .max_loads = 4, .max_rate = 1000 });
    uint64_t start = clock_ms();
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        begin(&f, 1 + i, 50, "", &w[i]);
    for (unsigned i = 0; i < ARRAY_LEN(w); i++)
        end(&w[i]);
    assert_true(clock_ms() - start >= 5 * 50 - 5); /* the first is free; 50 ms each then */
    fake_finish(&f);
}

/* ---- ahead of requests ---- */

static void ahead(struct fake *f, unsigned id, uint64_t bytes, enum ahead why, double warmth)
{
    struct adapter_revision rev = fake_rev(id, bytes);
    residency_ahead(f->r, &rev, STR(""), why, warmth);
}

static void a_hint_loads_behind_what_requests_wait_for(void **state)
{
    static struct fake f;
    struct waiting first, w;
    (void)state;
    f = (struct fake){ .is_local = is_any, .hold = true };
    fake_start(&f, &roomy);
    begin(&f, 1, 10, "", &first);
    while (atomic_load(&f.loads) == 0)
        (void)usleep(500);
    ahead(&f, 2, 10, AHEAD_hint, 0);
    ahead(&f, 3, 10, AHEAD_hint, 0);
    begin(&f, 4, 10, "", &w);
    f.hold = false;
    end(&first);
    end(&w);
    fake_settle(&f);
    assert_int_equal(f.order[1], 4);
    assert_true(fake_has(&f, 2) && fake_has(&f, 3));
    fake_finish(&f);
}

static void a_load_ahead_evicts_only_what_is_worth_less(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ .is_local = is_any };
    fake_start(&f, &(struct residency_limits){ .max_bytes = 20, .max_loads = 1 });
    for (unsigned i = 0; i < 8; i++)
        fake_touch(&f, 1, 10, "");
    fake_touch(&f, 2, 10, "");
    ahead(&f, 3, 20, AHEAD_hint, 0); /* would need both */
    fake_settle(&f);
    assert_true(fake_has(&f, 1) && fake_has(&f, 2) && !fake_has(&f, 3));
    ahead(&f, 4, 10, AHEAD_hint, 0); /* as warm as 2, and later */
    fake_settle(&f);
    assert_true(fake_has(&f, 1) && fake_has(&f, 4));
    ahead(&f, 5, 10, AHEAD_restored, 100); /* into free room only */
    fake_settle(&f);
    assert_false(fake_has(&f, 5));
    fake_finish(&f);
}

static void what_a_moved_name_means_is_as_warm_as_what_it_meant(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ .is_local = is_any };
    fake_start(&f, &(struct residency_limits){ .max_bytes = 20, .max_loads = 1 });
    for (unsigned i = 0; i < 8; i++)
        fake_touch(&f, 1, 10, "");
    fake_touch(&f, 2, 10, "");
    struct adapter_revision moved = fake_rev(3, 10);
    (void)snprintf(moved.adapter, sizeof(moved.adapter), "x1");
    residency_ahead(f.r, &moved, STR(""), AHEAD_moved, 0);
    fake_settle(&f);
    assert_true(fake_has(&f, 1) && fake_has(&f, 3) && !fake_has(&f, 2));
    fake_finish(&f);
}

static void what_is_published_is_packed_and_not_loaded(void **state)
{
    static struct fake f;
    (void)state;
    f = (struct fake){ 0 };
    with_cache(&f);
    fake_start(&f, &roomy);
    ahead(&f, 1, 10, AHEAD_published, 0);
    fake_settle(&f);
    assert_int_equal(f.packs, 1);
    assert_int_equal(f.maps, 0);
    ahead(&f, 1, 10, AHEAD_published, 0); /* it is */
    fake_settle(&f);
    assert_int_equal(f.packs, 1);
    f.hold_stage = true;
    ahead(&f, 2, 10, AHEAD_published, 0);
    while (atomic_load(&f.stages) == 0)
        (void)usleep(500);
    struct waiting w;
    begin(&f, 2, 10, "", &w); /* wanted after all */
    f.hold_stage = false;
    end(&w);
    assert_true(fake_has(&f, 2));
    fake_touch(&f, 1, 10, "");
    assert_int_equal(f.packs, 2);
    assert_int_equal(f.loads, 0);
    fake_finish(&f);
}

static void residents_are_listed_in_parts(void **state)
{
    static struct fake f;
    struct warm_revision rows[3];
    bool seen[FAKE_IDS] = { 0 };
    size_t cursor = 0, n, all = 0;
    (void)state;
    f = (struct fake){ .is_local = is_any };
    fake_start(&f, &roomy);
    for (unsigned id = 1; id <= 40; id++)
        fake_touch(&f, id, 10, "");
    while ((n = residency_list(f.r, &cursor, rows, ARRAY_LEN(rows)))) {
        for (size_t i = 0; i < n; i++) {
            assert_false(seen[rows[i].rev.ordinal]);
            seen[rows[i].rev.ordinal] = true;
        }
        all += n;
    }
    assert_int_equal(all, 40);
    struct sha256 in_use[4];
    struct lease *l;
    assert_int_equal(residency_in_use(f.r, in_use, ARRAY_LEN(in_use)), 0);
    assert_int_equal(fake_take_now(&f, 7, 10, "", &l, NULL), 0);
    assert_int_equal(residency_in_use(f.r, in_use, ARRAY_LEN(in_use)), 1);
    assert_true(sha256_eq(&in_use[0], &lease_revision(l)->digest));
    (void)lease_release(l);
    fake_finish(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stuck_fetch_holds_back_no_load_from_this_disk),
        cmocka_unit_test(a_packed_file_is_mapped_while_fetches_are_stuck),
        cmocka_unit_test(what_waits_for_memory_is_brought_near_meanwhile),
        cmocka_unit_test(a_revision_is_packed_once_and_mapped_at_each_load),
        cmocka_unit_test(a_packed_file_of_another_layout_is_packed_anew_once),
        cmocka_unit_test(what_cannot_be_kept_packed_is_loaded_all_the_same),
        cmocka_unit_test(what_packing_refuses_is_told_to_who_waits),
        cmocka_unit_test(a_flood_of_one_tenant_delays_another_by_one_load_of_each),
        cmocka_unit_test(turns_are_by_bytes_and_in_order_within_a_tenant),
        cmocka_unit_test(a_tenant_keeps_half_its_share_from_the_flood_of_another),
        cmocka_unit_test(who_does_not_wait_is_told_when_to_come_and_it_loads),
        cmocka_unit_test(no_more_bytes_begin_to_load_than_the_rate_allows),
        cmocka_unit_test(a_hint_loads_behind_what_requests_wait_for),
        cmocka_unit_test(a_load_ahead_evicts_only_what_is_worth_less),
        cmocka_unit_test(what_a_moved_name_means_is_as_warm_as_what_it_meant),
        cmocka_unit_test(what_is_published_is_packed_and_not_loaded),
        cmocka_unit_test(residents_are_listed_in_parts),
    };
    return TEST_RUN(tests);
}
