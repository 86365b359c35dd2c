/*
 * Warmth: how likely a revision is wanted soon, and so which one of the idle makes room.
 *
 * A count of its uses that halves every `half-life` uses of all (LRFU: Lee et al., 2001), held as a
 * logarithm against a clock that moves on with each use, so that values of any age compare as they
 * are. What was evicted is remembered in a bounded table, so that one that comes back is not new
 * (as in TinyLFU: Einziger et al., 2017). What a victim costs is its warmth times the price of its
 * next load over the bytes that it frees (GreedyDual-Size with frequency: Cherkasova, 1998).
 * tests/perf/residency_trace.c compares it with others.
 *
 * No lock of its own: residency's.
 */
#pragma once

#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>

#define WARMTH_NONE (-1e300) /* of what was never used */

struct warm { /* in each entry that may become idle; all of it is the warmth's */
    uint64_t id;
    uint64_t bytes; /* set by the owner while it is not idle */
    double warmth;
    size_t at; /* in the list of the idle */
};

struct warmth;

int warmth_new(struct warmth **ret) MUST_USE;
struct warmth *warmth_free(struct warmth *w); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct warmth *, warmth_free);

/* Begins with what is remembered of the id; 0 bytes are counted as 1. */
void warm_init(struct warmth *w, struct warm *x, uint64_t id, uint64_t bytes);
void warm_use(struct warmth *w, struct warm *x);    /* one more use, now */
void warm_forget(struct warmth *w, struct warm *x); /* it leaves: remembered by its id */
/* Its warmth against a use now, in half-lives (0 or less, but for what is used much), and back:
 * for what outlives the process. */
double warmth_relative(const struct warmth *w, const struct warm *x);
void warmth_restore(const struct warmth *w, struct warm *x, double relative);
double warmth_remembered(const struct warmth *w, uint64_t id); /* WARMTH_NONE: not */
/* The value among the same kind at any two moments: higher stays longer. */
double warm_worth(const struct warm *x);

/* Makes sure that `n` may be idle at once and sets the half-life that fits so many. */
int warmth_reserve(struct warmth *w, size_t n) MUST_USE;
void warmth_add(struct warmth *w, struct warm *x); /* idle from now on */
void warmth_del(struct warmth *w, struct warm *x);
size_t warmth_idle(const struct warmth *w);
struct warm *warmth_at(const struct warmth *w, size_t i); /* of the idle, in no order */

/*
 * The idle one that is worth least among those that `may` (NULL: all) allows, or NULL. Of many it
 * is the least of a random sample (as Redis evicts), unless the sample holds none that may go.
 */
struct warm *warmth_least(struct warmth *w, bool (*may)(void *ctx, const struct warm *x),
                          void *ctx);
