/*
 * Target: what a model name on the wire means — which engine, which adapter — or what the router
 * chose instead.
 */
#pragma once

#include "gateway/state.h"

struct target {
    const struct core_model *model;
    struct adapter_name adapter; /* .adapter.n 0: the bare base */
    bool is_auto;
    struct route route; /* of an auto name; zero else */
};

/*
 * "base", "base:adapter[@selector]", "adapter[@selector]", or an auto name. Text is borrowed from
 * `name` or the route. `like`: what the caller knows of the request, its chat among it (the rest is
 * filled here). FAILED: model_not_found, or the router's; ret->is_auto and route are set when the
 * router has decided.
 */
int target_resolve(const struct state *s, const struct route_request *like, struct arena *arena,
                   struct target *ret, struct fail *reterr) MUST_USE;
/* The same without routing: for /v1/models/{id}. */
int target_parse(const struct core *c, struct str name, struct target *ret,
                 struct fail *reterr) MUST_USE;

/*
 * What the name of an adapter means, as adapters_resolve, once this process has applied the
 * catalog's epoch `least` for it (0: as it is). Waits some moments at most; blocks. FAILED:
 * overloaded with retry_after_s: it has not.
 */
int target_find(const struct core *c, const struct adapter_name *name, uint64_t least,
                struct adapter_revision *ret, struct fail *reterr) MUST_USE;

/* FAILED: model_not_found of that name. */
int target_unknown(struct str name, struct fail *reterr);
/* "base" or "base:adapter[@selector]", in the arena; p NULL: no memory. */
struct str target_name(const struct target *t, struct arena *arena);
