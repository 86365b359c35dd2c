/*
 * Ledger: which adapters each engine behind has loaded, and which gateways use them now.
 *
 * One for all gateways of a fleet (in Redis), or one of this process alone (ledger_local.c). What
 * an engine says of itself is not trusted: unloading is advice there, and a load may evict a hot
 * one. So, at every moment and for each endpoint: names loaded or being loaded are at most
 * `max_loaded`, names that somebody holds at most `max_held`, and only what nobody holds is
 * unloaded.
 */
#pragma once

#include "base/fail.h"

#include <stdbool.h>
#include <stdint.h>

enum { LEDGER_NAME = 192 };

struct ledger_slot {
    const char *endpoint; /* its URL: the same on every gateway */
    const char *name;     /* of the adapter there */
    uint64_t max_loaded, max_held;
};

enum ledger_word {
    LEDGER_ready, /* it is loaded, and held by this gateway until it is dropped */
    LEDGER_load,  /* held too, and this gateway loads it now, after it has unloaded `victim` */
    LEDGER_wait,  /* another loads it, or nothing may go to make room: ask again in wait_ms */
};

struct ledger_answer {
    enum ledger_word word;
    char victim[LEDGER_NAME]; /* empty: there is room */
    uint64_t wait_ms;
};

/* Each may block; all come from one thread. 0, negative errno, or FAILED: the store cannot be
 * asked. */
struct ledger_ops {
    int (*hold)(void *ctx, const struct ledger_slot *slot, struct ledger_answer *ret,
                struct fail *reterr);
    /* The load that LEDGER_load asked for has ended; not loaded: it is held no more. */
    int (*settle)(void *ctx, const struct ledger_slot *slot, bool loaded);
    int (*drop)(void *ctx, const struct ledger_slot *slot);
    /* It was found there, though the ledger did not know; or it was found not to be there. */
    int (*correct)(void *ctx, const struct ledger_slot *slot, bool loaded);
    /* Every few seconds: what is held stays held; who no longer says so holds nothing. NULL: not
     * needed. */
    int (*refresh)(void *ctx);
};

struct ledger_shared {
    const struct ledger_ops *ops;
    void *ctx;
};

/* The one of this process. ctx is owned: ledger_local_free. NULL: no memory. */
struct ledger_local;
struct ledger_local *ledger_local_new(void);
struct ledger_local *ledger_local_free(struct ledger_local *l); /* NULL is fine; returns NULL */
extern const struct ledger_ops ledger_local_ops;
