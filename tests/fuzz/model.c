/* Any bytes as a decoder's file: refused with a reason, or a few steps run. */
#include "tests/fuzz/fuzz.h"

#include "engine/local/model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(model_freep) struct model *m = NULL;
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    static const struct stepper_options o = { 1, 12, 3, 1, CACHE_f16 };
    const struct step_row rows[] = { { 0, 0, 0, false, NULL }, { 0, 1, 0, true, NULL } };
    const float *logits;
    struct fail f = { 0 };
    int r = gguf_parse(&g, "fuzz", (struct str){ (const char *)data, size }, &f);
    if (r == 0)
        r = model_new(&m, &g, &f);
    if (r == 0 && stepper_new(&s, m, &o, &f) == 0 && stepper_run(s, rows, 2, &logits) < 0)
        abort(); /* what loads, runs */
    if (r == FAILED && !f.message[0])
        abort(); /* refused, yet nobody said why */
    return 0;
}
