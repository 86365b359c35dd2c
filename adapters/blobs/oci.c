/*
 * A repository of an OCI registry (OCI Distribution Specification 1.1): oci://registry/repository,
 * or oci+http:// for one without TLS. A blob is a blob there, under the same digest.
 *
 * Registries collect what no manifest names, so each blob that is pushed gets one, with the tag
 * "blob-<hex>". They cannot be listed by blob: nothing is removed from here.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adapters/blobs/http_call.h"
#include "base/thread.h"

#define MAX_REDIRECTS 5
#define URL_ROOM ((size_t)2 * HTTP_TEXT)
#define MAX_TOKEN (32 * KIB)
#define MAX_ANSWER (64 * KIB) /* of who gives tokens */
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define BLOB_TYPE "application/octet-stream"
#define EMPTY_CONFIG "{}" /* the specification's own empty descriptor */

struct oci_store {
    struct blob_store store; /* first */
    struct http_client *client;
    char base[HTTP_TEXT];  /* https://registry/v2/repository */
    char login[HTTP_TEXT]; /* "user:password", or "" */
    pthread_mutex_t lock;  /* of the header */
    char *header;          /* owned: "Authorization: Bearer …", or NULL */
};

static struct oci_store *of(struct blob_store *s)
{
    return (struct oci_store *)(void *)s;
}

/* ---- tokens (Docker Registry v2 authentication, which the specification leans on) ---- */

/* The value of key="value" in a challenge. */
static struct str parameter(const char *challenge, const char *key)
{
    char wanted[32];
    struct str value, rest;
    (void)snprintf(wanted, sizeof(wanted), "%s=\"", key);
    const char *at = strstr(challenge, wanted);
    if (!at || !str_cut(str_of(at + strlen(wanted)), '"', &value, &rest))
        return STR("");
    return value;
}

static void add_query(struct buf *url, const char *key, struct str value)
{
    buf_addf(url, "%s%s=", memchr(url->p, '?', url->n) ? "&" : "?", key);
    buf_add_escaped(url, value);
}

static int add_answer(void *ctx, struct str part)
{
    buf_add(ctx, part);
    return buf_err(ctx) == -EMSGSIZE ? -EBADMSG : buf_err(ctx);
}

static int keep_token(struct oci_store *s, struct str answer, struct fail *reterr)
{
    json_t *doc = json_loadb(answer.p ? answer.p : "", answer.n, JSON_REJECT_DUPLICATES, NULL);
    const char *token = json_string_value(json_object_get(doc, "token"));
    char *header = NULL;
    int r = 0;
    if (!token)
        token = json_string_value(json_object_get(doc, "access_token"));
    if (!token || strlen(token) > MAX_TOKEN || strpbrk(token, "\r\n"))
        r = fail_set(reterr, FAIL_upstream_error, "%s: its tokens cannot be read", s->store.name);
    else if (asprintf(&header, "Authorization: Bearer %s", token) < 0)
        r = -ENOMEM;
    json_decref(doc);
    if (r != 0)
        return r;
    LOCKED(&s->lock);
    free(s->header);
    s->header = header;
    return 0;
}

static int get_token(struct oci_store *s, const char *challenge, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf url = BUF_INIT(URL_ROOM), answer = BUF_INIT(MAX_ANSWER);
    struct str realm = parameter(challenge, "realm");
    bool secure = strncmp(s->base, "https:", 6) == 0;
    if (!str_starts(realm, STR("https://")) && (secure || !str_starts(realm, STR("http://"))))
        return fail_set(reterr, FAIL_permission_denied, "%s: asks for credentials without TLS",
                        s->store.name);
    buf_add(&url, realm);
    add_query(&url, "service", parameter(challenge, "service"));
    add_query(&url, "scope", parameter(challenge, "scope"));
    if (buf_err(&url) < 0)
        return buf_err(&url);
    struct http_call c = { .method = "GET",
                           .url = url.p,
                           .login = s->login[0] ? s->login : NULL,
                           .add = add_answer,
                           .ctx = &answer };
    int r = http_do(s->client, &c, s->store.name, reterr);
    if (r == -EBADMSG || (r == 0 && c.status != 200))
        r = fail_set(reterr, FAIL_permission_denied,
                     "%s: gives no token (answered %ld); check adapters.blobs.token_env",
                     s->store.name, c.status);
    return r == 0 ? keep_token(s, buf_str(&answer), reterr) : r;
}

/* ---- calls ---- */

/* The current header, as a copy: another thread may renew it. NULL: none, or no memory. */
static char *header_of(struct oci_store *s)
{
    LOCKED(&s->lock);
    return s->header ? str_dup(str_of(s->header)) : NULL;
}

typedef int (*call_fn)(struct oci_store *s, struct http_call *c, void *ctx, struct fail *reterr);

