/*
 * Masks of places: which tokens may come at a node of the automaton, whatever surrounds it.
 *
 * A walk of the trie from one place tells tokens that its rule takes whole, and the points of the
 * trie where the rule may end within a token. Both are kept with the place. The mask of a set of
 * stacks joins those of its places and follows only the rest of tokens from such points, along
 * what really follows. After the idea of XGrammar (arXiv 2411.15100, section 3.1).
 *
 * A bounded loop has one mask for all its counts: it keeps how many rounds each token takes.
 * Not thread-safe: the owner locks.
 */
#pragma once

#include "engine/local/grammar/stacks.h"

struct token_trie;

/* What is known of one place. Owned arrays. */
struct place_mask {
    uint32_t node, count; /* the key */
    uint64_t used;        /* when it was last needed */
    size_t bytes;
    uint32_t deepest; /* rules open in each other during the walk */
    uint32_t n_ids;   /* of `ids`: few tokens; or all of `bits` or `rounds` */
    int32_t *ids;
    uint8_t *id_rounds; /* of `ids`, in bounded loops */
    uint32_t *bits;
    uint8_t *rounds;        /* by token, in bounded loops; ROUNDS_NEVER: not allowed */
    uint32_t *resume;       /* trie nodes behind an end of the rule, by class of their byte */
    uint8_t *resume_rounds; /* in bounded loops */
    uint32_t *resume_from;  /* by class; one more at the end */
};

struct masks {
    struct stacks *stacks;         /* borrowed */
    const struct token_trie *trie; /* borrowed */
    struct place_mask **table;     /* open hash */
    uint32_t n, n_table;
    size_t bytes;
    uint64_t clock;
    uint32_t *path; /* sets along the trie's path; longest token + 1 */
    struct mask_hit *hits;
    uint32_t n_hits, cap_hits;
    struct mask_hit *ends; /* points where the rule may end */
    uint32_t n_ends, cap_ends;
};

void masks_init(struct masks *m, struct stacks *s);
void masks_done(struct masks *m);
/* Sets in `mask` (n_words of the trie) the tokens that may follow `set` by their bytes. 0, or
 * negative. */
int masks_add(struct masks *m, const struct token_trie *t, uint32_t set, uint32_t *mask) MUST_USE;
