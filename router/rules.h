/*
 * From the YAML of a decision's `rules` to a compiled tree.
 */
#pragma once

#include "router/policy.h"

struct rules_source {
    struct policy *policy; /* its signals and projections are there */
    const char *path;      /* of the decision */
    struct arena *arena;
    struct problems *p;
};

/* A leaf that asks for one label of a classifier. */
struct label_leaf {
    enum family family;
    size_t rule;           /* in its family */
    int label;             /* as the family numbers it */
    bool given;            /* there is a predicate; else the label must be likelier than not */
    struct predicate when; /* of its probability */
};

/* Fills d->rules, d->always and d->on_unknown. 0, -EINVAL (problems were added), -ENOMEM. */
int rules_compile(struct decision *d, const struct rules_source *s) MUST_USE;

/* The signal of a leaf; SIZE_MAX and a problem at `at` (none when NULL): undefined. A resolve_fn;
 * ctx is a struct rules_source. */
size_t rules_resolve(void *ctx, struct str type, struct str name, const struct node *at,
                     const char *path);

/* A tree that stands elsewhere (the composer of a rule): over signals that need no such tree
 * themselves, and no projection. As rules_compile. */
int rules_compile_gate(struct rule *ret, const struct node *at,
                       const struct rules_source *s) MUST_USE;
