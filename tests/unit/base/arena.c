#include "tests/support/test.h"

#include "base/arena.h"

#include <stdint.h>

static void memory_is_zeroed_aligned_and_bounded(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *a = arena_new(100000);
    for (size_t n = 1; n < 300; n += 7) {
        unsigned char *p = arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_non_null(arena_alloc(a, 50000));
    assert_null(arena_alloc(a, 50001));
    assert_null(arena_array(a, SIZE_MAX / 2, 3));
    assert_true(arena_used(a) < 100000);
}

static void copies_are_terminated(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *a = arena_new(1000);
    struct str s = arena_str(a, (struct str){ "abcd", 2 });
    assert_string_equal(s.p, "ab");
    assert_string_equal(arena_printf(a, "%d/%s", 4, "x"), "4/x");
    assert_string_equal(arena_cstr(a, STR_NULL), "");
}

static void arrays_grow_and_keep_what_they_hold(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *a = arena_new(10000);
    size_t cap = 0, grown = 0;
    unsigned *items = NULL;
    for (size_t n = 0; n < 100; n++) {
        size_t before = cap;
        unsigned *more = arena_room(a, items, n, &cap, 3, sizeof(*items));
        assert_non_null(more);
        assert_true(cap > n);
        assert_true((more == items) == (before > n)); /* moved only when it was full */
        grown += more != items;
        items = more;
        items[n] = (unsigned)n;
    }
    assert_int_equal(grown, 7); /* 3, 6, … 192 */
    for (size_t n = 0; n < 100; n++)
        assert_int_equal(items[n], n);
    size_t full = cap;
    assert_null(arena_room(a, items, full, &cap, 3, 1000)); /* past the ceiling: as it was */
    assert_int_equal(cap, full);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_bounded),
        cmocka_unit_test(copies_are_terminated),
        cmocka_unit_test(arrays_grow_and_keep_what_they_hold),
    };
    return TEST_RUN(tests);
}
