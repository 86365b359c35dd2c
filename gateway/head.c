#include "gateway/head.h"

#include "base/clock.h"
#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/server.h"

#include <ctype.h>
#include <microhttpd.h>

enum { HEADERS_MAX = 256 };

struct seen {
    unsigned lengths, codings; /* Content-Length and Transfer-Encoding headers */
    bool bad_name;             /* of a header: "Content-Length " is read in two ways */
    struct str length, coding, type, encoding, expect, authorization, api_key, request_id,
        asked_headers, min_epoch, anthropic;
    struct chat_pair *headers;
    size_t n, max;
    struct arena *arena;
    struct request *request;
};

static bool is(const char *key, const char *name)
{
    return str_eq_nocase(str_of(key), str_of(name));
}

static void note(struct seen *s, const char *key, struct str value)
{
    if (is(key, "Content-Length")) {
        s->lengths++;
        s->length = value;
    } else if (is(key, "Transfer-Encoding")) {
        s->codings++;
        s->coding = value;
    } else if (is(key, "Content-Type")) {
        s->type = value;
    } else if (is(key, "Content-Encoding")) {
        s->encoding = value;
    } else if (is(key, "Expect")) {
        s->expect = value;
    } else if (is(key, "Authorization")) {
        s->authorization = value;
    } else if (is(key, "api-key") || is(key, "x-api-key")) {
        s->api_key = value;
    } else if (is(key, "x-request-id")) {
        s->request_id = value;
    } else if (is(key, "x-min-epoch")) {
        s->min_epoch = value;
    } else if (is(key, "anthropic-version")) {
        s->anthropic = value;
    } else if (is(key, "Access-Control-Request-Headers")) {
        s->asked_headers = value;
    }
}

static bool is_token(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
            return false;
    return name[0] != '\0';
}

/* What an engine behind would take as its own. */
static bool is_key(const char *key)
{
    return is(key, "Authorization") || is(key, "api-key") || is(key, "x-api-key") ||
           is(key, "x-goog-api-key");
}

static bool is_credential(const char *key)
{
    return is_key(key) || is(key, "Cookie") || is(key, "Proxy-Authorization");
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                 const char *value)
{
    (void)kind;
    struct seen *s = cls;
    struct str text = str_trim(str_of(value));
    note(s, key, text);
    if (!is_token(key))
        s->bad_name = true;
    if (s->n == s->max || !s->headers)
        return MHD_YES;
    struct str name = arena_str(s->arena, str_of(key));
    if (!name.p)
        return MHD_YES;
    for (size_t i = 0; i < name.n; i++)
        ((char *)(uintptr_t)name.p)[i] = (char)tolower((unsigned char)name.p[i]);
    struct chat_pair pair = { name, arena_str(s->arena, text) };
    if (!is_credential(key))
        s->headers[s->n++] = pair;
    else if (is_key(key) && s->request->n_credentials < REQUEST_CREDENTIALS)
        s->request->credentials[s->request->n_credentials++] = pair;
    return MHD_YES;
}

struct str head_query(struct request *r, const char *name)
{
    const char *v = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
    struct str text = STR_NULL;
    if (v && api_unescape(str_of(v), r->arena, &text) == 0)
        return arena_str(r->arena, text);
    return v ? arena_str(r->arena, str_of(v)) : STR_NULL;
}

/* An inbound id is kept when it is harmless in logs and headers. */
static void take_id(struct request *r, struct str id)
{
    if (id.n == 0 || id.n >= sizeof(r->id))
        return;
    for (size_t i = 0; i < id.n; i++)
        if (!isalnum((unsigned char)id.p[i]) && !strchr("._:-", id.p[i]))
            return;
    memcpy(r->id, id.p, id.n);
    r->id[id.n] = '\0';
}

