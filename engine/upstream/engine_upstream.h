/*
 * The engine behind: engine.h over HTTP endpoints.
 *
 * A job picks an endpoint (pool), is written by its provider, sent by the transport, and read back
 * as events. What fails before anything was told is tried elsewhere within budgets; what fails
 * after it ends the job with `failed`.
 */
#pragma once

#include "engine/engine.h"
#include "engine/upstream/transport.h"

struct config_model;
struct ledger_shared;

struct engine_upstream_config { /* all borrowed for the engine's life */
    const struct config_model *model;
    struct transport *transport;
    const struct lora_shared
        *shared; /* what a fleet of gateways shares; NULL: there is only this */
};

/* 0, negative errno; FAILED: a credential that is named cannot be read. */
int engine_upstream_new(struct engine **ret, const struct engine_upstream_config *config,
                        struct fail *reterr) MUST_USE;
