/*
 * What texts mean: a space of vectors, shared by every family of signals that compares texts.
 *
 * Lexical: static vectors of words beside hashed words and runs of characters; microseconds, no
 * model. Or an encoder's: one forward of a model, milliseconds. Similarities of both are on the
 * scale of a sentence encoder's cosine, so that a policy's thresholds mean about the same.
 *
 * A space is immutable, but for a locked memory of vectors that were made at load; any thread.
 */
#pragma once

#include "base/arena.h"
#include "base/fail.h"

struct engine;
struct vector_space;

enum {
    /* Of a longer text the first, middle and last third of this many characters are read. */
    VECTOR_CODE_POINTS = 2048,
};

int vector_space_lexical(struct vector_space **ret) MUST_USE; /* 0 or -ENOMEM */
/* The encoder is borrowed and must outlive the space. 0 or -ENOMEM. */
int vector_space_encoder(struct vector_space **ret, struct engine *encoder) MUST_USE;
struct vector_space *vector_space_free(struct vector_space *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct vector_space *, vector_space_free);

/* Whether a vector is a forward of a model: vectors_of then blocks for milliseconds. */
bool vector_space_blocks(const struct vector_space *s);

struct text_vector; /* of one text in one space, immutable; the arena's */

/*
 * The vectors of n texts of any bytes (malformed ones count as U+FFFD), in one batch; all memory is
 * the arena's. A text without words has a vector that is similar to none. 0, -ENOMEM, or FAILED
 * with what the encoder says.
 */
int vectors_of(const struct vector_space *s, const struct str *texts, size_t n, struct arena *arena,
               const struct text_vector **ret /* n */, struct fail *reterr) MUST_USE;

/* How many numbers it has; 0: a text without words. Copies them, for whoever learns from them: a
 * lexical one is two parts, each of unit length or zeros. */
size_t vector_width(const struct text_vector *v);
void vector_values(const struct text_vector *v, float *ret);

/* -1 … 1. */
double vector_similarity(const struct vector_space *s, const struct text_vector *a,
                         const struct text_vector *b);
/* The same with each of n others, quicker. */
void vector_similarities(const struct vector_space *s, const struct text_vector *a,
                         const struct text_vector *const *others, size_t n, double *ret);
