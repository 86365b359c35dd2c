/*
 * SHA-256 (FIPS 180-4) by OpenSSL: names of blobs and revisions, keys of caches.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX 64

struct sha256 {
    uint8_t b[SHA256_BYTES];
};

struct sha256_stream; /* incremental */

int sha256_new(struct sha256_stream **ret) MUST_USE;
struct sha256_stream *sha256_free(struct sha256_stream *s);
DEFINE_CLEANUP(struct sha256_stream *, sha256_free);
void sha256_add(struct sha256_stream *s, const void *p, size_t n);
struct sha256 sha256_end(struct sha256_stream *s); /* the stream starts anew */

struct sha256 sha256_of(struct str s);
int sha256_file(struct sha256 *ret, const char *path) MUST_USE; /* negative errno */

void sha256_hex(char ret[static SHA256_HEX + 1], const struct sha256 *d);
int sha256_parse(struct sha256 *ret, struct str hex) MUST_USE; /* 64 digits, else -EINVAL */
bool sha256_eq(const struct sha256 *a, const struct sha256 *b);
