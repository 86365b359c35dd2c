/*
 * The blob cache: files named by their sha256 under <folder>/sha256/ab/<hex>, and what was built of
 * them under <folder>/packed/<group>/<hex>; bounded in bytes, the longest unused first out.
 *
 * Any thread; several processes of a host may share a folder and its bound. A file appears by
 * rename, whole; a blob was verified then, and is again before the first use in another process. A
 * hold is a second link to the file under <folder>/users/, in a folder that its owner keeps locked:
 * while there is one, no process removes the file, and when the owner dies the next one clears up.
 * The bound is exceeded by what is held or on its way, at most.
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
/* Whether there is such a file now; group "": a blob. Nothing is read and no use is noted. */
bool blob_cache_has(const struct blob_cache *c, const char *group, const struct sha256 *digest);
uint64_t blob_cache_bytes(struct blob_cache *c); /* of all its processes */

/* The path of a blob, here or not. -ENAMETOOLONG. */
int blob_cache_path(const struct blob_cache *c, const struct sha256 *digest,
                    char ret[static PATH_MAX]) MUST_USE;

/* ---- packed revisions: files that the cache does not look into ---- */

#define BLOB_GROUP_MAX 40 /* bytes of a group's name: letters, digits, '.', '_' and '-' */

/* A file of `group` (format and base) made of the revision `digest`. 0: held, *ret is its path.
 * -ENOENT. Its content is as it was inserted; to check it is the caller's part. */
int blob_cache_packed_hold(struct blob_cache *c, const char *group, const struct sha256 *digest,
                           char ret[static PATH_MAX]) MUST_USE;
void blob_cache_packed_release(struct blob_cache *c, const char *group,
                               const struct sha256 *digest);
/* A new empty file to write into, on the cache's file system; goes when this process does, unless
 * it was inserted or removed. */
int blob_cache_temp(struct blob_cache *c, char ret[static PATH_MAX]) MUST_USE;
/* Moves a written temporary file in and makes it durable: then held, *ret is its path. Where one is
 * there already it is replaced; who maps the former keeps it. */
int blob_cache_packed_insert(struct blob_cache *c, const char *group, const struct sha256 *digest,
                             const char *temp, char ret[static PATH_MAX]) MUST_USE;
/* Removes one that is stale or damaged; those who hold it keep what they have. */
void blob_cache_packed_remove(struct blob_cache *c, const char *group, const struct sha256 *digest);

/* ---- writing blobs ---- */

struct blob_writer;

int blob_writer_new(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                    uint64_t bytes) MUST_USE;
/*
 * The same for a download: what an earlier one left is gone on with (its bytes are hashed anew),
 * and what this one leaves stays for the next. -EBUSY: somebody on this host is at it.
 */
int blob_writer_resume(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                       uint64_t bytes) MUST_USE;
uint64_t blob_writer_at(const struct blob_writer *w);    /* bytes written so far */
int blob_writer_restart(struct blob_writer *w) MUST_USE; /* from byte 0 */
/* -EBADMSG: more than was promised. */
int blob_writer_add(struct blob_writer *w, struct str part) MUST_USE;
/* 0: in the cache and held. -EBADMSG: size or digest are not those promised, nothing is kept. */
int blob_writer_end(struct blob_writer *w) MUST_USE;
struct blob_writer *blob_writer_free(struct blob_writer *w); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct blob_writer *, blob_writer_free);

/* ---- staging ---- */

/* A new folder under the cache's, for links to held blobs; removed with its content by the caller.
 */
int blob_cache_stage(struct blob_cache *c, char ret[static PATH_MAX]) MUST_USE;
/* Gives a held blob a second name in a staged folder. */
int blob_cache_link(struct blob_cache *c, const struct sha256 *digest, const char *folder,
                    const char *name) MUST_USE;

/* ---- looking through ---- */

/* Called for each file; true: remove it, unless somebody holds it. `group` is "" for a blob.
 * used_s: Unix time of its last use. */
typedef bool (*blob_cache_visit)(void *ctx, const char *group, const struct sha256 *digest,
                                 uint64_t bytes, uint64_t used_s);
struct blob_cache_swept {
    uint64_t files, bytes, kept_in_use; /* removed, and spared because they are held */
};
int blob_cache_sweep(struct blob_cache *c, blob_cache_visit visit, void *ctx,
                     struct blob_cache_swept *ret) MUST_USE;
