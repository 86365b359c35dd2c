/*
 * Regular languages over Unicode characters: operands are drawn as one graph and determinised
 * together, so that intersection, complement and union cost one subset construction.
 *
 * One thread at a time. Errors stick and come out of lang_determinise.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"
#include "engine/local/grammar/grammar.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of characters that grows range by range. */
struct charset {
    struct code_range *v; /* owned */
    size_t n, cap;
    bool no_memory; /* sticky */
};
void charset_add(struct charset *s, uint32_t first, uint32_t last);
void charset_add_all(struct charset *s, const struct code_range *v, size_t n);
void charset_tidy(struct charset *s); /* sorts and joins */
/* Adds to *ret every scalar value but U+0000 that tidied `s` lacks. */
void charset_complement(struct charset *ret, const struct charset *s);
void charset_done(struct charset *s);

enum { CODE_LAST = 0x10ffff, SURROGATE_FIRST = 0xd800, SURROGATE_LAST = 0xdfff };

struct lang;
struct lang *lang_new(void); /* NULL: no memory */
struct lang *lang_free(struct lang *l);
DEFINE_CLEANUP(struct lang *, lang_free);

enum lang_guard {
    GUARD_NONE,
    GUARD_START,     /* nothing was read */
    GUARD_END,       /* nothing follows */
    GUARD_BORDER,    /* between a word character and none */
    GUARD_NO_BORDER, /* elsewhere */
};

uint32_t lang_fail(struct lang *l, int err); /* err sticks, if it is the first; returns 0 */
bool lang_failed(const struct lang *l);      /* an error stuck: stop early */
uint32_t lang_state(struct lang *l);
/* A set of characters, for edges; tidied here. Equal sets get equal ids. */
uint32_t lang_set(struct lang *l, struct charset *s);
uint32_t lang_range(struct lang *l, uint32_t first, uint32_t last);
uint32_t lang_any(struct lang *l); /* every character but U+0000 */
void lang_edge(struct lang *l, uint32_t from, uint32_t set, uint32_t to);
void lang_skip(struct lang *l, uint32_t from, uint32_t to, enum lang_guard guard);

/*
 * Ends an operand: the texts that lead from `start` to `accept`. All states made since the last
 * operand belong to it. The language is the intersection of all operands, each complemented
 * where `negated`. At most LANG_OPERANDS.
 */
enum { LANG_OPERANDS = 32 };
void lang_operand(struct lang *l, uint32_t start, uint32_t accept, bool negated);

bool lang_is_open(const struct lang *l); /* without operands: every text */

/* Ready operands. */
void lang_add_length(struct lang *l, size_t min, size_t max); /* characters */
void lang_add_words(struct lang *l, const struct str *words, size_t n, bool negated);

enum { LANG_DEAD = UINT32_MAX };
struct lang_dfa {
    uint32_t n; /* states, 0 is the start; 0 states: nothing matches */
    uint32_t n_atoms;
    uint32_t *next;  /* [n, n_atoms]: state or LANG_DEAD; each state can reach an accepting one */
    bool *accept;    /* [n] */
    uint32_t *atoms; /* [n_atoms + 1]: offsets into ranges */
    struct code_range *ranges;
};
#define LANG_DFA_INIT ((struct lang_dfa){ 0 })
void lang_dfa_done(struct lang_dfa *d);
bool lang_dfa_match(const struct lang_dfa *d, struct str text);

/* States and edges that determinising looked at: its cost. */
size_t lang_work(const struct lang *l);

/* Determinises. 0, -ENOMEM, or -E2BIG: too many states. The automaton is spent. */
int lang_determinise(struct lang *l, struct lang_dfa *ret) MUST_USE;
