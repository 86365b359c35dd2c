#include "tests/support/test.h"

#include "base/num.h"

#include <errno.h>

static void whole_numbers_and_their_ranges(void **state)
{
    static const struct {
        const char *text;
        int64_t min, max, value;
        int result;
    } rows[] = {
        { "0", 0, 9, 0, 0 },
        { "-5", -5, 5, -5, 0 },
        { "-9223372036854775808", INT64_MIN, INT64_MAX, INT64_MIN, 0 },
        { "9223372036854775807", INT64_MIN, INT64_MAX, INT64_MAX, 0 },
        { "9223372036854775808", INT64_MIN, INT64_MAX, 0, -ERANGE },
        { "99999999999999999999999", 0, INT64_MAX, 0, -ERANGE },
        { "10", 0, 9, 0, -ERANGE },
        { "", 0, 9, 0, -EINVAL },
        { "-", 0, 9, 0, -EINVAL },
        { " 1", 0, 9, 0, -EINVAL },
        { "1x", 0, 9, 0, -EINVAL },
        { "+1", 0, 9, 0, -EINVAL },
        { "0x1", 0, 9, 0, -EINVAL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t v = 0;
        assert_int_equal(num_parse_i64(&v, str_of(rows[i].text), rows[i].min, rows[i].max),
                         rows[i].result);
        assert_true(v == rows[i].value);
    }
}

static void real_numbers_are_finite_and_plain(void **state)
{
    static const struct {
        const char *text;
        double value;
        int result;
    } rows[] = {
        { "0.25", 0.25, 0 },     { "-1e3", -1000, 0 },  { "1e999", 0, -ERANGE },
        { "nan", 0, -EINVAL },   { "inf", 0, -EINVAL }, { "0x1p3", 0, -EINVAL },
        { "1.5.2", 0, -EINVAL }, { "", 0, -EINVAL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double v = 0;
        assert_int_equal(num_parse_double(&v, str_of(rows[i].text), -1e6, 1e6), rows[i].result);
        assert_true(v == rows[i].value);
    }
}

static void sizes_and_durations_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes, ms;
    } rows[] = {
        { "64KiB", 65536, UINT64_MAX },       { "2MB", 2000000, UINT64_MAX },
        { "10GiB", 10737418240, UINT64_MAX }, { "250ms", UINT64_MAX, 250 },
        { "10s", UINT64_MAX, 10000 },         { "2h", UINT64_MAX, 7200000 },
        { "1d", UINT64_MAX, 86400000 },       { "7", 7, 7000 },
        { "KiB", UINT64_MAX, UINT64_MAX },    { "99999999999TiB", UINT64_MAX, UINT64_MAX },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t bytes = UINT64_MAX, ms = UINT64_MAX;
        int b = num_parse_bytes(&bytes, str_of(rows[i].text), 0, UINT64_MAX);
        int m = num_parse_duration(&ms, str_of(rows[i].text), 0, UINT64_MAX);
        assert_true(bytes == rows[i].bytes && (b == 0) == (rows[i].bytes != UINT64_MAX));
        assert_true(ms == rows[i].ms && (m == 0) == (rows[i].ms != UINT64_MAX));
    }
}

static void sums_and_products_do_not_wrap(void **state)
{
    size_t n;
    (void)state;
    assert_true(mul_ok(SIZE_MAX / 2, 2, &n));
    assert_false(mul_ok(SIZE_MAX / 2 + 1, 2, &n));
    assert_false(add_ok(SIZE_MAX, 1, &n));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_and_their_ranges),
        cmocka_unit_test(real_numbers_are_finite_and_plain),
        cmocka_unit_test(sizes_and_durations_have_units),
        cmocka_unit_test(sums_and_products_do_not_wrap),
    };
    return TEST_RUN(tests);
}
