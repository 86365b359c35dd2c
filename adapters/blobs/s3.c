/*
 * A bucket of Amazon S3 or of a service that speaks its protocol: s3://bucket/prefix, objects
 * PREFIX/sha256/ab/<hex>.
 *
 * Requests are signed by libcurl with AWS Signature Version 4 (docs: "Authenticating Requests (AWS
 * Signature Version 4)" of the S3 API reference). It signs the query and the path as they are
 * given, so both are given in canonical form: sorted, everything but letters, digits, "-._~" (and
 * "/" in paths) as %XX. The hash of the body, which S3 wants in x-amz-content-sha256, is the blob's
 * own digest.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/blobs/http_call.h"
#include "adapters/blobs/s3_list.h"
#include "base/file.h"
#include "config/aws_profile.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MAX_PUT (5 * GIB) /* of one request, by the API */
#define MAX_CREDENTIALS (64 * KIB)
#define KEY_MAX 512    /* of a key id and of a secret */
#define TOKEN_MAX 4096 /* of a session token */

struct s3_store {
    struct blob_store store; /* first */
    struct http_client *client;
    char base[HTTP_TEXT];   /* URL of the bucket */
    char prefix[HTTP_TEXT]; /* of keys, canonical: "" or "a/b/" */
    char sigv4[128];
    struct aws_place place; /* of keys */
};

struct s3_login {
    char keys[2 * KEY_MAX + 2]; /* "id:secret" */
    char token[TOKEN_MAX + 32]; /* a header; "": none */
};

static struct s3_store *of(struct blob_store *s)
{
    return (struct s3_store *)(void *)s;
}

/* ---- credentials ---- */

static int set_login(struct s3_login *l, struct aws_keys k, struct fail *reterr)
{
    if (k.id.n == 0 || k.secret.n == 0 || k.id.n > KEY_MAX || k.secret.n > KEY_MAX ||
        k.token.n > TOKEN_MAX)
        return fail_set(reterr, FAIL_permission_denied,
                        "there are no credentials for s3: set AWS_ACCESS_KEY_ID and "
                        "AWS_SECRET_ACCESS_KEY, or adapters.blobs.s3.credentials");
    (void)snprintf(l->keys, sizeof(l->keys), "%.*s:%.*s", STR_ARG(k.id), STR_ARG(k.secret));
    l->token[0] = '\0';
    if (k.token.n)
        (void)snprintf(l->token, sizeof(l->token), "x-amz-security-token: %.*s", STR_ARG(k.token));
    return 0;
}

/* Read at each call: whoever rotates them replaces the file. */
static int get_login(const struct s3_store *s, struct s3_login *l, struct fail *reterr)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    if (!s->place.file[0])
        return set_login(l, aws_keys_of_environment(), reterr);
    int r = file_read(&text, &n, s->place.file, MAX_CREDENTIALS);
    if (r < 0)
        return fail_set(reterr, FAIL_permission_denied, "the credentials for s3 in %.150s: %s",
                        s->place.file, strerror(-r));
    return set_login(l, aws_keys_of_profile((struct str){ text, n }, s->place.profile), reterr);
}

/* ---- requests ---- */

struct request { /* and what it borrows */
    struct http_call call;
    struct s3_login login;
    char url[2 * HTTP_TEXT + BLOB_CURSOR_MAX];
    char hash[32 + SHA256_HEX];
};

static int prepare(struct s3_store *s, struct request *q, const char *hash, struct fail *reterr)
{
    int r = get_login(s, &q->login, reterr);
    if (r != 0)
        return r;
    (void)snprintf(q->hash, sizeof(q->hash), "x-amz-content-sha256: %s", hash);
    q->call = (struct http_call){
        .url = q->url, .login = q->login.keys, .sigv4 = s->sigv4, .headers = { q->hash }
    };
    q->call.n_headers = 1;
    if (q->login.token[0])
        q->call.headers[q->call.n_headers++] = q->login.token;
    return 0;
}

/* A request about one object; NULL and *ret_r: why not. */
static struct request *about(struct s3_store *s, const struct sha256 *digest, const char *hash,
                             int *ret_r, struct fail *reterr)
{
    char key[BLOB_KEY_MAX];
    CLEANUP(own_free) struct request *q = calloc(1, sizeof(*q));
    if (!q) {
        *ret_r = -ENOMEM;
        return NULL;
    }
    blob_store_key(key, digest);
    int n = snprintf(q->url, sizeof(q->url), "%s/%s%s", s->base, s->prefix, key);
    *ret_r = n >= (int)sizeof(q->url) ? -ENAMETOOLONG : prepare(s, q, hash, reterr);
    return *ret_r == 0 ? TAKE(q) : NULL;
}

