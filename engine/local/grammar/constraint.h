/*
 * A grammar followed along the tokens of one sequence: which tokens may come next.
 *
 * The automaton reads bytes; a trie of the vocabulary turns that into tokens. Masks of grammar
 * positions are computed once and kept with the grammar, so that most steps cost one copy.
 */
#pragma once

#include "engine/local/grammar/grammar.h"
#include "engine/local/tokenizer.h"

/* The vocabulary's bytes as a trie. Immutable, any thread; made once a model. */
struct token_trie;
int token_trie_new(struct token_trie **ret, const struct tokenizer *k) MUST_USE;
struct token_trie *token_trie_free(struct token_trie *t); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct token_trie *, token_trie_free);

/* One sequence's place in a grammar. One thread at a time; several may share a grammar. */
struct constraint;
/* Takes a reference of the grammar; borrows the trie. 0 or -ENOMEM. */
int constraint_new(struct constraint **ret, struct grammar *g, const struct token_trie *t) MUST_USE;
struct constraint *constraint_free(struct constraint *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct constraint *, constraint_free);

/*
 * The tokens that may come next: bit id % 32 of word id / 32. End-of-generation tokens are set
 * where the text may end. At least one bit is set, unless the vocabulary cannot spell what must
 * come. Valid until the next call; NULL: no memory, or a bound of ambiguous grammars was passed.
 */
const uint32_t *constraint_mask(struct constraint *c);
/* Follows a token. False: it was not allowed, and nothing changed. */
bool constraint_accept(struct constraint *c, int32_t id) MUST_USE;
bool constraint_may_end(const struct constraint *c);  /* the text so far is whole */
bool constraint_must_end(const struct constraint *c); /* and nothing can follow */

/* Follows plain bytes (tests, forced prefixes). False: not allowed, and nothing changed. */
bool constraint_accept_bytes(struct constraint *c, struct str bytes) MUST_USE;
