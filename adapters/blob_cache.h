/*
 * The blob cache: files named by their sha256 under <folder>/sha256/ab/<hex>, bounded in bytes,
 * least recently used first out.
 *
 * A file appears by rename, whole and verified; one that was found at start is verified before its
 * first use. Any thread; several processes may share a folder. A held blob is never removed; the
 * bound is exceeded by what is held, at most.
 */
#pragma once

#include <limits.h>

#include "adapters/adapters.h"

struct blob_cache;

int blob_cache_open(struct blob_cache **ret, const char *folder, uint64_t max_bytes,
                    struct fail *reterr) MUST_USE;
struct blob_cache *blob_cache_free(struct blob_cache *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct blob_cache *, blob_cache_free);

/* 0: here, verified and held. -ENOENT: not here (or it was damaged and is removed now). */
int blob_cache_hold(struct blob_cache *c, const struct sha256 *digest) MUST_USE;
void blob_cache_release(struct blob_cache *c, const struct sha256 *digest);
uint64_t blob_cache_bytes(struct blob_cache *c);

/* The path of a blob, here or not. -ENAMETOOLONG. */
int blob_cache_path(const struct blob_cache *c, const struct sha256 *digest,
                    char ret[static PATH_MAX]) MUST_USE;

struct blob_writer;

int blob_writer_new(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                    uint64_t bytes) MUST_USE;
int blob_writer_add(struct blob_writer *w, struct str part) MUST_USE;
/* 0: in the cache and held. -EBADMSG: size or digest are not those promised, nothing is kept. */
int blob_writer_end(struct blob_writer *w) MUST_USE;
struct blob_writer *blob_writer_free(struct blob_writer *w); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct blob_writer *, blob_writer_free);

/* A new folder under the cache's, for links to held blobs; removed with its content by the caller.
 */
int blob_cache_stage(struct blob_cache *c, char ret[static PATH_MAX]) MUST_USE;
/* Gives a held blob a second name in a staged folder. */
int blob_cache_link(struct blob_cache *c, const struct sha256 *digest, const char *folder,
                    const char *name) MUST_USE;
