/*
 * Kept: texts that clients ask for again by their id (responses, conversations), for a time.
 *
 * In this process, within a bound, the longest unused given up first; or in the catalog's Redis, so
 * that every gateway of a fleet has them. What Redis does not take is held here, within the same
 * bound, and brought there later. Any thread, but where kept_blocks, no http or engine thread.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "config/config.h"

struct kept;

int kept_new(struct kept **ret, const struct config *c, struct fail *reterr) MUST_USE;
struct kept *kept_free(struct kept *k); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct kept *, kept_free);
bool kept_blocks(const struct kept *k); /* a call may wait for Redis */

/* Appends it to `ret`. -ENOENT: there is none (any more). FAILED: Redis does not answer. */
int kept_get(struct kept *k, const char *key, struct buf *ret, struct fail *reterr) MUST_USE;
/* 0 also where it is only held here until Redis is back. -EMSGSIZE: longer than all that may be
 * held; -ENOMEM. */
int kept_put(struct kept *k, const char *key, struct str value) MUST_USE;
/* The same without waiting for Redis, which gets it soon. Any thread. */
int kept_put_later(struct kept *k, const char *key, struct str value) MUST_USE;
/* Puts it behind what is there; several gateways may do so at once. */
int kept_append(struct kept *k, const char *key, struct str text) MUST_USE;
int kept_remove(struct kept *k, const char *key, struct fail *reterr); /* -ENOENT */

/* Tells whichever process works on what will be kept under the key to stop. */
int kept_stop(struct kept *k, const char *key) MUST_USE;
bool kept_is_stopped(struct kept *k, const char *key); /* it was told so; told once */

size_t kept_bytes(struct kept *k); /* held in this process */
