/* Bytes → tree → layout and YAML → a configuration's source. */
#include "router/dsl/dsl.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size };
    struct problems *p = problems_new();
    struct buf layout = BUF_INIT(64 * MIB), yaml = BUF_INIT(64 * MIB), back = BUF_INIT(64 * MIB);
    struct dsl *d = NULL, *again = NULL;
    if (p && dsl_format(&layout, "fuzz", text, p) == 0 &&
        dsl_compile(&d, "fuzz", buf_str(&layout), p) == 0) {
        dsl_print_yaml(dsl_root(d), &yaml);
        if (dsl_decompile(&back, dsl_root(d), p) == 0)
            (void)!dsl_compile(&again, "back", buf_str(&back), p);
    }
    (void)dsl_free(again);
    (void)dsl_free(d);
    buf_done(&layout);
    buf_done(&yaml);
    buf_done(&back);
    (void)problems_free(p);
    return 0;
}
