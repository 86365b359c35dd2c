/*
 * Adapters on engines behind: which revisions each endpoint holds by our own account, loading them
 * before first use and unloading what must make room (vLLM, SGLang; llama-server's are fixed).
 *
 * The rules, each from a known fault of those engines, are in README.md. An adapter is called
 * `<adapter>.<first 12 digits of its revision's digest>` over there: a name never means two things.
 * All gateways of one catalog load a revision into an endpoint once: who loads holds a lock in
 * Redis.
 */
#pragma once

#include "base/limits.h"
#include "engine/engine.h"
#include "engine/upstream/ledger.h"
#include "engine/upstream/transport.h"

struct config_upstream;
struct credentials;
struct lora_fleet;

enum { LORA_PENDING = 2, LORA_NAME = LEDGER_NAME };

/* The files that engines read, in upstream->lora.folder. All may block. */
struct lora_files {
    /* Puts a revision's there before it is loaded. 0, negative errno, FAILED. */
    int (*put)(void *ctx, const struct engine_adapter *adapter, struct fail *reterr);
    /* Engines have the revision whose digest begins so: it stays. Told of all in a row, a few times
     * in upstream->lora.folder_keep_ms. 0, negative errno. */
    int (*keep)(void *ctx, struct str digits);
    void (*trim)(void *ctx); /* all that must stay were told */
    void *ctx;
};

struct lora_config { /* all borrowed for the fleet's life */
    const struct config_upstream *upstream;
    struct credentials *credentials;
    struct transport *transport;
    const struct ledger_shared *shared; /* of all who drive these engines; never NULL */
    unsigned holder;                    /* who we are among the fleets of this process */
    const struct lora_files *files;     /* NULL: they are where engines read them */
};

/* 0, negative errno. */
int lora_fleet_new(struct lora_fleet **ret, const struct lora_config *config) MUST_USE;
struct lora_fleet *lora_fleet_free(struct lora_fleet *f); /* no use is held any more */
DEFINE_CLEANUP(struct lora_fleet *, lora_fleet_free);

/* Bit i: endpoint i has it, as far as we know. Any thread. */
uint64_t lora_resident(struct lora_fleet *f, const struct sha256 *digest);
/* Bit i: endpoint i could take it: its rank class, not known to be unservable there. */
uint64_t lora_servable(struct lora_fleet *f, const struct engine_adapter *adapter);

/* true: no endpoint could; *ret says why. */
bool lora_refused(struct lora_fleet *f, const struct engine_adapter *adapter, struct fail *ret);

/* The right to use a revision at an endpoint: while it is held, it is not unloaded there. */
struct lora_use {
    unsigned endpoint;
    char name[LORA_NAME];     /* what the model is called there, once held */
    struct chat_pair body;    /* llama-server: a member to add to the request; key.n 0: none */
    struct lora_fleet *fleet; /* not NULL: held, or waited for */
    struct lora_entry *entry; /* internal, as is the next */
    struct lora_waiter *waiter;
    unsigned times_held;
    /* Set by the caller: told once on its loop, where acquiring gave LORA_PENDING. fail NULL: held.
     */
    void (*ready)(struct lora_use *use, const struct fail *fail);
};

/*
 * On loop `l`. 0: held now. LORA_PENDING: use->ready comes. FAILED: it cannot be had there (no room
 * within bounds: overloaded with retry_after_s; unservable: unprocessable_adapter).
 */
int lora_acquire(struct lora_fleet *f, struct transport_loop *l, struct lora_use *use,
                 const struct engine_adapter *adapter, uint64_t deadline_ms,
                 struct fail *reterr) MUST_USE;
/* Gives it back; of a pending one: `ready` will not come. On its loop. Again: nothing. */
void lora_release(struct lora_use *use);
/* What a request of the base must have beside it (as use.body); key.n 0: nothing. */
struct chat_pair lora_base_body(const struct lora_fleet *f, unsigned endpoint);
/* The engine said that it does not have it, after all: the next acquire loads it again. */
void lora_is_missing(struct lora_use *use);
