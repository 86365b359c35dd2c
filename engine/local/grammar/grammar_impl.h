/*
 * Inside of a grammar: expressions of a builder, the automaton they become, and its bounds.
 *
 * A builder holds expressions as a hashed graph: equal ones have one id, parts have smaller ids
 * than what they are part of (rules excepted). grammar_build turns them into rules, each rule into
 * an automaton over byte classes, marks and calls of other rules.
 */
#pragma once

#include "engine/local/grammar/grammar.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Bounds of one grammar; passing one is an error that names it. */
enum {
    GRAMMAR_MAX_EXPRS = 1 << 19,
    GRAMMAR_MAX_BYTES = 1 << 23, /* of all literals */
    GRAMMAR_MAX_PARTS = 1 << 21, /* of all sequences and alternatives, and all class ranges */
    GRAMMAR_MAX_NESTING = 512,   /* of expressions in each other, rules not counted */
    GRAMMAR_MAX_RULES = 1 << 16,
    GRAMMAR_MAX_STATES = 1 << 19, /* before determinisation */
    GRAMMAR_MAX_EDGES = 1 << 21,
    GRAMMAR_MAX_MARKS = 64,
    GRAMMAR_MAX_WORK = 1 << 28, /* elementary steps of one grammar_build */
    GRAMMAR_MAX_DEPTH = 1024,   /* rules open in each other while a text is followed */
};
#define GRAMMAR_NONE UINT32_MAX

enum expr_kind {
    EXPR_empty,
    EXPR_never,
    EXPR_bytes,   /* a: offset in bytes, b: how many */
    EXPR_class,   /* a: offset in ranges, b: how many; sorted, disjoint, no surrogates */
    EXPR_seq,     /* a: offset in parts, b: how many */
    EXPR_alt,     /* likewise */
    EXPR_repeat,  /* a: part, b: min, c: max */
    EXPR_without, /* like seq, over EXPR_bytes */
    EXPR_mark,    /* a: mark, b: its EXPR_bytes */
    EXPR_rule,    /* a: rule */
};

struct expr {
    uint8_t kind;
    bool has_rule;    /* an EXPR_rule stands somewhere inside */
    uint16_t nesting; /* of expressions below, rules not followed */
    uint32_t size;    /* states it would take, rules and counted loops as one; saturating */
    uint32_t a, b, c;
};

struct grammar_builder {
    int err;           /* first error: -ENOMEM or FAILED */
    const char *bound; /* of FAILED: what was too much */
    struct expr *exprs;
    uint32_t n_exprs, cap_exprs;
    uint32_t *index; /* hash of expressions → id + 1 */
    uint32_t n_index;
    char *bytes;
    uint32_t n_bytes, cap_bytes;
    uint32_t *parts;
    uint32_t n_parts, cap_parts;
    struct code_range *ranges;
    uint32_t n_ranges, cap_ranges;
    uint32_t *bodies; /* by rule; GRAMMAR_NONE: not defined */
    uint32_t n_rules, cap_rules;
    uint32_t marks[GRAMMAR_MAX_MARKS]; /* their EXPR_bytes */
    uint32_t n_marks;
};

/* Loops of more states than this count at run time instead of being copied. */
enum { EXPR_EXPAND = 64 };
/* Whether a repetition becomes a counted loop. */
bool expr_is_counted(const struct expr *e, uint32_t part_size);

/* --- what grammar_build makes --- */

/* Node 0 is the end of the text. */
struct node {
    uint32_t edges, calls; /* first of each in the automaton's arrays */
    uint32_t n_edges, n_calls;
    uint32_t counter; /* index of a counted loop, else GRAMMAR_NONE */
    uint16_t depth;   /* rules that must open in each other to reach the rule's end */
    bool final;       /* the rule may end here */
};

struct edge {
    uint16_t first, last; /* classes, inclusive; marks follow the byte classes */
    uint32_t target;
};

