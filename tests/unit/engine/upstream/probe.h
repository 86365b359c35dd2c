/*
 * A call and what it told, for tests that wait outside of its loop.
 */
#pragma once

#include "base/buf.h"
#include "engine/upstream/transport.h"

#include <pthread.h>

struct probe {
    struct transport_loop *loop;
    struct call_spec spec;
    void (*on_head)(struct probe *p); /* hooks, on the loop; NULL: none */
    void (*on_body)(struct probe *p, struct str bytes);
    void (*on_end)(struct probe *p);
    void *owner;
    /* what came */
    struct call *call;
    int started; /* of call_start */
    unsigned status;
    struct buf head; /* "name: value\n" … */
    struct buf body;
    unsigned n_bodies, n_ends;
    struct call_end end;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_over;
    struct transport_task task;
};

/* A call to path of a server on 127.0.0.1, as GET, or as POST with the body. */
void probe_init(struct probe *p, struct transport_loop *l, unsigned port, const char *path,
                const char *body);
void probe_url(struct probe *p, const char *url);
void probe_start(struct probe *p);
void probe_wait(struct probe *p); /* fails the test after some seconds */
void probe_run(struct probe *p);  /* both */
void probe_done(struct probe *p);
/* Runs fn(p) on the loop and waits for it. */
void probe_on_loop(struct probe *p, void (*fn)(struct probe *p));
bool probe_has_header(const struct probe *p, const char *line);
