#include "adapters/blobs/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/blobs/download.h"
#include "adapters/redis_blobs.h"
#include "base/clock.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/blob_tests.h"
#include "tests/unit/adapters/common.h"

#define BYTES (700 * KIB)

/* ---- a store that does what the test says ---- */

struct scripted {
    struct blob_store store; /* first */
    const char *content;
    size_t n;
    uint64_t cut_after;  /* each answer breaks off after so many bytes; 0: never */
    unsigned breaks;     /* as often; then it is whole */
    int code;            /* of the failure */
    int answer;          /* not 0: the whole answer */
    unsigned stale_once; /* says once that it has another version */
    unsigned extra;      /* bytes too many at the end */
    atomic_uint calls;
    atomic_ulong served;
    uint64_t first_from; /* of the first call */
    unsigned delay_ms;
};

static int scripted_stat(struct blob_store *s, const struct sha256 *digest, struct blob_stat *ret,
                         struct fail *reterr)
{
    struct scripted *t = (struct scripted *)(void *)s;
    (void)digest;
    (void)reterr;
    *ret = (struct blob_stat){ t->n, 1 };
    return t->answer;
}

static int scripted_get(struct blob_store *s, struct blob_get *g, struct fail *reterr)
{
    struct scripted *t = (struct scripted *)(void *)s;
    if (atomic_fetch_add(&t->calls, 1) == 0)
        t->first_from = g->from;
    if (t->answer)
        return t->answer;
    if (t->delay_ms)
        (void)usleep(t->delay_ms * 1000);
    if (t->stale_once && g->from) {
        t->stale_once = 0;
        return -ESTALE;
    }
    uint64_t end = t->n;
    if (t->cut_after && t->breaks && g->from + t->cut_after < end)
        end = g->from + t->cut_after;
    for (uint64_t at = g->from; at < end;) {
        size_t n = end - at < 10000 ? (size_t)(end - at) : 10000;
        int r = g->add(g->ctx, (struct str){ t->content + at, n });
        if (r < 0)
            return r;
        atomic_fetch_add(&t->served, n);
        at += n;
    }
    if (t->extra)
        return g->add(g->ctx, (struct str){ t->content, t->extra });
    if (end == t->n)
        return 0;
    t->breaks--;
    return fail_set(reterr, t->code, "the connection broke");
}

static const struct blob_store_ops scripted_ops = { .stat = scripted_stat, .get = scripted_get };

static char *content_of(uint64_t seed, struct sha256 *ret)
{
    static char room[4][BYTES];
    static unsigned at;
    char *p = room[at++ % 4];
    for (size_t i = 0; i < BYTES; i += 8) {
        uint64_t x = test_random(&seed);
        memcpy(p + i, &x, 8);
    }
    *ret = sha256_of((struct str){ p, BYTES });
    return p;
}

static struct scripted scripted_of(const char *content)
{
    return (struct scripted){ .store = { .ops = &scripted_ops, .name = "a store" },
                              .content = content,
                              .n = BYTES,
                              .code = FAIL_upstream_error };
}

static struct blob_cache *new_cache(void)
{
    struct blob_cache *c;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 64 * MIB, NULL), 0);
    return c;
}

static void what_breaks_off_is_gone_on_with_and_nothing_is_read_twice(void **state)
{
    static const struct {
        uint64_t cut;
        unsigned breaks, calls;
    } rows[] = { { 0, 0, 1 }, { 300000, 1, 2 }, { 100000, 7, 8 }, { 1, 2, 3 } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sha256 d;
        struct scripted s = scripted_of(content_of(i, &d));
        struct blob_store *stores[] = { &s.store };
        struct blob_cache *c = new_cache();
        s.cut_after = rows[i].cut;
        s.breaks = rows[i].breaks;
        assert_int_equal(download(stores, 1, c, &d, BYTES, NULL, NULL), 0);
        assert_int_equal(atomic_load(&s.calls), rows[i].calls);
        assert_int_equal(atomic_load(&s.served), BYTES);
        blob_cache_release(c, &d);
        assert_int_equal(blob_cache_hold(c, &d), 0);
        blob_cache_release(c, &d);
        assert_null(blob_cache_free(c));
    }
}

static void a_failure_that_stays_is_told_and_what_was_read_is_kept(void **state)
{
    struct sha256 d;
    struct scripted s = scripted_of(content_of(1, &d));
    struct blob_store *stores[] = { &s.store };
    struct blob_cache *c = new_cache();
    struct fail f;
    (void)state;
    s.cut_after = 200000;
    s.breaks = 1;
    s.code = FAIL_permission_denied;
    assert_int_equal(download(stores, 1, c, &d, BYTES, NULL, &f), FAILED);
    assert_int_equal(f.code, FAIL_permission_denied);
    assert_int_equal(atomic_load(&s.calls), 1); /* not tried again */
    struct scripted next = scripted_of(s.content);
    stores[0] = &next.store;
    assert_int_equal(download(stores, 1, c, &d, BYTES, NULL, &f), 0);
    assert_int_equal(next.first_from, 200000);
    blob_cache_release(c, &d);
    assert_null(blob_cache_free(c));
}

