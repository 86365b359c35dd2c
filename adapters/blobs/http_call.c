#include "adapters/blobs/http_call.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/thread.h"

#define MAX_IDLE 8          /* handles kept, each with its open connections */
#define PROGRESS_BYTES 1024 /* less in the time of stall_ms is a transfer that stands still */
#define MAX_RETRY_S 3600

struct http_client {
    pthread_mutex_t lock; /* of the idle */
    CURL *idle[MAX_IDLE];
    size_t n_idle;
    uint64_t connect_ms, stall_ms, total_ms;
    char ca[PATH_MAX];
};

struct running { /* one call */
    struct http_call *c;
    struct http_client *h;
    uint64_t since_ms;  /* the last progress worth the name */
    size_t since_bytes; /* that have come or gone since */
    uint64_t sent;      /* of the body */
    bool began;
    int result; /* of the caller's functions */
    bool stalled;
};

/* ---- handles ---- */

static void start_library(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_client_new(struct http_client **ret, const struct config_blobs *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start_library);
    struct http_client *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    (void)pthread_mutex_init(&h->lock, NULL);
    h->connect_ms = c->connect_ms;
    h->stall_ms = c->stall_ms;
    h->total_ms = c->total_ms;
    (void)snprintf(h->ca, sizeof(h->ca), "%.*s", STR_ARG(c->tls_ca));
    *ret = h;
    return 0;
}

struct http_client *http_client_free(struct http_client *h)
{
    if (!h)
        return NULL;
    while (h->n_idle)
        curl_easy_cleanup(h->idle[--h->n_idle]);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}

static CURL *get_handle(struct http_client *h)
{
    {
        LOCKED(&h->lock);
        if (h->n_idle)
            return h->idle[--h->n_idle];
    }
    return curl_easy_init();
}

static void put_handle(struct http_client *h, CURL *handle)
{
    curl_easy_reset(handle); /* keeps the connections */
    {
        LOCKED(&h->lock);
        if (h->n_idle < MAX_IDLE) {
            h->idle[h->n_idle++] = handle;
            return;
        }
    }
    curl_easy_cleanup(handle);
}

/* ---- the head of the answer ---- */

static void copy_text(char *ret, size_t room, struct str value)
{
    if (value.n >= room)
        return; /* too long to be of use */
    memcpy(ret, value.p, value.n);
    ret[value.n] = '\0';
}

/* "bytes 100-199/1000" */
static void read_range(struct http_call *c, struct str value)
{
    struct str range, total, from, to;
    if (!str_starts(value, STR("bytes ")) || !str_cut(str_sub(value, 6), '/', &range, &total) ||
        !str_cut(range, '-', &from, &to) || num_parse_u64(&c->range_from, from, 0, INT64_MAX) < 0)
        return;
    c->has_range = true;
    if (num_parse_u64(&c->range_total, total, 0, INT64_MAX) < 0)
        c->range_total = 0;
}

static void read_header(struct http_call *c, struct str name, struct str value)
{
    uint64_t n;
    if (str_eq_nocase(name, STR("content-length")) &&
        num_parse_u64(&c->length, value, 0, INT64_MAX) == 0)
        c->has_length = true;
    else if (str_eq_nocase(name, STR("content-range")))
        read_range(c, value);
    else if (str_eq_nocase(name, STR("etag")))
        copy_text(c->etag, sizeof(c->etag), value);
    else if (str_eq_nocase(name, STR("location")))
        copy_text(c->location, sizeof(c->location), value);
    else if (str_eq_nocase(name, STR("retry-after")) &&
             num_parse_u64(&n, value, 0, MAX_RETRY_S) == 0)
        c->retry_after_s = (unsigned)n;
    else if (str_eq_nocase(name, STR("www-authenticate")) &&
             str_eq_nocase(str_head(value, 7), STR("bearer ")))
        copy_text(c->challenge, sizeof(c->challenge), value);
    else if (str_eq_nocase(name, STR("last-modified"))) {
        char date[64] = "";
        copy_text(date, sizeof(date), value);
        time_t when = curl_getdate(date, NULL);
        c->modified_s = when > 0 ? (uint64_t)when : 0;
    }
}

