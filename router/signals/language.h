/*
 * The language of a text. Pure; any thread.
 */
#pragma once

#include "base/str.h"

struct language {
    char code[8];      /* ISO 639-1 where there is one: "en", "zh"; empty: not detected */
    double confidence; /* 0 to 1 */
};

struct language language_detect(struct str text); /* valid UTF-8 */
