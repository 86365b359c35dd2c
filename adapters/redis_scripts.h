/*
 * The catalog's Lua scripts: one a write, so that each is atomic and audited. Errors of ours begin
 * with "RS_". Each script reads every key it will write before it writes any, so that a key of a
 * wrong type stops it while nothing has changed.
 *
 * Keys:  1 adapter (hash)  2 revisions (hash: digest → "ordinal created bytes")
 *        3 aliases (hash: name → "digest former-digest")  4 events (stream)  5 epoch
 *        6 history (stream)     publish: 7 all adapters (set)  8 bases of the name (set)  9
 * manifest Args:  1 base:adapter  2 who  3 seconds since 1970
 */
#pragma once

#include "adapters/redis_link.h"

/* Args 4 digest, 5 created, 6 bytes, 7 manifest, 8 description, 9 examples (JSON), 10 alias,
 * 11 base, 12 adapter. The three writes reply with the stream id of the adapter's last event. */
extern const struct redis_script redis_publish;
/* Args 4 alias, 5 target digest, 6 alias that the target was read from ('' for none), 7 expected.
 */
extern const struct redis_script redis_alias;
extern const struct redis_script redis_rollback; /* Args 4 alias. */
/* Keys 1 to 3: one adapter at one moment: {fields of 1, of 2, of 3}, or an empty array. */
extern const struct redis_script redis_head;
/* Key: set of gateways. Args: prefix of their heartbeats, one to leave out. Replies with the
 * applied stream ids; gateways whose heartbeat is gone leave the set. */
extern const struct redis_script redis_gateways;
/* Keys: set of gateways, heartbeat of one. Args: its id, its applied stream id, milliseconds. */
extern const struct redis_script redis_beat;
