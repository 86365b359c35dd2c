/* The link to Redis against one real server, plain and over TLS, and against liars. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/adapters/links.h"

/* ---- URLs ---- */

static void urls_are_read_or_refused_with_the_reason(void **state)
{
    static const struct {
        const char *url;
        const char *says; /* NULL: it is fine */
    } rows[] = {
        { "redis://127.0.0.1", NULL },
        { "redis://user:secret@host:1/3", NULL },
        { "redis://[::1]:6379/2", NULL },
        { "rediss://host", NULL },
        { "unix:///run/redis.sock?db=3", NULL },
        { "unix://user:secret@/run/redis.sock", NULL },
        { "redis+sentinel://a,b:26380,c/mymaster/2", NULL },
        { "rediss+sentinel://user:secret@a/mymaster", NULL },
        { "redis+cluster://user:secret@a:1,[::1]:2", NULL },
        { "rediss+cluster://a", NULL },
        { "http://user:secret@a", "redis://" },
        { "", "redis://" },
        { "redis://user:secret@a:x", "port" },
        { "redis://user:secret@a:65536", "port" },
        { "redis://user:secret@a:0", "port" },
        { "redis://user:secret@a/x", "database" },
        { "redis://user:secret@a b", "host" },
        { "redis://[::1:1", "bracket" },
        { "redis+sentinel://user:secret@a,b", "master" },
        { "redis+sentinel://user:secret@a,,b/m", "empty" },
        { "redis+sentinel://user:secret@a/m/x", "database" },
        { "redis+cluster://user:secret@a/3", "database" },
        { "redis+cluster://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "16" },
        { "unix://relative.sock", "path" },
        { "unix:///a?user=secret", "db=" },
        { "unix:///a?db=x", "database" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct redis_link *l = NULL;
        struct fail f = { 0 };
        int r = redis_link_new(&l, str_of(rows[i].url), TIMEOUT_MS, &f);
        if (r != (rows[i].says ? FAILED : 0) ||
            (rows[i].says && (!strstr(f.message, rows[i].says) || strstr(f.message, "secret"))))
            fail_msg("%s: %d %s", rows[i].url, r, f.message);
        (void)redis_link_free(l);
    }
}

static void a_login_of_the_configuration_is_checked_at_the_start(void **state)
{
    static const struct {
        struct redis_options o;
        const char *says;
    } rows[] = {
        { { .url = { "redis://a", 9 }, .password_env = { "ROOTSTOCK_TEST_NONE", 19 } },
          "ROOTSTOCK_TEST_NONE" },
        { { .url = { "redis://a", 9 }, .password_env = { "HOME", 4 }, .password_file = { "x", 1 } },
          "not both" },
        { { .url = { "redis://a", 9 }, .tls_ca = { "x", 1 } }, "rediss://" },
        { { .url = { "rediss://a", 10 }, .tls_ca = { "/nonexistent.pem", 16 } },
          "adapters.catalog.tls.ca" },
        { { .url = { "rediss://a", 10 }, .tls_cert = { "/nonexistent.pem", 16 } }, "together" },
        { { .url = { "rediss://a", 10 },
            .tls_cert = { "/nonexistent.pem", 16 },
            .tls_key = { "/nonexistent.key", 16 } },
          "adapters.catalog.tls.cert" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct redis_link *l = NULL;
        struct fail f = { 0 };
        assert_int_equal(redis_link_open(&l, &rows[i].o, &f), FAILED);
        if (!strstr(f.message, rows[i].says))
            fail_msg("row %zu: %s", i, f.message);
    }
}

/* ---- one server ---- */

static void scripts_run_where_the_server_has_forgotten_them(void **state)
{
    struct test_redis redis = { 0 };
    (void)state;
    test_redis_start(&redis);
    struct redis_link *l = open_link(redis.url);
    add_to_all(l, "n", 3000, 1);
    drop(test_redis_do(&redis, "SCRIPT FLUSH"));
    add_to_all(l, "n", 3000, 2);
    add_to_all(l, "n", 1, 3);
    drop(test_redis_do(&redis, "SCRIPT FLUSH"));
    add_to_all(l, "n", 1, 4);
    assert_true(redis_link_up(l));
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

static void a_unix_socket_and_a_database_are_used(void **state)
{
    struct test_redis redis = { 0 };
    char url[512];
    (void)state;
    test_redis_start(&redis);
    (void)snprintf(url, sizeof(url), "%s?db=3", redis.unix_url);
    struct redis_link *l = open_link(url);
    assert_string_equal(set(l, "k", "in three"), "");
    assert_null(redis_link_free(l));
    (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%d/3", redis.port);
    l = open_link(url);
    check_value(l, "k", "in three");
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

static void errors_of_the_server_say_what_to_do(void **state)
{
    struct test_redis redis = { 0 };
    struct fail f;
    (void)state;
    test_redis_start(&redis);
    struct redis_link *l = open_link(redis.url);
    drop(test_redis_do(&redis, "LPUSH list a"));
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    assert_int_equal(REDIS_CALL(l, &reply, &f, STR("GET"), STR("list")), FAILED);
    assert_non_null(strstr(f.message, "WRONGTYPE"));
    assert_int_equal(f.code, FAIL_catalog_unavailable);
    drop(test_redis_do(&redis, "CONFIG SET maxmemory 1"));
    assert_non_null(strstr(set(l, "k", "v"), "raise maxmemory"));
    drop(test_redis_do(&redis, "CONFIG SET maxmemory 0"));
    drop(test_redis_do(&redis, "REPLICAOF 127.0.0.1 1"));
    assert_non_null(strstr(set(l, "k", "v"), "READONLY"));
    drop(test_redis_do(&redis, "REPLICAOF NO ONE"));
    drop(test_redis_do(&redis, "ACL SETUSER default -set -incrby"));
    assert_non_null(strstr(set(l, "k", "v"), "SET on k"));
    struct str argv[] = { STR("counter"), STR("1") };
    assert_int_equal(redis_run(l, &add_script, argv, 2, &reply, &f), 0);
    assert_int_equal(redis_check(reply, REDIS_REPLY_INTEGER, &f), FAILED);
    assert_non_null(strstr(f.message, "NOPERM"));
    assert_non_null(strstr(f.message, "counter"));
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

static void every_known_error_has_a_clear_message(void **state)
{
    static const struct {
        const char *reply, *says;
    } rows[] = {
        { "LOADING Redis is loading the dataset in memory", "loading" },
        { "READONLY You can't write against a read only replica.", "replica" },
        { "NOSCRIPT No matching script.", "script" },
        { "OOM command not allowed when used memory > 'maxmemory'.", "maxmemory" },
        { "NOAUTH Authentication required.", "password" },
        { "WRONGPASS invalid username-password pair or user is disabled.", "password" },
        { "NOPERM this user has no permissions to run the 'xadd' command", "xadd" },
        { "BUSY Redis is busy running a script.", "SCRIPT KILL" },
        { "MOVED 3999 127.0.0.1:6381", "redis+cluster://" },
        { "MISCONF Redis is configured to save RDB snapshots", "disk" },
        { "CLUSTERDOWN Hash slot not served", "slots" },
        { "ERR something else", "something else" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail f;
        redisReply r = { .type = REDIS_REPLY_ERROR,
                         .str = (char *)rows[i].reply,
                         .len = strlen(rows[i].reply) };
        assert_int_equal(redis_error(&r, &f), FAILED);
        assert_true(f.retry_after_s > 0);
        if (!strstr(f.message, rows[i].says))
            fail_msg("%s: %s", rows[i].reply, f.message);
    }
}

static void the_start_up_check_names_the_line_to_type(void **state)
{
    struct test_redis redis = { 0 };
    (void)state;
    test_redis_start(&redis);
    struct redis_link *l = open_link(redis.url);
    drop(test_redis_do(&redis, "CONFIG SET hash-max-ziplist-value 512"));
    drop(test_redis_do(&redis, "CONFIG SET hash-max-ziplist-entries 512"));
    assert_string_equal(advice(l), "");
    drop(test_redis_do(&redis, "CONFIG SET hash-max-ziplist-value 64"));
    assert_non_null(strstr(advice(l), "-value 192"));
    assert_null(strstr(advice(l), "-entries"));
    drop(test_redis_do(&redis, "CONFIG SET hash-max-ziplist-entries 16"));
    assert_non_null(strstr(advice(l), "-entries 128"));
    drop(test_redis_do(&redis, "CONFIG SET maxmemory-policy allkeys-lru"));
    assert_non_null(strstr(advice(l), "CONFIG SET maxmemory-policy noeviction"));
    drop(test_redis_do(&redis, "CONFIG SET appendonly no"));
    assert_non_null(strstr(advice(l), "CONFIG SET appendonly yes"));
    freeReplyObject(test_redis_do(&redis, "CONFIG SET save %s", "60 1"));
    assert_null(strstr(advice(l), "appendonly"));
    drop(test_redis_do(&redis, "ACL SETUSER default -config"));
    assert_non_null(strstr(advice(l), "CONFIG is refused"));
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

/* ---- logins ---- */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void users_log_in_by_url_variable_or_file(void **state)
{
    struct test_redis redis = { 0 };
    char path[512], url[128];
    (void)state;
    test_redis_start(&redis);
    drop(test_redis_do(&redis, "ACL SETUSER gw on >first ~* +@all"));
    drop(test_redis_do(&redis, "ACL SETUSER default off"));
    struct redis_link *l;
    (void)snprintf(url, sizeof(url), "redis://gw:first@127.0.0.1:%d", redis.port);
    l = open_link(url);
    assert_string_equal(set(l, "k", "v"), "");
    assert_null(redis_link_free(l));
    (void)snprintf(url, sizeof(url), "redis://gw:wrongpw@127.0.0.1:%d", redis.port);
    l = open_link(url);
    assert_non_null(strstr(set(l, "k", "v"), "WRONGPASS"));
    assert_null(strstr(set(l, "k", "v"), "wrongpw"));
    assert_null(redis_link_free(l));
    (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%d", redis.port);
    assert_int_equal(setenv("ROOTSTOCK_TEST_PASSWORD", "first", 1), 0);
    struct redis_options o = { .url = str_of(url),
                               .timeout_ms = TIMEOUT_MS,
                               .user = STR("gw"),
                               .password_env = STR("ROOTSTOCK_TEST_PASSWORD") };
    assert_int_equal(redis_link_open(&l, &o, NULL), 0);
    assert_string_equal(set(l, "k", "v"), "");
    assert_null(redis_link_free(l));
    (void)snprintf(path, sizeof(path), "%s/password", test_temp_dir());
    write_text(path, "first\n");
    (void)snprintf(url, sizeof(url), "redis://gw@127.0.0.1:%d", redis.port);
    o = (struct redis_options){ .url = str_of(url),
                                .timeout_ms = TIMEOUT_MS,
                                .password_file = str_of(path) };
    assert_int_equal(redis_link_open(&l, &o, NULL), 0);
    assert_string_equal(set(l, "k", "v"), "");
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

/* ---- what a peer may say ---- */

struct liar {
    int fd, port;
    pthread_t thread;
    const char *says;
    size_t n, times; /* what is said, and how often */
    bool stays;      /* open, and silent afterwards */
};

static void *lie(void *arg)
{
    struct liar *p = arg;
    char question[4096];
    int fd = accept(p->fd, NULL, NULL);
    if (fd < 0)
        return NULL;
    (void)!recv(fd, question, sizeof(question), 0);
    bool heard = true;
    for (size_t i = 0; heard && i < p->times; i++)
        heard = send(fd, p->says, p->n, MSG_NOSIGNAL) == (ssize_t)p->n;
    if (p->stays)
        (void)!recv(fd, question, sizeof(question), 0); /* until the link hangs up */
    (void)close(fd);
    return NULL;
}

static void start_liar(struct liar *p)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(p->fd, 1), 0);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&a, &len), 0);
    p->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, lie, p), 0);
}

static void what_no_redis_would_say_is_an_error_and_holds_little(void **state)
{
    static char filler[64 * KIB]; /* of '+', the beginning of a status without an end */
    static const struct {
        const char *says;
        size_t times;
        bool stays;
    } rows[] = {
        { "*2147483647\r\n", 1, true },
        { "*1048577\r\n", 1, true },
        { "*4000000000\r\n", 1, true },
        { "$99999999999999\r\n", 1, true },
        { "$-7\r\n", 1, true },
        { "*-9\r\n", 1, true },
        { "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 1, true },
        { "*2\r\n*900000\r\n", 1, false },
        { ":12a\r\n", 1, true },
        { "HTTP/1.1 400 Bad Request\r\n\r\n", 1, true },
        { "\x16\x03\x01\x02", 1, true },
        { "$10\r\nabc", 1, false },
        { "", 0, true },  /* silence */
        { "", 0, false }, /* the end */
        { NULL, 5000, true },
    };
    (void)state;
    memset(filler, '+', sizeof(filler));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct liar liar = { .says = rows[i].says ? rows[i].says : filler,
                             .n = rows[i].says ? strlen(rows[i].says) : sizeof(filler),
                             .times = rows[i].times,
                             .stays = rows[i].stays };
        char url[64];
        struct redis_link *l;
        struct fail f = { 0 };
        CLEANUP(redis_reply_free) redisReply *reply = NULL;
        start_liar(&liar);
        (void)snprintf(url, sizeof(url), "redis://127.0.0.1:%d", liar.port);
        assert_int_equal(redis_link_new(&l, str_of(url), 300, NULL), 0);
        int r = REDIS_CALL(l, &reply, &f, STR("GET"), STR("k"));
        if (r != FAILED || f.code != FAIL_catalog_unavailable)
            fail_msg("row %zu: %d %s", i, r, f.message);
        assert_false(redis_link_up(l));
        assert_null(redis_link_free(l));
        assert_int_equal(pthread_join(liar.thread, NULL), 0);
        (void)close(liar.fd);
    }
}

/* ---- streams ---- */

struct stopper {
    struct redis_link *link;
    unsigned after_ms;
};

static void *stop_later(void *arg)
{
    struct stopper *s = arg;
    (void)usleep(s->after_ms * 1000);
    redis_link_interrupt(s->link);
    return NULL;
}

static void a_blocked_call_and_later_ones_fail_when_interrupted(void **state)
{
    struct test_redis redis = { 0 };
    struct fail f;
    pthread_t thread;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    (void)state;
    test_redis_start(&redis);
    for (unsigned streams = 0; streams < 2; streams++) {
        struct redis_link *l;
        assert_int_equal(redis_link_new(&l, str_of(redis.url), 60000, NULL), 0);
        struct stopper s = { l, 100 };
        assert_int_equal(pthread_create(&thread, NULL, stop_later, &s), 0);
        uint64_t start_ms = clock_ms();
        struct str key = STR("s"), id = STR("0");
        int r = streams ? redis_read_streams(l, &key, &id, 1, 50000, 10, &reply, &f)
                        : REDIS_CALL(l, &reply, &f, STR("XREAD"), STR("BLOCK"), STR("50000"),
                                     STR("STREAMS"), STR("s"), STR("0"));
        assert_int_equal(r, FAILED);
        assert_int_equal(REDIS_CALL(l, &reply, &f, STR("PING")), FAILED);
        assert_true(clock_ms() - start_ms < 20000);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_null(redis_link_free(l));
    }
    test_redis_stop(&redis);
}

static void streams_are_followed_on_one_server(void **state)
{
    struct test_redis redis = { 0 };
    (void)state;
    test_redis_start(&redis);
    follow_streams(redis.url);
    test_redis_stop(&redis);
}

/* ---- TLS ---- */

static void tls_is_spoken_and_certificates_are_checked(void **state)
{
    struct test_tls tls;
    (void)state;
    test_tls_make(&tls);
    struct test_redis redis = { .tls = &tls };
    test_redis_start(&redis);
    const struct {
        const char *host, *ca, *cert, *key;
        bool insecure;
        const char *says; /* NULL: it is fine */
    } rows[] = {
        { "localhost", tls.ca, tls.client_cert, tls.client_key, false, NULL },
        { "127.0.0.1", tls.ca, tls.client_cert, tls.client_key, false, "certificate" },
        { "localhost", tls.other_ca, tls.client_cert, tls.client_key, false, "certificate" },
        { "localhost", NULL, tls.client_cert, tls.client_key, false, "certificate" },
        { "localhost", tls.ca, NULL, NULL, false, "certificate" }, /* it asks for ours */
        { "127.0.0.1", NULL, tls.client_cert, tls.client_key, true, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct redis_link *l;
        struct fail f;
        char url[64];
        (void)snprintf(url, sizeof(url), "rediss://%s:%d/1", rows[i].host, redis.tls_port);
        struct redis_options o = { .url = str_of(url),
                                   .timeout_ms = TIMEOUT_MS,
                                   .tls_ca = str_of(rows[i].ca),
                                   .tls_cert = str_of(rows[i].cert),
                                   .tls_key = str_of(rows[i].key),
                                   .tls_insecure = rows[i].insecure };
        if (redis_link_open(&l, &o, &f) != 0)
            fail_msg("row %zu: %s", i, f.message);
        const char *says = set(l, "k", "v");
        if (rows[i].says ? !strstr(says, rows[i].says) : says[0])
            fail_msg("row %zu: %s", i, says);
        if (!rows[i].says) { /* more than a record, a socket's buffer and a pipeline hold */
            char *big = malloc(8 * MIB + 1);
            memset(big, 'x', 8 * MIB);
            big[8 * MIB] = '\0';
            assert_string_equal(set(l, "big", big), "");
            check_value(l, "big", big);
            free(big);
            add_to_all(l, rows[i].host, 3000, 1);
        }
        assert_null(redis_link_free(l));
    }
    test_redis_stop(&redis);
}

static void a_plain_server_is_no_tls_server_and_the_other_way_round(void **state)
{
    struct test_tls tls;
    char url[64];
    (void)state;
    test_tls_make(&tls);
    struct test_redis redis = { .tls = &tls };
    test_redis_start(&redis);
    (void)snprintf(url, sizeof(url), "rediss://localhost:%d", redis.port);
    struct redis_link *l = open_link(url);
    assert_non_null(strstr(set(l, "k", "v"), "TLS"));
    assert_null(redis_link_free(l));
    (void)snprintf(url, sizeof(url), "redis://localhost:%d", redis.tls_port);
    l = open_link(url);
    assert_string_not_equal(set(l, "k", "v"), "");
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read_or_refused_with_the_reason),
        cmocka_unit_test(a_login_of_the_configuration_is_checked_at_the_start),
        cmocka_unit_test(scripts_run_where_the_server_has_forgotten_them),
        cmocka_unit_test(a_unix_socket_and_a_database_are_used),
        cmocka_unit_test(errors_of_the_server_say_what_to_do),
        cmocka_unit_test(every_known_error_has_a_clear_message),
        cmocka_unit_test(the_start_up_check_names_the_line_to_type),
        cmocka_unit_test(users_log_in_by_url_variable_or_file),
        cmocka_unit_test(what_no_redis_would_say_is_an_error_and_holds_little),
        cmocka_unit_test(a_blocked_call_and_later_ones_fail_when_interrupted),
        cmocka_unit_test(streams_are_followed_on_one_server),
        cmocka_unit_test(tls_is_spoken_and_certificates_are_checked),
        cmocka_unit_test(a_plain_server_is_no_tls_server_and_the_other_way_round),
    };
    return TEST_RUN(tests);
}
