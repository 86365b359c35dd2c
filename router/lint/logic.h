/*
 * Rules over leaves that know of each other.
 *
 * Leaves that look at the same thing (a count of tokens, the sum of a score) form a group. What the
 * thing can be falls into cells, inside of which no leaf of the group changes; a leaf is the set of
 * cells in which it is true. A leaf that looks at something of its own has a group of two cells.
 *
 * Truth is three-valued: nothing is known of a group until some leaf of it is. A rule is true in
 * Kleene's logic exactly where one of the terms of its disjunctive form is, and stays true when
 * more becomes known; so what holds in every term of a rule holds whenever the rule is true.
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>

enum { LINT_CELLS = 256, LINT_WORDS = LINT_CELLS / 64 };

struct cells {
    uint64_t w[LINT_WORDS];
};

struct lint_group {
    struct cells universe; /* cells that can be */
    bool certain;          /* what it is about is always known */
    bool exact;            /* known, it is in one cell; else it may span several (projection.h) */
};

struct lint_leaf {
    size_t group;
    struct cells on;    /* where it is true; inside the universe */
    struct cells maybe; /* outside it is known to be false; holds `on`, and is that mostly */
};

enum formula_op { FORMULA_leaf, FORMULA_and, FORMULA_or, FORMULA_not };

struct formula {
    enum formula_op op;
    size_t leaf;
    struct formula *children;
    size_t n;
};

struct logic {
    const struct lint_group *groups;
    const struct lint_leaf *leaves;
    size_t n_groups, n_leaves;
    /* the term at hand */
    struct cells *now;   /* of each group: what it can still be */
    unsigned *known;     /* of each group: how many leaves of the term are of it */
    uint64_t work;       /* steps that may still be done */
    const size_t *exact; /* the exact groups that have more than two cells */
    size_t n_exact;
    bool split_certain; /* few groups are certain: look into their cells even where no leaf does */
};

void cells_set(struct cells *c, size_t i);
bool cells_none(const struct cells *c);
struct cells cells_and(struct cells a, struct cells b);
struct cells cells_minus(struct cells a, struct cells b);

enum terms_result {
    TERMS_all,     /* each was shown */
    TERMS_stopped, /* the function had enough */
    TERMS_too_many,
};

/*
 * Shows each term in which all of `rules` (at most 2) are true, as l->now and l->known. A function
 * that returns false stops it.
 */
enum terms_result logic_terms(struct logic *l, const struct formula *const *rules, size_t n,
                              bool (*show)(void *ctx), void *ctx);
/*
 * Whether `covers` says so for the term at hand, or else for each cell of an exact group, or of two
 * …: whatever the group is, somebody is there.
 */
bool logic_covered(struct logic *l, bool (*covers)(void *ctx), void *ctx);
/* Whether a rule is true in the term at hand, and so whenever the term is. */
bool logic_true(struct logic *l, const struct formula *f);
