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
    /*
     * The packed form, built once a revision and base; the three may be NULL: each load reads the
     * revision's files. pack writes `to` whole from `folder`. map makes the resident of such a
     * file, without a copy: the file's pages are the weights. -ESTALE: of another layout or base,
     * to be packed anew.
     */
    int (*pack)(void *ctx, struct str base, const char *folder, const char *to,
                struct fail *reterr);
    int (*map)(void *ctx, struct str base, const char *packed, void **ret, size_t *ret_bytes,
               struct fail *reterr);
    uint64_t (*base_id)(void *ctx, struct str base); /* of the served base's file; 0: unknown */
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
/*
 * An adapter of a tenant is called "tenant/name". A viewer sees the adapters without a tenant and
 * its own, its own also by the bare name, which comes before a shared one of that name; those of
 * others do not exist for it.
 */
struct adapter_name {
    struct str base; /* p NULL: any base, when the adapter's name is unique */
    struct str adapter;
    struct str selector; /* alias or digest prefix; empty: `prod` (or its canary), else the newest
                            revision */
    struct str viewer;   /* the tenant who asks; p NULL: the operator, who sees all */
    uint64_t sticky; /* hash of user, session or key: chooses between `prod` and `canary` when there
                        is no selector, alike on every gateway. 0: `prod` */
    bool no_wait;    /* of adapters_acquire: a revision that is not in memory is FAILED
                        (adapter_loading, with retry_after_s), and loaded */
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
    uint64_t epoch; /* of the head that this was read from: its ETag; 0 in a folder */
    uint32_t rank;  /* the greatest of its modules; 0: unknown */
    bool canary;    /* chosen by the canary's weight, in place of `prod` */
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
 * Where the weights behind a name are now: hit (in memory), disk (a folder's adapters are, and what
 * was fetched before), or cold (they have to be fetched). Of the local page and of the local disk's
 * directories; false: the page does not know the name. Any thread.
 */
bool adapters_where(struct adapters *a, const struct adapter_name *name, enum residency *ret);

/*
 * A hint that the name will be wanted: it is loaded behind what requests wait for, into free room
 * or that of what is less wanted, and at least brought to this disk. Never blocks; any thread.
 * FAILED: there is no such name; where that must be asked for, it is found out later and nobody is
 * told. Without residency nothing happens.
 */
int adapters_prefetch(struct adapters *a, const struct adapter_name *name,
                      struct fail *reterr) MUST_USE;

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
    uint64_t epoch;                        /* of its head: the ETag; 0 in a folder */
    uint32_t canary_weight, shadow_weight; /* of CANARY_WHOLE; 0: none */
    bool resident;                         /* its default revision, now */
};

struct adapter_audit { /* one line of history */
    uint64_t when_s, epoch;
    struct str what; /* publish, alias, rollback, retire */
    struct str alias;
    struct str from, to; /* digests in hex, or empty */
    struct str who;      /* free text given by the caller */
};

/* What a listing is of; all zeros: everything. Borrowed. */
struct adapter_listing {
    struct str after;  /* begins behind this name */
    struct str prefix; /* of the name, with its tenant */
    struct str viewer; /* as in struct adapter_name: the shared ones and its own; p NULL: all */
    size_t max;        /* 0: no bound */
};
/* Lists from the local page, sorted by name. The catalog is asked before a first page only, so that
 * all pages are of one reading. */
int adapters_query(struct adapters *a, struct arena *arena, const struct adapter_listing *l,
                   struct adapter_info **ret, size_t *ret_n) MUST_USE;
/* The same of everything: `after` and `max` page through it (empty, 0: all). */
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

/*
 * Every change of what exists or of what a name means, each atomic, audited and idempotent by
 * `key`. adapters_alias and adapters_rollback are the short forms.
 *
 * promote: an alias names a ready revision; a move of `prod` leaves the former in `prev`.
 * rollback: the alias and its former place change places (of `prod`: with `prev`).
 * canary: `weight` of 10,000 requests that ask for `prod` go to the revision, by their sticky hash.
 * abort: takes the canary back. shadow: the revision is sent a copy of `weight` of 10,000 requests
 * and its answers go nowhere; weight 0 takes it back. retire: a revision that no alias names leaves
 * the catalog, or, with an empty selector, the whole adapter does.
 */
