/*
 * The engine behind: engine.h over HTTP endpoints.
 *
 * A job picks an endpoint (pool), is written by its provider, sent by the transport, and read back
 * as events. What fails before anything was told is tried elsewhere within budgets; what fails
 * after it ends the job with `failed`.
 */
#pragma once

#include "engine/engine.h"
#include "engine/upstream/pool.h"
#include "engine/upstream/transport.h"

struct config_model;
struct ledger_shared;
struct lora_files;

struct engine_upstream_config { /* all borrowed for the engine's life */
    const struct config_model *model;
    struct transport *transport;
    const struct ledger_shared *shared; /* where the model has adapters; else NULL */
    unsigned holder;                    /* who we are there, among the models of this process */
    const struct lora_files *files;     /* where they must be put for the engines; else NULL */
    /* The engine behind of the same model that this one replaces: what is known of its endpoints,
     * by url, is known of this one's. Needed during the call only. NULL: it is new. */
    struct engine *like;
};

/* 0, negative errno; FAILED: a credential that is named cannot be read. */
int engine_upstream_new(struct engine **ret, const struct engine_upstream_config *config,
                        struct fail *reterr) MUST_USE;
/* How endpoint i of an engine behind is now: NULL: there is none. Any thread. */
const struct config_endpoint *engine_upstream_look(struct engine *e, unsigned i,
                                                   struct pool_state *ret);
