/*
 * Heads: connections whose next request has begun to come and does not become one.
 *
 * libmicrohttpd only sees to it that bytes come now and then; a head that drips would hold its
 * connection for ever. A thread looks, a few times in gateway.limits.head_time, at all connections
 * that are between requests: what has begun since an earlier look and is not whole after that time
 * is answered with 408 and closed. One on which nothing has begun is the library's to close.
 */
#pragma once

#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>

struct head_wait; /* a connection */
struct heads;

/* `time_ms` is asked each time: how long a head may take. Starts the thread. 0, negative errno. */
int heads_new(struct heads **ret, uint64_t (*time_ms)(void *ctx), void *ctx) MUST_USE;
struct heads *heads_free(struct heads *h); /* all connections are closed; NULL is fine */

/* The thread that serves the connection. NULL: no memory, and nobody looks at it. */
struct head_wait *heads_open(struct heads *h, int fd);
void heads_close(struct heads *h, struct head_wait *w); /* before the socket is; NULL is fine */
/* A head is whole. false: it came too late, 408 was sent, and the connection is to be closed. */
bool heads_begin(struct head_wait *w);
/* Its request is over: the next may come. */
void heads_end(struct head_wait *w);