enum adapter_op {
    ADAPTER_OP_promote,
    ADAPTER_OP_rollback,
    ADAPTER_OP_canary,
    ADAPTER_OP_abort,
    ADAPTER_OP_shadow,
    ADAPTER_OP_retire,
    ADAPTER_OPS
};
const char *adapter_op_word(enum adapter_op op);

#define CANARY_WHOLE 10000

struct adapter_change { /* all borrowed */
    enum adapter_op op;
    struct str base, adapter;
    struct str alias;    /* of promote and rollback; empty: `prod` */
    struct str selector; /* alias, digest prefix or ordinal */
    uint32_t weight;     /* of canary and shadow */
    struct str expected; /* the alias names this digest (64 hex digits), or empty */
    uint64_t if_match;   /* the head's epoch; 0: whatever it is */
    struct str key;      /* idempotency key, kept for a day; empty: none */
    struct str who;      /* for the history */
    uint64_t fleet_ms;   /* wait as long until every live gateway has applied it; 0: do not */
};

struct adapter_changed {
    struct adapter_revision revision; /* what the alias (or `prod`) names now */
    uint64_t epoch;                   /* the ETag from now on */
    bool repeated;                    /* the key was seen before: nothing was done anew */
    bool durable;                     /* a replica of Redis has it too, or the disk */
    unsigned behind;                  /* live gateways that had not applied it in time */
    struct str laggards;              /* their ids, in the caller's arena */
};

/* FAILED: precondition_failed with the epoch in its message (and in ret->epoch), conflict,
 * model_not_found, catalog_unavailable. */
int adapters_change(struct adapters *a, const struct adapter_change *change, struct arena *arena,
                    struct adapter_changed *ret, struct fail *reterr) MUST_USE;
/* The same for many at once, pipelined; changed[i] and fails[i] belong to changes[i]; the
 * message of fails[i] is empty where it succeeded. Waits for the fleet once. Negative errno, or
 * FAILED when the catalog does not answer. */
int adapters_change_many(struct adapters *a, const struct adapter_change *changes, size_t n,
                         struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                         struct fail *reterr) MUST_USE;

/* Heads without files behind them here: names of revisions whose blobs are in the store already.
 * Names that exist are left alone unless `replace`. *ret_written counts. */
struct adapter_import {
    struct str base, adapter, description;
    struct sha256 digest;
    uint64_t bytes;
};
int adapters_import(struct adapters *a, const struct adapter_import *rows, size_t n, bool replace,
                    size_t *ret_written, struct fail *reterr) MUST_USE;

/* How many adapters a tenant may have; 0: as many as it likes. Those it has stay. FAILED:
 * not_implemented in a folder. */
int adapters_limit_tenant(struct adapters *a, struct str tenant, uint64_t max_adapters,
                          struct fail *reterr) MUST_USE;

/* The epoch up to which this process has applied the shard of an adapter; read-your-writes: waits
 * `wait_ms` at most until it is `epoch`. FAILED: timeout with retry_after_s. May block. */
int adapters_wait_epoch(struct adapters *a, struct str base, struct str adapter, uint64_t epoch,
                        uint64_t wait_ms, struct fail *reterr) MUST_USE;

/* ---- files: stores and cache ---- */

/* Told how far long work is; `total` may grow while it is being found out. May be NULL. */
typedef void (*adapters_progress)(void *ctx, uint64_t done, uint64_t total);

/*
 * Brings the files of the revision that the name means into the local blob cache and, with a
 * `folder`, into that folder under their own names (it is made where it is absent; files of these
 * names are replaced). Verified. Progress counts bytes. FAILED: model_not_found, conflict,
 * catalog_unavailable, unprocessable_adapter (a file is missing or damaged), or the store's
 * failure. A pull that broke off goes on where it was. Blocks.
 */
