/* The Redis catalog against a real server that is killed, paused, wiped and filled with rubbish. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

struct site {
    struct test_redis redis;
    struct config config;
    struct fake_loader fake;
    struct adapter_loader loader;
    struct adapters *a;
    struct adapter_revision one, two;
};

/* A gateway with two revisions of `sql`, prod on the first, both resident unless `cold`; on a Redis
 * that runs. */
static void settle(struct site *s, bool cold)
{
    s->fake = (struct fake_loader){ 0 };
    s->loader = loader_of(&s->fake);
    assert_int_equal(adapters_open(&s->a, &s->config, &s->loader, NULL), 0);
    assert_int_equal(push(s->a, "demo", "sql", new_peft(1), NULL, &s->one, NULL), 0);
    assert_int_equal(push(s->a, "demo", "sql", new_peft(2), NULL, &s->two, NULL), 0);
    if (!cold) {
        assert_string_equal(served(s->a, "sql"), hex_of(&s->one.digest));
        char name[128];
        (void)snprintf(name, sizeof(name), "sql@%s", hex_of(&s->two.digest));
        assert_string_equal(served(s->a, name), hex_of(&s->two.digest));
    }
}

static void open_site(struct site *s, bool cold)
{
    *s = (struct site){ 0 };
    test_redis_start(&s->redis);
    s->config = redis_config(s->redis.url, test_temp_dir());
    settle(s, cold);
}

static void close_site(struct site *s)
{
    s->a = adapters_close(s->a);
    assert_int_equal(s->fake.loads, s->fake.unloads);
    test_redis_stop(&s->redis);
}

static bool is_connected(struct adapters *a)
{
    struct adapters_state st;
    adapters_state(a, &st);
    return st.connected;
}

static bool comes(struct adapters *a, bool connected, unsigned timeout_ms)
{
    uint64_t until = clock_ms() + timeout_ms;
    while (is_connected(a) != connected && clock_ms() < until)
        (void)usleep(5000);
    return is_connected(a) == connected;
}

static void drop(redisReply *r)
{
    assert_true(r->type != REDIS_REPLY_ERROR);
    freeReplyObject(r);
}

static enum fail_code code_of(struct adapters *a, const char *name)
{
    struct lease *l = NULL;
    struct fail f;
    int r = acquire(a, name, &l, &f);
    if (r == 0)
        (void)lease_release(l);
    return r == 0 ? FAIL_N : f.code;
}

/* The same once questions go through: their connection has a back-off of its own. */
static enum fail_code code_when_back(struct adapters *a, const char *name)
{
    uint64_t until = clock_ms() + 10000;
    enum fail_code code;
    while ((code = code_of(a, name)) == FAIL_catalog_unavailable && clock_ms() < until)
        (void)usleep(5000);
    return code;
}

static void known_adapters_are_served_while_redis_is_gone(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s, false);
    test_redis_kill(&s.redis);
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest));
    assert_true(comes(s.a, false, 5000));
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest));
    assert_string_equal(served(s.a, "demo:sql@prod"), hex_of(&s.one.digest));
    /* what it may not know is unavailable, not absent */
    assert_int_equal(code_of(s.a, "other"), FAIL_catalog_unavailable);
    assert_int_equal(code_of(s.a, "sql@blue"), FAIL_catalog_unavailable);
    assert_int_equal(code_of(s.a, "no name"), FAIL_model_not_found);
    /* writes are refused and change nothing */
    assert_int_equal(push(s.a, "demo", "sql", new_peft(3), NULL, &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_catalog_unavailable);
    assert_int_equal(
        adapters_alias(s.a, STR_NULL, STR("sql"), STR("prod"), STR("2"), STR_NULL, STR(""), &r, &f),
        FAILED);
    assert_int_equal(f.code, FAIL_catalog_unavailable);
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest));
    uint64_t start_ms = clock_ms();
    test_redis_again(&s.redis);
    assert_true(comes(s.a, true, 10000));
    print_message("# connected again after %u ms\n", (unsigned)(clock_ms() - start_ms));
    assert_int_equal(code_when_back(s.a, "other"), FAIL_model_not_found);
    assert_int_equal(set_alias(s.a, "sql", "prod", "2"), 0);
    assert_string_equal(served(s.a, "sql"), hex_of(&s.two.digest));
    close_site(&s);
}

