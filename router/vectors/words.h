/*
 * Static vectors of English words: a text's meaning in microseconds, without a model's forward.
 *
 * The table (models/signals/words.bin, with a card beside it) holds whole words and pieces; a word
 * that is not in it is spelt by the longest pieces that are. Pure; any thread.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stdint.h>

enum { WORDS_WIDTH = 64 };

/* The mean of the words of a case-folded text (unicode_fold_text), of unit length; zeros where no
 * word is known. */
void words_vector(struct str folded, float ret[WORDS_WIDTH]);

/* A table: borrowed bytes, checked. */
struct words {
    uint32_t n;     /* items */
    uint32_t slots; /* of the index; a power of two */
    float unit;     /* of the scales */
    const unsigned char *rows, *ends, *index, *scales, *says;
    const char *text;
};

/* Checks everything, so that no look-up reads outside. 0, or -EINVAL for what is no such table. */
int words_open(struct words *ret, const void *bytes, size_t n) MUST_USE;
struct words words_shipped(void); /* the one in the program */

uint32_t words_hash(struct str word);

/*
 * The table is larger than the nearest cache, so who adds many words asks for them before: first
 * words_expect for each, then words_expect_row for each. Both only fetch; neither waits.
 */
void words_expect(const struct words *w, uint32_t hash);
void words_expect_row(const struct words *w, uint32_t hash);

/*
 * Adds the vector of a case-folded word (`hash`: words_hash of it) that comes `times` to `sum`, its
 * length being how much it says, and returns the share of the word that is known (0 … 1).
 * *ret_says: how much such a word says, 0 (the, of) to 1 (rare or unknown).
 */
float words_add(const struct words *w, struct str word, uint32_t hash, float times,
                float sum[WORDS_WIDTH], float *ret_says);

/* Scales v to length 1; zeros stay zeros. */
void vector_unit(float *v, size_t n);
