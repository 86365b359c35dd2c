#include "gateway/daemon.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/thread.h"
#include "engine/upstream/transport.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <unistd.h>

struct hosted {                   /* a daemon on a loop */
    struct transport_guest guest; /* first */
    struct MHD_Daemon *daemon;
};

struct daemons {
    struct MHD_Daemon *own; /* with threads of its own; NULL: hosted ones */
    struct hosted *hosted;
    unsigned n;
};

enum { FLAGS = MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG };

unsigned daemons_threads(const struct config_gateway *g)
{
    enum { MOST = 8 };
    unsigned cores = thread_cores();
    return g->http_threads ? (unsigned)g->http_threads : cores > MOST ? MOST : cores;
}

/* Room to refuse what is too many. One that is full accepts no more: the others do. */
static unsigned connections(const struct daemons_spec *spec, unsigned threads)
{
    enum { SPARE = 64 }; /* of each thread */
    return (unsigned)spec->config->streams + threads * SPARE;
}

/* Of this thread's daemon: a connection has left since it was last run. */
static _Thread_local bool has_room;

void daemons_left(void)
{
    has_room = true;
}

/* One that was full listens again only when it is run once more, and does not say so. */
static uint64_t run(struct transport_guest *g)
{
    struct hosted *h = (struct hosted *)(void *)g;
    enum { TURNS = 4 }; /* a request takes some: its answer goes out, it ends, the next is read */
    MHD_UNSIGNED_LONG_LONG ms = 0;
    bool waits = false, more = true;
    for (int i = 0; more && i < TURNS; i++) {
        has_room = false;
        (void)MHD_run(h->daemon);
        waits = MHD_get_timeout(h->daemon, &ms) == MHD_YES;
        more = has_room || (waits && ms == 0);
    }
    uint64_t now_ms = transport_now_us(g->loop) / 1000;
    return more ? now_ms : waits ? now_ms + ms : CLOCK_NEVER;
}

static void leave(struct transport_guest *g)
{
    struct hosted *h = (struct hosted *)(void *)g;
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}

static int host(struct daemons *d, const struct daemons_spec *spec, int fd, unsigned i)
{
    struct hosted *h = &d->hosted[i];
    int own = dup(fd); /* each closes its own */
    if (own < 0)
        return -errno;
    unsigned n = transport_loops(spec->transport), share = (connections(spec, n) + n - 1) / n;
    h->daemon = spec->start(spec->ctx, own, FLAGS | MHD_USE_EPOLL, /* threads= */ 0, share);
    if (!h->daemon) {
        own_close(&own);
        return -EIO;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    h->guest = (struct transport_guest){ .run = run, .leave = leave };
    h->guest.fd = info ? info->epoll_fd : -1;
    int r = transport_invite(transport_loop(spec->transport, i), &h->guest);
    if (r < 0) {
        MHD_stop_daemon(h->daemon);
        h->daemon = NULL;
        return r;
    }
    d->n++;
    return 0;
}

static int host_all(struct daemons *d, const struct daemons_spec *spec, int fd)
{
    unsigned n = transport_loops(spec->transport);
    d->hosted = calloc(n, sizeof(*d->hosted));
    int r = d->hosted ? 0 : -ENOMEM;
    for (unsigned i = 0; r == 0 && i < n; i++)
        r = host(d, spec, fd, i);
    return r;
}

int daemons_new(struct daemons **ret, const struct daemons_spec *spec)
{
    CLEANUP(own_close) int fd = spec->fd;
    struct daemons *d = calloc(1, sizeof(*d));
    int r = d ? 0 : -ENOMEM;
    if (r == 0 && spec->transport) {
        r = host_all(d, spec, fd);
    } else if (r == 0) {
        unsigned flags = FLAGS | MHD_USE_EPOLL_INTERNAL_THREAD;
        unsigned n = daemons_threads(spec->config);
        n = n < 2 ? 2 : n; /* a pool has no fewer */
        d->own = spec->start(spec->ctx, fd, flags, n, connections(spec, n));
        if (d->own)
            fd = -1; /* NOLINT(clang-analyzer-deadcode.DeadStores): own_close reads it */
        else
            r = -EIO;
    }
    if (r < 0) {
        (void)daemons_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

struct daemons *daemons_free(struct daemons *d)
{
    if (!d)
        return NULL;
    for (unsigned i = 0; i < d->n; i++)
        transport_dismiss(&d->hosted[i].guest);
    if (d->own)
        MHD_stop_daemon(d->own);
    free(d->hosted);
    free(d);
    return NULL;
}
