#include "router/signals/unicode.h"
#include "router/signals/lexical.h"
#include "router/signals/pattern.h"
#include "router/signals/scan.h"
#include "router/signals/stem.h"

#include "base/limits.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void classes_follow_unicode(void **state)
{
    static const struct {
        int cp;
        bool word, alnum, dense, cjk;
    } rows[] = {
        { 'a', true, true, false, false },       { '_', true, false, false, false },
        { ' ', false, false, false, false },     { '7', true, true, false, false },
        { 0x0430, true, true, false, false },    /* Cyrillic a */
        { 0x0301, true, false, false, false },   /* combining acute */
        { 0x4e2d, true, true, true, true },      /* Han */
        { 0x3042, true, true, true, true },      /* Hiragana */
        { 0xac00, true, true, true, true },      /* Hangul */
        { 0x0e01, true, true, true, false },     /* Thai */
        { 0x0e31, true, false, true, false },    /* Thai vowel sign */
        { 0x0905, true, true, false, false },    /* Devanagari */
        { 0x3002, false, false, false, false },  /* ideographic full stop */
        { 0x1f600, false, false, false, false }, /* emoji */
        { -1, false, false, false, false },      { 0x110000, false, false, false, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(unicode_word(rows[i].cp), rows[i].word);
        assert_int_equal(unicode_alnum(rows[i].cp), rows[i].alnum);
        assert_int_equal(unicode_dense(rows[i].cp), rows[i].dense);
        assert_int_equal(unicode_cjk(rows[i].cp), rows[i].cjk);
    }
}

static void text_is_folded_in_every_script(void **state)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        { "HeLLo", "hello" },
        { "ÉTÉ", "été" },
        { "СРОЧНО", "срочно" },
        { "ΛΌΓΟΣ", "λόγοσ" },
        { "λόγος", "λόγοσ" },
        { "ǅ", "ǆ" },
        { "e\xcc\x81te\xcc\x81", "été" },
        { "E\xcc\x81", "é" },
        { "don’t", "don't" },
        { "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "한" },
        { "x\xcc\x81", "x\xcc\x81" },
        { "중문", "중문" },
        { "中文", "中文" },
        { "", "" },
        { "a\xff b", "a\xef\xbf\xbd b" },
        { "\xe4\xb8", "\xef\xbf\xbd\xef\xbf\xbd" },
    };
    struct arena *a = arena_new(MIB);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str got = unicode_fold_text(str_of(rows[i].from), a);
        assert_non_null(got.p);
        assert_true(str_is(got, rows[i].to));
    }
    arena_free(a);
}

