/*
 * The inside of a space and of its vectors. Private to router/vectors/.
 */
#pragma once

#include "engine/engine.h"
#include "router/vectors/vectors.h"
#include "router/vectors/words.h"

enum {
    MARKS_BITS = 8,
    MARKS_WIDTH = 1 << MARKS_BITS, /* hashed words and runs of characters */
    LEXICAL_WIDTH = WORDS_WIDTH + MARKS_WIDTH,
};

struct text_vector {
    uint32_t n;  /* of v; 0: a text without words */
    float known; /* lexical: share of what the text says that is in the table of words */
    int16_t v[]; /* in 1 / VECTOR_ONE. Lexical: words, then marks, each of unit length */
};

/* A product of two components, and the sum of those of unit vectors, fit 32 bits. */
enum { VECTOR_ONE = 1 << 14 };

struct memory;

struct vector_space {
    struct engine *encoder; /* borrowed; NULL: lexical */
    struct memory *memory;  /* owned, of an encoder's space */
    struct words words;
};

/*
 * As vectors_of; an encoder's vectors are the space's and made once for each text, those of a
 * lexical space the arena's.
 */
int vectors_keep(const struct vector_space *s, const struct str *texts, size_t n,
                 struct arena *arena, const struct text_vector **ret, struct fail *reterr) MUST_USE;

/* Fills the vector of a text of valid UTF-8. 0 or -ENOMEM. */
int lexical_vector(const struct vector_space *s, struct str text, struct arena *arena,
                   struct text_vector *ret) MUST_USE;
/* Scales n numbers to unit length and rounds them; zeros stay zeros. */
void vector_round(const float *from, size_t n, int16_t *ret);
/* Cosine of unit vectors; inline, so that each caller compiles it for its processors. */
static inline double vector_cosine(const int16_t *a, const int16_t *b, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return (double)sum / ((double)VECTOR_ONE * VECTOR_ONE);
}
/* Of vectors of a lexical space, none without words. */
void lexical_similarities(const struct text_vector *a, const struct text_vector *const *others,
                          size_t n, double *ret);