static void forget_answer(struct http_call *c)
{
    c->status = 0;
    c->has_length = c->has_range = false;
    c->length = c->range_from = c->range_total = c->modified_s = 0;
    c->retry_after_s = 0;
    c->etag[0] = c->location[0] = c->challenge[0] = '\0';
    c->text[0] = '\0';
    c->n_text = 0;
}

static size_t on_header(const char *p, size_t size, size_t n, void *ctx)
{
    struct running *r = ctx;
    struct str name, value, line = { p, size * n };
    if (str_starts(line, STR("HTTP/")))
        forget_answer(r->c); /* of a redirect, or "100 Continue" */
    else if (str_cut(line, ':', &name, &value))
        read_header(r->c, name, str_trim(value));
    return size * n;
}

/* ---- the body ---- */

static void progressed(struct running *r, size_t bytes)
{
    r->since_bytes += bytes;
    if (r->since_bytes < PROGRESS_BYTES)
        return;
    r->since_ms = clock_ms(); /* after the caller's own waits */
    r->since_bytes = 0;
}

static bool success(long status)
{
    return status >= 200 && status < 300;
}

static int begin(struct running *r, CURL *handle)
{
    struct http_call *c = r->c;
    (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &c->status);
    if (r->began)
        return 0;
    r->began = true;
    return c->begin && success(c->status) ? c->begin(c->ctx, c) : 0;
}

static void keep_text(struct http_call *c, struct str part)
{
    part = str_head(part, sizeof(c->text) - 1 - c->n_text);
    memcpy(c->text + c->n_text, part.p, part.n);
    c->n_text += part.n;
    c->text[c->n_text] = '\0';
}

struct body { /* of the write function */
    struct running *r;
    CURL *handle;
};

static size_t on_body(const char *p, size_t size, size_t n, void *ctx)
{
    struct body *b = ctx;
    struct http_call *c = b->r->c;
    struct str part = { p, size * n };
    if ((b->r->result = begin(b->r, b->handle)) < 0)
        return CURL_WRITEFUNC_ERROR;
    if (!success(c->status))
        keep_text(c, part);
    else if (c->add && part.n && (b->r->result = c->add(c->ctx, part)) < 0)
        return CURL_WRITEFUNC_ERROR;
    progressed(b->r, part.n);
    return part.n;
}

static size_t on_read(char *p, size_t size, size_t n, void *ctx)
{
    struct running *r = ctx;
    uint64_t left = r->c->body_bytes - r->sent;
    size_t want = size * n < left ? size * n : (size_t)left;
    ssize_t got;
    do
        got = want ? pread(r->c->body_fd, p, want, (off_t)r->sent) : 0;
    while (got < 0 && errno == EINTR);
    if (got < 0 || (want && got == 0)) {
        r->result = got < 0 ? -errno : -EBADMSG; /* it has shrunk */
        return CURL_READFUNC_ABORT;
    }
    r->sent += (uint64_t)got;
    progressed(r, (size_t)got);
    return (size_t)got;
}

/* The library sends again what went to a connection that was dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct running *r = ctx;
    if (origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_CANTSEEK;
    r->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    struct running *r = ctx;
    (void)a;
    (void)b;
    (void)d;
    (void)e;
    if (r->c->stopped && r->c->stopped(r->c->ctx)) {
        r->result = -ECANCELED;
        return 1;
    }
    r->stalled = r->h->stall_ms && clock_ms() > r->since_ms + r->h->stall_ms;
    return r->stalled;
}

/* ---- a call ---- */

#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (e == CURLE_OK)                                                                         \
            e = curl_easy_setopt(handle, option, value);                                           \
    } while (0)

static CURLcode set_limits(CURL *handle, struct running *r)
{
    CURLcode e = CURLE_OK;
    SET(CURLOPT_NOSIGNAL, 1L);
    if (r->h->connect_ms)
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)r->h->connect_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)r->h->total_ms);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, r);
    SET(CURLOPT_EXPECT_100_TIMEOUT_MS, 1L); /* who does not know it does not answer either */
    return e;
}

