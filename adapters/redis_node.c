#include "adapters/redis_node.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/file.h"

#define CONNECT_MS 1000
#define BACKOFF_MS 50u
#define BACKOFF_MAX_MS 1000u
#define PASSWORD_FILE_MAX 4096

/* ---- the login ---- */

static int keep(char **ret, struct str s)
{
    *ret = s.n ? str_dup(s) : NULL;
    return s.n && !*ret ? -ENOMEM : 0;
}

static char *text_or_null(char *s)
{
    return s ? str_dup(str_of(s)) : NULL;
}

/* Where a password comes from elsewhere, what the URL has before '@' is the user. */
static int choose_user(struct redis_login *l, const struct redis_options *o)
{
    bool elsewhere = l->password_env || l->password_file;
    const char *named = l->url.user;
    if (!named && elsewhere && l->url.password && l->url.password[0])
        named = l->url.password;
    return keep(&l->user, o->user.n ? o->user : str_of(named));
}

static int check_sources(const struct redis_login *l, struct fail *reterr)
{
    if (l->password_env && l->password_file)
        return fail_param(reterr, FAIL_invalid_request, "adapters.catalog",
                          "adapters.catalog: password_env or password_file, not both");
    if (l->password_env && !getenv(l->password_env))
        return fail_param(reterr, FAIL_invalid_request, "adapters.catalog.password_env",
                          "adapters.catalog.password_env: the variable %.100s is not set",
                          l->password_env);
    if (!l->url.tls && (l->ca || l->cert || l->key))
        return fail_param(reterr, FAIL_invalid_request, "adapters.catalog.tls",
                          "adapters.catalog.tls: the url does not ask for TLS; write rediss://");
    return l->url.tls ? redis_tls_check(&l->tls, reterr) : 0;
}

int redis_login_init(struct redis_login *l, const struct redis_options *o, struct fail *reterr)
{
    memset(l, 0, sizeof(*l));
    l->wake_fd = -1;
    l->timeout_ms = o->timeout_ms;
    int r = redis_url_read(&l->url, o->url, reterr);
    if (r != 0)
        return r;
    if (keep(&l->password_env, o->password_env) < 0 ||
        keep(&l->password_file, o->password_file) < 0 || keep(&l->ca, o->tls_ca) < 0 ||
        keep(&l->cert, o->tls_cert) < 0 || keep(&l->key, o->tls_key) < 0 || choose_user(l, o) < 0)
        return -ENOMEM;
    l->tls = (struct redis_tls){ str_of(l->ca), str_of(l->cert), str_of(l->key), o->tls_insecure };
    return check_sources(l, reterr);
}

void redis_login_done(struct redis_login *l)
{
    redis_url_done(&l->url);
    free(l->user);
    free(l->password_env);
    free(l->password_file);
    free(l->ca);
    free(l->cert);
    free(l->key);
}

/* *ret: owned, NULL: none is set. */
static int read_password(char **ret, const struct redis_login *l, struct fail *reterr)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n = 0;
    *ret = NULL;
    if (l->password_file) {
        int r = file_read(&text, &n, l->password_file, PASSWORD_FILE_MAX);
        if (r < 0)
            return redis_unavailable(reterr, "adapters.catalog.password_file: %.120s: %s",
                                     l->password_file, strerrordesc_np(-r));
        struct str line = { text, n }, rest;
        (void)str_cut(line, '\n', &line, &rest);
        *ret = str_dup(str_trim(line));
        return *ret ? 0 : -ENOMEM;
    }
    char *from = l->password_env ? getenv(l->password_env) : l->url.password;
    *ret = text_or_null(from);
    return from && !*ret ? -ENOMEM : 0;
}

/* ---- the greeting ---- */

static int add_auth(struct redis_node *n, const struct redis_login *l, size_t *count,
                    struct fail *reterr)
{
    CLEANUP(own_free) char *password = NULL;
    int r = read_password(&password, l, reterr);
    if (r != 0 || !password)
        return r;
    struct str argv[] = { STR("AUTH"), str_of(l->user), str_of(password) };
    if (!l->user)
        argv[1] = argv[2];
    ++*count;
    return redis_wire_add(n->wire, argv, l->user ? 3 : 2);
}

