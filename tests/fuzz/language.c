/* Any bytes as a model of languages: refused, or it scores words. Any bytes as a text: a language
 * with a confidence, or none. */
#include "tests/fuzz/fuzz.h"

#include "router/signals/language.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t word[LANGID_WORD] = { 'w', 'o', 'r', 'd', 0x10ffff };
    struct str bytes = { (const char *)data, size };
    struct langid m;
    if (langid_open(&m, bytes) == 0)
        for (uint32_t i = 0; i < m.n; i++) {
            int32_t sums[LANGID_LANGUAGES] = { 0 };
            langid_add(&m.groups[i], word, 1 + size % LANGID_WORD, sums);
        }
    struct language l = language_detect(bytes);
    if (!(l.confidence >= 0 && l.confidence <= 1) || (l.confidence > 0) != (l.code[0] != '\0'))
        abort();
    return 0;
}
