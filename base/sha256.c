#define OPENSSL_SUPPRESS_DEPRECATED /* sha256_of */
#include "base/sha256.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <unistd.h>

struct sha256_stream {
    EVP_MD_CTX *ctx;
};

struct sha256_stream *sha256_free(struct sha256_stream *s)
{
    if (s)
        EVP_MD_CTX_free(s->ctx);
    free(s);
    return NULL;
}

int sha256_new(struct sha256_stream **ret)
{
    CLEANUP(sha256_freep) struct sha256_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    *ret = TAKE(s);
    return 0;
}

void sha256_add(struct sha256_stream *s, const void *p, size_t n)
{
    int ok = EVP_DigestUpdate(s->ctx, p, n);
    assert(ok == 1);
    (void)ok;
}

struct sha256 sha256_end(struct sha256_stream *s)
{
    struct sha256 d;
    int ok = EVP_DigestFinal_ex(s->ctx, d.b, NULL) == 1 &&
             EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) == 1;
    assert(ok);
    (void)ok;
    return d;
}

struct sha256 sha256_of(struct str s)
{
    struct sha256 d;
    SHA256_CTX ctx; /* the old interface: it needs no memory, so that this cannot fail */
    int ok = SHA256_Init(&ctx) == 1 && SHA256_Update(&ctx, s.p ? s.p : "", s.n) == 1 &&
             SHA256_Final(d.b, &ctx) == 1;
    assert(ok);
    (void)ok;
    return d;
}

int sha256_file(struct sha256 *ret, const char *path)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    int r = sha256_new(&s);
    if (r < 0)
        return r;
    static _Thread_local uint8_t block[64 * 1024];
    for (;;) {
        ssize_t n = read(fd, block, sizeof(block));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sha256_add(s, block, (size_t)n);
    }
    *ret = sha256_end(s);
    return 0;
}

void sha256_hex(char ret[static SHA256_HEX + 1], const struct sha256 *d)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret[2 * i] = digits[d->b[i] >> 4];
        ret[2 * i + 1] = digits[d->b[i] & 15];
    }
    ret[SHA256_HEX] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int sha256_parse(struct sha256 *ret, struct str hex)
{
    struct sha256 d;
    if (hex.n != SHA256_HEX)
        return -EINVAL;
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int hi = hex_digit(hex.p[2 * i]), lo = hex_digit(hex.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return -EINVAL;
        d.b[i] = (uint8_t)(hi << 4 | lo);
    }
    *ret = d;
    return 0;
}

bool sha256_eq(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->b, b->b, SHA256_BYTES) == 0;
}
