/*
 * Selection: which candidate of the decision answers. One file an algorithm.
 */
#pragma once

#include "router/decision.h"

struct selection {
    const char *name; /* "static" */
    /* Picks among d->refs (at least one); pure. */
    const struct model_ref *(*pick)(const struct decision *d);
};

extern const struct selection selection_static;

/* Reads d->algorithm_node into d->selection and d->algorithm. 0, -EINVAL or -ENOMEM. */
int selection_load(struct decision *d, const char *path, struct arena *arena,
                   struct problems *p) MUST_USE;