/* Two ways to say where the body ends let two readers disagree: request smuggling. */
static int check_framing(struct request *r, const struct seen *s, struct framing *f,
                         struct fail *reterr)
{
    f->is_chunked = s->codings > 0;
    f->expects_100 = str_eq_nocase(s->expect, STR("100-continue"));
    if (s->bad_name)
        return fail_set(reterr, FAIL_invalid_request,
                        "a header's name holds what no name may hold, such as a space");
    if (s->codings && s->lengths)
        return fail_set(reterr, FAIL_invalid_request,
                        "both Content-Length and Transfer-Encoding were sent");
    if (s->codings > 1 || (s->codings && !str_eq_nocase(s->coding, STR("chunked"))))
        return fail_set(reterr, FAIL_invalid_request,
                        "the only Transfer-Encoding served is 'chunked'");
    if (s->lengths > 1)
        return fail_set(reterr, FAIL_invalid_request, "Content-Length was sent twice");
    if (s->lengths && num_parse_u64(&f->length, s->length, 0, UINT64_MAX) < 0)
        return fail_set(reterr, FAIL_invalid_request, "Content-Length is not a number");
    f->has_body = f->is_chunked || f->length > 0;
    (void)r;
    return 0;
}

static int check_size(struct request *r, struct fail *reterr)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    uint64_t max = r->state->config->gateway.header_bytes;
    if (info && info->header_size > max)
        return fail_set(reterr, FAIL_headers_too_large,
                        "the request's head has %zu bytes; at most %llu are served",
                        info->header_size, (unsigned long long)max);
    return 0;
}

static int check_load(struct request *r, struct fail *reterr)
{
    uint64_t max = r->state->config->gateway.streams;
    if (!r->endpoint->works)
        return 0;
    bool draining = server_is_draining(r->server);
    if (!draining && server_active(r->server) <= max)
        return 0;
    r->reply.close = draining;
    (void)fail_set(reterr, FAIL_overloaded,
                   draining ? "the server is shutting down; try another replica"
                            : "as many requests as gateway.limits.streams allows are active");
    reterr->retry_after_s = 1;
    return FAILED;
}

static int check_key(struct request *r, const struct seen *s, struct fail *reterr)
{
    if (r->endpoint->open)
        return 0;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    bool loopback = info && auth_is_loopback(info->client_addr);
    int err =
        auth_check(r->state->auth, s->authorization, s->api_key, loopback, &r->caller, reterr);
    if (err == 0 && r->endpoint->operates && r->caller.tenant.p)
        return fail_set(reterr, FAIL_permission_denied,
                        "this is for keys without a tenant: it tells what others do");
    return err;
}

/* "17", or an ETag as it was answered: "\"17\"". */
static int check_epoch(struct request *r, struct str text, struct fail *reterr)
{
    if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
        text = (struct str){ text.p + 1, text.n - 2 };
    if (!text.p || num_parse_u64(&r->min_epoch, text, 0, UINT64_MAX) == 0)
        return 0;
    return fail_param(
        reterr, FAIL_invalid_request, "x-min-epoch",
        "the header x-min-epoch must be an epoch, as x-catalog-epoch or ETag told it");
}

/* "application/json; charset=utf-8": JSON, in the only encoding JSON has. */
static bool is_json(struct str type)
{
    struct str media = type, parameters = STR_NULL;
    (void)str_cut(type, ';', &media, &parameters);
    media = str_trim(media);
    bool json = str_eq_nocase(media, STR("application/json")) ||
                (media.n > 17 && str_eq_nocase(str_head(media, 12), STR("application/")) &&
                 str_eq_nocase(str_sub(media, media.n - 5), STR("+json")));
    char lower[64];
    size_t n = parameters.n < sizeof(lower) ? parameters.n : sizeof(lower);
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)parameters.p[i]);
    struct str p = { lower, n };
    return json && (str_find(p, STR("charset")) < 0 || str_find(p, STR("utf-8")) >= 0 ||
                    str_find(p, STR("utf8")) >= 0);
}

static bool is_form(struct str type)
{
    struct str media = type, parameters = STR_NULL;
    (void)str_cut(type, ';', &media, &parameters);
    return str_eq_nocase(str_trim(media), STR("multipart/form-data"));
}

