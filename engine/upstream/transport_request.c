/*
 * The request of a call, as curl wants it: little is copied, nothing is set that is set already.
 */
#include "engine/upstream/transport_inner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define IDLE_PLAIN_S 4l   /* uvicorn, under vLLM and SGLang, closes after 5 s */
#define EXPECT_FROM 65536 /* bytes of a body; curl begins at 1 MiB to ask whether it may send */
#define IDLE_TLS_S 50l    /* load balancers close after 60 s and more */
#define DNS_CACHE_S 10l   /* a name that moved is noticed by then */

static bool is_name(struct str s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.n; i++) {
        char at = s.p[i];
        char low = (char)(at | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(at >= '0' && at <= '9') &&
            (!at || !strchr(others, at)))
            return false;
    }
    return s.n > 0;
}

static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

/* Whether it is the transport's own business: length and framing follow from the body. */
static bool is_framing(struct str name)
{
    return str_eq_nocase(name, STR("content-length")) ||
           str_eq_nocase(name, STR("transfer-encoding")) || str_eq_nocase(name, STR("expect"));
}

static void add_line(struct call *c, struct str name, struct str value)
{
    buf_add(&c->text, name);
    buf_add(&c->text, value.n ? STR(": ") : STR(";")); /* curl's way to say an empty value */
    buf_add(&c->text, value);
    buf_addc(&c->text, '\0');
}

/* The header lines, one after the other in `text`; *ret_n of them. */
static int write_lines(struct call *c, const struct call_spec *spec, size_t *ret_n)
{
    bool has_accept = false, has_type = false;
    size_t n = 0;
    buf_clear(&c->text);
    for (size_t i = 0; i < spec->n_headers; i++) {
        struct chat_pair h = spec->headers[i];
        if (!is_name(h.key) || !is_value(h.value))
            return -EINVAL;
        if (is_framing(h.key))
            continue;
        has_accept = has_accept || str_eq_nocase(h.key, STR("accept"));
        has_type = has_type || str_eq_nocase(h.key, STR("content-type"));
        add_line(c, h.key, h.value);
        n++;
    }
    /* what curl would add by itself: a name with nothing behind it leaves it out */
    if (spec->body.n >= EXPECT_FROM) {
        buf_add(&c->text, STR("Expect:\0"));
        n++;
    }
    if (!has_accept) {
        buf_add(&c->text, STR("Accept:\0"));
        n++;
    }
    if (!has_type) {
        buf_add(&c->text, STR("Content-Type:\0"));
        n++;
    }
    *ret_n = n;
    return buf_err(&c->text);
}

static int set_headers(struct call *c, const struct call_spec *spec)
{
    size_t n = 0;
    int r = write_lines(c, spec, &n);
    if (r < 0)
        return r;
    if (n > c->cap_lines) {
        struct curl_slist *lines = reallocarray(c->lines, n, sizeof(*lines));
        if (!lines)
            return -ENOMEM;
        c->lines = lines;
        c->cap_lines = n;
    }
    char *at = c->text.p;
    for (size_t i = 0; i < n; i++) {
        c->lines[i] = (struct curl_slist){ at, i + 1 < n ? &c->lines[i + 1] : NULL };
        at += strlen(at) + 1;
    }
    return curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->lines) ? -ENOMEM : 0;
}

/* Path and query, as they are sent. They are told once: those of a URL curl takes apart and encodes
 * for each call, byte by byte. */
static bool set_target(struct call *c)
{
    char *path = NULL, *query = NULL;
    CLEANUP(buf_done) struct buf target = BUF_INIT(LIMIT_HEADER * 4);
    bool has_path = !curl_url_get(c->parts, CURLUPART_PATH, &path, CURLU_URLENCODE);
    bool has_query = !curl_url_get(c->parts, CURLUPART_QUERY, &query, 0);
    buf_adds(&target, has_path ? path : "/");
    buf_adds(&target, has_query ? "?" : "");
    buf_adds(&target, has_query ? query : "");
    curl_free(path);
    curl_free(query);
    return buf_err(&target) == 0 && !curl_url_set(c->parts, CURLUPART_PATH, "/", 0) &&
           !curl_url_set(c->parts, CURLUPART_QUERY, NULL, 0) &&
           !curl_easy_setopt(c->easy, CURLOPT_REQUEST_TARGET, target.p);
}

bool call_is_tls(const struct call *c)
{
    return str_eq_nocase(str_head(str_of(c->url), 6), STR("https:"));
}

/* Whether the host is an address: nothing was looked up that could become wrong. */
static bool is_address(const struct call *c)
{
    struct in_addr any;
    char *host = NULL;
    bool is = !curl_url_get(c->parts, CURLUPART_HOST, &host, 0) &&
              (host[0] == '[' || inet_pton(AF_INET, host, &any) == 1);
    curl_free(host);
    return is;
}

