#include "tests/unit/engine/upstream/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/thread.h"
#include "tests/support/test.h"

#define WAIT_MS 20000

static void on_head(void *owner, const struct call_head *head)
{
    struct probe *p = owner;
    p->status = head->status;
    for (size_t i = 0; i < head->n; i++) {
        buf_add(&p->head, head->headers[i].key);
        buf_add(&p->head, STR(": "));
        buf_add(&p->head, head->headers[i].value);
        buf_addc(&p->head, '\n');
    }
    if (p->on_head)
        p->on_head(p);
}

static void on_body(void *owner, struct str bytes)
{
    struct probe *p = owner;
    p->n_bodies++;
    buf_add(&p->body, bytes);
    if (p->on_body)
        p->on_body(p, bytes);
}

static void over(struct probe *p)
{
    LOCKED(&p->lock);
    p->is_over = true;
    (void)pthread_cond_broadcast(&p->changed);
}

static void on_end(void *owner, const struct call_end *end)
{
    struct probe *p = owner;
    p->end = *end;
    p->n_ends++;
    if (p->on_end)
        p->on_end(p);
    p->call = call_unref(p->call);
    over(p);
}

static const struct call_handler handler = { on_head, on_body, on_end };

void probe_url(struct probe *p, const char *url)
{
    free((char *)(uintptr_t)p->spec.url);
    p->spec.url = strdup(url);
}

void probe_init(struct probe *p, struct transport_loop *l, unsigned port, const char *path,
                const char *body)
{
    char url[512];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    *p = (struct probe){ .loop = l };
    p->spec = (struct call_spec){ .method = body ? "POST" : "GET",
                                  .body = str_of(body),
                                  .connect_ms = 5000,
                                  .first_byte_ms = 10000,
                                  .idle_ms = 10000,
                                  .deadline_ms = CLOCK_NEVER,
                                  .handler = &handler,
                                  .owner = p };
    p->head = BUF_INIT(MIB);
    p->body = BUF_INIT(GIB);
    probe_url(p, url);
    assert_int_equal(pthread_mutex_init(&p->lock, NULL), 0);
    assert_int_equal(thread_cond_init(&p->changed), 0);
}

static void start(struct transport_task *task)
{
    struct probe *p = (struct probe *)((char *)task - offsetof(struct probe, task));
    p->started = call_start(p->loop, &p->call, &p->spec);
    if (p->started < 0)
        over(p);
}

void probe_start(struct probe *p)
{
    p->is_over = false;
    p->n_ends = 0;
    p->task.run = start;
    transport_post(p->loop, &p->task);
}

static bool waited(struct probe *p)
{
    LOCKED(&p->lock);
    uint64_t until = clock_ms() + WAIT_MS;
    while (!p->is_over)
        if (thread_cond_wait_until(&p->changed, &p->lock, until) == -ETIMEDOUT)
            return false;
    return true;
}

void probe_wait(struct probe *p)
{
    assert_true(waited(p));
}

void probe_run(struct probe *p)
{
    probe_start(p);
    probe_wait(p);
}

void probe_done(struct probe *p)
{
    free((char *)(uintptr_t)p->spec.url);
    buf_done(&p->head);
    buf_done(&p->body);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
}

struct errand {
    struct transport_task task;
    struct probe *probe;
    void (*fn)(struct probe *p);
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
};

static void run_errand(struct transport_task *task)
{
    struct errand *e = (struct errand *)task;
    e->fn(e->probe);
    LOCKED(&e->lock);
    e->is_done = true;
    (void)pthread_cond_signal(&e->changed);
}

void probe_on_loop(struct probe *p, void (*fn)(struct probe *p))
{
    struct errand e = { .task.run = run_errand, .probe = p, .fn = fn };
    (void)pthread_mutex_init(&e.lock, NULL);
    (void)pthread_cond_init(&e.changed, NULL);
    transport_post(p->loop, &e.task);
    (void)pthread_mutex_lock(&e.lock);
    while (!e.is_done)
        (void)pthread_cond_wait(&e.changed, &e.lock);
    (void)pthread_mutex_unlock(&e.lock);
    (void)pthread_cond_destroy(&e.changed);
    (void)pthread_mutex_destroy(&e.lock);
}

bool probe_has_header(const struct probe *p, const char *line)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "%s\n", line);
    ptrdiff_t at = str_find(buf_str(&p->head), str_of(text));
    return at == 0 || (at > 0 && p->head.p[at - 1] == '\n');
}
