#include "gateway/reach.h"

#include "adapters/shared_ledger.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/upstream/engine_upstream.h"
#include "engine/upstream/ledger.h"
#include "gateway/daemon.h"
#include "gateway/fleet_ledger.h"
#include "gateway/place.h"
#include "gateway/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

struct reached {
    LIST_ENTRY(reached) next;
    struct reach *reach;
    unsigned refs; /* under the reach's lock; 0: its thread has it */
    struct engine *engine;
    struct config *config; /* owned reference: the engine reads it */
    const struct config_model *from;
    struct adapter_place place;
    uint64_t since_s;
    bool passes_keys;
};

LIST_HEAD(reached_list, reached);

struct reach {
    struct core *core;
    /* Of adapters on engines behind: the catalog's, or where that has none our own; or neither. */
    struct shared_ledger *of_fleet;
    struct ledger_local *own;
    struct ledger_shared ledger; /* the same, as engines see it; ctx NULL: neither */
    unsigned holders;            /* each engine is a new one to the ledger */
    pthread_mutex_t lock;
    pthread_cond_t more;                  /* there is something for the thread to free */
    struct reached_list alive, abandoned; /* the newest first */
    bool stopping, has_thread;
    pthread_t thread;
};

struct engine *reached_engine(const struct reached *m)
{
    return m->engine;
}

uint64_t reached_since_s(const struct reached *m)
{
    return m->since_s;
}

bool reached_passes_keys(const struct reached *m)
{
    return m->passes_keys;
}

/* ---- the end of one ---- */

static void free_reached(struct reached *m)
{
    (void)engine_free(m->engine);
    place_done(&m->place);
    (void)config_unref(m->config);
    free(m);
}

/* A thread, as freeing waits for calls that end on the loops, and those who let go may be these. */
static void *reach_main(void *arg)
{
    struct reach *r = arg;
    for (;;) {
        struct reached *m;
        {
            LOCKED(&r->lock);
            while (LIST_EMPTY(&r->abandoned) && !r->stopping)
                (void)pthread_cond_wait(&r->more, &r->lock);
            m = LIST_FIRST(&r->abandoned);
            if (!m)
                return NULL;
            LIST_REMOVE(m, next);
        }
        free_reached(m);
    }
}

void reached_unref(struct reached *m)
{
    if (!m)
        return;
    struct reach *r = m->reach;
    LOCKED(&r->lock);
    if (--m->refs > 0)
        return;
    LIST_REMOVE(m, next);
    LIST_INSERT_HEAD(&r->abandoned, m, next);
    (void)pthread_cond_signal(&r->more);
}

/* ---- making one ---- */

static int open_transport(struct core *c)
{
    const struct config_transport *t = &c->config->engine.transport;
    /* They serve HTTP as well (gateway/daemon.h). */
    unsigned threads = daemons_threads(&c->config->gateway);
    struct transport_config config = { .loops = t->threads ? (unsigned)t->threads : threads,
                                       .max_connections = t->max_connections,
                                       .max_idle_s = t->max_idle_s,
                                       .max_age_s = t->max_age_s };
    return c->transport ? 0 : transport_new(&c->transport, &config);
}

/* Gateways of one catalog may drive the same engines, and so may models of one gateway. */
static int open_ledger(struct reach *r, struct fail *reterr)
{
    const struct config_adapters *a = &r->core->config->adapters;
    if (r->ledger.ctx)
        return 0;
    if (a->catalog != CATALOG_redis) {
        r->own = ledger_local_new();
        r->ledger = (struct ledger_shared){ &ledger_local_ops, r->own };
        return r->own ? 0 : -ENOMEM;
    }
    int err = shared_ledger_open(&r->of_fleet, a, reterr);
    r->ledger = (struct ledger_shared){ &fleet_ledger_ops, r->of_fleet };
    return err;
}

static int start_thread(struct reach *r)
{
    if (r->has_thread)
        return 0;
    int err = thread_start(&r->thread, THREAD_worker, reach_main, r);
    r->has_thread = err == 0;
    return err;
}

static int make_engine(struct reached *m, struct engine *like, struct fail *reterr)
{
    struct core *c = m->reach->core;
    const struct config_upstream *u = &m->from->upstream;
    const struct config_endpoint *endpoints = u->endpoints.items;
    struct engine_upstream_config config = { .model = m->from, .like = like };
    if (u->lora.enabled) {
        int err = open_ledger(m->reach, reterr);
        if (err != 0)
            return err;
        config.shared = &m->reach->ledger;
        config.holder = m->reach->holders++;
    }
    if (u->lora.enabled && u->lora.folder.n) {
        int err = place_init(&m->place, &c->adapters, m->from);
        if (err != 0)
            return err;
        config.files = &m->place.files;
    }
    for (size_t i = 0; i < u->endpoints.n; i++)
        m->passes_keys = m->passes_keys || endpoints[i].client_key;
    config.transport = c->transport;
    return engine_upstream_new(&m->engine, &config, reterr);
}

/* The newest of that name, with a reference; NULL: there is none. */
static struct reached *newest(struct reach *r, struct str name)
{
    struct reached *m;
    LOCKED(&r->lock);
    LIST_FOREACH(m, &r->alive, next)
    if (str_eq(m->from->name, name)) {
        m->refs++;
        return m;
    }
    return NULL;
}

static int make(struct reached **ret, struct reach *r, struct config *config,
                const struct config_model *from, struct reached *like, struct fail *reterr)
{
    struct reached *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->reach = r;
    m->refs = 1;
    m->config = config_ref(config);
    m->from = from;
    m->since_s = like ? like->since_s : clock_wall_s();
    int err = open_transport(r->core);
    if (err == 0)
        err = start_thread(r);
    if (err == 0)
        err = make_engine(m, like ? like->engine : NULL, reterr);
    if (err != 0) {
        free_reached(m);
        return err;
    }
    LOCKED(&r->lock);
    LIST_INSERT_HEAD(&r->alive, m, next);
    *ret = m;
    return 0;
}

int reach_model(struct reach *r, struct reached **ret, struct config *config,
                const struct config_model *from, struct fail *reterr)
{
    struct reached *like = newest(r, from->name);
    if (like && node_equal(like->from->written, from->written)) {
        *ret = like;
        return 0;
    }
    int err = make(ret, r, config, from, like, reterr);
    reached_unref(like);
    return err;
}

/* ---- life ---- */

void reach_drain(struct reach *r)
{
    struct reached *m;
    LOCKED(&r->lock);
    LIST_FOREACH(m, &r->alive, next)
    engine_drain(m->engine);
}

int reach_new(struct reach **ret, struct core *core)
{
    struct reach *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->core = core;
    LIST_INIT(&r->alive);
    LIST_INIT(&r->abandoned);
    (void)pthread_mutex_init(&r->lock, /* attr= */ NULL);
    int err = thread_cond_init(&r->more);
    if (err < 0) {
        (void)pthread_mutex_destroy(&r->lock);
        free(r);
        return err;
    }
    *ret = r;
    return 0;
}

struct reach *reach_free(struct reach *r)
{
    if (!r)
        return NULL;
    {
        LOCKED(&r->lock);
        assert(LIST_EMPTY(&r->alive)); /* states are gone */
        r->stopping = true;
        (void)pthread_cond_signal(&r->more);
    }
    if (r->has_thread)
        (void)pthread_join(r->thread, /* result= */ NULL);
    (void)shared_ledger_free(r->of_fleet);
    (void)ledger_local_free(r->own);
    (void)pthread_cond_destroy(&r->more);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}
