/*
 * Approximate comparison of short phrases with the words of a text: edit distance, n-grams, and
 * the tokens of BM25.
 *
 * Pure; the work is bounded by a count of steps for one text.
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>

#define LEXICAL_STEPS 50000000 /* for all phrases of one text: a fifth of a second */

struct lexical_word {
    uint32_t from, n; /* code points */
};

struct lexical_text {
    const int *cps;
    size_t n;
    const struct lexical_word *words;
    size_t n_words;
    size_t steps; /* that remain */
};

/* Splits into code points and words. -ENOMEM. */
int lexical_split(struct lexical_text *ret, struct str text, struct arena *arena) MUST_USE;

/*
 * Whether as many adjacent words as the phrase has are within `edits` of it (Levenshtein).
 * 1, 0 or -EOVERFLOW: the steps are spent.
 */
int lexical_fuzzy(struct lexical_text *t, const struct lexical_text *phrase, size_t edits);

/*
 * Whether the whole text, or as many adjacent words as the phrase has, share enough n-grams with
 * it: (all² − different²) / all² ≥ threshold, over grams padded with blanks. As above.
 */
int lexical_ngram(struct lexical_text *t, const struct lexical_text *phrase, unsigned arity,
                  double threshold);

/*
 * Next token of BM25: the stem of a word that says something, or two adjacent Han, Kana or Hangul
 * characters. `text` is case folded. False at the end. *ret is in `space` or in the text.
 */
bool lexical_token(struct str text, size_t *pos, struct str *ret, char *space);