struct adapter_pull {
    struct adapter_name name;
    const char *folder; /* NULL: only into the cache */
    adapters_progress progress;
    void *progress_ctx;
};
int adapters_pull(struct adapters *a, const struct adapter_pull *pull, struct adapter_revision *ret,
                  struct fail *reterr) MUST_USE;

/* The greatest rank of the adapter whose files are at `path`, not published yet; 0: it does not
 * say.
 */
uint32_t adapters_rank_at(const char *path);

/*
 * Removes, from the stores that can be listed and written and from the local cache, what no
 * revision of the catalog names and what is older than the grace period: in a store since it was
 * put, in the cache since its last use. What is held by a process of this host stays. In a
 * directory catalog only the cache is swept. Progress counts revisions read, then files looked at.
 * FAILED: catalog_unavailable or a store's failure while the references were collected: nothing was
 * removed then. Blocks.
 */
#define ADAPTERS_GC_GRACE_S 86400 /* longer than any push takes */
struct adapter_gc {
    bool dry_run; /* only counts */
    uint64_t grace_s;
    adapters_progress progress;
    void *progress_ctx;
};
struct adapter_gc_part {
    uint64_t kept, kept_bytes;       /* named by a revision, young or held */
    uint64_t removed, removed_bytes; /* or what would be, of a dry run */
};
struct adapter_gc_report {
    uint64_t revisions; /* of the catalog */
    uint64_t missing;   /* of them: their manifest is in no store */
    struct adapter_gc_part stores, cache;
};
int adapters_gc(struct adapters *a, const struct adapter_gc *gc, struct adapter_gc_report *ret,
                struct fail *reterr) MUST_USE;

/*
 * Hashes every file of one adapter's revisions, or of all of them, in every store and in the cache
 * (of a directory catalog: in its folder). Each fault is told once, by name. Progress counts bytes.
 * 0 also when there are faults. Blocks.
 */
enum adapter_fault_kind { ADAPTER_FAULT_missing, ADAPTER_FAULT_damaged, ADAPTER_FAULT_unreadable };
const char *adapter_fault_word(enum adapter_fault_kind kind); /* "missing" */
struct adapter_fault {                                        /* borrowed */
    const struct adapter_revision *revision;                  /* one that names the file */
    const char *file;                                         /* its name, or "manifest" */
    struct sha256 digest;
    const char *where; /* a store, by its name for people, "the cache", or "every store" */
    enum adapter_fault_kind kind;
    const char *why; /* of unreadable, else "" */
};
struct adapter_verify {
    struct str base, adapter;                                /* adapter empty: all */
    struct str selector;                                     /* empty: all its revisions */
    void (*fault)(void *ctx, const struct adapter_fault *f); /* may be NULL */
    adapters_progress progress;
    void *ctx; /* of both */
};
struct adapter_verify_report {
    uint64_t revisions, files, bytes; /* looked at; a file that several revisions share counts once,
                                         its bytes once for each place */
    uint64_t missing, damaged, unreadable;
};
int adapters_verify(struct adapters *a, const struct adapter_verify *verify,
                    struct adapter_verify_report *ret, struct fail *reterr) MUST_USE;

/* ---- trials ---- */

/* What a name means, and what is tried beside it. */
struct adapter_trial {
    struct adapter_revision revision;
    bool has_prod;
    struct sha256 prod, canary, shadow;    /* the last two where they have a weight */
    uint32_t canary_weight, shadow_weight; /* of CANARY_WHOLE; 0: none */
    uint64_t epoch;
};
/* By the local page alone: no I/O, any thread. false: the page does not know the name. */
bool adapters_trial(struct adapters *a, const struct adapter_name *name, struct adapter_trial *ret);

struct adapters_state {
    bool connected;
    uint64_t lag_ms; /* since the catalog's last word; 0 for a directory */
    size_t known, resident, leases;
    uint64_t resident_bytes;
    size_t active; /* resident revisions that are leased */
    uint64_t active_bytes;
    size_t loading; /* queued loads */
};
void adapters_state(struct adapters *a, struct adapters_state *ret);
