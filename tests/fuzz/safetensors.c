#include "tests/fuzz/fuzz.h"

#include "engine/local/safetensors.h"

/* Whatever is accepted lies inside the bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(safetensors_freep) struct safetensors *s = NULL;
    struct fail f = { 0 };
    if (safetensors_parse(&s, "fuzz", (struct str){ (const char *)data, size }, &f))
        return 0;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < safetensors_n(s); i++) {
        const struct safetensor *t = safetensors_at(s, i);
        for (size_t k = 0; k < t->bytes; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)t->data)[k]);
    }
    return 0;
}
