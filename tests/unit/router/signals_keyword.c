/*
 * Keyword rules: whole words in every script, patterns, approximate methods, operators, and what a
 * hostile or huge text does to them.
 */
#include "tests/unit/router/support.h"

#include "base/clock.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* A policy of one keyword rule; `rule` is the rest of its map. */
static struct router *one_rule(const char *rule, struct config **c)
{
    struct buf b = BUF_INIT(MIB);
    buf_addf(&b,
             "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
             "routing:\n"
             "  signals:\n"
             "    keywords:\n"
             "      - {name: k, %s}\n"
             "  decisions:\n"
             "    - name: hit\n"
             "      rules: {type: keyword, name: k}\n"
             "      modelRefs: [{model: m}]\n",
             rule);
    struct router *r = policy_from(b.p, c);
    buf_done(&b);
    return r;
}

static enum truth value_of(const char *rule, const char *text)
{
    struct config *c = NULL;
    struct router *r = one_rule(rule, &c);
    struct arena *a = arena_new(64 * MIB);
    struct route route;
    route_text(r, "auto", text, a, &route);
    enum truth t = route_signal_of(&route, "keyword", "k")->value;
    assert_int_equal(str_is(route.decision, "hit"), t == TRUTH_true);
    arena_free(a);
    router_free(r);
    config_unref(c);
    return t;
}

struct row {
    const char *rule, *text;
    bool match;
};

static void check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum truth t = value_of(rows[i].rule, rows[i].text);
        if (t != (rows[i].match ? TRUTH_true : TRUTH_false))
            fail_msg("{%s} on '%s': %d", rows[i].rule, rows[i].text, t);
    }
}

static void literals_are_whole_words_in_every_script(void **state)
{
    static const struct row rows[] = {
        { "keywords: [code]", "Write code.", true },
        { "keywords: [code]", "decode this", false },
        { "keywords: [code]", "codes", false },
        { "keywords: [code]", "CODE!", true },
        { "keywords: [code], case_sensitive: true", "CODE!", false },
        { "keywords: [code]", "snake_code_case", false },
        { "keywords: [code]", "使用code吧", true },
        { "keywords: [machine learning]", "about Machine Learning?", true },
        { "keywords: [machine learning]", "machine  learning", false },
        { "keywords: ['c++']", "I love C++ and", true },
        { "keywords: ['c++']", "I love C++", true },
        { "keywords: ['.net']", "use .NET here", true },
        { "keywords: ['a.b']", "axb", false },
        { "keywords: [срочно]", "Это срочно!", true },
        { "keywords: [срочно]", "СРОЧНО", true },
        { "keywords: [срочно]", "срочного", false },
        { "keywords: [επείγον]", "είναι επείγον.", true },
        { "keywords: [عاجل]", "هذا عاجل جدا", true },
        { "keywords: [عاجل]", "عاجلا", false },
        { "keywords: [été]", "cet été, à la plage", true },
        { "keywords: [été]", "répété", false },
        { "keywords: [été]", "e\xcc\x81te\xcc\x81", true },
        { "keywords: [\"don't\"]", "I don’t know", true },
        { "keywords: [naïve]", "NAÏVE approach", true },
        { "keywords: [긴급]", "이것은 긴급합니다", true },
        { "keywords: [コード]", "このコードを直して", true },
        { "keywords: [ด่วน]", "เรื่องด่วนมาก", true },
        { "keywords: [紧急]", "这是紧急情况", true },
        { "keywords: [कोड]", "यह कोड है", true },
        { "keywords: [קוד]", "זה קוד טוב", true },
        { "keywords: ['$100']", "costs $100 now", true },
        { "keywords: ['?']", "why?", true },
        { "keywords: [code]", "", false },
    };
    check(rows, ARRAY_LEN(rows));
}

static void operators_combine_keywords(void **state)
{
    static const struct row rows[] = {
        { "operator: OR, keywords: [a1, b2]", "xx b2", true },
        { "operator: OR, keywords: [a1, b2]", "xx", false },
        { "operator: AND, keywords: [a1, b2]", "b2 a1", true },
        { "operator: AND, keywords: [a1, b2]", "a1", false },
        { "operator: NOR, keywords: [a1, b2]", "xx", true },
        { "operator: NOR, keywords: [a1, b2]", "b2", false },
        { "operator: NOR, keywords: [a1]", "", true },
    };
    check(rows, ARRAY_LEN(rows));
}

