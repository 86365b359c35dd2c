#include "router/linear/difficulty.h"

#include <math.h>

#include "router/signals/unicode.h"

static const float LENGTH_WEIGHT = 0.25F; /* of a character of mean length, in ln(words) */
static const float MIDDLE = 2.6F;         /* the sum that is ½ */

float difficulty_of(struct str text)
{
    size_t words = 0, characters = 0;
    bool inside = false;
    for (size_t pos = 0; pos < text.n;) {
        int cp = str_utf8_next(text, &pos);
        bool of_word = unicode_word(cp), alone = of_word && unicode_dense(cp);
        words += of_word && (alone || !inside);
        characters += of_word;
        inside = of_word && !alone;
    }
    if (!words)
        return 0;
    float mean = (float)characters / (float)words;
    float sum = logf(1 + (float)words) - LENGTH_WEIGHT * mean;
    return 1 / (1 + expf(MIDDLE - sum));
}
