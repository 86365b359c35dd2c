#include "tests/unit/adapters/links.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

const struct redis_script add_script = {
    .text = "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    .n_keys = 1,
};

struct redis_link *open_link(const char *url)
{
    struct redis_link *l = NULL;
    struct fail f;
    if (redis_link_new(&l, str_of(url), TIMEOUT_MS, &f) != 0)
        fail_msg("%s", f.message);
    return l;
}

void drop(redisReply *r)
{
    assert_int_not_equal(r->type, REDIS_REPLY_ERROR);
    freeReplyObject(r);
}

const char *set(struct redis_link *l, const char *key, const char *value)
{
    static struct fail f;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = REDIS_CALL(l, &reply, &f, STR("SET"), str_of(key), str_of(value));
    return r == 0 ? "" : f.message;
}

void check_value(struct redis_link *l, const char *key, const char *value)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct fail f;
    if (REDIS_CALL(l, &reply, &f, STR("GET"), str_of(key)) != 0)
        fail_msg("%s", f.message);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, value);
}

void set_comes(struct redis_link *l, const char *key, const char *value)
{
    uint64_t start_ms = clock_ms();
    while (set(l, key, value)[0] && clock_ms() < start_ms + PATIENCE_MS)
        (void)usleep(5000);
    check_value(l, key, value);
    print_message("# writes again after %u ms\n", (unsigned)(clock_ms() - start_ms));
}

void add_to_all(struct redis_link *l, const char *prefix, size_t n, long long value)
{
    struct str *argv = calloc(n * 2, sizeof(*argv));
    char(*keys)[32] = calloc(n, sizeof(*keys));
    redisReply **replies = calloc(n, sizeof(*replies));
    struct fail f;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%s:{%zu}", prefix, i);
        argv[2 * i] = str_of(keys[i]);
        argv[2 * i + 1] = STR("1");
    }
    if (redis_run_many(l, &add_script, argv, 2, n, replies, &f) != 0)
        fail_msg("%s", f.message);
    for (size_t i = 0; i < n; i++) {
        if (replies[i]->type != REDIS_REPLY_INTEGER || replies[i]->integer != value)
            fail_msg("%s: %s", keys[i], replies[i]->str ? replies[i]->str : "another number");
        redis_reply_free(&replies[i]);
    }
    free(argv);
    free(keys);
    free(replies);
}

const char *advice(struct redis_link *l)
{
    static struct buf b = { .max = 16 * KIB };
    struct fail f;
    if (redis_check_server(l, &b, &f) != 0)
        fail_msg("%s", f.message);
    return b.n ? b.p : "";
}

/* ---- streams ---- */

int read_once(struct redis_link *l, struct reading *s, unsigned block_ms, struct fail *f)
{
    struct str keys[STREAMS], ids[STREAMS];
    redisReply *replies[STREAMS];
    for (size_t i = 0; i < STREAMS; i++) {
        keys[i] = str_of(s->key[i]);
        ids[i] = str_of(s->id[i]);
    }
    int r = redis_read_streams(l, keys, ids, STREAMS, block_ms, 100, replies, f);
    for (size_t i = 0; i < STREAMS; i++) {
        if (!replies[i])
            continue;
        assert_int_equal(replies[i]->type, REDIS_REPLY_ARRAY);
        assert_true(replies[i]->elements > 0);
        const redisReply *last = replies[i]->element[replies[i]->elements - 1];
        (void)snprintf(s->id[i], sizeof(s->id[i]), "%s", last->element[0]->str);
        s->seen[i] += (unsigned)replies[i]->elements;
        redis_reply_free(&replies[i]);
    }
    return r;
}

void add_event(struct redis_link *l, const char *key)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct fail f;
    if (REDIS_CALL(l, &reply, &f, STR("XADD"), str_of(key), STR("*"), STR("a"), STR("b")) != 0)
        fail_msg("%s: %s", key, f.message);
}

void see(struct redis_link *l, struct reading *s, size_t i, unsigned want)
{
    uint64_t until_ms = clock_ms() + PATIENCE_MS;
    struct fail f = { 0 };
    while (s->seen[i] < want && clock_ms() < until_ms)
        if (read_once(l, s, 200, &f) != 0)
            (void)usleep(20000);
    if (s->seen[i] != want)
        fail_msg("stream %zu: %u of %u events; %s", i, s->seen[i], want, f.message);
}

void begin_reading(struct reading *s)
{
    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < STREAMS; i++) {
        (void)snprintf(s->key[i], sizeof(s->key[i]), "ev:{s%02zu}", i);
        (void)snprintf(s->id[i], sizeof(s->id[i]), "0");
    }
}

void follow_streams(const char *url)
{
    struct redis_link *reader = open_link(url), *writer = open_link(url);
    struct reading s;
    struct fail f;
    begin_reading(&s);
    add_event(writer, s.key[3]);
    add_event(writer, s.key[3]);
    see(reader, &s, 3, 2);
    uint64_t start_ms = clock_ms();
    assert_int_equal(read_once(reader, &s, 100, &f), 0);
    assert_true(clock_ms() - start_ms >= 100);
    for (unsigned round = 1; round <= 5; round++)
        for (size_t i = 0; i < STREAMS; i++) {
            add_event(writer, s.key[i]);
            see(reader, &s, i, round + (i == 3 ? 2 : 0));
        }
    for (size_t i = 0; i < STREAMS; i++) /* other ids than it waits for: all from the start */
        (void)snprintf(s.id[i], sizeof(s.id[i]), "0");
    memset(s.seen, 0, sizeof(s.seen));
    for (size_t i = 0; i < STREAMS; i++)
        see(reader, &s, i, i == 3 ? 7 : 5);
    assert_null(redis_link_free(reader));
    assert_null(redis_link_free(writer));
}