static void the_method_regex_takes_patterns_as_they_are(void **state)
{
    static const struct row rows[] = {
        { "method: regex, keywords: ['\\d{3}-\\d{2}-\\d{4}']", "SSN 123-45-6789", true },
        { "method: regex, keywords: ['\\d{3}-\\d{2}-\\d{4}']", "SSN 12-45-6789", false },
        { "method: regex, keywords: [deep analysis]", "a Deep Analysis.", true },
        { "method: regex, keywords: [cod]", "decoder", true },
        { "method: regex, keywords: [COD], case_sensitive: true", "decoder", false },
        { "method: regex, keywords: ['\\bcode\\b']", "编写code吧", true },
        { "method: regex, keywords: ['\\bcode\\b']", "decode", false },
        { "method: regex, keywords: ['\\bсрочно\\b']", "это срочно сейчас", true },
        { "method: regex, keywords: ['\\bсрочно\\b']", "несрочно", false },
        { "method: regex, keywords: ['^hi$']", "hi\nthere", false },
        { "method: regex, keywords: ['(?m)^hi$']", "hi\nthere", true },
        { "method: regex, keywords: ['end$']", "the end\n", false },
        { "method: regex, keywords: ['ÉTÉ.']", "l'été!", true },
        { "method: regex, keywords: ['(?i)x(?-i)Y'], case_sensitive: true", "XY", true },
        { "method: regex, keywords: ['[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}']",
          "mail user.name@domain.com today", true },
    };
    check(rows, ARRAY_LEN(rows));
}

static void fuzzy_matching_allows_a_number_of_edits(void **state)
{
    static const struct row rows[] = {
        { "keywords: [urgent], fuzzy_match: true", "this is urgnet", true },
        { "keywords: [urgent], fuzzy_match: true, fuzzy_threshold: 1", "this is urgnet", false },
        { "keywords: [urgent], fuzzy_match: true, fuzzy_threshold: 1", "this is urgant", true },
        { "keywords: [urgent], fuzzy_match: true", "this is insurgency", false },
        { "keywords: [urgent]", "this is urgant", false },
        { "keywords: [credit card], fuzzy_match: true", "my kredit cart no.", true },
        { "keywords: [срочно], fuzzy_match: true, fuzzy_threshold: 1", "сорчно срочна", true },
        { "method: fuzzy, fuzzy_threshold: 82, keywords: [password]", "my passwrd", true },
        { "method: fuzzy, fuzzy_threshold: 82, keywords: [password]", "my pasword", true },
        { "method: fuzzy, fuzzy_threshold: 82, keywords: [password]", "my passport", false },
        { "method: fuzzy, fuzzy_threshold: 82, keywords: [api key]", "the APY key", true },
        { "operator: NOR, keywords: [urgent], fuzzy_match: true", "urgnet", false },
    };
    check(rows, ARRAY_LEN(rows));
}

static void ngrams_compare_words_by_their_parts(void **state)
{
    /* urgent / urgnet share 4 of 12 padded trigrams: (144 - 64) / 144 = 0.556 */
    static const struct row rows[] = {
        { "method: ngram, keywords: [urgent]", "urgnet", true },
        { "method: ngram, keywords: [urgent], ngram_threshold: 0.55", "an urgnet call", true },
        { "method: ngram, keywords: [urgent], ngram_threshold: 0.56", "an urgnet call", false },
        { "method: ngram, keywords: [urgent]", "hello there", false },
        { "method: ngram, keywords: [URGENT]", "urgent", true },
        { "method: ngram, keywords: [URGENT], case_sensitive: true", "urgent", false },
        { "method: ngram, keywords: [urgent], ngram_threshold: 1", "so urgent!", true },
        { "method: ngram, keywords: [urgent], ngram_threshold: 1", "so urgen!", false },
    };
    check(rows, ARRAY_LEN(rows));
}

