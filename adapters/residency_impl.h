/*
 * What the files of residency share: residency.c (table, leases, joining, life), lease_wait.c
 * (waits and deadlines), residency_load.c (queues and loader threads), residency_room.c (memory).
 *
 * Everything in here is under residents.lock unless it says otherwise.
 */
#pragma once

#include <stdatomic.h>

#include "adapters/load_queue.h"
#include "adapters/packed.h"
#include "adapters/residency.h"
#include "adapters/warmth.h"
#include "base/thread.h"

enum entry_state {
    ENTRY_unseen,   /* where its files are is not known yet; on an `unseen` list */
    ENTRY_far,      /* queued: to fetch, to pack */
    ENTRY_near,     /* queued: for memory */
    ENTRY_working,  /* a loader thread has it */
    ENTRY_resident, /* among the idle of `warmth` while nobody leases it */
    ENTRY_failed,   /* remembered until retry_ms, on the failed list */
};

struct tenant { /* who has residents or is about to */
    struct tenant *next;
    unsigned refs; /* entries */
    unsigned residents;
    uint64_t bytes; /* of them */
    uint64_t used_ms;
    size_t n_name;
    char name[];
};

struct entry {
    struct entry *next_hash, *next_name;
    struct entry *prev, *next; /* of the list that its state names */
    enum entry_state state;
    struct adapter_revision rev;
    struct tenant *tenant;
    struct warm warm;
    struct load_item item;
    uint64_t need;  /* bytes: an estimate until loaded once, then exact */
    bool wanted;    /* by a request; else ahead of any */
    bool kept;      /* loaded though nobody waits */
    bool free_only; /* nothing is evicted for it */
    bool only_pack; /* it need not come into memory */
    bool paced;     /* its bytes were counted against max_rate */
    bool is_cold;   /* not on this disk, when looked for */
    bool no_pack;   /* packing it did not help */
    unsigned stale; /* packed files that were of another layout */
    unsigned leases;
    void *resident; /* owned; the loader's */
    enum residency from;
    struct packed_file packed; /* of the thread that works on it, and while resident */
    struct stage stage;        /* the same; folder NULL: none */
    struct lease_wait *waits;  /* each a reference */
    struct fail fail;
    uint64_t retry_ms;
};

struct list {
    struct entry *first, *last;
};

struct lease {
    struct residents *owner; /* borrowed */
    struct entry *entry;     /* counted in entry->leases */
    enum residency from;
    bool pin;
    struct adapter_revision rev;
};

/* Whoever turns `claimed` on decides the outcome: completion, deadline or cancellation. */
struct lease_wait {
    atomic_bool claimed;
    atomic_uint refs;
    struct residents *owner; /* borrowed; used only by who claimed it */
    lease_fn fn;
    void *arg;
    uint64_t deadline_ms;
    bool no_wait;
    struct lease *lease; /* made ahead, so that completion cannot fail */
    struct adapter_revision rev;
    struct entry *entry; /* whose load it waits for */
    struct lease_wait *prev_entry, *next_entry;
    struct lease_wait *prev_clock, *next_clock; /* by deadline */
    bool on_clock;
};

enum {
    N_BUCKETS = 8192,
    N_TENANT_BUCKETS = 256,
    MAX_LOADERS = 64,
    MAX_KEPT = 1024,
    MAX_PACKING = 16
};

enum { LANE_near, LANE_far, N_LANES };

struct lane {
    struct load_queue *wanted, *ahead;
    pthread_cond_t work; /* its queue, or the room, changed */
    pthread_t threads[MAX_LOADERS];
    unsigned n_threads;
    uint64_t working; /* bytes on its threads */
    double rate;      /* bytes a second of one thread, lately; 0: not measured */
};

