/*
 * The sockets of a loop's calls: what epoll watches of them, and when what was written goes out.
 */
#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define GATHER_US 250

/* ---- watching ---- */

enum { WATCH_in = CURL_POLL_IN, WATCH_out = CURL_POLL_OUT };

static struct watch *watch_of(struct transport_loop *l, int fd)
{
    enum { FIRST = 256 };
    size_t at = (size_t)fd;
    if (at < l->n_watches)
        return &l->watches[at];
    size_t n = l->n_watches ? l->n_watches : FIRST;
    while (n <= at)
        n *= 2;
    struct watch *watches = reallocarray(l->watches, n, sizeof(*watches));
    if (!watches)
        return NULL;
    memset(watches + l->n_watches, 0, (n - l->n_watches) * sizeof(*watches));
    l->watches = watches;
    l->n_watches = n;
    return &watches[at];
}

static void control(struct transport_loop *l, int fd, struct watch *w, uint8_t wanted)
{
    if (!wanted && !w->watched)
        return;
    struct epoll_event event = { .data.fd = fd };
    event.events =
        (wanted & WATCH_in ? EPOLLIN | EPOLLRDHUP : 0u) | (wanted & WATCH_out ? EPOLLOUT : 0u);
    int how = EPOLL_CTL_MOD;
    if (!wanted)
        how = EPOLL_CTL_DEL;
    else if (!w->watched)
        how = EPOLL_CTL_ADD;
    int r = epoll_ctl(l->epoll, how, fd, &event);
    if (r < 0 && wanted && errno == EEXIST)
        r = epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &event);
    else if (r < 0 && wanted && errno == ENOENT)
        r = epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event);
    w->watched = r < 0 ? 0 : wanted;
}

/* ---- gathering ---- */

/*
 * What is written to plain connections waits in the kernel (TCP_CORK) until the loop has nothing
 * else to do, or GATHER_US, and goes out then, one right after the other: engines behind that sleep
 * are woken once for all, not for each. It is a tenth of a request's CPU time. Should one be
 * forgotten, the kernel lets it go after 200 ms; tcp(7).
 *
 * Not so of TLS: there curl writes by itself, in handshakes and for HTTP/2, and does not say when.
 */
static bool gather(int fd)
{
    int on = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)) == 0;
}

/* Of a connection to which something may have been written. */
static void note_written(struct transport_loop *l, int fd, struct watch *w)
{
    if (!w->is_gathered || w->is_written)
        return;
    if (l->n_written == ARRAY_LEN(l->written))
        loop_let_go(l);
    if (l->n_written == 0)
        l->written_us = clock_us();
    w->is_written = true;
    l->written[l->n_written++] = fd;
}

void loop_let_go(struct transport_loop *l)
{
    int on = 1;
    for (size_t i = 0; i < l->n_written; i++) {
        struct watch *w = &l->watches[l->written[i]];
        if (w->is_written) /* set again, it sends what waits, and the cork stays */
            (void)setsockopt(l->written[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        w->is_written = false;
    }
    l->n_written = 0;
}

bool loop_may_gather(const struct transport_loop *l)
{
    return l->n_written && clock_us() - l->written_us < GATHER_US;
}

/* ---- what curl asks for ---- */

/*
 * A connection that goes back to the pool stays watched for reading, although nobody wants that:
 * the next call wants it again, and two system calls are saved. An event that nobody wants ends it
 * (loop_on_event).
 */
int loop_on_socket(CURL *easy, curl_socket_t fd, int what, void *loop, void *socket_owner)
{
    struct transport_loop *l = loop;
    struct watch *w = watch_of(l, fd);
    if (!w)
        return 0; /* the call's deadlines end it */
    w->wanted = what == CURL_POLL_REMOVE ? 0 : (uint8_t)what;
    if (what != CURL_POLL_REMOVE) /* a call has begun here, or gone on to its next phase */
        note_written(l, fd, w);
    /* while it connects, curl asks for writing only: and may close it without telling us */
    w->ours = w->opened && (w->ours || (w->wanted & WATCH_in));
    if (!w->wanted && w->ours && w->watched == WATCH_in)
        return 0;
    if (!w->wanted)
        w->opened = w->ours = false;
    if (w->wanted != w->watched || !w->opened)
        control(l, fd, w, w->wanted);
    return 0;
}

curl_socket_t loop_open_socket(void *call, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct call *c = call;
    struct transport_loop *l = c->loop;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0) {
        l->open_error = errno;
        return CURL_SOCKET_BAD;
    }
    struct watch *w = watch_of(l, fd);
    if (!w) {
        l->open_error = ENOMEM;
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    /* Where curl closed another of this number and told nobody, it will not tell us to watch this
     * one either, for it believes that we do. */
    *w = (struct watch){ .opened = true,
                         .is_gathered = !call_is_tls(c) && gather(fd),
                         .wanted = w->wanted };
    control(l, fd, w, w->wanted);
    return fd;
}

int loop_close_socket(void *loop, curl_socket_t fd)
{
    struct transport_loop *l = loop;
    if ((size_t)fd < l->n_watches)
        l->watches[fd] = (struct watch){ 0 }; /* epoll forgets it by itself */
    return close(fd);
}

void loop_on_event(struct transport_loop *l, int fd, uint32_t events)
{
    int running = 0;
    if (fd < 0 || (size_t)fd >= l->n_watches)
        return;
    struct watch *w = &l->watches[fd];
    int mask = (events & (EPOLLIN | EPOLLRDHUP) ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
    if (events & (EPOLLERR | EPOLLHUP)) /* curl learns what it is from reading or writing */
        mask |= (w->wanted & WATCH_in ? CURL_CSELECT_IN : 0) |
                (w->wanted & WATCH_out ? CURL_CSELECT_OUT : 0);
    mask &= (w->wanted & WATCH_in ? CURL_CSELECT_IN : 0) |
            (w->wanted & WATCH_out ? CURL_CSELECT_OUT : 0);
    if (!mask) {
        /* Pooled or paused; curl finds one that the other side has closed before it is used. */
        control(l, fd, w, w->wanted);
        return;
    }
    if (mask & CURL_CSELECT_OUT)
        note_written(l, fd, w);
    (void)curl_multi_socket_action(l->multi, fd, mask, &running);
}
