#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#define MAX_LOOPS 64
#define MAX_LOOPS_DEFAULT 4
#define MAX_POOLED 4096l /* connections kept of a loop */
#define EVENTS 256       /* taken of epoll at once */
#define GUEST_FD (-2)    /* in place of a guest's descriptor */

/* ---- curl's timer ---- */

static int on_curl_timer(CURLM *multi, long ms, void *owner)
{
    struct transport_loop *l = owner;
    l->curl_at = ms < 0 ? CLOCK_NEVER : l->now_us / 1000 + (uint64_t)ms;
    return 0;
}

/* ---- tasks ---- */

void transport_post(struct transport_loop *l, struct transport_task *task)
{
    (void)atomic_fetch_add(&l->posters, 1);
    task->next = atomic_load(&l->posted);
    while (!atomic_compare_exchange_weak(&l->posted, &task->next, task))
        ;
    uint64_t one = 1;
    if (atomic_exchange(&l->asleep, false))
        (void)!write(l->wake, &one, sizeof(one)); /* full: it is awake already */
    (void)atomic_fetch_sub(&l->posters, 1);
}

/* Returns whether there were any. */
static bool run_tasks(struct transport_loop *l)
{
    if (!atomic_load_explicit(&l->posted, memory_order_relaxed))
        return false;
    struct transport_task *newest = atomic_exchange(&l->posted, NULL), *oldest = NULL;
    while (newest) {
        struct transport_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct transport_task *next = oldest->next; /* it may be gone or posted again after it */
        oldest->run(oldest);
        oldest = next;
    }
    return true;
}

/* ---- the loop ---- */

static void run_timers(struct transport_loop *l)
{
    uint64_t now_ms = l->now_us / 1000;
    /* one that sets itself again at once waits for the next turn */
    for (size_t n = l->timers.n; n && timer_heap_next(&l->timers) <= now_ms; n--) {
        struct transport_timer *timer = l->timers.at[0];
        transport_timer_clear(l, timer);
        timer->fire(timer);
    }
}

static bool run_calls(struct transport_loop *l)
{
    struct call *c = l->todo;
    if (!c)
        return false;
    l->todo = NULL;
    l->todo_end = &l->todo;
    while (c) {
        struct call *next = c->todo_next; /* it may end and start anew */
        call_work(c);
        c = next;
    }
    return true;
}

static void run_curl(struct transport_loop *l)
{
    if (l->curl_at > l->now_us / 1000)
        return;
    int running = 0;
    l->curl_at = CLOCK_NEVER;
    (void)curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static bool run_ends(struct transport_loop *l)
{
    int left = 0;
    CURLMsg *m = curl_multi_info_read(l->multi, &left);
    if (!m)
        return false;
    do {
        struct call *c = NULL;
        if (m->msg == CURLMSG_DONE &&
            !curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c))
            call_finished(c, m->data.result);
        m = curl_multi_info_read(l->multi, &left);
    } while (m);
    return true;
}

/* What is to be done before the loop may sleep. Tasks that tasks post wait for the next turn, so
 * that the sockets have theirs. Returns whether anything was done. */
static bool run_all(struct transport_loop *l)
{
    run_timers(l);
    bool any = run_tasks(l), more;
    do {
        more = run_calls(l);
        run_curl(l);
        more = run_calls(l) || more;
        more = run_ends(l) || more;
        any = any || more;
    } while (more || l->todo);
    return any;
}

static int sleep_ms(const struct transport_loop *l)
{
    enum { LONGEST = 60000 };
    uint64_t at = timer_heap_next(&l->timers);
    at = l->curl_at < at ? l->curl_at : at;
    at = l->guest && l->guest->at_ms < at ? l->guest->at_ms : at;
    if (at == CLOCK_NEVER)
        return -1;
    uint64_t now = clock_us();
    if (at > now / 1000 + LONGEST)
        return LONGEST;
    return at * 1000 <= now ? 0 : (int)((at * 1000 - now + 999) / 1000);
}

/* ---- a guest ---- */

static _Thread_local struct transport_loop *here;

