/*
 * The load queue: who is loaded next, fairly between tenants, in order within one.
 *
 * Each tenant has a counter of the bytes loaded for it; the one behind is next, and one that comes
 * back begins no further back than whoever is served now, so that idleness saves nothing up
 * (start-time fair queuing: Goyal, Vin and Cheng, 1996; the virtual token counter: Sheng et al.,
 * 2024). While two tenants both have loads queued, the bytes loaded for them differ by at most the
 * largest load of each.
 *
 * No lock of its own: residency's. Items are borrowed.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct load_tenant;

struct load_item { /* in each entry; all of it is the queue's */
    struct load_item *prev, *next;
    struct load_tenant *tenant; /* NULL: not queued */
    uint64_t bytes;
};

struct load_queue;

int load_queue_new(struct load_queue **ret) MUST_USE;
struct load_queue *
load_queue_free(struct load_queue *q); /* what is queued is dropped; NULL is fine */
DEFINE_CLEANUP(struct load_queue *, load_queue_free);

/* At the end of its tenant's line, or with `again` at its head (it was taken, and must go back).
 * -ENOMEM. */
int load_queue_add(struct load_queue *q, struct load_item *x, struct str tenant, uint64_t bytes,
                   bool again) MUST_USE;
/* After it the next load_queue_add of this tenant cannot fail. -ENOMEM. */
int load_queue_ready(struct load_queue *q, struct str tenant) MUST_USE;
void load_queue_drop(struct load_queue *q, struct load_item *x);
/* The next one that `fits` (NULL: any) allows, taken off and charged; NULL: none. */
struct load_item *load_queue_take(struct load_queue *q,
                                  bool (*fits)(void *ctx, const struct load_item *x), void *ctx);
struct load_item *load_queue_any(struct load_queue *q); /* one of them, not taken; NULL: empty */
size_t load_queue_len(const struct load_queue *q);
/* Bytes that would be loaded before another `bytes` of this tenant are, at most. */
uint64_t load_queue_ahead(const struct load_queue *q, struct str tenant, uint64_t bytes);
