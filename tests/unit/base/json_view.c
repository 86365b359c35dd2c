#include "tests/support/test.h"

#include "base/json_view.h"
#include "base/limits.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- one value, exactly ---- */

static void whole_documents_are_checked(void **state)
{
    static const struct {
        const char *text;
        enum json_view_fault fault;
        size_t at;
    } rows[] = {
        { "{}", JSON_VIEW_ok, 2 },
        { " [ ] \r\n\t", JSON_VIEW_ok, 8 },
        { "null", JSON_VIEW_ok, 4 },
        { "-0.5e+10", JSON_VIEW_ok, 8 },
        { "{\"a\":[1,{\"b\":null}],\"c\":\"\\u00e9\\ud83d\\ude00\"}", JSON_VIEW_ok, 45 },
        { "\"\x7f\"", JSON_VIEW_ok, 3 },
        { "", JSON_VIEW_syntax, 0 },
        { "  ", JSON_VIEW_syntax, 2 },
        { "{\"a\":1,}", JSON_VIEW_syntax, 7 },
        { "[1,]", JSON_VIEW_syntax, 3 },
        { "[,1]", JSON_VIEW_syntax, 1 },
        { "[1 2]", JSON_VIEW_syntax, 3 },
        { "[1}", JSON_VIEW_syntax, 2 },
        { "{\"a\"}", JSON_VIEW_syntax, 4 },
        { "{a:1}", JSON_VIEW_syntax, 1 },
        { "{} x", JSON_VIEW_syntax, 3 },
        { "{}{}", JSON_VIEW_syntax, 2 },
        { "01", JSON_VIEW_syntax, 0 },
        { "+1", JSON_VIEW_syntax, 0 },
        { "1.", JSON_VIEW_syntax, 0 },
        { ".5", JSON_VIEW_syntax, 0 },
        { "1e", JSON_VIEW_syntax, 0 },
        { "-", JSON_VIEW_syntax, 0 },
        { "NaN", JSON_VIEW_syntax, 0 },
        { "nul", JSON_VIEW_syntax, 0 },
        { "truer", JSON_VIEW_syntax, 4 },
        { "'a'", JSON_VIEW_syntax, 0 },
        { "\"a", JSON_VIEW_syntax, 2 },
        { "\"a\n\"", JSON_VIEW_syntax, 2 },
        { "\"\\x\"", JSON_VIEW_syntax, 1 },
        { "\"\\u12g4\"", JSON_VIEW_syntax, 1 },
        { "\"\\", JSON_VIEW_syntax, 1 },
        { "/* */ 1", JSON_VIEW_syntax, 0 },
        { "\xef\xbb\xbf{}", JSON_VIEW_syntax, 0 },
        { "\"\xc3\"", JSON_VIEW_encoding, 1 },
        { "\"a\xed\xa0\x80\"", JSON_VIEW_encoding, 2 },
        { "\"\xc0\xaf\"", JSON_VIEW_encoding, 1 },
        { "\"\xe0\x80\x80\"", JSON_VIEW_encoding, 1 },
        { "\"\xf4\x90\x80\x80\"", JSON_VIEW_encoding, 1 },
        { "\"\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\"", JSON_VIEW_ok, 12 },
        { "\"\\ud800\"", JSON_VIEW_encoding, 1 },
        { "\"\\udc00\\ud800\"", JSON_VIEW_encoding, 1 },
        { "\"\\ud83d\\u0041\"", JSON_VIEW_encoding, 1 },
        { "\"ab\\u0000\"", JSON_VIEW_nul, 3 },
        { "{\"a\":1,\"b\":2,\"a\":3}", JSON_VIEW_duplicate_key, 13 },
        { "{\"a\":1,\"\\u0061\":3}", JSON_VIEW_duplicate_key, 7 },
        { "{\"\":1,\"\":3}", JSON_VIEW_duplicate_key, 6 },
        { "{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]}}", JSON_VIEW_ok, 29 },
        { "[[[[]]]]", JSON_VIEW_ok, 8 },
        { "[[[[[]]]]]", JSON_VIEW_depth, 4 },
        { "[[[[{}]]]]", JSON_VIEW_depth, 4 },
        { "{\"a\":{\"a\":{\"a\":{\"a\":[1]}}}}", JSON_VIEW_depth, 20 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t at = 0;
        enum json_view_fault fault = json_view_check(str_of(rows[i].text), 4, &at);
        if (fault != rows[i].fault || at != rows[i].at)
            fail_msg("%s: %d at %zu", rows[i].text, fault, at);
    }
}

static void a_fault_is_found_at_every_place_of_a_long_string(void **state)
{
    enum { LONG = 300 };
    static const struct {
        char byte;
        enum json_view_fault fault;
    } rows[] = { { '\x1f', JSON_VIEW_syntax }, { '\x80', JSON_VIEW_encoding } };
    char text[LONG + 3];
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        for (size_t i = 0; i < LONG; i++) {
            memset(text, 'x', sizeof(text));
            text[0] = text[LONG + 1] = '"';
            text[1 + i] = rows[k].byte;
            size_t at = 0;
            assert_int_equal(json_view_check((struct str){ text, LONG + 2 }, 4, &at),
                             rows[k].fault);
            assert_int_equal(at, 1 + i);
            text[1 + i] = '"';
            struct str value = json_view_value((struct str){ text, LONG + 2 });
            assert_int_equal(value.n, i + 2);
        }
    }
}

