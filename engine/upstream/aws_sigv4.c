#include "engine/upstream/aws_sigv4.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/limits.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
enum {
    OWN_HEADERS = 4, /* host, x-amz-content-sha256, x-amz-date, x-amz-security-token */
    DAY = 8,         /* of a date: YYYYMMDD */
    SCOPE_WORD = 64, /* bytes of a region or service */
    MAX_CANONICAL = 64 * KIB,
};

static int by_name(const void *a, const void *b)
{
    const struct chat_pair *x = a, *y = b;
    return str_cmp(x->key, y->key);
}

/* A path without ".", ".." and empty segments (RFC 3986, 5.2.4), each segment encoded. */
static void add_path(struct buf *b, struct str path)
{
    size_t root = b->n;
    struct str segment;
    bool more = true, ends_open = true;
    while (more) {
        more = str_cut(path, '/', &segment, &path);
        if (!more)
            segment = path;
        ends_open = segment.n == 0 || str_is(segment, ".") || str_is(segment, "..");
        if (str_is(segment, "..")) {
            while (b->n > root && b->p[--b->n] != '/')
                continue;
        } else if (!ends_open) {
            buf_addc(b, '/');
            buf_add_escaped(b, segment);
        }
    }
    if (ends_open)
        buf_addc(b, '/');
}

/* Blanks at both ends go, runs of them become one. */
static void add_value(struct buf *b, struct str value)
{
    bool blank = false;
    value = str_trim(value);
    for (size_t i = 0; i < value.n; i++) {
        bool here = value.p[i] == ' ' || value.p[i] == '\t';
        if (!here || !blank)
            buf_addc(b, here ? ' ' : value.p[i]);
        blank = here;
    }
}

static void add_names(struct buf *b, const struct chat_pair *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(b, ';');
        buf_add(b, headers[i].key);
    }
}

/* The canonical request → its digest in hex. 0, -ENOMEM, -EMSGSIZE. */
static int digest_request(char ret[static SHA256_HEX + 1], const struct aws_sigv4_call *c,
                          const struct chat_pair *headers, size_t n, const char *body_sha256)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_CANONICAL);
    buf_addf(&b, "%s\n", c->method);
    add_path(&b, c->path);
    buf_addc(&b, '\n');
    buf_add(&b, c->query);
    buf_addc(&b, '\n');
    for (size_t i = 0; i < n; i++) {
        buf_add(&b, headers[i].key);
        buf_addc(&b, ':');
        add_value(&b, headers[i].value);
        buf_addc(&b, '\n');
    }
    buf_addc(&b, '\n');
    add_names(&b, headers, n);
    buf_addf(&b, "\n%s", body_sha256);
    struct sha256 digest = sha256_of(buf_str(&b));
    sha256_hex(ret, &digest);
    if (b.p) /* a session token was among the headers */
        OPENSSL_cleanse(b.p, b.n);
    return buf_err(&b);
}

static int hmac(struct sha256 *ret, const void *key, size_t n, struct str text)
{
    unsigned length = 0;
    const unsigned char *p = (const unsigned char *)(text.p ? text.p : "");
    return HMAC(EVP_sha256(), key, (int)n, p, text.n, ret->b, &length) ? 0 : -ENOMEM;
}

/* The day's key for a service of a region, then the signature. */
static int sign(struct sha256 *ret, const struct aws_sigv4_call *c, struct str day,
                struct str to_sign)
{
    char first[AWS_SIGV4_KEY + sizeof("AWS4")];
    const struct str steps[] = { c->region, c->service, STR("aws4_request"), to_sign };
    (void)snprintf(first, sizeof(first), "AWS4%.*s", STR_ARG(c->secret));
    int r = hmac(ret, first, strlen(first), day);
    for (size_t i = 0; i < ARRAY_LEN(steps) && r == 0; i++) {
        struct sha256 key = *ret;
        r = hmac(ret, key.b, sizeof(key.b), steps[i]);
        OPENSSL_cleanse(&key, sizeof(key));
    }
    OPENSSL_cleanse(first, sizeof(first));
    return r;
}

static bool is_bounded(const struct aws_sigv4_call *c)
{
    return c->key_id.n && c->secret.n && c->key_id.n <= AWS_SIGV4_KEY &&
           c->secret.n <= AWS_SIGV4_KEY && c->region.n && c->region.n <= SCOPE_WORD &&
           c->service.n && c->service.n <= SCOPE_WORD && c->n_headers <= AWS_SIGV4_HEADERS;
}

/* The headers that are signed, in order; returns how many. */
static size_t choose_headers(struct chat_pair *ret, const struct aws_sigv4_call *c,
                             const struct aws_sigv4 *s)
{
    size_t n = 0;
    ret[n++] = (struct chat_pair){ STR("host"), c->host };
    ret[n++] = (struct chat_pair){ STR("x-amz-content-sha256"), str_of(s->body_sha256) };
    ret[n++] = (struct chat_pair){ STR("x-amz-date"), str_of(s->date) };
    if (c->session_token.n)
        ret[n++] = (struct chat_pair){ STR("x-amz-security-token"), c->session_token };
    for (size_t i = 0; i < c->n_headers; i++)
        ret[n++] = c->headers[i];
    qsort(ret, n, sizeof(*ret), by_name);
    return n;
}

int aws_sigv4_sign(struct aws_sigv4 *ret, const struct aws_sigv4_call *c)
{
    struct chat_pair headers[AWS_SIGV4_HEADERS + OWN_HEADERS];
    char scope[2 * SCOPE_WORD + 32], request_hex[SHA256_HEX + 1], to_sign[512];
    struct tm tm;
    time_t now = (time_t)c->now_s;
    if (!is_bounded(c) || !gmtime_r(&now, &tm))
        return -EINVAL;
    if (strftime(ret->date, sizeof(ret->date), "%Y%m%dT%H%M%SZ", &tm) == 0)
        return -EINVAL;
    struct sha256 digest = sha256_of(c->body);
    sha256_hex(ret->body_sha256, &digest);
    size_t n = choose_headers(headers, c, ret);
    int r = digest_request(request_hex, c, headers, n, ret->body_sha256);
    if (r != 0)
        return r;
    (void)snprintf(scope, sizeof(scope), "%.*s/%.*s/%.*s/aws4_request", DAY, ret->date,
                   STR_ARG(c->region), STR_ARG(c->service));
    (void)snprintf(to_sign, sizeof(to_sign), ALGORITHM "\n%s\n%s\n%s", ret->date, scope,
                   request_hex);
    struct sha256 signature;
    char hex[SHA256_HEX + 1];
    if ((r = sign(&signature, c, (struct str){ ret->date, DAY }, str_of(to_sign))) != 0)
        return r;
    sha256_hex(hex, &signature);
    CLEANUP(buf_done) struct buf out = BUF_INIT(sizeof(ret->authorization) - 1);
    buf_addf(&out, ALGORITHM " Credential=" STR_FMT "/%s, SignedHeaders=", STR_ARG(c->key_id),
             scope);
    add_names(&out, headers, n);
    buf_addf(&out, ", Signature=%s", hex);
    if ((r = buf_err(&out)) != 0)
        return r;
    memcpy(ret->authorization, out.p, out.n + 1);
    return 0;
}
