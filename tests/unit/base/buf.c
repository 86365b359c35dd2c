#include "tests/support/test.h"

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>

static void appends_and_moves_out(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(1000);
    buf_adds(&b, "a");
    buf_addc(&b, 'b');
    buf_addf(&b, "%d-%s", 7, "x");
    buf_add(&b, STR_NULL);
    assert_int_equal(buf_err(&b), 0);
    assert_true(str_is(buf_str(&b), "ab7-x"));
    buf_cut(&b, 2);
    assert_true(str_is(buf_str(&b), "7-x"));
    size_t n;
    CLEANUP(own_free) char *taken = buf_take(&b, &n);
    assert_string_equal(taken, "7-x");
    assert_int_equal(n, 3);
    assert_int_equal(b.n, 0);
}

static void an_empty_buffer_gives_an_empty_text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(10);
    size_t n = 9;
    CLEANUP(own_free) char *taken = buf_take(&b, &n);
    assert_string_equal(taken, "");
    assert_int_equal(n, 0);
}

static void the_ceiling_is_a_sticky_error(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(4);
    buf_adds(&b, "1234");
    assert_int_equal(buf_err(&b), 0);
    buf_adds(&b, "5");
    assert_int_equal(buf_err(&b), -EMSGSIZE);
    buf_adds(&b, "");
    assert_int_equal(buf_err(&b), -EMSGSIZE);
    assert_null(buf_take(&b, NULL));
    buf_clear(&b);
    buf_adds(&b, "ok");
    assert_int_equal(buf_err(&b), 0);
}

static void numbers_are_printed_without_printf(void **state)
{
    static const struct {
        uint64_t x;
        unsigned decimals;
        const char *text;
    } rows[] = {
        { 0, 0, "0" },
        { 7, 0, "7" },
        { 10, 0, "10" },
        { 0, 12, "0" },
        { 1, 1, "0.1" },
        { 10, 1, "1" },
        { 105, 1, "10.5" },
        { 1, 3, "0.001" },
        { 1500, 3, "1.5" },
        { 120034, 6, "0.120034" },
        { 18000000000000000001u, 18, "18.000000000000000001" },
        { UINT64_MAX, 0, "18446744073709551615" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(100);
        buf_add_decimal(&b, rows[i].x, rows[i].decimals);
        assert_string_equal(b.p, rows[i].text);
        if (rows[i].decimals)
            continue;
        buf_clear(&b);
        buf_add_u64(&b, rows[i].x);
        assert_string_equal(b.p, rows[i].text);
    }
}

static void an_array_of_the_caller_is_filled_and_no_more(void **state)
{
    char text[8];
    struct buf b = BUF_ON(text);
    (void)state;
    buf_adds(&b, "1234");
    buf_add_u64(&b, 567);
    assert_string_equal(text, "1234567");
    assert_true(b.p == text);
    buf_addc(&b, '8');
    assert_int_equal(buf_err(&b), -EMSGSIZE);
    assert_string_equal(text, "1234567");
}

static void json_strings_are_escaped(void **state)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        { "plain", "\"plain\"" },
        { "a\"b\\c", "\"a\\\"b\\\\c\"" },
        { "\n\r\t", "\"\\n\\r\\t\"" },
        { "\x01\x1f", "\"\\u0001\\u001f\"" },
        { "\xc3\xa9\xf0\x9f\xa6\x99", "\"\xc3\xa9\xf0\x9f\xa6\x99\"" },
        { "x\xffy", "\"x\xef\xbf\xbdy\"" },
        { "\x7f", "\"\\u007f\"" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(1000);
        buf_add_json(&b, str_of(rows[i].text));
        assert_string_equal(b.p, rows[i].json);
    }
}

static void what_may_not_stand_in_an_address_is_escaped(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(1024);
    /* Python's urllib.parse.quote(…, safe="") */
    buf_add_escaped(&b, (struct str){ "aZ09-._~ /:+\0\xc3\xbc%", 16 });
    assert_string_equal(b.p, "aZ09-._~%20%2F%3A%2B%00%C3%BC%25");
}

static void bytes_become_base64(void **state)
{
    static const struct {
        struct str bytes;
        const char *text;
    } rows[] = {
        /* RFC 4648, section 10, and Python's base64 for the rest */
        { STR(""), "" },
        { STR("f"), "Zg==" },
        { STR("fo"), "Zm8=" },
        { STR("foo"), "Zm9v" },
        { STR("foob"), "Zm9vYg==" },
        { STR("foobar"), "Zm9vYmFy" },
        { STR("\xff\xfe\x00\x3f\xbf"), "//4AP78=" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(100);
        buf_addc(&b, ':');
        buf_add_base64(&b, rows[i].bytes);
        assert_int_equal(buf_err(&b), 0);
        assert_string_equal(b.p + 1, rows[i].text);
    }
    CLEANUP(buf_done) struct buf small = BUF_INIT(7);
    buf_add_base64(&small, STR("foobar"));
    assert_int_equal(buf_err(&small), -EMSGSIZE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_moves_out),
        cmocka_unit_test(an_empty_buffer_gives_an_empty_text),
        cmocka_unit_test(the_ceiling_is_a_sticky_error),
        cmocka_unit_test(numbers_are_printed_without_printf),
        cmocka_unit_test(an_array_of_the_caller_is_filled_and_no_more),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(bytes_become_base64),
        cmocka_unit_test(what_may_not_stand_in_an_address_is_escaped),
    };
    return TEST_RUN(tests);
}
