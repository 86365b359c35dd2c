/*
 * Writing the catalog in Redis: each change is computed here from the head that was read, and one
 * script puts it in place if the head is still that one.
 *
 * Internal to the Redis catalog. Any thread.
 */
#pragma once

#include <stdatomic.h>

#include "adapters/redis_feed.h"

struct redis_writer { /* all borrowed; laid out (redis_layout) */
    struct redis_link *link;
    const struct redis_keys *keys;
    struct page *page;
    struct redis_feed *feed;     /* NULL: a command */
    _Atomic uint64_t durable_ms; /* when the next two are asked for anew */
    _Atomic uint64_t replicas;
    atomic_bool synced; /* what was written is on the server's disk */
};

/* Puts a revision whose blobs are stored into its adapter's head. */
int redis_publish_head(struct redis_writer *w, const struct publication *p,
                       struct adapter_changed *ret, struct fail *reterr) MUST_USE;
/* As catalog_ops.change, without waiting for the fleet. */
int redis_change_heads(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                       struct adapter_changed *changed, struct fail *fails,
                       struct fail *reterr) MUST_USE;
int redis_import_heads(struct redis_writer *w, const struct adapter_import *rows, size_t n,
                       bool replace, size_t *ret_written, struct fail *reterr) MUST_USE;
enum redis_outcome { OUT_ok, OUT_again, OUT_conflict, OUT_regressed };
/* Reads what the scripts that write reply; *ret_text is borrowed from it. */
int redis_read_outcome(const redisReply *r, enum redis_outcome *ret, struct str *ret_text,
                       uint64_t *ret_epoch, struct fail *reterr) MUST_USE;
/* Gives Redis back what this gateway knows of the shard, or waits for the one that does. */
int redis_heal(struct redis_writer *w, uint32_t shard, struct fail *reterr) MUST_USE;
/* Waits until the live gateways have applied what `changed` tells of; fills behind and laggards. */
void redis_writer_wait(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                       struct adapter_changed *changed, const struct fail *fails, uint64_t wait_ms,
                       struct arena *arena);