static void units_count_characters_of_cjk_and_words_of_the_rest(void **state)
{
    static const struct {
        const char *text;
        size_t units;
    } rows[] = {
        { "", 0 },
        { "hello world", 2 },
        { "你好世界", 4 },
        { "GPU 加速 ok", 4 },
        { "3.14 apples", 3 },
        { "हिन्दी भाषा", 2 },
        { "안녕 하세요", 5 },
        { "... !?", 0 },
        { "don't", 2 },
        { "สวัสดี", 1 },
        { "a_b", 2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(unicode_units(str_of(rows[i].text)), rows[i].units);
}

static void stems_are_those_of_porter(void **state)
{
    static const char *const rows[][2] = {
        { "caresses", "caress" },
        { "ponies", "poni" },
        { "cats", "cat" },
        { "feed", "feed" },
        { "agreed", "agre" },
        { "plastered", "plaster" },
        { "motoring", "motor" },
        { "sing", "sing" },
        { "conflated", "conflat" },
        { "troubled", "troubl" },
        { "sized", "size" },
        { "hopping", "hop" },
        { "falling", "fall" },
        { "hissing", "hiss" },
        { "failing", "fail" },
        { "filing", "file" },
        { "happy", "happi" },
        { "sky", "sky" },
        { "relational", "relat" },
        { "conditional", "condit" },
        { "digitizer", "digit" },
        { "operator", "oper" },
        { "feudalism", "feudal" },
        { "hopefulness", "hope" },
        { "triplicate", "triplic" },
        { "formative", "form" },
        { "electrical", "electr" },
        { "goodness", "good" },
        { "revival", "reviv" },
        { "allowance", "allow" },
        { "adjustable", "adjust" },
        { "replacement", "replac" },
        { "adoption", "adopt" },
        { "activate", "activ" },
        { "effective", "effect" },
        { "rate", "rate" },
        { "cease", "ceas" },
        { "controlling", "control" },
        { "roll", "roll" },
        { "is", "is" },
        { "été", "été" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char space[STEM_BYTES];
        struct str got = stem_english(str_of(rows[i][0]), space);
        if (!str_is(got, rows[i][1]))
            fail_msg("%s: %.*s, not %s", rows[i][0], (int)got.n, got.p, rows[i][1]);
    }
    assert_true(stem_is_stop_word(STR("the")));
    assert_false(stem_is_stop_word(STR("code")));
}

static void random_text(char *into, size_t size, size_t n, uint64_t *seed)
{
    static const char *const letters[] = { "a", "b", " ", "中", "д", "_", "A", "Д" };
    into[0] = '\0';
    for (size_t k = 0; k < n && strlen(into) + 4 < size; k++)
        strncat(into, letters[test_random(seed) % ARRAY_LEN(letters)], 4);
}

static void units_are_counted_as_they_are_cut(void **state)
{
    uint64_t seed = 9;
    for (unsigned round = 0; round < 2000; round++) {
        char raw[128];
        random_text(raw, sizeof(raw), test_random(&seed) % 30, &seed);
        if (round % 3 == 0)
            strncat(raw,
                    "e\xcc\x81\xe2\x80\xbf"
                    "1",
                    8); /* a mark, a connector, a digit */
        struct str unit;
        size_t n = 0;
        for (size_t pos = 0; unicode_next_unit(str_of(raw), &pos, &unit);)
            n++;
        assert_int_equal(unicode_units(str_of(raw)), n);
    }
}

/* Reference: every literal, every position, alone. */
static bool stands_anywhere(struct str text, struct str what, bool bounded)
{
    for (size_t i = 0; i + what.n <= text.n; i++)
        if (memcmp(text.p + i, what.p, what.n) == 0 &&
            (!bounded || unicode_bounded(text, i, i + what.n)))
            return true;
    return false;
}

/* Reference: one code point after the other, as the tables say. */
static void folding_goes_by_the_tables_wherever_it_begins(void **state)
{
    static const char *const letters[] = { "A", "z", "Q", "[",  "@",       "Z",
                                           "`", "É", "ß", "中", "\xcc\x81" };
    struct arena *a = arena_new(64 * MIB);
    uint64_t seed = 13;
    for (unsigned round = 0; round < 3000; round++) {
        char raw[160] = "", want[160] = "";
        size_t n = 0;
        int last = -1;
        for (size_t k = 0, all = test_random(&seed) % 40; k < all; k++)
            strncat(raw, letters[test_random(&seed) % (test_random(&seed) % 3 ? 7 : 11)], 4);
        size_t from = 0;
        for (size_t pos = 0; pos < strlen(raw);) {
            int cp = unicode_fold(str_utf8_next(str_of(raw), &pos)),
                whole = unicode_compose(last, cp);
            from = whole < 0 ? n : from;
            last = whole < 0 ? cp : whole;
            n = from + str_utf8_put(want + from, (unsigned)last);
        }
        want[n] = '\0';
        assert_true(str_is(unicode_fold_text(str_of(raw), a), want));
    }
    arena_free(a);
}

static void random_literals_are_found_as_one_by_one(void **state)
{
    struct arena *a = arena_new(64 * MIB);
    uint64_t seed = 3;
    for (unsigned round = 0; round < 400; round++) {
        struct scanner *s = scanner_new();
        struct str words[20];
        unsigned flags[20];
        size_t number;
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            char word[16];
            random_text(word, sizeof(word), 1 + test_random(&seed) % 3, &seed);
            flags[i] = (unsigned)(test_random(&seed) % 4);
            words[i] = flags[i] & SCAN_exact ? arena_str(a, str_of(word))
                                             : unicode_fold_text(str_of(word), a);
            assert_int_equal(scanner_literal(s, words[i], flags[i], &number), 0);
            assert_int_equal(number, i);
        }
        if (round % 2) /* the other way of compiling */
            assert_int_equal(scanner_filter(s, STR("a+b"), false, &number), 0);
        char raw[128];
        random_text(raw, sizeof(raw), 30, &seed);
        assert_int_equal(scanner_build(s), 0);
        bool found[21] = { false };
        struct scan_text text = { str_of(raw), unicode_fold_text(str_of(raw), a), true };
        assert_int_equal(scanner_scan(s, &text, found), 0);
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            assert_int_equal(found[i],
                             stands_anywhere(flags[i] & SCAN_exact ? text.raw : text.folded,
                                             words[i], flags[i] & SCAN_bounded));
        scanner_free(s);
    }
    arena_free(a);
}

static void a_filter_never_rules_out_a_match(void **state)
{
    static const char *const patterns[] = {
        "a+b",         "\\bab\\b",   "^a.*b$",        "(?m)^\\s*a", "[^a]b",        "a{2,3}",
        "\\w+\\W\\w",  "(a|B)_",     "\\Ba",          "a(?=b)",     "a(?!b)",       "\\Ab|a\\z",
        "(?s)a.b",     "a??b",       "[A-Z]{2}",      "[^\\w ]",    "(?:ab|ba)+a$", "\\Sb\\s",
        "(?i)AB",      "\\b[ab]\\b", ".{3}A",         "x*",         "[a-b&&c]",     "\\.|A",
        "b(?:a(?!a))", "_\\b",       "^[^a]*a[^a]*$", "(?i:aB)b",
    };
    struct arena *a = arena_new(64 * MIB);
    uint64_t seed = 5;
    size_t ruled_out = 0, filters = 0;
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct scanner *s = scanner_new();
        struct pattern *p = NULL;
        size_t number;
        char why[128];
        assert_int_equal(pattern_new(&p, str_of(patterns[i]), true, false, why, sizeof(why)), 0);
        assert_int_equal(scanner_filter(s, str_of(patterns[i]), false, &number), 0);
        assert_int_equal(scanner_build(s), 0);
        filters += number != SCAN_NO_FILTER;
        for (unsigned round = 0; number != SCAN_NO_FILTER && round < 300; round++) {
            char raw[64];
            random_text(raw, sizeof(raw), test_random(&seed) % 8, &seed);
            struct scan_text text = { .raw = str_of(raw) };
            text.folded = unicode_fold_text_noting(text.raw, a, &text.only_case);
            struct pattern_budget budget = { .arena = a };
            bool found[1] = { false };
            assert_int_equal(scanner_scan(s, &text, found), 0);
            if (pattern_matches(p, text.raw, &budget) > 0 && !found[0])
                fail_msg("the filter of %s rules out \"%s\"", patterns[i], raw);
            ruled_out += !found[0];
        }
        pattern_free(p);
        scanner_free(s);
    }
    assert_in_range(filters, 20, ARRAY_LEN(patterns));
    assert_in_range(ruled_out, 1000, 100000);
    arena_free(a);
}

static void hostile_patterns_end_within_their_budget(void **state)
{
    static const struct {
        const char *pattern, *unit;
    } rows[] = {
        { "(a+)+$", "a" },    { "\\s+\\d", " " },  { "(\\w|\\w\\w)*!", "a" },
        { "(.*a){20}", "b" }, { "(x+x+)+y", "x" }, { "^(([a-z])+.)+[A-Z]([a-z])+$", "a" },
    };
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES + 1);
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new(64 * MIB);
        struct pattern *p = NULL;
        char why[128];
        memset(text, rows[i].unit[0], BYTES);
        text[BYTES - 1] = '~';
        assert_int_equal(pattern_new(&p, str_of(rows[i].pattern), true, false, why, sizeof(why)),
                         0);
        struct pattern_budget budget = { .arena = a };
        int r = pattern_matches(p, (struct str){ text, BYTES }, &budget);
        assert_true(r == 0 || r == 1 || r == -EOVERFLOW);
        ptrdiff_t n = pattern_count(p, (struct str){ text, BYTES }, &budget);
        assert_true(n >= 0 || n == -EOVERFLOW);
        pattern_free(p);
        arena_free(a);
    }
    free(text);
}

