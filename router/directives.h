/*
 * What a decision says beside its rules and candidates: whether the session should stay with its
 * model (emits), what learning may do to it (adaptations), notes for people (annotations), and
 * candidates written as a loop (candidateIterations).
 *
 * Immutable once read; all of it lives in the router's arena.
 */
#pragma once

#include "router/decision.h"

struct directives_source {
    const char *path; /* of the decision */
    struct arena *arena;
    struct problems *p;
};

/*
 * Reads the nodes that d holds into d->retention, d->adaptations and d->annotations, and appends
 * the models of candidateIterations to d->refs: a pair of model and adapter that is a candidate
 * already is not repeated. 0, -EINVAL (problems were added) or -ENOMEM.
 */
int directives_load(struct decision *d, const struct directives_source *s) MUST_USE;

extern const struct option model_ref_options[];
