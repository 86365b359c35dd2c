/*
 * Daemons: libmicrohttpd on threads of its own, or on the loops of the transport to engines behind.
 *
 * On the transport's loops a request and its engine's answer live on one thread: nothing that they
 * say to each other crosses threads.
 */
#pragma once

#include "config/config.h"

#include <stdbool.h>

struct MHD_Daemon;
struct daemons;
struct transport;

struct daemons_spec {
    int fd;                              /* listening; moved */
    const struct config_gateway *config; /* borrowed during the call */
    struct transport *transport;         /* NULL: threads of their own */
    /* threads: of its own, 0: none; connections: at most, of them all. */
    struct MHD_Daemon *(*start)(void *ctx, int fd, unsigned flags, unsigned threads,
                                unsigned connections);
    void *ctx; /* of start */
};

/* How many threads serve HTTP. */
unsigned daemons_threads(const struct config_gateway *g);
/* 0, -ENOMEM, -errno; -EIO: libmicrohttpd did not start. */
int daemons_new(struct daemons **ret, const struct daemons_spec *spec) MUST_USE;
/* Of whoever `start` made notify of connections: one of this thread's has closed. */
void daemons_left(void);
/* No request may be active. NULL is fine. */
struct daemons *daemons_free(struct daemons *d);
