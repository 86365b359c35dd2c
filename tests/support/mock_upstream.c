#include "tests/support/mock_upstream.h"

#include "base/clock.h"
#include "base/thread.h"
#include "tests/support/mock_loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, BACKLOG = 4096, LIMIT_PREBUILT = 65536 };

struct mock_upstream {
    struct mock_stats *stats;
    struct mock_loop *loops;
    size_t n;
};

/* ---- timers ---- */

void mock_timer_clear(struct mock_conn *c)
{
    if (!c->timer_place)
        return;
    *c->timer_place = c->timer_next;
    if (c->timer_next)
        c->timer_next->timer_place = c->timer_place;
    c->timer_place = NULL;
    c->loop->n_timers--;
}

void mock_timer_set(struct mock_conn *c, uint64_t at_ms)
{
    struct mock_loop *l = c->loop;

    mock_timer_clear(c);
    if (at_ms <= l->ticked_ms)
        at_ms = l->ticked_ms + 1;
    struct mock_conn **slot = &l->slots[at_ms % MOCK_SLOTS];
    c->timer_ms = at_ms;
    c->timer_next = *slot;
    if (*slot)
        (*slot)->timer_place = &c->timer_next;
    *slot = c;
    c->timer_place = slot;
    l->n_timers++;
}

static void timers_fire(struct mock_loop *l)
{
    uint64_t now = l->now_us / 1000;
    uint64_t from = now - l->ticked_ms > MOCK_SLOTS ? now - MOCK_SLOTS : l->ticked_ms;

    l->ticked_ms = now;
    for (uint64_t t = from + 1; t <= now && l->n_timers; t++) {
        struct mock_conn *due = NULL;
        for (struct mock_conn *c = l->slots[t % MOCK_SLOTS], *next; c; c = next) {
            next = c->timer_next;
            if (c->timer_ms > now)
                continue;
            mock_timer_clear(c);
            c->timer_next = due;
            due = c;
        }
        while (due) {
            struct mock_conn *c = due;
            due = c->timer_next;
            mock_conn_timer(c);
        }
    }
}

static int sleep_ms(const struct mock_loop *l)
{
    if (!l->n_timers)
        return -1;
    for (unsigned i = 1; i < MOCK_SLOTS; i++)
        if (l->slots[(l->ticked_ms + i) % MOCK_SLOTS]) {
            uint64_t now = clock_ms(), at = l->ticked_ms + i;
            return at > now ? (int)(at - now) : 0;
        }
    return MOCK_SLOTS;
}

/* ---- control ---- */

void mock_control(struct mock_loop *l, struct str method, struct str target, struct str body,
                  struct buf *out)
{
    struct str path = target, query = STR_NULL, id = STR_NULL;
    struct buf answer = BUF_INIT((size_t)1 << 30);

    (void)str_cut(target, '?', &path, &query);
    if (str_starts(query, STR("id=")))
        id = str_sub(query, 3);
    if (str_is(path, "/_mock/stats") && id.n)
        mock_tries_print(l->stats, id, &answer);
    else if (str_is(path, "/_mock/stats"))
        mock_stats_print(l->stats, &answer);
    else if (str_is(path, "/_mock/request"))
        mock_request_print(l->stats, id, &answer);
    else if (str_is(path, "/_mock/release"))
        mock_release(l->stats, id);
    else if (str_is(path, "/_mock/reset"))
        mock_stats_reset(l->stats);
    else if (str_is(path, "/_mock") && str_is(method, "POST"))
        mock_default_set(l->stats, body);
    buf_addf(out,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             answer.n);
    buf_add(out, buf_str(&answer));
    buf_done(&answer);
}

/* ---- the loop ---- */

static void accept_all(struct mock_loop *l)
{
    enum { FULL_PAUSE_US = 1000 };

    for (;;) {
        int fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == ECONNABORTED)
            continue;
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                (void)usleep(FULL_PAUSE_US);
            return;
        }
        (void)mock_conn_new(l, fd);
    }
}

static void *run(void *arg)
{
    struct mock_loop *l = arg;
    struct epoll_event events[EVENTS];

    thread_adopt(THREAD_upstream);
    l->now_us = clock_us();
    l->ticked_ms = l->now_us / 1000;
    for (;;) {
        int n = epoll_wait(l->epoll, events, EVENTS, sleep_ms(l));
        l->now_us = clock_us();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &l->wake)
                return NULL;
            if (events[i].data.ptr == &l->listener)
                accept_all(l);
            else
                mock_conn_event(events[i].data.ptr, events[i].events);
        }
        timers_fire(l);
        while (l->dead) {
            struct mock_conn *c = l->dead;
            l->dead = c->next;
            mock_conn_release(c);
        }
    }
}

/* ---- start and stop ---- */

