/*
 * Reading a whole shard anew, and giving Redis back what it has lost.
 *
 * Internal to the Redis catalog. Any thread; a restoration is done by one process at a time, under
 * a key in Redis.
 */
#pragma once

#include "adapters/redis_head.h"

struct stream_id {
    uint64_t ms, seq; /* of our events: {epoch, 0} */
};
bool stream_id_parse(struct stream_id *ret, struct str s);
int stream_id_cmp(struct stream_id a, struct stream_id b);

struct shard_read {
    struct redis_link *link;
    const struct redis_keys *keys;
    struct page *page;
    uint32_t shard;
    uint64_t known;               /* the highest epoch of the shard that was applied */
    bool prune;                   /* adapters that Redis does not have leave the page */
    const char *who;              /* id of this gateway */
    void (*meanwhile)(void *ctx); /* called now and then, for what must not wait; may be NULL */
    void *ctx;
};

struct shard_stand { /* what the page stands for after a reading */
    uint64_t epoch;
    struct stream_id pos; /* events up to here are in it */
};
/* Enters every head of the shard. */
int shard_resync(const struct shard_read *x, struct shard_stand *ret, struct fail *reterr) MUST_USE;

/*
 * For a counter that went backwards (Redis was wiped, or runs on an older copy): heads that it
 * lacks or has in an older state are written back, newer ones are read, and the counter is raised
 * past everything known. Where Redis has revisions of an adapter that are not known here, somebody
 * has published since: both histories are joined. Nothing happens where nothing is missing.
 * -EAGAIN: another gateway is at it.
 */
int shard_restore(const struct shard_read *x, struct shard_stand *ret,
                  struct fail *reterr) MUST_USE;

/* Rows as the scripts read them. */
struct buf;
void redis_row(struct buf *b, const struct redis_keys *k, const struct head *h, uint64_t epoch);
