/*
 * Workers: threads for what may block (catalog look-ups, alias moves), so that http threads never
 * do. A bounded queue of requests; each item holds a reference.
 */
#pragma once

#include "base/own.h"

struct request;
struct work;

int work_new(struct work **ret, unsigned threads, size_t max) MUST_USE;
struct work *work_free(struct work *w); /* runs what is queued, joins; NULL is fine */
DEFINE_CLEANUP(struct work *, work_free);

/* Runs request->work on a worker, sets `worked` and wakes. The reference is moved. -EAGAIN: full.
 */
int work_put(struct work *w, struct request *r) MUST_USE;
