/*
 * Batches: many requests of one file, answered while nobody else asks.
 *
 * One thread looks at what is open. A line becomes a request without a connection
 * (gateway/detached.h) while no engine has anything waiting and few sequences run; where somebody
 * waits all the same, lines under way are given up and asked again later. What was answered is on
 * disk at once, so that another process goes on where this one ended.
 */
#pragma once

#include "gateway/batch_store.h"

struct batches;
struct request;
struct server;

/* FAILED: as batch_store_new. Nothing runs before batches_begin. */
int batches_new(struct batches **ret, struct server *s, const struct config_batches *c,
                struct fail *reterr) MUST_USE;
int batches_begin(struct batches *b) MUST_USE;
void batches_drain(struct batches *b); /* no line is begun any more; NULL is fine; any thread */
struct batches *batches_free(struct batches *b); /* after all requests ended; NULL is fine */
DEFINE_CLEANUP(struct batches *, batches_free);

struct batch_store *batches_store(struct batches *b);
void batches_wake(struct batches *b); /* a batch is new, or is to be cancelled; any thread */