/* Makes the call, and once more with a new token where the registry asks for one. */
static int with_token(struct oci_store *s, struct http_call *c, call_fn fn, void *ctx,
                      struct fail *reterr)
{
    size_t n_headers = c->n_headers;
    for (unsigned tries = 0;; tries++) {
        CLEANUP(own_free) char *header = header_of(s);
        c->n_headers = n_headers;
        if (header)
            c->headers[c->n_headers++] = header;
        int r = fn(s, c, ctx, reterr);
        if (c->status != 401 || tries > 0)
            return r;
        if (c->challenge[0] && (r = get_token(s, c->challenge, reterr)) != 0)
            return r;
        if (!c->challenge[0]) {
            if (!s->login[0])
                return r;
            c->login = s->login; /* a registry with plain passwords */
        }
    }
}

static int do_get(struct oci_store *s, struct http_call *c, void *ctx, struct fail *reterr)
{
    return http_get_blob(s->client, c, ctx, s->store.name, reterr);
}

static int do_stat(struct oci_store *s, struct http_call *c, void *ctx, struct fail *reterr)
{
    return http_stat_blob(s->client, c, ctx, s->store.name, reterr);
}

static int do_plain(struct oci_store *s, struct http_call *c, void *ctx, struct fail *reterr)
{
    (void)ctx;
    return http_do(s->client, c, s->store.name, reterr);
}

static void blob_url(const struct oci_store *s, const struct sha256 *digest,
                     char url[static URL_ROOM])
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, digest);
    (void)snprintf(url, URL_ROOM, "%s/blobs/sha256:%s", s->base, hex);
}

static int oci_get(struct blob_store *store, struct blob_get *g, struct fail *reterr)
{
    char url[URL_ROOM];
    struct http_call c = { .url = url, .redirects = MAX_REDIRECTS };
    blob_url(of(store), &g->digest, url);
    return with_token(of(store), &c, do_get, g, reterr);
}

static int oci_stat(struct blob_store *store, const struct sha256 *digest, struct blob_stat *ret,
                    struct fail *reterr)
{
    char url[URL_ROOM];
    struct http_call c = { .url = url, .redirects = MAX_REDIRECTS };
    blob_url(of(store), digest, url);
    return with_token(of(store), &c, do_stat, ret, reterr);
}

/* ---- pushing ---- */

/* Where the upload goes on: the answer's Location, against the registry, with the digest. */
static int upload_url(const struct oci_store *s, const char *location, const char *hex,
                      char url[static URL_ROOM])
{
    const char *host = strstr(s->base, "://") + 3, *path = strchr(host, '/');
    bool relative = location[0] == '/';
    int n =
        snprintf(url, URL_ROOM, "%.*s%s%sdigest=sha256%%3A%s", relative ? (int)(path - s->base) : 0,
                 s->base, location, strchr(location, '?') ? "&" : "?", hex);
    bool same = relative || strncmp(location, s->base, (size_t)(path - s->base) + 1) == 0;
    return !location[0] || !same || (size_t)n >= URL_ROOM ? -EBADMSG : 0;
}

static int refused(struct oci_store *s, const struct http_call *c, struct fail *reterr)
{
    int r = http_failure(c, s->store.name, "writing to", reterr);
    return r == -ENOENT ? fail_set(reterr, FAIL_permission_denied,
                                   "%s: there is no such repository", s->store.name)
                        : r;
}

static int upload(struct oci_store *s, const struct sha256 *digest, int fd, uint64_t bytes,
                  struct fail *reterr)
{
    char url[URL_ROOM], hex[SHA256_HEX + 1];
    struct http_call start = { .method = "POST", .url = url };
    struct http_call send = { .method = "PUT",
                              .url = url,
                              .body_fd = fd,
                              .body_bytes = bytes,
                              .headers = { "Content-Type: application/octet-stream" },
                              .n_headers = 1 };
    sha256_hex(hex, digest);
    (void)snprintf(url, sizeof(url), "%s/blobs/uploads/", s->base);
    int r = with_token(s, &start, do_plain, NULL, reterr);
    if (r == 0 && start.status != 202)
        r = refused(s, &start, reterr);
    if (r != 0)
        return r;
    if (upload_url(s, start.location, hex, url) < 0)
        return fail_set(reterr, FAIL_upstream_error, "%s: does not say where to upload to",
                        s->store.name);
    r = with_token(s, &send, do_plain, NULL, reterr);
    return r == 0 && send.status != 201 ? refused(s, &send, reterr) : r;
}

