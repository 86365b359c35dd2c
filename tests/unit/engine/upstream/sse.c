/*
 * Server-sent events: every stream, cut at every offset, tells the same events.
 *
 * The rows' events are those of the algorithm in WHATWG HTML, section 9.2.6, done by hand.
 */
#include "tests/support/test.h"

#include <errno.h>

#include "base/limits.h"
#include "engine/upstream/sse.h"

struct told {
    struct buf text; /* "name|data;" … */
    unsigned n, stop_at;
    const char *from; /* what was pushed last, to see views */
    size_t from_n;
    unsigned views;
};

static int tell(void *ctx, const struct sse_event *event)
{
    struct told *t = ctx;
    buf_add(&t->text, event->name);
    buf_addc(&t->text, '|');
    buf_add(&t->text, event->data);
    buf_addc(&t->text, ';');
    t->views += event->data.p >= t->from && event->data.p < t->from + t->from_n;
    return ++t->n == t->stop_at ? 42 : 0;
}

static int push(struct sse *s, struct told *t, struct str bytes)
{
    /* memory of its own, so that reading beyond it, or later, is seen */
    char *copy = malloc(bytes.n + 1);
    assert_non_null(copy);
    memcpy(copy, bytes.p, bytes.n);
    t->from = copy;
    t->from_n = bytes.n;
    int r = sse_push(s, (struct str){ copy, bytes.n }, tell, t);
    free(copy);
    return r;
}

static const struct row {
    struct str stream;
    const char *events;
    bool is_open;
} rows[] = {
    { STR(""), "", false },
    { STR("data: a\n\n"), "|a;", false },
    { STR("data:a\n\n"), "|a;", false },
    { STR("data:  a \n\n"), "| a ;", false },
    { STR("data\n\n"), "|;", false },
    { STR("data:\n\n"), "|;", false },
    { STR("data\ndata\n\ndata:"), "|\n;", true },
    { STR("data: a\r\rdata: b\r\r"), "|a;|b;", false },
    { STR("data: a\r\n\r\ndata: b\r\n\r\n"), "|a;|b;", false },
    { STR("data: a\n\r\ndata: b\r\n\ndata: c\r\r\ndata: d\n\r"), "|a;|b;|c;|d;", false },
    { STR("\r\n\r\n\n\rdata: a\n\n\n\n"), "|a;", false },
    { STR("\xEF\xBB\xBF"
          "data: a\n\n"),
      "|a;", false },
    { STR("\xEF\xBB\xBF\xEF\xBB\xBF"
          "data: a\n\ndata: b\n\n"),
      "|b;", false },
    { STR("data: a\n\n\xEF\xBB\xBF"
          "data: b\n\n"),
      "|a;", false },
    { STR("data: a\ndata: b\ndata:\ndata: c\n\n"), "|a\nb\n\nc;", false },
    { STR("event: e\ndata: a\n\ndata: b\n\n"), "e|a;|b;", false },
    { STR("data: a\nevent: e\nevent: f\n\n"), "f|a;", false },
    { STR("event: e\n\ndata: b\n\n"), "|b;", false },
    { STR("event\ndata: b\n\n"), "|b;", false },
    { STR(": hi\n\n:\ndata: a\n: in between\ndata: b\n\n"), "|a\nb;", false },
    { STR("id: 1\nretry: 10\ndata: a\nwhat: ever\n\nnothing\n\n"), "|a;", false },
    { STR("data : a\n\ndatax: b\n\nDATA: c\n\n data: d\n\n"), "", false },
    { STR("data: {\"a\":\"b: c\"}\n\n"), "|{\"a\":\"b: c\"};", false },
    { STR("data: a\n"), "", true },
    { STR("data: a"), "", true },
    { STR("data: a\n\nda"), "|a;", true },
    { STR("data: a\n\nevent: e\n"), "|a;", true },
    { STR("data: a\n\n: keep"), "|a;", false },
    { STR("data: [DONE]\n\n"), "|[DONE];", false },
    { STR("data: gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80\n\n"),
      "|gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80;", false },
    { STR("data: a\xFFz\n\nevent: \xC0\ndata: b\n\n"), "|a\xEF\xBF\xBDz;\xEF\xBF\xBD|b;", false },
    { STR("data: a\xE2\x82\ndata: b\n\n"), NULL, false }, /* any number of U+FFFD, but valid */
};

static void check(const struct row *row, struct sse *s, struct told *t)
{
    if (row->events)
        assert_string_equal(t->text.p ? t->text.p : "", row->events);
    else
        assert_true(t->n == 1 && str_utf8_valid(buf_str(&t->text)));
    assert_int_equal(sse_is_open(s), row->is_open);
}