static int set_url(struct call *c, const struct call_spec *spec)
{
    if (c->url && !strcmp(c->url, spec->url))
        return 0;
    size_t n = strlen(spec->url) + 1;
    if (n > c->cap_url) {
        char *url = realloc(c->url, n);
        if (!url)
            return -ENOMEM;
        c->url = url;
        c->cap_url = n;
    }
    memcpy(c->url, spec->url, n);
    /* One that curl cannot take apart is told of as a call's end, as it says it then. */
    bool is_whole =
        !curl_url_set(c->parts, CURLUPART_URL, c->url, CURLU_PATH_AS_IS) && set_target(c);
    if (!is_whole)
        (void)curl_easy_setopt(c->easy, CURLOPT_REQUEST_TARGET, NULL);
    if (curl_easy_setopt(c->easy, CURLOPT_CURLU, is_whole ? c->parts : NULL) ||
        curl_easy_setopt(c->easy, CURLOPT_URL, is_whole ? NULL : c->url)) {
        c->url[0] = '\0'; /* it is not what curl has */
        return -ENOMEM;
    }
    c->tls = NULL; /* it is looked at anew for another URL */
    long idle = call_is_tls(c) ? IDLE_TLS_S : IDLE_PLAIN_S;
    /* after each call curl looks through its cache for names that are older */
    long dns = is_whole && is_address(c) ? -1l : DNS_CACHE_S;
    (void)curl_easy_setopt(c->easy, CURLOPT_DNS_CACHE_TIMEOUT, dns);
    if (c->loop->owner->config.max_idle_s)
        idle = (long)c->loop->owner->config.max_idle_s;
    (void)curl_easy_setopt(c->easy, CURLOPT_MAXAGE_CONN, idle);
    return 0;
}

static int set_method(struct call *c, const struct call_spec *spec)
{
    CURL *e = c->easy;
    bool is_post = !strcmp(spec->method, "POST");
    if (is_post || spec->body.n) {
        (void)curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.n);
        (void)curl_easy_setopt(e, CURLOPT_POSTFIELDS, spec->body.n ? spec->body.p : "");
    }
    if (!strcmp(c->method, spec->method) && is_post)
        return 0;
    if (strlen(spec->method) >= sizeof(c->method) || !is_name(str_of(spec->method)))
        return -EINVAL;
    c->method[0] = '\0';
    (void)curl_easy_setopt(e, CURLOPT_NOBODY, 0l);
    if (is_post || spec->body.n)
        (void)curl_easy_setopt(e, CURLOPT_POST, 1l);
    else
        (void)curl_easy_setopt(e, CURLOPT_HTTPGET, 1l);
    if (!strcmp(spec->method, "HEAD"))
        (void)curl_easy_setopt(e, CURLOPT_NOBODY, 1l);
    if (curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, is_post ? NULL : spec->method))
        return -ENOMEM;
    (void)snprintf(c->method, sizeof(c->method), "%s", spec->method);
    return 0;
}

static int set_tls(struct call *c, const struct call_spec *spec)
{
    const struct tls_kind *kind = tls_kind_of(c->loop, &spec->tls);
    if (!kind)
        return -ENOMEM;
    if (kind == c->tls)
        return 0;
    c->tls = NULL;
    const struct call_tls *t = &kind->tls;
    CURL *e = c->easy;
    /* curl copies the name for each call, whether it is read or not */
    const char *ca = t->ca            ? t->ca
                     : call_is_tls(c) ? curl_version_info(CURLVERSION_NOW)->cainfo
                                      : NULL;
    if (curl_easy_setopt(e, CURLOPT_CAINFO, ca) || curl_easy_setopt(e, CURLOPT_SSLCERT, t->cert) ||
        curl_easy_setopt(e, CURLOPT_SSLKEY, t->key))
        return -ENOMEM;
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0l : 1l);
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0l : 2l);
    c->tls = kind;
    return 0;
}

int call_write(struct call *c, const struct call_spec *spec)
{
    int r = set_headers(c, spec);
    if (!r)
        r = set_url(c, spec);
    if (!r)
        r = set_method(c, spec);
    if (!r)
        r = set_tls(c, spec);
    if (r < 0)
        return r;
    if (spec->http2 != c->http2) {
        long version = spec->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
        (void)curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION, version);
        c->http2 = spec->http2;
    }
    /* curl divides it among the addresses of a name; the deadline itself is ours */
    (void)curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)spec->connect_ms);
    (void)curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 0l);
    return 0;
}
