/*
 * Features of a text for linear classifiers and lexical similarity: words, pairs of words, and the
 * runs of characters inside words, hashed to numbers.
 *
 * No vocabulary is kept, so every language and every misspelling has features. Two blocks (words,
 * characters) are weighted by how rare a feature is and scaled to equal length; the whole vector
 * has length 1, so that a dot product of two is their cosine. Hashing: Weinberger et al., "Feature
 * Hashing for Large Scale Multitask Learning", 2009. Pure; any thread.
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>

enum {
    FEATURE_BITS = 18,
    FEATURE_BUCKETS = 1 << FEATURE_BITS,
    /* Of a longer text the first, middle and last third of this many characters are read. */
    FEATURE_CODE_POINTS = 2048,
};

struct features {
    uint32_t n;
    uint32_t n_words; /* the first of them are words and pairs, the rest runs of characters */
    uint32_t *id;     /* below FEATURE_BUCKETS, each once a block */
    float *value;
    uint8_t *rarity; /* of each, of the table it was read with; NULL: of none */
};

/*
 * The features of case-folded, valid UTF-8 (unicode_fold_text), with 1 + ln(count) as values
 * (counts end at 255). `rarity`: the table of the background (FEATURE_BUCKETS bytes, which live on)
 * that the features will be weighed with, NULL where there is none; looking it up beside the counts
 * spares as many ways to memory. All memory is the arena's. 0 or -ENOMEM.
 */
int features_of(struct features *ret, struct str folded, const unsigned char *rarity,
                struct arena *arena) MUST_USE;

/* How rare each bucket is: ln((1 + texts) / (1 + texts with it)) + 1. */
struct rarity {
    uint32_t texts;
    uint32_t *with; /* FEATURE_BUCKETS counts; owned */
};
int rarity_init(struct rarity *r) MUST_USE; /* 0 or -ENOMEM */
void rarity_done(struct rarity *r);
void rarity_count(struct rarity *r, const struct features *f);
float rarity_of(const struct rarity *r, uint32_t id);

/* Multiplies by rarity (of `weight`, by id; NULL: 1) and scales both blocks to length √½; one that
 * is alone gets length 1. */
void features_weigh(struct features *f, const float *weight);
