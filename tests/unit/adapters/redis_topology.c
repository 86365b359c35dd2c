/* The link to Redis behind a Sentinel and as a Cluster, of real servers that fail and move. */
#include "adapters/redis_topology.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/unit/adapters/links.h"

/* ---- Sentinel ---- */

static void the_master_is_found_again_after_a_failover(void **state)
{
    struct test_sentinel s = { 0 };
    struct fail f;
    char url[160];
    (void)state;
    test_sentinel_start(&s);
    /* The first Sentinel of the list is not there. */
    (void)snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:1,127.0.0.1:%d/mymaster",
                   s.sentinel.port);
    struct redis_link *l = open_link(url), *reader = open_link(s.url);
    struct reading seen;
    begin_reading(&seen);
    assert_string_equal(set(l, "k", "one"), "");
    add_to_all(l, "n", 10, 1);
    add_event(l, seen.key[0]);
    see(reader, &seen, 0, 1);
    uint64_t before = redis_link_generation(l);
    /* Told: the old master becomes a replica that refuses writes. */
    uint64_t until_ms = clock_ms() + PATIENCE_MS;
    bool told = false; /* it refuses while it has not heard enough of the replica */
    while (!told && clock_ms() < until_ms) {
        redisReply *reply = test_redis_do(&s.sentinel, "SENTINEL FAILOVER mymaster");
        told = reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        (void)usleep(told ? 0 : 100000);
    }
    assert_true(told);
    while (redis_link_generation(l) == before && clock_ms() < until_ms) {
        (void)set(l, "k", "two");
        (void)usleep(5000);
    }
    assert_true(redis_link_generation(l) > before);
    set_comes(l, "k", "three");
    add_event(l, seen.key[0]);
    see(reader, &seen, 0, 2);
    /* Not told: the master dies. */
    bool first = strcmp(set(l, "k", "four"), "") == 0;
    assert_true(first);
    redisReply *role = test_redis_do(&s.master, "ROLE");
    struct test_redis *master =
        strcmp(role->element[0]->str, "master") == 0 ? &s.master : &s.replica;
    freeReplyObject(role);
    CLEANUP(redis_reply_free) redisReply *copied = NULL;
    assert_int_equal(REDIS_CALL(l, &copied, &f, STR("WAIT"), STR("1"), STR("1000")), 0);
    test_redis_kill(master);
    assert_string_not_equal(set(l, "k", "five"), "");
    set_comes(l, "k", "six");
    add_event(l, seen.key[1]);
    see(reader, &seen, 1, 1);
    assert_null(redis_link_free(l));
    assert_null(redis_link_free(reader));
    (void)snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%d/other", s.sentinel.port);
    l = open_link(url);
    assert_non_null(strstr(set(l, "k", "v"), "other"));
    assert_null(redis_link_free(l));
    test_sentinel_stop(&s);
}

/* ---- Cluster ---- */

static void slots_are_those_of_the_server(struct redis_link *l)
{
    static const char *const odd[] = { "",  "{}",  "{}a",   "a{b}c",       "{a}{b}",     "a}{b",
                                       "{", "a{b", "{{a}}", "ns:ev:{s03}", "ns:ev:{s15}" };
    uint64_t seed = 5;
    for (size_t i = 0; i < 200; i++) {
        char key[64];
        CLEANUP(redis_reply_free) redisReply *reply = NULL;
        if (i < ARRAY_LEN(odd))
            (void)snprintf(key, sizeof(key), "%s", odd[i]);
        else
            (void)snprintf(key, sizeof(key), "%llx", (unsigned long long)test_random(&seed));
        assert_int_equal(REDIS_CALL(l, &reply, NULL, STR("CLUSTER"), STR("KEYSLOT"), str_of(key)),
                         0);
        assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
        assert_int_equal(reply->integer, redis_slot(str_of(key)));
    }
}

static const struct test_redis *node_of_key(const struct test_cluster *c, const char *key)
{
    for (size_t i = 0; i < TEST_CLUSTER_NODES; i++) {
        redisReply *r = test_redis_do(&c->node[i], "GET %s", key);
        bool here = r->type != REDIS_REPLY_ERROR;
        freeReplyObject(r);
        if (here)
            return &c->node[i];
    }
    fail_msg("%s is nowhere", key);
    return NULL;
}

static void text_of_id(const struct test_redis *r, char ret[static 64])
{
    redisReply *id = test_redis_do(r, "CLUSTER MYID");
    (void)snprintf(ret, 64, "%s", id->str);
    freeReplyObject(id);
}

