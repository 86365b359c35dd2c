/*
 * Watch: notices clients that leave while their connection is suspended (libmicrohttpd does not
 * look at suspended sockets) or in the middle of a body (gateway/upload.h), beats silent streams,
 * and settles requests whose engine jobs ended.
 *
 * One thread with its own epoll over the same sockets. A node is added when a body begins to come
 * or its connection is first suspended, looked at from WATCH_YOUNG_MS on (most are answered by
 * then, and cost no system call), and removed on the http thread before the socket can be closed,
 * so a socket number is never mistaken for another connection; events are matched by slot and
 * generation. A client that shuts down only its sending side counts as gone, as it does for nginx.
 */
#pragma once

#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>

struct request;
struct watch;

struct watch_node {
    struct request *request;
    int fd;
    uint32_t slot;
    bool added, looked_at; /* looked_at: its socket is in the epoll; under the watch's lock */
    uint64_t since_ms;
};

int watch_new(struct watch **ret) MUST_USE; /* starts the thread */
struct watch *watch_free(struct watch *w);  /* asserts that nothing is watched; NULL is fine */
DEFINE_CLEANUP(struct watch *, watch_free);

/* http thread. Failure (memory, epoll) only means that this client is noticed when written to. */
int watch_add(struct watch *w, struct watch_node *node, struct request *r, int fd) MUST_USE;
void watch_remove(struct watch *w, struct watch_node *node);

/*
 * Any thread, at most once a request: its last job has ended. The watch thread releases the lease
 * and the reference, which is moved; an engine's own thread must do neither.
 */
void watch_settle(struct watch *w, struct request *r);

/* Cancels everything that is watched; for the end of a drain. */
void watch_cancel_all(struct watch *w);

/*
 * Keeps reading and discarding what the client of a refused upload still sends, for at most two
 * seconds, so that closing does not reset the connection before it has read the answer. The
 * descriptor is moved.
 */
void watch_linger(struct watch *w, int fd);
