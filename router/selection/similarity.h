/*
 * How similar the user's turn is to what describes each candidate: the best of its description and
 * its examples. Their vectors are computed once, when the policy is loaded.
 *
 * Immutable; in the arena it was made with; any thread.
 */
#pragma once

#include "router/vectors/vectors.h"

struct similarity;

struct similarity_text {
    size_t candidate;
    struct str text; /* borrowed while it is made; empty ones describe nothing */
};

/* The space outlives it. 0, -ENOMEM, or FAILED as vectors_of. */
int similarity_new(struct similarity **ret, const struct vector_space *space,
                   const struct similarity_text *texts, size_t n, struct arena *arena,
                   struct fail *reterr) MUST_USE;
/* ret_scores: of `candidates` candidates, -1…1, NAN where nothing describes one. */
void similarity_of(const struct similarity *s, const struct text_vector *turn, size_t candidates,
                   double *ret_scores);
