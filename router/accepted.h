/*
 * The parts of `global` and `listeners` that the router does not read: every field of the policy
 * language is known by name and kind, so that a misspelt one is an error, and each that has no
 * effect is told, as ignored (settings of other people's containers and models) or as not served
 * yet.
 */
#pragma once

#include "config/config.h"

/* Rows of global.router, global, global.model_catalog and its modules, for the tables of whoever
 * reads the rest. Sections: */
extern const struct option accepted_services[], accepted_stores[], accepted_integrations[],
    accepted_catalog[], accepted_streamed_body[], accepted_skip[];

/* Checks `listeners`. 0 (problems may have been added) or a negative errno. */
int accepted_listeners(const struct config *c, struct arena *arena, struct problems *p) MUST_USE;
