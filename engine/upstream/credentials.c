#include "engine/upstream/credentials.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "config/aws_profile.h"
#include "engine/upstream/aws_auth.h"
#include "engine/upstream/google_auth.h"
#include "engine/upstream/secret.h"
#include "engine/upstream/token.h"

#define GCLOUD_FILE "/.config/gcloud/application_default_credentials.json"
enum {
    MAX_KEY_FILE = 64 * KIB,
    MAX_TENANTS_FILE = 4 * MIB,
    RETRY_S = 1, /* while a token is being fetched */
};

enum source_kind {
    SOURCE_none,
    SOURCE_unset, /* a variable that was named is not there */
    SOURCE_text,
    SOURCE_file,        /* its content is the key */
    SOURCE_aws_profile, /* a section of it holds the keys */
    SOURCE_token,
};

struct source {
    enum source_kind kind;
    char *text; /* owned */
    size_t n;
    struct secret_file file; /* under the lock */
    char profile[128];
    struct token *token;
};

struct endpoint {
    const struct config_endpoint *config;
    struct source own, tenants;
};

struct credentials {
    struct transport *transport;
    pthread_mutex_t lock;
    struct endpoint *endpoints;
    size_t n;
};

/* ---- sources ---- */

static void source_done(struct source *s)
{
    s->token = token_free(s->token);
    s->text = secret_free(s->text, s->n);
    secret_file_done(&s->file);
    s->kind = SOURCE_none;
}

static int use_text(struct source *s, struct str text)
{
    text = str_trim(text);
    s->text = secret_dup(text);
    s->n = text.n;
    s->kind = SOURCE_text;
    return s->text ? 0 : -ENOMEM;
}

/* A variable that the configuration names: its absence is told when the key is needed, so that the
 * other models of a file are served. */
static int use_variable(struct source *s, struct str name, const struct config_endpoint *e)
{
    char key[LIMIT_NAME];
    (void)snprintf(key, sizeof(key), "%.*s", STR_ARG(name));
    struct str value = str_of(getenv(key));
    if (str_trim(value).n)
        return use_text(s, value);
    s->kind = SOURCE_unset;
    log_line(LOG_warn, "credentials_missing", "endpoint=%.*s variable=%s, continuing",
             STR_ARG(e->name), key);
    return 0;
}

static int use_file(struct source *s, struct str path, size_t max, enum source_kind kind)
{
    s->file = (struct secret_file){ .path = str_dup(path), .max = max };
    s->kind = kind;
    return s->file.path ? 0 : -ENOMEM;
}

/* A file that was named must be there. */
static int check_file(struct source *s, const struct config_endpoint *e, struct fail *reterr)
{
    int err;
    if (secret_file_get(&s->file, &err).p || err == -ENOMEM)
        return err;
    return fail_set(reterr, FAIL_internal_error, "the credentials of endpoint '%.*s' in %.150s: %s",
                    STR_ARG(str_head(e->name, 60)), s->file.path,
                    err == -ENODATA ? "the file is empty" : strerror(-err));
}

static int use_token(struct credentials *c, struct source *s, struct token_source from,
                     const struct config_endpoint *e)
{
    s->kind = SOURCE_token;
    return token_new(&s->token, c->transport, from, e->name);
}

/* The host of an endpoint, without port. */
static struct str host_of(const struct config_endpoint *e)
{
    ptrdiff_t at = str_find(e->url, STR("://"));
    struct str host = str_sub(e->url, at < 0 ? 0 : (size_t)at + 3), rest;
    (void)str_cut(host, '/', &host, &rest);
    (void)str_cut(host, ':', &host, &rest);
    return host;
}

static bool is_at(const struct config_endpoint *e, struct str domain)
{
    struct str host = host_of(e);
    size_t from = host.n - domain.n;
    return host.n > domain.n && str_eq_nocase(str_sub(host, from), domain);
}

/* Of this machine: who listens there may know what we know. */
static bool is_here(const struct config_endpoint *e)
{
    struct str host = host_of(e);
    return str_eq_nocase(host, STR("localhost")) || str_starts(host, STR("127.")) ||
           str_find(e->url, STR("://[::1]")) >= 0;
}

