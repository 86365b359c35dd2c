/*
 * Detached: answers that go on without a connection, and clients that read along.
 *
 * Such a request has no connection: threads of ours run its steps instead of an http thread, one at
 * a time, and keep what it streams, so that clients may come, leave, and come again.
 */
#pragma once

#include "gateway/request.h"

struct detached;

/* Whether another process wants the request of that name to end; asked twice a second of each that
 * runs, on a thread that may block. */
typedef bool detached_unwanted(void *ctx, const char *key);
/* `unwanted` may be NULL: no other process knows of them. */
int detached_new(struct detached **ret, detached_unwanted *unwanted, void *ctx) MUST_USE;
struct detached *detached_free(struct detached *d); /* after all requests ended; NULL is fine */
DEFINE_CLEANUP(struct detached *, detached_free);
void detached_cancel_all(struct detached *d); /* any thread: the server shuts down */

/* A request like `r`, with its own memory and no connection, its body moved; NULL: no memory. */
struct request *detached_request(struct request *r);

/* After the last step, also of one that was cancelled: appends what readers are told at the end. It
 * may block. */
typedef void detached_ended(struct request *r, struct buf *last);
struct detached_task {
    const char *key; /* copied; by which it is found */
    detached_ended *ended;
    bool unread; /* nobody reads along, or asks for it once it has ended */
};
/*
 * Worker: runs r->step, which becomes a stream or has a whole answer, from here on; the reference
 * is moved. FAILED: it was answered at once, and r->reply (keep a reference of your own) says what.
 * -EAGAIN: as many run as may; -ENOMEM.
 */
int detached_start(struct detached *d, struct request *r,
                   const struct detached_task *task) MUST_USE;

/* Any thread. -ENOENT: none of that name runs here, nor has ended lately. */
int detached_cancel(struct detached *d, const char *key);
/* Any thread: it runs here, and its stream has begun. */
bool detached_has_begun(struct detached *d, const char *key);
/* Waits up to `ms` for its end. Workers only. */
void detached_wait(struct detached *d, const char *key, unsigned ms);
/*
 * The request, whose reply is to be streamed, reads what the other streams, without its first
 * `skip` events. -ENOENT as above; -ENOMEM. request->front is taken.
 */
int detached_follow(struct detached *d, struct request *r, const char *key, uint64_t skip) MUST_USE;
