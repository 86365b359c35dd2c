/* What the tests of the link to Redis share: short calls that check, and a reader of streams. */
#pragma once

#include "tests/support/redis.h"
#include "tests/support/test.h"

#include "adapters/redis_link.h"

#define TIMEOUT_MS 2000
#define PATIENCE_MS 20000 /* for what comes soon, on a machine that is busy */

extern const struct redis_script add_script; /* INCRBY */

struct redis_link *open_link(const char *url);
void drop(redisReply *r); /* that is no error */
/* SET, and what it says when it fails ("" when it does not); a static buffer. */
const char *set(struct redis_link *l, const char *key, const char *value);
void check_value(struct redis_link *l, const char *key, const char *value);
void set_comes(struct redis_link *l, const char *key, const char *value); /* and tells the time */
/* Adds 1 to each of n keys, "PREFIX:{i}", by one call; each must then hold `value`. */
void add_to_all(struct redis_link *l, const char *prefix, size_t n, long long value);
const char *advice(struct redis_link *l); /* of redis_check_server; a static buffer */

enum { STREAMS = 12 };
struct reading {
    char key[STREAMS][32], id[STREAMS][48];
    unsigned seen[STREAMS];
};
void begin_reading(struct reading *s);
/* One wait; what comes is counted and its ids are remembered. */
int read_once(struct redis_link *l, struct reading *s, unsigned block_ms, struct fail *f);
void add_event(struct redis_link *l, const char *key);
/* Reads until stream i has shown `want` events. */
void see(struct redis_link *l, struct reading *s, size_t i, unsigned want);
/* On any topology: old events, new ones, and none twice. */
void follow_streams(const char *url);
