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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_bounded),
        cmocka_unit_test(copies_are_terminated),
    };
    return TEST_RUN(tests);
}