static int memory_file(struct str text)
{
    int fd = memfd_create("oci", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (pwrite(fd, text.p, text.n, 0) == (ssize_t)text.n)
        return fd;
    (void)close(fd);
    return -EIO;
}

/* Names the blob in a manifest, so that it stays. */
static int name_blob(struct oci_store *s, const struct sha256 *digest, uint64_t bytes,
                     struct fail *reterr)
{
    char url[URL_ROOM], hex[SHA256_HEX + 1], empty[SHA256_HEX + 1], text[1024];
    struct sha256 config = sha256_of(STR(EMPTY_CONFIG));
    sha256_hex(hex, digest);
    sha256_hex(empty, &config);
    int n = snprintf(text, sizeof(text),
                     "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE
                     "\",\"artifactType\":\"application/vnd.rootstock.blob\",\"config\":{"
                     "\"mediaType\":\"" EMPTY_TYPE "\",\"digest\":\"sha256:%s\",\"size\":2},"
                     "\"layers\":[{\"mediaType\":\"" BLOB_TYPE
                     "\",\"digest\":\"sha256:%s\",\"size\":%llu}]}",
                     empty, hex, (unsigned long long)bytes);
    CLEANUP(own_close) int fd = memory_file((struct str){ text, (size_t)n });
    struct http_call c = { .method = "PUT",
                           .url = url,
                           .body_fd = fd,
                           .body_bytes = (uint64_t)n,
                           .headers = { "Content-Type: " MANIFEST_TYPE },
                           .n_headers = 1 };
    if (fd < 0)
        return fd;
    (void)snprintf(url, sizeof(url), "%s/manifests/blob-%s", s->base, hex);
    int r = with_token(s, &c, do_plain, NULL, reterr);
    return r == 0 && c.status != 201 ? refused(s, &c, reterr) : r;
}

static int upload_missing(struct oci_store *s, const struct sha256 *digest, int fd, uint64_t bytes,
                          struct fail *reterr)
{
    struct blob_stat st;
    int r = oci_stat(&s->store, digest, &st, reterr);
    return r == -ENOENT ? upload(s, digest, fd, bytes, reterr) : r;
}

static int oci_put(struct blob_store *store, const struct sha256 *digest, int fd, uint64_t bytes,
                   struct fail *reterr)
{
    struct oci_store *s = of(store);
    struct sha256 config = sha256_of(STR(EMPTY_CONFIG));
    int r = blob_source_check(fd, digest, bytes, reterr);
    if (r == 0)
        r = upload_missing(s, digest, fd, bytes, reterr);
    if (r != 0)
        return r;
    CLEANUP(own_close) int empty = memory_file(STR(EMPTY_CONFIG));
    r = empty < 0 ? empty : upload_missing(s, &config, empty, sizeof(EMPTY_CONFIG) - 1, reterr);
    return r == 0 ? name_blob(s, digest, bytes, reterr) : r;
}

/* ---- life ---- */

static struct blob_store *oci_free(struct blob_store *store)
{
    struct oci_store *s = of(store);
    (void)http_client_free(s->client);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->header);
    free(s);
    return NULL;
}

static const struct blob_store_ops oci_ops = {
    .stat = oci_stat,
    .get = oci_get,
    .put = oci_put,
    .free = oci_free,
};

/* token_env holds "user:password", or a token that is used as it is. */
static int choose_login(struct oci_store *s, const struct config_blobs *c, struct fail *reterr)
{
    char header[HTTP_TEXT];
    int r = blob_store_token(c, header, reterr);
    if (r != 0 || !header[0])
        return r;
    const char *value = header + sizeof("Authorization: Bearer ") - 1;
    if (strchr(value, ':'))
        (void)snprintf(s->login, sizeof(s->login), "%s", value);
    else if (!(s->header = str_dup(str_of(header))))
        return -ENOMEM;
    return 0;
}

static int configure(struct oci_store *s, struct str url, const struct config_blobs *c,
                     struct fail *reterr)
{
    char web[HTTP_TEXT], base[HTTP_TEXT];
    bool plain = str_starts(url, STR("oci+http://"));
    struct str rest = str_sub(url, plain ? sizeof("oci+http://") - 1 : sizeof("oci://") - 1);
    int n = snprintf(web, sizeof(web), "%s://%.*s", plain ? "http" : "https", STR_ARG(rest));
    if (n >= HTTP_TEXT - 8)
        return -ENAMETOOLONG;
    int r = http_base_url((struct str){ web, (size_t)n }, base, s->login, reterr);
    if (r != 0)
        return r;
    char *slash = strchr(strstr(base, "://") + 3, '/');
    if (!slash)
        return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                          "adapters.blobs.store: an oci URL needs a repository, as in "
                          "oci://registry.example/team/adapters");
    n = snprintf(s->base, sizeof(s->base), "%.*s/v2%s", (int)(slash - base), base, slash);
    (void)snprintf(s->store.name, sizeof(s->store.name), "oci%.190s", strstr(base, "://"));
    return n >= HTTP_TEXT ? -ENAMETOOLONG : choose_login(s, c, reterr);
}

int blob_store_oci(struct blob_store **ret, struct str url, const struct config_blobs *c,
                   struct fail *reterr)
{
    CLEANUP(blob_store_freep) struct blob_store *store = NULL;
    struct oci_store *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    store = &s->store;
    store->ops = &oci_ops;
    (void)pthread_mutex_init(&s->lock, NULL);
    int r = configure(s, url, c, reterr);
    if (r == 0)
        r = http_client_new(&s->client, c);
    if (r == 0)
        *ret = TAKE(store);
    return r;
}
