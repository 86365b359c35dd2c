/*
 * English words reduced to their stems (Porter, 1980), and the words that say nothing.
 */
#pragma once

#include "base/str.h"

enum { STEM_BYTES = 64 }; /* longer words are not stemmed */

/* `word` is lower case; other scripts pass unchanged. The result is in `space`, or is `word`. */
struct str stem_english(struct str word, char space[static STEM_BYTES]);
bool stem_is_stop_word(struct str word); /* lower case */
