#include "gateway/head.h"

#include "base/clock.h"
#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/server.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>

enum { HEADERS_MAX = 256 };

/* Headers that are read here, or that are the client's own secrets. */
enum header {
    HEADER_other,
    HEADER_length,
    HEADER_coding,
    HEADER_type,
    HEADER_encoding,
    HEADER_expect,
    HEADER_authorization,
    HEADER_api_key,
    HEADER_goog_key,
    HEADER_secret,
    HEADER_request_id,
    HEADER_min_epoch,
    HEADER_anthropic,
    HEADER_origin,
    HEADER_asked_headers,
    HEADERS
};

struct seen {
    unsigned counts[HEADERS];
    struct str values[HEADERS]; /* the last one's */
    bool bad_name;              /* of a header: "Content-Length " is read in two ways */
    bool no_memory;
    struct chat_pair *headers;
    size_t n, max;
    struct arena *arena;
    struct request *request;
};

/* `name` in lower case. */
static enum header header_of(struct str name)
{
#define ROW(text, what)                                                                            \
    {                                                                                              \
        { text, sizeof(text) - 1 }, HEADER_##what                                                  \
    }
    static const struct {
        struct str name;
        enum header what;
    } rows[] = {
        ROW("content-length", length),
        ROW("content-type", type),
        ROW("authorization", authorization),
        ROW("x-api-key", api_key),
        ROW("api-key", api_key),
        ROW("x-goog-api-key", goog_key),
        ROW("cookie", secret),
        ROW("proxy-authorization", secret),
        ROW("transfer-encoding", coding),
        ROW("content-encoding", encoding),
        ROW("expect", expect),
        ROW("x-request-id", request_id),
        ROW("x-min-epoch", min_epoch),
        ROW("anthropic-version", anthropic),
        ROW("origin", origin),
        ROW("access-control-request-headers", asked_headers),
    };
#undef ROW
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].name.n == name.n && memcmp(rows[i].name.p, name.p, name.n) == 0)
            return rows[i].what;
    return HEADER_other;
}

/* Bytes of a token in lower case (RFC 9110, 5.6.2); 0: no name may hold it. */
static const char token_bytes[UCHAR_MAX + 1] = {
#define SAME(c) [c] = (c)
#define LETTER(c) [c] = (c) | 0x20, [(c) | 0x20] = (c) | 0x20
    SAME('!'),   SAME('#'),   SAME('$'),   SAME('%'),   SAME('&'),   SAME('\''),  SAME('*'),
    SAME('+'),   SAME('-'),   SAME('.'),   SAME('^'),   SAME('_'),   SAME('`'),   SAME('|'),
    SAME('~'),   SAME('0'),   SAME('1'),   SAME('2'),   SAME('3'),   SAME('4'),   SAME('5'),
    SAME('6'),   SAME('7'),   SAME('8'),   SAME('9'),   LETTER('A'), LETTER('B'), LETTER('C'),
    LETTER('D'), LETTER('E'), LETTER('F'), LETTER('G'), LETTER('H'), LETTER('I'), LETTER('J'),
    LETTER('K'), LETTER('L'), LETTER('M'), LETTER('N'), LETTER('O'), LETTER('P'), LETTER('Q'),
    LETTER('R'), LETTER('S'), LETTER('T'), LETTER('U'), LETTER('V'), LETTER('W'), LETTER('X'),
    LETTER('Y'), LETTER('Z'),
#undef LETTER
#undef SAME
};

/* In place; false: it is no token. */
static bool make_lower(struct str name)
{
    bool good = name.n > 0;
    for (size_t i = 0; i < name.n; i++) {
        char c = token_bytes[(unsigned char)name.p[i]];
        good = good && c;
        ((char *)(uintptr_t)name.p)[i] = c;
    }
    return good;
}

/* For one more, where there are not too many; they are counted as they come, for to ask how many
 * there are takes as long. */
