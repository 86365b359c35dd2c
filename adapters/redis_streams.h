/*
 * Waiting for entries of many streams at once. A lane is a connection that stays in its XREAD
 * between calls: one for all keys where one command may name them, one a slot in a Cluster.
 *
 * Internal to adapters/. In a turn of the link.
 */
#pragma once

#include "adapters/redis_topology.h"

struct redis_lanes;
struct redis_lanes *redis_lanes_free(struct redis_lanes *l); /* NULL is fine; returns NULL */

struct redis_wait {
    const struct str *keys, *ids; /* n of each */
    size_t n;
    unsigned block_ms, count;
    redisReply **ret; /* [n], NULL at the start; filled */
};

/* As redis_read_streams. *lanes: NULL at first, owned by the link. */
int redis_streams_wait(struct redis_topology *t, struct redis_lanes **lanes,
                       const struct redis_wait *w, struct fail *reterr) MUST_USE;