static CURLcode set_target(CURL *handle, const struct http_call *c)
{
    CURLcode e = CURLE_OK;
    bool secure = strncmp(c->url, "https:", 6) == 0;
    SET(CURLOPT_URL, c->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    SET(CURLOPT_FOLLOWLOCATION, c->redirects ? 1L : 0L);
    SET(CURLOPT_MAXREDIRS, (long)c->redirects);
    SET(CURLOPT_USERAGENT, "rootstock/" ROOTSTOCK_VERSION);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (c->login)
        SET(CURLOPT_USERPWD, c->login);
    if (c->sigv4)
        SET(CURLOPT_AWS_SIGV4, c->sigv4);
    return e;
}

static CURLcode set_method(CURL *handle, struct running *r)
{
    CURLcode e = CURLE_OK;
    const char *method = r->c->method;
    if (strcmp(method, "GET") == 0)
        return e;
    if (strcmp(method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
        return e;
    }
    if (strcmp(method, "DELETE") != 0) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->c->body_bytes);
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, r);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, r);
    }
    SET(CURLOPT_CUSTOMREQUEST, method);
    return e;
}

static CURLcode perform(CURL *handle, struct running *r, struct body *body)
{
    CURLcode e = set_limits(handle, r);
    struct curl_slist *headers = NULL;
    for (size_t i = 0; e == CURLE_OK && i < r->c->n_headers; i++) {
        struct curl_slist *longer = curl_slist_append(headers, r->c->headers[i]);
        e = longer ? CURLE_OK : CURLE_OUT_OF_MEMORY;
        headers = longer ? longer : headers;
    }
    if (e == CURLE_OK)
        e = set_target(handle, r->c);
    if (e == CURLE_OK)
        e = set_method(handle, r);
    if (r->h->ca[0])
        SET(CURLOPT_CAINFO, r->h->ca);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, r);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, body);
    if (e == CURLE_OK)
        e = curl_easy_perform(handle);
    if (e == CURLE_OK && (r->result = begin(r, handle)) < 0)
        e = CURLE_WRITE_ERROR; /* an answer without a body */
    curl_slist_free_all(headers);
    return e;
}

static int explain(CURLcode e, const struct running *r, const char *who, struct fail *reterr)
{
    if (r->result < 0)
        return r->result;
    if (e == CURLE_OUT_OF_MEMORY)
        return -ENOMEM;
    if (r->stalled)
        return fail_set(reterr, FAIL_timeout, "%s stands still", who);
    bool stays = e == CURLE_SSL_CACERT_BADFILE || e == CURLE_PEER_FAILED_VERIFICATION;
    return fail_set(reterr,
                    e == CURLE_OPERATION_TIMEDOUT ? FAIL_timeout
                    : stays                       ? FAIL_permission_denied
                                                  : FAIL_upstream_error,
                    "%s: %s", who, curl_easy_strerror(e));
}

int http_do(struct http_client *h, struct http_call *c, const char *who, struct fail *reterr)
{
    CURL *handle = get_handle(h);
    if (!handle)
        return -ENOMEM;
    struct running r = { .c = c, .h = h, .since_ms = clock_ms() };
    struct body body = { &r, handle };
    forget_answer(c);
    CURLcode e = perform(handle, &r, &body);
    put_handle(h, handle);
    return e == CURLE_OK ? 0 : explain(e, &r, who, reterr);
}

/* ---- answers ---- */

/* The text of an XML or JSON error's field, for people; "" when there is none. */
static struct str field(const struct http_call *c, const char *open, char close)
{
    struct str text = { c->text, c->n_text }, value, rest;
    ptrdiff_t at = str_find(text, str_of(open));
    if (at < 0 || !str_cut(str_sub(text, (size_t)at + strlen(open)), close, &value, &rest))
        return STR("");
    value = str_head(value, 120);
    for (size_t i = 0; i < value.n; i++)
        if (!isprint((unsigned char)value.p[i]))
            return str_head(value, i);
    return value;
}

