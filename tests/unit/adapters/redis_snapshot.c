/* A gateway that starts from its snapshot: with its Redis, without it, and with another. */
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

struct site {
    struct test_redis redis;
    struct config config;
    struct fake_loader fake;
    struct adapter_loader loader;
    char snapshot[1024];
};

static struct adapters *gateway(struct site *s)
{
    struct adapters *a;
    assert_int_equal(adapters_open(&a, &s->config, &s->loader, NULL), 0);
    return a;
}

/* `sql` is published, and the gateway that saw it has stopped. */
static void open_site(struct site *s)
{
    struct adapter_revision r;
    *s = (struct site){ .redis = { .password = "s3cret-word" } };
    test_redis_start(&s->redis);
    (void)snprintf(s->redis.url, sizeof(s->redis.url), "redis://:s3cret-word@127.0.0.1:%d/0",
                   s->redis.port);
    s->config = redis_config(s->redis.url, test_temp_dir());
    (void)snprintf(s->snapshot, sizeof(s->snapshot), "%s/catalog.snapshot", test_temp_dir());
    s->config.adapters.catalog_snapshot = str_of(s->snapshot);
    s->loader = loader_of(&s->fake);
    struct adapters *a = gateway(s);
    assert_int_equal(push(a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_int_equal(adapters_wait_epoch(a, STR("demo"), STR("sql"), 1, 10000, NULL), 0);
    assert_null(adapters_close(a));
    assert_int_equal(access(s->snapshot, R_OK), 0);
}

static int find(struct adapters *a, const char *name, struct adapter_revision *ret, struct fail *f)
{
    struct adapter_name n = { .adapter = str_of(name) };
    return adapters_resolve(a, &n, ret, f);
}

static bool comes_to(struct adapters *a, const char *name, int result)
{
    struct adapter_revision r;
    struct fail f;
    uint64_t until = clock_ms() + 10000;
    while (find(a, name, &r, &f) != result && clock_ms() < until)
        (void)usleep(10000);
    return find(a, name, &r, &f) == result;
}

static void a_gateway_starts_without_redis(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s);
    test_redis_kill(&s.redis);
    struct adapters *a = gateway(&s);
    assert_int_equal(find(a, "sql", &r, &f), 0);
    assert_int_equal(r.ordinal, 1);
    assert_int_equal(find(a, "other", &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_catalog_unavailable); /* it may exist */
    test_redis_again(&s.redis);
    struct adapters *writer;
    assert_int_equal(adapters_open(&writer, &s.config, NULL, NULL), 0);
    assert_true(comes_to(writer, "sql", 0)); /* Redis has read its files */
    assert_int_equal(push(writer, "demo", "other", new_peft(2), NULL, &r, NULL), 0);
    assert_true(comes_to(a, "other", 0));
    assert_int_equal(find(a, "sql", &r, &f), 0);
    assert_null(adapters_close(writer));
    assert_null(adapters_close(a));
    test_redis_stop(&s.redis);
}

static void what_changed_meanwhile_is_read(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s);
    struct adapters *writer;
    assert_int_equal(adapters_open(&writer, &s.config, NULL, NULL), 0);
    assert_int_equal(push(writer, "demo", "other", new_peft(2), NULL, &r, NULL), 0);
    assert_int_equal(push(writer, "demo", "sql", new_peft(3), "prod", &r, NULL), 0);
    assert_null(adapters_close(writer));
    struct adapters *a = gateway(&s);
    assert_true(comes_to(a, "other", 0));
    uint64_t until = clock_ms() + 10000;
    do
        assert_int_equal(find(a, "sql", &r, &f), 0);
    while (r.ordinal != 2 && clock_ms() < until);
    assert_int_equal(r.ordinal, 2);
    assert_null(adapters_close(a));
    test_redis_stop(&s.redis);
}

static void flush_all(const struct site *s)
{
    redisReply *reply = test_redis_do(&s->redis, "FLUSHALL");
    assert_int_equal(reply->type, REDIS_REPLY_STATUS);
    freeReplyObject(reply);
}

/* An operator who empties Redis and starts the gateways means it. */
static void a_redis_that_answers_at_the_start_is_right(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s);
    flush_all(&s);
    struct adapters *a = gateway(&s);
    assert_int_equal(find(a, "sql", &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_model_not_found);
    struct adapters_state st;
    adapters_state(a, &st);
    assert_int_equal(st.known, 0);
    assert_int_equal(push(a, "demo", "new", new_peft(4), NULL, &r, NULL), 0);
    assert_null(adapters_close(a));
    a = gateway(&s); /* and the next snapshot is of the new one */
    assert_int_equal(find(a, "new", &r, &f), 0);
    assert_int_equal(find(a, "sql", &r, &f), FAILED);
    assert_null(adapters_close(a));
    test_redis_stop(&s.redis);
}

/* What was served from the snapshot goes on, and goes back into a Redis that lost it. */
static void a_redis_that_comes_back_empty_is_restored(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s);
    flush_all(&s);
    test_redis_kill(&s.redis);
    struct adapters *a = gateway(&s);
    assert_int_equal(find(a, "sql", &r, &f), 0);
    test_redis_again(&s.redis);
    struct adapters *other;
    s.config.adapters.catalog_snapshot = STR("");
    assert_int_equal(adapters_open(&other, &s.config, NULL, NULL), 0);
    assert_true(comes_to(other, "sql", 0));
    assert_int_equal(find(a, "sql", &r, &f), 0);
    assert_null(adapters_close(other));
    assert_null(adapters_close(a));
    test_redis_stop(&s.redis);
}

static void a_snapshot_has_no_password_and_serves_one_catalog(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    size_t n;
    (void)state;
    open_site(&s);
    CLEANUP(own_free) char *text = test_read(s.snapshot, &n);
    assert_int_equal(str_find((struct str){ text, n }, STR("s3cret")), -1);
    assert_true(str_find((struct str){ text, n }, STR("127.0.0.1")) > 0);
    test_redis_kill(&s.redis);
    s.config.adapters.catalog_namespace = STR("another");
    struct adapters *a = gateway(&s);
    assert_int_equal(find(a, "sql", &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_catalog_unavailable);
    assert_null(adapters_close(a));
    test_redis_stop(&s.redis);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_starts_without_redis),
        cmocka_unit_test(what_changed_meanwhile_is_read),
        cmocka_unit_test(a_redis_that_answers_at_the_start_is_right),
        cmocka_unit_test(a_redis_that_comes_back_empty_is_restored),
        cmocka_unit_test(a_snapshot_has_no_password_and_serves_one_catalog),
    };
    return TEST_RUN(tests);
}
