/*
 * The files of revisions: into the stores when one is published, and from them into the blob cache
 * when one is needed.
 *
 * Internal to adapters/; any thread; calls may block. A revision's manifest is a blob too, named by
 * the revision's digest. Everything that was fetched has the digest and size that were promised
 * before anybody sees it. A download that broke off is gone on with, also by another process and
 * after a restart; downloads of one blob are shared by all processes that share the cache.
 */
#pragma once

#include "adapters/blob_cache.h"
#include "adapters/blobs/blob_store.h"
#include "adapters/residency.h"
#include "adapters/revision.h"

struct blobs;

/* How a caller bounds, watches and ends what is read; each function may be NULL. */
struct blobs_pace {
    /* Before so many bytes go on: may sleep until their turn. Negative errno ends the call. */
    int (*take)(void *ctx, size_t bytes);
    bool (*stopped)(void *ctx);                  /* asked at least once a second */
    void (*progress)(void *ctx, uint64_t bytes); /* so many more were read from a store */
    void *ctx;
};

/*
 * Opens the stores of the configuration; the cache is opened at its first use. `own` (moved, also
 * on failure; may be NULL) is the store that "redis" names, and the one where none is configured.
 */
int blobs_open(struct blobs **ret, const struct config_adapters *c, struct blob_store *own,
               struct fail *reterr) MUST_USE;
struct blobs *blobs_free(struct blobs *b); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct blobs *, blobs_free);

/* For all that is staged from now on; called before the first stage. */
void blobs_set_pace(struct blobs *b, const struct blobs_pace *pace);
int blobs_cache(struct blobs *b, struct blob_cache **ret, struct fail *reterr) MUST_USE;

/* Stores the files, and then the manifest; what is stored already is left alone. */
int blobs_store_revision(struct blobs *b, const struct revision_source *s, const struct manifest *m,
                         struct fail *reterr) MUST_USE;

/* Reads a revision's manifest, from the cache or a store. *ret_from: where it was. FAILED:
 * unprocessable_adapter when it is in none; the store's failure. */
int blobs_read_manifest(struct blobs *b, const struct sha256 *revision,
                        const struct blobs_pace *pace, struct manifest *ret,
                        enum residency *ret_from, struct fail *reterr) MUST_USE;
/* Brings the manifest and the files into the cache; the files are held. */
int blobs_fetch_revision(struct blobs *b, const struct sha256 *revision,
                         const struct blobs_pace *pace, struct manifest *ret,
                         enum residency *ret_from, struct fail *reterr) MUST_USE;
void blobs_release_revision(struct blobs *b, const struct manifest *m);

/* A folder with the files of a revision by their names; for catalog_ops.stage. */
int blobs_stage(struct blobs *b, const struct adapter_revision *r, struct stage *ret,
                struct fail *reterr) MUST_USE;
void blobs_unstage(struct blobs *b, struct stage *s);

/* The stores, for looking through them. */
size_t blobs_n_stores(const struct blobs *b);
struct blob_store *blobs_store_at(const struct blobs *b, size_t i); /* borrowed */