static void matches_are_counted_without_overlap(void **state)
{
    static const struct {
        const char *pattern, *text;
        ptrdiff_t n;
    } rows[] = {
        { "[?？]", "a? b？ c??", 4 },
        { "aa", "aaaaa", 2 },
        { "(?m)^\\s*\\d+\\.\\s+", "1. a\n2. b\nx", 2 },
        { "x*", "axb", 3 },
        { "é", "éÉ", 2 },
        { "", "中文", 3 },
        { "z", "", 0 },
    };
    struct arena *a = arena_new(MIB);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pattern *p = NULL;
        char why[128];
        struct pattern_budget budget = { .arena = a };
        assert_int_equal(pattern_new(&p, str_of(rows[i].pattern), true, false, why, sizeof(why)),
                         0);
        assert_int_equal(pattern_count(p, str_of(rows[i].text), &budget), rows[i].n);
        pattern_free(p);
    }
    arena_free(a);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_follow_unicode),
        cmocka_unit_test(text_is_folded_in_every_script),
        cmocka_unit_test(units_count_characters_of_cjk_and_words_of_the_rest),
        cmocka_unit_test(stems_are_those_of_porter),
        cmocka_unit_test(units_are_counted_as_they_are_cut),
        cmocka_unit_test(folding_goes_by_the_tables_wherever_it_begins),
        cmocka_unit_test(random_literals_are_found_as_one_by_one),
        cmocka_unit_test(a_filter_never_rules_out_a_match),
        cmocka_unit_test(hostile_patterns_end_within_their_budget),
        cmocka_unit_test(matches_are_counted_without_overlap),
    };
    return TEST_RUN(tests);
}