uint64_t transport_now_us(const struct transport_loop *l)
{
    return l->now_us;
}

struct transport_loop *transport_here(void)
{
    return here;
}

static void run_guest(struct transport_loop *l)
{
    struct transport_guest *g = l->guest;
    if (g)
        g->at_ms = g->run(g);
}

static void run_come(struct transport_task *task)
{
    struct transport_guest *g =
        (struct transport_guest *)(void *)((char *)task - offsetof(struct transport_guest, come));
    g->loop->guest = g;
    g->at_ms = CLOCK_NEVER;
    g->loop->guest_is_due = true; /* what came before us */
}

static void run_go(struct transport_task *task)
{
    struct transport_guest *g =
        (struct transport_guest *)(void *)((char *)task - offsetof(struct transport_guest, go));
    struct transport *t = g->loop->owner;
    (void)epoll_ctl(g->loop->epoll, EPOLL_CTL_DEL, g->fd, /* event= */ NULL);
    g->loop->guest = NULL;
    g->leave(g);
    LOCKED(&t->lock);
    g->has_left = true;
    (void)pthread_cond_broadcast(&t->left);
}

int transport_invite(struct transport_loop *l, struct transport_guest *g)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = GUEST_FD };
    g->loop = l;
    g->come.run = run_come;
    g->go.run = run_go;
    g->has_left = false;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, g->fd, &event) < 0)
        return -errno;
    transport_post(l, &g->come);
    return 0;
}

void transport_nudge(struct transport_loop *l)
{
    uint64_t one = 1;
    atomic_store(&l->nudged, true);
    if (here != l && atomic_exchange(&l->asleep, false))
        (void)!write(l->wake, &one, sizeof(one)); /* full: it is awake already */
}

void transport_dismiss(struct transport_guest *g)
{
    struct transport *t = g->loop->owner;
    transport_post(g->loop, &g->go);
    LOCKED(&t->lock);
    while (!g->has_left)
        (void)pthread_cond_wait(&t->left, &t->lock);
}

/* What has come. Sleeps where nothing has, with nothing left to go out. */
static int wait_for(struct transport_loop *l, struct epoll_event events[static EVENTS])
{
    int n = loop_may_gather(l) ? epoll_wait(l->epoll, events, EVENTS, 0) : 0;
    if (n > 0)
        return n; /* it may write more, to go out together */
    loop_let_go(l);
    log_flush();
    atomic_store(&l->asleep, true);
    bool waits = !atomic_load(&l->posted) && !atomic_load(&l->nudged) && !l->todo;
    n = epoll_wait(l->epoll, events, EVENTS, waits ? sleep_ms(l) : 0);
    atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
    return n;
}

/* What we do may be for the guest (it is nudged then), and it may give us something to do. */
static void turn(struct transport_loop *l)
{
    struct epoll_event events[EVENTS];
    (void)run_all(l);
    if (atomic_exchange(&l->nudged, false) || l->guest_is_due ||
        (l->guest && l->guest->at_ms <= l->now_us / 1000)) {
        l->guest_is_due = false;
        run_guest(l);
        (void)run_all(l);
    }
    int n = wait_for(l, events);
    l->now_us = clock_us();
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == GUEST_FD)
            l->guest_is_due = true;
        else if (fd != l->wake)
            loop_on_event(l, fd, events[i].events);
    }
}

static void end_all(struct transport_loop *l)
{
    l->closed = true;
    for (struct call *c = l->active; c; c = c->next)
        call_stop(c, CALL_cancelled);
}

static void *run_loop(void *arg)
{
    struct transport_loop *l = arg;
    here = l;
    log_gather();
    while (!atomic_load_explicit(&l->stopping, memory_order_acquire))
        turn(l);
    end_all(l);
    while (run_all(l))
        ;
    /* it says good-bye on connections, which may raise SIGPIPE: blocked in this thread */
    (void)curl_multi_cleanup(l->multi);
    l->multi = NULL;
    log_flush();
    return NULL;
}

/* ---- the transport ---- */

static void free_calls(struct call *c)
{
    while (c) {
        struct call *next = c->next;
        call_destroy(c);
        c = next;
    }
}

