/*
 * A bank: the examples of one rule as a few prototypes, and how similar a text is to them
 * (semantic-router.md 2.0).
 *
 * Examples within `cluster_similarity` of each other (1.0 keeps all) become one prototype, the
 * member most similar to the others; the largest `max_prototypes` are kept. Immutable; any thread.
 */
#pragma once

#include "config/schema.h"
#include "router/vectors/vectors.h"

struct bank;

struct bank_options {          /* prototype_scoring, in the policy's words */
    bool enabled;              /* false: each example is a prototype, the score is the best one's */
    double cluster_similarity; /* 0.9 */
    uint64_t max_prototypes;   /* 8; 0: all */
    double best_weight;        /* 0.75 */
    uint64_t top_m;            /* 2; 0: all */
    double margin;             /* margin_threshold, 0: used by families that pick one rule */
};
extern const struct option bank_options_table[];

/* Reads a `prototype_scoring` map (NULL: the defaults above). As schema_read. */
int bank_options_read(struct bank_options *ret, const struct node *map, const char *path,
                      struct arena *arena, struct problems *p) MUST_USE;

/*
 * Embeds the texts in one batch; the space is borrowed. None give a bank whose scores are all 0.
 * 0, -ENOMEM, or FAILED as vectors_of.
 */
int bank_new(struct bank **ret, const struct vector_space *s, const struct str *texts, size_t n,
             const struct bank_options *o, struct fail *reterr) MUST_USE;
struct bank *bank_free(struct bank *b); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct bank *, bank_free);

size_t bank_prototypes(const struct bank *b);

struct bank_score {
    double score; /* best_weight · best + (1 − best_weight) · mean of the top_m */
    double best;  /* of all prototypes */
    double mean;  /* likewise */
};
struct bank_score bank_score(const struct bank *b, const struct text_vector *v);
