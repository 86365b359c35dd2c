#include "router/profiles.h"

#include "router/accepted.h"
#include "router/selection/adaptation.h"
#include "router/selection/prices.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_ENTRIES = 10000 };

/* ---- tables ---- */

enum { SEMANTICS_auto, SEMANTICS_lexical, SEMANTICS_encoder };
static const char *const semantics_words[] = { "auto", "lexical", "encoder", NULL };

struct global_router {
    const struct node *strategy, *learning, *selection;
    unsigned semantics;
    struct str auto_name;
    struct text_list auto_names;
    bool list_models;
};

static const struct option global_router_options[] = {
    OPT_NODE(struct global_router, strategy, "strategy", "of profiles that name none"),
    OPT_WORD(struct global_router, semantics, "semantics", semantics_words, "auto",
             "what texts are compared by: the encoder of engine.embedding, where there is one; "
             "words and characters; or the encoder, which must be there"),
    OPT_TEXT(struct global_router, auto_name, "auto_model_name", NULL, "asks the router to choose"),
    OPT_TEXTS(struct global_router, auto_names, "auto_model_names", 1000, "the same, several"),
    OPT_BOOL(struct global_router, list_models, "include_config_models_in_list", "true",
             "whether /v1/models lists them"),
    OPT_IGNORED("config_source", "the configuration is this file"),
    OPT_IGNORED("clear_route_cache", "there is no proxy in front"),
    OPT_IGNORED_MAP("streamed_body", accepted_streamed_body, "bodies are read as they come"),
    OPT_UNSERVED_MAP("skip_processing", accepted_skip, "requests that ask not to be routed"),
    OPT_NODE(struct global_router, selection, "model_selection", "how a candidate is picked"),
    OPT_NODE(struct global_router, learning, "learning", "what experience may change"),
    OPT_END,
};

struct global_section {
    const struct node *router;
    union discarded nobody;
};

#define ACCEPTED(key, table)                                                                       \
    {                                                                                              \
        key, OPTION_section, offsetof(struct global_section, nobody), 0, 0, NULL, NULL, table, 0,  \
            "see the policy language"                                                              \
    }

static const struct option global_options[] = {
    OPT_NODE(struct global_section, router, "router", "names and strategy"),
    ACCEPTED("model_catalog", accepted_catalog),
    ACCEPTED("services", accepted_services),
    ACCEPTED("stores", accepted_stores),
    ACCEPTED("integrations", accepted_integrations),
    OPT_END,
};

struct entry {
    struct text_list names;
    struct str recipe, description;
};

static const struct option entry_options[] = {
    OPT_TEXTS(struct entry, names, "model_names", 1000, "virtual model names"),
    OPT_TEXT(struct entry, recipe, "recipe", OPTION_REQUIRED, "the profile they lead to"),
    OPT_TEXT(struct entry, description, "description", NULL, "for people"),
    OPT_END,
};

struct recipe {
    struct str name, description;
    const struct node *routing;
};

static const struct option recipe_options[] = {
    OPT_TEXT(struct recipe, name, "name", OPTION_REQUIRED, "by which entrypoints refer to it"),
    OPT_TEXT(struct recipe, description, "description", NULL, "for people"),
    OPT_NODE(struct recipe, routing, "routing", "its own signals, projections and decisions"),
    OPT_END,
};

struct lists {
    struct item_list entries, recipes, cards;
};

static const struct option lists_options[] = {
    OPT_LIST(struct lists, entries, "entrypoints", MAX_ENTRIES, entry_options, struct entry, ""),
    OPT_LIST(struct lists, recipes, "recipes", MAX_ENTRIES, recipe_options, struct recipe, ""),
    OPT_LIST(struct lists, cards, "routing.modelCards", MAX_ENTRIES, model_card_options,
             struct model_card, ""),
    OPT_END,
};

/* ---- loading ---- */

struct load {
    struct router *r;
    struct problems *p;
    struct lists lists;
    unsigned strategy;
};

/* The three lists through one table, wherever they stand. */
static int read_lists(struct load *l)
{
    const struct config *c = l->r->config;
    const struct node *cards = c->routing ? node_get(c->routing, "modelCards") : NULL;
    const struct node *all[] = { c->entrypoints, c->recipes, cards };
    static const struct str names[] = { { "entrypoints", 11 },
                                        { "recipes", 7 },
                                        { "routing.modelCards", 18 } };
    const struct node *items[3];
    struct str keys[3];
    size_t n = 0;
    for (size_t i = 0; i < 3; i++)
        if (all[i]) {
            items[n] = all[i];
            keys[n++] = names[i];
        }
    struct node map = {
        .kind = NODE_map, .n = n, .items = items, .keys = keys, .key_nodes = items
    };
    return schema_read(&l->lists, lists_options, &map, "", l->r->arena, l->p);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct named {
    struct str name;
    size_t at;
};

static int by_text(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int r = str_cmp(x->name, y->name);
    return r ? r : (x->at > y->at) - (x->at < y->at);
}

/* A name that a list of maps gives twice. */
static int report_twins(struct load *l, const struct node *list, const char *path, const char *what)
{
    struct named *all = arena_array(l->r->arena, (list ? list->n : 0) + 1, sizeof(*all));
    size_t n = 0;
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; list && i < list->n; i++) {
        const struct node *name = node_get(list->items[i], "name");
        if (name && name->kind == NODE_scalar)
            all[n++] = (struct named){ name->scalar, i };
    }
    if (n)
        qsort(all, n, sizeof(*all), by_text);
    for (size_t i = 1; i < n; i++) {
        if (!str_eq(all[i].name, all[i - 1].name))
            continue;
        char at[96];
        (void)snprintf(at, sizeof(at), "%s[%zu].name", path, all[i].at);
        (void)node_problem(l->p, PROBLEM_error, node_get(list->items[all[i].at], "name"), at,
                           "the %s '%.*s' is defined twice", what, STR_ARG(all[i].name));
    }
    return 0;
}

