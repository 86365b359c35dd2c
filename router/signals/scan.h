/*
 * One pass over a text for all literal texts of a policy, and for whatever its patterns need: a
 * pattern that the pass rules out is not tried.
 *
 * Built once, then immutable; any thread may scan (each scan borrows a scratch of its own).
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>

struct scanner;

struct scanner *scanner_new(void);               /* NULL: no memory */
struct scanner *scanner_free(struct scanner *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct scanner *, scanner_free);

enum {
    SCAN_bounded = 1, /* stands at word boundaries, not just anywhere */
    SCAN_exact = 2,   /* compared as written; else the literal is folded and so is the text */
};

/* Adds a literal (not empty, valid UTF-8, copied) and sets its number. -ENOMEM. */
int scanner_literal(struct scanner *s, struct str text, unsigned flags,
                    size_t *ret_number) MUST_USE;
/*
 * Adds a filter for a caseless pattern (pattern_new); `unicode` as there. The number is
 * SCAN_NO_FILTER where the pass cannot rule it out. -ENOMEM.
 */
#define SCAN_NO_FILTER SIZE_MAX
int scanner_filter(struct scanner *s, struct str pattern, bool unicode,
                   size_t *ret_number) MUST_USE;
/* After the last one. -ENOMEM. */
int scanner_build(struct scanner *s) MUST_USE;
size_t scanner_len(const struct scanner *s);

struct scan_text {
    struct str raw, folded; /* valid UTF-8 */
    bool only_case;         /* folding changed nothing but case: filters hold */
};

/* Sets found[number] for each literal that stands in the text, and for each pattern that may match
 * it. `found` comes zeroed. 0, -ENOMEM or -EIO. */
int scanner_scan(struct scanner *s, const struct scan_text *text, bool *found) MUST_USE;
