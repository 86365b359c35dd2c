/* Any bytes as a file of outcomes: refused, or read; what was read is written so that it reads
 * again. */
#include "tests/fuzz/fuzz.h"

#include "gateway/learning/outcomes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(outcomes_freep) struct outcomes *o = NULL, *again = NULL;
    CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
    size_t bad = 0;
    if (outcomes_new(&o) < 0 || outcomes_new(&again) < 0)
        return 0;
    if (outcomes_read(o, (struct str){ (const char *)data, size }, &bad) < 0)
        return 0;
    outcomes_write(o, &b);
    if (buf_err(&b) < 0 || outcomes_read(again, buf_str(&b), &bad) < 0 || bad ||
        outcomes_len(again) != outcomes_len(o))
        abort();
    return 0;
}
