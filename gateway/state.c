#include "gateway/state.h"

#include "adapters/shared_ledger.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/local/engine_local.h"
#include "engine/upstream/engine_upstream.h"
#include "gateway/candidates.h"
#include "gateway/fleet_ledger.h"
#include "gateway/learning/learning.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- core ---- */

const struct core_model *core_model(const struct core *c, struct str name)
{
    for (size_t i = 0; i < c->n_models; i++)
        if (str_eq(c->models[i].name, name))
            return &c->models[i];
    return NULL;
}

struct engine *core_encoder(const struct core *c)
{
    bool has = c->config && c->config->engine.embedding.path.n && c->n_models;
    return has ? c->models[c->n_models - 1].engine : NULL;
}

struct engine *core_counter(const struct core *c)
{
    size_t encoders = core_encoder(c) ? 1 : 0;
    return c->n_models > encoders ? c->models[0].engine : NULL;
}

/* Adapters of engines behind are loaded there. */
static int adapter_base(const struct core_model **ret, const struct core *c, struct str base,
                        struct fail *reterr)
{
    *ret = core_model(c, base);
    if (*ret && !engine_is_upstream((*ret)->engine))
        return 0;
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "the adapter is for base model '" STR_FMT "', which is not served here",
                    STR_ARG(base));
}

static int load_adapter(void *ctx, struct str base, const char *folder, void **ret,
                        size_t *ret_bytes, struct fail *reterr)
{
    const struct core_model *m;
    struct lora *l = NULL;
    int r = adapter_base(&m, ctx, base, reterr);
    if (r == 0)
        r = engine_local_lora_load(m->engine, &l, ret_bytes, folder, reterr);
    if (r == 0)
        *ret = l;
    return r;
}

static enum adapter_packing packing_of(const struct core *c)
{
    return (enum adapter_packing)c->config->adapters.packing;
}

static int pack_adapter(void *ctx, struct str base, const char *folder, const char *to,
                        struct fail *reterr)
{
    const struct core_model *m;
    int r = adapter_base(&m, ctx, base, reterr);
    return r ? r : engine_local_lora_pack(m->engine, packing_of(ctx), folder, to, reterr);
}

static int map_adapter(void *ctx, struct str base, const char *packed, void **ret,
                       size_t *ret_bytes, struct fail *reterr)
{
    const struct core_model *m;
    struct lora *l = NULL;
    int r = adapter_base(&m, ctx, base, reterr);
    if (r == 0)
        r = engine_local_lora_map(m->engine, packing_of(ctx), packed, &l, ret_bytes, reterr);
    if (r == 0)
        *ret = l;
    return r;
}

static uint64_t adapter_base_id(void *ctx, struct str base)
{
    const struct core_model *m = core_model(ctx, base);
    return m && !engine_is_upstream(m->engine) ? engine_local_base_id(m->engine) : 0;
}

static void unload_adapter(void *ctx, void *resident)
{
    (void)ctx;
    (void)engine_local_lora_free(resident);
}

static int open_transport(struct core *c)
{
    const struct config_transport *t = &c->config->engine.transport;
    struct transport_config config = { .loops = (unsigned)t->threads,
                                       .max_connections = t->max_connections,
                                       .max_idle_s = t->max_idle_s,
                                       .max_age_s = t->max_age_s };
    return c->transport ? 0 : transport_new(&c->transport, &config);
}

/* Gateways of one catalog may drive the same engines, and so may models of one gateway. */
static int share_ledger(struct core *c, struct fail *reterr)
{
    const struct config_adapters *a = &c->config->adapters;
    if (c->shared.ctx)
        return 0;
    if (a->catalog != CATALOG_redis) {
        c->own_ledger = ledger_local_new();
        c->shared = (struct ledger_shared){ &ledger_local_ops, c->own_ledger };
        return c->own_ledger ? 0 : -ENOMEM;
    }
    int r = shared_ledger_open(&c->ledger, a, reterr);
    c->shared = (struct ledger_shared){ &fleet_ledger_ops, c->ledger };
    return r;
}

static int reach_model(struct core *c, struct core_model *m, const struct config_model *from,
                       struct fail *reterr)
{
    struct engine_upstream_config config = { .model = from };
    int r = open_transport(c);
    if (r == 0 && from->upstream.lora.enabled && (r = share_ledger(c, reterr)) == 0)
        config.shared = &c->shared;
    config.holder = (unsigned)(m - c->models);
    if (from->upstream.lora.folder.n) {
        m->place = (struct adapter_place){ .adapters = &c->adapters,
                                           .base = from->name,
                                           .folder = from->upstream.lora.folder };
        config.place = place_adapter;
        config.place_ctx = &m->place;
    }
    config.transport = c->transport;
    m->created_s = clock_wall_s();
    const struct config_endpoint *endpoints = from->upstream.endpoints.items;
    for (size_t i = 0; i < from->upstream.endpoints.n; i++)
        m->passes_keys = m->passes_keys || endpoints[i].client_key;
    return r == 0 ? engine_upstream_new(&m->engine, &config, reterr) : r;
}