static void what_is_wrong_is_not_kept_and_the_next_store_is_asked(void **state)
{
    static const struct {
        const char *what;
        int answer; /* of the first store */
        unsigned extra;
        bool other, second;
        int want;
    } rows[] = {
        { "other bytes", 0, 0, true, true, 0 },
        { "other bytes, and no other store", 0, 0, true, false, -EBADMSG },
        { "more than was promised", 0, 5, false, true, 0 },
        { "another size", -EBADMSG, 0, false, true, 0 },
        { "not there", -ENOENT, 0, false, true, 0 },
        { "nowhere", -ENOENT, 0, false, false, -ENOENT },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sha256 d, ignored;
        const char *right = content_of(3, &d);
        struct scripted one = scripted_of(rows[i].other ? content_of(4, &ignored) : right);
        struct scripted two = scripted_of(right);
        struct blob_store *stores[] = { &one.store, &two.store };
        struct blob_cache *c = new_cache();
        one.answer = rows[i].answer;
        one.extra = rows[i].extra;
        int r = download(stores, rows[i].second ? 2 : 1, c, &d, BYTES, NULL, NULL);
        if (r != rows[i].want)
            fail_msg("%s: %d", rows[i].what, r);
        if (r == 0)
            blob_cache_release(c, &d);
        else
            assert_int_equal(blob_cache_hold(c, &d), -ENOENT);
        assert_null(blob_cache_free(c));
    }
}

static void what_changed_between_two_parts_is_begun_anew(void **state)
{
    struct sha256 d, ignored;
    struct scripted s = scripted_of(content_of(5, &d));
    struct blob_store *stores[] = { &s.store };
    struct blob_cache *c = new_cache();
    (void)state;
    s.cut_after = 300000;
    s.breaks = 1;
    s.stale_once = 1;
    assert_int_equal(download(stores, 1, c, &d, BYTES, NULL, NULL), 0);
    assert_int_equal(atomic_load(&s.served), 300000 + BYTES);
    blob_cache_release(c, &d);
    /* the first part of another content, without a word: found by the digest */
    struct sha256 e;
    const char *right = content_of(6, &e);
    struct scripted wrong = scripted_of(content_of(7, &ignored));
    stores[0] = &wrong.store;
    wrong.cut_after = 100000;
    wrong.breaks = 1;
    wrong.code = FAIL_permission_denied;
    assert_int_equal(download(stores, 1, c, &e, BYTES, NULL, &(struct fail){ 0 }), FAILED);
    struct scripted good = scripted_of(right);
    stores[0] = &good.store;
    assert_int_equal(download(stores, 1, c, &e, BYTES, NULL, NULL), 0);
    assert_int_equal(atomic_load(&good.calls), 2);
    blob_cache_release(c, &e);
    assert_null(blob_cache_free(c));
}

struct sharing {
    struct blob_store **stores;
    struct blob_cache *cache;
    const struct sha256 *digest;
    int r;
};

static void *share(void *arg)
{
    struct sharing *s = arg;
    s->r = download(s->stores, 1, s->cache, s->digest, BYTES, NULL, NULL);
    return NULL;
}

