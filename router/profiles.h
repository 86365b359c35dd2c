/*
 * The inside of a router: all routing profiles of a configuration, and the names that lead to them.
 */
#pragma once

#include "router/policy.h"
#include "router/providers.h"
#include "router/selection/defaults.h"

#define ROUTER_ARENA                                                                               \
    (1ul << 30) /* compiled policies; bounds what a policy file can make us hold                   \
                 */

struct entrypoint {
    struct str name;
    size_t policy;
};

struct router {
    const struct config *config; /* borrowed; outlives the router */
    struct arena *arena;
    struct engine *encoder;     /* borrowed; NULL: none */
    struct vector_space *space; /* owned */
    struct policy *policies;    /* the first is "default": `routing` */
    size_t n_policies;
    struct entrypoint *entrypoints;
    size_t n_entrypoints;
    struct text_list auto_names;
    struct item_list cards; /* struct model_card */
    struct model_names models;
    struct providers providers;
    struct str default_model, default_adapter;
    struct learning_settings learning;
    struct selection_defaults selection;
    bool keeps_sessions;
    unsigned wants; /* KNOWN_ bits that some decision asks for */
};

/* Fills all but config and arena. 0 (problems may have been added) or a negative errno. */
int profiles_load(struct router *r, struct problems *p) MUST_USE;
