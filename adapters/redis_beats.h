/*
 * The fleet: the gateways of a catalog, by their heartbeats in Redis.
 *
 * Internal to the Redis catalog; any thread. A heartbeat holds, for each shard, the epoch that the
 * gateway has applied (u64, big-endian); beside it lie the digests of the revisions that its
 * requests use now. Both expire when the gateway is silent.
 */
#pragma once

#include "adapters/redis_head.h"
#include "base/buf.h"

#define FLEET_BEAT_MS "3000" /* a gateway silent for longer is not waited for */

struct fleet_keys {
    char gateways[REDIS_KEY_MAX], beat[REDIS_KEY_MAX], used[REDIS_KEY_MAX];
};
void fleet_keys(const struct redis_keys *k, const char *id, struct fleet_keys *ret);

struct fleet_beat {
    const char *id;
    const uint64_t *epochs; /* of each shard */
    const struct sha256 *used;
    size_t n_used;
    bool tell_used; /* else those told last stand */
};
int fleet_say(struct redis_link *l, const struct redis_keys *k, const struct fleet_beat *b,
              struct fail *reterr) MUST_USE;
void fleet_leave(struct redis_link *l, const struct redis_keys *k, const char *id);

/*
 * Waits until every live gateway but `self` (may be empty) has applied need[shard] (0: any), at
 * most `wait_ms`. *ret_behind: how many have not; their ids are added to `laggards` (NULL: not
 * wanted). A Redis that does not answer leaves *ret_behind as large as it was last seen, at
 * least 1.
 */
void fleet_wait(struct redis_link *l, const struct redis_keys *k, const char *self,
                const uint64_t *need, uint64_t wait_ms, unsigned *ret_behind, struct buf *laggards);

#define FLEET_ID_MAX 40
/* A live gateway whose requests use the revision now; "" when there is none. */
int fleet_user(struct redis_link *l, const struct redis_keys *k, const struct sha256 *digest,
               char ret[static FLEET_ID_MAX], struct fail *reterr) MUST_USE;