/* Cut anywhere, bounds hold and nothing is complete. Each piece is its own allocation, so that an
 * overrun is seen. */
static void a_document_cut_anywhere_is_none(void **state)
{
    const struct str text =
        STR("{\"key\\n\":[1.5e-3,true,\"\xe2\x82\xac\\ud83d\\ude00 long enough for "
            "a wide step, and then some more of it\"],\"b\":{\"c\":null}}");
    (void)state;
    for (size_t n = 0; n < text.n; n++) {
        char *piece = str_dup(str_head(text, n));
        assert_non_null(piece);
        piece = realloc(piece, n ? n : 1);
        assert_non_null(piece);
        struct str cut = { piece, n };
        size_t at = 0;
        assert_int_not_equal(json_view_check(cut, 64, &at), JSON_VIEW_ok);
        assert_true(at <= n);
        assert_null(json_view_value(cut).p);
        struct str found = json_view_at(cut, "b.c");
        assert_true(!found.p || (found.p > piece && found.p + found.n <= piece + n));
        free(piece);
    }
}

static void a_million_keys_are_told_apart(void **state)
{
    enum { KEYS = 1000000 };
    static const struct {
        const char *last;
        enum json_view_fault fault;
    } rows[] = { { "\"last\":0}", JSON_VIEW_ok },
                 { "\"500000\":0}", JSON_VIEW_duplicate_key },
                 { "\"50\\u0030000\":0}", JSON_VIEW_duplicate_key } };
    CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
    (void)state;
    buf_adds(&b, "{");
    for (int i = 0; i < KEYS; i++)
        buf_addf(&b, "\"%d\":0,", i);
    size_t n = b.n;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        b.n = n;
        buf_adds(&b, rows[k].last);
        size_t at = 0;
        assert_int_equal(buf_err(&b), 0);
        assert_int_equal(json_view_check(buf_str(&b), 4, &at), rows[k].fault);
        assert_int_equal(at, rows[k].fault ? n : b.n);
    }
}

static void objects_inside_objects_keep_their_keys_apart(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    (void)state;
    size_t at = 0;
    buf_adds(&b, "{");
    for (int i = 0; i < 40; i++) {
        buf_addf(&b, "\"k%d\":{", i);
        for (int j = 0; j < 40; j++)
            buf_addf(&b, "\"k%d\":%d%s", j, j, j < 39 ? "," : "},");
    }
    size_t n = b.n;
    buf_adds(&b, "\"end\":1}");
    assert_int_equal(json_view_check(buf_str(&b), 4, &at), JSON_VIEW_ok);
    b.n = n;
    buf_adds(&b, "\"k3\":1}");
    assert_int_equal(json_view_check(buf_str(&b), 4, &at), JSON_VIEW_duplicate_key);
    assert_int_equal(at, n);
}

