/* What holds of every blob store, tried on one. */
#pragma once

#include "adapters/blobs/blob_store.h"
#include "tests/support/test.h"

int file_with(const char *p, size_t n); /* in memory; closed by the caller */

struct reading {
    char *to;
    size_t n, max;
};
int read_part(void *ctx, struct str part); /* for blob_get.add; ctx is a struct reading */

/* Its bytes from `from` are those of `want`. */
void assert_content(struct blob_store *s, const struct sha256 *d, const char *want, size_t n,
                    size_t from);
/* Puts, looks at, reads, lists and removes blobs, one of `big` bytes; the store is empty before. */
void try_store(struct blob_store *s, size_t big);
