/*
 * How the bytes are cut (first byte), then an AWS event stream: what is told is the same however it
 * is cut, and lies in the bytes.
 */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "engine/upstream/aws_event_stream.h"

#include <stdlib.h>

static int note(void *ctx, const struct aws_event *e)
{
    buf_add(ctx, e->message_type);
    buf_add(ctx, e->event_type);
    buf_add(ctx, e->failure);
    buf_add(ctx, e->error_message);
    buf_add(ctx, e->payload);
    return 0;
}

static int read_in_steps(struct str bytes, size_t step, struct buf *told)
{
    struct aws_event_stream s = AWS_EVENT_STREAM_INIT(64 * KIB);
    int r = 0;
    for (; bytes.n; bytes = str_sub(bytes, step))
        r = aws_event_stream_push(&s, str_head(bytes, step), note, told);
    aws_event_stream_done(&s);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str bytes = { (const char *)data + 1, size - 1 };
    struct buf whole = BUF_INIT(16 * MIB), cut = BUF_INIT(16 * MIB);
    int r = read_in_steps(bytes, bytes.n, &whole);
    if (read_in_steps(bytes, 1 + data[0], &cut) != r || !str_eq(buf_str(&whole), buf_str(&cut)))
        abort();
    buf_done(&whole);
    buf_done(&cut);
    return 0;
}
