/*
 * What one profile says, in the terms of logic.h: a formula for each decision over leaves that know
 * of each other, and which signals anybody uses.
 */
#pragma once

#include "config/node.h"
#include "router/lint/logic.h"
#include "router/lint/table.h"
#include "router/policy.h"

struct lint_rule { /* a signal's rule; they are numbered as the policy numbers its signals */
    const struct node *node;
    size_t next; /* of the same type and name; SIZE_MAX: none */
    bool used;   /* some decision depends on it */
};

struct fact; /* of a leaf, while groups are made (facts.c) */

struct facts {
    struct arena *arena;
    const struct policy *policy;
    const struct node *routing;
    const char *path; /* "routing", "recipes[2].routing" */
    struct problems *p;
    struct lint_rule *rules;
    bool *outputs_used; /* of the projections' outputs */
    struct logic logic;
    const struct formula **formulas; /* of the policy's decisions; NULL: too large to look into */
    const struct node **decisions;   /* where they stand */
    size_t *positions;               /* in the file */
    /* while it is made */
    struct table rule_table, leaf_table, group_table;
    size_t *named; /* by number in rule_table: the last rule of that name */
    struct fact *facts;
    size_t n_facts, cap_facts;
    bool no_memory;
};

/* Signals of one rule of a family. */
size_t facts_levels(enum family family);
/* The name of a signal's rule: without its level. */
struct str facts_rule_name(const struct signal *s);

/* Fills all but arena, policy, routing, path and p. 0 or -ENOMEM. */
int facts_make(struct facts *f) MUST_USE;

/* The last rule of a type and name (a level is no part of it); SIZE_MAX: none. */
size_t facts_rule(const struct facts *f, struct str type, struct str name);

/* What can be measured. */
enum measure_kind { MEASURE_integer, MEASURE_real };

struct measure {
    enum measure_kind kind;
    const struct sum_range *ranges; /* where it can be; of integers one range from 0 on */
    size_t n;
    bool may_lack; /* there may be nothing to measure: then no leaf holds */
};

enum { LINT_BOUNDS = (LINT_CELLS - 2) / 2 };
/* A leaf of a measured group. */
struct measured {
    const struct predicate *predicate; /* or NULL: an output of the projections */
    size_t output;
};

/*
 * The cells of some leaves that look at the same measure: the sets of `leaves[i]` are put into
 * ret[i]. False: too many bounds.
 */
bool measure_cells(const struct policy *policy, const struct measure *m,
                   const struct measured *leaves, size_t n, struct cells *ret_universe,
                   struct lint_leaf *ret);
/* What a structure or conversation rule measures. `ret_range` is where m->ranges points. */
void measure_of_rule(const struct node *rule, enum family family, struct measure *ret,
                     struct sum_range *ret_range);
bool predicate_of_rule(struct facts *f, const struct node *rule, enum family family,
                       struct predicate *ret); /* false: it has none that we know */
