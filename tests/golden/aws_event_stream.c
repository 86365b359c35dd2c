/*
 * Event stream frames of another encoder, whole, damaged, and cut anywhere (aws.py makes the file).
 */
#include "engine/upstream/aws_event_stream.h"
#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"

static json_t *file;

static int load(void **state)
{
    (void)state;
    json_error_t e;
    file = json_load_file(test_path("tests/golden/aws_event_stream.json"), 0, &e);
    return file ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(file);
    return 0;
}

static void add_hex(struct buf *b, const json_t *text)
{
    const char *s = json_string_value(text);
    for (size_t i = 0; s[i]; i += 2)
        buf_addc(b, (char)strtoul((char[]){ s[i], s[i + 1], '\0' }, NULL, 16));
}

/* What was told, as text that can be compared. */
static int note(void *ctx, const struct aws_event *e)
{
    struct buf *b = ctx;
    const struct str parts[] = { e->message_type, e->event_type, e->failure, e->error_message,
                                 e->payload };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_addf(b, "%zu:", parts[i].n);
        buf_add(b, parts[i]);
    }
    return 0;
}

/* Frames one after the other, and what they hold. */
static void all_frames(struct buf *bytes, struct buf *want)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(file, "whole"), i, row)
    {
        const char *names[] = { "message_type", "event_type", "failure", "error_message" };
        struct buf payload = BUF_INIT(MIB);
        add_hex(bytes, json_object_get(row, "frame"));
        add_hex(&payload, json_object_get(row, "payload"));
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            const char *s = json_string_value(json_object_get(row, names[k]));
            buf_addf(want, "%zu:%s", strlen(s), s);
        }
        buf_addf(want, "%zu:", payload.n);
        buf_add(want, buf_str(&payload));
        buf_done(&payload);
    }
}

static void push_pieces(struct str bytes, size_t first, size_t step, struct buf *got)
{
    struct aws_event_stream s = AWS_EVENT_STREAM_INIT(MIB);
    size_t n = first ? first : step;
    while (bytes.n) {
        struct str piece = str_head(bytes, n);
        char *copy = malloc(piece.n); /* exact, so that reading past it is seen */
        memcpy(copy, piece.p, piece.n);
        assert_int_equal(aws_event_stream_push(&s, (struct str){ copy, piece.n }, note, got), 0);
        free(copy);
        bytes = str_sub(bytes, piece.n);
        n = step;
    }
    assert_false(aws_event_stream_is_open(&s));
    aws_event_stream_done(&s);
}

static void tells_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    struct buf bytes = BUF_INIT(MIB), want = BUF_INIT(MIB), got = BUF_INIT(MIB);
    all_frames(&bytes, &want);
    assert_true(bytes.n > 1000);
    for (size_t at = 0; at < bytes.n; at++) {
        buf_clear(&got);
        push_pieces(buf_str(&bytes), at, bytes.n, &got);
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
    }
    for (size_t step = 1; step < 40; step++) {
        buf_clear(&got);
        push_pieces(buf_str(&bytes), 0, step, &got);
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
    }
    buf_done(&bytes);
    buf_done(&want);
    buf_done(&got);
}

/* The frame behind a good one, in steps: the good one is told, the damaged one never. */
static void check_broken(const json_t *row, struct str good, size_t step)
{
    const char *outcome = json_string_value(json_object_get(row, "outcome"));
    struct buf bytes = BUF_INIT(MIB), got = BUF_INIT(MIB), want = BUF_INIT(MIB);
    struct aws_event_stream s = AWS_EVENT_STREAM_INIT(MIB), alone = AWS_EVENT_STREAM_INIT(MIB);
    assert_int_equal(aws_event_stream_push(&alone, good, note, &want), 0);
    buf_add(&bytes, good);
    add_hex(&bytes, json_object_get(row, "frame"));
    int r = 0;
    for (size_t at = 0; at < bytes.n; at += step)
        r = aws_event_stream_push(&s, str_head(str_sub(buf_str(&bytes), at), step), note, &got);
    if (r == 0)
        assert_true(aws_event_stream_is_open(&s));
    int expected = strcmp(outcome, "large") == 0 ? -EMSGSIZE : -EBADMSG;
    if (r != (strcmp(outcome, "open") == 0 ? 0 : expected))
        fail_msg("%s in steps of %zu: %d", json_string_value(json_object_get(row, "name")), step,
                 r);
    assert_true(str_eq(buf_str(&got), buf_str(&want)));
    aws_event_stream_done(&s);
    aws_event_stream_done(&alone);
    buf_done(&bytes);
    buf_done(&got);
    buf_done(&want);
}

static void tells_nothing_of_a_damaged_frame(void **state)
{
    (void)state;
    size_t i;
    json_t *row;
    struct buf good = BUF_INIT(MIB);
    add_hex(&good, json_object_get(json_array_get(json_object_get(file, "whole"), 5), "frame"));
    json_array_foreach(json_object_get(file, "broken"), i, row)
    {
        const size_t steps[] = { 1, 2, 7, 13, MIB };
        for (size_t k = 0; k < ARRAY_LEN(steps); k++)
            check_broken(row, buf_str(&good), steps[k]);
    }
    buf_done(&good);
}

static int stop(void *ctx, const struct aws_event *e)
{
    (void)e;
    ++*(unsigned *)ctx;
    return -ECANCELED;
}

static void stops_where_the_listener_says_so(void **state)
{
    (void)state;
    unsigned told = 0;
    struct buf bytes = BUF_INIT(MIB), want = BUF_INIT(MIB);
    struct aws_event_stream s = AWS_EVENT_STREAM_INIT(MIB);
    all_frames(&bytes, &want);
    assert_int_equal(aws_event_stream_push(&s, buf_str(&bytes), stop, &told), -ECANCELED);
    assert_int_equal(aws_event_stream_push(&s, buf_str(&bytes), stop, &told), -ECANCELED);
    assert_int_equal(told, 1);
    aws_event_stream_done(&s);
    buf_done(&bytes);
    buf_done(&want);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_the_same_wherever_it_is_cut),
        cmocka_unit_test(tells_nothing_of_a_damaged_frame),
        cmocka_unit_test(stops_where_the_listener_says_so),
    };
    test_begin();
    return cmocka_run_group_tests(tests, load, unload);
}
