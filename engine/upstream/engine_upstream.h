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

/* `config` and `transport` are borrowed for the engine's life. 0, negative errno, FAILED: a
 * credential that is named cannot be read. */
int engine_upstream_new(struct engine **ret, const struct config_model *config,
                        struct transport *transport, struct fail *reterr) MUST_USE;
