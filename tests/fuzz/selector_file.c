/* Any bytes as the file of a learned selector: refused, or read; what was read scores a text. */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "router/selection/learned/learned.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(64 * MIB);
    struct learned l;
    if (!arena || learned_read(&l, (struct str){ (const char *)data, size }, arena) < 0)
        return 0;
    float *x = arena_array(arena, (size_t)l.dims + l.rows, sizeof(*x));
    double scores[LEARNED_MODELS];
    if (!x)
        return 0;
    for (uint32_t i = 0; i < l.dims; i++)
        x[i] = (float)(i % 7) / 7;
    for (unsigned k = 1; k <= LEARNED_K_MAX; k *= 4)
        learned_scores(&l, x, k, x + l.dims, scores);
    return 0;
}
