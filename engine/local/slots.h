/*
 * What each slot's KV cache holds: the token ids, and whose weights computed them. Content may only
 * be used again for the same ids under the same key, so an adapter's new revision never meets the
 * old one's keys and values. No adapter pointer is kept.
 *
 * One thread at a time.
 */
#pragma once

#include "base/sha256.h"
#include "config/config.h"

#define CACHE_NEVER UINT32_MAX /* the adapter has no part in it */

/*
 * All that a position's keys and values depend on beside the ids up to it. An adapter that is
 * switched on within the prompt (aLoRA: Greenewald et al. 2025) leaves the positions before `from`
 * as the base computes them, so they are as good for the base and for every other adapter.
 */
struct cache_key {
    enum { CACHE_KEY_base, CACHE_KEY_adapter, CACHE_KEY_private } kind; /* private equals none */
    enum cache_type type; /* how keys and values are stored */
    uint64_t base;        /* of the base model's weights */
    struct sha256 digest; /* of the adapter's revision, or of a mixture; zeros of the base */
    uint32_t from;        /* first position that the adapter computes; CACHE_NEVER of the base */
    float scale;          /* that the adapter is applied with; 0 of the base */
};

struct slot {
    struct cache_key key;
    int32_t *ids;  /* context of them; position i of the cache was computed from ids[0 … i] */
    uint32_t n;    /* positions that hold something */
    bool busy;     /* a sequence grows it */
    uint64_t used; /* order of use, for choosing the oldest */
};

struct slots {
    struct slot *at;
    uint32_t n;     /* with the spare ones */
    uint32_t usual; /* the others behind them are taken when no other is free */
    int32_t *memory;
    uint64_t clock;
};

int slots_init(struct slots *s, uint32_t usual, uint32_t spare, uint32_t context) MUST_USE;
void slots_done(struct slots *s);

/* Of the first n positions, computed from equal ids under one key and the other: how many are the
 * same numbers. */
uint32_t cache_key_common(const struct cache_key *a, const struct cache_key *b, uint32_t n);
uint32_t slots_common(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b);

/* The slot (busy or free) other than `except` with the longest prefix of ids under the key;
 * *ret_common is 0 when none has any. `except` may be n: none. */
uint32_t slots_best(const struct slots *s, const struct cache_key *key, const int32_t *ids,
                    uint32_t n_ids, uint32_t except, uint32_t *ret_common);

/*
 * Takes a free slot (there is one) for these ids: the one whose content is mostly their prefix,
 * else the one that was not used for longest, so that other prefixes survive. Its `n` is what may
 * be kept, at most n_ids. The slot is busy until slots_release.
 */
uint32_t slots_take(struct slots *s, const struct cache_key *key, const int32_t *ids,
                    uint32_t n_ids);
void slots_release(struct slots *s, uint32_t slot); /* its content stays for those who come */
