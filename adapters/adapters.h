/*
 * Adapters: which LoRA adapters exist (the catalog), which revision a name means now, and which
 * revisions are packed in memory (residency). The one header other folders include.
 *
 * Words: a revision is immutable and named by its sha256 digest; an alias is a movable name for
 * one; a lease is a counted right to use a resident revision, which is then never evicted.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "config/config.h"

struct adapters;
struct lease;
struct lease_wait;

/* How the engine turns a revision's files into something it can use; set by whoever owns the
 * engine. */
struct adapter_loader {
    /*
     * Packs the revision at `folder` (its files, digest verified; the folder is there only during
     * the call) for the base model. Runs on a loader thread. 0: *ret is owned by residency,
     * *ret_bytes is what it occupies. FAILED: *reterr names the file and field
     * (unprocessable_adapter). Negative errno.
     */
    int (*load)(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                struct fail *reterr);
    void (*unload)(void *ctx, void *resident);
    void *ctx;
};

/* Opens the catalog of the configuration and starts its threads. `loader` may be NULL (CLI use: no
 * residency). */
int adapters_open(struct adapters **ret, const struct config *c,
                  const struct adapter_loader *loader, struct fail *reterr) MUST_USE;
struct adapters *
adapters_close(struct adapters *a); /* asserts that no lease is held; NULL is fine */
DEFINE_CLEANUP(struct adapters *, adapters_close);

/* ---- names ---- */

/*
 * Splits "[base:]adapter[@selector]" at its first '@' and the last ':' before it; borrowed from
 * `text`. Nothing is looked up.
 */
struct adapter_name;
struct adapter_name adapter_name_split(struct str text);

/* "sql", "sql@prod", "sql@sha256-prefix" (at least 8 hex digits after "sha256:" or "sha256-", or
 * bare hex ≥ 12). */
struct adapter_name {
    struct str base; /* p NULL: any base, when the adapter's name is unique */
    struct str adapter;
    struct str selector; /* alias or digest prefix; empty: `prod`, else the newest revision */
};

enum residency { RESIDENCY_hit, RESIDENCY_disk, RESIDENCY_cold };
const char *residency_word(enum residency r); /* "hit", "disk", "cold" */

/* Everything about one revision that a request needs; copied out, owns nothing. */
struct adapter_revision {
    char base[LIMIT_NAME + 1], adapter[LIMIT_NAME + 1];
    char alias[LIMIT_NAME + 1]; /* by which it was asked for; "" for a digest */
    struct sha256 digest;       /* of the revision's canonical manifest */
    uint64_t ordinal;           /* 1 for the first published */
    uint64_t created_s;
    uint64_t bytes; /* of its files */
};

/*
 * What a name means now. Local page first; a miss may ask the catalog and so block: not on http
 * threads (those use adapters_acquire). FAILED: model_not_found, conflict (ambiguous digest prefix
 * or bare name), catalog_unavailable.
 */
int adapters_resolve(struct adapters *a, const struct adapter_name *name,
                     struct adapter_revision *ret, struct fail *reterr) MUST_USE;

/* ---- leases ---- */

/* Called exactly once, on a catalog or loader thread: with a lease (moved), or NULL and why not.
 * Must not block. */
typedef void (*lease_fn)(void *owner, struct lease *lease, const struct fail *fail);

#define ADAPTERS_PENDING 2

/*
 * Any thread, never blocks. The revision is resolved now from the local page and stays pinned to
 * this digest; when the page lacks the name, the catalog's thread asks for it.
 * 0: *ret is a lease. ADAPTERS_PENDING: `fn` will be called once; *ret_wait cancels. FAILED:
 * *reterr. Loads of one digest are shared, at most residency.max_loads run at once, and the
 * deadline (monotonic ms) fails the wait with `timeout`.
 */
int adapters_acquire(struct adapters *a, const struct adapter_name *name, uint64_t deadline_ms,
                     lease_fn fn, void *owner, struct lease **ret, struct lease_wait **ret_wait,
                     struct fail *reterr) MUST_USE;

/* Gives the wait up; frees it. true: `fn` will never be called. false: it was or is being called.
 */
