/*
 * The feed: follows the catalog's event stream and keeps the page current.
 *
 * One thread of role `catalog`, one connection. A heartbeat key tells which event this gateway has
 * applied, so that a writer can wait until every live gateway uses what it wrote.
 */
#pragma once

#include "adapters/redis_head.h"

#define FEED_ID_LEN 16

struct redis_feed;

struct stream_id {
    uint64_t ms, seq;
};
bool stream_id_parse(struct stream_id *ret, struct str s);
int stream_id_cmp(struct stream_id a, struct stream_id b);

/* Loads the page when Redis answers, then follows; without Redis it starts empty and tries on.
 * `link` moves to the feed. */
int redis_feed_start(struct redis_feed **ret, struct redis_link *link,
                     const struct redis_keys *keys, struct page *page) MUST_USE;
/* Takes the heartbeat back over `other`, so that no writer waits for this gateway any more. NULL is
 * fine; returns NULL. */
struct redis_feed *redis_feed_stop(struct redis_feed *f, struct redis_link *other);
const char *redis_feed_id(const struct redis_feed *f);
bool redis_feed_complete(struct redis_feed *f); /* every name of the catalog is in the page */
void redis_feed_state(struct redis_feed *f, bool *ret_connected, uint64_t *ret_lag_ms);
