#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/body.h"

#include <errno.h>

static void a_malformed_body_is_told_its_place(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "", "the body is empty; send a JSON object" },
        { " \n ", "the body is empty; send a JSON object" },
        { "[1]", "the body must be a JSON object, not an array" },
        { "12", "the body must be a JSON object, not a number" },
        { "null", "the body must be a JSON object, not null" },
        { "{\"a\":", "the body is not valid JSON: it ends too early (line 1, column 6)" },
        { "{\n \"\xc3\xa9\": NaN}",
          "the body is not valid JSON: unexpected 'NaN' (line 2, column 7)" },
        { "{\"a\":1,}", "the body is not valid JSON: unexpected '}' (line 1, column 8)" },
        { "{\"a\":\"x\ny\"}",
          "the body is not valid JSON: a control character that is not escaped (line 1, column "
          "8)" },
        { "{\"a\":\xff}",
          "the body is not valid JSON: a byte that cannot stand there (line 1, column 6)" },
        { "{\"a\":\"\xff\"}", "the body is not valid UTF-8 (line 1, column 7)" },
        { "{\"a\":\"\\ud800\"}",
          "the body is not valid JSON: half a surrogate pair (line 1, column 7)" },
        { "{\"a\":\"\\u0000\"}", "the body holds a text with a NUL (\\u0000), which is not served "
                                 "(line 1, column 7)" },
        { "{\"a\":1,\n\"\\u0061\":2}",
          "the body holds a key twice in one object (line 2, column 1): which of them counts would "
          "be a guess" },
        { "{} {}", "the body is not valid JSON: unexpected '{' (line 1, column 4)" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail fail = { 0 };
        assert_int_equal(body_check(str_of(rows[i].text), &fail), FAILED);
        assert_int_equal(fail.code, FAIL_invalid_request);
        assert_string_equal(fail.message, rows[i].says);
    }
}

struct into {
    bool on, has_n;
    int64_t n;
    double x;
    struct str text;
};
static const struct field table[] = {
    { "on", FIELD_bool, offsetof(struct into, on), 0, 0, -1 },
    { "n", FIELD_int, offsetof(struct into, n), -10, 9223372036854775807.0,
      offsetof(struct into, has_n) },
    { "x", FIELD_float, offsetof(struct into, x), -1, 1, -1 },
    { "text", FIELD_text, offsetof(struct into, text), 0, 0, -1 },
    { 0 },
};

static void fields_are_read_by_their_table(void **state)
{
    static const struct {
        const char *text, *param; /* NULL: read */
        struct into into;
    } rows[] = {
        { "{}", NULL, { 0 } },
        { "{\"on\":null,\"n\":null,\"x\":null,\"text\":null}", NULL, { 0 } },
        { " {\"on\":true,\"n\":7,\"x\":-0.5,\"te\\u0078t\":\"a\\nb\",\"more\":[{}]} ",
          NULL,
          { true, true, 7, -0.5, STR("a\nb") } },
        { "{\"n\":9223372036854775807}", NULL, { .has_n = true, .n = INT64_MAX } },
        { "{\"n\":-1e1}", NULL, { .has_n = true, .n = -10 } },
        { "{\"n\":-0}", NULL, { .has_n = true } },
        { "{\"n\":-11}", "n", { 0 } },
        { "{\"n\":9223372036854775808}", "n", { 0 } },
        { "{\"n\":1e999}", "n", { 0 } },
        { "{\"n\":1.5}", "n", { 0 } },
        { "{\"n\":\"1\"}", "n", { 0 } },
        { "{\"x\":1.01}", "x", { 0 } },
        { "{\"x\":1e999}", "x", { 0 } },
        { "{\"x\":true}", "x", { 0 } },
        { "{\"on\":1}", "on", { 0 } },
        { "{\"text\":{}}", "text", { 0 } },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
        struct body b;
        struct fail fail = { 0 };
        struct into into = { 0 };
        assert_int_equal(body_read(&b, str_of(rows[i].text), a, &fail), 0);
        int r = body_fields(&into, table, &b, a, &fail);
        assert_int_equal(r, rows[i].param ? FAILED : 0);
        if (rows[i].param) {
            assert_string_equal(fail.param, rows[i].param);
            continue;
        }
        assert_true(into.on == rows[i].into.on && into.has_n == rows[i].into.has_n &&
                    into.n == rows[i].into.n && into.x == rows[i].into.x &&
                    str_eq(into.text, rows[i].into.text));
    }
}

static void fields_beyond_the_table_are_named(void **state)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
    struct body b;
    struct fail fail = { 0 };
    (void)state;
    assert_int_equal(body_read(&b, STR("{\"n\":1,\"also\":2,\"nn\":3}"), a, &fail), 0);
    assert_int_equal(body_only(table, "also", &b, &fail), FAILED);
    assert_string_equal(fail.param, "nn");
    assert_int_equal(body_only(table, NULL, &b, &fail), FAILED);
    assert_string_equal(fail.param, "also");
    assert_int_equal(body_read(&b, STR("{\"n\":1,\"x\":2}"), a, &fail), 0);
    assert_int_equal(body_only(table, NULL, &b, &fail), 0);
}

static void what_is_not_served_is_refused_unless_harmless(void **state)
{
    static const struct refused refused[] = {
        { "a", UNLESS_null }, { "b", UNLESS_empty },  { "c", UNLESS_false }, { "d", UNLESS_true },
        { "e", UNLESS_zero }, { "f", UNLESS_choice }, { NULL, UNLESS_null },
    };
    static const struct {
        const char *text, *name; /* NULL: harmless */
    } rows[] = {
        { "{\"a\":null,\"b\":[],\"c\":false,\"d\":true,\"e\":0,\"f\":\"auto\"}", NULL },
        { "{\"b\":{ },\"e\":-1.5,\"f\":\"none\",\"g\":1}", NULL },
        { "{\"b\":\"\",\"c\":null}", NULL },
        { "{\"a\":false}", "a" },
        { "{\"b\":[0]}", "b" },
        { "{\"b\":0}", "b" },
        { "{\"c\":0}", "c" },
        { "{\"d\":false}", "d" },
        { "{\"e\":0.5}", "e" },
        { "{\"e\":\"0\"}", "e" },
        { "{\"f\":\"any\"}", "f" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
        struct body b;
        struct fail fail = { 0 };
        assert_int_equal(body_read(&b, str_of(rows[i].text), a, &fail), 0);
        assert_int_equal(body_refuse(refused, &b, &fail), rows[i].name ? FAILED : 0);
        assert_string_equal(fail.param, rows[i].name ? rows[i].name : "");
    }
}

static void the_number_of_fields_is_bounded(void **state)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    struct body b;
    struct fail fail = { 0 };
    (void)state;
    for (int i = 0; i <= LIMIT_BODY_FIELDS; i++)
        buf_addf(&text, "%c\"%d\":%d", i ? ',' : '{', i, i);
    buf_addc(&text, '}');
    assert_int_equal(body_read(&b, buf_str(&text), a, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_invalid_request);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_malformed_body_is_told_its_place),
        cmocka_unit_test(fields_are_read_by_their_table),
        cmocka_unit_test(fields_beyond_the_table_are_named),
        cmocka_unit_test(what_is_not_served_is_refused_unless_harmless),
        cmocka_unit_test(the_number_of_fields_is_bounded),
    };
    return TEST_RUN(tests);
}