static int check_names(struct load *l)
{
    const struct config *c = l->r->config;
    const struct node *cards = c->routing ? node_get(c->routing, "modelCards") : NULL;
    const struct node *models = c->providers ? node_get(c->providers, "models") : NULL;
    int e = report_twins(l, cards, "routing.modelCards", "model card");
    if (e == 0)
        e = report_twins(l, models, "providers.models", "model");
    return e < 0 ? e : report_twins(l, c->recipes, "recipes", "recipe");
}

static int collect_models(struct load *l)
{
    struct router *r = l->r;
    const struct config_model *engine = r->config->engine.models.items;
    const struct model_card *cards = l->lists.cards.items;
    const struct node *upstream =
        r->config->providers ? node_get(r->config->providers, "models") : NULL;
    size_t n = 0, most = r->config->engine.n_own + l->lists.cards.n + (upstream ? upstream->n : 0);
    const char **names = arena_array(r->arena, most + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < r->config->engine.n_own; i++)
        names[n++] = engine[i].name.p;
    for (size_t i = 0; i < l->lists.cards.n; i++)
        names[n++] = cards[i].name.p;
    for (size_t i = 0; upstream && i < upstream->n; i++) {
        const struct node *name = node_get(node_at(upstream, i), "name");
        if (name && name->kind == NODE_scalar)
            names[n++] = name->scalar.p;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (names[i])
            names[kept++] = names[i];
    if (kept)
        qsort(names, kept, sizeof(*names), by_name);
    r->cards = l->lists.cards;
    r->models = (struct model_names){ names, kept, &r->cards, NULL, 0 };
    return prices_load(&r->models, upstream, r->arena, l->p);
}

static int read_providers(struct load *l)
{
    struct router *r = l->r;
    const struct node *at = node_get(r->config->providers, "defaults");
    const struct providers_source source = { r->config, r->arena, l->p };
    int e = providers_load(&r->providers, &source);
    if (e < 0)
        return e;
    r->default_model = r->providers.default_model;
    model_names_split(&r->models, &r->default_model, &r->default_adapter);
    if (r->default_model.n && !model_names_have(&r->models, r->default_model))
        return node_problem(l->p, PROBLEM_error, node_get(at, "default_model"),
                            "providers.defaults.default_model",
                            "the model '%.*s' is not known; models are those of engine.models, "
                            "providers.models and routing.modelCards",
                            STR_ARG(r->providers.default_model));
    if (r->default_model.n == 0 && r->config->engine.n_own)
        r->default_model = ((const struct config_model *)r->config->engine.models.items)->name;
    if (r->default_model.n == 0 && r->config->routing)
        (void)node_problem(l->p, PROBLEM_warning, r->config->routing, "routing",
                           "there is no default model: requests that no decision matches fail; set "
                           "providers.defaults.default_model");
    return 0;
}

static int read_strategy(struct load *l, const struct node *at)
{
    for (unsigned i = 0; strategies[i]; i++)
        if (node_is(at, strategies[i])) {
            l->strategy = i;
            return 0;
        }
    return node_problem(l->p, PROBLEM_error, at, "global.router.strategy",
                        "is not one of priority, confidence");
}

/* Checking a configuration loads no encoder: its rules are then compiled in the lexical space. */
static int open_space(struct load *l, unsigned semantics, const struct node *at)
{
    struct router *r = l->r;
    if (semantics == SEMANTICS_encoder && r->config->engine.embedding.path.n == 0)
        (void)node_problem(l->p, PROBLEM_error, at, "global.router.semantics",
                           "the policy demands an encoder: name a GGUF file in "
                           "engine.embedding.path, or set global.router.semantics to lexical");
    if (r->encoder && semantics != SEMANTICS_lexical)
        return vector_space_encoder(&r->space, r->encoder);
    return vector_space_lexical(&r->space);
}

static int read_global(struct load *l)
{
    struct router *r = l->r;
    struct global_section global = { .router = NULL };
    struct global_router g = { 0 };
    int e = schema_read(&global, global_options, r->config->global, "global", r->arena, l->p);
    int k = schema_read(&g, global_router_options, global.router, "global.router", r->arena, l->p);
    int o = open_space(l, g.semantics, global.router ? node_get(global.router, "semantics") : NULL);
    if (o < 0)
        return o;
    if (e < 0 || k < 0)
        return e < 0 ? e : k;
    struct str *names = arena_array(r->arena, g.auto_names.n + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < g.auto_names.n; i++)
        names[n++] = g.auto_names.items[i];
    if (g.auto_name.n)
        names[n++] = g.auto_name;
    r->auto_names = (struct text_list){ names, n };
    struct defaults_source s = { g.selection, selection_names, r->config->folder, r->arena, l->p };
    e = accepted_listeners(r->config, r->arena, l->p);
    if (e < 0)
        return e;
    e = learning_settings_read(&r->learning, g.learning, r->arena, l->p);
    if (e == 0)
        e = selection_defaults_read(&r->selection, &s);
    k = g.strategy ? read_strategy(l, g.strategy) : 0;
    return e < 0 ? e : k;
}

static int load_policies(struct load *l)
{
    struct router *r = l->r;
    const struct recipe *recipes = l->lists.recipes.items;
    r->policies = arena_array(r->arena, l->lists.recipes.n + 1, sizeof(*r->policies));
    if (!r->policies)
        return -ENOMEM;
    struct policy_source s = { .name = STR("default"),
                               .routing = r->config->routing,
                               .path = "routing",
                               .config = r->config,
                               .space = r->space,
                               .models = &r->models,
                               .learning = &r->learning,
                               .defaults = &r->selection,
                               .strategy = l->strategy,
                               .arena = r->arena,
                               .p = l->p };
    r->n_policies = 1;
    int e = policy_load(&r->policies[0], &s);
    for (size_t i = 0; e == 0 && i < l->lists.recipes.n; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "recipes[%zu].routing", i);
        s.name = recipes[i].name;
        s.routing = recipes[i].routing;
        s.path = path;
        e = policy_load(&r->policies[r->n_policies++], &s);
    }
    return e;
}