static int check_body(struct request *r, const struct seen *s, const struct framing *f,
                      struct fail *reterr)
{
    const struct config_gateway *g = &r->state->config->gateway;
    r->is_form = r->endpoint->uploads && is_form(s->type);
    uint64_t max = r->is_form ? g->upload_bytes : g->body_bytes;
    r->body = BUF_INIT(max);
    if (f->length > max)
        return fail_set(reterr, FAIL_request_too_large,
                        "the body has %llu bytes; at most %llu are served",
                        (unsigned long long)f->length, (unsigned long long)max);
    if (!f->has_body)
        return 0;
    if (s->encoding.n && !str_eq_nocase(s->encoding, STR("identity")))
        return fail_set(reterr, FAIL_unsupported_media_type,
                        "Content-Encoding '" STR_FMT "' is not served; send the body as it is",
                        STR_ARG(str_head(s->encoding, 32)));
    if (s->type.n && !r->is_form && !is_json(s->type))
        return fail_set(reterr, FAIL_unsupported_media_type,
                        "Content-Type '" STR_FMT "' is not served; send application/json in UTF-8",
                        STR_ARG(str_head(s->type, 64)));
    return 0;
}

static void preflight(struct request *r, const struct seen *s)
{
    r->reply.status = 204; /* its Allow header is there */
    if (!r->endpoint->cors)
        return;
    reply_header(r, "Access-Control-Allow-Methods", r->reply.headers[0].value);
    reply_header(r, "Access-Control-Allow-Headers",
                 s->asked_headers.n ? s->asked_headers : STR("*"));
    reply_header(r, "Access-Control-Max-Age", STR("86400"));
}

/* The route's own way; of what several APIs have in common, or nobody, that of the API which the
 * client speaks. */
static void set_errors(struct request *r, const struct seen *s, const struct endpoint *e)
{
    bool is_common = !e || e->common;
    r->errors = is_common && s->anthropic.p ? &error_anthropic : &error_openai;
    if (e && e->errors)
        r->errors = e->errors;
}

static int check_all(struct request *r, const struct seen *s, const struct framing *f,
                     const char *url, const char *method, struct fail *reterr)
{
    struct api_match found = { 0 };
    int err = check_size(r, reterr);
    if (err == 0)
        err = api_find(&found, str_of(url), method, r->arena, reterr);
    r->endpoint = found.endpoint;
    set_errors(r, s, found.endpoint ? found.endpoint : found.other);
    memcpy(r->params, found.params, sizeof(r->params));
    r->rest = found.rest;
    if (found.allow)
        reply_header(r, "Allow", str_of(found.allow));
    if (err == 0 && strcmp(method, "OPTIONS") == 0)
        return 0;
    if (err == 0)
        err = check_load(r, reterr);
    if (err == 0)
        err = check_key(r, s, reterr);
    if (err == 0)
        err = check_epoch(r, s->min_epoch, reterr);
    if (err == 0)
        err = check_body(r, s, f, reterr);
    return err;
}

bool head_accept(struct request *r, const char *url, const char *method, struct framing *f)
{
    struct seen s = { .arena = r->arena, .request = r };
    int n = MHD_get_connection_values(r->connection, MHD_HEADER_KIND, /* each= */ NULL, NULL);
    s.max = n < 0 ? 0 : n > HEADERS_MAX ? HEADERS_MAX : (size_t)n;
    s.headers = arena_array(r->arena, s.max, sizeof(*s.headers));
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_header, &s);
    r->headers = s.headers;
    r->n_headers = s.n;
    r->is_head = strcmp(method, "HEAD") == 0;
    r->query_trace = head_query(r, "trace");
    r->query_after = head_query(r, "after");
    r->query_limit = head_query(r, "limit");
    take_id(r, s.request_id);
    *f = (struct framing){ 0 };
    set_errors(r, &s, /* e= */ NULL);
    struct fail fail = { 0 };
    int err = check_framing(r, &s, f, &fail);
    if (err != 0)
        r->reply.close = true;
    if (err == 0)
        err = check_all(r, &s, f, url, method, &fail);
    if (err != 0) {
        (void)reply_fail(r, &fail);
        return false;
    }
    if (strcmp(method, "OPTIONS") != 0)
        return true;
    preflight(r, &s);
    return false;
}