static void changes_made_while_it_was_cut_off_arrive_when_it_is_back(void **state)
{
    struct site s;
    struct adapters *tool;
    struct adapter_revision r;
    (void)state;
    open_site(&s, false);
    test_redis_pause(&s.redis, true);
    assert_true(comes(s.a, false, 8000));
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest));
    test_redis_pause(&s.redis, false);
    struct config c = redis_config(s.redis.unix_url, test_temp_dir());
    assert_int_equal(adapters_open(&tool, &c, NULL, NULL), 0);
    assert_int_equal(set_alias(tool, "sql", "prod", "2"), 0);
    assert_int_equal(push(tool, "demo", "new", new_peft(7), NULL, &r, NULL), 0);
    assert_null(adapters_close(tool));
    assert_true(comes(s.a, true, 8000));
    assert_string_equal(served(s.a, "sql"), hex_of(&s.two.digest));
    assert_string_equal(served(s.a, "new"), hex_of(&r.digest));
    close_site(&s);
}

static void a_gateway_starts_without_redis_and_learns_later(void **state)
{
    struct site s;
    struct adapters *b;
    struct fake_loader fake = { 0 };
    struct adapter_loader loader = loader_of(&fake);
    (void)state;
    open_site(&s, true);
    test_redis_kill(&s.redis);
    assert_int_equal(adapters_open(&b, &s.config, &loader, NULL), 0);
    assert_int_equal(code_of(b, "sql"), FAIL_catalog_unavailable);
    test_redis_again(&s.redis);
    assert_true(comes(b, true, 10000));
    assert_string_equal(served(b, "sql"), hex_of(&s.one.digest));
    assert_null(adapters_close(b));
    close_site(&s);
}

static void a_wiped_redis_is_noticed_and_filled_again(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct fail f;
    (void)state;
    open_site(&s, false);
    drop(test_redis_do(&s.redis, "FLUSHALL"));
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest)); /* serves what it knows */
    if (push(s.a, "demo", "sql", new_peft(9), "prod", &r, &f) != 0)
        fail_msg("%s", f.message);
    assert_int_equal(r.ordinal, 3); /* the gateway has given back what it knew */
    assert_string_equal(served(s.a, "sql"), hex_of(&r.digest));
    assert_string_equal(served(s.a, "sql@prev"), hex_of(&s.one.digest));
    assert_int_equal(set_alias(s.a, "sql", "prod", "2"), 0);
    assert_string_equal(served(s.a, "sql"), hex_of(&s.two.digest));
    close_site(&s);
}

/* Runs `command KEY rest` on every key like `pattern`, which it deletes before if so told. */
static unsigned spoil(struct site *s, const char *pattern, bool del, const char *command,
                      const char *rest)
{
    redisReply *keys =
        test_redis_do(&s->redis, "KEYS %s:%s", s->config.adapters.catalog_namespace.p, pattern);
    assert_int_equal(keys->type, REDIS_REPLY_ARRAY);
    unsigned n = (unsigned)keys->elements;
    for (unsigned i = 0; i < n; i++) {
        char text[512];
        if (del)
            drop(test_redis_do(&s->redis, "DEL %s", keys->element[i]->str));
        (void)snprintf(text, sizeof(text), "%s %s %s", command, keys->element[i]->str, rest);
        freeReplyObject(test_redis_do(&s->redis, text));
    }
    freeReplyObject(keys);
    return n;
}

