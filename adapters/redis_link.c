#include "adapters/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/thread.h"

#define CONNECT_MS 1000
#define BACKOFF_MS 50u
#define BACKOFF_MAX_MS 2000u

struct redis_link {
    char *host;            /* or NULL: a unix socket */
    char *path;            /* of the unix socket */
    char *user, *password; /* may be NULL */
    int port;
    uint64_t db;
    unsigned timeout_ms;
    pthread_mutex_t turn; /* held for one exchange: the connection is what it protects */
    redisContext *ctx;
    unsigned backoff_ms;
    uint64_t retry_ms;
    struct fail why;         /* of the last failure to connect */
    pthread_mutex_t fd_lock; /* of the two below, for redis_link_interrupt */
    int fd;
    bool interrupted;
    _Atomic bool up;
};

/* ---- the URL ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(struct str s) /* owned, or NULL: no memory */
{
    char *p = malloc(s.n + 1), *to = p;
    for (size_t i = 0; p && i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        if (lo >= 0) {
            *to++ = (char)(hi << 4 | lo);
            i += 2;
        } else {
            *to++ = s.p[i];
        }
    }
    if (p)
        *to = '\0';
    return p;
}

static int bad_url(struct fail *reterr, const char *what)
{
    return fail_param(reterr, FAIL_invalid_request, "adapters.catalog.url",
                      "adapters.catalog.url: %s; write redis://[user:password@]host[:port][/db] or "
                      "unix:///path",
                      what);
}

static int read_login(struct redis_link *l, struct str *rest)
{
    size_t at = rest->n;
    while (at > 0 && rest->p[at - 1] != '@') /* a password may hold an '@' */
        at--;
    if (at == 0)
        return 0;
    struct str login = { rest->p, at - 1 }, user = STR(""), password = login;
    (void)str_cut(login, ':', &user, &password);
    *rest = str_sub(*rest, at);
    if (user.n && !(l->user = decode(user)))
        return -ENOMEM;
    l->password = decode(password);
    return l->password ? 0 : -ENOMEM;
}

static int read_host(struct redis_link *l, struct str rest, struct fail *reterr)
{
    struct str host = rest, port = STR(""), db = STR("");
    uint64_t n = 6379;
    (void)str_cut(rest, '/', &host, &db);
    if (host.n && host.p[0] == '[') { /* IPv6 */
        struct str inside;
        if (!str_cut(str_sub(host, 1), ']', &inside, &port) || (port.n && port.p[0] != ':'))
            return bad_url(reterr, "the address in brackets is not closed");
        host = inside;
        port = str_sub(port, 1);
    } else {
        (void)str_cut(host, ':', &host, &port);
    }
    if (port.n && num_parse_u64(&n, port, 1, 65535) < 0)
        return bad_url(reterr, "the port is no number from 1 to 65535");
    if (db.n && num_parse_u64(&l->db, db, 0, 65535) < 0)
        return bad_url(reterr, "the database is no number");
    l->port = (int)n;
    l->host = str_dup(host.n ? host : STR("127.0.0.1"));
    return l->host ? 0 : -ENOMEM;
}

static int read_url(struct redis_link *l, struct str url, struct fail *reterr)
{
    if (str_starts(url, STR("rediss://")))
        return bad_url(reterr, "TLS (rediss://) is not supported by this version");
    if (str_starts(url, STR("unix://"))) {
        l->path = str_dup(str_sub(url, 7));
        return l->path ? 0 : -ENOMEM;
    }
    if (!str_starts(url, STR("redis://")))
        return bad_url(reterr, "not a redis:// address");
    struct str rest = str_sub(url, 8);
    int r = read_login(l, &rest);
    return r < 0 ? r : read_host(l, rest, reterr);
}

/* ---- the connection (in a turn) ---- */

static void hang_up(struct redis_link *l)
{
    {
        LOCKED(&l->fd_lock);
        l->fd = -1;
    }
    if (l->ctx)
        redisFree(l->ctx);
    l->ctx = NULL;
    atomic_store(&l->up, false);
}

static struct timeval timeval_of(unsigned ms)
{
    return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000L };
}

static void
put_off(struct redis_link *l) /* the next attempt, so that gateways do not march in step */
{
    uint32_t jitter = 0;
    (void)getrandom(&jitter, sizeof(jitter), GRND_NONBLOCK);
    l->backoff_ms = l->backoff_ms ? l->backoff_ms * 2 : BACKOFF_MS;
    if (l->backoff_ms > BACKOFF_MAX_MS)
        l->backoff_ms = BACKOFF_MAX_MS;
    l->retry_ms = clock_ms() + l->backoff_ms / 2 + jitter % (l->backoff_ms / 2 + 1);
}

