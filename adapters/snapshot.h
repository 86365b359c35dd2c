/*
 * The page on disk, so that a gateway starts without its catalog.
 *
 * A file of sections, each {kind u32, CRC-32C u32, length u64} and its bytes, all little-endian;
 * the sum is over kind, length and bytes:
 *
 *     magic "rootstock-catalog-snapshot\n" · version u32
 *     1 about    seed u64 · identity (u32 length, text) · n u32 shards, each epoch u64, tag u64
 *     3 heads    as page_export writes them; many sections
 *     2 bases    n u32 · each u16 length, text
 *     4 end      heads u64 in all
 *
 * It is written beside, synced and renamed: old or new, never half. What is damaged, of another
 * catalog or another version is refused as a whole, before the page is touched.
 */
#pragma once

#include "adapters/page.h"

#define SNAPSHOT_SHARDS 256
#define SNAPSHOT_IDENTITY 1024 /* bytes */

/* How far a shard of the catalog is in the page at least. */
struct snapshot_shard {
    uint64_t epoch; /* of the last event applied */
    uint64_t tag;   /* that tells this event from another of its epoch; 0: unknown */
};

struct snapshot_shards {
    size_t n;
    struct snapshot_shard shard[SNAPSHOT_SHARDS];
};

/*
 * Reads the file into the page. `identity` says which catalog it is of: address and namespace, no
 * password. 0: *ret holds the shards, *ret_n counts heads. FAILED: not_found, there is no file;
 * conflict, it is of another catalog; else it is damaged or of another version; the message names
 * the file and why. Negative errno. Any thread; blocks.
 */
int snapshot_load(struct page *p, const char *path, struct str identity,
                  struct snapshot_shards *ret, size_t *ret_n, struct fail *reterr) MUST_USE;

/*
 * Writes the page. `shards` are how far it was before this call: heads that come during it are in
 * the file or not, and are applied again after a restart. Look-ups go on. Negative errno.
 */
int snapshot_save(struct page *p, const char *path, struct str identity,
                  const struct snapshot_shards *shards) MUST_USE;

/* ---- in the background ---- */

struct snapshots;

struct snapshots_options {
    struct page *page; /* borrowed */
    const char *path;  /* copied; its folder is made */
    struct str identity;
    uint64_t every_ms; /* at most one a while, and only when something changed */
    bool loaded;       /* the page is what the file says, as of now */
    /* How far the shards are now; called on the thread of the snapshots before each, without a
     * lock. false: not now (the page is not whole yet). */
    bool (*shards)(void *ctx, struct snapshot_shards *ret);
    void *ctx;
};
/* Starts a thread of role `catalog`. */
int snapshots_start(struct snapshots **ret, const struct snapshots_options *o) MUST_USE;
/* Writes a last one when something changed, and ends. NULL is fine; returns NULL. */
struct snapshots *snapshots_stop(struct snapshots *s);
