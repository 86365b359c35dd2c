/*
 * The rules of the kb family, for whoever adds some: a number that a projection takes from a
 * knowledge base is a rule of its own, which nobody wrote and no leaf can name.
 */
#pragma once

#include "router/signals/signals.h"

struct kb_target {
    unsigned kind; /* enum knowledge_kind */
    struct str value;
};

struct kb_rule {
    struct str name, description, kb;
    struct kb_target target;
    unsigned match;
    const struct node *at; /* of a metric: where it is asked for */
    const char *at_path;
};

/* The name of the rule that measures a metric, in the arena; NULL: no memory. */
const char *kb_metric_name(struct arena *arena, struct str kb, struct str metric);

/* Whether a signal's name is such a one. */
bool kb_is_metric(struct str name);

/*
 * The rules of metrics that `projections` (NULL: none) asks for, each once, in the arena.
 * 0 or -ENOMEM.
 */
int kb_metric_rules(struct kb_rule **ret, size_t *ret_n, const struct node *projections,
                    const char *path, struct arena *arena) MUST_USE;