static void rubbish_in_its_keys_is_an_error_and_never_a_crash(void **state)
{
    static const struct {
        const char *pattern, *command, *rest;
        bool del;
    } rows[] = {
        { "c:*", "SET", "x", true },
        { "c:*", "HSET", "demo:sql short", false },
        { "c:*", "HSET", "demo:sql aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
        { "c:*", "HSET", ": x :: y a:b c \xff\xfe:\x01 z demo:../x w", false },
        { "f:*", "SET", "x", true },
        { "f:*", "HSET", "a b", true },
        { "h:*", "SET", "x", true },
        { "ep:*", "SET", "x", true },
        { "ep:*", "SET", "-5", true },
        { "ep:*", "HSET", "a b", true },
        { "ep:*", "DEL", "", false },
        { "ev:*", "SET", "x", true },
        { "ev:*", "DEL", "", false },
        { "ev:*", "XADD", "* a b", false },
        { "ev:*", "XADD", "* p x a y", false },
        { "ev:*", "XADD", "5000-0 p 4999 a demo:sql h rubbish", false },
        { "ev:*", "XADD", "5000-0 p 4000 a demo:sql", false },
        { "ev:*", "XADD", "5000-0 p 2 b rubbish", false },
        { "ev:*", "XADD", "5000-0 p 2 r somebody", false },
        { "u:*", "DEL", "", false },
        { "u:*", "HSET", "a b", true },
        { "meta", "SET", "x", true },
        { "meta", "DEL", "", false },
        { "meta", "HSET", "shards 3 buckets x", false },
        { "gateways:*", "SET", "x", true },
        { "g:*", "SET", "garbage", false },
    };
    struct adapter_revision r;
    struct adapter_info info, *infos;
    struct adapter_audit *lines;
    size_t n;
    (void)state;
    struct site s = { 0 };
    test_redis_start(&s.redis);
    s.config = redis_config(s.redis.url, test_temp_dir());
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[16]; /* a namespace of its own for each row */
        (void)snprintf(name, sizeof(name), "row%zu", i);
        s.config.adapters.catalog_namespace = str_of(name);
        settle(&s, false);
        if (spoil(&s, rows[i].pattern, rows[i].del, rows[i].command, rows[i].rest) == 0)
            fail_msg("no key like %s", rows[i].pattern);
        /* the known page serves on */
        assert_string_equal(served(s.a, "demo:sql"), hex_of(&s.one.digest));
        /* and nothing else crashes, in this process or in a new one */
        struct adapters *b;
        struct fake_loader fake = { 0 };
        struct adapter_loader loader = loader_of(&fake);
        CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
        assert_int_equal(adapters_open(&b, &s.config, &loader, NULL), 0);
        (void)served(b, "sql");
        (void)set_alias(b, "sql", "prod", "2");
        (void)push(b, "demo", "sql", new_peft(5), NULL, &r, NULL);
        (void)!adapters_rollback(b, STR_NULL, STR("sql"), STR("prod"), STR(""), &r, NULL);
        (void)!adapters_show(b, arena, STR_NULL, STR("sql"), &info, NULL);
        (void)!adapters_history(b, arena, STR("demo"), STR("sql"), &lines, &n, NULL);
        assert_int_equal(adapters_list(b, arena, STR(""), 0, &infos, &n), 0);
        assert_null(adapters_close(b));
        assert_string_not_equal(served(s.a, "demo:sql"), "");
        s.a = adapters_close(s.a);
        assert_int_equal(s.fake.loads, s.fake.unloads);
    }
    test_redis_stop(&s.redis);
}

static void another_gateway_fetches_the_files_and_checks_them(void **state)
{
    struct site s;
    struct lease *l;
    struct fake_loader fake = { 0 };
    struct adapter_loader loader = loader_of(&fake);
    struct adapters *b;
    struct fail f;
    (void)state;
    open_site(&s, true);
    struct config c = redis_config(s.redis.url, test_temp_dir()); /* an empty cache */
    assert_int_equal(adapters_open(&b, &c, &loader, NULL), 0);
    assert_int_equal(acquire(b, "sql", &l, &f), 0);
    assert_int_equal(lease_residency(l), RESIDENCY_cold);
    (void)lease_release(l);
    assert_null(adapters_close(b));
    assert_int_equal(adapters_open(&b, &c, &loader, NULL), 0); /* now they are on disk */
    assert_int_equal(acquire(b, "sql", &l, &f), 0);
    assert_int_equal(lease_residency(l), RESIDENCY_disk);
    (void)lease_release(l);
    assert_null(adapters_close(b));
    /* damaged in Redis: refused by its digest */
    redisReply *keys = test_redis_do(&s.redis, "KEYS test:b:*:0");
    assert_int_equal(keys->type, REDIS_REPLY_ARRAY);
    assert_int_equal(keys->elements, 5); /* two safetensors, one shared config, two manifests */
    for (size_t i = 0; i < keys->elements; i++)
        drop(test_redis_do(&s.redis, "SETRANGE %s 3 X", keys->element[i]->str));
    freeReplyObject(keys);
    c = redis_config(s.redis.url, test_temp_dir());
    assert_int_equal(adapters_open(&b, &c, &loader, NULL), 0);
    assert_int_equal(acquire(b, "sql", &l, &f), FAILED);
    assert_int_equal(f.code, FAIL_unprocessable_adapter);
    assert_non_null(strstr(f.message, "damaged"));
    assert_null(adapters_close(b));
    close_site(&s);
}

