/*
 * One blob from the first store that has it whole: resumed, tried again, checked.
 *
 * Internal to adapters/; any thread; may block.
 */
#pragma once

#include "adapters/blobs/blobs.h"

/* How often something that failed was tried; begins zeroed. */
struct retry {
    unsigned tries;
};
/* The failure may pass and has not been met too often: sleeps, longer each time, or as long as the
 * failure asks for. false: give up. `pace` may be NULL. */
bool retry_again(struct retry *t, const struct fail *f, const struct blobs_pace *pace);

/* 0: in the cache and held. -ENOENT: in no store. -EBADMSG: no store has it undamaged. -ECANCELED:
 * the pace said so. FAILED: the last store's failure. Negative errno: the cache's. */
/* NOLINTNEXTLINE(readability-function-size): what, from where, to where and how */
int download(struct blob_store *const *stores, size_t n, struct blob_cache *c,
             const struct sha256 *digest, uint64_t bytes, const struct blobs_pace *pace,
             struct fail *reterr) MUST_USE;
/* The same into `ret`, for what is small and of unknown size: less than the buffer's ceiling. */
int download_small(struct blob_store *const *stores, size_t n, const struct sha256 *digest,
                   const struct blobs_pace *pace, struct buf *ret, struct fail *reterr) MUST_USE;
/* From this store only, to nowhere: 0: whole and undamaged. */
int download_check(struct blob_store *s, const struct sha256 *digest, uint64_t bytes,
                   const struct blobs_pace *pace, struct fail *reterr) MUST_USE;
