/* What is loaded before it is asked for, and where revisions are said to be. */
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/adapters.h"
#include "base/clock.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

enum { PATH = 512 };

static const char *temp_dir(char ret[static PATH])
{
    (void)snprintf(ret, PATH, "%s", test_temp_dir());
    return ret;
}

static bool comes_to(struct adapters *a, const char *name, enum residency want)
{
    struct adapter_name n = name_of(name);
    for (unsigned i = 0; i < 1000; i++) {
        enum residency now;
        if (adapters_where(a, &n, &now) && now == want)
            return true;
        (void)usleep(5000);
    }
    return false;
}

struct place {
    struct test_redis redis;
    struct fake_loader fake;
    struct adapter_loader loader;
    struct config config;
    struct adapters *a;
    char catalog[PATH], cache[PATH];
};

static void open_place(struct place *p, bool redis)
{
    memset(p, 0, sizeof(*p));
    p->loader = loader_of(&p->fake);
    if (redis) {
        test_redis_start(&p->redis);
        p->config = redis_config(p->redis.unix_url, temp_dir(p->cache));
    } else {
        p->config = directory_config(temp_dir(p->catalog));
        p->config.adapters.blob_cache = str_of(temp_dir(p->cache));
    }
    assert_int_equal(adapters_open(&p->a, &p->config, &p->loader, NULL), 0);
}

static void again(struct place *p)
{
    assert_null(adapters_close(p->a));
    assert_int_equal(adapters_open(&p->a, &p->config, &p->loader, NULL), 0);
}

static void close_place(struct place *p)
{
    assert_null(adapters_close(p->a));
    if (p->config.adapters.catalog == CATALOG_redis)
        test_redis_stop(&p->redis);
}

static void what_a_name_in_use_means_next_is_loaded_at_once(void **state)
{
    (void)state;
    for (unsigned redis = 0; redis < 2; redis++) {
        struct place p;
        struct adapter_revision one, two, other;
        open_place(&p, redis);
        assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
        assert_int_equal(push(p.a, "demo", "idle", new_peft(3), NULL, &other, NULL), 0);
        assert_string_equal(served(p.a, "sql"), hex_of(&one.digest));
        assert_int_equal(push(p.a, "demo", "sql", new_peft(2), "prod", &two, NULL), 0);
        assert_true(comes_to(p.a, "sql", RESIDENCY_hit)); /* nobody asked for it */
        assert_int_equal(p.fake.loads, 2);                /* nor was the other one in use */
        struct lease *l;
        assert_int_equal(acquire(p.a, "sql", &l, NULL), 0);
        assert_true(sha256_eq(&lease_revision(l)->digest, &two.digest));
        assert_int_equal(lease_residency(l), RESIDENCY_hit);
        (void)lease_release(l);
        close_place(&p);
    }
}

static void what_was_warm_is_loaded_again_after_a_restart(void **state)
{
    (void)state;
    for (unsigned redis = 0; redis < 2; redis++) {
        struct place p;
        struct adapter_revision r;
        open_place(&p, redis);
        assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
        assert_int_equal(push(p.a, "demo", "json", new_peft(2), NULL, &r, NULL), 0);
        (void)served(p.a, "sql");
        again(&p);
        assert_true(comes_to(p.a, "sql", RESIDENCY_hit));
        struct adapters_state s;
        adapters_state(p.a, &s);
        assert_int_equal(s.resident, 1);
        close_place(&p);
    }
}

static void a_damaged_file_of_what_was_warm_is_nothing(void **state)
{
    static const char *const texts[] = { "",
                                         "x",
                                         "rootstock warm 1\n",
                                         "rootstock warm 1\nx y z\n\n  \n",
                                         "rootstock warm 1\nffff 1 demo sql",
                                         "rootstock warm 2\nffff 1 demo sql\n" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct place p;
        char path[PATH + 16];
        struct adapter_revision r;
        open_place(&p, false);
        (void)snprintf(path, sizeof(path), "%s/warm", p.config.adapters.blob_cache.p);
        assert_null(adapters_close(p.a));
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        (void)fputs(texts[i], f);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(adapters_open(&p.a, &p.config, &p.loader, NULL), 0);
        assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
        assert_string_equal(served(p.a, "sql"), hex_of(&r.digest));
        close_place(&p);
    }
}

static void a_hint_loads_what_it_names(void **state)
{
    struct place p;
    struct adapter_revision r;
    struct fail why;
    struct adapter_name name = name_of("demo:sql"), unknown = name_of("demo:nothing");
    (void)state;
    open_place(&p, false);
    assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_int_equal(adapters_prefetch(p.a, &unknown, &why), FAILED);
    assert_int_equal(why.code, FAIL_model_not_found);
    assert_int_equal(adapters_prefetch(p.a, &name, &why), 0);
    assert_true(comes_to(p.a, "sql", RESIDENCY_hit));
    assert_int_equal(adapters_prefetch(p.a, &name, &why), 0);
    assert_int_equal(p.fake.loads, 1);
    close_place(&p);
}

static void what_was_fetched_is_on_disk_and_what_was_not_is_cold(void **state)
{
    struct place p;
    struct adapter_revision r;
    struct adapters *other;
    (void)state;
    open_place(&p, true);
    assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_int_equal(push(p.a, "demo", "json", new_peft(2), NULL, &r, NULL), 0);
    char cache[PATH];
    struct config c = redis_config(p.redis.unix_url, temp_dir(cache));
    assert_int_equal(adapters_open(&other, &c, &p.loader, NULL), 0);
    assert_true(comes_to(other, "sql", RESIDENCY_cold));
    (void)served(other, "sql");
    assert_true(comes_to(other, "sql", RESIDENCY_hit));
    assert_null(adapters_close(other));
    char path[PATH + 16];
    (void)snprintf(path, sizeof(path), "%s/warm", c.adapters.blob_cache.p);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(adapters_open(&other, &c, &p.loader, NULL), 0);
    assert_true(comes_to(other, "sql", RESIDENCY_disk));
    assert_true(comes_to(other, "json", RESIDENCY_cold));
    assert_null(adapters_close(other));
    close_place(&p);
}

static void who_does_not_wait_learns_of_a_name_and_comes_back(void **state)
{
    struct place p;
    struct adapter_revision r;
    (void)state;
    open_place(&p, true);
    assert_int_equal(push(p.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    struct adapter_name name = name_of("sql");
    struct waiting w;
    struct lease *l = NULL;
    struct fail why;
    name.no_wait = true;
    waiting_init(&w);
    int k = adapters_acquire(p.a, &name, clock_ms() + 5000, waiting_answer, &w, &l, &w.wait, &why);
    if (k == ADAPTERS_PENDING) { /* the catalog was asked */
        assert_true(waiting_done(&w, 5000));
        (void)lease_wait_free(w.wait);
        why = w.fail;
    }
    assert_null(l);
    assert_int_equal(why.code, FAIL_adapter_loading);
    assert_true(why.retry_after_s > 0);
    assert_true(comes_to(p.a, "sql", RESIDENCY_hit));
    close_place(&p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_name_in_use_means_next_is_loaded_at_once),
        cmocka_unit_test(what_was_warm_is_loaded_again_after_a_restart),
        cmocka_unit_test(a_damaged_file_of_what_was_warm_is_nothing),
        cmocka_unit_test(a_hint_loads_what_it_names),
        cmocka_unit_test(what_was_fetched_is_on_disk_and_what_was_not_is_cold),
        cmocka_unit_test(who_does_not_wait_learns_of_a_name_and_comes_back),
    };
    return TEST_RUN(tests);
}