static void several_bases_may_have_an_adapter_of_one_name(void **state)
{
    struct site s;
    struct adapter_revision r;
    struct adapters *tool;
    (void)state;
    open_site(&s, true);
    assert_string_equal(served(s.a, "sql"), hex_of(&s.one.digest));
    assert_int_equal(push(s.a, "org/other:7b", "sql", new_peft(3), NULL, &r, NULL), 0);
    assert_int_equal(code_of(s.a, "sql"), FAIL_conflict);
    assert_string_equal(served(s.a, "demo:sql"), hex_of(&s.one.digest));
    assert_string_equal(served(s.a, "org/other:7b:sql"), hex_of(&r.digest));
    struct adapter_name name = name_of("sql");
    struct fail f;
    assert_int_equal(adapters_open(&tool, &s.config, NULL, NULL), 0);
    assert_int_equal(adapters_resolve(tool, &name, &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_conflict);
    assert_null(adapters_close(tool));
    close_site(&s);
}

static void a_password_is_used_and_its_absence_told(void **state)
{
    struct test_redis redis = { .password = "s3cr:et/@" };
    struct adapters *a;
    struct adapter_revision r;
    struct fail f;
    char url[128];
    (void)state;
    test_redis_start(&redis);
    (void)snprintf(url, sizeof(url), "redis://:s3cr%%3Aet%%2F%%40@127.0.0.1:%d/1", redis.port);
    struct config c = redis_config(url, test_temp_dir());
    assert_int_equal(adapters_open(&a, &c, NULL, NULL), 0);
    assert_int_equal(push(a, "demo", "sql", new_peft(1), NULL, &r, &f), 0);
    assert_null(adapters_close(a));
    (void)snprintf(url, sizeof(url), "redis://default:s3cr%%3Aet%%2F%%40@127.0.0.1:%d/1",
                   redis.port);
    c = redis_config(url, "/nonexistent");
    assert_int_equal(adapters_open(&a, &c, NULL, NULL), 0);
    struct adapter_name name = name_of("sql");
    assert_int_equal(adapters_resolve(a, &name, &r, &f), 0);
    assert_null(adapters_close(a));
    (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%d", redis.port);
    c = redis_config(url, "/nonexistent");
    assert_int_equal(adapters_open(&a, &c, NULL, NULL), 0);
    assert_int_equal(adapters_resolve(a, &name, &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_catalog_unavailable);
    assert_non_null(strstr(f.message, "NOAUTH"));
    assert_null(adapters_close(a));
    test_redis_stop(&redis);
}

static void an_url_that_is_none_is_refused_at_the_start(void **state)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        { "redis+sentinel://127.0.0.1:1", "master" },
        { "http://127.0.0.1", "redis://" },
        { "", "redis://" },
        { "redis://127.0.0.1:x/0", "port" },
        { "redis://127.0.0.1:70000", "port" },
        { "redis://127.0.0.1/x", "database" },
        { "redis://[::1:6379", "bracket" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct adapters *a = NULL;
        struct fail f;
        struct config c = redis_config(rows[i].url, "/nonexistent");
        assert_int_equal(adapters_open(&a, &c, NULL, &f), FAILED);
        if (!strstr(f.message, rows[i].says))
            fail_msg("%s: %s", rows[i].url, f.message);
    }
}

static void a_dead_gateway_delays_a_writer_only_for_a_while(void **state)
{
    struct site s;
    (void)state;
    open_site(&s, true);
    drop(test_redis_do(&s.redis, "SADD test:gateways:{g} ghost"));
    drop(test_redis_do(&s.redis, "SET test:g:{g}:ghost 0 PX 3000"));
    uint64_t start_ms = clock_ms();
    assert_int_equal(set_alias(s.a, "sql", "prod", "2"), 0);
    uint64_t took = clock_ms() - start_ms;
    assert_true(took >= 1900 && took < 6000);
    drop(test_redis_do(&s.redis, "DEL test:g:{g}:ghost"));
    start_ms = clock_ms();
    assert_int_equal(set_alias(s.a, "sql", "prod", "1"), 0);
    assert_true(clock_ms() - start_ms < 1500);
    redisReply *left = test_redis_do(&s.redis, "SISMEMBER test:gateways:{g} ghost");
    assert_int_equal(left->integer, 0);
    freeReplyObject(left);
    close_site(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_adapters_are_served_while_redis_is_gone),
        cmocka_unit_test(changes_made_while_it_was_cut_off_arrive_when_it_is_back),
        cmocka_unit_test(a_gateway_starts_without_redis_and_learns_later),
        cmocka_unit_test(a_wiped_redis_is_noticed_and_filled_again),
        cmocka_unit_test(rubbish_in_its_keys_is_an_error_and_never_a_crash),
        cmocka_unit_test(another_gateway_fetches_the_files_and_checks_them),
        cmocka_unit_test(several_bases_may_have_an_adapter_of_one_name),
        cmocka_unit_test(a_password_is_used_and_its_absence_told),
        cmocka_unit_test(an_url_that_is_none_is_refused_at_the_start),
        cmocka_unit_test(a_dead_gateway_delays_a_writer_only_for_a_while),
    };
    return TEST_RUN(tests);
}
