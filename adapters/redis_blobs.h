/*
 * Files of revisions in Redis, in chunks named by the file's sha256, and their way into the local
 * blob cache.
 *
 * Internal to the Redis catalog; any thread. Files above REDIS_BLOB_MAX stay in the blob cache of
 * who pushed them: gateways then share that folder.
 */
#pragma once

#include "adapters/blob_cache.h"
#include "adapters/redis_head.h"
#include "adapters/residency.h"
#include "adapters/revision.h"

#define REDIS_BLOB_MAX (64 * MIB)
#define REDIS_CHUNK (4 * MIB)

struct redis_blobs;

/* `link` moves; the cache is opened at its first use. */
int redis_blobs_new(struct redis_blobs **ret, struct redis_link *link,
                    const struct redis_keys *keys, struct str cache, uint64_t max_bytes) MUST_USE;
struct redis_blobs *redis_blobs_free(struct redis_blobs *b); /* NULL is fine; returns NULL */

/* Stores the files, before the catalog names them. */
int redis_blobs_store(struct redis_blobs *b, const struct revision_source *s,
                      const struct manifest *m, struct fail *reterr) MUST_USE;
/* Brings the files of a revision into a folder. */
int redis_blobs_stage(struct redis_blobs *b, const struct adapter_revision *r, struct stage *ret,
                      struct fail *reterr) MUST_USE;
void redis_blobs_unstage(struct redis_blobs *b, struct stage *s);
