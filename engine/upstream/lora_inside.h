/*
 * What the parts of the adapters' fleet share: its entries, its endpoints, and what each part does
 * for the others.
 *
 * An entry is an adapter at an endpoint, while anybody here wants it. The fleet's thread
 * (lora_thread.c) moves it from state to state and is the only one that speaks to the ledger; loops
 * of the transport (lora.c, lora_wait.c) add waiters and uses. All of it under `lock`. Internal to
 * lora*.c.
 */
#pragma once

#include "base/thread.h"
#include "config/config.h"
#include "engine/upstream/lora.h"

enum { LORA_LINGER_MS = 1000 }; /* held so long after its last use: the next one costs nothing */

enum lora_state {
    LORA_STATE_asking,  /* the ledger is to be asked, at at_ms */
    LORA_STATE_placing, /* its files are put in place, a victim unloaded, or it is being loaded */
    LORA_STATE_settled, /* the load has ended: the ledger is to be told */
    LORA_STATE_held,
    LORA_STATE_unservable,
};

struct lora_waiter {            /* lives until its task has run */
    struct transport_task task; /* first */
    struct lora_waiter *next;
    struct transport_loop *loop;
    struct lora_use *use;     /* NULL: it waits no more. Of its loop's thread */
    struct lora_entry *of;    /* where it waits; NULL: told, its task is on its way */
    struct lora_entry *entry; /* held, once `task` runs; NULL: it failed */
    struct lora_fleet *fleet;
    uint64_t asked_ms, deadline_ms;
    struct fail fail;
};

struct lora_entry { /* an adapter at an endpoint, while anybody here wants it */
    struct lora_entry *next;
    struct lora_fleet *fleet;
    unsigned endpoint;
    struct engine_adapter adapter; /* its name: `full` */
    char full[LIMIT_NAME + 1];
    char name[LORA_NAME];
    char victim[LORA_NAME];
    enum lora_state state;
    bool is_queued;   /* of placing: the loader has not begun */
    bool is_loaded;   /* of settled */
    bool is_doubtful; /* of settled and not loaded: perhaps it is, after all */
    bool is_missing;  /* the engine says that it does not have it */
    bool is_known;    /* to the ledger, as held or waited for */
    bool is_leaving;  /* of held: asked back. Its uses go on; who comes waits until it came again */
    bool is_named;    /* while the ledger is asked what it wants back: it wants this */
    unsigned uses;
    unsigned times_held; /* tells uses of one load from those of the next */
    uint64_t at_ms; /* of asking: when; of held without uses: when it is dropped; of unservable; of
                       placing: since when */
    struct lora_waiter *waiters;
    struct fail fail;
};

struct lora_site { /* an endpoint */
    char *url;
    bool is_listed, is_listing; /* what it had when we came is in the ledger */
    char *listed;               /* the engine's answer, not read yet */
    struct buf known;           /* what the ledger had when it was asked: "\nname\nname\n" */
    uint64_t list_at_ms;
    uint64_t back_at_ms; /* when the ledger is asked next what it wants back */
    struct buf *bodies;  /* of llama-server: for each of its adapters, and the last for the base */
    bool is_counted;     /* of llama-server: it has said how many it was started with, … */
    size_t n_there;      /* … which is this */
};

struct lora_fleet {
    struct lora_config config;
    const struct config_upstream_lora *lora;
    struct ledger_shared ledger;
    struct lora_site *sites;
    unsigned n_sites;
    pthread_mutex_t lock;
    pthread_cond_t wake;   /* the fleet's thread has something to do */
    pthread_cond_t queued; /* the loader has */
    pthread_cond_t over;   /* the upkeep ends */
    pthread_cond_t calm;   /* no call is under way */
    struct lora_entry *entries;
    unsigned calls; /* of engines, and waiters that are being told */
    bool stopping, has_thread, is_woken;
    bool helpers_stopping, has_loader, has_upkeep;
    pthread_t thread, loader, upkeep;
};

/* ---- lora.c ---- */

const struct config_endpoint *lora_endpoint(const struct lora_fleet *f, unsigned i);
bool lora_is_fixed(const struct lora_fleet *f, unsigned i); /* llama-server */

/* ---- lora_wait.c: all under the lock ---- */

/* LORA_PENDING, -ENOMEM. */
int lora_wait(struct lora_entry *e, struct lora_use *use, struct transport_loop *l,
              uint64_t deadline_ms) MUST_USE;
void lora_wait_no_more(struct lora_waiter *w); /* frees it, now or when its task has run */
void lora_set_held(struct lora_use *use, struct lora_entry *e);
void lora_use_less(struct lora_entry *e);
/* fail NULL: they hold it. */
void lora_tell_all(struct lora_entry *e, const struct fail *fail);
/* Those that waited for room as long as they could. */
void lora_tell_late(struct lora_entry *e, uint64_t now_ms);

/* ---- lora_load.c ---- */

/* Under the lock. Its files are put in place, its victim is unloaded and it is loaded; then its
 * state is settled. A call is counted for it. */
void lora_load_queue(struct lora_entry *e);
void *lora_loader(void *fleet); /* the thread that does it: files may take long */

/* ---- lora_list.c: what an engine had when we came ---- */

/* Under the lock. The next endpoint that is to be listed, or n_sites. */
unsigned lora_list_due(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms);
/* Asks that endpoint, or takes in what it has said. On the fleet's thread, without the lock. */
void lora_list(struct lora_fleet *f, unsigned i);

/* ---- lora_upkeep.c: the files of what is loaded ---- */

void *lora_upkeep(void *fleet); /* a thread; where there are files */

/* ---- lora_thread.c ---- */

void *lora_thread(void *fleet);
/* Both under the lock. */
void lora_wake(struct lora_fleet *f);
void lora_end_call(struct lora_fleet *f); /* one of `calls` */
/* What the ledger has of us; the threads have ended. */
void lora_give_back(struct lora_fleet *f);
