/*
 * What the files of an engine behind share. Internal to engine/upstream/.
 */
#pragma once

#include "base/thread.h"
#include "config/config.h"
#include "engine/engine.h"
#include "engine/upstream/credentials.h"
#include "engine/upstream/lora.h"
#include "engine/upstream/pool.h"
#include "engine/upstream/provider.h"
#include "engine/upstream/transport.h"

/* What a task or a timer is part of. */
#define OF_MEMBER(type, member, p)                                                                 \
    ((type *)(void *)((char *)(p)-offsetof(type, member))) /* NOLINT(bugprone-macro-parentheses)   \
                                                            */

struct exchange;
struct health;

struct upstream {
    struct engine engine; /* first */
    const struct config_upstream *config;
    struct str name;             /* the model's, on the wire */
    struct transport *transport; /* borrowed */
    struct pool *pool;
    struct credentials *credentials;
    struct lora_fleet *fleet; /* NULL: no adapters */
    struct health *health;    /* NULL: no active checks */
    _Atomic unsigned next_loop;
    _Atomic bool draining;
    pthread_mutex_t lock;
    pthread_cond_t idle;    /* nothing is alive */
    _Atomic size_t alive;   /* exchanges, attempts, probes; the last leaves under the lock */
    struct exchange *first; /* all exchanges; under the lock */
};

/* Whatever refers to the engine from a loop counts; freeing waits for it. */
void upstream_enter(struct upstream *u);
void upstream_leave(struct upstream *u);

const struct config_endpoint *upstream_endpoint(const struct upstream *u, unsigned i);
/* The transport's part of a call to endpoint i, without handler, body and deadline. */
void upstream_call_spec(const struct upstream *u, unsigned i, struct call_spec *ret);
