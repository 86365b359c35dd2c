#include "tests/support/test.h"

#include "base/own.h"
#include "base/str.h"

#include <stdlib.h>

static void views_compare_and_cut(void **state)
{
    struct str before, after;
    (void)state;
    assert_true(str_eq(STR("a"), str_of("a")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_true(str_eq(STR_NULL, STR("")));
    assert_true(str_eq_nocase(STR("Content-Type"), STR("content-TYPE")));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_starts(STR("data: x"), STR("data: ")));
    assert_false(str_starts(STR("da"), STR("data")));
    assert_true(str_ends(STR("a.gguf"), STR(".gguf")));
    assert_true(str_is(str_trim(STR(" \t x y\r\n")), "x y"));
    assert_int_equal(str_find(STR("abcabc"), STR("ca")), 2);
    assert_int_equal(str_find(STR("abc"), STR("abcd")), -1);
    assert_true(str_cut(STR("base:sql@prod"), ':', &before, &after));
    assert_true(str_is(before, "base") && str_is(after, "sql@prod"));
    assert_false(str_cut(STR("base"), ':', &before, &after));
    assert_int_equal(str_sub(STR("ab"), 5).n, 0);
    CLEANUP(own_free) char *copy = str_dup(STR("copy"));
    assert_string_equal(copy, "copy");
}

/* Expected code points after RFC 3629 and Unicode's "maximal subpart" practice for one bad lead
 * byte. */
static void utf8_is_read_and_written(void **state)
{
    static const struct {
        const char *bytes;
        int cps[5];
        bool valid;
    } rows[] = {
        { "a", { 'a', -1 }, true },
        { "\xc3\xa9", { 0xe9, -1 }, true },
        { "\xe2\x82\xac", { 0x20ac, -1 }, true },
        { "\xf0\x9f\xa6\x99", { 0x1f999, -1 }, true },
        { "\xc0\x80", { 0xfffd, 0xfffd, -1 }, false },             /* overlong */
        { "\xed\xa0\x80", { 0xfffd, 0xfffd, 0xfffd, -1 }, false }, /* a surrogate */
        { "\xf4\x90\x80\x80", { 0xfffd, 0xfffd, 0xfffd, 0xfffd, -1 }, false },
        { "\xe2\x82", { 0xfffd, 0xfffd, -1 }, false }, /* cut */
        { "\x80z", { 0xfffd, 'z', -1 }, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str s = str_of(rows[i].bytes);
        size_t pos = 0;
        for (size_t k = 0; rows[i].cps[k] >= 0; k++)
            assert_int_equal(str_utf8_next(s, &pos), rows[i].cps[k]);
        assert_int_equal(str_utf8_next(s, &pos), -1);
        assert_int_equal(str_utf8_valid(s), rows[i].valid);
    }
    for (unsigned cp = 1; cp < 0x110000; cp += 97) {
        char out[4];
        size_t n = str_utf8_put(out, cp), pos = 0;
        if (cp < 0xd800 || cp > 0xdfff)
            assert_int_equal(str_utf8_next((struct str){ out, n }, &pos), (int)cp);
    }
}

static void a_bad_byte_is_seen_wherever_it_stands(void **state)
{
    for (size_t at = 0; at < 40; at++) {
        char text[40];
        memset(text, 'a', sizeof(text));
        text[at] = (char)0xff;
        assert_false(str_utf8_valid((struct str){ text, sizeof(text) }));
        text[at] = (char)0xc3;
        bool whole = at + 1 < sizeof(text);
        if (whole)
            text[at + 1] = (char)0xa9;
        assert_int_equal(str_utf8_valid((struct str){ text, sizeof(text) }), whole);
    }
}

static void an_unfinished_character_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(str_utf8_whole(STR("ab\xe2\x82")), 2);
    assert_int_equal(str_utf8_whole(STR("ab\xf0\x9f\xa6")), 2);
    assert_int_equal(str_utf8_whole(STR("ab\xe2\x82\xac")), 5);
    assert_int_equal(str_utf8_whole(STR("ab")), 2);
    assert_int_equal(str_utf8_whole(STR("\x80\x80\x80\x80")), 4); /* never becomes whole */
    assert_int_equal(str_utf8_whole(STR_NULL), 0);
}

static void a_misspelt_word_gets_its_neighbour(void **state)
{
    static const char *const words[] = { "keywords", "decisions", "signals" };
    (void)state;
    assert_string_equal(str_suggest("keywrods", words, 3), "keywords");
    assert_string_equal(str_suggest("signal", words, 3), "signals");
    assert_null(str_suggest("projections", words, 3));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_and_cut),
        cmocka_unit_test(utf8_is_read_and_written),
        cmocka_unit_test(a_bad_byte_is_seen_wherever_it_stands),
        cmocka_unit_test(an_unfinished_character_is_left_out),
        cmocka_unit_test(a_misspelt_word_gets_its_neighbour),
    };
    return TEST_RUN(tests);
}
