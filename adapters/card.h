/*
 * The card of an adapter in a folder: adapter.yaml, and history.jsonl beside it.
 *
 *     name: sql
 *     base: demo
 *     description: SQL from a question
 *     examples: ["How many …?"]
 *     revisions: [1, 2]          # each a folder: 1/, 2/
 *     aliases: {prod: 2, prev: 1}
 *     canary_weight: 500         # of 10,000; with an alias `canary`. canary_salt goes with it
 *     shadow_weight: 100
 *     epoch: 7                   # counts the changes made by us
 *
 * Not thread-safe. Keys that are not ours survive a rewrite.
 */
#pragma once

#include "adapters/adapters.h"

struct card_alias {
    struct str name;
    uint64_t ordinal;
};

struct card {
    struct str name, base, description;
    const struct str *examples;
    size_t n_examples;
    uint64_t revisions[LIMIT_REVISIONS];
    size_t n_revisions;
    struct card_alias aliases[LIMIT_ALIASES];
    size_t n_aliases;
    uint64_t epoch, canary_salt;
    uint32_t canary_weight, shadow_weight; /* 0: none */
    struct document *document; /* owned; NULL for a new card. Text is borrowed from it */
    struct arena *arena;       /* owned */
};

/* 0: *ret is to be freed. -EINVAL: `p` says why. Other negative errno: not readable. */
int card_load(struct card **ret, const char *path, struct problems *p) MUST_USE;
int card_parse(struct card **ret, const char *file, struct str text, struct problems *p) MUST_USE;
int card_new(struct card **ret, struct str name, struct str base) MUST_USE;
struct card *card_free(struct card *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct card *, card_free);
struct card_alias *card_alias(struct card *c, struct str name); /* NULL: no such */
/* FAILED: the card is full (conflict). */
int card_set_alias(struct card *c, struct str name, uint64_t ordinal, struct fail *reterr) MUST_USE;
void card_drop_alias(struct card *c, struct str name); /* there may be none */
void card_print(const struct card *c, struct buf *b);
