/*
 * Inside of constraints: the trie's layout, and the state that sequences of one grammar and
 * vocabulary share.
 */
#pragma once

#include "engine/local/grammar/constraint.h"
#include "engine/local/grammar/masks.h"
#include "engine/local/grammar/stacks.h"

/* One node; children follow directly, `skip` is behind the last of them. Node 0 is the root. */
struct trie_node {
    uint32_t skip;
    uint32_t tokens; /* index of its first token in `ids`; the next node's is behind the last */
    uint16_t depth;  /* bytes from the root */
    uint8_t byte;
};

struct token_bytes {
    uint32_t at, n;
};

struct control_token {
    struct str text; /* in the pool */
    int32_t id;
};

struct token_trie {
    uint64_t serial; /* never used twice in a process */
    uint32_t n_vocab, n_words;
    struct trie_node *nodes; /* one more at the end */
    uint32_t n_nodes;
    int32_t *ids; /* tokens with bytes, in the order of the nodes */
    uint32_t n_ids;
    uint32_t longest;          /* bytes of the longest token */
    struct token_bytes *bytes; /* by token; n 0: never allowed by its bytes */
    char *pool;
    int32_t *eog;
    uint32_t n_eog;
    struct control_token *control; /* without the ends of a generation */
    uint32_t n_control;
};

/* What all sequences share that follow one grammar with one vocabulary. */
struct matcher {
    struct matcher *next;
    const struct automaton *a;     /* of the grammar that owns this */
    const struct token_trie *trie; /* compared by serial before use */
    uint64_t serial;
    pthread_mutex_t lock; /* of all below */
    struct stacks stacks;
    struct masks masks;
    struct constraint *users;         /* linked */
    int32_t marks[GRAMMAR_MAX_MARKS]; /* tokens; -1: none is spelt so */
};

struct constraint {
    struct grammar *g;
    struct matcher *m;
    struct constraint *next, **link; /* among m->users */
    uint32_t set;                    /* where the text stands */
    uint32_t masked;                 /* the set that `mask` is of; STACKS_DEAD: none */
    uint32_t *mask;
};

void matchers_free(struct matcher *m); /* the whole list */
