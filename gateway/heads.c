#include "gateway/heads.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/api/error.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h> /* bytes received: libc's own header is older */
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
    LOOKS = 4,          /* in the time that a head has */
    LOOK_MS_MIN = 20,   /* between two */
    LOOK_MS_MAX = 2000, /* … and at most, so that a reload that shortens it is noticed */
    ANSWER_MAX = 4 * 1024,
};

enum state {
    STATE_over,    /* a request has ended: what came of the next is not known yet */
    STATE_between, /* `received` is what had come when we looked */
    STATE_begun,   /* a request is under way */
    STATE_cut,     /* 408 was sent */
};

struct head_wait {
    LIST_ENTRY(head_wait) next;
    int fd;
    _Atomic unsigned state; /* enum state; cut is the last */
    /* Of the thread that looks. */
    uint64_t received; /* bytes, since the connection began */
    uint64_t since_ms; /* when it was seen that a head has begun; 0: none has */
};

struct heads {
    uint64_t (*time_ms)(void *ctx);
    void *ctx;
    pthread_mutex_t lock; /* of the list: whoever holds it, the sockets stay open */
    pthread_cond_t more;
    LIST_HEAD(, head_wait) all;
    bool is_asleep, stopping;
    pthread_t thread;
};

/* ---- connections ---- */

struct head_wait *heads_open(struct heads *h, int fd)
{
    struct head_wait *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->fd = fd;
    w->state = STATE_between; /* nothing has come */
    LOCKED(&h->lock);
    LIST_INSERT_HEAD(&h->all, w, next);
    if (h->is_asleep)
        (void)pthread_cond_signal(&h->more);
    return w;
}

void heads_close(struct heads *h, struct head_wait *w)
{
    if (!w)
        return;
    {
        LOCKED(&h->lock);
        LIST_REMOVE(w, next);
    }
    free(w);
}

bool heads_begin(struct head_wait *w)
{
    if (!w || atomic_exchange(&w->state, STATE_begun) != STATE_cut)
        return true;
    w->state = STATE_cut;
    return false;
}

void heads_end(struct head_wait *w)
{
    if (w && w->state != STATE_cut)
        w->state = STATE_over;
}

/* ---- the thread ---- */

/* Of the connection so far; false: it is not to be had. */
static bool bytes_received(int fd, uint64_t *ret)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ||
        n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
        return false;
    *ret = info.tcpi_bytes_received;
    return true;
}

/* By hand: the library has not seen a request yet. No route is known, hence OpenAI's words. */
static void answer(int fd, uint64_t time_ms)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(ANSWER_MAX);
    CLEANUP(buf_done) struct buf all = BUF_INIT(ANSWER_MAX);
    struct fail fail = { 0 };
    (void)fail_set(&fail, FAIL_request_timeout,
                   "the request's head did not come within %llu ms (gateway.limits.head_time)",
                   (unsigned long long)time_ms);
    error_print(&body, &fail);
    buf_addf(&all,
             "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             body.n);
    buf_add(&all, buf_str(&body));
    if (buf_err(&body) == 0 && buf_err(&all) == 0)
        (void)send(fd, all.p, all.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_RDWR); /* which the library notices, and closes it */
}

static void cut(struct head_wait *w, uint64_t time_ms)
{
    static struct log_rate rate;
    unsigned between = STATE_between;
    if (!atomic_compare_exchange_strong(&w->state, &between, STATE_cut))
        return; /* it became whole just now */
    answer(w->fd, time_ms);
    log_rated(&rate, LOG_info, "head", "status=408 ms=%llu", (unsigned long long)time_ms);
}

static void look_at(struct head_wait *w, uint64_t now_ms, uint64_t time_ms)
{
    uint64_t received = 0;
    unsigned state = w->state;
    if (state == STATE_begun || state == STATE_cut || !bytes_received(w->fd, &received))
        return;
    if (state == STATE_over) {
        if (!atomic_compare_exchange_strong(&w->state, &state, STATE_between))
            return;
        w->received = received;
        w->since_ms = 0;
    } else if (!w->since_ms) {
        w->since_ms = received != w->received ? now_ms : 0;
    } else if (now_ms >= w->since_ms + time_ms) {
        cut(w, time_ms);
    }
}

static void look(struct heads *h, uint64_t time_ms)
{
    uint64_t now = clock_ms();
    struct head_wait *w;
    LOCKED(&h->lock);
    LIST_FOREACH(w, &h->all, next)
    look_at(w, now, time_ms);
}

static uint64_t pause_ms(uint64_t time_ms)
{
    uint64_t ms = time_ms / LOOKS;
    return ms < LOOK_MS_MIN ? LOOK_MS_MIN : ms > LOOK_MS_MAX ? LOOK_MS_MAX : ms;
}

/* Some time; without connections until there is one. true: it is to end. */
static bool rest(struct heads *h, uint64_t ms)
{
    uint64_t until = clock_ms() + ms;
    LOCKED(&h->lock);
    while (!h->stopping && LIST_EMPTY(&h->all)) {
        h->is_asleep = true;
        (void)pthread_cond_wait(&h->more, &h->lock);
        until = clock_ms() + ms;
    }
    h->is_asleep = false;
    while (!h->stopping && clock_ms() < until)
        (void)thread_cond_wait_until(&h->more, &h->lock, until);
    return h->stopping;
}

static void *heads_main(void *arg)
{
    struct heads *h = arg;
    uint64_t time_ms = h->time_ms(h->ctx);
    while (!rest(h, pause_ms(time_ms))) {
        time_ms = h->time_ms(h->ctx);
        look(h, time_ms);
    }
    return NULL;
}

/* ---- life ---- */

int heads_new(struct heads **ret, uint64_t (*time_ms)(void *ctx), void *ctx)
{
    struct heads *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->time_ms = time_ms;
    h->ctx = ctx;
    LIST_INIT(&h->all);
    (void)pthread_mutex_init(&h->lock, /* attr= */ NULL);
    int r = thread_cond_init(&h->more);
    if (r == 0) {
        r = thread_start(&h->thread, THREAD_watch, heads_main, h);
        if (r < 0)
            (void)pthread_cond_destroy(&h->more);
    }
    if (r < 0) {
        (void)pthread_mutex_destroy(&h->lock);
        free(h);
        return r;
    }
    *ret = h;
    return 0;
}

struct heads *heads_free(struct heads *h)
{
    if (!h)
        return NULL;
    {
        LOCKED(&h->lock);
        assert(LIST_EMPTY(&h->all));
        h->stopping = true;
        (void)pthread_cond_signal(&h->more);
    }
    (void)pthread_join(h->thread, /* result= */ NULL);
    (void)pthread_cond_destroy(&h->more);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}
