/*
 * The ledger of a fleet: which adapters each engine behind has loaded and which gateways use them,
 * in the catalog's Redis; for the folder that drives those engines.
 *
 * Each step is one script, so what holds at every moment holds across gateways: names of an
 * endpoint at most max_loaded, names that somebody holds at most max_held, one gateway loads a
 * name. A hold lives TTL after its gateway last said so; a thread says so. Any thread; calls block.
 *
 * Who waited for a place longer than patience_ms comes first, and what was held longest is asked
 * back for it; the rule is that of engine/upstream/ledger.h.
 *
 * Keys: `{namespace}:lg:{sNN}` of an endpoint (NN: of its URL's digest): `:n` hash name →
 * "l:ms:since" (loaded, last used, held since), "p:ms" (being loaded) or "v:name" (being unloaded
 * for that one); `:h` hash "name\nholder" → when the hold ends; `:w` hash "name\nholder" →
 * "since:end" of waiting for a place. All in ms of Redis' clock.
 */
#pragma once

#include "base/fail.h"
#include "config/config.h"

struct shared_ledger;

enum shared_word {
    SHARED_ready, /* loaded; held by us */
    SHARED_load,  /* held by us, who load it, after unloading `victim` */
    SHARED_wait,
};

struct shared_slot { /* borrowed */
    const char *endpoint, *name;
    uint64_t max_loaded, max_held;
    unsigned holder;      /* who of this process */
    bool is_missing;      /* of hold: loaded it is not, whatever is written here */
    uint64_t waited_ms;   /* of hold: so long the name is waited for already */
    uint64_t patience_ms; /* at least 1 */
};

/* Connects later. FAILED: the URL is not understood. */
int shared_ledger_open(struct shared_ledger **ret, const struct config_adapters *c,
                       struct fail *reterr) MUST_USE;
/* Gives back what is held, where Redis answers. NULL is fine; returns NULL */
struct shared_ledger *shared_ledger_free(struct shared_ledger *l);

/* All: FAILED (catalog_unavailable) where Redis does not answer. `victim`: "" is none. */
int shared_ledger_hold(struct shared_ledger *l, const struct shared_slot *slot,
                       enum shared_word *ret, char *victim, size_t victim_size,
                       struct fail *reterr) MUST_USE;
int shared_ledger_settle(struct shared_ledger *l, const struct shared_slot *slot, bool loaded,
                         struct fail *reterr) MUST_USE;
int shared_ledger_drop(struct shared_ledger *l, const struct shared_slot *slot,
                       struct fail *reterr) MUST_USE;
/* It was found there. What is loaded or unloaded just now is not touched. */
int shared_ledger_found(struct shared_ledger *l, const struct shared_slot *slot,
                        struct fail *reterr) MUST_USE;
/* Tells the names that are asked back, whoever holds them; `name` of the slot is not read. */
int shared_ledger_asked_back(struct shared_ledger *l, const struct shared_slot *slot,
                             void (*told)(void *ctx, const char *name), void *ctx,
                             struct fail *reterr) MUST_USE;
/* The names that are loaded, being loaded or being unloaded. */
int shared_ledger_names(struct shared_ledger *l, const struct shared_slot *slot,
                        void (*told)(void *ctx, const char *name), void *ctx,
                        struct fail *reterr) MUST_USE;