/* Moves the slot of `key` to another node, stopping half-way for the ASK replies. */
static void move_a_slot(const struct test_cluster *c, struct redis_link *l, struct reading *s)
{
    const char *key = s->key[0];
    char from_id[64], to_id[64];
    assert_string_equal(set(l, "moved{s00}", "before"), "");
    const struct test_redis *from = node_of_key(c, "moved{s00}");
    const struct test_redis *to = &c->node[from == &c->node[0] ? 1 : 0];
    unsigned slot = redis_slot(str_of(key));
    uint64_t generation = redis_link_generation(l);
    text_of_id(from, from_id);
    text_of_id(to, to_id);
    drop(test_redis_do(to, "CLUSTER SETSLOT %u IMPORTING %s", slot, from_id));
    drop(test_redis_do(from, "CLUSTER SETSLOT %u MIGRATING %s", slot, to_id));
    drop(test_redis_do(from, "MIGRATE 127.0.0.1 %d moved{s00} 0 5000", to->port));
    check_value(l, "moved{s00}", "before"); /* ASK */
    assert_string_equal(set(l, "new{s00}", "half-way"), "");
    add_to_all(l, "n", 500, 2);
    drop(test_redis_do(from, "MIGRATE 127.0.0.1 %d %s 0 5000", to->port, key));
    drop(test_redis_do(to, "CLUSTER SETSLOT %u NODE %s", slot, to_id));
    drop(test_redis_do(from, "CLUSTER SETSLOT %u NODE %s", slot, to_id));
    check_value(l, "moved{s00}", "before"); /* MOVED */
    check_value(l, "new{s00}", "half-way");
    assert_true(redis_link_generation(l) > generation);
    unsigned seen = s->seen[0];
    add_event(l, key);
    see(l, s, 0, seen + 1);
}

static void a_cluster_is_routed_by_slots(void **state)
{
    struct test_cluster c = { 0 };
    (void)state;
    test_cluster_start(&c);
    struct redis_link *l = open_link(c.url);
    slots_are_those_of_the_server(l);
    add_to_all(l, "n", 500, 1);
    follow_streams(c.url);
    assert_true(redis_same_slot(l, STR("a{x}"), STR("b{x}")));
    assert_false(redis_same_slot(l, STR("a"), STR("b")));
    unsigned together = 0;
    for (unsigned i = 0; i < 300; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        together += redis_same_node(l, STR("k"), str_of(key));
    }
    assert_true(together > 50 && together < 200); /* a third */
    assert_non_null(strstr(advice(l), ": "));
    struct reading s;
    begin_reading(&s);
    see(l, &s, 0, 5);
    move_a_slot(&c, l, &s);
    assert_null(redis_link_free(l));
    test_cluster_stop(&c);
}

static void the_other_nodes_serve_while_one_is_gone(void **state)
{
    struct test_cluster c = { 0 };
    (void)state;
    test_cluster_start(&c);
    for (size_t i = 0; i < TEST_CLUSTER_NODES; i++)
        drop(test_redis_do(&c.node[i], "CONFIG SET cluster-require-full-coverage no"));
    struct redis_link *l = open_link(c.url);
    unsigned served = 0, refused = 0;
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_string_equal(set(l, key, "v"), "");
    }
    test_redis_kill(&c.node[0]); /* a seed of the URL */
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        if (set(l, key, "w")[0])
            refused++;
        else
            served++;
    }
    assert_true(served >= 20 && refused >= 5);
    struct redis_link *later = open_link(c.url);
    test_redis_again(&c.node[0]);
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        uint64_t until_ms = clock_ms() + PATIENCE_MS;
        while (set(later, key, "x")[0] && clock_ms() < until_ms)
            (void)usleep(20000);
        check_value(later, key, "x");
    }
    assert_null(redis_link_free(later));
    assert_null(redis_link_free(l));
    test_cluster_stop(&c);
}

static void a_server_alone_is_no_cluster(void **state)
{
    struct test_redis redis = { 0 };
    char url[64];
    (void)state;
    test_redis_start(&redis);
    (void)snprintf(url, sizeof(url), "redis+cluster://127.0.0.1:%d", redis.port);
    struct redis_link *l = open_link(url);
    assert_non_null(strstr(set(l, "k", "v"), "redis://"));
    assert_null(redis_link_free(l));
    test_redis_stop(&redis);
}

