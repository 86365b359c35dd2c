/*
 * One HTTP call of a blob store, by libcurl.
 *
 * Internal to adapters/blobs/. Any thread; a call blocks, within the limits of the configuration:
 * to connect, without progress, in all. What the answer says is bounded. Handles are kept, so that
 * connections are used again.
 */
#pragma once

#include "adapters/blobs/blob_store.h"

struct http_client;

int http_client_new(struct http_client **ret, const struct config_blobs *c) MUST_USE;
struct http_client *http_client_free(struct http_client *h); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct http_client *, http_client_free);

enum { HTTP_HEADERS = 8, HTTP_TEXT = 2048 };

struct http_call {
    /* What to do; all borrowed. */
    const char *method; /* GET, HEAD, PUT, POST, DELETE */
    const char *url;
    const char *headers[HTTP_HEADERS]; /* "name: value" */
    size_t n_headers;
    const char *sigv4;  /* "aws:amz:REGION:s3"; NULL: none */
    const char *login;  /* "user:password", also the keys of sigv4; NULL: none */
    unsigned redirects; /* followed at most */
    int body_fd;        /* of PUT and POST: read from its start */
    uint64_t body_bytes;
    /* Told when the head of a 2xx answer is there, before its body: may refuse it. */
    int (*begin)(void *ctx, struct http_call *c);
    /* The body of a 2xx answer; NULL: thrown away. Negative errno ends the call with it. */
    int (*add)(void *ctx, struct str part);
    bool (*stopped)(void *ctx); /* may be NULL */
    void *ctx;

    /* What was answered. */
    long status;
    bool has_length, has_range;
    uint64_t length;                  /* of the body */
    uint64_t range_from, range_total; /* of 206; total 0: not said */
    uint64_t modified_s;              /* 0: not said */
    unsigned retry_after_s;
    char etag[BLOB_ETAG_MAX];  /* with its quotes; "" for none, and for one too long */
    char location[HTTP_TEXT];  /* "" for none */
    char challenge[HTTP_TEXT]; /* WWW-Authenticate: Bearer …; "" for none */
    char text[4096];           /* the body of any other answer: its beginning, a C string */
    size_t n_text;
};

/* 0: answered, c->status says how. FAILED: timeout or upstream_error, naming `who`. Negative errno:
 * that of begin or add; -ECANCELED: stopped. */
int http_do(struct http_client *h, struct http_call *c, const char *who,
            struct fail *reterr) MUST_USE;

/* What an answer that is no success means: -ENOENT for 404 and 410, else FAILED. */
int http_failure(const struct http_call *c, const char *who, const char *doing,
                 struct fail *reterr) MUST_USE;

/* GETs a blob by the call, whose url, headers and login are set. Results as blob_store_ops.get. */
int http_get_blob(struct http_client *h, struct http_call *c, struct blob_get *g, const char *who,
                  struct fail *reterr) MUST_USE;
/* HEADs it. Results as blob_store_ops.stat. */
int http_stat_blob(struct http_client *h, struct http_call *c, struct blob_stat *ret,
                   const char *who, struct fail *reterr) MUST_USE;

/*
 * Takes a URL apart: *ret is it without credentials, query and fragment, and without a slash at the
 * end; `login` gets "user:password" or "". FAILED: invalid_request.
 */
int http_base_url(struct str url, char ret[static HTTP_TEXT], char login[static HTTP_TEXT],
                  struct fail *reterr) MUST_USE;

/* The bearer token of the configuration as a header, or "". FAILED: the variable is not set. */
int blob_store_token(const struct config_blobs *c, char ret[static HTTP_TEXT],
                     struct fail *reterr) MUST_USE;
