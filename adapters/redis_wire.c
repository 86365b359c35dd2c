#include "adapters/redis_wire.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"

#define CHUNK (64 * KIB)          /* read at once */
#define PROGRESS (64 * KIB)       /* bytes that push a deadline out */
#define KEPT_OUTPUT (256 * KIB)   /* memory for commands that a quiet connection keeps */
#define OUTPUT_MAX (2 * GIB)      /* commands of one pipeline */
#define LINE_MAX_BYTES (64 * KIB) /* of a status, an error, a number */
#define COUNT_MAX_BYTES 24        /* of the line that announces a string */
#define ELEMENT_BYTES (64ul)      /* what hiredis takes for one element of an array, about */
#define OPENSSL_TEXT 120          /* of one reason */

/* hiredis counts elements as int before version 1, as size_t since; its tasks moved, too. */
#if HIREDIS_MAJOR >= 1
typedef size_t reply_count;
#define TASK_TYPE(r) ((r)->task[(r)->ridx]->type)
#else
typedef int reply_count;
#define TASK_TYPE(r) ((r)->rstack[(r)->ridx].type)
#endif

struct redis_wire {
    int fd;
    int wake_fd; /* borrowed; negative: none */
    SSL *ssl;    /* NULL: plain */
    redisReader *reader;
    redisReplyObjectFunctions makers; /* hiredis' own behind our bounds */
    const redisReplyObjectFunctions *theirs;
    size_t held;    /* bytes that the reply being read takes, about */
    struct buf out; /* commands; sent up to out_at */
    size_t out_at;
    uint64_t moved;    /* bytes sent and received, to notice progress */
    bool heard;        /* a whole reply, ever */
    bool send_blocked; /* the socket takes no more now */
};

void redis_reply_free(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
    *r = NULL;
}

int redis_unavailable(struct fail *reterr, const char *fmt, ...)
{
    char why[224];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    int r = fail_set(reterr, FAIL_catalog_unavailable, "the adapter catalog in Redis: %s", why);
    if (reterr)
        reterr->retry_after_s = 1;
    return r;
}

/* ---- replies, bounded ---- */

static bool may_hold(const redisReadTask *task, size_t bytes)
{
    struct redis_wire *w = task->privdata;
    if (bytes > LIMIT_REDIS_REPLY - w->held)
        return false;
    w->held += bytes;
    return true;
}

static void *make_string(const redisReadTask *task, char *text, size_t n)
{
    struct redis_wire *w = task->privdata;
    return n <= LIMIT_REDIS_REPLY && may_hold(task, n) ? w->theirs->createString(task, text, n)
                                                       : NULL;
}

static void *make_array(const redisReadTask *task, reply_count n)
{
    struct redis_wire *w = task->privdata;
    if (n < 0 || (size_t)n > LIMIT_REDIS_ELEMENTS || !may_hold(task, (size_t)n * ELEMENT_BYTES))
        return NULL;
    return w->theirs->createArray(task, n);
}

static int make_reader(struct redis_wire *w)
{
    w->reader = redisReaderCreate();
    if (!w->reader)
        return -ENOMEM;
    w->theirs = w->reader->fn;
    w->makers = *w->reader->fn;
    w->makers.createString = make_string;
    w->makers.createArray = make_array;
    w->reader->fn = &w->makers;
    w->reader->privdata = w;
    return 0;
}

/*
 * What has been read may be the beginning of a reply. hiredis looks for the end of a line from its
 * beginning each time, so a line that does not end must not grow; only a string of announced length
 * may be long.
 */
static bool may_go_on(const redisReader *r)
{
    size_t n = r->len - r->pos;
    if (n <= LINE_MAX_BYTES)
        return true;
    return TASK_TYPE(r) == REDIS_REPLY_STRING && memchr(r->buf + r->pos, '\n', COUNT_MAX_BYTES) &&
           n <= LIMIT_REDIS_REPLY;
}

