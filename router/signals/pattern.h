/*
 * Regular expressions that cannot run for ever: PCRE2 with a budget of processor time.
 *
 * A compiled pattern is immutable; any thread may scan with it. A budget belongs to one thread.
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>

struct pattern;

/*
 * `unicode`: \b, \w and \d know all scripts, not only ASCII. -EINVAL: `reterr` says why, in
 * one sentence; -ENOMEM.
 */
int pattern_new(struct pattern **ret, struct str source, bool caseless, bool unicode, char *reterr,
                size_t err_bytes) MUST_USE;
struct pattern *pattern_free(struct pattern *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct pattern *, pattern_free);

/* Processor time that a number of searches may spend together. */
struct pattern_budget {
    struct arena *arena;
    uint64_t until_ns;    /* of the thread's own clock; 0: not begun */
    void *data, *context; /* of PCRE2, made once for all searches */
    unsigned ticks;
    bool spent;
};

#define PATTERN_BUDGET_MS 200 /* for one family in one request; ordinary ones take microseconds */

/* 1: found, 0: not, -EOVERFLOW: the budget is spent, -ENOMEM. `text` is valid UTF-8. */
int pattern_matches(const struct pattern *p, struct str text, struct pattern_budget *budget);
/* Number of matches that do not overlap, or -EOVERFLOW, -ENOMEM. */
ptrdiff_t pattern_count(const struct pattern *p, struct str text, struct pattern_budget *budget);
