/*
 * Work on the files behind a catalog, for the command line: pulling, checking and collecting
 * garbage.
 *
 * Internal to adapters/; on a thread that may block. See adapters.h for what each promises. `b` has
 * no stores when the files are in the catalog's own folder.
 */
#pragma once

#include "adapters/catalog.h"

int upkeep_pull(struct catalog *c, struct blobs *b, const struct adapter_pull *pull,
                const struct adapter_revision *rev, struct fail *reterr) MUST_USE;
int upkeep_gc(struct catalog *c, struct blobs *b, const struct adapter_gc *gc,
              struct adapter_gc_report *ret, struct fail *reterr) MUST_USE;
int upkeep_verify(struct catalog *c, struct blobs *b, const struct adapter_verify *verify,
                  struct adapter_verify_report *ret, struct fail *reterr) MUST_USE;

/* Calls `visit` for every revision of one adapter, or of all when `adapter` is empty, as the
 * catalog knows them now. A visit that is not 0 ends it and is returned. */
typedef int (*revision_fn)(void *ctx, const struct adapter_revision *r, struct fail *reterr);
int upkeep_each_revision(struct catalog *c, struct str base, struct str adapter, revision_fn visit,
                         void *ctx, struct fail *reterr) MUST_USE;

/* A set of digests. */
struct digest_set {
    struct sha256 *slots; /* owned; the digest of zeros marks an empty one */
    size_t n, cap;
};
int digest_set_add(struct digest_set *s, const struct sha256 *d) MUST_USE; /* 1: new, 0: known */
bool digest_set_has(const struct digest_set *s, const struct sha256 *d);
void digest_set_done(struct digest_set *s); /* usable with CLEANUP */
