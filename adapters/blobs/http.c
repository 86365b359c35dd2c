/*
 * A web server, read only: PREFIX/sha256/ab/<hex>, or a URL with "{digest}" in it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/blobs/http_call.h"

#define MAX_REDIRECTS 5
#define PLACE "{digest}"

struct http_store {
    struct blob_store store; /* first */
    struct http_client *client;
    char base[HTTP_TEXT], behind[HTTP_TEXT]; /* behind: what follows the digest of a template */
    bool template;
    char login[HTTP_TEXT], token[HTTP_TEXT]; /* "": none. token: a whole header */
};

static struct http_store *of(struct blob_store *s)
{
    return (struct http_store *)(void *)s;
}

static int prepare(struct http_store *h, const struct sha256 *digest, char url[static HTTP_TEXT],
                   struct http_call *c)
{
    char key[BLOB_KEY_MAX];
    blob_store_key(key, digest);
    int n = h->template
                ? snprintf(url, HTTP_TEXT, "%s%s%s", h->base, strrchr(key, '/') + 1, h->behind)
                : snprintf(url, HTTP_TEXT, "%s/%s", h->base, key);
    *c = (struct http_call){ .url = url,
                             .redirects = MAX_REDIRECTS,
                             .login = h->login[0] ? h->login : NULL };
    if (h->token[0])
        c->headers[c->n_headers++] = h->token;
    return n < 0 || n >= HTTP_TEXT ? -ENAMETOOLONG : 0;
}

static int http_stat(struct blob_store *s, const struct sha256 *digest, struct blob_stat *ret,
                     struct fail *reterr)
{
    char url[HTTP_TEXT];
    struct http_call c;
    int r = prepare(of(s), digest, url, &c);
    return r < 0 ? r : http_stat_blob(of(s)->client, &c, ret, s->name, reterr);
}

static int http_get(struct blob_store *s, struct blob_get *g, struct fail *reterr)
{
    char url[HTTP_TEXT];
    struct http_call c;
    int r = prepare(of(s), &g->digest, url, &c);
    return r < 0 ? r : http_get_blob(of(s)->client, &c, g, s->name, reterr);
}

static struct blob_store *http_free(struct blob_store *s)
{
    (void)http_client_free(of(s)->client);
    free(of(s));
    return NULL;
}

static const struct blob_store_ops http_ops = {
    .stat = http_stat,
    .get = http_get,
    .free = http_free,
};

/* Splits a template at its place, after the URL was checked with digits there. */
static int read_template(struct http_store *h, struct str url, struct fail *reterr)
{
    static const char digits[] = "0000000000000000";
    char whole[HTTP_TEXT];
    size_t at = (size_t)str_find(url, STR(PLACE));
    struct str behind = str_sub(url, at + sizeof(PLACE) - 1);
    int n = snprintf(whole, sizeof(whole), "%.*s%s", STR_ARG(str_head(url, at)), digits);
    if (n >= HTTP_TEXT || behind.n >= sizeof(h->behind))
        return -ENAMETOOLONG;
    int r = http_base_url((struct str){ whole, (size_t)n }, h->base, h->login, reterr);
    char *place = r == 0 ? strstr(h->base, digits) : NULL;
    if (r == 0 && (!place || str_find(behind, STR("{")) >= 0))
        r = fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                       "adapters.blobs.store: {digest} may stand once, in the path of an http URL");
    if (r != 0)
        return r;
    *place = '\0';
    memcpy(h->behind, behind.p, behind.n);
    h->template = true;
    return 0;
}

int blob_store_http(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr)
{
    CLEANUP(blob_store_freep) struct blob_store *s = NULL;
    struct http_store *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    s = &h->store;
    s->ops = &http_ops;
    int r = str_find(url, STR(PLACE)) >= 0 ? read_template(h, url, reterr)
                                           : http_base_url(url, h->base, h->login, reterr);
    if (r != 0)
        return r;
    (void)snprintf(s->name, sizeof(s->name), "%.190s", h->base);
    if ((r = blob_store_token(c, h->token, reterr)) != 0 ||
        (r = http_client_new(&h->client, c)) < 0)
        return r;
    *ret = TAKE(s);
    return 0;
}
