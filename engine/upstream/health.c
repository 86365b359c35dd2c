#include "engine/upstream/health.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

struct probe {
    struct health *health;
    unsigned endpoint;
    struct call *call;
    unsigned status;
    bool is_down, is_running;
    struct buf url;
};

struct health {
    struct upstream *upstream;
    struct transport_loop *loop;
    struct transport_timer timer;
    struct transport_task start, stop;
    struct probe *probes;
    unsigned n, running;
    bool stopping, stopped; /* stopped: under the engine's lock */
};

static void tell_stopped(struct health *h)
{
    LOCKED(&h->upstream->lock);
    h->stopped = true;
    (void)pthread_cond_broadcast(&h->upstream->idle);
}

static void on_head(void *owner, const struct call_head *head)
{
    struct probe *p = owner;
    p->status = head->status;
}

static void on_body(void *owner, struct str bytes)
{
    (void)owner;
    (void)bytes; /* the status says it */
}

static void on_end(void *owner, const struct call_end *end)
{
    struct probe *p = owner;
    struct health *h = p->health;
    bool healthy = end->outcome == CALL_complete && p->status >= 200 && p->status < 300;
    p->call = call_unref(p->call);
    p->is_running = false;
    h->running--;
    if (h->stopping) {
        if (h->running == 0)
            tell_stopped(h);
        return;
    }
    pool_probe(h->upstream->pool, p->endpoint, healthy, clock_ms());
    if (healthy == p->is_down)
        log_line(healthy ? LOG_info : LOG_warn, "upstream_health",
                 "model=" STR_FMT " endpoint=" STR_FMT " healthy=%d status=%u why=\"%s\"",
                 STR_ARG(h->upstream->name),
                 STR_ARG(upstream_endpoint(h->upstream, p->endpoint)->name), healthy, p->status,
                 end->message);
    p->is_down = !healthy;
}

static const struct call_handler handler = { on_head, on_body, on_end };

static void probe(struct probe *p)
{
    struct health *h = p->health;
    struct call_spec c = { .method = "GET", .url = p->url.p, .handler = &handler, .owner = p };
    if (p->is_running)
        return;
    upstream_call_spec(h->upstream, p->endpoint, &c);
    c.deadline_ms = clock_ms() + h->upstream->config->health_timeout_ms;
    p->status = 0;
    if (call_start(h->loop, &p->call, &c) < 0)
        return; /* ours: it says nothing of the endpoint */
    p->is_running = true;
    h->running++;
}

static void round_of_probes(struct transport_timer *timer)
{
    struct health *h = OF_MEMBER(struct health, timer, timer);
    for (unsigned i = 0; i < h->n; i++)
        probe(&h->probes[i]);
    uint64_t next_ms = clock_ms() + h->upstream->config->health_interval_ms;
    if (transport_timer_set(h->loop, &h->timer, next_ms) < 0)
        log_line(LOG_error, "upstream_health",
                 "model=" STR_FMT " why=\"no memory: checks have stopped\"",
                 STR_ARG(h->upstream->name));
}

static void run_start(struct transport_task *task)
{
    struct health *h = OF_MEMBER(struct health, start, task);
    round_of_probes(&h->timer);
}

static void run_stop(struct transport_task *task)
{
    struct health *h = OF_MEMBER(struct health, stop, task);
    h->stopping = true;
    transport_timer_clear(h->loop, &h->timer);
    if (h->running == 0) {
        tell_stopped(h);
        return;
    }
    for (unsigned i = 0; i < h->n; i++)
        if (h->probes[i].is_running)
            call_cancel(h->probes[i].call);
}

/* "scheme://host[:port]" of the endpoint's URL and the path of the check. */
static int write_url(struct probe *p)
{
    const struct upstream *u = p->health->upstream;
    struct str url = upstream_endpoint(u, p->endpoint)->url, path = u->config->health_path;
    ptrdiff_t scheme = str_find(url, STR("://"));
    size_t from = scheme < 0 ? 0 : (size_t)scheme + 3;
    struct str host = str_sub(url, from), rest = STR_NULL;
    (void)str_cut(host, '/', &host, &rest);
    p->url = BUF_INIT(8192);
    buf_add(&p->url, str_head(url, from));
    buf_add(&p->url, host);
    if (!str_starts(path, STR("/")))
        buf_addc(&p->url, '/');
    buf_add(&p->url, path);
    return buf_err(&p->url);
}

static struct health *done(struct health *h)
{
    for (unsigned i = 0; h->probes && i < h->n; i++)
        buf_done(&h->probes[i].url);
    free(h->probes);
    free(h);
    return NULL;
}

static bool is_down(const struct upstream *u, unsigned i)
{
    struct pool_state s;
    pool_look(u->pool, i, clock_ms(), &s);
    return s.probe_failed;
}

int health_new(struct health **ret, struct upstream *u)
{
    struct health *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->upstream = u;
    h->loop = transport_loop(u->transport, 0);
    h->n = (unsigned)u->config->endpoints.n;
    h->probes = calloc(h->n, sizeof(*h->probes));
    h->timer.fire = round_of_probes;
    h->start.run = run_start;
    h->stop.run = run_stop;
    int err = h->probes ? 0 : -ENOMEM;
    for (unsigned i = 0; err == 0 && i < h->n; i++) {
        h->probes[i].health = h;
        h->probes[i].endpoint = i;
        h->probes[i].is_down = is_down(u, i);
        err = write_url(&h->probes[i]);
    }
    if (err < 0) {
        (void)done(h);
        return err;
    }
    transport_post(h->loop, &h->start);
    *ret = h;
    return 0;
}

struct health *health_free(struct health *h)
{
    if (!h)
        return NULL;
    struct upstream *u = h->upstream;
    transport_post(h->loop, &h->stop);
    {
        LOCKED(&u->lock);
        while (!h->stopped)
            (void)pthread_cond_wait(&u->idle, &u->lock);
    }
    return done(h);
}