static int load_model(struct core *c, const struct config_model *from, struct fail *reterr)
{
    struct core_model *m = &c->models[c->n_models];
    struct stat st;
    int r;
    if (from->upstream.endpoints.n) {
        r = reach_model(c, m, from, reterr);
    } else {
        r = engine_local_new(&m->engine, from, reterr);
        m->created_s = r == 0 && stat(from->path.p, &st) == 0 ? (uint64_t)st.st_mtime : 0;
    }
    if (r != 0)
        return r;
    m->name = from->name;
    c->n_models++;
    return 0;
}

static int load_models(struct core *c, struct fail *reterr)
{
    const struct config_engine *from = &c->config->engine;
    const struct config_model *models = from->models.items;
    c->models = calloc(from->models.n + 1, sizeof(*c->models));
    if (!c->models)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; i < from->models.n && r == 0; i++)
        r = load_model(c, &models[i], reterr);
    if (r == 0 && from->embedding.path.n)
        r = load_model(c, &from->embedding, reterr);
    return r;
}

int core_new(struct core **ret, struct config *config, struct fail *reterr)
{
    CLEANUP(core_freep) struct core *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->config = config_ref(config);
    int r = learning_new(&c->learning);
    if (r == 0)
        r = load_models(c, reterr);
    if (r != 0)
        return r;
    /* Opening copies the loader; its context, the core, outlives the adapters. */
    struct adapter_loader loader = { .load = load_adapter,
                                     .unload = unload_adapter,
                                     .pack = pack_adapter,
                                     .map = map_adapter,
                                     .base_id = adapter_base_id,
                                     .ctx = c };
    r = adapters_open(&c->adapters, config, &loader, reterr);
    if (r != 0)
        return r;
    *ret = TAKE(c);
    return 0;
}

static void free_engines(struct core *c, bool upstream)
{
    for (size_t i = 0; i < c->n_models; i++)
        if (c->models[i].engine && engine_is_upstream(c->models[i].engine) == upstream)
            c->models[i].engine = engine_free(c->models[i].engine);
}

struct core *core_free(struct core *c)
{
    if (!c)
        return NULL;
    free_engines(c, /* upstream= */ true); /* they read adapters' files */
    (void)adapters_close(c->adapters);     /* its packed adapters belong to the engines here */
    free_engines(c, /* upstream= */ false);
    (void)shared_ledger_free(c->ledger);
    (void)ledger_local_free(c->own_ledger);
    (void)transport_free(c->transport);
    free(c->models);
    (void)learning_free(c->learning);
    (void)config_unref(c->config);
    free(c);
    return NULL;
}

/* What is said of engines behind, here and in policies. */
static bool upstreams_equal(const struct config *a, const struct config *b)
{
    const struct node *x = node_get(a->engine_node, "models"),
                      *y = node_get(b->engine_node, "models");
    for (size_t i = 0; i < a->engine.n_own; i++)
        if (!node_equal(node_get(node_at(x, i), "upstream"), node_get(node_at(y, i), "upstream")))
            return false;
    bool has_others = a->engine.n_own < a->engine.models.n;
    return a->engine.n_own == b->engine.n_own &&
           (!has_others ||
            node_equal(node_get(a->providers, "models"), node_get(b->providers, "models"))) &&
           node_equal(node_get(a->engine_node, "upstream"), node_get(b->engine_node, "upstream"));
}

static bool models_equal(const struct config *a, const struct config *b)
{
    if (a->engine.models.n != b->engine.models.n || !upstreams_equal(a, b))
        return false;
    const struct config_model *x = &a->engine.embedding, *y = &b->engine.embedding;
    if (!str_eq(x->name, y->name) || !str_eq(x->path, y->path) || x->threads != y->threads)
        return false;
    x = a->engine.models.items;
    y = b->engine.models.items;
    for (size_t i = 0; i < a->engine.models.n; i++)
        if (!str_eq(x[i].name, y[i].name) || !str_eq(x[i].path, y[i].path) ||
            x[i].slots != y[i].slots || x[i].context != y[i].context ||
            x[i].cache_type != y[i].cache_type || x[i].threads != y[i].threads ||
            x[i].queue != y[i].queue || x[i].batch != y[i].batch)
            return false;
    return true;
}