static int s3_stat(struct blob_store *store, const struct sha256 *digest, struct blob_stat *ret,
                   struct fail *reterr)
{
    int r;
    CLEANUP(own_free) struct request *q = about(of(store), digest, EMPTY_SHA256, &r, reterr);
    return q ? http_stat_blob(of(store)->client, &q->call, ret, store->name, reterr) : r;
}

static int s3_get(struct blob_store *store, struct blob_get *g, struct fail *reterr)
{
    int r;
    CLEANUP(own_free) struct request *q = about(of(store), &g->digest, EMPTY_SHA256, &r, reterr);
    return q ? http_get_blob(of(store)->client, &q->call, g, store->name, reterr) : r;
}

static int s3_put(struct blob_store *store, const struct sha256 *digest, int fd, uint64_t bytes,
                  struct fail *reterr)
{
    char hex[SHA256_HEX + 1];
    int r = blob_source_check(fd, digest, bytes, reterr);
    if (r != 0)
        return r;
    sha256_hex(hex, digest);
    CLEANUP(own_free) struct request *q = about(of(store), digest, hex, &r, reterr);
    if (!q)
        return r;
    q->call.method = "PUT";
    q->call.body_fd = fd;
    q->call.body_bytes = bytes;
    if ((r = http_do(of(store)->client, &q->call, store->name, reterr)) != 0)
        return r;
    if (q->call.status == 200)
        return 0;
    r = http_failure(&q->call, store->name, "writing to", reterr);
    return r == -ENOENT ? fail_set(reterr, FAIL_permission_denied, "%s: there is no such bucket",
                                   store->name)
                        : r;
}

static int s3_remove(struct blob_store *store, const struct sha256 *digest, struct fail *reterr)
{
    int r;
    CLEANUP(own_free) struct request *q = about(of(store), digest, EMPTY_SHA256, &r, reterr);
    if (!q)
        return r;
    q->call.method = "DELETE";
    if ((r = http_do(of(store)->client, &q->call, store->name, reterr)) != 0)
        return r;
    if (q->call.status / 100 == 2)
        return 0;
    r = http_failure(&q->call, store->name, "removing from", reterr);
    return r == -ENOENT ? 0 : r;
}

/* ---- listing (ListObjectsV2) ---- */

static void add_encoded(char *to, size_t room, struct str text, const char *also)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    size_t n = strlen(to);
    for (size_t i = 0; i < text.n && n + 4 < room; i++) {
        char c = text.p[i];
        if (c && (strchr(safe, c) || strchr(also, c)))
            to[n++] = c;
        else
            n += (size_t)snprintf(to + n, room - n, "%%%02X", (unsigned char)c);
    }
    to[n] = '\0';
}

static int list_url(const struct s3_store *s, const char *cursor, char *url, size_t room)
{
    int n = snprintf(url, room, "%s/?", s->base);
    if (cursor[0]) {
        (void)snprintf(url + n, room - (size_t)n, "continuation-token=");
        add_encoded(url, room, str_of(cursor), "");
        (void)strncat(url, "&", room - strlen(url) - 1);
    }
    n = (int)strlen(url);
    int m = snprintf(url + n, room - (size_t)n, "list-type=2&max-keys=%d&prefix=", BLOB_PAGE);
    if (m < 0 || (size_t)m >= room - (size_t)n)
        return -ENAMETOOLONG;
    /* The prefix is canonical as part of a path; in a query "/" is encoded too. */
    for (const char *p = s->prefix; *p; p++)
        (void)strncat(url, *p == '/' ? "%2F" : (char[]){ *p, '\0' }, room - strlen(url) - 1);
    add_encoded(url, room, STR("sha256/"), "");
    return strlen(url) + 4 < room ? 0 : -ENAMETOOLONG;
}

static int s3_list(struct blob_store *store, struct blob_page *page, struct fail *reterr)
{
    struct s3_store *s = of(store);
    CLEANUP(own_free) struct request *q = calloc(1, sizeof(*q));
    CLEANUP(s3_listing_freep) struct s3_listing *l = NULL;
    int r = q ? s3_listing_new(&l) : -ENOMEM;
    if (r == 0)
        r = list_url(s, page->cursor, q->url, sizeof(q->url));
    if (r == 0)
        r = prepare(s, q, EMPTY_SHA256, reterr);
    if (r != 0)
        return r;
    q->call.method = "GET";
    q->call.add = s3_listing_add;
    q->call.ctx = l;
    r = http_do(s->client, &q->call, store->name, reterr);
    if (r == 0 && q->call.status != 200) {
        r = http_failure(&q->call, store->name, "listing", reterr);
        return r == -ENOENT ? fail_set(reterr, FAIL_permission_denied,
                                       "%s: there is no such bucket", store->name)
                            : r;
    }
    if (r == 0)
        r = s3_listing_end(l, page);
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_upstream_error, "%s: the listing is no ListBucketResult",
                        store->name);
    return r;
}

