/* Tables: values land in their members; what does not fit is reported where it stands. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "config/schema.h"

#include <errno.h>
#include <stdlib.h>

static const char *const colours[] = { "red", "green", "blue", NULL };

struct item {
    struct str name;
    uint64_t weight;
};

struct all {
    bool flag;
    uint64_t count, bytes, wait_ms;
    int64_t offset;
    double ratio;
    struct str text;
    unsigned colour;
    struct text_list words;
    struct item_list items, named;
    struct item inner;
    const struct node *raw;
};

static const struct option item_options[] = {
    OPT_TEXT(struct item, name, "name", NULL, "its name"),
    OPT_UINT(struct item, weight, "weight", 0, 100, "7", "its weight"),
    OPT_END,
};

static const struct option options[] = {
    OPT_BOOL(struct all, flag, "flag", "true", "a flag"),
    OPT_UINT(struct all, count, "count", 1, 10, "3", "a count"),
    OPT_INT(struct all, offset, "offset", -5, 5, "-2", "an offset"),
    OPT_FLOAT(struct all, ratio, "ratio", 0, 1, "0.5", "a ratio"),
    OPT_BYTES(struct all, bytes, "bytes", 0, 1e12, "1MiB", "a size"),
    OPT_DURATION(struct all, wait_ms, "wait", 0, 1e9, "10s", "a duration"),
    OPT_TEXT(struct all, text, "text", NULL, "a text"),
    OPT_WORD(struct all, colour, "colour", colours, "green", "a colour"),
    OPT_TEXTS(struct all, words, "words", 3, "some words"),
    OPT_LIST(struct all, items, "items", 4, item_options, struct item, "some items"),
    OPT_NAMED(struct all, named, "named", 4, item_options, struct item, "items by name"),
    OPT_SECTION(struct all, inner, "inner", item_options, "one item"),
    OPT_NODE(struct all, raw, "raw", "anything"),
    OPT_IGNORED("legacy", "of another program"),
    OPT_END,
};

struct reading {
    struct problems *problems;
    struct document *doc;
    struct arena *arena;
    struct all all;
    int result;
};

static void reading_done(struct reading *r)
{
    document_free(r->doc);
    arena_free(r->arena);
    problems_free(r->problems);
}

static struct reading read_text(const char *text)
{
    struct reading r = { .problems = problems_new(), .arena = arena_new(1 * MIB) };
    assert_int_equal(document_parse(&r.doc, "t.yaml", str_of(text), r.problems), 0);
    r.result = schema_read(&r.all, options, document_root(r.doc), "top", r.arena, r.problems);
    return r;
}

static void defaults_fill_what_is_absent(void **state)
{
    (void)state;
    CLEANUP(reading_done) struct reading r = read_text("");
    assert_int_equal(r.result, 0);
    assert_true(r.all.flag);
    assert_int_equal(r.all.count, 3);
    assert_int_equal(r.all.offset, -2);
    assert_true(r.all.ratio == 0.5);
    assert_int_equal(r.all.bytes, 1 << 20);
    assert_int_equal(r.all.wait_ms, 10000);
    assert_null(r.all.text.p);
    assert_int_equal(r.all.colour, 1);
    assert_int_equal(r.all.words.n, 0);
    assert_int_equal(r.all.inner.weight, 7);
}

static void values_land_in_their_members(void **state)
{
    (void)state;
    CLEANUP(reading_done)
    struct reading r = read_text("flag: no\ncount: 10\noffset: -5\nratio: 1e-2\nbytes: 2GB\nwait: "
                                 "250ms\ntext: 'x'\ncolour: blue\n"
                                 "words: [a, b]\nitems: [{name: i, weight: 1}, {}]\nnamed: {n: "
                                 "{weight: 2}}\ninner: {weight: 9}\n"
                                 "raw: {any: [thing]}\n");
    assert_int_equal(r.result, 0);
    assert_false(r.all.flag);
    assert_int_equal(r.all.count, 10);
    assert_int_equal(r.all.offset, -5);
    assert_true(r.all.ratio == 0.01);
    assert_int_equal(r.all.bytes, 2000000000);
    assert_int_equal(r.all.wait_ms, 250);
    assert_true(str_is(r.all.text, "x"));
    assert_int_equal(r.all.colour, 2);
    assert_int_equal(r.all.words.n, 2);
    assert_true(str_is(r.all.words.items[1], "b"));
    const struct item *items = r.all.items.items, *named = r.all.named.items;
    assert_int_equal(r.all.items.n, 2);
    assert_int_equal(items[1].weight, 7);
    assert_true(str_is(named[0].name, "n"));
    assert_int_equal(named[0].weight, 2);
    assert_int_equal(r.all.inner.weight, 9);
    assert_true(node_is(node_at(node_get(r.all.raw, "any"), 0), "thing"));
}

static void what_does_not_fit_is_reported_where_it_stands(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "cuont: 1", "t.yaml:1:1: error: top.cuont: unknown key; did you mean 'count'?\n" },
        { "count: 11", "t.yaml:1:8: error: top.count: 11 is outside 1 … 10\n" },
        { "count: many", "t.yaml:1:8: error: top.count: 'many' is not a whole number\n" },
        { "flag: [1]", "t.yaml:1:7: error: top.flag: needs true or false, found a list\n" },
        { "colour: gren", "t.yaml:1:9: error: top.colour: 'gren' is not one of red, green, blue; "
                          "did you mean 'green'?\n" },
        { "words: [a, b, c, d]", "t.yaml:1:8: error: top.words: 4 entries; 0 to 3 are allowed\n" },
        { "items:\n  - {weight: 1}\n  - {weight: 500}\n",
          "t.yaml:3:14: error: top.items[1].weight: 500 is outside 0 … 100\n" },
        { "named: {n: {wieght: 1}}",
          "t.yaml:1:13: error: top.named.n.wieght: unknown key; did you mean 'weight'?\n" },
        { "wait: soon",
          "t.yaml:1:7: error: top.wait: 'soon' is not a duration such as 10s or 250ms\n" },
        { "text: ${ROOTSTOCK_TEST_UNSET}", "t.yaml:1:7: error: top.text: the environment variable "
                                           "ROOTSTOCK_TEST_UNSET is not set\n" },
        { "inner: 3", "t.yaml:1:8: error: top.inner: '3' is not a map\n" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(reading_done) struct reading r = read_text(rows[i].text);
        CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
        problems_print(r.problems, &b);
        assert_int_equal(r.result, -EINVAL);
        assert_string_equal(b.p, rows[i].message);
    }
}

static void every_problem_is_found_in_one_go(void **state)
{
    (void)state;
    CLEANUP(reading_done)
    struct reading r = read_text("count: 0\noffset: 9\nitems: [{weight: x}, {weigth: 1}]\n");
    assert_int_equal(problems_count(r.problems, PROBLEM_error), 4);
}

static void an_ignored_key_is_listed_and_does_not_fail(void **state)
{
    (void)state;
    CLEANUP(reading_done) struct reading r = read_text("legacy: {a: 1}\n");
    assert_int_equal(r.result, 0);
    assert_int_equal(problems_count(r.problems, PROBLEM_ignored), 1);
}

static void text_takes_environment_variables(void **state)
{
    (void)state;
    assert_int_equal(setenv("ROOTSTOCK_TEST_SET", "v", 1), 0);
    CLEANUP(reading_done) struct reading r = read_text("text: a-${ROOTSTOCK_TEST_SET}-b\n");
    assert_true(str_is(r.all.text, "a-v-b"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_what_is_absent),
        cmocka_unit_test(values_land_in_their_members),
        cmocka_unit_test(what_does_not_fit_is_reported_where_it_stands),
        cmocka_unit_test(every_problem_is_found_in_one_go),
        cmocka_unit_test(an_ignored_key_is_listed_and_does_not_fail),
        cmocka_unit_test(text_takes_environment_variables),
    };
    return TEST_RUN(tests);
}
