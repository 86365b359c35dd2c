/* Any bytes as a configuration file: refused with a place, or read. */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = NULL;
    CLEANUP(buf_done) struct buf b = BUF_INIT(16 * MIB);
    struct str text = { (const char *)data, size };
    if (config_parse(&c, "fuzz.yaml", text, p) < 0 && problems_len(p) == 0)
        abort(); /* refused, yet nobody said why */
    problems_print(p, &b);
    return 0;
}