/* Keys of every length about that of a word, which hashes are made of, the last of the text. */
static void keys_are_the_same_however_they_are_spelt(void **state)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    static const char *const ends[] = { "", "      " }; /* what is left to read behind them */
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(ends) * (sizeof(letters) - 1); i++) {
        size_t n = 1 + i / (2 * ARRAY_LEN(ends));
        bool differs = i % 2;
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        buf_addf(&b, "{\"%.*s\":0,\"\\u00%02x%.*s%c\":1}%s", (int)n, letters, letters[0],
                 (int)n - 2 < 0 ? 0 : (int)n - 2, letters + 1, differs ? '!' : letters[n - 1],
                 ends[i / 2 % ARRAY_LEN(ends)]);
        size_t at = 0;
        bool is_same = n > 1 && !differs; /* of one letter, it has another behind it */
        assert_int_equal(json_view_check(buf_str(&b), 4, &at),
                         is_same ? JSON_VIEW_duplicate_key : JSON_VIEW_ok);
    }
}

static void note_member(void *ctx, struct str key, struct str value)
{
    struct buf *b = ctx;
    buf_add(b, key);
    buf_addc(b, '=');
    buf_add(b, value);
    buf_addc(b, ';');
}

static void a_check_gives_the_members(void **state)
{
    static const struct {
        const char *text, *members;
    } rows[] = {
        { " { \"a\" : {\"b\":[1,{}]} , \"\\u0063\":[ ] ,\"d\": -1 , \"\":\"\"} ",
          "a={\"b\":[1,{}]};\\u0063=[ ];d=-1;=\"\";" },
        { "{}", "" },
        { "{\"a\":{}}", "a={};" },
        { "[{\"a\":1}]", "" },
        { "\"a\"", "" },
        { "{\"a\":1,\"b\":tru}", "a=1;" },
        { "{\"a\":1,\"b\":true", "a=1;b=true;" },
        { "{\"a\":1,\"a\":true}", "a=1;" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        size_t at = 0;
        buf_adds(&b, "");
        (void)json_view_check_members(str_of(rows[i].text), 4, &at, note_member, &b);
        assert_string_equal(b.p, rows[i].members);
    }
}

/* ---- parts ---- */

static void members_are_reached_by_name_and_path(void **state)
{
    static const char text[] =
        " { \"a\" : 1 ,\"b\\u002e\":[ true , {\"x\":\"y\"} ,[]],\"usage\":{\"tokens\":12},"
        "\"\\u0061b\":\"c\", \"e\":{} } ";
    static const struct {
        const char *path, *value; /* NULL: none */
    } rows[] = {
        { "a", "1" },
        { "ab", "\"c\"" },
        { "usage.tokens", "12" },
        { "usage.none", NULL },
        { "usage.tokens.x", NULL },
        { "e", "{}" },
        { "e.x", NULL },
        { "", NULL },
        { "\\u0061b", NULL },
    };
    (void)state;
    struct str value = json_view_value(str_of(text));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str v = json_view_at(value, rows[i].path);
        if (rows[i].value ? !str_is(v, rows[i].value) : v.p != NULL)
            fail_msg("%s: %.*s", rows[i].path, (int)v.n, v.p);
    }
    struct str list = json_view_get(value, "b.");
    assert_int_equal(json_view_count(list), 3);
    assert_true(json_view_is(json_view_at(list, "1.x"), "y"));
    assert_true(json_view_true(json_view_at(list, "0")));
    assert_null(json_view_at(list, "3").p);
    assert_null(json_view_at(list, "x").p);
    assert_int_equal(json_view_count(value), 5);
    assert_int_equal(json_view_count(STR("12")), 0);
}

