#include "tests/unit/engine/upstream/script_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/test.h"

#define MAX_PEERS 4096
#define STACK_BYTES 262144ul
#define BUFFER_BYTES 524288 /* of the kernel: what was sent is soon what was read */

struct peer_thread {
    struct script_server *server;
    pthread_t thread;
    _Atomic int fd;
};

struct script_server {
    const struct script *scripts;
    int fd;
    unsigned port;
    pthread_t thread;
    atomic_bool stopping;
    atomic_uint connections, requests;
    struct peer_thread *peers;
    unsigned n_peers;
};

bool script_send(struct script_peer *peer, struct str bytes)
{
    while (bytes.n) {
        ssize_t n = send(peer->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = str_sub(bytes, (size_t)n);
    }
    return true;
}

bool script_say(struct script_peer *peer, const char *text)
{
    return script_send(peer, str_of(text));
}

void script_reset(struct script_peer *peer)
{
    struct linger hard = { .l_onoff = 1 };
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    peer->keep = false;
}

void script_nap(unsigned ms)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    (void)nanosleep(&t, NULL);
}

int script_wait_close(struct script_peer *peer, int limit_ms)
{
    uint64_t start = clock_ms();
    char byte;
    for (;;) {
        int left = limit_ms - (int)(clock_ms() - start);
        struct pollfd p = { .fd = peer->fd, .events = POLLIN };
        if (left <= 0 || poll(&p, 1, left) <= 0)
            return -1;
        if (recv(peer->fd, &byte, 1, 0) <= 0)
            return (int)(clock_ms() - start);
    }
}

/* The next request in buf (room for max bytes); false: none came. */
static bool read_request(struct script_peer *peer, char **buf, size_t *cap)
{
    size_t n = 0, need = 0;
    char *end = NULL;
    for (;;) {
        if (*cap - n < 65536) {
            *cap = *cap * 2 + 131072;
            *buf = realloc(*buf, *cap);
            assert_non_null(*buf);
        }
        ssize_t got = recv(peer->fd, *buf + n, *cap - n - 1, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
        (*buf)[n] = '\0';
        if (!end && (end = strstr(*buf, "\r\n\r\n"))) {
            need = (size_t)(end + 4 - *buf);
            const char *length = strcasestr(*buf, "\r\nContent-Length:");
            if (length && length < end && !strstr(*buf, " /unread")) /* that body is left there */
                need += strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
            end = NULL;
        }
        if (need && n >= need)
            break;
    }
    size_t head = (size_t)(strstr(*buf, "\r\n\r\n") + 4 - *buf);
    peer->body = (struct str){ *buf + head, n - head };
    (*buf)[head - 2] = '\0';
    peer->head = *buf;
    return true;
}

static const struct script *script_for(const struct script_server *s, const char *target)
{
    const struct script *at = s->scripts;
    while (at->path && strncmp(target, at->path, strlen(at->path)) != 0)
        at++;
    return at;
}

static void *serve_peer(void *arg)
{
    struct peer_thread *t = arg;
    struct script_peer peer = { .server = t->server, .fd = t->fd, .keep = true };
    char *buf = NULL;
    char target[1024];
    size_t cap = 0;
    while (peer.keep && read_request(&peer, &buf, &cap)) {
        const char *from = strchr(peer.head, ' ');
        size_t n = from ? strcspn(from + 1, " \r") : 0;
        n = n < sizeof(target) - 1 ? n : sizeof(target) - 1;
        memcpy(target, from ? from + 1 : "", n);
        target[n] = '\0';
        peer.target = target;
        peer.n_requests++;
        peer.keep = false;
        (void)atomic_fetch_add(&t->server->requests, 1);
        script_for(t->server, target)->run(&peer);
    }
    free(buf);
    int fd = atomic_exchange(&t->fd, -1);
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct script_server *s = arg;
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    while (s->n_peers < MAX_PEERS) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (atomic_load(&s->stopping)) {
            if (fd >= 0)
                (void)close(fd);
            break;
        }
        if (fd < 0) {
            script_nap(5);
            continue;
        }
        int one = 1, small = BUFFER_BYTES;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        struct peer_thread *t = &s->peers[s->n_peers];
        t->server = s;
        t->fd = fd;
        (void)atomic_fetch_add(&s->connections, 1);
        if (pthread_create(&t->thread, &attr, serve_peer, t))
            (void)close(fd);
        else
            s->n_peers++;
    }
    (void)pthread_attr_destroy(&attr);
    return NULL;
}

struct script_server *script_server_new(const struct script *scripts)
{
    struct script_server *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->peers = calloc(MAX_PEERS, sizeof(*s->peers));
    assert_non_null(s->peers);
    s->scripts = scripts;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(s->fd, 1024), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, accept_all, s), 0);
    return s;
}

struct script_server *script_server_free(struct script_server *s)
{
    atomic_store(&s->stopping, true);
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
    for (unsigned i = 0; i < s->n_peers; i++) {
        int fd = atomic_load(&s->peers[i].fd);
        if (fd >= 0)
            (void)shutdown(fd, SHUT_RDWR);
    }
    for (unsigned i = 0; i < s->n_peers; i++)
        (void)pthread_join(s->peers[i].thread, NULL);
    free(s->peers);
    free(s);
    return NULL;
}

unsigned script_server_port(const struct script_server *s)
{
    return s->port;
}

unsigned script_server_connections(const struct script_server *s)
{
    return atomic_load(&s->connections);
}

unsigned script_server_requests(const struct script_server *s)
{
    return atomic_load(&s->requests);
}