/* *ret: the next whole reply of what has been read, or NULL. */
static int next_reply(struct redis_wire *w, redisReply **ret, struct fail *reterr)
{
    void *reply = NULL;
    *ret = NULL;
    if (redisReaderGetReply(w->reader, &reply) != REDIS_OK) {
        if (w->reader->err == REDIS_ERR_OOM)
            return redis_unavailable(reterr, "a reply of more than %lu MiB or %d elements",
                                     LIMIT_REDIS_REPLY / MIB, LIMIT_REDIS_ELEMENTS);
        return redis_unavailable(reterr, "what answers does not speak Redis (%.80s)",
                                 w->reader->errstr);
    }
    if (!reply && w->reader->ridx >= 0 && !may_go_on(w->reader))
        return redis_unavailable(reterr, "what answers sends a line without an end");
    if (reply) {
        w->held = 0;
        w->heard = true;
    }
    *ret = reply;
    return 0;
}

/* ---- TLS ---- */

/* Our own end of the socket, so that a peer that left is an error and no signal. */
static int socket_write(BIO *b, const char *p, int n)
{
    const struct redis_wire *w = BIO_get_data(b);
    ssize_t done = send(w->fd, p, (size_t)n, MSG_NOSIGNAL);
    BIO_clear_retry_flags(b);
    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return (int)done;
}

static int socket_read(BIO *b, char *p, int n)
{
    const struct redis_wire *w = BIO_get_data(b);
    ssize_t done = recv(w->fd, p, (size_t)n, 0);
    BIO_clear_retry_flags(b);
    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(b);
    return (int)done;
}

static long socket_ctrl(BIO *b, int what, long number, void *p)
{
    (void)b;
    (void)number;
    (void)p;
    return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *socket_methods;
static void make_socket_methods(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "redis");
    if (m && BIO_meth_set_write(m, socket_write) == 1 && BIO_meth_set_read(m, socket_read) == 1 &&
        BIO_meth_set_ctrl(m, socket_ctrl) == 1)
        socket_methods = TAKE(m);
    BIO_meth_free(m);
}

static BIO *socket_bio(struct redis_wire *w) /* NULL: no memory */
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_socket_methods);
    BIO *b = socket_methods ? BIO_new(socket_methods) : NULL;
    if (!b)
        return NULL;
    BIO_set_data(b, w);
    BIO_set_init(b, 1);
    return b;
}

static const char *tls_reason(char ret[static OPENSSL_TEXT])
{
    unsigned long e = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(e);
    (void)snprintf(ret, OPENSSL_TEXT, "%s", reason ? reason : "unknown");
    ERR_clear_error();
    return ret;
}

static int bad_file(struct fail *reterr, const char *key, const char *path)
{
    char why[OPENSSL_TEXT];
    char param[64];
    (void)snprintf(param, sizeof(param), "adapters.catalog.tls.%s", key);
    return fail_param(reterr, FAIL_invalid_request, param, "%s: %.120s cannot be used: %s", param,
                      path, tls_reason(why));
}

/* *ret is NULL where there is none. */
static int text_of(char **ret, struct str s)
{
    *ret = s.n ? str_dup(s) : NULL;
    return s.n && !*ret ? -ENOMEM : 0;
}

