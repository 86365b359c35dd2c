#include "engine/upstream/google_auth.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/secret.h"

#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define TOKEN_URL "https://oauth2.googleapis.com/token"
#define METADATA_PATH "/computeMetadata/v1/instance/service-accounts/default/token"
enum {
    LIFETIME_S = 3600, /* of an assertion; Google's own limit */
    MAX_FILE = 64 * KIB,
    MAX_FIELD = 16 * KIB,
    MAX_SIGNATURE = 2 * KIB,
};

/* ---- the assertion ---- */

/* RFC 4648, section 5, without padding. */
static void add_base64url(struct buf *out, struct str bytes)
{
    size_t at = out->n;
    buf_add_base64(out, bytes);
    if (out->err)
        return;
    for (size_t i = at; i < out->n; i++) {
        char *c = &out->p[i];
        if (*c == '+')
            *c = '-';
        else if (*c == '/')
            *c = '_';
    }
    while (out->n > at && out->p[out->n - 1] == '=')
        out->p[--out->n] = '\0';
}

static int sign(struct buf *out, struct str text, struct str key_pem)
{
    unsigned char signature[MAX_SIGNATURE];
    size_t n = sizeof(signature);
    BIO *bio = BIO_new_mem_buf(key_pem.p, (int)key_pem.n);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool fits = key && EVP_PKEY_base_id(key) == EVP_PKEY_RSA &&
                (size_t)EVP_PKEY_size(key) <= sizeof(signature);
    bool ok = fits && ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(ctx, signature, &n, (const unsigned char *)text.p, text.n) == 1;
    if (ok)
        add_base64url(out, (struct str){ (const char *)signature, n });
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok ? buf_err(out) : -EINVAL;
}

int google_jwt(struct buf *out, const struct google_claims *c, struct str key_pem)
{
    CLEANUP(buf_done) struct buf part = BUF_INIT(MAX_FIELD);
    size_t at = out->n;
    buf_adds(&part, "{\"alg\":\"RS256\",\"typ\":\"JWT\"");
    if (c->key_id.n) {
        buf_adds(&part, ",\"kid\":");
        buf_add_json(&part, c->key_id);
    }
    buf_addc(&part, '}');
    add_base64url(out, buf_str(&part));
    buf_clear(&part);
    buf_adds(&part, "{\"iss\":");
    buf_add_json(&part, c->issuer);
    buf_adds(&part, ",\"scope\":");
    buf_add_json(&part, c->scope);
    buf_adds(&part, ",\"aud\":");
    buf_add_json(&part, c->audience);
    buf_addf(&part, ",\"iat\":%llu,\"exp\":%llu}", (unsigned long long)c->now_s,
             (unsigned long long)c->now_s + LIFETIME_S);
    buf_addc(out, '.');
    add_base64url(out, buf_str(&part));
    int r = buf_err(&part);
    if (r == 0)
        r = buf_err(out);
    if (r != 0)
        return r;
    /* What is signed lies in `out`, which may move: a copy of nothing secret. */
    CLEANUP(own_free) char *text = str_dup(str_sub(buf_str(out), at));
    if (!text)
        return -ENOMEM;
    buf_addc(out, '.');
    return sign(out, str_of(text), key_pem);
}

/* ---- a file ---- */

struct google_file {
    struct secret_file file;
};

/* Decoded fields of the file. */
struct fields {
    struct buf kind, email, key, key_id, url, client, client_secret, refresh;
};

static void fields_done(struct fields *f)
{
    struct buf *all[] = { &f->kind, &f->email,  &f->key,           &f->key_id,
                          &f->url,  &f->client, &f->client_secret, &f->refresh };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        secret_buf_done(all[i]);
}

