/* Any bytes as an event stream, whole and cut into pieces of the first byte's size: the same. */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "engine/upstream/sse.h"

#include <stdlib.h>

static int note(void *ctx, const struct sse_event *event)
{
    if (!str_utf8_valid(event->name) || !str_utf8_valid(event->data))
        abort();
    buf_addf(ctx, "%zu,%zu:", event->name.n, event->data.n);
    buf_add(ctx, event->name);
    buf_add(ctx, event->data);
    return 0;
}

static int read_all(struct str bytes, size_t piece, struct buf *ret, bool *ret_open)
{
    struct sse s = SSE_INIT(MIB);
    int r = 0;
    for (size_t at = 0; at < bytes.n && !r; at += piece)
        r = sse_push(&s, str_head(str_sub(bytes, at), piece), note, ret);
    *ret_open = sse_is_open(&s);
    sse_done(&s);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_done) struct buf whole = BUF_INIT(GIB), cut = BUF_INIT(GIB);
    bool whole_open = false, cut_open = false;
    if (size < 2 || size > 4 * MIB)
        return 0;
    struct str bytes = { (const char *)data + 1, size - 1 };
    int a = read_all(bytes, bytes.n, &whole, &whole_open);
    int b = read_all(bytes, 1 + data[0] % 32u, &cut, &cut_open);
    /* beyond a bound only what lies in one piece may pass */
    if (!a && !b && (!str_eq(buf_str(&whole), buf_str(&cut)) || whole_open != cut_open))
        abort();
    return 0;
}
