/* From a compiled source to a whole configuration. */
#include "router/dsl/compiled.h"
#include "router/dsl/make.h"

#include <errno.h>

static bool speaks_of(const char *key) /* of a decision: the language has a word for it */
{
    static const char *const keys[] = { "name",  "description",        "priority",  "tier",
                                        "rules", "modelRefs",          "algorithm", "plugins",
                                        "emits", "candidateIterations" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static const struct node *find_named(const struct node *list, const struct node *name)
{
    for (size_t i = 0; name && node_at(list, i); i++) {
        const struct node *other = node_get(list->items[i], "name");
        if (other && other->kind == NODE_scalar && str_eq(other->scalar, name->scalar))
            return list->items[i];
    }
    return NULL;
}

static struct dsl_place place_of(const struct node *n)
{
    return (struct dsl_place){ n->line, n->column };
}

static void copy_pairs(struct maker *m, struct items *to, const struct node *map)
{
    for (size_t i = 0; i < map->n; i++)
        dsl_make_pair(m, to, map->keys[i].p, place_of(map->key_nodes[i]), map->items[i]);
}

static const struct node *merge_decisions(struct maker *m, const struct node *list,
                                          const struct node *base)
{
    struct items all = { 0 };
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *d = list->items[i], *old = find_named(base, node_get(d, "name"));
        struct items map = { 0 };
        copy_pairs(m, &map, d);
        for (size_t k = 0; old && old->kind == NODE_map && k < old->n; k++)
            if (!speaks_of(old->keys[k].p) && !node_get(d, old->keys[k].p))
                dsl_make_pair(m, &map, old->keys[k].p, place_of(old->key_nodes[k]), old->items[k]);
        dsl_make_add(m, &all, dsl_make_map(m, place_of(d), &map));
    }
    return dsl_make_list(m, place_of(list), &all);
}

static const struct node *merge_routing(struct maker *m, const struct node *routing,
                                        const struct node *base)
{
    struct items map = { 0 };
    for (size_t i = 0; i < routing->n; i++) {
        const struct node *item = routing->items[i];
        if (str_is(routing->keys[i], "decisions"))
            item = merge_decisions(m, item, node_get(base, "decisions"));
        dsl_make_pair(m, &map, routing->keys[i].p, place_of(routing->key_nodes[i]), item);
    }
    return dsl_make_map(m, place_of(routing), &map);
}

static const struct node *merge_recipes(struct maker *m, const struct node *list,
                                        const struct node *base)
{
    struct items all = { 0 };
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *r = list->items[i], *old = find_named(base, node_get(r, "name"));
        struct items map = { 0 };
        for (size_t k = 0; k < r->n; k++) {
            const struct node *item = r->items[k];
            if (str_is(r->keys[k], "routing"))
                item = merge_routing(m, item, node_get(old, "routing"));
            dsl_make_pair(m, &map, r->keys[k].p, place_of(r->key_nodes[k]), item);
        }
        dsl_make_add(m, &all, dsl_make_map(m, place_of(r), &map));
    }
    return dsl_make_list(m, place_of(list), &all);
}

int dsl_merge(struct dsl *d, const struct node *base, const struct node **ret)
{
    struct maker m = { d->arena, base->file, NULL, false, false };
    struct items map = { 0 };
    const struct node *routing = node_get(d->root, "routing");
    const struct node *entries = node_get(d->root, "entrypoints");
    const struct node *recipes = node_get(d->root, "recipes");
    bool had_routing = false;
    for (size_t i = 0; base->kind == NODE_map && i < base->n; i++) {
        struct str key = base->keys[i];
        bool ours = str_is(key, "entrypoints") || str_is(key, "recipes");
        bool is_routing = str_is(key, "routing");
        had_routing = had_routing || is_routing;
        if (!ours)
            dsl_make_pair(&m, &map, key.p, place_of(base->key_nodes[i]),
                          is_routing ? merge_routing(&m, routing, base->items[i]) : base->items[i]);
    }
    if (!had_routing)
        dsl_make_pair(&m, &map, "routing", place_of(routing), routing);
    if (entries)
        dsl_make_pair(&m, &map, "entrypoints", place_of(entries), entries);
    if (recipes)
        dsl_make_pair(&m, &map, "recipes", place_of(recipes),
                      merge_recipes(&m, recipes, node_get(base, "recipes")));
    *ret = dsl_make_map(&m, (struct dsl_place){ 1, 1 }, &map);
    return m.no_memory ? -ENOMEM : 0;
}

/* ---- to run the tests ---- */

static const char TEST_ENTRY[] = "recipe ";

static const struct node *test_entry(struct maker *m, const struct node *name)
{
    struct dsl_place at = place_of(name);
    struct items map = { 0 }, names = { 0 };
    const char *entry = arena_printf(m->arena, "%s%s", TEST_ENTRY, name->scalar.p);
    m->no_memory = m->no_memory || !entry;
    dsl_make_add(m, &names, dsl_make_text(m, at, str_of(entry)));
    dsl_make_pair(m, &map, "model_names", at, dsl_make_list(m, at, &names));
    dsl_make_pair(m, &map, "recipe", at, dsl_make_text(m, at, name->scalar));
    return dsl_make_map(m, at, &map);
}

static const struct node *test_entries(struct maker *m, const struct node *config)
{
    const struct node *given = node_get(config, "entrypoints");
    const struct node *recipes = node_get(config, "recipes");
    struct items all = { 0 };
    for (size_t i = 0; node_at(given, i); i++)
        dsl_make_add(m, &all, given->items[i]);
    for (size_t i = 0; node_at(recipes, i); i++) {
        const struct node *name = node_get(recipes->items[i], "name");
        if (name && name->kind == NODE_scalar)
            dsl_make_add(m, &all, test_entry(m, name));
    }
    return dsl_make_list(m, (struct dsl_place){ 1, 1 }, &all);
}

/* "providers" that make the first model card the default model. */
static const struct node *test_providers(struct maker *m, const struct node *config)
{
    struct items defaults = { 0 }, providers = { 0 };
    const struct node *cards = node_get(node_get(config, "routing"), "modelCards");
    const struct node *name = node_get(node_at(cards, 0), "name");
    if (!name)
        return NULL;
    dsl_make_pair(m, &defaults, "default_model", place_of(name), name);
    dsl_make_pair(m, &providers, "defaults", place_of(name),
                  dsl_make_map(m, place_of(name), &defaults));
    return dsl_make_map(m, place_of(name), &providers);
}

int dsl_runnable(struct dsl *d, const struct node *config, const struct node **ret)
{
    struct maker m = { d->arena, config->file, NULL, false, false };
    struct items map = { 0 };
    for (size_t i = 0; i < config->n; i++)
        if (!str_is(config->keys[i], "entrypoints"))
            dsl_make_pair(&m, &map, config->keys[i].p, place_of(config->key_nodes[i]),
                          config->items[i]);
    dsl_make_pair(&m, &map, "entrypoints", place_of(config), test_entries(&m, config));
    if (!node_get(config, "providers") && !node_get(config, "engine"))
        dsl_make_pair(&m, &map, "providers", place_of(config), test_providers(&m, config));
    *ret = dsl_make_map(&m, place_of(config), &map);
    return m.no_memory ? -ENOMEM : 0;
}

struct str dsl_test_model(const struct dsl_test *test, struct arena *arena)
{
    if (test->recipe.n == 0)
        return STR("auto");
    return str_of(arena_printf(arena, "%s%.*s", TEST_ENTRY, STR_ARG(test->recipe)));
}
