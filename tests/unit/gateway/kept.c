#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/kept.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct kept *new_kept(uint64_t max_bytes, uint64_t ttl_ms)
{
    struct config c = { 0 };
    struct kept *k = NULL;
    struct fail fail;
    c.gateway.responses.store = KEEP_memory;
    c.gateway.responses.max_bytes = max_bytes;
    c.gateway.responses.ttl_ms = ttl_ms;
    assert_int_equal(kept_new(&k, &c, &fail), 0);
    return k;
}

static void the_longest_unused_is_given_up(void **state)
{
    (void)state;
    CLEANUP(kept_freep) struct kept *k = new_kept(64 * KIB, 100000);
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    char text[8000], key[16];
    struct fail fail;
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 50; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(kept_put(k, key, (struct str){ text, sizeof(text) }), 0);
        assert_int_equal(kept_get(k, "k0", &b, &fail), 0); /* used all the time */
        buf_clear(&b);
        assert_true(kept_bytes(k) <= 64 * KIB);
    }
    assert_int_equal(kept_get(k, "k49", &b, &fail), 0);
    assert_int_equal(b.n, sizeof(text));
    assert_int_equal(kept_get(k, "k1", &b, &fail), -ENOENT);
    assert_int_equal(kept_put(k, "big", (struct str){ text, 64 * KIB }), -EMSGSIZE);
    buf_clear(&b);
    assert_int_equal(kept_append(k, "k49", STR("tail")), 0);
    assert_int_equal(kept_get(k, "k49", &b, &fail), 0);
    assert_int_equal(b.n, sizeof(text) + 4);
    assert_int_equal(kept_remove(k, "k49", &fail), 0);
    assert_int_equal(kept_remove(k, "k49", &fail), -ENOENT);
}

static void time_ends_what_is_kept(void **state)
{
    (void)state;
    CLEANUP(kept_freep) struct kept *k = new_kept(64 * KIB, 1);
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    struct fail fail;
    assert_int_equal(kept_put(k, "a", STR("x")), 0);
    (void)usleep(3000);
    assert_int_equal(kept_get(k, "a", &b, &fail), -ENOENT);
    assert_int_equal(kept_bytes(k), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_unused_is_given_up),
        cmocka_unit_test(time_ends_what_is_kept),
    };
    return TEST_RUN(tests);
}