int http_failure(const struct http_call *c, const char *who, const char *doing, struct fail *reterr)
{
    if (c->status == 404 || c->status == 410)
        return -ENOENT;
    bool denied = c->status == 401 || c->status == 403 || c->status == 407;
    bool busy = c->status == 429 || c->status == 503;
    bool passes = c->status >= 500 || c->status == 408;
    enum fail_code code = denied   ? FAIL_permission_denied
                          : busy   ? FAIL_overloaded
                          : passes ? FAIL_upstream_error
                                   : FAIL_internal_error;
    struct str word = field(c, "<Code>", '<'), text = field(c, "<Message>", '<');
    if (word.n == 0)
        word = field(c, "\"code\":\"", '"');
    int r = fail_set(reterr, code, "%s %s: answered %ld%s%.*s%s%.*s%s", doing, who, c->status,
                     word.n ? " " : "", STR_ARG(word), text.n ? ": " : "", STR_ARG(text),
                     c->status / 100 == 3 ? "; it is elsewhere: check endpoint and region" : "");
    if (reterr && (busy || passes))
        reterr->retry_after_s = c->retry_after_s;
    return r;
}

struct getting {
    struct blob_get *g;
    uint64_t skip; /* bytes that were not asked for */
    uint64_t left;
};

static bool other_version(const struct blob_get *g, const struct http_call *c)
{
    return g->etag[0] && c->etag[0] && strcmp(g->etag, c->etag) != 0;
}

static int begin_blob(void *ctx, struct http_call *c)
{
    struct getting *t = ctx;
    struct blob_get *g = t->g;
    bool part = c->status == 206;
    if (part && (!c->has_range || c->range_from != g->from))
        return -EBADMSG;
    if (g->from && other_version(g, c))
        return -ESTALE;
    uint64_t total = part ? c->range_total : c->has_length ? c->length : 0;
    bool known = part ? c->range_total > 0 : c->has_length;
    if (known && (g->at_most ? total > g->bytes : total != g->bytes))
        return g->from && !part && g->etag[0] ? -ESTALE : -EBADMSG;
    memcpy(g->etag, c->etag, sizeof(g->etag));
    t->skip = part ? 0 : g->from; /* it does not serve parts */
    return 0;
}

static int add_blob(void *ctx, struct str part)
{
    struct getting *t = ctx;
    size_t skip = part.n < t->skip ? part.n : (size_t)t->skip;
    t->skip -= skip;
    part = str_sub(part, skip);
    if (part.n > t->left)
        return -EBADMSG;
    t->left -= part.n;
    return part.n ? t->g->add(t->g->ctx, part) : 0;
}

static bool blob_stopped(void *ctx)
{
    struct blob_get *g = ((struct getting *)ctx)->g;
    return g->stopped && g->stopped(g->ctx);
}

int http_get_blob(struct http_client *h, struct http_call *c, struct blob_get *g, const char *who,
                  struct fail *reterr)
{
    char range[64], if_range[BLOB_ETAG_MAX + 16];
    struct getting t = { .g = g, .left = g->bytes - g->from };
    size_t n_headers = c->n_headers;
    c->method = "GET";
    c->begin = begin_blob;
    c->add = add_blob;
    c->stopped = blob_stopped;
    c->ctx = &t;
    if (g->from) {
        (void)snprintf(range, sizeof(range), "Range: bytes=%llu-", (unsigned long long)g->from);
        c->headers[c->n_headers++] = range;
    }
    if (g->from && g->etag[0] == '"') { /* a weak one names no bytes (RFC 9110, 13.1.5) */
        (void)snprintf(if_range, sizeof(if_range), "If-Range: %s", g->etag);
        c->headers[c->n_headers++] = if_range;
    }
    int r = http_do(h, c, who, reterr);
    c->n_headers = n_headers;
    if (r != 0)
        return r;
    if (c->status == 416)
        return -EBADMSG; /* it is shorter than what is here already */
    if (c->status == 412)
        return -ESTALE;
    return success(c->status) ? 0 : http_failure(c, who, "reading", reterr);
}