const char *core_differs(const struct core *c, const struct config *other)
{
    const struct config_adapters *a = &c->config->adapters, *b = &other->adapters;
    if (!models_equal(c->config, other))
        return "engine";
    if (a->catalog != b->catalog || !str_eq(a->catalog_path, b->catalog_path) ||
        !str_eq(a->catalog_url, b->catalog_url) ||
        !str_eq(a->catalog_namespace, b->catalog_namespace) ||
        !str_eq(a->catalog_snapshot, b->catalog_snapshot) ||
        !str_eq(a->blob_cache, b->blob_cache) || a->blob_max_bytes != b->blob_max_bytes ||
        a->max_bytes != b->max_bytes || a->max_loads != b->max_loads || a->packing != b->packing)
        return "adapters";
    const struct config_gateway *g = &c->config->gateway, *h = &other->gateway;
    if (!str_eq(g->listen, h->listen) || g->http_threads != h->http_threads ||
        g->header_bytes != h->header_bytes || g->streams != h->streams)
        return "gateway.listen, http_threads, limits.header or limits.streams";
    const struct config_responses *o = &g->responses, *n = &h->responses;
    if (o->store != n->store || o->ttl_ms != n->ttl_ms || o->max_bytes != n->max_bytes)
        return "gateway.responses";
    const struct config_batches *u = &g->batches, *v = &h->batches;
    if (!str_eq(u->folder, v->folder) || u->max_bytes != v->max_bytes || u->ttl_ms != v->ttl_ms ||
        u->concurrency != v->concurrency)
        return "gateway.batches";
    return NULL;
}

/* ---- state ---- */

/* Where no plugin says otherwise: what was decided, and nothing of what was said. */
static struct router_replay usual_replay(const struct config *c)
{
    const struct node *services = c->global ? node_get(c->global, "services") : NULL;
    const struct node *replay = services ? node_get(services, "router_replay") : NULL;
    const struct node *enabled = replay ? node_get(replay, "enabled") : NULL;
    bool off = enabled && enabled->kind == NODE_scalar && str_is(enabled->scalar, "false");
    return (struct router_replay){ .enabled = !off,
                                   .max_body_bytes = REPLAY_BODY_MAX,
                                   .max_tool_bytes = REPLAY_TOOL_BYTES_MAX,
                                   .max_tool_steps = REPLAY_TOOL_STEPS_MAX };
}

static int compile_chains(struct state *s, struct problems *p)
{
    size_t n = router_decisions(s->router);
    s->chains = calloc(n ? n : 1, sizeof(struct chain *));
    if (!s->chains)
        return -ENOMEM;
    s->replays = calloc(n ? n : 1, sizeof(*s->replays));
    if (!s->replays)
        return -ENOMEM;
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    if (!arena)
        return -ENOMEM;
    s->no_replay = usual_replay(s->config);
    int r = chain_new(&s->no_chain, /* plugins= */ NULL, "", p);
    for (size_t i = 0; r == 0 && i < n; i++) {
        const char *path = "";
        const struct node *plugins = router_decision_plugins(s->router, i, &path);
        r = chain_new(&s->chains[s->n_chains++], plugins, path, p);
        if (r == 0 && !router_replay_find(&s->replays[i], plugins, arena))
            s->replays[i] = s->no_replay;
    }
    return r;
}

/* Selections compare with what the catalog says of adapters. */
static int describe(struct state *s, struct problems *p)
{
    struct fail fail = { 0 };
    int r =
        router_describe(s->router, &(struct adapter_words){ candidates_describe, s->core }, &fail);
    return r == FAILED
               ? node_problem(p, PROBLEM_error, /* at= */ NULL, "adapters.catalog",
                              "the descriptions of adapters have no vectors: %s", fail.message)
               : r;
}

static int use_outcomes(struct state *s, struct problems *p)
{
    struct fail fail = { 0 };
    int r = s->core->learning
                ? learning_use_file(s->core->learning, router_learning(s->router)->path, &fail)
                : 0;
    return r == FAILED ? node_problem(p, PROBLEM_error, s->config->global,
                                      "global.router.learning.state_store.path", "%s", fail.message)
                       : r;
}

int state_new(struct state **ret, struct core *core, struct config *config, struct problems *p)
{
    CLEANUP(state_unrefp) struct state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->refs = 1;
    s->core = core;
    s->config = config_ref(config);
    struct router_parts parts = { core_encoder(core) };
    int r = router_new_with(&s->router, config, &parts, p);
    if (r == 0)
        r = describe(s, p);
    if (r == 0)
        r = use_outcomes(s, p);
    if (r < 0)
        return r;
    r = compile_chains(s, p);
    if (r < 0)
        return r;
    r = auth_new(&s->auth, &config->gateway, p);
    if (r < 0)
        return r;
    *ret = TAKE(s);
    return 0;
}

struct state *state_ref(struct state *s)
{
    s->refs++;
    return s;
}

struct state *state_unref(struct state *s)
{
    if (!s || --s->refs > 0)
        return NULL;
    for (size_t i = 0; i < s->n_chains; i++)
        (void)chain_free(s->chains[i]);
    free(s->chains);
    free(s->replays);
    (void)chain_free(s->no_chain);
    (void)router_free(s->router);
    (void)auth_free(s->auth);
    (void)config_unref(s->config);
    free(s);
    return NULL;
}

const struct chain *state_chain(const struct state *s, const struct route *route)
{
    if (route->decision.n == 0)
        return s->no_chain;
    return route->index < s->n_chains ? s->chains[route->index] : s->no_chain;
}

const struct router_replay *state_replay(const struct state *s, const struct route *route)
{
    bool decided = route->decision.n && route->index < s->n_chains;
    return decided ? &s->replays[route->index] : &s->no_replay;
}
