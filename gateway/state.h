/*
 * State: what a request works with. The core (engines of this process, adapters) lives as long as
 * the process; a state is one immutable, counted snapshot on top of it: configuration, engines
 * behind, router, chains, keys. A reload publishes a new state; requests keep the one they began
 * with.
 */
#pragma once

#include "adapters/adapters.h"
#include "config/config.h"
#include "engine/engine.h"
#include "gateway/auth.h"
#include "plugins/plugin.h"
#include "plugins/router_replay.h"
#include "router/router.h"

struct learning;

struct core_model {
    struct str name;         /* wire name */
    struct engine *engine;   /* owned by the core; of one behind: by `reached` */
    uint64_t created_s;      /* of its file; of one behind: since when it is known here */
    bool passes_keys;        /* an engine behind is given the client's own credentials */
    struct reached *reached; /* of an engine behind: our reference; else NULL */
};

struct reach;
struct reached;
struct transport;

struct core {
    struct transport *transport; /* to engines behind; NULL: there are none yet */
    struct reach *reach;   /* engines behind; NULL only in tests: `models` are all there are */
    struct config *config; /* owned reference: engines and adapters were built from it */
    /* In the file's order; that of engine.embedding is the last. The core itself has those of this
     * process; that of a state has those behind too, as its configuration says. */
    struct core_model *models;
    size_t n_models;
    struct adapters *adapters; /* NULL only in tests */
    struct learning *learning; /* of candidates; NULL only in tests */
};

/* Loads every model of this process and opens the catalog: seconds. FAILED: *reterr names file and
 * cause. */
int core_new(struct core **ret, struct config *config, struct fail *reterr) MUST_USE;
struct core *core_free(struct core *c); /* after all requests ended; NULL is fine */
DEFINE_CLEANUP(struct core *, core_free);
const struct core_model *core_model(const struct core *c, struct str name); /* NULL: unknown */
struct engine *core_encoder(const struct core *c); /* that of engine.embedding; NULL: none */
/* Whose tokens measure a prompt: the first model's, never the encoder's; NULL: there is none. */
struct engine *core_counter(const struct core *c);
void core_drain(struct core *c); /* engine_drain of all engines, those behind too */
/* Engines of this process and the catalog cannot change while running: what differs is named; NULL:
 * nothing. */
const char *core_differs(const struct core *c, const struct config *other);

struct state {
    _Atomic unsigned refs;
    struct core *core;     /* the core with the engines of this configuration: `own` or borrowed */
    struct core *own;      /* owned; NULL in tests */
    struct config *config; /* owned reference */
    struct router *router;
    struct chain **chains; /* of each decision */
    size_t n_chains;
    struct chain *no_chain;         /* of requests without a decision */
    struct router_replay *replays;  /* what is kept of each decision's requests */
    struct router_replay no_replay; /* … of requests without a decision */
    struct auth *auth;
};

/* Compiles the policy of a configuration, and reaches its engines behind. -EINVAL: `p` says why.
 * FAILED never. One thread at a time. */
int state_new(struct state **ret, struct core *core, struct config *config,
              struct problems *p) MUST_USE;
struct state *state_ref(struct state *s);
struct state *state_unref(struct state *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct state *, state_unref);

/* The plugins of a route's decision; never NULL. */
const struct chain *state_chain(const struct state *s, const struct route *route);
/* What is kept of its requests; never NULL. */
const struct router_replay *state_replay(const struct state *s, const struct route *route);
