/*
 * Partitions: signals of one family of which only one may match (semantic-router.md 3.4).
 *
 * Pure; a partition is immutable once resolved.
 */
#pragma once

#include "router/projection.h"

struct member_list {
    const size_t *signals; /* in the order of the rules */
    size_t n;
};

struct partition {
    struct str name, description;
    unsigned semantics;
    double temperature;
    struct text_list members;
    struct str default_member;
    /* derived */
    struct member_list domains, embeddings;
    size_t default_domain, default_embedding; /* SIZE_MAX: none */
};

enum partition_semantics { PARTITION_exclusive, PARTITION_softmax };

extern const struct option partition_options[];

/* Finds the members. 0 (problems may have been added) or -ENOMEM. */
int partition_resolve(struct partition *p, const struct projection_source *source,
                      const struct node *at, const char *path) MUST_USE;

/*
 * Of several members that match, the most confident stays (ties: the first rule), with the
 * confidence it had, or its share of the softmax of all that matched; where none matches, the
 * default does, with confidence 1. A member that is unknown leaves open who wins: those that would
 * win in some cases only become unknown. What was measured (raw) stays. `values` are those of all
 * signals; those of family f are looked at. A list of fewer than two members changes nothing.
 */
void partition_reduce(const struct partition *p, enum family f, struct signal_value *values);