static int listen_on(struct mock_loop *l, const char *address, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    if (address && inet_pton(AF_INET, address, &a.sin_addr) != 1)
        return -EINVAL;
    l->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->listener < 0 || l->epoll < 0 || l->wake < 0)
        return -errno;
    (void)setsockopt(l->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    struct epoll_event listener = { .events = EPOLLIN, .data.ptr = &l->listener };
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = &l->wake };
    if (bind(l->listener, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(l->listener, BACKLOG) < 0 ||
        getsockname(l->listener, (struct sockaddr *)&a, &len) < 0 ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->listener, &listener) < 0 ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &wake) < 0)
        return -errno;
    l->port = ntohs(a.sin_port);
    return 0;
}

static int tls_new(struct mock_loop *l, const struct mock_listen *listen)
{
    if (!listen->cert)
        return 0;
    l->tls = SSL_CTX_new(TLS_server_method());
    if (!l->tls)
        return -ENOMEM;
    (void)SSL_CTX_set_mode(l->tls,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(l->tls, listen->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(l->tls, listen->key, SSL_FILETYPE_PEM) != 1)
        return -EINVAL;
    return 0;
}

static void add_chunk(struct buf *out, struct str bytes)
{
    buf_addf(out, "%zx\r\n", bytes.n);
    buf_add(out, bytes);
    buf_add(out, STR("\r\n"));
}

static int prebuild(struct buf *ret, const struct mock_ask *ask)
{
    struct mock_script script;
    struct buf body = BUF_INIT(LIMIT_PREBUILT);
    struct mock_render render = MOCK_RENDER_INIT;

    mock_script_init(&script);
    *ret = BUF_INIT(LIMIT_PREBUILT);
    mock_render_start(&render, ask, &script);
    if (!ask->stream) {
        mock_render_whole(&render, &body);
        mock_answer_head(ret, ask, &script, (int64_t)body.n);
        buf_add(ret, buf_str(&body));
    } else {
        mock_answer_head(ret, ask, &script, MOCK_CHUNKED);
        while (mock_render_peek(&render, &(uint32_t){ 0 }) != MOCK_NEXT_over) {
            buf_clear(&body);
            mock_render_next(&render, &body);
            if (body.n)
                add_chunk(ret, buf_str(&body));
        }
        buf_adds(ret, "0\r\n\r\n");
    }
    mock_render_done(&render);
    buf_done(&body);
    return buf_err(ret);
}

static int loop_start(struct mock_loop *l, const struct mock_listen *listen)
{
    int r = listen_on(l, listen->address, listen->port);

    if (r == 0)
        r = tls_new(l, listen);
    for (unsigned i = 0; r == 0 && i < MOCK_PREBUILT * 4; i++) {
        struct mock_ask ask = {
            .wire = (enum mock_wire)(i / 4), .stream = i & 2, .usage = i & 1, .n = 1, .inputs = 1
        };
        r = prebuild(&l->prebuilt[i / 4][ask.stream][ask.usage], &ask);
    }
    if (r == 0)
        r = thread_start(&l->thread, THREAD_upstream, run, l);
    l->running = r == 0;
    return r;
}

static void loop_stop(struct mock_loop *l)
{
    if (l->running) {
        (void)!write(l->wake, &(uint64_t){ 1 }, sizeof(uint64_t));
        (void)pthread_join(l->thread, NULL);
    }
    while (l->conns)
        mock_conn_close(l->conns);
    while (l->dead) {
        struct mock_conn *c = l->dead;
        l->dead = c->next;
        mock_conn_release(c);
    }
    for (unsigned i = 0; i < MOCK_PREBUILT * 4; i++)
        buf_done(&l->prebuilt[i / 4][(i >> 1) & 1][i & 1]);
    SSL_CTX_free(l->tls);
    own_close(&l->listener);
    own_close(&l->epoll);
    own_close(&l->wake);
}

struct mock_upstream *mock_upstream_stop(struct mock_upstream *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < m->n; i++)
        loop_stop(&m->loops[i]);
    free(m->loops);
    (void)mock_stats_free(m->stats);
    free(m);
    return NULL;
}

int mock_upstream_start(struct mock_upstream **ret, const struct mock_listen *listen, size_t n)
{
    CLEANUP(mock_upstream_stopp) struct mock_upstream *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->loops = calloc(n, sizeof(*m->loops));
    int r = m->loops ? mock_stats_new(&m->stats) : -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++) {
        m->loops[i] =
            (struct mock_loop){ .stats = m->stats, .listener = -1, .epoll = -1, .wake = -1 };
        m->n = i + 1;
        r = loop_start(&m->loops[i], &listen[i]);
    }
    if (r < 0)
        return r;
    *ret = TAKE(m);
    return 0;
}

uint16_t mock_upstream_port(const struct mock_upstream *m, size_t i)
{
    return m->loops[i].port;
}

struct mock_stats *mock_upstream_stats(struct mock_upstream *m)
{
    return m->stats;
}
