/*
 * Where texts stand in a grammar: sets of stacks, as numbers.
 *
 * A set maps places (node and count) to what follows when the place's rule ends, which is again a
 * set. Equal sets have one number, so a set is a number, steps between sets are remembered in
 * tables, and the whole is an automaton that is made as texts need it. Sets without end are
 * impossible: rules nest at most GRAMMAR_MAX_DEPTH deep, and a place is entered only where what it
 * needs still fits, so that every set can reach the end of the text.
 *
 * After Elizarov-like graph-structured stacks (Tomita, 1986), made canonical by hash-consing.
 * Not thread-safe: the owner locks.
 */
#pragma once

#include "engine/local/grammar/grammar_impl.h"

enum { STACKS_DEAD = 0, STACKS_UNKNOWN = UINT32_MAX };

struct place {
    uint32_t node, count; /* node 0: the end of the text */
    uint32_t then;        /* set */
};

struct stack_set {
    uint32_t at, n; /* its places, sorted by node and count */
    uint32_t table; /* row of next sets by class; 0: none yet */
    uint32_t depth; /* rules open */
    uint32_t hash;
};

struct places {
    struct place *v;
    uint32_t n, cap;
};

struct union_memo {
    uint32_t a, b, both;
};

struct stacks {
    const struct automaton *a; /* borrowed */
    struct stack_set *sets;    /* number 0: the empty set */
    uint32_t n_sets, cap_sets;
    struct places pool;
    uint32_t *index, n_index; /* hash of sets → number + 1 */
    uint32_t *tables, n_tables, cap_tables;
    struct union_memo *memo; /* sets that were joined; a hash that forgets */
    struct places scratch;   /* a stack of unfinished sets */
    struct pending *pending; /* calls of the step under way, by rank */
    uint32_t n_pending, cap_pending;
    uint32_t end;  /* the set {end of text} */
    uint64_t work; /* places handled since the owner set it to 0 */
    int err;       /* sticky: -ENOMEM, -E2BIG (a bound was passed) */
};

int stacks_init(struct stacks *s, const struct automaton *a) MUST_USE; /* 0 or -ENOMEM */
void stacks_done(struct stacks *s);
uint32_t stacks_start(struct stacks *s);
/* A text inside of this place whose rule is all there is. */
uint32_t stacks_lone(struct stacks *s, uint32_t node, uint32_t count);
uint32_t stacks_step_slow(struct stacks *s, uint32_t set, unsigned class);

/* The set behind one more byte (its class) or mark; STACKS_DEAD: none, or s->err. */
static inline uint32_t stacks_step(struct stacks *s, uint32_t set, unsigned class)
{
    uint32_t table = s->sets[set].table;
    uint32_t next = s->tables[(size_t)table * s->a->n_classes + class];
    return next != STACKS_UNKNOWN ? next : stacks_step_slow(s, set, class);
}

static inline bool stacks_may_end(const struct stacks *s, uint32_t set)
{
    return s->sets[set].n && s->pool.v[s->sets[set].at].node == 0;
}

static inline bool stacks_must_end(const struct stacks *s, uint32_t set)
{
    return set == s->end;
}

size_t stacks_bytes(const struct stacks *s); /* of memory in use */
/* Forgets all sets but those of `roots` and what follows them; roots get new numbers. */
int stacks_compact(struct stacks *s, uint32_t **roots, size_t n) MUST_USE;