static void a_walk_over_what_is_malformed_ends(void **state)
{
    static const struct {
        const char *text;
        size_t n;
    } rows[] = {
        { "[1,2", 2 },
        { "[1 2]", 1 },
        { "[1,", 1 },
        { "[", 0 },
        { "{\"a\"", 0 },
        { "{\"a\":1 2}", 1 },
        { "{\"a\":1,\"b\"}", 1 },
        { "{1:2}", 0 },
        { "[nope]", 0 },
        { "[[1,2]", 1 },
        { "[\"a]", 0 },
        { "[01]", 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (json_view_count(str_of(rows[i].text)) != rows[i].n)
            fail_msg("%s: %zu", rows[i].text, json_view_count(str_of(rows[i].text)));
}

static void strings_are_decoded(void **state)
{
    static const struct {
        struct str string, text; /* text.p NULL: no string */
        bool plain;
    } rows[] = {
        { STR("\"\""), STR(""), true },
        { STR("\"abc \xe2\x82\xac\""), STR("abc \xe2\x82\xac"), true },
        { STR("\"a\\n\\t\\r\\b\\f\\\"\\\\\\/z\""), STR("a\n\t\r\b\f\"\\/z"), false },
        { STR("\"\\u20AC\\u00e9\\u0041\""),
          STR("\xe2\x82\xac\xc3\xa9"
              "A"),
          false },
        { STR("\"\\ud83d\\ude00\""), STR("\xf0\x9f\x98\x80"), false },
        { STR("\"\\ud83d!\""), STR("\xef\xbf\xbd!"), false },
        { STR("\"\\ude00\\ud83d\\u0041\""),
          STR("\xef\xbf\xbd\xef\xbf\xbd"
              "A"),
          false },
        { STR("\"\\u0000\""), STR("\0"), false },
        { STR("\"\\x\\u12\""), STR("\\x\\u12"), false },
        { STR("\"\\\""), STR("\\"), false },
        { STR("12"), { NULL, 0 }, false },
        { STR("\""), { NULL, 0 }, false },
        { STR("\"a"), { NULL, 0 }, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        struct str text = json_view_text(rows[i].string, a), view = STR_NULL;
        if (!text.p != !rows[i].text.p || !str_eq(text, rows[i].text))
            fail_msg("%s: %.*s", rows[i].string.p, (int)text.n, text.p);
        json_view_add_text(&b, rows[i].string);
        assert_true(str_eq(buf_str(&b), rows[i].text) && buf_err(&b) == 0);
        assert_int_equal(json_view_plain(rows[i].string, &view), rows[i].plain);
        if (rows[i].plain)
            assert_true(view.p == rows[i].string.p + 1 && view.p == text.p);
        char c_text[32] = "";
        memcpy(c_text, rows[i].text.p ? rows[i].text.p : "", rows[i].text.n);
        bool whole = rows[i].text.p && strlen(c_text) == rows[i].text.n;
        assert_int_equal(json_view_is(rows[i].string, c_text), whole);
        assert_false(json_view_is(rows[i].string, "abd"));
    }
}

static void whole_numbers_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t value;
    } rows[] = {
        { "0", 0, 0 },
        { "12", 0, 12 },
        { "12.0", 0, 12 },
        { "12.000e0", 0, 12 },
        { "1e3", 0, 1000 },
        { "1.25E+2", 0, 125 },
        { "1200e-2", 0, 12 },
        { "0.0e99999999999999999999", 0, 0 },
        { "0e-99999999999999999999", 0, 0 },
        { "18446744073709551615", 0, UINT64_MAX },
        { "18446744073709551615.0", 0, UINT64_MAX },
        { "1.8446744073709551615e19", 0, UINT64_MAX },
        { "18446744073709551616", -ERANGE, 0 },
        { "1e20", -ERANGE, 0 },
        { "1e99999999999999999999", -ERANGE, 0 },
        { "12.5", -EINVAL, 0 },
        { "1e-1", -EINVAL, 0 },
        { "125e-2", -EINVAL, 0 },
        { "1e-99999999999999999999", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "-0", -EINVAL, 0 },
        { "01", -EINVAL, 0 },
        { "\"1\"", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "null", -EINVAL, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t v = 0;
        int r = json_view_u64(str_of(rows[i].text), &v);
        if (r != rows[i].result || v != rows[i].value)
            fail_msg("%s: %d %llu", rows[i].text, r, (unsigned long long)v);
    }
}

static void real_numbers_are_finite(void **state)
{
    static const struct {
        const char *text;
        int result;
        double value;
    } rows[] = {
        { "-0.25", 0, -0.25 },
        { "1e3", 0, 1000 },
        { "1e999", -ERANGE, 0 },
        { "\"1\"", -EINVAL, 0 },
        { "1.", -EINVAL, 0 },
        { "nan", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "1 ", -EINVAL, 0 },
        { "0.12500000000000000000000000000000000000000000000000000000000000000000000000000", 0,
          0.125 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double v = 0;
        assert_int_equal(json_view_double(str_of(rows[i].text), &v), rows[i].result);
        assert_true(v == rows[i].value);
    }
}

/* ---- against another reader of JSON ---- */

static size_t below(uint64_t *state, size_t n)
{
    return (size_t)(test_random(state) % n);
}

static void write_blanks(struct buf *b, uint64_t *state)
{
    static const char *const blanks[] = { "", "", "", "", " ", "\n", "\t ", "\r\n  " };
    buf_adds(b, blanks[below(state, ARRAY_LEN(blanks))]);
}

static void write_string(struct buf *b, uint64_t *state)
{
    static const char *const pieces[] = {
        "a",
        "key",
        " ",
        "0123456789abcdef",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\uD83D\\uDE00",
        "\xc3\xa9",
        "\xe6\xbc\xa2\xe5\xad\x97",
        "{",
        "]",
        ",",
        ":",
        "\xf0\x9f\x98\x80",
        "\\u0061",
        "\x7f",
        "'",
        "\\u0020",
        "the quick brown fox jumps over it all, 64 bytes and more of it",
    };
    buf_addc(b, '"');
    for (size_t n = below(state, 6); n > 0; n--)
        buf_adds(b, pieces[below(state, ARRAY_LEN(pieces))]);
    buf_addc(b, '"');
}

static void write_scalar(struct buf *b, uint64_t *state)
{
    static const char *const scalars[] = { "null", "true", "false", "0",    "-1",    "12345",
                                           "1.5",  "-0.0", "1e5",   "1E-3", "2.5e+2" };
    if (below(state, 2))
        write_string(b, state);
    else
        buf_adds(b, scalars[below(state, ARRAY_LEN(scalars))]);
}

/* Keys come from few, so that some objects have one twice; a large object's are numbered. */
static void write_document(struct buf *b, uint64_t *state, unsigned depth)
{
    write_blanks(b, state);
    size_t kind = depth == 0 ? 2 : below(state, 4);
    size_t n = below(state, 12) ? below(state, 4) : below(state, 60);
    if (kind >= 2) {
        write_scalar(b, state);
        write_blanks(b, state);
        return;
    }
    buf_addc(b, kind ? '{' : '[');
    write_blanks(b, state);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(b, ',');
        write_blanks(b, state);
        if (kind && n > 5 && below(state, 100))
            buf_addf(b, "\"%s%zu\"", below(state, 2) ? "k" : "\\u006B", i);
        else if (kind)
            write_string(b, state);
        if (kind) {
            write_blanks(b, state);
            buf_addc(b, ':');
        }
        write_document(b, state, depth - 1);
    }
    buf_addc(b, kind ? '}' : ']');
    write_blanks(b, state);
}

static void damage(struct buf *b, uint64_t *state)
{
    static const char bytes[] = "{}[]\",:\\ue0-+.1 \n\x01\x80\xc3\xed/tfn";
    for (size_t n = 1 + below(state, 2); n > 0 && b->n > 0; n--) {
        size_t at = below(state, b->n);
        switch (below(state, 4)) {
        case 0:
            b->n = at;
            break;
        case 1:
            memmove(b->p + at, b->p + at + 1, b->n - at - 1);
            b->n--;
            break;
        case 2:
            b->p[at] = (char)(b->p[at] ^ 1 << below(state, 8));
            break;
        default:
            b->p[at] = bytes[below(state, sizeof(bytes) - 1)];
        }
    }
}

static void same_value(struct str view, const json_t *v, struct arena *a);

static void same_members(struct str view, const json_t *v, struct arena *a)
{
    struct json_view_walk w = json_view_walk(view);
    struct str key, value;
    size_t n = 0;
    for (; json_view_next(&w, &key, &value); n++) {
        struct str name = STR_NULL;
        if (w.is_object)
            name = json_view_text((struct str){ key.p - 1, key.n + 2 }, a);
        const json_t *other =
            w.is_object ? json_object_getn(v, name.p, name.n) : json_array_get(v, n);
        assert_non_null(other);
        same_value(value, other, a);
        char *cstr = w.is_object ? arena_cstr(a, name) : NULL;
        if (cstr)
            assert_true(json_view_get(view, cstr).p == value.p);
    }
    assert_int_equal(n, json_is_object(v) ? json_object_size(v) : json_array_size(v));
}

static void same_value(struct str view, const json_t *v, struct arena *a)
{
    uint64_t whole = 0;
    double d = 0;
    switch (json_view_kind(view)) {
    case JSON_VIEW_object:
        assert_true(json_is_object(v));
        same_members(view, v, a);
        break;
    case JSON_VIEW_array:
        assert_true(json_is_array(v));
        same_members(view, v, a);
        break;
    case JSON_VIEW_string:
        assert_true(json_is_string(v));
        assert_true(str_eq(json_view_text(view, a),
                           (struct str){ json_string_value(v), json_string_length(v) }));
        break;
    case JSON_VIEW_number:
        assert_true(json_is_number(v));
        assert_int_equal(json_view_double(view, &d), 0);
        assert_true(d == json_number_value(v));
        if (json_is_integer(v) && view.p[0] != '-')
            assert_int_equal(json_view_u64(view, &whole), 0);
        if (json_is_integer(v) && view.p[0] != '-')
            assert_true(whole == (uint64_t)json_integer_value(v));
        break;
    case JSON_VIEW_true:
        assert_true(json_is_true(v));
        break;
    case JSON_VIEW_false:
        assert_true(json_is_false(v));
        break;
    case JSON_VIEW_null:
        assert_true(json_is_null(v));
        break;
    case JSON_VIEW_none:
        fail_msg("no value: %.*s", (int)view.n, view.p);
    }
}

/* What the other reader calls each fault; its words for the rest are of syntax. */
static bool same_fault(enum json_view_fault fault, const json_error_t *e)
{
    switch (json_error_code(e)) {
    case json_error_duplicate_key:
        return fault != JSON_VIEW_ok; /* something else may come later, or we saw it before */
    case json_error_null_character:
        return fault == JSON_VIEW_nul;
    case json_error_numeric_overflow:
        return true; /* a range is no matter of form */
    default:
        return fault != JSON_VIEW_ok;
    }
}

static void compare(struct str text, size_t *ret_valid)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(16 * MIB);
    json_error_t e;
    size_t at = 0;
    if (memchr(text.p, '\0', text.n)) { /* where the other ends to read */
        assert_int_not_equal(json_view_check(text, LIMIT_JSON_DEPTH, &at), JSON_VIEW_ok);
        return;
    }
    enum json_view_fault fault = json_view_check(text, LIMIT_JSON_DEPTH, &at);
    json_auto_t *v = json_loadb(
        text.p, text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    json_auto_t *exact =
        v ? json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e) : NULL;
    assert_true(at <= text.n);
    if (v ? fault != JSON_VIEW_ok : !same_fault(fault, &e))
        fail_msg("%.*s\n%d at %zu, and the other: %s", (int)text.n, text.p, fault, at,
                 v ? "valid" : e.text);
    (void)json_view_at(text, "key.0.a"); /* whatever it is: within its bounds */
    if (exact)
        same_value(json_view_value(text), exact, a);
    *ret_valid += exact != NULL;
}

static void documents_mean_what_jansson_says(void **state)
{
    enum { DOCUMENTS = 4000, DAMAGED = 4 };
    uint64_t seed = 6;
    size_t valid = 0;
    CLEANUP(buf_done) struct buf b = BUF_INIT(16 * MIB), copy = BUF_INIT(16 * MIB);
    (void)state;
    for (int i = 0; i < DOCUMENTS; i++) {
        buf_clear(&b);
        write_document(&b, &seed, 5);
        assert_int_equal(buf_err(&b), 0);
        compare(buf_str(&b), &valid);
        for (int k = 0; k < DAMAGED; k++) {
            buf_clear(&copy);
            buf_add(&copy, buf_str(&b));
            damage(&copy, &seed);
            compare(buf_str(&copy), &valid);
        }
    }
    assert_in_range(valid, DOCUMENTS, (size_t)DOCUMENTS * (DAMAGED + 1) - DOCUMENTS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_documents_are_checked),
        cmocka_unit_test(a_fault_is_found_at_every_place_of_a_long_string),
        cmocka_unit_test(a_document_cut_anywhere_is_none),
        cmocka_unit_test(a_million_keys_are_told_apart),
        cmocka_unit_test(objects_inside_objects_keep_their_keys_apart),
        cmocka_unit_test(keys_are_the_same_however_they_are_spelt),
        cmocka_unit_test(a_check_gives_the_members),
        cmocka_unit_test(members_are_reached_by_name_and_path),
        cmocka_unit_test(a_walk_over_what_is_malformed_ends),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(whole_numbers_are_read_exactly),
        cmocka_unit_test(real_numbers_are_finite),
        cmocka_unit_test(documents_mean_what_jansson_says),
    };
    return TEST_RUN(tests);
}
