/*
 * Replay: the last routed requests, each as the JSON that describes it, in a ring that is bounded
 * by records and by bytes.
 *
 * Any thread. A record is copied in and copied out; nothing is held across calls.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

#include <stdint.h>

struct replay;

enum {
    REPLAY_RECORDS = 10000,
    REPLAY_BYTES = 32 * 1024 * 1024,
    REPLAY_RECORD_BYTES = 1024 * 1024, /* of one; a larger one is not kept */
    REPLAY_LIST_DEFAULT = 20,
    REPLAY_LIST_MAX = 100,
    REPLAY_ANSWER_BYTES = 8 * 1024 * 1024, /* of a list with details: it ends before */
};

struct replay *replay_new(size_t max_records, size_t max_bytes); /* NULL: no memory */
struct replay *replay_free(struct replay *r);                    /* NULL is fine */
DEFINE_CLEANUP(struct replay *, replay_free);

enum replay_state { REPLAY_completed, REPLAY_failed, REPLAY_aborted };
extern const char *const replay_states[]; /* "completed" */

/* One record; text is copied. */
struct replay_record {
    struct str id, request, recipe, decision, model, session;
    enum replay_state state;
    bool has_usage;
    uint64_t prompt_tokens, completion_tokens;
    struct str summary;   /* members of a JSON object, without its braces */
    struct str details;   /* the rest of them, each after a comma; may be empty */
    uint64_t max_records; /* of its recipe and decision; 0: no bound of its own */
};

/* Drops the oldest ones that are in its way. 0, -ENOMEM, or -E2BIG: it would fill the ring. */
int replay_put(struct replay *r, const struct replay_record *record) MUST_USE;

struct replay_query {
    struct str recipe, decision, model, session, search; /* empty: any; search: in the summary */
    size_t limit, offset;
    bool details;
};

/* {"object":"list","count","total","limit","offset","has_more","next_offset","data"}, newest first.
 */
void replay_list(struct replay *r, const struct replay_query *q, struct buf *b);
/* {"object":"router_replay.aggregate", …}: counts and tokens by model and decision. */
void replay_aggregate(struct replay *r, const struct replay_query *q, struct buf *b);
bool replay_show(struct replay *r, struct str id, struct buf *b); /* false: no such record */

/* The request's own id, in the arena; p NULL: no such record, or no memory. */
struct str replay_request(struct replay *r, struct str id, struct arena *arena);

struct replay_usage {
    size_t records, bytes;
};
struct replay_usage replay_usage(struct replay *r);
