/*
 * The last latencies of one candidate, and their percentiles. Pure data; not thread-safe.
 */
#pragma once

#include <stdint.h>

enum { LATENCIES_KEPT = 128 };

struct latencies {
    uint32_t n, next;             /* kept, and which is overwritten next */
    float kept[LATENCIES_KEPT];   /* a ring, milliseconds */
    float sorted[LATENCIES_KEPT]; /* the same, ascending */
};

void latencies_add(struct latencies *l, double ms); /* below 0 or not finite: left out */
/* Nearest rank; 1…100. 0 where nothing was observed. */
double latencies_at(const struct latencies *l, unsigned percentile);
