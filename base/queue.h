/*
 * A bounded queue between threads. A put moves the item, or leaves it with the caller.
 *
 * Any thread may call anything. Items are pointers; the queue never frees one.
 */
#pragma once

#include "base/own.h"

#include <stddef.h>

struct queue;

int queue_new(struct queue **ret, size_t max) MUST_USE;
struct queue *
queue_free(struct queue *q); /* asserts that it is empty; NULL is fine; returns NULL */
DEFINE_CLEANUP(struct queue *, queue_free);

/*
 * 0: moved, *item is NULL now. -EAGAIN: full, the caller still owns it (and answers 429).
 * -EPIPE: closed.
 */
int queue_put(struct queue *q, void **item) MUST_USE;

/*
 * 0: *ret_item belongs to the caller. -ETIMEDOUT at the monotonic deadline (0: do not wait;
 * CLOCK_NEVER: wait for ever). -EPIPE: closed and empty.
 */
int queue_get(struct queue *q, void **ret_item, unsigned long long deadline_ms) MUST_USE;

void queue_close(struct queue *q); /* puts fail from now on; gets drain what is left */
size_t queue_len(const struct queue *q);
