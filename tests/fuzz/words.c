/* Any bytes as a table of words: refused, or every text can be read with it. */
#include "tests/fuzz/fuzz.h"

#include "router/vectors/words.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = { "refund", "unrefundable", "x", "\xd0\xbc\xd0\xb8\xd1\x80",
                                         "refundrefundrefundrefundrefundrefund" };
    struct words w;
    if (words_open(&w, data, size) != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        float sum[WORDS_WIDTH] = { 0 }, says = -1;
        float known = words_add(&w, str_of(texts[i]), words_hash(str_of(texts[i])), /* times= */ 1,
                                sum, &says);
        if (!(known >= 0 && known <= 1 && says >= 0 && says <= 1))
            abort();
    }
    return 0;
}