static bool is_readable(struct source *s)
{
    return secret_file_get(&s->file, NULL).p != NULL;
}

/* ---- Amazon: environment, profile file, web identity, container, instance ---- */

static struct aws_keys profile_keys(struct source *s)
{
    return aws_keys_of_profile(secret_file_get(&s->file, NULL), s->profile);
}

static int use_aws_keys(struct source *s, struct aws_keys k)
{
    CLEANUP(secret_buf_done) struct buf text = { 0 };
    int r = secret_buf(&text, MAX_KEY_FILE);
    if (r != 0)
        return r;
    buf_addf(&text, "%.*s:%.*s", STR_ARG(k.id), STR_ARG(k.secret));
    if (k.token.n) {
        buf_addc(&text, ':');
        buf_add(&text, k.token);
    }
    return buf_err(&text) == 0 ? use_text(s, buf_str(&text)) : buf_err(&text);
}

static int use_aws_machine(struct credentials *c, struct source *s, const struct config_endpoint *e)
{
    struct token_source from = { 0 };
    int r = aws_web_identity_source(&from, e->region);
    if (r == -ENOENT)
        r = aws_container_source(&from);
    if (r == -ENOENT && is_at(e, STR(".amazonaws.com")))
        r = aws_instance_source(&from);
    if (r == -ENOENT)
        return 0;
    return r == 0 ? use_token(c, s, from, e) : r;
}

static int use_aws(struct credentials *c, struct source *s, const struct config_endpoint *e,
                   struct fail *reterr)
{
    struct aws_place place;
    bool is_named = e->credentials.n || e->profile.n;
    aws_place_choose(&place, e->credentials, e->profile);
    if (!place.file[0]) {
        struct aws_keys keys = aws_keys_of_environment();
        return keys.id.n && keys.secret.n ? use_aws_keys(s, keys) : use_aws_machine(c, s, e);
    }
    memcpy(s->profile, place.profile, sizeof(s->profile));
    int r = use_file(s, str_of(place.file), MAX_KEY_FILE, SOURCE_aws_profile);
    if (r == 0 && is_named)
        r = check_file(s, e, reterr);
    if (r != 0)
        return r;
    struct aws_keys keys = profile_keys(s);
    if (keys.id.n && keys.secret.n)
        return 0;
    if (is_named)
        return fail_set(reterr, FAIL_internal_error,
                        "the credentials of endpoint '%.*s' in %.150s: profile '%.60s' has no keys",
                        STR_ARG(str_head(e->name, 60)), place.file, place.profile);
    source_done(s);
    return use_aws_machine(c, s, e);
}

/* ---- Google: a file, the machine ---- */

static int use_google_file(struct credentials *c, struct source *s, struct str path,
                           const struct config_endpoint *e, struct fail *reterr)
{
    CLEANUP(own_free) char *file = str_dup(path);
    struct token_source from = { 0 };
    int r = file ? google_file_source(&from, file, reterr) : -ENOMEM;
    return r == 0 ? use_token(c, s, from, e) : r;
}

static int use_metadata(struct credentials *c, struct source *s, struct str host,
                        const struct config_endpoint *e)
{
    struct token_source from = { 0 };
    int r = google_metadata_source(&from, host);
    return r == 0 ? use_token(c, s, from, e) : r;
}

/* What an endpoint of Google's own has where nothing is configured. */
static int use_google_defaults(struct credentials *c, struct source *s,
                               const struct config_endpoint *e, struct fail *reterr)
{
    struct str file = str_of(getenv("GOOGLE_APPLICATION_CREDENTIALS"));
    struct str host = str_of(getenv("GCE_METADATA_HOST"));
    struct str home = str_of(getenv("HOME"));
    bool is_googles = is_at(e, STR(".googleapis.com"));
    if (!is_googles && !is_here(e))
        return 0; /* nobody else gets a token of Google's unasked */
    if (file.n)
        return use_google_file(c, s, file, e, reterr);
    if (host.n || !is_googles)
        return host.n ? use_metadata(c, s, host, e) : 0;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%.*s" GCLOUD_FILE, STR_ARG(home));
    int r = use_file(s, str_of(path), MAX_KEY_FILE, SOURCE_file);
    if (r != 0)
        return r;
    bool is_there = is_readable(s);
    source_done(s);
    return is_there ? use_google_file(c, s, str_of(path), e, reterr)
                    : use_metadata(c, s, STR("metadata.google.internal"), e);
}