static int load_pools(struct load *l)
{
    struct router *r = l->r;
    int e = 0;
    r->keeps_sessions = r->learning.protects;
    r->wants = r->learning.adapts || r->learning.protects ? ADAPTATION_WANTS : 0;
    for (size_t i = 0; e == 0 && i < r->n_policies; i++) {
        struct policy *own = &r->policies[i];
        struct pool_source s = { r->policies, r->n_policies, own, &r->models, r->arena };
        e = candidate_pools_make(&s);
        for (size_t k = 0; k < own->n_decisions; k++) {
            const struct selection *selection = own->decisions[k].selection;
            if (selection == &selection_session_aware)
                r->keeps_sessions = true;
            if (selection)
                r->wants |= selection->wants;
        }
    }
    return e;
}

static size_t find_policy(const struct router *r, struct str name) /* SIZE_MAX: none */
{
    for (size_t i = r->n_policies; i-- > 0;) /* a recipe may take the name "default" */
        if (str_eq(r->policies[i].name, name))
            return i;
    return SIZE_MAX;
}

static bool name_taken(const struct router *r, struct str name)
{
    for (size_t i = 0; i < r->n_entrypoints; i++)
        if (str_eq(r->entrypoints[i].name, name))
            return true;
    return false;
}

static int load_entrypoints(struct load *l)
{
    struct router *r = l->r;
    const struct entry *entries = l->lists.entries.items;
    size_t n = 0;
    for (size_t i = 0; i < l->lists.entries.n; i++)
        n += entries[i].names.n;
    r->entrypoints = arena_array(r->arena, n + 1, sizeof(*r->entrypoints));
    if (!r->entrypoints)
        return -ENOMEM;
    for (size_t i = 0; i < l->lists.entries.n; i++) {
        const struct node *at = node_at(r->config->entrypoints, i);
        size_t policy = find_policy(r, entries[i].recipe);
        char path[64];
        (void)snprintf(path, sizeof(path), "entrypoints[%zu]", i);
        if (entries[i].recipe.n && policy == SIZE_MAX)
            (void)node_problem(l->p, PROBLEM_error, node_get(at, "recipe"), path,
                               "the recipe '%.*s' is not defined", STR_ARG(entries[i].recipe));
        if (entries[i].names.n == 0)
            (void)node_problem(l->p, PROBLEM_error, at, path, "model_names is missing");
        for (size_t k = 0; k < entries[i].names.n; k++) {
            struct str name = entries[i].names.items[k];
            if (name_taken(r, name))
                (void)node_problem(l->p, PROBLEM_error, at, path,
                                   "the name '%.*s' already leads elsewhere", STR_ARG(name));
            r->entrypoints[r->n_entrypoints++] =
                (struct entrypoint){ name, policy == SIZE_MAX ? 0 : policy };
        }
    }
    return 0;
}

int profiles_load(struct router *r, struct problems *p)
{
    struct load l = { .r = r, .p = p };
    int (*const steps[])(struct load *) = { read_lists,     check_names,     collect_models,
                                            read_providers, read_global,     load_policies,
                                            load_pools,     load_entrypoints };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int e = steps[i](&l);
        if (e < 0 && e != -EINVAL)
            return e;
    }
    return 0;
}