static void loop_done(struct transport_loop *l)
{
    for (struct call *c = l->held; c; c = c->next) { /* whoever holds it frees it */
        c->loop = NULL;
        curl_easy_cleanup(c->easy);
        c->easy = NULL;
    }
    free_calls(l->idle);
    if (l->multi)
        (void)curl_multi_cleanup(l->multi);
    if (l->share)
        (void)curl_share_cleanup(l->share);
    tls_kinds_free(l);
    free(l->watches);
    free(l->timers.at);
    own_close(&l->epoll);
    own_close(&l->wake);
}

static int loop_init(struct transport_loop *l, struct transport *t)
{
    l->owner = t;
    l->curl_at = CLOCK_NEVER;
    l->todo_end = &l->todo;
    l->now_us = clock_us();
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->wake < 0)
        return -errno;
    /* by its edge: it is never read, each write wakes */
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = l->wake };
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &event) < 0)
        return -errno;
    l->multi = curl_multi_init();
    l->share = curl_share_init();
    if (!l->multi || !l->share)
        return -ENOMEM;
    (void)curl_share_setopt(l->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    (void)curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, loop_on_socket);
    (void)curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    (void)curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    (void)curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, MAX_POOLED);
    (void)curl_multi_setopt(l->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                            (long)t->config.max_connections);
    return 0;
}

static unsigned loops_of(const struct transport_config *config)
{
    if (config->loops)
        return config->loops < MAX_LOOPS ? config->loops : MAX_LOOPS;
    unsigned cores = thread_cores(), n = cores > 1 ? cores / 2 : 1;
    return n < MAX_LOOPS_DEFAULT ? n : MAX_LOOPS_DEFAULT;
}

int transport_new(struct transport **ret, const struct transport_config *config)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) /* counted, and safe beside others */
        return -ENOMEM;
    CLEANUP(transport_freep) struct transport *t = calloc(1, sizeof(*t));
    unsigned n = loops_of(config);
    struct transport_loop *loops = calloc(n, sizeof(*loops));
    if (!t || !loops) {
        free(loops);
        if (!t)
            curl_global_cleanup();
        return -ENOMEM;
    }
    t->config = *config;
    t->loops = loops;
    (void)pthread_mutex_init(&t->lock, /* attr= */ NULL);
    (void)pthread_cond_init(&t->left, /* attr= */ NULL);
    for (; t->n < n; t->n++) {
        struct transport_loop *l = &t->loops[t->n];
        int r = loop_init(l, t);
        if (!r)
            r = thread_start(&l->thread, THREAD_upstream, run_loop, l);
        if (r < 0) {
            loop_done(l);
            return r;
        }
    }
    *ret = TAKE(t);
    return 0;
}

static void nothing(struct transport_task *task) {}

/* Tasks that were posted while the loops ended, and whoever is still posting. */
static void drain(struct transport *t)
{
    bool more;
    do {
        more = false;
        for (unsigned i = 0; i < t->n; i++) {
            more = run_tasks(&t->loops[i]) || more;
            if (atomic_load(&t->loops[i].posters)) {
                more = true;
                (void)sched_yield();
            }
        }
    } while (more);
}

struct transport *transport_free(struct transport *t)
{
    if (!t)
        return NULL;
    struct transport_task wakers[MAX_LOOPS];
    for (unsigned i = 0; i < t->n; i++) {
        atomic_store_explicit(&t->loops[i].stopping, true, memory_order_release);
        wakers[i].run = nothing;
        transport_post(&t->loops[i], &wakers[i]);
    }
    for (unsigned i = 0; i < t->n; i++)
        (void)pthread_join(t->loops[i].thread, NULL);
    drain(t);
    for (unsigned i = 0; i < t->n; i++)
        loop_done(&t->loops[i]);
    (void)pthread_cond_destroy(&t->left);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->loops);
    free(t);
    curl_global_cleanup();
    return NULL;
}

unsigned transport_loops(const struct transport *t)
{
    return t->n;
}

struct transport_loop *transport_loop(struct transport *t, unsigned i)
{
    return &t->loops[i % t->n];
}
