/* Any bytes as a classifier: refused with a reason, or it reads a text and says a distribution. */
#include "tests/fuzz/fuzz.h"

#include "router/linear/classifier_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 18, MAX_CLASSES = 4096, AT_FINGERPRINT = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[MAX_BYTES];
    static float p[MAX_CLASSES];
    CLEANUP(classifier_file_closep) struct classifier_file *c = NULL;
    CLEANUP(arena_freep) struct arena *a = arena_new((size_t)1 << 20);
    struct features f = { 0 };
    struct fail why = { 0 };
    uint32_t fingerprint = 0;
    if (size > sizeof(bytes) || !a || features_fingerprint(&fingerprint) < 0)
        return 0;
    memcpy(bytes, data, size);
    if (size > AT_FINGERPRINT + sizeof(fingerprint)) /* seeds outlive a change of features */
        memcpy(bytes + AT_FINGERPRINT, &fingerprint, sizeof(fingerprint));
    if (classifier_file_open(&c, "fuzz", (struct str){ bytes, size }, &why) != 0) {
        if (!why.message[0])
            abort();
        return 0;
    }
    if (features_of(&f, STR("what is the capital of france"), NULL, a) < 0)
        return 0;
    features_weigh(&f, NULL);
    classifier_file_read(c, &f, p);
    double sum = 0;
    for (uint32_t i = 0; i < classifier_file_classes(c); i++)
        sum += (double)p[i];
    if (!(fabs(sum - 1) < 0.01))
        abort();
    return 0;
}