int http_stat_blob(struct http_client *h, struct http_call *c, struct blob_stat *ret,
                   const char *who, struct fail *reterr)
{
    c->method = "HEAD";
    int r = http_do(h, c, who, reterr);
    if (r != 0)
        return r;
    if (!success(c->status))
        return http_failure(c, who, "looking at", reterr);
    if (!c->has_length)
        return fail_set(reterr, FAIL_internal_error, "%s does not say how large a blob is", who);
    *ret = (struct blob_stat){ c->length, c->modified_s };
    return 0;
}

/* ---- URLs ---- */

static int refuse(struct str url, const char *why, struct fail *reterr)
{
    /* Nothing of the URL but its scheme: the rest may hold credentials. */
    ptrdiff_t colon = str_find(url, STR(":"));
    return fail_param(reterr, FAIL_invalid_request, "adapters.blobs",
                      "adapters.blobs: a URL that begins with '%.*s' %s",
                      STR_ARG(str_head(url, colon > 0 && colon < 20 ? (size_t)colon + 1 : 0)), why);
}

static int take_part(CURLU *u, CURLUPart part, char ret[static HTTP_TEXT], const char *before)
{
    char *text = NULL;
    if (curl_url_get(u, part, &text, CURLU_URLDECODE) != CURLUE_OK)
        return 0; /* it has none */
    size_t n = strlen(ret);
    int m = snprintf(ret + n, HTTP_TEXT - n, "%s%s", before, text);
    curl_free(text);
    return m < 0 || (size_t)m >= HTTP_TEXT - n ? -ENAMETOOLONG : 0;
}

static int take_apart(CURLU *u, char ret[static HTTP_TEXT], char login[static HTTP_TEXT])
{
    static const CURLUPart drop[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS,
                                      CURLUPART_QUERY, CURLUPART_FRAGMENT };
    char *text = NULL;
    login[0] = '\0';
    int r = take_part(u, CURLUPART_USER, login, "");
    if (r == 0)
        r = take_part(u, CURLUPART_PASSWORD, login, ":");
    for (size_t i = 0; i < ARRAY_LEN(drop); i++)
        (void)curl_url_set(u, drop[i], NULL, 0);
    if (r < 0 || curl_url_get(u, CURLUPART_URL, &text, 0) != CURLUE_OK)
        return r < 0 ? r : -EINVAL;
    size_t n = strlen(text);
    while (n && text[n - 1] == '/')
        n--;
    r = n < HTTP_TEXT ? 0 : -ENAMETOOLONG;
    if (r == 0) {
        memcpy(ret, text, n);
        ret[n] = '\0';
    }
    curl_free(text);
    return r;
}

int http_base_url(struct str url, char ret[static HTTP_TEXT], char login[static HTTP_TEXT],
                  struct fail *reterr)
{
    char text[HTTP_TEXT];
    if (url.n >= sizeof(text))
        return refuse(url, "is too long", reterr);
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return refuse(url, "is neither http:// nor https://", reterr);
    memcpy(text, url.p, url.n);
    text[url.n] = '\0';
    CURLU *u = curl_url();
    if (!u)
        return -ENOMEM;
    int r =
        curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK ? take_apart(u, ret, login) : -EINVAL;
    curl_url_cleanup(u);
    return r < 0 ? refuse(url, "cannot be understood", reterr) : 0;
}

int blob_store_token(const struct config_blobs *c, char ret[static HTTP_TEXT], struct fail *reterr)
{
    char name[256];
    ret[0] = '\0';
    if (c->token_env.n == 0)
        return 0;
    (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(c->token_env));
    const char *token = getenv(name);
    if (!token || !*token || strlen(token) > HTTP_TEXT - 32 || strpbrk(token, "\r\n"))
        return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.token_env",
                          "adapters.blobs.token_env: the variable %.100s is not set to a token",
                          name);
    (void)snprintf(ret, HTTP_TEXT, "Authorization: Bearer %s", token);
    return 0;
}