struct residents {
    struct adapter_loader loader;
    struct stager stager;
    struct packed *packed; /* NULL: the loader does not pack */
    struct residency_limits limits;
    pthread_mutex_t lock;
    pthread_cond_t ticks; /* for the clock: the first deadline changed */
    pthread_cond_t paced; /* never signalled but to stop */
    bool stopping;
    struct entry *buckets[N_BUCKETS], *names[N_BUCKETS];
    struct tenant *tenants[N_TENANT_BUCKETS];
    size_t n_tenants;      /* with residents */
    struct list unseen[2]; /* ahead of requests, and wanted */
    struct list failed;
    struct lane lanes[N_LANES];
    struct warmth *warmth;
    uint64_t bytes;      /* of resident entries */
    uint64_t idle_bytes; /* of those that nobody leases */
    uint64_t reserved;   /* of running loads */
    uint64_t pace_us;    /* when the next load may begin */
    size_t n_resident, n_leases, n_failed, n_unseen, n_kept, n_staged;
    size_t n_loading; /* into memory */
    size_t n_working; /* entries in ENTRY_working */
    struct lease_wait *first_wait, *last_wait;
    pthread_t clock;
    bool clock_runs;
};

/* ---- residency.c ---- */

void entries_add(struct list *l, struct entry *e);
void entries_del(struct list *l, struct entry *e);
struct entry *entry_find(struct residents *r, const char *base, const struct sha256 *d);
void entry_unlink(struct residents *r, struct entry *e); /* off the table; its tenant is let go */
void entry_grant(struct residents *r, struct entry *e, struct lease *l, enum residency from,
                 const struct adapter_revision *rev);
struct entry *entry_of_warm(const struct warm *x);
void residency_show(const struct residents *r); /* the gauges */

/* ---- residency_load.c ---- */

/* A fresh entry of the table begins to be loaded. */
void load_begin(struct residents *r, struct entry *e);
/* A request wants what was only being loaded ahead. */
void load_want(struct residents *r, struct entry *e);
/* It is loaded though nobody may wait for it. false: too many are. */
bool load_keep(struct residents *r, struct entry *e);
/* A failure that is still remembered; false: there is none, and an old one is freed. */
bool load_has_failed(struct residents *r, struct entry *e);
/* Nobody waits for it any more: it leaves its queue and is freed, unless it is being worked on or
 * kept. */
void load_unwant(struct residents *r, struct entry *e);
/* Seconds until the revision could be resident, by the queues and the rates measured. */
unsigned load_retry_s(const struct residents *r, const struct entry *e);
int load_start(struct residents *r) MUST_USE; /* the threads */
void load_stop(struct residents *r);          /* joins them; the queues stay */
/* Empties the queues after load_stop; the waits, claimed. */
struct lease_wait *load_drop_queued(struct residents *r);

/* ---- residency_room.c ---- */

int tenant_ref(struct residents *r, struct str name, struct tenant **ret) MUST_USE;
void tenant_unref(struct residents *r, struct tenant *t);
/* Moves idle entries into *victims until `need` bytes for the entry fit; false: they cannot. */
bool room_make(struct residents *r, const struct entry *e, uint64_t need, struct entry **victims);
void room_enter(struct residents *r, struct entry *e, uint64_t bytes); /* resident, idle */
void room_leave(struct residents *r, struct entry *e);                 /* idle: off the table */
void room_unload(struct residents *r, struct entry *victims);          /* no lock; frees them */

/* ---- lease_wait.c ---- */

struct lease_wait *wait_new(struct residents *r, const struct residency_ask *ask);
void wait_unref(struct lease_wait *w); /* no lock */
void clock_add(struct residents *r, struct lease_wait *w);
void clock_del(struct residents *r, struct lease_wait *w);
void entry_add_wait(struct entry *e, struct lease_wait *w);
/* Chains the open waits of an entry, claimed, by next_entry; the others lose its reference. */
struct lease_wait *claim_waits(struct residents *r, struct entry *e);
void answer_waits(struct lease_wait *waits, const struct fail *f); /* no lock */
void *clock_main(void *arg);                                       /* the residents */