static void bm25_compares_stems(void **state)
{
    static const struct row rows[] = {
        { "method: bm25, keywords: [code, debug]", "please debug it", true },
        { "method: bm25, keywords: [code, debug]", "debugging sessions", true },
        { "method: bm25, keywords: [code, debug]", "please cook it", false },
        { "method: bm25, keywords: [model training]", "training my models", true },
        { "method: bm25, keywords: [the model]", "the", false },
        { "method: bm25, keywords: [code, debug], operator: AND", "debug the codes", true },
        { "method: bm25, keywords: [code, debug], operator: AND", "debug", false },
        { "method: bm25, keywords: [code, debug], operator: NOR", "cook", true },
        /* two documents of one token: ln(1 + 1.5/1.5) × 2.2/2.2 = 0.693 */
        { "method: bm25, keywords: [code, debug], bm25_threshold: 0.69", "code", true },
        { "method: bm25, keywords: [code, debug], bm25_threshold: 0.70", "code", false },
        { "method: bm25, keywords: [机器学习]", "我想了解机器学习", true },
        { "method: bm25, keywords: [机器学习]", "天气很好", false },
    };
    check(rows, ARRAY_LEN(rows));
}

static void a_pattern_that_backtracks_for_ever_is_unknown_not_endless(void **state)
{
    char *text = malloc(200001);
    assert_non_null(text);
    memset(text, 'a', 200000);
    text[199999] = '~';
    text[200000] = '\0';
    uint64_t begin = clock_ms();
    enum truth t = value_of("method: regex, keywords: ['(.*a){12}(.*a){12}\\d$']", text);
    assert_true(t == TRUTH_unknown || t == TRUTH_false);
    assert_true(clock_ms() - begin < 20000); /* under sanitizers and load; alone 0.3 s */
    free(text);
}

static void a_megabyte_is_searched(void **state)
{
    struct buf b = BUF_INIT(4 * MIB);
    while (b.n < MIB)
        buf_adds(&b, "lorem ipsum dolor sit amet 中文 текст ");
    buf_adds(&b, "needle");
    assert_int_equal(value_of("keywords: [needle]", b.p), TRUTH_true);
    assert_int_equal(value_of("keywords: [nadel], method: bm25", b.p), TRUTH_false);
    assert_int_equal(value_of("keywords: [needel], fuzzy_match: true, fuzzy_threshold: 2", b.p),
                     TRUTH_true);
    buf_done(&b);
}

static void malformed_utf8_is_read_as_replacement_characters(void **state)
{
    assert_int_equal(value_of("keywords: [code]", "\xff\xfe code \xc3"), TRUTH_true);
    assert_int_equal(value_of("method: regex, keywords: ['c.de']", "\xf0\x9f c\xff"
                                                                   "de"),
                     TRUTH_true);
}

static void thousands_of_rules_are_one_scan(void **state)
{
    struct buf b = BUF_INIT(8 * MIB);
    buf_adds(&b, "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
                 "routing:\n  signals:\n    keywords:\n");
    for (unsigned i = 0; i < 5000; i++)
        buf_addf(&b, "      - {name: k%u, keywords: [word%u, 'слово%u', two words %u]}\n", i, i, i,
                 i);
    buf_adds(&b, "  decisions:\n");
    for (unsigned i = 0; i < 5000; i++)
        buf_addf(
            &b, "    - {name: d%04u, rules: {type: keyword, name: k%u}, modelRefs: [{model: m}]}\n",
            i, i);
    struct config *c = NULL;
    struct router *r = policy_from(b.p, &c);
    static const struct {
        const char *text, *decision;
    } rows[] = {
        { "say word4711 now", "d4711" },
        { "скажи СЛОВО12", "d0012" },
        { "two words 4999", "d4999" },
        { "word", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new(64 * MIB);
        struct route route;
        route_text(r, "auto", rows[i].text, a, &route);
        assert_true(str_is(route.decision, rows[i].decision));
        arena_free(a);
    }
    router_free(r);
    config_unref(c);
    buf_done(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_whole_words_in_every_script),
        cmocka_unit_test(operators_combine_keywords),
        cmocka_unit_test(the_method_regex_takes_patterns_as_they_are),
        cmocka_unit_test(fuzzy_matching_allows_a_number_of_edits),
        cmocka_unit_test(ngrams_compare_words_by_their_parts),
        cmocka_unit_test(bm25_compares_stems),
        cmocka_unit_test(a_pattern_that_backtracks_for_ever_is_unknown_not_endless),
        cmocka_unit_test(a_megabyte_is_searched),
        cmocka_unit_test(malformed_utf8_is_read_as_replacement_characters),
        cmocka_unit_test(thousands_of_rules_are_one_scan),
    };
    return TEST_RUN(tests);
}
