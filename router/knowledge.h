/*
 * Knowledge bases (global.model_catalog.kbs): labels with examples, and how much a text is like
 * each label and each group of labels (semantic-router.md 2.1, kb).
 *
 * A base is immutable; any thread.
 */
#pragma once

#include "config/config.h"
#include "router/vectors/vectors.h"

struct knowledge;

struct knowledge_source {
    const struct config *config;
    const struct vector_space *space; /* borrowed; outlives the base */
    struct arena *arena;              /* the router's */
    struct problems *p;
    const struct node *at; /* who asks, with the next: for messages about a base not declared */
    const char *at_path;
};

/*
 * Loads the base of that name: one of the configuration, or one of those that every policy may
 * refer to (privacy_kb, mmlu_kb). Its manifest is looked for in engine.knowledge_bases, beside the
 * configuration file, and in the folders above it. 0; -EINVAL: problems were added; -ENOENT: there
 * is no base of that name; -ENOTSUP: its manifest is nowhere (a warning was added), so whatever
 * asks it is unknown; -ENOMEM. *ret is set by 0 only.
 */
int knowledge_load(struct knowledge **ret, struct str name,
                   const struct knowledge_source *source) MUST_USE;
struct knowledge *knowledge_free(struct knowledge *k); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct knowledge *, knowledge_free);

enum knowledge_kind { KNOWLEDGE_label, KNOWLEDGE_group, KNOWLEDGE_metric };

/* Its number among those of the kind; SIZE_MAX: none. Metrics also are best_score and
 * best_matched_score. */
size_t knowledge_find(const struct knowledge *k, enum knowledge_kind kind, struct str name);

/* What a text is to a base; the arrays are of its labels and groups. */
struct knowledge_scores {
    double *labels, *groups;
    bool *label_matched, *group_matched; /* a label at its threshold; a group with such a label */
    double best_label, best_group;       /* the highest of each */
    double best_matched;                 /* of the labels that matched; 0: none */
};

/* All memory is the arena's. 0 or -ENOMEM. */
int knowledge_score(const struct knowledge *k, const struct text_vector *v, struct arena *arena,
                    struct knowledge_scores *ret) MUST_USE;
double knowledge_metric(const struct knowledge *k, const struct knowledge_scores *s, size_t metric);
