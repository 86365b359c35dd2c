/* Any bytes as a model file: refused with an offset, or every key and tensor readable. */
#include "tests/fuzz/fuzz.h"

#include "engine/local/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct fail f = { 0 };
    struct gguf_array a;
    volatile unsigned char sum = 0; /* touches what the file describes */
    int r = gguf_parse(&g, "fuzz.gguf", (struct str){ (const char *)data, size }, &f);
    if (r != 0 && (r != FAILED || !f.message[0]))
        abort(); /* refused, yet nobody said why */
    for (size_t i = 0; g && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        for (size_t k = 0; k < t->bytes; k += t->bytes / 16 + 1)
            sum += ((const unsigned char *)t->data)[k];
        sum += ((const unsigned char *)t->data)[t->bytes - 1];
    }
    if (g && gguf_array(g, "test.array.f32", &a) && a.kind != GGUF_string)
        for (uint64_t i = 0; i < a.n; i++)
            sum += (unsigned char)gguf_array_i64(&a, i);
    (void)sum;
    return 0;
}