struct call {
    uint32_t rule, target;
};

struct counter {
    uint32_t rule; /* of the body */
    uint32_t min, max;
};

enum { CLASS_WORDS = (256 + GRAMMAR_MAX_MARKS) / 64 };
struct rule {
    uint32_t start;              /* node */
    uint32_t rank;               /* a rule comes before those that it may call first */
    uint64_t first[CLASS_WORDS]; /* classes that a text of it may begin with */
};

struct automaton {
    struct node *nodes;
    struct edge *edges;
    struct call *calls;
    struct counter *counters;
    struct rule *rules;
    uint32_t *by_rank; /* rules */
    uint32_t n_nodes, n_edges, n_calls, n_counters, n_rules;
    uint32_t root;    /* rule; GRAMMAR_NONE: only the empty text matches */
    bool empty;       /* the empty text matches */
    uint32_t deepest; /* largest depth of a node */
    uint8_t class_of[256];
    uint32_t n_byte_classes, n_classes; /* n_classes counts marks */
    char *mark_bytes;
    struct str marks[GRAMMAR_MAX_MARKS]; /* in mark_bytes */
    uint32_t n_marks;
};

struct matcher; /* states and masks for one vocabulary */

struct grammar {
    atomic_uint refs;
    struct automaton a;
    pthread_mutex_t lock;     /* of the list */
    struct matcher *matchers; /* one a vocabulary */
};

/* Grammar's own array growth: room for `more` items of `size`; the new pointer, or NULL. */
void *grammar_grow(void *p, uint32_t *cap, uint32_t n, uint32_t more, size_t size) MUST_USE;

/* --- between the expressions and the automaton: one NFA of all rules (grammar_nfa.c) --- */

enum nfa_kind { NFA_empty, NFA_bytes, NFA_call, NFA_mark };

struct nfa_edge {
    uint32_t next; /* of the same state; GRAMMAR_NONE ends */
    uint32_t target;
    uint32_t arg; /* rule or mark */
    uint8_t kind, first, last;
};

struct nfa_rule {
    uint32_t expr;                    /* what it matches */
    uint32_t start, end;              /* states; of counted loops GRAMMAR_NONE */
    uint32_t first_state, last_state; /* its states are [first, last) */
    uint32_t body, min, max;          /* of counted loops: the body's rule */
    bool nullable;
};

struct nfa {
    const struct grammar_builder *b;
    int err;
    const char *bound;
    uint32_t *heads; /* first edge by state */
    uint32_t n_states, cap_states;
    struct nfa_edge *edges;
    uint32_t n_edges, cap_edges;
    struct nfa_rule *rules;
    uint32_t n_rules, cap_rules;
    uint32_t *rule_of; /* by expression; GRAMMAR_NONE: built in place */
    uint8_t *shared;   /* by expression: 0, 1 or 2 (many) uses */
};

/* All rules that `root` needs; rule 0 is the root's. err and bound tell failures. */
void nfa_build(struct nfa *n, const struct grammar_builder *b, uint32_t root);
void nfa_done(struct nfa *n);
uint32_t nfa_state(struct nfa *n);
void nfa_edge_add(struct nfa *n, uint32_t from, const struct nfa_edge *e);
/* Characters of the ranges (grammar_utf8.c). */
void nfa_add_class(struct nfa *n, const struct code_range *ranges, uint32_t n_ranges, uint32_t from,
                   uint32_t to);
/* Well-formed texts in which no part of the expression occurs (grammar_utf8.c). */
void nfa_add_without(struct nfa *n, const struct expr *e, uint32_t from, uint32_t to);

/* Determinises the rules into `a` (grammar_dfa.c). 0, -ENOMEM, or FAILED with *ret_bound. */
int dfa_build(struct automaton *a, struct nfa *n, const char **ret_bound) MUST_USE;
void automaton_done(struct automaton *a);
