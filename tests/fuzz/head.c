/*
 * Any bytes as a packed head. What is read packs to bytes that read the same again.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/head_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str packed = { (const char *)data, size };
    CLEANUP(buf_done) struct buf once = BUF_INIT(2 * HEAD_PACKED_MAX);
    CLEANUP(buf_done) struct buf twice = BUF_INIT(2 * HEAD_PACKED_MAX);
    CLEANUP(head_unrefp) struct head *h = NULL, *again = NULL;
    int r = head_unpack(&h, STR("b"), STR("a"), packed);
    if (r != head_packed_check(packed) || (r != 0 && r != -EBADMSG))
        abort();
    if (r != 0)
        return 0;
    head_pack(h, false, &once);
    if (head_unpack(&again, STR("b"), STR("a"), buf_str(&once)) != 0)
        abort();
    head_pack(again, false, &twice);
    if (!str_eq(buf_str(&once), buf_str(&twice)))
        abort();
    head_pack(h, true, &twice);
    return 0;
}
