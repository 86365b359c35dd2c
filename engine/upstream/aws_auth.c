#include "engine/upstream/aws_auth.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/secret.h"

#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define INSTANCE_ROLES "/latest/meta-data/iam/security-credentials/"
enum {
    STATIC_S = 3600, /* keys without an end are asked for again so often */
    MAX_TOKEN = 16 * KIB,
    ROLE_BYTES = 256,
};

struct machine {
    char *url;               /* of STS; of a container's credentials; of an instance's server */
    char *form;              /* what STS is asked, but for the token */
    struct secret_file file; /* path NULL: none */
    char *authorization;     /* or NULL */
    struct buf session;      /* of an instance: what further calls must carry */
    char role[ROLE_BYTES];   /* likewise */
};

static void machine_free(void *ctx)
{
    struct machine *m = ctx;
    (void)secret_free(m->authorization, m->authorization ? strlen(m->authorization) : 0);
    secret_file_done(&m->file);
    secret_buf_done(&m->session);
    free(m->form);
    free(m->url);
    free(m);
}

/* ---- what both answer ---- */

/* "2026-11-21T10:00:00Z" → seconds from now. */
static uint64_t seconds_until(struct str when)
{
    char text[sizeof("2026-11-21T10:00:00")] = "";
    struct tm tm = { 0 };
    struct str head = str_head(when, sizeof(text) - 1);
    if (head.n < sizeof(text) - 1)
        return 0;
    memcpy(text, head.p, head.n);
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t at = end && !*end ? timegm(&tm) : 0;
    uint64_t now = clock_wall_s();
    return at > 0 && (uint64_t)at > now ? (uint64_t)at - now : 0;
}

static int read_keys(struct str body, struct buf *ret, uint64_t *ret_lifetime_s)
{
    static const char *const names[] = { "AccessKeyId", "SecretAccessKey", "Token" };
    struct str when;
    size_t at;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return -EBADMSG;
    struct str object = json_view_value(body);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str value = json_view_get(object, names[i]);
        bool is_needed = i < 2;
        if (json_view_kind(value) != JSON_VIEW_string && !is_needed)
            break;
        if (i)
            buf_addc(ret, ':');
        size_t before = ret->n;
        json_view_add_text(ret, value);
        if (is_needed && ret->n == before)
            return -EBADMSG;
    }
    *ret_lifetime_s = STATIC_S;
    if (json_view_plain(json_view_get(object, "Expiration"), &when))
        *ret_lifetime_s = seconds_until(when);
    return buf_err(ret);
}

/* ---- a token of the cluster's, for keys ---- */

static int ask_sts(void *ctx, unsigned step, struct token_ask *ask)
{
    (void)step;
    struct machine *m = ctx;
    int r = 0;
    struct str token = str_trim(secret_file_get(&m->file, &r)); /* it is renewed in its file */
    if (r != 0)
        return r;
    ask->method = "POST";
    buf_adds(&ask->url, m->url);
    buf_adds(&ask->body, m->form);
    buf_add_escaped(&ask->body, token);
    ask->headers[ask->n_headers++] =
        (struct chat_pair){ STR("content-type"), STR("application/x-www-form-urlencoded") };
    return 0;
}

/* The text of the first element of that name: keys and times hold nothing that XML escapes. */
static struct str element(struct str xml, const char *name)
{
    char open[ROLE_BYTES], close[ROLE_BYTES];
    (void)snprintf(open, sizeof(open), "<%s>", name);
    (void)snprintf(close, sizeof(close), "</%s>", name);
    ptrdiff_t at = str_find(xml, str_of(open));
    struct str text = at < 0 ? STR_NULL : str_sub(xml, (size_t)at + strlen(open));
    ptrdiff_t end = at < 0 ? -1 : str_find(text, str_of(close));
    return end < 0 ? STR_NULL : str_trim(str_head(text, (size_t)end));
}

static int read_sts(void *ctx, unsigned step, struct str body, struct buf *ret,
                    uint64_t *ret_lifetime_s)
{
    static const char *const names[] = { "AccessKeyId", "SecretAccessKey", "SessionToken" };
    (void)ctx;
    (void)step;
    struct str given = element(body, "Credentials"), end = element(given, "Expiration");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str value = element(given, names[i]);
        if (value.n == 0)
            return -EBADMSG;
        if (i)
            buf_addc(ret, ':');
        buf_add(ret, value);
    }
    *ret_lifetime_s = end.n ? seconds_until(end) : STATIC_S;
    return buf_err(ret);
}