/* ---- what a peer may say ---- */

/* Answers each request with the next of its lines, and the last one for ever. */
struct parrot {
    const char *const *lines; /* NULL-terminated */
    int fd, port, stop[2];
    pthread_t thread;
};

static void answer_until_gone(struct parrot *p, int fd, const char *const **line)
{
    char question[65536];
    struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
                             { .fd = p->stop[0], .events = POLLIN } };
    while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
        if (recv(fd, question, sizeof(question), 0) <= 0)
            return;
        CLEANUP(buf_done) struct buf b = BUF_INIT(4 * KIB);
        for (const char *c = **line; *c; c++)
            if (*c == '@')
                buf_addf(&b, "%d", p->port);
            else
                buf_addc(&b, *c);
        if (buf_err(&b) != 0 || send(fd, b.p, b.n, MSG_NOSIGNAL) != (ssize_t)b.n)
            return;
        if ((*line)[1])
            ++*line;
    }
}

static void *squawk(void *arg)
{
    struct parrot *p = arg;
    const char *const *line = p->lines;
    struct pollfd fds[2] = { { .fd = p->fd, .events = POLLIN },
                             { .fd = p->stop[0], .events = POLLIN } };
    while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
        int fd = accept(p->fd, NULL, NULL);
        if (fd < 0)
            continue;
        answer_until_gone(p, fd, &line);
        (void)close(fd);
    }
    return NULL;
}

static void start_parrot(struct parrot *p)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(p->fd, 8), 0);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&a, &len), 0);
    p->port = ntohs(a.sin_port);
    assert_int_equal(pipe(p->stop), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, squawk, p), 0);
}

static void stop_parrot(struct parrot *p)
{
    assert_int_equal(write(p->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    (void)close(p->stop[0]);
    (void)close(p->stop[1]);
    (void)close(p->fd);
}

/* @ is the port of the one who says it. */
#define ALL_SLOTS "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:@\r\n"

static void a_topology_that_makes_no_sense_is_an_error_in_bounded_time(void **state)
{
    static const struct {
        const char *scheme, *path;
        const char *lines[4];
    } rows[] = {
        { "redis+cluster", "", { "*0\r\n" } },
        { "redis+cluster", "", { ":1\r\n" } },
        { "redis+cluster", "", { "*1\r\n:1\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:-1\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:9\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:0\r\n:5\r\n*1\r\n$1\r\na\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:99999\r\n" } },
        { "redis+cluster", "", { "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$2\r\na\n\r\n:1\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-MOVED 99999 127.0.0.1:1\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-MOVED 5\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-MOVED 5 127.0.0.1:@\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-ASK 5 127.0.0.1:@\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-MOVED 12539 :@\r\n" } },
        { "redis+cluster", "", { ALL_SLOTS, "-CLUSTERDOWN The cluster is down\r\n" } },
        { "redis+sentinel", "/m", { "*-1\r\n" } },
        { "redis+sentinel", "/m", { "$1\r\na\r\n" } },
        { "redis+sentinel", "/m", { "*1\r\n$1\r\na\r\n" } },
        { "redis+sentinel", "/m", { "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n" } },
        { "redis+sentinel", "/m", { "*2\r\n$9\r\n127.0.0.1\r\n$1\r\nx\r\n" } },
        { "redis+sentinel", "/m", { "-ERR what?\r\n" } },
        { "redis+sentinel", "/m", { "-NOAUTH\r\n" } },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parrot parrot = { .lines = rows[i].lines };
        struct redis_link *l;
        char url[96];
        start_parrot(&parrot);
        (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%d%s", rows[i].scheme, parrot.port,
                       rows[i].path);
        assert_int_equal(redis_link_new(&l, str_of(url), 300, NULL), 0);
        uint64_t start_ms = clock_ms();
        if (!set(l, "k", "v")[0])
            fail_msg("row %zu is believed", i);
        assert_true(clock_ms() - start_ms < PATIENCE_MS);
        assert_null(redis_link_free(l));
        stop_parrot(&parrot);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_master_is_found_again_after_a_failover),
        cmocka_unit_test(a_cluster_is_routed_by_slots),
        cmocka_unit_test(the_other_nodes_serve_while_one_is_gone),
        cmocka_unit_test(a_server_alone_is_no_cluster),
        cmocka_unit_test(a_topology_that_makes_no_sense_is_an_error_in_bounded_time),
    };
    return TEST_RUN(tests);
}
