#include "gateway/state.h"

#include "base/log.h"
#include "engine/local/engine_local.h"
#include "engine/upstream/transport.h"
#include "gateway/candidates.h"
#include "gateway/learning/learning.h"
#include "gateway/reach.h"

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

/* Adapters of engines behind are loaded there, and the core has none of these. */
static int adapter_base(const struct core_model **ret, const struct core *c, struct str base,
                        struct fail *reterr)
{
    *ret = core_model(c, base);
    if (*ret)
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
    return m ? engine_local_base_id(m->engine) : 0;
}

static void unload_adapter(void *ctx, void *resident)
{
    (void)ctx;
    (void)engine_local_lora_free(resident);
}

static int load_model(struct core *c, const struct config_model *from, struct fail *reterr)
{
    struct core_model *m = &c->models[c->n_models];
    struct stat st;
    int r = engine_local_new(&m->engine, from, reterr);
    if (r != 0)
        return r;
    m->created_s = stat(from->path.p, &st) == 0 ? (uint64_t)st.st_mtime : 0;
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
        if (models[i].upstream.endpoints.n == 0)
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
        r = reach_new(&c->reach, c);
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

struct core *core_free(struct core *c)
{
    if (!c)
        return NULL;
    c->reach = reach_free(c->reach);   /* they read adapters' files */
    (void)adapters_close(c->adapters); /* its packed adapters belong to the engines here */
    for (size_t i = 0; i < c->n_models; i++)
        (void)engine_free(c->models[i].engine);
    (void)transport_free(c->transport);
    free(c->models);
    (void)learning_free(c->learning);
    (void)config_unref(c->config);
    free(c);
    return NULL;
}

void core_drain(struct core *c)
{
    for (size_t i = 0; i < c->n_models; i++)
        engine_drain(c->models[i].engine);
    reach_drain(c->reach);
}

/* ---- the core of a state ---- */

static struct core *view_free(struct core *v)
{
    if (!v)
        return NULL;
    for (size_t i = 0; i < v->n_models; i++)
        reached_unref(v->models[i].reached);
    free(v->models);
    free(v);
    return NULL;
}
DEFINE_CLEANUP(struct core *, view_free);

static int view_reach(struct core_model *m, const struct core *c, struct config *config,
                      const struct config_model *from, struct fail *reterr)
{
    int r = reach_model(c->reach, &m->reached, config, from, reterr);
    if (r != 0)
        return r;
    m->name = from->name;
    m->engine = reached_engine(m->reached);
    m->created_s = reached_since_s(m->reached);
    m->passes_keys = reached_passes_keys(m->reached);
    return 0;
}

/* In the file's order; what it does not name any more of this process stays behind that. */
static int view_models(struct core *v, const struct core *c, struct config *config,
                       struct fail *reterr)
{
    const struct config_model *models = config->engine.models.items;
    for (size_t i = 0; i < config->engine.models.n; i++) {
        struct core_model *m = &v->models[v->n_models];
        const struct core_model *here = core_model(c, models[i].name);
        if (models[i].upstream.endpoints.n) {
            int r = view_reach(m, c, config, &models[i], reterr);
            if (r != 0)
                return r;
        } else if (here) {
            *m = *here;
        } else {
            continue; /* it is loaded at a start: core_differs says so */
        }
        v->n_models++;
    }
    for (size_t i = 0; i < c->n_models; i++) {
        bool is_encoder = core_encoder(c) && i + 1 == c->n_models;
        if (is_encoder || !core_model(v, c->models[i].name))
            v->models[v->n_models++] = c->models[i];
    }
    return 0;
}

static int view_new(struct core **ret, const struct core *c, struct config *config,
                    struct fail *reterr)
{
    CLEANUP(view_freep) struct core *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->models = calloc(c->n_models + config->engine.models.n + 1, sizeof(*v->models));
    if (!v->models)
        return -ENOMEM;
    int r = view_models(v, c, config, reterr);
    if (r != 0)
        return r;
    v->transport = c->transport;
    v->config = c->config; /* borrowed, like all of these */
    v->adapters = c->adapters;
    v->learning = c->learning;
    *ret = TAKE(v);
    return 0;
}

/* ---- what a reload cannot change ---- */

static bool same_file(const struct config_model *x, const struct config_model *y)
{
    return str_eq(x->name, y->name) && str_eq(x->path, y->path) && x->slots == y->slots &&
           x->context == y->context && x->cache_type == y->cache_type && x->threads == y->threads &&
           x->queue == y->queue && x->batch == y->batch;
}

/* The next one of this process, from i on; NULL: there is none. */
static const struct config_model *next_here(const struct config *c, size_t *i)
{
    const struct config_model *models = c->engine.models.items;
    while (*i < c->engine.models.n && models[*i].upstream.endpoints.n)
        ++*i;
    return *i < c->engine.models.n ? &models[(*i)++] : NULL;
}

static bool models_equal(const struct config *a, const struct config *b)
{
    const struct config_model *x = &a->engine.embedding, *y = &b->engine.embedding;
    if (!str_eq(x->name, y->name) || !str_eq(x->path, y->path) || x->threads != y->threads)
        return false;
    for (size_t i = 0, k = 0;;) {
        x = next_here(a, &i);
        y = next_here(b, &k);
        if (!x || !y)
            return x == y;
        if (!same_file(x, y))
            return false;
    }
}

const char *core_differs(const struct core *c, const struct config *other)
{
    const struct config_adapters *a = &c->config->adapters, *b = &other->adapters;
    if (!models_equal(c->config, other))
        return "engine: models with a path, embedding";
    if (!node_equal(node_get(c->config->engine_node, "upstream"),
                    node_get(other->engine_node, "upstream")))
        return "engine.upstream";
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

/* The engines of its configuration. */
static int use_core(struct state *s, struct core *core, struct problems *p)
{
    struct fail fail = { 0 };
    s->core = core;
    if (!core->reach)
        return 0;
    int r = view_new(&s->own, core, s->config, &fail);
    if (r == FAILED)
        return node_problem(p, PROBLEM_error, s->config->engine_node, "engine.models", "%s",
                            fail.message);
    s->core = s->own;
    return r;
}

int state_new(struct state **ret, struct core *core, struct config *config, struct problems *p)
{
    CLEANUP(state_unrefp) struct state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->refs = 1;
    s->config = config_ref(config);
    int r = use_core(s, core, p);
    if (r < 0)
        return r;
    struct router_parts parts = { core_encoder(core) };
    r = router_new_with(&s->router, config, &parts, p);
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
    (void)view_free(s->own);
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
