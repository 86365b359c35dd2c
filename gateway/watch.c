#include "gateway/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "gateway/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TICK_MS = 20,     /* resolution of keep-alive beats */
    YOUNG_MS = 10,    /* before a client is looked at */
    IDLE_TICKS = 50,  /* with nothing to watch, before the thread sleeps for good */
    EVENTS = 64,      /* taken at once */
    LINGER = 64,      /* refused uploads drained at once; more are closed at once */
    LINGER_MS = 2000, /* each */
    SLOTS_FIRST = 64,
};

#define SLOT_WAKE UINT32_MAX /* token of the eventfd */
#define SLOT_NONE UINT32_MAX /* end of the free list */

struct slot {
    struct watch_node *node; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct draining {
    int fd;
    uint64_t until_ms;
};

struct watch {
    pthread_t thread;
    int epoll, wake;
    pthread_mutex_t lock;
    struct slot *slots;
    uint32_t n_slots, n_used, free;
    bool is_asleep; /* for good: whoever adds wakes it */
    struct request *settled;
    struct draining lingers[LINGER];
    unsigned n_lingers;
    bool stop;
};

static void wake(struct watch *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->wake, &one, sizeof(one));
    (void)n; /* full means that a wake is pending already */
}

static int slots_grow(struct watch *w)
{
    uint32_t n = w->n_slots ? w->n_slots * 2 : SLOTS_FIRST;
    struct slot *s = realloc(w->slots, n * sizeof(*s));
    if (!s)
        return -ENOMEM;
    for (uint32_t i = w->n_slots; i < n; i++) {
        s[i] = (struct slot){ .next_free = w->free };
        w->free = i;
    }
    w->slots = s;
    w->n_slots = n;
    return 0;
}

int watch_add(struct watch *w, struct watch_node *node, struct request *r, int fd)
{
    assert(!node->added);
    LOCKED(&w->lock);
    if (w->free == SLOT_NONE && slots_grow(w) < 0)
        return -ENOMEM;
    uint32_t at = w->free;
    struct slot *s = &w->slots[at];
    *node = (struct watch_node){
        .request = r, .fd = fd, .slot = at, .added = true, .since_ms = r->accepted_us / 1000
    };
    s->node = node;
    w->free = s->next_free;
    w->n_used++;
    if (w->is_asleep)
        wake(w);
    w->is_asleep = false;
    return 0;
}

/* Under the lock: its client is watched from now on. */
static void look_at(struct watch *w, struct watch_node *node)
{
    static struct log_rate rate;
    struct epoll_event e = { .events = EPOLLRDHUP | EPOLLONESHOT,
                             .data.u64 =
                                 (uint64_t)w->slots[node->slot].generation << 32 | node->slot };
    node->looked_at = true;
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, node->fd, &e) < 0)
        log_rated(&rate, LOG_warn, "watch", "cause=%s, continuing", strerror(errno));
}

void watch_remove(struct watch *w, struct watch_node *node)
{
    if (!node->added)
        return;
    LOCKED(&w->lock);
    struct slot *s = &w->slots[node->slot];
    if (node->looked_at)
        (void)epoll_ctl(w->epoll, EPOLL_CTL_DEL, node->fd, /* event= */ NULL);
    s->node = NULL;
    s->generation++;
    s->next_free = w->free;
    w->free = node->slot;
    w->n_used--;
    node->added = false;
}

void watch_settle(struct watch *w, struct request *r)
{
    LOCKED(&w->lock); /* also over the wake: once the request is freed, the watch may be, too */
    r->next_settled = w->settled;
    w->settled = r;
    wake(w);
}

/* A reference to the request in a slot, or NULL when it has been removed meanwhile. */
static struct request *slot_request(struct watch *w, uint64_t token)
{
    uint32_t at = (uint32_t)token, generation = (uint32_t)(token >> 32);
    LOCKED(&w->lock);
    if (at >= w->n_slots || !w->slots[at].node || w->slots[at].generation != generation)
        return NULL;
    return request_ref(w->slots[at].node->request);
}

static void client_left(struct watch *w, uint64_t token)
{
    struct request *r = slot_request(w, token);
    if (!r)
        return;
    if (!upload_leave(r)) /* else what it has sent may still be whole */
        request_cancel(r, FLOW_gone);
    request_unref(r);
}

void watch_cancel_all(struct watch *w)
{
    for (uint32_t i = 0;; i++) {
        struct request *r = NULL;
        {
            LOCKED(&w->lock);
            if (i >= w->n_slots)
                return;
            if (w->slots[i].node) {
                r = request_ref(w->slots[i].node->request);
                upload_stop(r, w->slots[i].node->fd);
            }
        }
        if (!r)
            continue;
        request_cancel(r, FLOW_shutdown);
        request_unref(r);
    }
}

/* Requests whose silence is due for a beat wake; locks nest watch → flow, nowhere the other way. */
static bool beat_all(struct watch *w, uint64_t now)
{
    LOCKED(&w->lock);
    for (uint32_t i = 0; i < w->n_slots; i++) {
        struct watch_node *node = w->slots[i].node;
        if (!node)
            continue;
        if (!node->looked_at && now >= node->since_ms + YOUNG_MS)
            look_at(w, node);
        upload_look(node->request, node->fd, now);
        flow_tick(&node->request->flow, now, node->request->state->config->gateway.keep_alive_ms);
    }
    return w->n_used > 0;
}

