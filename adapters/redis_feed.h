/*
 * The feed: follows the event streams of all shards and keeps the page current.
 *
 * One thread of role `catalog`, one link. A heartbeat tells which epoch of each shard this gateway
 * has applied, so that a writer can wait until every live gateway uses what it wrote.
 */
#pragma once

#include "adapters/catalog.h"
#include "adapters/redis_head.h"
#include "adapters/snapshot.h"

#define FEED_ID_LEN 16

struct redis_feed;

/*
 * Loads the page when Redis answers, then follows; without Redis it starts with what the page has
 * and tries on. `link` moves to the feed. `known`: what was loaded from a snapshot, for which Redis
 * is then waited a moment at most; n 0: nothing. A Redis that answers at once and is older than the
 * snapshot, or went another way, is right: what it does not have leaves the page. One that answers
 * later is given back what was served meanwhile.
 */
int redis_feed_start(struct redis_feed **ret, struct redis_link *link,
                     const struct redis_keys *keys, const struct catalog_host *host,
                     const struct snapshot_shards *known) MUST_USE;
/* Where the shards stand, for a snapshot. false: the page is not whole. Any thread. */
bool redis_feed_shards(struct redis_feed *f, struct snapshot_shards *ret);
/* Takes the heartbeat back over `other`, so that no writer waits for this gateway any more. NULL is
 * fine; returns NULL. */
struct redis_feed *redis_feed_stop(struct redis_feed *f, struct redis_link *other);
const char *redis_feed_id(const struct redis_feed *f);
bool redis_feed_complete(struct redis_feed *f); /* every name of the catalog is in the page */
void redis_feed_state(struct redis_feed *f, bool *ret_connected, uint64_t *ret_lag_ms);

/* The highest epoch of the shard that was applied. Any thread. */
uint64_t redis_feed_epoch(const struct redis_feed *f, uint32_t shard);
/* Waits until it is `epoch` or the monotonic time has come; false then. Any thread. */
bool redis_feed_wait(struct redis_feed *f, uint32_t shard, uint64_t epoch, uint64_t until_ms);
