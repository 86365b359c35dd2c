/*
 * A blob store: where files are kept by their sha256, for every gateway.
 *
 * Internal to adapters/. Any thread; calls may block, within the time limits of the configuration.
 * What a store says is bounded and checked; the content is checked by its reader, against the
 * digest. Names for people hold no credentials.
 *
 * Failures that may pass are upstream_error, timeout and overloaded (with retry_after_s where the
 * store gave one); any other does not go away by itself.
 */
#pragma once

#include "adapters/adapters.h"

struct blob_store;

struct blob_stat {
    uint64_t bytes;
    uint64_t modified_s; /* Unix time of its last put; 0: not known */
};

#define BLOB_ETAG_MAX 128

struct blob_get {
    struct sha256 digest;
    uint64_t bytes; /* of the whole blob, as it was promised */
    bool at_most;   /* its size is not known: up to `bytes` */
    uint64_t from;  /* the first byte wanted */
    /* Takes the next bytes in order, never more than are missing. May sleep; negative errno ends
     * the call with it. */
    int (*add)(void *ctx, struct str part);
    bool (*stopped)(void *ctx); /* asked at least once a second; may be NULL */
    void *ctx;
    char etag[BLOB_ETAG_MAX]; /* of the version that was begun with; "" at first, kept by the
                                 caller from call to call */
};

struct blob_listed {
    struct sha256 digest;
    struct blob_stat stat;
};
enum { BLOB_PAGE = 1000, BLOB_CURSOR_MAX = 2048 };
struct blob_page {
    char cursor[BLOB_CURSOR_MAX]; /* "" at first; of the store */
    bool last;                    /* no page follows */
    size_t n;
    struct blob_listed items[BLOB_PAGE];
};

struct blob_store_ops {
    /* -ENOENT: not there. */
    int (*stat)(struct blob_store *s, const struct sha256 *digest, struct blob_stat *ret,
                struct fail *reterr);
    /* 0: all of it was handed over. -ENOENT: not there. -ESTALE: it is another version than that
     * of the etag. -EBADMSG: its size is not the promised one. */
    int (*get)(struct blob_store *s, struct blob_get *g, struct fail *reterr);
    /* Stores the `bytes` of the file, which are read from its start: visible whole, or not at all.
     * One that is there is made anew. FAILED: conflict when the content is not that of the digest.
     * NULL: read only. */
    int (*put)(struct blob_store *s, const struct sha256 *digest, int fd, uint64_t bytes,
               struct fail *reterr);
    /* 0 also when it was not there. NULL: read only. */
    int (*remove)(struct blob_store *s, const struct sha256 *digest, struct fail *reterr);
    /* The next page; may be empty. NULL: the store cannot list. */
    int (*list)(struct blob_store *s, struct blob_page *page, struct fail *reterr);
    struct blob_store *(*free)(struct blob_store *s);
};

#define BLOB_NAME_MAX 200
struct blob_store { /* the first member of each kind */
    const struct blob_store_ops *ops;
    char name[BLOB_NAME_MAX]; /* for people */
    uint64_t max_bytes;       /* of a blob; 0: as large as one may be */
};

struct blob_store *blob_store_free(struct blob_store *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct blob_store *, blob_store_free);

/*
 * Opens the store of a URL: file:///folder, http(s)://host/path, s3://bucket/prefix or
 * oci://registry/repository. Nothing is connected to yet. FAILED: invalid_request, with what is
 * wrong with the URL.
 */
int blob_store_open(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr) MUST_USE;

/* The kinds, by blob_store_open. */
int blob_store_file(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr) MUST_USE;
int blob_store_http(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr) MUST_USE;
int blob_store_s3(struct blob_store **ret, struct str url, const struct config_blobs *c,
                  struct fail *reterr) MUST_USE;
int blob_store_oci(struct blob_store **ret, struct str url, const struct config_blobs *c,
                   struct fail *reterr) MUST_USE;

/* The file has the promised size and content; `fd` is read from its start. FAILED: conflict. */
int blob_source_check(int fd, const struct sha256 *digest, uint64_t bytes,
                      struct fail *reterr) MUST_USE;

/* "sha256/ab/<hex>": where file, http and s3 keep a blob, so that one can serve what another
 * wrote. */
#define BLOB_KEY_MAX (10 + SHA256_HEX + 1)
void blob_store_key(char ret[static BLOB_KEY_MAX], const struct sha256 *digest);
