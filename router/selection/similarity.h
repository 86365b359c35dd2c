/*
 * How similar the user's turn is to what describes each candidate: the best of its description and
 * its examples. Their vectors are computed once, when the policy is loaded.
 *
 * Immutable; in the arena it was made with; any thread.
 */
#pragma once

#include "base/arena.h"

struct similarity;

struct similarity_text {
    size_t candidate;
    struct str text; /* borrowed while it is made; empty ones describe nothing */
};

/* 0 or -ENOMEM. */
int similarity_new(struct similarity **ret, const struct similarity_text *texts, size_t n,
                   struct arena *arena) MUST_USE;
/* ret_scores: of `candidates` candidates, -1…1, NAN where nothing describes one. 0 or -ENOMEM;
 * scratch from the arena. */
int similarity_of(const struct similarity *s, struct str text, size_t candidates,
                  struct arena *arena, double *ret_scores) MUST_USE;
