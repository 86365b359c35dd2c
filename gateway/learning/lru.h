/*
 * A bounded table that forgets what was not asked for longest.
 *
 * Keys are digests, so that nobody outside can make two of them meet. Not thread-safe.
 */
#pragma once

#include "base/own.h"
#include "base/sha256.h"

struct lru;

/* At most `max` values of `size` bytes. `done` (may be NULL) frees what a value owns. */
int lru_new(struct lru **ret, size_t max, size_t size, void (*done)(void *value)) MUST_USE;
struct lru *lru_free(struct lru *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct lru *, lru_free);

void *lru_find(struct lru *l, const struct sha256 *key); /* NULL: not there; now the latest used */
/* The same, or a new zeroed value; the longest unused one makes room. NULL: no memory. */
void *lru_make(struct lru *l, const struct sha256 *key);
void *lru_last(const struct lru *l);       /* the longest unused; NULL: it is empty */
void lru_drop(struct lru *l, void *value); /* a value in the table */
size_t lru_len(const struct lru *l);
/* From the latest used to the longest unused: the value after `value` (NULL: the first), or NULL.
 * Changes no order. */
void *lru_next(const struct lru *l, const void *value);
const struct sha256 *lru_key(const void *value); /* of a value in a table */
