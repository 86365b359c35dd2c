/*
 * Ledger: which adapters each engine behind has loaded, and which gateways use them now.
 *
 * One for all gateways of a fleet (in Redis), or one for all models of this process
 * (ledger_local.c). What an engine says of itself is not trusted: unloading is advice there, and a
 * load may evict a hot one. So, at every moment and for each endpoint: names loaded or being loaded
 * are at most `max_loaded`, names that somebody holds at most `max_held`, and only what nobody
 * holds is unloaded.
 *
 * Nobody waits for ever. A name that waited longer than `patience_ms` comes before all that waited
 * less: as many free places as such names wait are kept for them. Where too few are free, those
 * that were held longest, for patience_ms at least, are asked back: one for each patience_ms that
 * each of those names has waited, since whoever holds the first may take long. What is asked back
 * is given to no new holder; whoever holds it begins nothing with it and drops it once it is idle.
 * All of this follows from who holds and who waits now, so nothing has to be taken back when a
 * waiter goes.
 */
#pragma once

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum { LEDGER_NAME = 192 };

struct ledger_slot {
    const char *endpoint; /* its URL: the same on every gateway */
    const char *name;     /* of the adapter there; NULL where all names of it are meant */
    uint64_t max_loaded, max_held;
    unsigned holder;      /* who of this process: several models may drive one engine */
    bool is_missing;      /* of hold: loaded it is not, whatever the ledger says */
    uint64_t waited_ms;   /* of hold: so long the name is waited for already */
    uint64_t patience_ms; /* at least 1 */
};

enum ledger_word {
    LEDGER_ready, /* it is loaded, and held by this holder until it is dropped */
    LEDGER_load,  /* held too, and this holder loads it now, after it has unloaded `victim` */
    LEDGER_wait,  /* another loads it, or nothing may go to make room: ask again in wait_ms */
};

struct ledger_answer {
    enum ledger_word word;
    char victim[LEDGER_NAME]; /* empty: there is room */
    uint64_t wait_ms;
};

typedef void (*ledger_name_fn)(void *ctx, const char *name);

/* Each may block. 0, negative errno, or FAILED: the store cannot be asked. */
struct ledger_ops {
    int (*hold)(void *ctx, const struct ledger_slot *slot, struct ledger_answer *ret,
                struct fail *reterr);
    /* The load that LEDGER_load asked for has ended; not loaded: it is held no more. One of which
     * it is not known whether it is there is loaded, so that it counts. */
    int (*settle)(void *ctx, const struct ledger_slot *slot, bool loaded);
    int (*drop)(void *ctx, const struct ledger_slot *slot); /* held no more, nor waited for */
    /* It was found there. What is loaded or unloaded just now is not touched. */
    int (*found)(void *ctx, const struct ledger_slot *slot);
    /* Tells the names that are asked back, whoever holds them. */
    int (*asked_back)(void *ctx, const struct ledger_slot *slot, ledger_name_fn told,
                      void *told_ctx);
    /* Tells the names that are loaded, being loaded or being unloaded. */
    int (*names)(void *ctx, const struct ledger_slot *slot, ledger_name_fn told, void *told_ctx);
};

struct ledger_shared {
    const struct ledger_ops *ops;
    void *ctx;
};

/* The one of this process; any thread. ctx is owned: ledger_local_free. NULL: no memory. */
struct ledger_local;
struct ledger_local *ledger_local_new(void);
struct ledger_local *ledger_local_free(struct ledger_local *l); /* NULL is fine; returns NULL */
extern const struct ledger_ops ledger_local_ops;
