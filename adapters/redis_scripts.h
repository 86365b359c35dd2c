/*
 * The catalog's Lua scripts: one a write, so that each is atomic and audited. Errors of ours begin
 * with "RS_". Each reads every key it will write before it writes any, so that a key of a wrong
 * type stops it while nothing has changed.
 *
 * A record is what head_codec.h describes; the scripts stamp its first 8 bytes with the epoch. An
 * event's id is "EPOCH-0", and its field `p` the counter before it: whoever has not applied `p` has
 * missed something. "known" is the highest epoch that the caller has seen of the shard: a counter
 * below it has gone backwards (Redis was wiped, or is an older copy), and nothing is written.
 *
 * All keys of a script have one hash tag.
 */
#pragma once

#include "adapters/redis_link.h"

#define REDIS_EVENTS_KEPT "16384" /* of one shard; a gateway that missed more reads it anew */

/*
 * Compare and set of one head.
 * Keys: 1 bucket, 2 epoch, 3 events, 4 history, 5 full record, 6 idempotency, 7 used buckets.
 * Args: 1 base:adapter, 2 epoch it must have (0: it must not exist), 3 known, 4 partial record (""
 * removes the adapter), 5 full record or "", 6 what the event carries: "p" partial, "f" full, ""
 * nothing, 7 bucket, 8 who, 9 seconds since 1970, 10 reply to keep under key 6 or "", 11 lines of
 * history, then what, alias, from, to of each.
 * Reply: {"ok", epoch}, {"conflict", epoch now}, {"again", kept reply} or {"regressed", counter}.
 */
extern const struct redis_script redis_write;
enum { REDIS_WRITE_KEYS = 7, REDIS_WRITE_ARGS = 11, REDIS_WRITE_LINE = 4 };

/*
 * Many heads of one shard, as one event that names their buckets.
 * Keys: 1 prefix of buckets, 2 epoch, 3 events, 4 prefix of full records, 5 used buckets.
 * Args: 1 known, 2 "1": replace what exists, 3 rows, each u16 length and member, u32 bucket, u16
 * length and partial record, u32 length and full record (all big-endian), 4 the buckets as u32.
 * Reply: {"ok", epoch, rows written} or {"regressed", counter}.
 */
extern const struct redis_script redis_import;

/* Writes heads back that Redis has lost: those it lacks, or has with a lower epoch. Keys 1 prefix
 * of buckets, 2 prefix of full records, 3 used buckets. Args: 1 rows as above. Replies with the
 * number written. No event: redis_raise tells of all of them. */
extern const struct redis_script redis_restore;
/* Keys: 1 epoch, 2 events. Args: 1 the highest epoch known, 2 who does it. Takes the counter past
 * it; replies with the new value. */
extern const struct redis_script redis_raise;

/* Key: set of gateways. Args: prefix of their heartbeats, "" or prefix of their revisions in use.
 * Replies with id and heartbeat (or revisions) of each that lives; the others leave the set. */
extern const struct redis_script redis_gateways;
/* Keys: set of gateways, heartbeat of one, its revisions in use. Args: its id, its heartbeat,
 * milliseconds, the digests in use or "=" for no news. */
extern const struct redis_script redis_beat;

/* A tenant's adapters. Key: hash with max_adapters and n. Args: how many come (or go, if negative).
 * Reply: {"ok", n} or {"full", max_adapters}. */
extern const struct redis_script redis_quota;