static void settle(struct watch *w)
{
    struct request *list = NULL;
    {
        LOCKED(&w->lock);
        list = TAKE(w->settled);
    }
    while (list) {
        struct request *r = list;
        list = r->next_settled;
        request_settle(r);
        request_unref(r);
    }
}

/* ---- lingering close ---- */

void watch_linger(struct watch *w, int fd)
{
    {
        LOCKED(&w->lock);
        if (w->n_lingers < LINGER) {
            w->lingers[w->n_lingers++] =
                (struct draining){ .fd = fd, .until_ms = clock_ms() + LINGER_MS };
            fd = -1;
        }
    }
    own_close(&fd);
    wake(w);
}

/* true: keep it. Reads at most a few buffers, so that one fast sender cannot hold the thread. */
static bool linger_drain(const struct draining *l, uint64_t now)
{
    static char sink[64 * 1024]; /* only the watch thread writes here, nobody reads */
    for (unsigned i = 0; i < 64; i++) {
        ssize_t n = recv(l->fd, sink, sizeof(sink), MSG_DONTWAIT);
        if (n == 0)
            return false;
        if (n < 0)
            return (errno == EAGAIN || errno == EINTR) && now < l->until_ms;
    }
    return now < l->until_ms;
}

static bool lingers_drain(struct watch *w, uint64_t now)
{
    struct draining all[LINGER];
    unsigned n = 0, kept = 0;
    {
        LOCKED(&w->lock);
        n = w->n_lingers;
        memcpy(all, w->lingers, n * sizeof(*all));
        w->n_lingers = 0;
    }
    for (unsigned i = 0; i < n; i++) {
        if (linger_drain(&all[i], now))
            all[kept++] = all[i];
        else
            own_close(&all[i].fd);
    }
    LOCKED(&w->lock);
    for (unsigned i = 0; i < kept; i++) {
        if (w->n_lingers < LINGER)
            w->lingers[w->n_lingers++] = all[i];
        else
            own_close(&all[i].fd);
    }
    return w->n_lingers > 0;
}

static bool stopping(struct watch *w)
{
    LOCKED(&w->lock);
    return w->stop;
}

/* It ticks while something is watched, and some time longer: a wake costs more than a tick. */
static bool falls_asleep(struct watch *w, unsigned idle_ticks)
{
    LOCKED(&w->lock);
    w->is_asleep = idle_ticks >= IDLE_TICKS && w->n_used == 0;
    return w->is_asleep;
}

static void *watch_run(void *arg)
{
    struct watch *w = arg;
    uint64_t tick_ms = clock_ms() + TICK_MS;
    unsigned idle_ticks = 0;
    bool lingering = false;
    while (!stopping(w)) {
        struct epoll_event events[EVENTS];
        bool sleeps = falls_asleep(w, idle_ticks);
        int n = epoll_wait(w->epoll, events, EVENTS, lingering ? 5 : sleeps ? -1 : TICK_MS);
        for (int i = 0; i < n; i++) {
            uint64_t drop = 0;
            if ((uint32_t)events[i].data.u64 != SLOT_WAKE)
                client_left(w, events[i].data.u64);
            else if (read(w->wake, &drop, sizeof(drop)) < 0 && errno != EAGAIN)
                log_line(LOG_warn, "watch", "cause=%d, continuing", errno);
        }
        settle(w);
        uint64_t now = clock_ms();
        lingering = lingers_drain(w, now);
        if (sleeps)
            idle_ticks = 0;
        if (now >= tick_ms) {
            idle_ticks = beat_all(w, now) ? 0 : idle_ticks + 1;
            tick_ms = now + TICK_MS;
        }
    }
    settle(w);
    return NULL;
}

int watch_new(struct watch **ret)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    (void)pthread_mutex_init(&w->lock, /* attr= */ NULL);
    w->free = SLOT_NONE;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = { .events = EPOLLIN, .data.u64 = SLOT_WAKE };
    int r = w->epoll < 0 || w->wake < 0 ? -errno : 0;
    if (r == 0 && epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &e) < 0)
        r = -errno;
    if (r == 0)
        r = thread_start(&w->thread, THREAD_watch, watch_run, w);
    if (r < 0) {
        own_close(&w->epoll);
        own_close(&w->wake);
        (void)pthread_mutex_destroy(&w->lock);
        free(w);
        return r;
    }
    *ret = w;
    return 0;
}

struct watch *watch_free(struct watch *w)
{
    if (!w)
        return NULL;
    {
        LOCKED(&w->lock);
        w->stop = true;
    }
    wake(w);
    (void)pthread_join(w->thread, /* result= */ NULL);
    assert(w->n_used == 0);
    for (unsigned i = 0; i < w->n_lingers; i++)
        own_close(&w->lingers[i].fd);
    own_close(&w->epoll);
    own_close(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w->slots);
    free(w);
    return NULL;
}