/* ---- which one ---- */

static int choose_by_provider(struct credentials *c, struct source *s,
                              const struct config_endpoint *e, struct fail *reterr)
{
    bool is_google = e->provider == UPSTREAM_vertex || e->provider == UPSTREAM_gemini;
    if (is_google && e->credentials.n)
        return use_google_file(c, s, e->credentials, e, reterr);
    if (e->provider == UPSTREAM_bedrock && (e->credentials.n || e->profile.n))
        return use_aws(c, s, e, reterr);
    char usual[LIMIT_NAME];
    (void)snprintf(usual, sizeof(usual), "%.*s", STR_ARG(e->usual_env));
    struct str value = usual[0] ? str_trim(str_of(getenv(usual))) : STR_NULL;
    if (value.n)
        return use_text(s, value);
    if (e->provider == UPSTREAM_bedrock)
        return use_aws(c, s, e, reterr);
    return e->provider == UPSTREAM_vertex ? use_google_defaults(c, s, e, reterr) : 0;
}

static int choose_own(struct credentials *c, struct source *s, const struct config_endpoint *e,
                      struct fail *reterr)
{
    if (e->key_env.n)
        return use_variable(s, e->key_env, e);
    if (e->key_file.n) {
        int r = use_file(s, e->key_file, MAX_KEY_FILE, SOURCE_file);
        return r == 0 ? check_file(s, e, reterr) : r;
    }
    return e->key.n ? use_text(s, e->key) : choose_by_provider(c, s, e, reterr);
}

static int choose_tenants(struct source *s, const struct config_endpoint *e, struct fail *reterr)
{
    if (e->tenant_keys_env.n)
        return use_variable(s, e->tenant_keys_env, e);
    if (e->tenant_keys_file.n == 0)
        return 0;
    int r = use_file(s, e->tenant_keys_file, MAX_TENANTS_FILE, SOURCE_file);
    if (r == 0)
        r = check_file(s, e, reterr);
    return r;
}

int credentials_new(struct credentials **ret, const struct config_upstream *config,
                    struct transport *transport, struct fail *reterr)
{
    CLEANUP(credentials_freep) struct credentials *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    (void)pthread_mutex_init(&c->lock, NULL);
    c->transport = transport;
    c->n = config->endpoints.n;
    c->endpoints = calloc(c->n ? c->n : 1, sizeof(*c->endpoints));
    if (!c->endpoints)
        return -ENOMEM;
    for (size_t i = 0; i < c->n; i++) {
        struct endpoint *e = &c->endpoints[i];
        e->config = (const struct config_endpoint *)config->endpoints.items + i;
        int r = choose_own(c, &e->own, e->config, reterr);
        if (r == 0)
            r = choose_tenants(&e->tenants, e->config, reterr);
        if (r != 0)
            return r;
    }
    *ret = TAKE(c);
    return 0;
}

struct credentials *credentials_free(struct credentials *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; c->endpoints && i < c->n; i++) {
        source_done(&c->endpoints[i].own);
        source_done(&c->endpoints[i].tenants);
    }
    free(c->endpoints);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}

/* ---- use ---- */

/* The key in "tenant=key" entries, one a line or between commas. */
static struct str tenant_key(struct str text, struct str tenant, char separator)
{
    struct str entry, name, key;
    while (text.n) {
        if (!str_cut(text, separator, &entry, &text)) {
            entry = text;
            text = STR("");
        }
        entry = str_trim(entry);
        if (entry.n && entry.p[0] != '#' && str_cut(entry, '=', &name, &key) &&
            str_eq(str_trim(name), tenant))
            return str_trim(key);
    }
    return STR_NULL;
}

/* A key as its provider takes it. */
static void add_key(struct buf *ret, const struct config_endpoint *e, struct str key)
{
    bool is_pair = memchr(key.p, ':', key.n) || str_starts(key, STR("Bearer "));
    if (e->provider == UPSTREAM_bedrock && !is_pair)
        buf_adds(ret, "Bearer ");
    buf_add(ret, key);
}

