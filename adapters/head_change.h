/*
 * What a change makes of a head: the rules of publish, promote, rollback, canary, abort, shadow and
 * retire, without any storage.
 *
 * Pure; any thread. A catalog reads the head, asks here what it becomes, and writes that if the
 * head is still the one that was read.
 */
#pragma once

#include "adapters/catalog.h"

struct head_line { /* of the history; owns nothing but its digests */
    const char *what;
    struct str alias; /* borrowed from the change */
    struct sha256 from, to;
    bool has_from, has_to;
};

enum { HEAD_LINES = 2 };

struct head_step {
    struct head *head; /* what it becomes, with the epoch it was made from; NULL: it is gone */
    bool same;         /* nothing changes: `head` is another reference to what there was */
    struct head_line lines[HEAD_LINES];
    size_t n_lines;
    struct str alias;     /* the one that `names` is about; "" after a retirement */
    struct sha256 names;  /* the revision that the reply tells of */
    bool has_names;       /* false: there is none (it was retired) */
    struct sha256 former; /* a revision that nothing refers to any more */
    bool has_former;
};

void head_step_done(struct head_step *s); /* usable with CLEANUP */

/* FAILED: precondition_failed (if_match, expected), conflict, model_not_found, invalid_request. */
int head_change(struct head_step *ret, struct head *now, const struct adapter_change *c,
                struct fail *reterr) MUST_USE;
/* `now` NULL: the adapter is new. FAILED: conflict, it is full. */
int head_publish(struct head_step *ret, struct head *now, const struct publication *p,
                 struct fail *reterr) MUST_USE;

/*
 * Two heads of one adapter from catalogs that went apart, `later` being the one whose revisions are
 * not all known to `known`: the revisions of both (later ones numbered on), and where both say
 * something of an alias, what `later` says. NULL: no memory, or there is no room.
 */
struct head *head_merge(const struct head *known, const struct head *later);
/* Every revision of `h` is in `known`. */
bool head_is_covered(const struct head *h, const struct head *known);