static void streams_cut_in_two_tell_the_same(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].stream.n; cut++) {
            struct sse s = SSE_INIT(MIB);
            struct told t = { .text = BUF_INIT(MIB) };
            assert_int_equal(push(&s, &t, str_head(rows[i].stream, cut)), 0);
            assert_int_equal(push(&s, &t, str_sub(rows[i].stream, cut)), 0);
            check(&rows[i], &s, &t);
            buf_done(&t.text);
            sse_done(&s);
        }
    }
}

static void streams_cut_into_pieces_tell_the_same(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t piece = 1; piece <= 7; piece++) {
            struct sse s = SSE_INIT(MIB);
            struct told t = { .text = BUF_INIT(MIB) };
            for (size_t at = 0; at < rows[i].stream.n; at += piece)
                assert_int_equal(push(&s, &t, str_head(str_sub(rows[i].stream, at), piece)), 0);
            check(&rows[i], &s, &t);
            buf_done(&t.text);
            sse_done(&s);
        }
    }
}

static void an_event_that_lies_whole_is_not_copied(void **state)
{
    struct sse s = SSE_INIT(MIB);
    struct told t = { .text = BUF_INIT(MIB) };
    assert_int_equal(push(&s, &t, STR("event: x\ndata: a\n\ndata: b\r\n\r\n")), 0);
    assert_int_equal(t.views, 2);
    assert_int_equal(push(&s, &t, STR("data: c\n")), 0);
    assert_int_equal(push(&s, &t, STR("\ndata: d\ndata: e\n\n")), 0);
    assert_int_equal(t.views, 2);
    assert_string_equal(t.text.p, "x|a;|b;|c;|d\ne;");
    buf_done(&t.text);
    sse_done(&s);
}

static void what_is_told_may_stop(void **state)
{
    struct sse s = SSE_INIT(MIB);
    struct told t = { .text = BUF_INIT(MIB), .stop_at = 2 };
    assert_int_equal(push(&s, &t, STR("data: a\n\ndata: b\n\ndata: c\n\n")), 42);
    assert_string_equal(t.text.p, "|a;|b;");
    buf_done(&t.text);
    sse_done(&s);
}

static void events_are_bounded(void **state)
{
    static const struct {
        const char *piece;
        unsigned times;
        int want;
    } cases[] = {
        { "data: 0123456789\n", 9, 0 },    { "data: 0123456789\n", 10, -EMSGSIZE },
        { "0123456789", 10, 0 },           { "0123456789", 11, -EMSGSIZE },
        { "data: 0123456789\n\n", 99, 0 }, { ": 0123456789\n", 99, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sse s = SSE_INIT(100);
        struct told t = { .text = BUF_INIT(MIB) };
        int r = 0;
        for (unsigned j = 0; j < cases[i].times && !r; j++)
            r = push(&s, &t, str_of(cases[i].piece));
        assert_int_equal(r, cases[i].want);
        buf_done(&t.text);
        sse_done(&s);
    }
    struct sse s = SSE_INIT(8);
    struct told t = { .text = BUF_INIT(MIB) };
    assert_int_equal(push(&s, &t, STR("data: 0123456789\n\n")),
                     -EMSGSIZE); /* though it is a view */
    buf_done(&t.text);
    sse_done(&s);
}

static void a_large_line_comes_in_pieces_and_leaves_nothing(void **state)
{
    enum { LINE_BYTES = 10 << 20, PIECE = 8192 };
    static char piece[PIECE];
    memset(piece, 'x', sizeof(piece));
    struct sse s = SSE_INIT(16 * MIB);
    struct told t = { .text = BUF_INIT(32 * MIB) };
    assert_int_equal(push(&s, &t, STR("data: ")), 0);
    for (size_t n = 0; n < LINE_BYTES; n += PIECE)
        assert_int_equal(push(&s, &t, (struct str){ piece, PIECE }), 0);
    assert_int_equal(push(&s, &t, STR("\n\n")), 0);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.text.n, LINE_BYTES + 2);
    assert_true(s.line.cap + s.data.cap <= 64 * KIB);
    buf_done(&t.text);
    sse_done(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_cut_in_two_tell_the_same),
        cmocka_unit_test(streams_cut_into_pieces_tell_the_same),
        cmocka_unit_test(an_event_that_lies_whole_is_not_copied),
        cmocka_unit_test(what_is_told_may_stop),
        cmocka_unit_test(events_are_bounded),
        cmocka_unit_test(a_large_line_comes_in_pieces_and_leaves_nothing),
    };
    return TEST_RUN(tests);
}