static int unavailable(struct fail *reterr, const char *why)
{
    int r = fail_set(reterr, FAIL_catalog_unavailable, "the adapter catalog in Redis: %.160s", why);
    if (reterr)
        reterr->retry_after_s = 1;
    return r;
}

/* Sends argv and reads one reply, however it ends; the connection is dropped when it is broken. */
static int exchange(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
                    struct fail *reterr)
{
    const char *p[6 + 2 * REDIS_STREAMS];
    size_t len[6 + 2 * REDIS_STREAMS];
    void *reply = NULL;
    assert(n <= ARRAY_LEN(p));
    for (size_t i = 0; i < n; i++) {
        p[i] = argv[i].p ? argv[i].p : "";
        len[i] = argv[i].n;
    }
    if (redisAppendCommandArgv(l->ctx, (int)n, p, len) != REDIS_OK ||
        redisGetReply(l->ctx, &reply) != REDIS_OK || !reply) {
        int r = unavailable(reterr, l->ctx->errstr[0] ? l->ctx->errstr : "no answer");
        hang_up(l);
        return r;
    }
    *ret = reply;
    return 0;
}

static int greet(struct redis_link *l, const struct str *argv, size_t n, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = exchange(l, argv, n, &reply, reterr);
    if (r == 0 && reply->type != REDIS_REPLY_STATUS)
        r = unavailable(reterr, reply->type == REDIS_REPLY_ERROR ? reply->str : "no greeting");
    return r;
}

static int greet_all(struct redis_link *l, struct fail *reterr)
{
    char db[24];
    int n = snprintf(db, sizeof(db), "%llu", (unsigned long long)l->db);
    int r = 0;
    if (l->password) {
        struct str login[] = { STR("AUTH"), str_of(l->user), str_of(l->password) };
        if (!l->user)
            login[1] = login[2];
        r = greet(l, login, l->user ? 3 : 2, reterr);
    }
    struct str choose[] = { STR("SELECT"), { db, (size_t)n } };
    if (r == 0 && l->db)
        r = greet(l, choose, 2, reterr);
    return r;
}

static int dial(struct redis_link *l, struct fail *reterr)
{
    struct timeval t = timeval_of(CONNECT_MS);
    l->ctx = l->path ? redisConnectUnixWithTimeout(l->path, t)
                     : redisConnectWithTimeout(l->host, l->port, t);
    if (!l->ctx)
        return -ENOMEM;
    if (l->ctx->err || redisSetTimeout(l->ctx, timeval_of(l->timeout_ms)) != REDIS_OK)
        return unavailable(reterr, l->ctx->errstr);
    {
        LOCKED(&l->fd_lock);
        l->fd = l->ctx->fd;
        if (l->interrupted)
            return unavailable(reterr, "stopping");
    }
    return greet_all(l, reterr);
}

/* A connection that the other side closed meanwhile, or that has words nobody asked for, is no
 * good.
 */