static int add_files(SSL_CTX *ctx, const struct redis_tls *t, struct fail *reterr)
{
    CLEANUP(own_free) char *ca = NULL;
    CLEANUP(own_free) char *cert = NULL;
    CLEANUP(own_free) char *key = NULL;
    if (text_of(&ca, t->ca) < 0 || text_of(&cert, t->cert) < 0 || text_of(&key, t->key) < 0)
        return -ENOMEM;
    if (!cert != !key)
        return fail_param(reterr, FAIL_invalid_request, "adapters.catalog.tls",
                          "adapters.catalog.tls: cert and key come together");
    if (ca && SSL_CTX_load_verify_file(ctx, ca) != 1)
        return bad_file(reterr, "ca", ca);
    if (!ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return -ENOMEM;
    if (cert && SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return bad_file(reterr, "cert", cert);
    if (key && (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
                SSL_CTX_check_private_key(ctx) != 1))
        return bad_file(reterr, "key", key);
    return 0;
}

static void free_context(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

/* Made for each connection: a certificate that was renewed is taken at the next one. */
static int make_context(SSL_CTX **ret, const struct redis_tls *t, struct fail *reterr)
{
    ERR_clear_error();
    CLEANUP(free_context) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
        return -ENOMEM;
    SSL_CTX_set_verify(ctx, t->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int r = add_files(ctx, t, reterr);
    if (r == 0)
        *ret = TAKE(ctx);
    return r;
}

int redis_tls_check(const struct redis_tls *t, struct fail *reterr)
{
    CLEANUP(free_context) SSL_CTX *ctx = NULL;
    return make_context(&ctx, t, reterr);
}

/* The server must hold a certificate of the name, or of the address, that we called. */
static bool expect_name(SSL *ssl, const char *host)
{
    unsigned char ip[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static int tls_failure(struct redis_wire *w, struct fail *reterr)
{
    char why[OPENSSL_TEXT];
    long verdict = SSL_get_verify_result(w->ssl);
    if (verdict != X509_V_OK && SSL_get_verify_mode(w->ssl) != SSL_VERIFY_NONE)
        return redis_unavailable(reterr,
                                 "its certificate is not accepted: %s; see "
                                 "adapters.catalog.tls",
                                 X509_verify_cert_error_string(verdict));
    if (ERR_peek_last_error() == 0)
        return redis_unavailable(reterr, "the connection was closed; does it speak TLS?");
    return redis_unavailable(reterr, "TLS: %s", tls_reason(why));
}

/* ---- bytes: > 0 moved, 0 would block, < 0 the connection is gone (errno, or the peer's end) ----
 */

static ssize_t tls_result(struct redis_wire *w, int r)
{
    if (r > 0)
        return r;
    int e = SSL_get_error(w->ssl, r);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -ECONNRESET;
}

static ssize_t wire_send(struct redis_wire *w, const char *p, size_t n)
{
    if (w->ssl) {
        ERR_clear_error();
        return tls_result(w, SSL_write(w->ssl, p, (int)(n > CHUNK ? CHUNK : n)));
    }
    ssize_t done = send(w->fd, p, n, MSG_NOSIGNAL);
    if (done < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return done;
}

static ssize_t wire_recv(struct redis_wire *w, char *p, size_t n)
{
    if (w->ssl) {
        ERR_clear_error();
        return tls_result(w, SSL_read(w->ssl, p, (int)n));
    }
    ssize_t done = recv(w->fd, p, n, 0);
    if (done < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return done ? done : -ECONNRESET;
}

bool redis_wire_healthy(struct redis_wire *w)
{
    char byte;
    if (w->reader->len > w->reader->pos || w->out_at < w->out.n)
        return false;
    if (w->ssl) {
        ERR_clear_error();
        return tls_result(w, SSL_peek(w->ssl, &byte, 1)) == 0;
    }
    ssize_t n = recv(w->fd, &byte, 1, MSG_PEEK);
    return n < 0 && errno == EAGAIN;
}

/* ---- waiting ---- */

/* 0: ready; FAILED: the deadline passed, or somebody woke us. */
static int wait_ready(struct redis_wire *w, short events, uint64_t deadline_ms, struct fail *reterr)
{
    for (;;) {
        uint64_t now = clock_ms();
        struct pollfd fds[2] = { { .fd = w->fd, .events = events },
                                 { .fd = w->wake_fd, .events = POLLIN } };
        int r = poll(fds, 2, now >= deadline_ms ? 0 : (int)(deadline_ms - now));
        if (r > 0 && fds[1].revents)
            return redis_unavailable(reterr, "stopping");
        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r == 0 && clock_ms() >= deadline_ms)
            return redis_unavailable(reterr, "no answer in time");
    }
}

/* ---- connecting ---- */

static int finish_connect(struct redis_wire *w, uint64_t deadline_ms, struct fail *reterr)
{
    int e = 0;
    socklen_t len = sizeof(e);
    int r = wait_ready(w, POLLOUT, deadline_ms, reterr);
    if (r != 0)
        return r;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        return -errno;
    return e == 0 ? 0 : redis_unavailable(reterr, "%s", strerrordesc_np(e));
}

static int dial(struct redis_wire *w, const struct sockaddr *to, socklen_t len,
                uint64_t deadline_ms, struct fail *reterr)
{
    int on = 1;
    w->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0)
        return -errno;
    if (to->sa_family != AF_UNIX)
        (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(w->fd, to, len) == 0)
        return 0;
    if (errno == EINPROGRESS)
        return finish_connect(w, deadline_ms, reterr);
    return redis_unavailable(reterr, "%s", strerrordesc_np(errno));
}

static int dial_path(struct redis_wire *w, const char *path, uint64_t deadline_ms,
                     struct fail *reterr)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = strlen(path);
    if (n >= sizeof(to.sun_path))
        return redis_unavailable(reterr, "the path of its socket is too long");
    memcpy(to.sun_path, path, n);
    return dial(w, (const struct sockaddr *)&to, sizeof(to), deadline_ms, reterr);
}

static void free_places(struct addrinfo **places)
{
    if (*places)
        freeaddrinfo(*places);
}

static int dial_host(struct redis_wire *w, const struct redis_address *a, uint64_t deadline_ms,
                     struct fail *reterr)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    CLEANUP(free_places) struct addrinfo *places = NULL;
    char port[16];
    unsigned char ip[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, a->host, ip) == 1 || inet_pton(AF_INET6, a->host, ip) == 1)
        want.ai_flags = AI_NUMERICHOST;
    (void)snprintf(port, sizeof(port), "%d", a->port);
    int e = getaddrinfo(a->host, port, &want, &places);
    if (e != 0)
        return redis_unavailable(reterr, "%.100s: %s", a->host, gai_strerror(e));
    int r = redis_unavailable(reterr, "%.100s has no address", a->host);
    for (const struct addrinfo *p = places; p; p = p->ai_next) {
        r = dial(w, p->ai_addr, p->ai_addrlen, deadline_ms, reterr);
        if (r == 0)
            return 0;
        own_close(&w->fd);
        w->fd = -1;
    }
    return r;
}

static int shake_hands(struct redis_wire *w, const struct redis_tls *t, const char *host,
                       uint64_t deadline_ms, struct fail *reterr)
{
    CLEANUP(free_context) SSL_CTX *ctx = NULL;
    int r = make_context(&ctx, t, reterr);
    if (r != 0)
        return r;
    w->ssl = SSL_new(ctx);
    BIO *b = w->ssl ? socket_bio(w) : NULL;
    if (!b)
        return -ENOMEM;
    SSL_set_bio(w->ssl, b, b); /* moved */
    if (!t->insecure && !expect_name(w->ssl, host))
        return -ENOMEM;
    for (;;) {
        ERR_clear_error();
        int done = SSL_connect(w->ssl);
        if (done == 1)
            return 0;
        int e = SSL_get_error(w->ssl, done);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            return tls_failure(w, reterr);
        r = wait_ready(w, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms, reterr);
        if (r != 0)
            return r < 0 ? r : redis_unavailable(reterr, "the TLS handshake was not answered");
    }
}

int redis_wire_open(struct redis_wire **ret, const struct redis_address *a,
                    const struct redis_tls *tls, int wake_fd, unsigned timeout_ms,
                    struct fail *reterr)
{
    uint64_t deadline_ms = clock_ms() + timeout_ms;
    CLEANUP(redis_wire_freep) struct redis_wire *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->fd = -1;
    w->wake_fd = wake_fd;
    w->out = BUF_INIT(OUTPUT_MAX);
    int r = make_reader(w);
    if (r == 0)
        r = a->port == 0 ? dial_path(w, a->host, deadline_ms, reterr)
                         : dial_host(w, a, deadline_ms, reterr);
    if (r == 0 && tls)
        r = shake_hands(w, tls, a->host, deadline_ms, reterr);
    if (r == 0)
        *ret = TAKE(w);
    return r;
}

struct redis_wire *redis_wire_free(struct redis_wire *w)
{
    if (!w)
        return NULL;
    SSL_free(w->ssl);
    if (w->reader)
        redisReaderFree(w->reader);
    own_close(&w->fd);
    buf_done(&w->out);
    free(w);
    return NULL;
}

/* ---- commands and replies ---- */

static void add_count(struct buf *b, char mark, size_t n)
{
    buf_addf(b, "%c%zu\r\n", mark, n);
}

int redis_wire_add(struct redis_wire *w, const struct str *argv, size_t n)
{
    add_count(&w->out, '*', n);
    for (size_t i = 0; i < n; i++) {
        add_count(&w->out, '$', argv[i].n);
        buf_add(&w->out, argv[i]);
        buf_add(&w->out, STR("\r\n"));
    }
    return buf_err(&w->out);
}

static int gone(struct redis_wire *w, ssize_t e, struct fail *reterr)
{
    if (w->ssl && ERR_peek_last_error() != 0)
        return tls_failure(w, reterr);
    if (w->ssl && !w->heard) /* its alert may have been lost with the connection */
        return redis_unavailable(reterr, "the server closed the connection after the TLS "
                                         "handshake; does it ask for a certificate of ours?");
    return redis_unavailable(reterr, "%s",
                             e == -ECONNRESET ? "the server closed the connection"
                                              : strerrordesc_np((int)-e));
}

/* Sends until all is out or the socket takes no more. */
static int push_out(struct redis_wire *w, struct fail *reterr)
{
    w->send_blocked = false;
    while (w->out_at < w->out.n) {
        ssize_t n = wire_send(w, w->out.p + w->out_at, w->out.n - w->out_at);
        if (n < 0)
            return gone(w, n, reterr);
        if (n == 0) {
            w->send_blocked = true;
            return 0;
        }
        w->out_at += (size_t)n;
        w->moved += (uint64_t)n;
    }
    w->out_at = 0;
    if (w->out.cap > KEPT_OUTPUT)
        buf_done(&w->out);
    else
        buf_clear(&w->out);
    return 0;
}

int redis_wire_pump(struct redis_wire *w, redisReply **ret, struct fail *reterr)
{
    char chunk[CHUNK];
    int r = push_out(w, reterr);
    while (r == 0 && (r = next_reply(w, ret, reterr)) == 0 && !*ret) {
        ssize_t n = wire_recv(w, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n < 0)
            return gone(w, n, reterr);
        w->moved += (uint64_t)n;
        if (redisReaderFeed(w->reader, chunk, (size_t)n) != REDIS_OK)
            return -ENOMEM;
    }
    return r;
}

int redis_wire_fd(const struct redis_wire *w)
{
    return w->fd;
}

short redis_wire_events(const struct redis_wire *w)
{
    return w->send_blocked ? POLLIN | POLLOUT : POLLIN;
}

/* Reads n replies into ret; *ret_done of them when it fails. */
static int talk(struct redis_wire *w, redisReply **ret, size_t n, unsigned timeout_ms,
                size_t *ret_done, struct fail *reterr)
{
    uint64_t deadline_ms = clock_ms() + timeout_ms, seen = w->moved;
    size_t done = 0;
    int r = 0;
    while (r == 0 && done < n) {
        redisReply *reply = NULL;
        r = redis_wire_pump(w, &reply, reterr);
        if (reply)
            ret[done++] = reply;
        if (reply || w->moved - seen >= PROGRESS) {
            seen = w->moved;
            deadline_ms = clock_ms() + timeout_ms;
        }
        if (r == 0 && !reply)
            r = wait_ready(w, redis_wire_events(w), deadline_ms, reterr);
    }
    *ret_done = done;
    return r;
}

int redis_wire_talk(struct redis_wire *w, redisReply **ret, size_t n, unsigned timeout_ms,
                    struct fail *reterr)
{
    size_t done = 0;
    int r = buf_err(&w->out);
    memset(ret, 0, n * sizeof(redisReply *));
    if (r == 0)
        r = talk(w, ret, n, timeout_ms, &done, reterr);
    while (r != 0 && done > 0)
        redis_reply_free(&ret[--done]);
    return r;
}