static char *sts_form(const char *role, const char *session)
{
    struct buf b = BUF_INIT(MAX_TOKEN);
    size_t n;
    buf_adds(&b, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    buf_add_escaped(&b, str_of(role));
    buf_adds(&b, "&RoleSessionName=");
    buf_add_escaped(&b, str_of(session && session[0] ? session : "rootstock"));
    buf_adds(&b, "&WebIdentityToken=");
    char *s = buf_take(&b, &n);
    buf_done(&b);
    return s;
}

static char *sts_url(struct str region)
{
    const char *own = getenv("AWS_ENDPOINT_URL_STS");
    struct buf b = BUF_INIT(MAX_TOKEN);
    size_t n;
    if (own && own[0])
        return str_dup(str_of(own));
    buf_adds(&b, "https://sts.");
    buf_add(&b, region);
    buf_adds(&b, str_starts(region, STR("cn-")) ? ".amazonaws.com.cn/" : ".amazonaws.com/");
    char *s = buf_take(&b, &n);
    buf_done(&b);
    return s;
}

int aws_web_identity_source(struct token_source *ret, struct str region)
{
    static const struct token_source_ops ops = { ask_sts, read_sts, machine_free };
    const char *file = getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = getenv("AWS_ROLE_ARN");
    if (!file || !file[0] || !role || !role[0])
        return -ENOENT;
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->file = (struct secret_file){ .path = str_dup(str_of(file)), .max = MAX_TOKEN };
    m->form = sts_form(role, getenv("AWS_ROLE_SESSION_NAME"));
    m->url = sts_url(region.n ? region : STR("us-east-1"));
    if (!m->file.path || !m->form || !m->url) {
        machine_free(m);
        return -ENOMEM;
    }
    *ret = (struct token_source){ &ops, m };
    return 0;
}

/* ---- a container ---- */

static int ask_container(void *ctx, unsigned step, struct token_ask *ask)
{
    (void)step;
    struct machine *m = ctx;
    int r = 0;
    struct str token = str_of(m->authorization);
    if (m->file.path) {
        token = str_trim(secret_file_get(&m->file, &r));
        if (r != 0)
            return r;
    }
    ask->method = "GET";
    buf_adds(&ask->url, m->url);
    buf_add(&ask->text, token);
    if (token.n)
        ask->headers[ask->n_headers++] =
            (struct chat_pair){ STR("authorization"), buf_str(&ask->text) };
    ask->headers[ask->n_headers++] = (struct chat_pair){ STR("accept"), STR("application/json") };
    return 0;
}

static int read_container(void *ctx, unsigned step, struct str body, struct buf *ret,
                          uint64_t *ret_lifetime_s)
{
    (void)ctx;
    (void)step;
    return read_keys(body, ret, ret_lifetime_s);
}

static char *join(const char *a, const char *b)
{
    struct buf text = BUF_INIT(MAX_TOKEN);
    size_t n;
    buf_adds(&text, a);
    buf_adds(&text, b);
    char *s = buf_take(&text, &n);
    buf_done(&text);
    return s;
}

int aws_container_source(struct token_source *ret)
{
    static const struct token_source_ops ops = { ask_container, read_container, machine_free };
    const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *file = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (!relative && !full)
        return -ENOENT;
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->url = relative ? join(CONTAINER_HOST, relative) : join(full, "");
    m->file.max = MAX_TOKEN;
    if (file)
        m->file.path = str_dup(str_of(file));
    else if (token)
        m->authorization = secret_dup(str_of(token));
    if (!m->url || (file && !m->file.path) || (!file && token && !m->authorization)) {
        machine_free(m);
        return -ENOMEM;
    }
    *ret = (struct token_source){ &ops, m };
    return 0;
}

/* ---- an instance: a session, the role's name, its keys ---- */

enum { STEP_session, STEP_role, STEP_keys };

static int ask_instance(void *ctx, unsigned step, struct token_ask *ask)
{
    struct machine *m = ctx;
    if (step == STEP_session) {
        ask->method = "PUT";
        buf_addf(&ask->url, "%s/latest/api/token", m->url);
        ask->headers[ask->n_headers++] =
            (struct chat_pair){ STR("x-aws-ec2-metadata-token-ttl-seconds"), STR("300") };
        return 0;
    }
    ask->method = "GET";
    buf_addf(&ask->url, "%s" INSTANCE_ROLES "%s", m->url, step == STEP_keys ? m->role : "");
    buf_add(&ask->text, buf_str(&m->session));
    ask->headers[ask->n_headers++] =
        (struct chat_pair){ STR("x-aws-ec2-metadata-token"), buf_str(&ask->text) };
    return 0;
}

static int read_role(struct machine *m, struct str body)
{
    struct str first = body, rest;
    (void)str_cut(body, '\n', &first, &rest);
    first = str_trim(first);
    if (first.n == 0 || first.n >= sizeof(m->role))
        return -EBADMSG;
    memset(m->role, 0, sizeof(m->role));
    memcpy(m->role, first.p, first.n);
    return 1;
}

static int read_instance(void *ctx, unsigned step, struct str body, struct buf *ret,
                         uint64_t *ret_lifetime_s)
{
    struct machine *m = ctx;
    if (step == STEP_role)
        return read_role(m, body);
    secret_buf_done(&m->session);
    if (step == STEP_keys)
        return read_keys(body, ret, ret_lifetime_s);
    int r = secret_buf(&m->session, MAX_TOKEN);
    if (r != 0)
        return r;
    buf_add(&m->session, str_trim(body));
    return m->session.n && buf_err(&m->session) == 0 ? 1 : -EBADMSG;
}

int aws_instance_source(struct token_source *ret)
{
    static const struct token_source_ops ops = { ask_instance, read_instance, machine_free };
    const char *host = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (str_eq_nocase(str_of(getenv("AWS_EC2_METADATA_DISABLED")), STR("true")))
        return -ENOENT;
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->url = str_dup(str_of(host && host[0] ? host : INSTANCE_HOST));
    if (!m->url) {
        machine_free(m);
        return -ENOMEM;
    }
    size_t n = strlen(m->url);
    while (n && m->url[n - 1] == '/')
        m->url[--n] = '\0';
    *ret = (struct token_source){ &ops, m };
    return 0;
}
