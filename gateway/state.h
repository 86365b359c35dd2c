/*
 * State: what a request works with. The core (engines, adapters) lives as long as the process; a
 * state is one immutable, counted snapshot of the policy on top of it: configuration, router,
 * chains, keys. A reload publishes a new state; requests keep the one they began with.
 */
#pragma once

#include "adapters/adapters.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/upstream/ledger.h"
#include "gateway/auth.h"
#include "gateway/place.h"
#include "plugins/plugin.h"
#include "plugins/router_replay.h"
#include "router/router.h"

struct learning;

struct core_model {
    struct str name;       /* wire name */
    struct engine *engine; /* owned by the core */
    uint64_t created_s;    /* of its file; of one behind: of this process */
    bool passes_keys;      /* an engine behind is given the client's own credentials */
    struct adapter_place
        place; /* where an engine behind reads adapters; folder empty: we put none */
};

struct shared_ledger;
struct transport;

struct core {
    struct transport *transport; /* to engines behind; NULL: there are none */
    /* Of adapters on engines behind: the catalog's, or where that has none our own; or neither. */
    struct shared_ledger *ledger;
    struct ledger_local *own_ledger;
    struct ledger_shared shared; /* the same, as engines see it; ctx NULL: neither */
    struct config *config;       /* owned reference: engines and adapters were built from it */
    struct core_model *models;   /* in the file's order; that of engine.embedding is the last */
    size_t n_models;
    struct adapters *adapters; /* NULL only in tests */
    struct learning *learning; /* of candidates; NULL only in tests */
};

/* Loads every model and opens the catalog: seconds. FAILED: *reterr names file and cause. */
int core_new(struct core **ret, struct config *config, struct fail *reterr) MUST_USE;
struct core *core_free(struct core *c); /* after all requests ended; NULL is fine */
DEFINE_CLEANUP(struct core *, core_free);
const struct core_model *core_model(const struct core *c, struct str name); /* NULL: unknown */
struct engine *core_encoder(const struct core *c); /* that of engine.embedding; NULL: none */
/* Whose tokens measure a prompt: the first model's, never the encoder's; NULL: there is none. */
struct engine *core_counter(const struct core *c);
/* Engines and catalog cannot change while running: what differs is named; NULL: nothing. */
const char *core_differs(const struct core *c, const struct config *other);

struct state {
    _Atomic unsigned refs;
    struct core *core;     /* borrowed */
    struct config *config; /* owned reference */
    struct router *router;
    struct chain **chains; /* of each decision */
    size_t n_chains;
    struct chain *no_chain;         /* of requests without a decision */
    struct router_replay *replays;  /* what is kept of each decision's requests */
    struct router_replay no_replay; /* … of requests without a decision */
    struct auth *auth;
};

/* Compiles the policy of a configuration. -EINVAL: `p` says why. FAILED never. */
int state_new(struct state **ret, struct core *core, struct config *config,
              struct problems *p) MUST_USE;
struct state *state_ref(struct state *s);
struct state *state_unref(struct state *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct state *, state_unref);

/* The plugins of a route's decision; never NULL. */
const struct chain *state_chain(const struct state *s, const struct route *route);
/* What is kept of its requests; never NULL. */
const struct router_replay *state_replay(const struct state *s, const struct route *route);