/* ---- life ---- */

static struct blob_store *s3_free(struct blob_store *store)
{
    (void)http_client_free(of(store)->client);
    free(of(store));
    return NULL;
}

static const struct blob_store_ops s3_ops = {
    .stat = s3_stat,
    .get = s3_get,
    .put = s3_put,
    .remove = s3_remove,
    .list = s3_list,
    .free = s3_free,
};

/* The configuration's word, or the environment's. */
static struct str choose(struct str configured, const char *const *names, size_t n)
{
    for (size_t i = 0; configured.n == 0 && i < n; i++)
        configured = str_of(getenv(names[i]));
    return configured;
}
#define CHOOSE(configured, ...)                                                                    \
    choose(configured, (const char *const[]){ __VA_ARGS__ },                                       \
           sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* A host that is an address, or that has no certificate for names below it. */
static bool needs_path_style(struct str host, struct str bucket)
{
    bool digits = true;
    for (size_t i = 0; i < host.n; i++)
        digits &= strchr("0123456789.:[]", host.p[i]) != NULL;
    return digits || str_starts(host, STR("localhost")) || str_find(bucket, STR(".")) >= 0;
}

static int make_base(struct s3_store *s, const struct config_blobs *c, struct str region,
                     struct str bucket, struct fail *reterr)
{
    char endpoint[HTTP_TEXT], login[HTTP_TEXT], amazon[256];
    struct str url = CHOOSE(c->s3_endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    if (url.n == 0) {
        (void)snprintf(amazon, sizeof(amazon), "https://s3.%.*s.amazonaws.com", STR_ARG(region));
        url = str_of(amazon);
    }
    int r = http_base_url(url, endpoint, login, reterr);
    if (r != 0)
        return r;
    char *host = strstr(endpoint, "://") + 3;
    bool path_style = c->s3_path_style || needs_path_style(str_of(host), bucket);
    int n = path_style ? snprintf(s->base, sizeof(s->base), "%s/%.*s", endpoint, STR_ARG(bucket))
                       : snprintf(s->base, sizeof(s->base), "%.*s%.*s.%s", (int)(host - endpoint),
                                  endpoint, STR_ARG(bucket), host);
    return n >= HTTP_TEXT ? -ENAMETOOLONG : 0;
}

static bool bucket_ok(struct str b)
{
    for (size_t i = 0; i < b.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", b.p[i]))
            return false;
    return b.n >= 3 && b.n <= 63;
}

static int configure(struct s3_store *s, struct str url, const struct config_blobs *c,
                     struct fail *reterr)
{
    struct str path = str_sub(url, sizeof("s3://") - 1), bucket = path, prefix = STR("");
    struct str region = CHOOSE(c->s3_region, "AWS_REGION", "AWS_DEFAULT_REGION");
    if (region.n == 0)
        region = STR("us-east-1");
    (void)str_cut(path, '/', &bucket, &prefix);
    if (!str_starts(url, STR("s3://")) || !bucket_ok(bucket) || prefix.n > 500 || region.n > 64)
        return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                          "adapters.blobs.store: '%.*s' is no s3://bucket/prefix",
                          STR_ARG(str_head(url, 100)));
    while (prefix.n && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    add_encoded(s->prefix, sizeof(s->prefix), prefix, "/");
    if (prefix.n)
        add_encoded(s->prefix, sizeof(s->prefix), STR("/"), "/");
    (void)snprintf(s->sigv4, sizeof(s->sigv4), "aws:amz:%.*s:s3", STR_ARG(region));
    (void)snprintf(s->store.name, sizeof(s->store.name), "s3://%.*s/%.*s", STR_ARG(bucket),
                   STR_ARG(str_head(prefix, 100)));
    aws_place_choose(&s->place, c->s3_credentials, c->s3_profile);
    return make_base(s, c, region, bucket, reterr);
}

int blob_store_s3(struct blob_store **ret, struct str url, const struct config_blobs *c,
                  struct fail *reterr)
{
    CLEANUP(blob_store_freep) struct blob_store *store = NULL;
    struct s3_store *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    store = &s->store;
    store->ops = &s3_ops;
    store->max_bytes = MAX_PUT;
    int r = configure(s, url, c, reterr);
    if (r == 0)
        r = http_client_new(&s->client, c);
    if (r == 0)
        *ret = TAKE(store);
    return r;
}
