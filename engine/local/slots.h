/*
 * What each slot's KV cache holds: the token ids, and whose weights computed them. Content may only
 * be used again for the same ids under the same key, so an adapter's new revision never meets the
 * old one's keys and values. No adapter pointer is kept.
 *
 * One thread at a time.
 */
#pragma once

#include "base/sha256.h"

struct cache_key {
    enum { CACHE_KEY_base, CACHE_KEY_adapter, CACHE_KEY_private } kind; /* private equals none */
    struct sha256 digest;                                               /* of an adapter */
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
    uint32_t n;
    int32_t *memory;
    uint64_t clock;
};

int slots_init(struct slots *s, uint32_t n, uint32_t context) MUST_USE;
void slots_done(struct slots *s);

bool cache_key_eq(const struct cache_key *a, const struct cache_key *b);
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