static void all_that_want_one_blob_share_one_download(void **state)
{
    struct sha256 d;
    struct scripted s = scripted_of(content_of(8, &d));
    struct blob_store *stores[] = { &s.store };
    struct blob_cache *c = new_cache();
    pthread_t threads[8];
    struct sharing shares[8];
    (void)state;
    s.delay_ms = 50;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        shares[i] = (struct sharing){ stores, c, &d, -1 };
        assert_int_equal(pthread_create(&threads[i], NULL, share, &shares[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(shares[i].r, 0);
        blob_cache_release(c, &d);
    }
    assert_int_equal(atomic_load(&s.calls), 1);
    assert_null(blob_cache_free(c));
}

struct pacing {
    uint64_t taken, stop_at, told;
};

static int take(void *ctx, size_t bytes)
{
    struct pacing *p = ctx;
    p->taken += bytes;
    return p->stop_at && p->taken > p->stop_at ? -ECANCELED : 0;
}

static bool is_stopped(void *ctx)
{
    struct pacing *p = ctx;
    return p->stop_at && p->taken > p->stop_at;
}

static void told(void *ctx, uint64_t bytes)
{
    ((struct pacing *)ctx)->told += bytes;
}

static void a_pace_sees_every_byte_and_can_end_it(void **state)
{
    struct sha256 d;
    struct scripted s = scripted_of(content_of(9, &d));
    struct blob_store *stores[] = { &s.store };
    struct blob_cache *c = new_cache();
    struct pacing p = { .stop_at = 100000 };
    struct blobs_pace pace = { take, is_stopped, told, &p };
    (void)state;
    assert_int_equal(download(stores, 1, c, &d, BYTES, &pace, NULL), -ECANCELED);
    assert_true(p.taken < 120000);
    uint64_t before = p.told;
    p = (struct pacing){ 0 };
    assert_int_equal(download(stores, 1, c, &d, BYTES, &pace, NULL), 0);
    assert_int_equal(before + p.told, BYTES);
    assert_int_equal(p.taken, p.told);
    blob_cache_release(c, &d);
    assert_null(blob_cache_free(c));
}

/* ---- stores ---- */

static struct blob_store *open_store(const char *url)
{
    struct config_blobs c = { 0 };
    struct blob_store *s = NULL;
    struct fail f;
    if (blob_store_open(&s, str_of(url), &c, &f) != 0)
        fail_msg("%s: %s", url, f.message);
    return s;
}

static void a_folder_is_a_store(void **state)
{
    char url[PATH_MAX];
    (void)state;
    (void)snprintf(url, sizeof(url), "file://%s/not/yet", test_temp_dir());
    struct blob_store *s = open_store(url);
    try_store(s, 3 * MIB + 17);
    assert_null(blob_store_free(s));
}

static struct blob_store *redis_store(const struct test_redis *r)
{
    struct redis_keys keys = { "test:" };
    struct redis_link *link;
    struct blob_store *s;
    assert_int_equal(redis_link_new(&link, str_of(r->url), 5000, NULL), 0);
    assert_int_equal(blob_store_redis(&s, link, &keys), 0);
    return s;
}

static void redis_is_a_store(void **state)
{
    struct test_redis redis = { 0 };
    (void)state;
    test_redis_start(&redis);
    struct blob_store *s = redis_store(&redis);
    try_store(s, 2 * REDIS_CHUNK + 17);
    assert_null(blob_store_free(s));
    test_redis_stop(&redis);
}

static void a_chunk_that_is_lost_or_wrong_in_redis_is_noticed(void **state)
{
    struct test_redis redis = { 0 };
    struct sha256 d;
    const char *p = content_of(1, &d);
    struct blob_stat st;
    struct fail f;
    (void)state;
    test_redis_start(&redis);
    struct blob_store *s = redis_store(&redis);
    CLEANUP(own_close) int fd = file_with(p, BYTES);
    struct blob_cache *c = new_cache();
    struct blob_store *stores[] = { s };
    static const struct {
        const char *verb, *behind; /* of a command about the chunk */
        int want;
    } rows[] = {
        { "SETRANGE", "5 X", -EBADMSG }, { "APPEND", "X", -EBADMSG }, { "SET", "short", -EBADMSG },
        { "DEL", "", -ENOENT },          { "LPUSH", "X", FAILED },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char command[256];
        assert_int_equal(s->ops->remove(s, &d, &f), 0);
        assert_int_equal(s->ops->put(s, &d, fd, BYTES, &f), 0);
        if (i == ARRAY_LEN(rows) - 1) {
            (void)snprintf(command, sizeof(command), "DEL test:b:{%s}:0", hex_of(&d));
            freeReplyObject(test_redis_do(&redis, command));
        }
        (void)snprintf(command, sizeof(command), "%s test:b:{%s}:0 %s", rows[i].verb, hex_of(&d),
                       rows[i].behind);
        freeReplyObject(test_redis_do(&redis, command));
        assert_int_equal(download(stores, 1, c, &d, BYTES, NULL, &f), rows[i].want);
    }
    assert_int_equal(s->ops->remove(s, &d, &f), 0);
    assert_int_equal(s->ops->stat(s, &d, &st, &f), -ENOENT);
    assert_null(blob_store_free(s));
    assert_null(blob_cache_free(c));
    test_redis_stop(&redis);
}

static void an_url_that_is_no_store_is_refused(void **state)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        { "ftp://x/y", "none of" },
        { "", "none of" },
        { "file:relative", "absolute" },
        { "file://", "absolute" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_blobs c = { 0 };
        struct blob_store *s = NULL;
        struct fail f;
        assert_int_equal(blob_store_open(&s, str_of(rows[i].url), &c, &f), FAILED);
        assert_int_equal(f.code, FAIL_invalid_request);
        if (!strstr(f.message, rows[i].says))
            fail_msg("%s: %s", rows[i].url, f.message);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_breaks_off_is_gone_on_with_and_nothing_is_read_twice),
        cmocka_unit_test(a_failure_that_stays_is_told_and_what_was_read_is_kept),
        cmocka_unit_test(what_is_wrong_is_not_kept_and_the_next_store_is_asked),
        cmocka_unit_test(what_changed_between_two_parts_is_begun_anew),
        cmocka_unit_test(all_that_want_one_blob_share_one_download),
        cmocka_unit_test(a_pace_sees_every_byte_and_can_end_it),
        cmocka_unit_test(a_folder_is_a_store),
        cmocka_unit_test(redis_is_a_store),
        cmocka_unit_test(a_chunk_that_is_lost_or_wrong_in_redis_is_noticed),
        cmocka_unit_test(an_url_that_is_no_store_is_refused),
    };
    return TEST_RUN(tests);
}
