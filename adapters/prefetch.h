/*
 * What is loaded before it is asked for: what a name that is in use means after it moved, and,
 * after a restart, what was warm before it.
 *
 * One thread: the catalog's.
 */
#pragma once

#include "adapters/files.h"

struct prefetch;

/* All borrowed. */
int prefetch_new(struct prefetch **ret, struct page *page, struct residents *residents,
                 struct files *files) MUST_USE;
/* Writes down what is warm now; before the residents go. NULL is fine; returns NULL. */
struct prefetch *prefetch_free(struct prefetch *a);
/* What is due; returns when to come again, in monotonic milliseconds. */
uint64_t prefetch_tick(struct prefetch *a);
