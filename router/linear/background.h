/*
 * How rare each feature is in texts at large: what vectors of all shipped classifiers share, so
 * that a text is read and weighed once for all of them.
 *
 * A view of a file's bytes, which must outlive it; copy it freely. Pure; any thread.
 *
 *     head     (struct head of background.c), little-endian
 *     rarity   byte a feature: 1 + byte · head.step
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "router/linear/text_features.h"

struct background {
    const unsigned char *rarity; /* borrowed; FEATURE_BUCKETS */
    float step;
};

/* Reads in place; `name` is for messages. 0 or FAILED with *reterr. */
int background_open(struct background *ret, const char *name, struct str bytes,
                    struct fail *reterr) MUST_USE;
/* Appends the file of what was counted. 0, -ENOMEM or -EMSGSIZE. */
int background_write(const struct rarity *r, struct buf *out) MUST_USE;

/* Weighs features as features_of gives them, once: rarity, then both blocks to length √½. */
void background_weigh(const struct background *b, struct features *f);

/*
 * What a classifier reads of a text: `hashed` (as features_of gives them, unchanged) weighed, and
 * the vector of its words (words_vector), of length DENSE, under the last ids. Memory is the
 * arena's. 0 or -ENOMEM.
 */
int background_features(const struct background *b, const struct features *hashed,
                        const float words[], struct arena *arena, struct features *ret) MUST_USE;

/*
 * What identifies the way from a text to its features: files made with another one are refused.
 * Reads a short text each time. 0 or -ENOMEM.
 */
int features_fingerprint(uint32_t *ret) MUST_USE;
