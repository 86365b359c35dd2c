/*
 * The packed tier: revisions in the engine's own form, one file each on local disk, mapped at use.
 *
 * A file belongs to a revision and to the base it was packed for (base_id is its group in the blob
 * cache). It is held while it is mapped, so that the cache does not remove it. Loader threads only:
 * every call may do I/O.
 */
#pragma once

#include "adapters/residency.h"

struct packed;

struct packed_file { /* held while path is set, or after packed_map */
    char group[BLOB_GROUP_MAX + 1];
    char *path; /* owned; until it is mapped */
    bool held;
};

/* *ret is NULL when the loader does not pack or the stager keeps no cache. */
int packed_new(struct packed **ret, const struct adapter_loader *loader,
               const struct stager *stager) MUST_USE;
struct packed *packed_free(struct packed *p); /* NULL is fine; returns NULL */

/* The group of the revision's packed file; false: the loader does not pack for its base. */
bool packed_group(const struct adapter_loader *loader, const struct adapter_revision *rev,
                  char ret[static BLOB_GROUP_MAX + 1]);

/* 0: it is here and held. -ENOENT: it is not. -ENOTSUP: it cannot be kept here. */
int packed_find(struct packed *p, const struct adapter_revision *rev,
                struct packed_file *ret) MUST_USE;
/* Packs the files in `folder` and keeps the result; 0: held. FAILED: what the loader says of the
 * files. Negative errno: it cannot be kept. */
int packed_make(struct packed *p, const struct adapter_revision *rev, const char *folder,
                struct packed_file *ret, struct fail *reterr) MUST_USE;
/* Maps a held one, which stays held. -ESTALE: it was of another layout and is removed. */
int packed_map(struct packed *p, const struct adapter_revision *rev, struct packed_file *file,
               void **ret, size_t *ret_bytes, struct fail *reterr) MUST_USE;
void packed_release(struct packed *p, const struct adapter_revision *rev,
                    struct packed_file *file); /* after its unload; not held is fine */
