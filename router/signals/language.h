/*
 * The language of a text. Pure; any thread.
 *
 * Scripts that one language is written in decide it; in the others the words of the text do, by the
 * shipped model (langid.h). Markup, addresses and what looks like code do not count while there is
 * anything else. Of a long text the head, the middle and the tail are read.
 */
#pragma once

#include "router/signals/langid.h"

struct language {
    char code[8];      /* ISO 639-1 where there is one: "en", "zh"; empty: not detected */
    double confidence; /* 0 to 1 */
};

struct language language_detect(struct str text); /* valid UTF-8 */

/* The languages of the script that most of the text is in, before one of them is chosen. */
struct language_candidates {
    double share; /* of that script among the letters of the text */
    size_t n;     /* 0: no letters of a known script */
    struct {
        char code[4];
        double log_odds; /* calibrated, of the text alone; a common offset means nothing */
        double prior;    /* log-odds before anything is read: requests are in common languages */
    } of[LANGID_LANGUAGES];
};

void language_candidates(struct language_candidates *ret, struct str text); /* valid UTF-8 */

/* The most probable, its confidence times the share; "" when there are none. */
struct language language_choose(const struct language_candidates *c);
