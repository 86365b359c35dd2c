/*
 * Heads of adapters as Redis holds them: where their keys are, and reading them.
 *
 * Internal to the Redis catalog; any thread, on the link it brings. Everything that concerns one
 * adapter lies in one shard, so in one slot of a Cluster: shard and bucket follow from head_hash of
 * its name (without the base), which never changes for a namespace; how many there are is in
 * `meta`.
 */
#pragma once

#include "adapters/page.h"
#include "adapters/redis_link.h"

#define REDIS_NAMESPACE_MAX 64
#define REDIS_KEY_MAX (REDIS_NAMESPACE_MAX + 2 * LIMIT_NAME + 48)
#define REDIS_SHARDS_MAX 64
#define REDIS_BUCKETS_MAX 65536 /* of one shard */
#define REDIS_MEMBER_MAX (2 * LIMIT_NAME + 2)

struct redis_keys { /* of a namespace */
    char prefix[REDIS_NAMESPACE_MAX + 2];
    uint32_t shards, buckets; /* powers of two; 0: not read yet (redis_layout) */
};

struct redis_place { /* of one adapter */
    uint32_t shard, bucket;
    char member[REDIS_MEMBER_MAX]; /* base:adapter */
};

void redis_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
               struct str name);
/* "what:{sNN}" and, with a name, ":name". */
void redis_shard_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
                     uint32_t shard, struct str name);
/* What keys with a name begin with: "what:{sNN}:". */
void redis_shard_prefix(const struct redis_keys *k, char ret[static REDIS_KEY_MAX],
                        const char *what, uint32_t shard);
void redis_bucket_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], uint32_t shard,
                      uint32_t bucket);
struct redis_place redis_place_of(const struct redis_keys *k, struct str base, struct str adapter);
uint32_t redis_shard_of(const struct redis_keys *k, struct str adapter);
bool redis_split_member(struct str member, struct str *ret_base, struct str *ret_adapter);

/* Reads how many shards and buckets the namespace has, and founds a new one. FAILED:
 * catalog_unavailable. */
int redis_layout(struct redis_link *l, struct redis_keys *k, struct fail *reterr) MUST_USE;

/*
 * One adapter at one moment. 0: *ret is a new reference, or NULL where Redis has none. `id`: a key
 * that is read with it (its text in *ret_id, NULL: not there), or NULL. FAILED:
 * catalog_unavailable, also for a damaged record.
 */
int redis_head_fetch(struct redis_link *l, const struct redis_keys *k, struct str base,
                     struct str adapter, const char *id, struct head **ret, redisReply **ret_id,
                     struct fail *reterr) MUST_USE;
/* Reads it into the page. `drop`: an adapter that Redis does not have leaves the page. A damaged
 * record is logged and leaves the page as it is. */
int redis_head_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                    struct str base, struct str adapter, bool drop, struct fail *reterr) MUST_USE;
/* The same for every base that has an adapter of this name. */
int redis_heads_named(struct redis_link *l, const struct redis_keys *k, struct page *page,
                      struct str adapter, bool drop, struct fail *reterr) MUST_USE;

/*
 * Reads buckets of a shard, pipelined, and hands each adapter to `found` (head borrowed). Damaged
 * ones are logged and left out: `found` then gets NULL for the head.
 */
typedef int (*redis_found_fn)(void *ctx, struct str member, struct head *h);
int redis_buckets_read(struct redis_link *l, const struct redis_keys *k, uint32_t shard,
                       const uint32_t *buckets, size_t n, redis_found_fn found, void *ctx,
                       struct fail *reterr) MUST_USE;
/* The buckets of a shard that ever held something; *ret is owned by the caller. `lost`: all of
 * them, where Redis does not say. */
int redis_buckets_used(struct redis_link *l, const struct redis_keys *k, uint32_t shard, bool lost,
                       uint32_t **ret, size_t *ret_n, struct fail *reterr) MUST_USE;

/* page_put, where a head that no page holds is a logged nothing. */
int redis_page_put(struct page *page, struct head *h) MUST_USE;

/* A value of Redis as a head; `full` may be empty. NULL: damaged, or no memory. */
struct head *redis_head_decode(struct str member, struct str partial, struct str full);