static bool has_room(struct seen *s)
{
    enum { FIRST = 16 };
    if (s->n == HEADERS_MAX)
        return true;
    struct chat_pair *headers =
        arena_room(s->arena, s->headers, s->n, &s->max, FIRST, sizeof(*headers));
    if (headers)
        s->headers = headers;
    else
        s->no_memory = true;
    return headers;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                 const char *value)
{
    (void)kind;
    struct seen *s = cls;
    if (!has_room(s))
        return MHD_NO;
    struct chat_pair pair = { arena_str(s->arena, str_of(key)),
                              arena_str(s->arena, str_trim(str_of(value))) };
    if (!pair.key.p || !pair.value.p) {
        s->no_memory = true;
        return MHD_NO;
    }
    if (!make_lower(pair.key)) {
        s->bad_name = true;
        return MHD_YES;
    }
    enum header what = header_of(pair.key);
    s->counts[what]++;
    s->values[what] = pair.value;
    bool is_key = what >= HEADER_authorization && what <= HEADER_goog_key; /* for engines behind */
    if (is_key && s->request->n_credentials < REQUEST_CREDENTIALS)
        s->request->credentials[s->request->n_credentials++] = pair;
    if (!is_key && what != HEADER_secret && s->n < s->max)
        s->headers[s->n++] = pair;
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
static int check_framing(const struct seen *s, struct framing *f, struct fail *reterr)
{
    f->is_chunked = s->counts[HEADER_coding] > 0;
    f->expects_100 = str_eq_nocase(s->values[HEADER_expect], STR("100-continue"));
    if (s->bad_name)
        return fail_set(reterr, FAIL_invalid_request,
                        "a header's name holds what no name may hold, such as a space");
    if (s->counts[HEADER_coding] && s->counts[HEADER_length])
        return fail_set(reterr, FAIL_invalid_request,
                        "both Content-Length and Transfer-Encoding were sent");
    if (s->counts[HEADER_coding] > 1 ||
        (s->counts[HEADER_coding] && !str_eq_nocase(s->values[HEADER_coding], STR("chunked"))))
        return fail_set(reterr, FAIL_invalid_request,
                        "the only Transfer-Encoding served is 'chunked'");
    if (s->counts[HEADER_length] > 1)
        return fail_set(reterr, FAIL_invalid_request, "Content-Length was sent twice");
    if (s->counts[HEADER_length] &&
        num_parse_u64(&f->length, s->values[HEADER_length], 0, UINT64_MAX) < 0)
        return fail_set(reterr, FAIL_invalid_request, "Content-Length is not a number");
    f->has_body = f->is_chunked || f->length > 0;
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
    int err = auth_check(r->state->auth, s->values[HEADER_authorization], s->values[HEADER_api_key],
                         loopback, &r->caller, reterr);
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
    r->is_form = r->endpoint->uploads && is_form(s->values[HEADER_type]);
    uint64_t max = r->is_form ? g->upload_bytes : g->body_bytes;
    r->body = BUF_INIT(max);
    if (f->length > max)
        return fail_set(reterr, FAIL_request_too_large,
                        "the body has %llu bytes; at most %llu are served",
                        (unsigned long long)f->length, (unsigned long long)max);
    if (!f->has_body)
        return 0;
    if (s->values[HEADER_encoding].n && !str_eq_nocase(s->values[HEADER_encoding], STR("identity")))
        return fail_set(reterr, FAIL_unsupported_media_type,
                        "Content-Encoding '" STR_FMT "' is not served; send the body as it is",
                        STR_ARG(str_head(s->values[HEADER_encoding], 32)));
    if (s->values[HEADER_type].n && !r->is_form && !is_json(s->values[HEADER_type]))
        return fail_set(reterr, FAIL_unsupported_media_type,
                        "Content-Type '" STR_FMT "' is not served; send application/json in UTF-8",
                        STR_ARG(str_head(s->values[HEADER_type], 64)));
    return 0;
}

static void preflight(struct request *r, const struct seen *s)
{
    r->reply.status = 204; /* its Allow header is there */
    if (!r->endpoint->cors)
        return;
    reply_header(r, "Access-Control-Allow-Methods", r->reply.headers[0].value);
    reply_header(r, "Access-Control-Allow-Headers",
                 s->values[HEADER_asked_headers].n ? s->values[HEADER_asked_headers] : STR("*"));
    reply_header(r, "Access-Control-Max-Age", STR("86400"));
}

/* The route's own way; of what several APIs have in common, or nobody, that of the API which the
 * client speaks. */
static void set_errors(struct request *r, const struct seen *s, const struct endpoint *e)
{
    bool is_common = !e || e->common;
    r->errors = is_common && s->values[HEADER_anthropic].p ? &error_anthropic : &error_openai;
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
        err = check_epoch(r, s->values[HEADER_min_epoch], reterr);
    if (err == 0)
        err = check_body(r, s, f, reterr);
    return err;
}

bool head_accept(struct request *r, const char *url, const char *method, struct framing *f)
{
    struct seen s = { .arena = r->arena, .request = r };
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, on_header, &s);
    r->headers = s.headers;
    r->n_headers = s.n;
    r->is_head = strcmp(method, "HEAD") == 0;
    r->has_origin = s.counts[HEADER_origin] > 0;
    take_id(r, s.values[HEADER_request_id]);
    *f = (struct framing){ 0 };
    set_errors(r, &s, /* e= */ NULL);
    struct fail fail = { 0 };
    int err =
        s.no_memory ? fail_errno(&fail, -ENOMEM, "reading the head") : check_framing(&s, f, &fail);
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
