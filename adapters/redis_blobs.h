/*
 * The blob store in Redis: a blob is chunks `b:{SHA}:I`, and an entry of the index, the hashes
 * `bl:{bXX}` by the first byte of the digest: SHA → "bytes stored-at". The braces keep the keys of
 * one command on one node of a cluster.
 *
 * Internal to the Redis catalog; any thread. For small files: one above REDIS_BLOB_MAX is for
 * another store, or for a cache folder that all gateways share.
 */
#pragma once

#include "adapters/blobs/blob_store.h"
#include "adapters/redis_head.h"

#define REDIS_BLOB_MAX (64 * MIB)
#define REDIS_CHUNK (4 * MIB)

/* `link` moves, also when this fails. */
int blob_store_redis(struct blob_store **ret, struct redis_link *link,
                     const struct redis_keys *keys) MUST_USE;
