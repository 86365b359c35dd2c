/*
 * AWS Signature Version 4, for a call whose body is known.
 *
 * Source: "Create a signed AWS API request" of the IAM user guide. The canonical path is that of
 * the URL, encoded once more ("%3A" becomes "%253A"), as every service but S3 has it.
 */
#pragma once

#include "base/sha256.h"
#include "base/str.h"
#include "engine/chat.h"

#include <stdint.h>

enum {
    AWS_SIGV4_HEADERS = 16, /* signed ones at most, beside our own */
    AWS_SIGV4_KEY = 512,    /* bytes of a key id and of a secret, at most */
};

struct aws_sigv4_call {
    const char *method;
    struct str host;  /* as the Host header says it, with a port where it is not the usual one */
    struct str path;  /* of the URL, as it is sent; empty: "/" */
    struct str query; /* of the URL, sorted and encoded; or empty */
    const struct chat_pair *headers; /* others to be signed, names in lower case */
    size_t n_headers;
    struct str body;
    struct str region, service;
    struct str key_id, secret, session_token; /* the token may be empty */
    uint64_t now_s;                           /* Unix time */
};

/* What the call must carry. */
struct aws_sigv4 {
    char date[17];                    /* x-amz-date */
    char body_sha256[SHA256_HEX + 1]; /* x-amz-content-sha256 */
    char authorization[2048];         /* authorization */
};

/* 0; -EINVAL: no keys, a key, region or service beyond bounds, more headers than are signed;
 * -ENOMEM. Nothing of the secret is left in memory of ours. */
int aws_sigv4_sign(struct aws_sigv4 *ret, const struct aws_sigv4_call *call) MUST_USE;