/* true: the tenant brought one of its own. Under the lock. */
static bool add_tenant_key(struct endpoint *e, struct str tenant, struct buf *ret)
{
    struct str text = { e->tenants.text, e->tenants.n };
    bool is_file = e->tenants.kind == SOURCE_file;
    if (tenant.n == 0)
        return false;
    if (is_file)
        text = secret_file_get(&e->tenants.file, NULL);
    struct str key = tenant_key(text, tenant, is_file ? '\n' : ',');
    if (key.n)
        add_key(ret, e->config, key);
    return key.n > 0;
}

static int fail_unset(const struct endpoint *e, struct fail *reterr)
{
    return fail_set(reterr, FAIL_upstream_error,
                    "the key of endpoint '%.*s' is not set: see its key_env",
                    STR_ARG(str_head(e->config->name, 100)));
}

static int fail_now(const struct endpoint *e, struct fail *reterr)
{
    (void)fail_set(reterr, FAIL_upstream_error,
                   "the credentials of endpoint '%.*s' cannot be had at the moment",
                   STR_ARG(str_head(e->config->name, 100)));
    if (reterr)
        reterr->retry_after_s = RETRY_S;
    return FAILED;
}

static int add_file_key(struct endpoint *e, struct buf *ret, struct fail *reterr)
{
    struct str key = str_trim(secret_file_get(&e->own.file, NULL));
    if (key.n == 0)
        return fail_now(e, reterr);
    add_key(ret, e->config, key);
    return 0;
}

static int add_profile_keys(struct endpoint *e, struct buf *ret, struct fail *reterr)
{
    struct aws_keys k = profile_keys(&e->own);
    if (k.id.n == 0 || k.secret.n == 0)
        return fail_now(e, reterr);
    buf_add(ret, k.id);
    buf_addc(ret, ':');
    buf_add(ret, k.secret);
    if (k.token.n) {
        buf_addc(ret, ':');
        buf_add(ret, k.token);
    }
    return 0;
}

/* Everything but what is fetched. Under the lock. */
static int add_own_key(struct endpoint *e, struct buf *ret, struct fail *reterr)
{
    switch (e->own.kind) {
    case SOURCE_unset:
        return e->config->client_key ? 0 : fail_unset(e, reterr);
    case SOURCE_text:
        add_key(ret, e->config, (struct str){ e->own.text, e->own.n });
        return 0;
    case SOURCE_file:
        return add_file_key(e, ret, reterr);
    case SOURCE_aws_profile:
        return add_profile_keys(e, ret, reterr);
    case SOURCE_none:
    case SOURCE_token:
        break;
    }
    return 0;
}

int credentials_get(struct credentials *c, unsigned i, struct str tenant, struct buf *ret,
                    struct fail *reterr)
{
    struct endpoint *e = &c->endpoints[i];
    int r = 0;
    bool is_done;
    if (e->own.kind == SOURCE_none && e->tenants.kind == SOURCE_none)
        return 0;
    {
        LOCKED(&c->lock);
        is_done = add_tenant_key(e, tenant, ret);
        if (!is_done)
            r = add_own_key(e, ret, reterr);
    }
    if (!is_done && r == 0 && e->own.kind == SOURCE_token)
        r = token_get(e->own.token, ret);
    if (r == -EAGAIN)
        return fail_now(e, reterr);
    return r != 0 ? r : buf_err(ret);
}

void credentials_refused(struct credentials *c, unsigned i, struct str tenant)
{
    struct endpoint *e = &c->endpoints[i];
    bool is_tenants = false;
    {
        LOCKED(&c->lock);
        struct buf key = BUF_INIT(MAX_KEY_FILE);
        is_tenants = secret_buf(&key, MAX_KEY_FILE) == 0 && add_tenant_key(e, tenant, &key);
        secret_buf_done(&key);
        secret_file_again(is_tenants ? &e->tenants.file : &e->own.file);
    }
    if (!is_tenants && e->own.kind == SOURCE_token)
        token_refused(e->own.token);
}