static int add_select(struct redis_node *n, const struct redis_login *l, size_t *count)
{
    char db[24];
    int len = snprintf(db, sizeof(db), "%llu", (unsigned long long)l->url.db);
    struct str argv[] = { STR("SELECT"), { db, (size_t)len } };
    if (l->url.db == 0)
        return 0;
    ++*count;
    return redis_wire_add(n->wire, argv, 2);
}

static int add_role(struct redis_node *n, enum redis_duty duty, size_t *count)
{
    struct str argv[] = { STR("ROLE") };
    if (duty != REDIS_master)
        return 0;
    ++*count;
    return redis_wire_add(n->wire, argv, 1);
}

static int check_greeting(const redisReply *r, struct fail *reterr)
{
    if (r->type == REDIS_REPLY_STATUS)
        return 0;
    if (r->type == REDIS_REPLY_ARRAY) { /* of ROLE */
        if (r->elements > 0 && str_is(redis_text(r->element[0]), "master"))
            return 0;
        return redis_unavailable(reterr, "the Sentinels name a server that is no master yet");
    }
    if (str_starts(redis_text(r), STR("NOPERM")) && strstr(r->str, "role"))
        return 0; /* this user may not ask: a write will tell */
    return redis_error(r, reterr) ? FAILED : redis_unavailable(reterr, "no greeting");
}

static int greet(struct redis_node *n, const struct redis_login *l, enum redis_duty duty,
                 struct fail *reterr)
{
    redisReply *replies[3] = { NULL };
    size_t count = 0;
    int r = 0;
    if (duty != REDIS_informer && (r = add_auth(n, l, &count, reterr)) == 0 &&
        (r = add_select(n, l, &count)) == 0)
        r = add_role(n, duty, &count);
    if (r == 0 && count > 0)
        r = redis_wire_talk(n->wire, replies, count, l->timeout_ms, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = check_greeting(replies[i], reterr);
    for (size_t i = 0; i < count; i++)
        redis_reply_free(&replies[i]);
    return r;
}

/* ---- the connection ---- */

unsigned redis_jitter(unsigned ms)
{
    uint32_t random = 0;
    (void)getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return ms / 2 + random % (ms / 2 + 1);
}

/* The next attempt, so that gateways do not march in step. */
static void put_off(struct redis_node *n)
{
    n->backoff_ms = n->backoff_ms ? n->backoff_ms * 2 : BACKOFF_MS;
    if (n->backoff_ms > BACKOFF_MAX_MS)
        n->backoff_ms = BACKOFF_MAX_MS;
    n->retry_ms = clock_ms() + redis_jitter(n->backoff_ms);
}

void redis_node_hang_up(struct redis_node *n)
{
    n->wire = redis_wire_free(n->wire);
}

void redis_node_move(struct redis_node *n, const struct redis_address *to)
{
    redis_node_hang_up(n);
    *n = (struct redis_node){ .address = *to, .listed = n->listed };
}

bool redis_node_waits(const struct redis_node *n)
{
    return !n->wire && clock_ms() < n->retry_ms;
}

int redis_node_connect(struct redis_node *n, const struct redis_login *l, enum redis_duty duty,
                       struct fail *reterr)
{
    if (n->wire && redis_wire_healthy(n->wire))
        return 0;
    redis_node_hang_up(n);
    int r = FAILED;
    if (!redis_node_waits(n)) {
        r = redis_wire_open(&n->wire, &n->address, l->url.tls ? &l->tls : NULL, l->wake_fd,
                            CONNECT_MS, &n->why);
        if (r == 0)
            r = greet(n, l, duty, &n->why);
        if (r == 0) {
            n->backoff_ms = 0;
            return 0;
        }
        redis_node_hang_up(n);
        put_off(n);
    }
    if (r == FAILED && reterr)
        *reterr = n->why;
    return r;
}

int redis_node_talk(struct redis_node *n, const struct redis_login *l, redisReply **ret,
                    size_t n_replies, struct fail *reterr)
{
    int r = redis_wire_talk(n->wire, ret, n_replies, l->timeout_ms, reterr);
    if (r != 0)
        redis_node_hang_up(n);
    return r;
}