static bool healthy(const redisContext *ctx)
{
    char byte;
    ssize_t n = recv(ctx->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static int connect_now(struct redis_link *l, struct fail *reterr)
{
    if (l->ctx && healthy(l->ctx))
        return 0;
    hang_up(l);
    if (clock_ms() < l->retry_ms) {
        if (reterr)
            *reterr = l->why;
        return FAILED;
    }
    int r = dial(l, &l->why);
    if (r == 0) {
        l->backoff_ms = 0;
        l->retry_ms = 0;
        atomic_store(&l->up, true);
        return 0;
    }
    hang_up(l);
    put_off(l);
    if (r == FAILED && reterr)
        *reterr = l->why;
    return r;
}

/* A peer that goes away while we write must not end the process. */
static bool block_sigpipe(sigset_t *ret_pipe)
{
    sigset_t old;
    (void)sigemptyset(ret_pipe);
    (void)sigaddset(ret_pipe, SIGPIPE);
    return pthread_sigmask(SIG_BLOCK, ret_pipe, &old) == 0 && !sigismember(&old, SIGPIPE);
}

static void unblock_sigpipe(const sigset_t *pipe, bool was_open)
{
    struct timespec now = { 0 };
    if (!was_open)
        return;
    while (sigtimedwait(pipe, NULL, &now) > 0)
        ;
    (void)pthread_sigmask(SIG_UNBLOCK, pipe, NULL);
}

/* ---- calls ---- */

void redis_reply_free(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
    *r = NULL;
}

static int call_in_turn(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
                        struct fail *reterr)
{
    int r = connect_now(l, reterr);
    return r == 0 ? exchange(l, argv, n, ret, reterr) : r;
}

/* Any reply, errors included. */
static int raw_call(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
                    struct fail *reterr)
{
    sigset_t pipe;
    LOCKED(&l->turn);
    bool open = block_sigpipe(&pipe);
    int r = call_in_turn(l, argv, n, ret, reterr);
    unblock_sigpipe(&pipe, open);
    return r;
}

/* An error reply says what is wrong with the catalog's keys or with the server's state. */
static int refuse_error(redisReply **ret, struct fail *reterr)
{
    int r = redis_error(*ret, reterr);
    if (r != 0)
        redis_reply_free(ret);
    return r;
}

int redis_call(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
               struct fail *reterr)
{
    int r = raw_call(l, argv, n, ret, reterr);
    return r == 0 ? refuse_error(ret, reterr) : r;
}

int redis_call_key(struct redis_link *l, struct str key, const struct str *argv, size_t n,
                   redisReply **ret, struct fail *reterr)
{
    (void)key; /* one server holds all */
    return redis_call(l, argv, n, ret, reterr);
}

int redis_call_many(struct redis_link *l, const struct redis_command *commands, size_t n,
                    redisReply **ret, struct fail *reterr)
{
    int r = 0;
    size_t done = 0;
    memset(ret, 0, n * sizeof(redisReply *));
    for (; r == 0 && done < n; done++)
        r = raw_call(l, commands[done].argv, commands[done].n, &ret[done], reterr);
    for (size_t i = 0; r != 0 && i < n; i++)
        redis_reply_free(&ret[i]);
    return r;
}

static void script_digest(const char *text, char ret[static 41]) /* SHA-1, as Redis names scripts */
{
    unsigned char d[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int ok = EVP_Digest(text, strlen(text), d, &len, EVP_sha1(), NULL);
    assert(ok == 1 && len == 20);
    (void)ok;
    for (unsigned i = 0; i < len; i++)
        (void)snprintf(ret + (size_t)2 * i, 3, "%02x", d[i]);
}

static size_t script_argv(struct str *to, const char *verb, struct str script, size_t n_keys,
                          const struct str *argv, size_t n)
{
    static const char *const counts[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10" };
    assert(n <= REDIS_SCRIPT_ARGS && n_keys < ARRAY_LEN(counts));
    to[0] = str_of(verb);
    to[1] = script;
    to[2] = str_of(counts[n_keys]);
    memcpy(to + 3, argv, n * sizeof(*argv));
    return n + 3;
}

static bool is_noscript(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR && str_starts(redis_text(r), STR("NOSCRIPT"));
}

int redis_run(struct redis_link *l, const struct redis_script *s, const struct str *argv, size_t n,
              redisReply **ret, struct fail *reterr)
{
    struct str all[REDIS_SCRIPT_ARGS + 3];
    char digest[41];
    script_digest(s->text, digest);
    size_t m = script_argv(all, "EVALSHA", (struct str){ digest, 40 }, s->n_keys, argv, n);
    int r = raw_call(l, all, m, ret, reterr);
    if (r == 0 && is_noscript(*ret)) {
        redis_reply_free(ret);
        m = script_argv(all, "EVAL", str_of(s->text), s->n_keys, argv, n);
        r = raw_call(l, all, m, ret, reterr);
    }
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): those of redis_run_many */
static int many_in_turn(struct redis_link *l, const struct redis_script *s, const struct str *argv,
                        size_t n_each, size_t n_runs, redisReply **ret, struct fail *reterr)
{
    struct str all[REDIS_SCRIPT_ARGS + 3];
    const char *p[REDIS_SCRIPT_ARGS + 3];
    size_t len[REDIS_SCRIPT_ARGS + 3], done = 0;
    char digest[41];
    struct str load[] = { STR("SCRIPT"), STR("LOAD"), str_of(s->text) };
    CLEANUP(redis_reply_free) redisReply *loaded = NULL;
    int r = call_in_turn(l, load, 3, &loaded, reterr);
    script_digest(s->text, digest);
    for (size_t i = 0; r == 0 && i < n_runs; i++) {
        size_t m = script_argv(all, "EVALSHA", (struct str){ digest, 40 }, s->n_keys,
                               argv + i * n_each, n_each);
        for (size_t k = 0; k < m; k++) {
            p[k] = all[k].p ? all[k].p : "";
            len[k] = all[k].n;
        }
        if (redisAppendCommandArgv(l->ctx, (int)m, p, len) != REDIS_OK)
            r = -ENOMEM;
    }
    while (r == 0 && done < n_runs) {
        void *reply = NULL;
        if (redisGetReply(l->ctx, &reply) != REDIS_OK || !reply)
            r = unavailable(reterr, l->ctx->errstr[0] ? l->ctx->errstr : "no answer");
        else
            ret[done++] = reply;
    }
    if (r != 0) {
        hang_up(l);
        while (done > 0)
            redis_reply_free(&ret[--done]);
    }
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): a batch in full */
int redis_run_many(struct redis_link *l, const struct redis_script *s, const struct str *argv,
                   size_t n_each, size_t n_runs, redisReply **ret, struct fail *reterr)
{
    sigset_t pipe;
    LOCKED(&l->turn);
    bool open = block_sigpipe(&pipe);
    int r = many_in_turn(l, s, argv, n_each, n_runs, ret, reterr);
    unblock_sigpipe(&pipe, open);
    return r;
}

/* ---- streams ---- */

/* The entries of one element of a reply to XREAD, moved to the stream of its name. */
static bool take_entries(redisReply *stream, const struct str *keys, size_t n, redisReply **ret)
{
    if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2 ||
        stream->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (ret[i] || !str_eq(redis_text(stream->element[0]), keys[i]))
            continue;
        ret[i] = TAKE(stream->element[1]);
        return true;
    }
    return false;
}

int redis_read_streams(struct redis_link *l, const struct str *keys, const struct str *ids,
                       size_t n, unsigned block_ms, unsigned count, redisReply **ret,
                       struct fail *reterr)
{
    struct str argv[6 + 2 * REDIS_STREAMS];
    char block_text[16], count_text[16];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    (void)snprintf(block_text, sizeof(block_text), "%u", block_ms);
    (void)snprintf(count_text, sizeof(count_text), "%u", count);
    struct str head[] = { STR("XREAD"), STR("COUNT"),       str_of(count_text),
                          STR("BLOCK"), str_of(block_text), STR("STREAMS") };
    assert(n > 0 && n <= REDIS_STREAMS && block_ms > 0 && count > 0);
    memset(ret, 0, n * sizeof(redisReply *));
    memcpy(argv, head, sizeof(head));
    memcpy(argv + ARRAY_LEN(head), keys, n * sizeof(*keys));
    memcpy(argv + ARRAY_LEN(head) + n, ids, n * sizeof(*ids));
    int r = redis_call(l, argv, ARRAY_LEN(head) + 2 * n, &reply, reterr);
    if (r != 0 || reply->type == REDIS_REPLY_NIL)
        return r;
    r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    for (size_t i = 0; r == 0 && i < reply->elements; i++)
        if (!take_entries(reply->element[i], keys, n, ret))
            r = redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    for (size_t i = 0; r != 0 && i < n; i++)
        redis_reply_free(&ret[i]);
    return r;
}

/* ---- where keys are: on the one server ---- */

bool redis_same_slot(struct redis_link *l, struct str a, struct str b)
{
    (void)l;
    (void)a;
    (void)b;
    return true;
}

bool redis_same_node(struct redis_link *l, struct str a, struct str b)
{
    return redis_same_slot(l, a, b);
}

uint64_t redis_link_generation(struct redis_link *l)
{
    (void)l;
    return 0;
}

int redis_check(const redisReply *r, int type, struct fail *reterr)
{
    if (r && r->type == type)
        return 0;
    if (redis_error(r, reterr) != 0)
        return FAILED;
    return unavailable(reterr, "a reply of an unexpected type; are its keys damaged?");
}

struct str redis_text(const redisReply *r)
{
    bool text = r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS ||
                      r->type == REDIS_REPLY_ERROR);
    return text && r->str ? (struct str){ r->str, r->len } : STR("");
}

/* ---- life ---- */

int redis_link_new(struct redis_link **ret, struct str url, unsigned timeout_ms,
                   struct fail *reterr)
{
    struct redis_link *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    (void)pthread_mutex_init(&l->turn, NULL);
    (void)pthread_mutex_init(&l->fd_lock, NULL);
    l->timeout_ms = timeout_ms;
    l->fd = -1;
    int r = read_url(l, url, reterr);
    if (r != 0) {
        (void)redis_link_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct redis_options redis_options_of(const struct config_adapters *c, unsigned timeout_ms)
{
    return (struct redis_options){ .url = c->catalog_url, .timeout_ms = timeout_ms };
}

int redis_link_open(struct redis_link **ret, const struct redis_options *o, struct fail *reterr)
{
    return redis_link_new(ret, o->url, o->timeout_ms, reterr);
}

struct redis_link *redis_link_free(struct redis_link *l)
{
    if (!l)
        return NULL;
    hang_up(l);
    (void)pthread_mutex_destroy(&l->turn);
    (void)pthread_mutex_destroy(&l->fd_lock);
    free(l->host);
    free(l->path);
    free(l->user);
    free(l->password);
    free(l);
    return NULL;
}

bool redis_link_up(struct redis_link *l)
{
    return atomic_load(&l->up);
}

void redis_link_interrupt(struct redis_link *l)
{
    LOCKED(&l->fd_lock);
    l->interrupted = true;
    if (l->fd >= 0)
        (void)shutdown(l->fd, SHUT_RDWR);
}
