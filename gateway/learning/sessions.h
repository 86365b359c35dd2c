/*
 * Sessions: which candidate answered the last turn of each conversation. Bounded; the longest
 * silent one is forgotten. Any thread; one lock. Times are milliseconds of the monotonic clock.
 */
#pragma once

#include "base/arena.h"
#include "base/sha256.h"
#include "router/router.h"

struct sessions;
int sessions_new(struct sessions **ret) MUST_USE;
struct sessions *sessions_free(struct sessions *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct sessions *, sessions_free);

/* true: *ret is the last turn's, its text in the arena. Silent for longer than idle_s seconds (0:
 * for ever) it is idle, for longer than ttl_s forgotten. */
struct session_question {
    struct sha256 key;
    uint64_t now_ms, idle_s, ttl_s;
};
bool sessions_get(struct sessions *s, const struct session_question *q, struct arena *arena,
                  struct route_session *ret);
/* A candidate answers a turn now. */
void sessions_put(struct sessions *s, const struct sha256 *key, const struct route *route,
                  uint64_t now_ms);
/* A verdict on an answer of this candidate in the conversation. */
void sessions_judge(struct sessions *s, const struct sha256 *key, struct str model,
                    struct str adapter, bool underpowered);
size_t sessions_len(struct sessions *s);