bool lease_wait_cancel(struct lease_wait *w);
struct lease_wait *lease_wait_free(struct lease_wait *w); /* after `fn` was called; NULL is fine */

/*
 * Where the weights behind a name are now: hit (in memory), disk (a folder's adapters are), or cold
 * (they may have to be fetched; what was fetched before is not known here). Of the local page, so
 * without I/O; false: the page does not know the name. Any thread.
 */
bool adapters_where(struct adapters *a, const struct adapter_name *name, enum residency *ret);

struct lease *lease_release(struct lease *l); /* any thread; NULL is fine; returns NULL */
DEFINE_CLEANUP(struct lease *, lease_release);
void *lease_resident(const struct lease *l); /* what the loader made */
const struct adapter_revision *lease_revision(const struct lease *l);
enum residency lease_residency(const struct lease *l); /* where the revision was when acquired */

/* ---- the catalog, for /v1/models, the router, the admin API and the CLI ---- */

struct adapter_alias {
    char name[LIMIT_NAME + 1];
    struct sha256 digest;
};

struct adapter_info { /* lives in the caller's arena */
    struct str name, base, description;
    const struct str *examples;
    size_t n_examples;
    const struct adapter_revision *revisions; /* oldest first */
    size_t n_revisions;
    const struct adapter_alias *aliases;
    size_t n_aliases;
    bool resident; /* its default revision, now */
};

struct adapter_audit { /* one line of history */
    uint64_t when_s, epoch;
    struct str what; /* publish, alias, rollback, retire */
    struct str alias;
    struct str from, to; /* digests in hex, or empty */
    struct str who;      /* free text given by the caller */
};

/* Lists from the local page, sorted by name. `after` and `max` page through it (empty, 0: all). */
int adapters_list(struct adapters *a, struct arena *arena, struct str after, size_t max,
                  struct adapter_info **ret, size_t *ret_n) MUST_USE;
/* One adapter; may ask the catalog. FAILED: model_not_found. */
int adapters_show(struct adapters *a, struct arena *arena, struct str base, struct str adapter,
                  struct adapter_info *ret, struct fail *reterr) MUST_USE;
int adapters_history(struct adapters *a, struct arena *arena, struct str base, struct str adapter,
                     struct adapter_audit **ret, size_t *ret_n, struct fail *reterr) MUST_USE;

/*
 * Publishes the files of `folder` (a PEFT folder, or one .gguf file) as a new revision of the
 * adapter, creating the adapter when it is new. The same content gives the same digest and changes
 * nothing. Files are stored before the catalog names them. `description` may be empty.
 */
struct adapter_push {
    struct str base, adapter, description, who;
    const char *path;
    struct str alias; /* moved to the new revision in the same step; empty: none (the first one
                         becomes `prod`) */
    const struct str *examples; /* of what it is asked; kept with the adapter. May be none */
    size_t n_examples;
    /* Told while the files are read; may be NULL. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *progress_ctx;
};
int adapters_push(struct adapters *a, const struct adapter_push *push, struct adapter_revision *ret,
                  struct fail *reterr) MUST_USE;

/*
 * Moves an alias, atomically and with an audit entry; `selector` is an alias, digest prefix or
 * ordinal. `expected` (64 hex digits, or empty) makes it compare-and-set: precondition_failed on a
 * mismatch. When it returns, this process and every live gateway of the catalog use the new
 * revision for new requests.
 */
int adapters_alias(struct adapters *a, struct str base, struct str adapter, struct str alias,
                   struct str selector, struct str expected, struct str who,
                   struct adapter_revision *ret, struct fail *reterr) MUST_USE;
/* Swaps the alias back to what it named before its last move. */
int adapters_rollback(struct adapters *a, struct str base, struct str adapter, struct str alias,
                      struct str who, struct adapter_revision *ret, struct fail *reterr) MUST_USE;

struct adapters_state {
    bool connected;
    uint64_t lag_ms; /* since the catalog's last word; 0 for a directory */
    size_t known, resident, leases;
    uint64_t resident_bytes;
};
void adapters_state(struct adapters *a, struct adapters_state *ret);
