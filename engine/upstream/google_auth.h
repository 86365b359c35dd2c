/*
 * Access tokens of Google: by the key of a service account (a signed JWT, RFC 7523), by a user's
 * refresh token, or from the metadata server of the machine.
 *
 * Source: "Using OAuth 2.0 for server to server applications" and "Application default credentials"
 * of Google's documentation.
 */
#pragma once

#include "base/fail.h"
#include "engine/upstream/token.h"

/*
 * `path`: JSON of a service account or an authorised user, read at each fetch. Checked now: FAILED
 * (naming the file, and nothing of what it holds) where it cannot be read or is neither.
 */
int google_file_source(struct token_source *ret, const char *path, struct fail *reterr) MUST_USE;
/* `host`: "metadata.google.internal" or host:port. 0 or -ENOMEM. */
int google_metadata_source(struct token_source *ret, struct str host) MUST_USE;

/* The assertion for a service account, signed: header.claims.signature, appended. 0; -EINVAL: the
 * key is no RSA key in PEM; -ENOMEM. */
struct google_claims {
    struct str issuer, scope, audience, key_id; /* key_id may be empty */
    uint64_t now_s;
};
int google_jwt(struct buf *out, const struct google_claims *claims, struct str key_pem) MUST_USE;
