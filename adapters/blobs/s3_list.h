/*
 * The answer of S3's ListObjectsV2, read as it arrives.
 *
 * Internal to adapters/blobs/. One caller at a time. The answer is bounded: what does not fit a
 * page is refused.
 */
#pragma once

#include "adapters/blobs/blob_store.h"

struct s3_listing;

int s3_listing_new(struct s3_listing **ret) MUST_USE;
struct s3_listing *s3_listing_free(struct s3_listing *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct s3_listing *, s3_listing_free);

/* The next part of the text; `ctx` is the listing. -EBADMSG: it is not such an answer. */
int s3_listing_add(void *ctx, struct str part) MUST_USE;
/* Fills the page with the blobs among the objects; other objects are left out. -EBADMSG. */
int s3_listing_end(struct s3_listing *l, struct blob_page *ret) MUST_USE;