static int fields_read(struct fields *f, struct str json)
{
    const struct {
        const char *name;
        struct buf *to;
    } rows[] = {
        { "type", &f->kind },
        { "client_email", &f->email },
        { "private_key", &f->key },
        { "private_key_id", &f->key_id },
        { "token_uri", &f->url },
        { "client_id", &f->client },
        { "client_secret", &f->client_secret },
        { "refresh_token", &f->refresh },
    };
    size_t at;
    if (json_view_check(json, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return -EINVAL;
    struct str object = json_view_value(json);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int r = secret_buf(rows[i].to, MAX_FIELD);
        if (r == 0)
            json_view_add_text(rows[i].to, json_view_get(object, rows[i].name));
        if (r == 0)
            r = buf_err(rows[i].to);
        if (r != 0)
            return r == -EMSGSIZE ? -EINVAL : r;
    }
    if (f->url.n == 0)
        buf_adds(&f->url, TOKEN_URL);
    return 0;
}

static bool is_service(const struct fields *f)
{
    return str_is(buf_str(&f->kind), "service_account") && f->email.n && f->key.n;
}

static bool is_user(const struct fields *f)
{
    return str_is(buf_str(&f->kind), "authorized_user") && f->client.n && f->client_secret.n &&
           f->refresh.n;
}

static void add_form(struct buf *b, const char *name, struct str value)
{
    if (b->n)
        buf_addc(b, '&');
    buf_addf(b, "%s=", name);
    buf_add_escaped(b, value);
}

static int add_assertion(struct buf *body, const struct fields *f)
{
    struct buf jwt;
    struct google_claims claims = {
        .issuer = buf_str(&f->email),
        .scope = STR(SCOPE),
        .audience = buf_str(&f->url),
        .key_id = buf_str(&f->key_id),
        .now_s = clock_wall_s(),
    };
    int r = secret_buf(&jwt, MAX_FIELD);
    if (r == 0)
        r = google_jwt(&jwt, &claims, buf_str(&f->key));
    add_form(body, "grant_type", STR("urn:ietf:params:oauth:grant-type:jwt-bearer"));
    add_form(body, "assertion", buf_str(&jwt));
    secret_buf_done(&jwt);
    return r;
}

static int ask_file(void *ctx, unsigned step, struct token_ask *ask)
{
    struct google_file *g = ctx;
    CLEANUP(fields_done) struct fields f = { 0 };
    int r;
    (void)step;
    struct str json = secret_file_get(&g->file, &r);
    if (!json.p)
        return r;
    if ((r = fields_read(&f, json)) != 0)
        return r;
    buf_add(&ask->url, buf_str(&f.url));
    ask->method = "POST";
    ask->headers[ask->n_headers++] =
        (struct chat_pair){ STR("content-type"), STR("application/x-www-form-urlencoded") };
    if (is_service(&f))
        return add_assertion(&ask->body, &f);
    if (!is_user(&f))
        return -EINVAL;
    add_form(&ask->body, "grant_type", STR("refresh_token"));
    add_form(&ask->body, "client_id", buf_str(&f.client));
    add_form(&ask->body, "client_secret", buf_str(&f.client_secret));
    add_form(&ask->body, "refresh_token", buf_str(&f.refresh));
    return 0;
}

static int read_answer(void *ctx, unsigned step, struct str body, struct buf *ret,
                       uint64_t *ret_lifetime_s)
{
    (void)ctx;
    (void)step;
    size_t at;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return -EBADMSG;
    struct str object = json_view_value(body);
    json_view_add_text(ret, json_view_get(object, "access_token"));
    if (json_view_u64(json_view_get(object, "expires_in"), ret_lifetime_s) != 0)
        return -EBADMSG;
    return ret->n ? buf_err(ret) : -EBADMSG;
}

static void free_file(void *ctx)
{
    struct google_file *g = ctx;
    secret_file_done(&g->file);
    free(g);
}

static int check_file(struct google_file *g, struct fail *reterr)
{
    CLEANUP(fields_done) struct fields f = { 0 };
    int r;
    struct str json = secret_file_get(&g->file, &r);
    if (!json.p)
        return fail_set(reterr, FAIL_internal_error, "the credentials in %.200s: %s", g->file.path,
                        strerror(-r));
    r = fields_read(&f, json);
    if (r == -ENOMEM)
        return r;
    if (r != 0 || (!is_service(&f) && !is_user(&f)))
        return fail_set(reterr, FAIL_internal_error,
                        "%.200s holds no Google credentials: the JSON key of a service account, "
                        "or of an authorized_user, is wanted",
                        g->file.path);
    if (!str_starts(buf_str(&f.url), STR("https://")) &&
        !str_starts(buf_str(&f.url), STR("http://")))
        return fail_set(reterr, FAIL_internal_error, "%.200s: token_uri is no http(s) URL",
                        g->file.path);
    CLEANUP(buf_done) struct buf jwt = BUF_INIT(MAX_FIELD);
    struct google_claims claims = { .issuer = STR("x"), .audience = STR("x") };
    if (is_service(&f) && google_jwt(&jwt, &claims, buf_str(&f.key)) != 0)
        return fail_set(reterr, FAIL_internal_error,
                        "%.200s: private_key is no RSA key in PEM form", g->file.path);
    return 0;
}

int google_file_source(struct token_source *ret, const char *path, struct fail *reterr)
{
    static const struct token_source_ops ops = { ask_file, read_answer, free_file };
    struct google_file *g = calloc(1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->file.path = str_dup(str_of(path));
    g->file.max = MAX_FILE;
    int r = g->file.path ? check_file(g, reterr) : -ENOMEM;
    if (r != 0) {
        free_file(g);
        return r;
    }
    *ret = (struct token_source){ &ops, g };
    return 0;
}

/* ---- the metadata server ---- */

static int ask_metadata(void *ctx, unsigned step, struct token_ask *ask)
{
    (void)step;
    ask->method = "GET";
    buf_addf(&ask->url, "http://%s" METADATA_PATH, (const char *)ctx);
    ask->headers[ask->n_headers++] = (struct chat_pair){ STR("metadata-flavor"), STR("Google") };
    return 0;
}

int google_metadata_source(struct token_source *ret, struct str host)
{
    static const struct token_source_ops ops = { ask_metadata, read_answer, free };
    char *copy = str_dup(host);
    if (!copy)
        return -ENOMEM;
    *ret = (struct token_source){ &ops, copy };
    return 0;
}
