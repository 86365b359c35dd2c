/*
 * Placer: the files of revisions in a folder where other programs (engines behind) read them.
 *
 * A revision is a folder of its own, FOLDER/<its digest's first two digits>/<its digest>, and is
 * there whole or not at all. Its files are hashed once in a process; after that, inode, size and
 * times of each say that nobody touched them, and where they do not, they are hashed again and put
 * anew where they are damaged.
 *
 * The folder is bounded in bytes; what was not in use for the longest time goes first. The time of
 * a revision's folder says when somebody was last known to use it: who puts or keeps it touches it.
 * What was touched within keep_ms is never removed, so every user keeps what it needs far more
 * often than that, and the bound is exceeded by what is in use. Processes, also of several hosts,
 * may share the folder: each removal is under its lock (FOLDER/.lock), all times are of its file
 * system. Where that knows no locks nothing is removed.
 *
 * Any thread. Calls block.
 */
#pragma once

#include "adapters/adapters.h"

struct placer;

struct placer_options {
    struct str folder; /* copied; made where it is absent */
    uint64_t max_bytes, keep_ms;
};

struct placer_state {
    uint64_t put, hashed;    /* revisions, by this placer */
    uint64_t removed, bytes; /* by this placer, and what the last trim found and left there */
};

int placer_new(struct placer **ret, const struct placer_options *o) MUST_USE; /* 0, -ENAMETOOLONG */
struct placer *placer_free(struct placer *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct placer *, placer_free);

/* Puts the revision that the name means there, or finds it there and touches it. FAILED: as
 * adapters_pull, and invalid_request: the folder. */
int placer_put(struct placer *p, struct adapters *a, const struct adapter_name *name,
               struct fail *reterr) MUST_USE;
/* Those whose digests begin with these digits, 2 at least, are in use. 0 also where there are none;
 * negative errno. */
int placer_keep(struct placer *p, struct str digits) MUST_USE;
/* Removes what is too much. 0 or negative errno (-EOPNOTSUPP: no locks). */
int placer_trim(struct placer *p) MUST_USE;
struct placer_state placer_look(struct placer *p);
