#include "router/lint/lint.h"

#include "base/limits.h"
#include "router/lint/checks.h"
#include "router/profiles.h"

#include <errno.h>
#include <stdio.h>

static int lint_profile(const struct policy *policy, const struct node *routing, const char *path,
                        struct problems *p)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * GIB);
    struct facts f = { .arena = arena, .policy = policy, .routing = routing, .path = path, .p = p };
    if (!arena)
        return -ENOMEM;
    int e = facts_make(&f);
    if (e == 0)
        e = lint_decisions(&f);
    if (e == 0)
        e = lint_signals(&f);
    return e < 0 ? e : lint_unused(&f);
}

/* ---- model cards ---- */

/* Every scalar below a node is a name that may be a model's. */
static int add_scalars(struct table *t, const struct node *n)
{
    bool is_new;
    if (!n)
        return 0;
    if (n->kind == NODE_scalar)
        return table_intern(t, n->scalar, &is_new) == SIZE_MAX ? -ENOMEM : 0;
    for (size_t i = 0; n->kind >= NODE_list && i < n->n; i++) {
        int e = add_scalars(t, n->items[i]);
        if (e < 0)
            return e;
    }
    return 0;
}

/* "base:adapter" names its base. */
static int add_reference(struct table *t, const struct node *model)
{
    struct str base, adapter;
    bool is_new;
    if (!model || model->kind != NODE_scalar)
        return 0;
    if (str_cut(model->scalar, ':', &base, &adapter) && table_intern(t, base, &is_new) == SIZE_MAX)
        return -ENOMEM;
    return table_intern(t, model->scalar, &is_new) == SIZE_MAX ? -ENOMEM : 0;
}

static int add_decisions(struct table *t, const struct node *routing)
{
    static const char *const keys[] = { "algorithm", "candidateIterations", "plugins" };
    const struct node *list = node_get(routing, "decisions");
    int e = 0;
    for (size_t i = 0; e == 0 && node_at(list, i); i++) {
        const struct node *refs = node_get(list->items[i], "modelRefs");
        for (size_t k = 0; e == 0 && node_at(refs, k); k++)
            e = add_reference(t, node_get(refs->items[k], "model"));
        for (size_t k = 0; e == 0 && k < ARRAY_LEN(keys); k++)
            e = add_scalars(t, node_get(list->items[i], keys[k]));
    }
    return e;
}

static int lint_cards(const struct router *r, struct problems *p)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * GIB);
    const struct config *c = r->config;
    const struct node *cards = node_get(c->routing, "modelCards");
    struct table names = { .arena = arena };
    int e = arena ? add_decisions(&names, c->routing) : -ENOMEM;
    for (size_t i = 0; e == 0 && node_at(c->recipes, i); i++)
        e = add_decisions(&names, node_get(c->recipes->items[i], "routing"));
    if (e == 0)
        e = add_scalars(&names, node_get(c->providers, "defaults"));
    if (e == 0)
        e = add_scalars(&names, c->global);
    for (size_t i = 0; e == 0 && node_at(cards, i); i++) {
        const struct node *name = node_get(cards->items[i], "name");
        char path[64];
        if (!name || name->kind != NODE_scalar || table_find(&names, name->scalar) != SIZE_MAX)
            continue;
        (void)snprintf(path, sizeof(path), "routing.modelCards[%zu]", i);
        (void)node_problem(
            p, PROBLEM_warning, cards->items[i], path,
            "no decision names the model '%.*s': only requests that name it reach it; "
            "use or remove the card",
            STR_ARG(name->scalar));
    }
    return e;
}

/* ---- all ---- */

static const struct policy *policy_of(const struct router *r, struct str name)
{
    for (size_t i = 1; i < r->n_policies; i++)
        if (str_eq(r->policies[i].name, name))
            return &r->policies[i];
    return NULL;
}

int router_lint(const struct router *r, struct problems *p)
{
    const struct config *c = r->config;
    int e = c->routing ? lint_profile(&r->policies[0], c->routing, "routing", p) : 0;
    for (size_t i = 0; e == 0 && node_at(c->recipes, i); i++) {
        const struct node *name = node_get(c->recipes->items[i], "name");
        const struct node *routing = node_get(c->recipes->items[i], "routing");
        const struct policy *policy =
            name && name->kind == NODE_scalar ? policy_of(r, name->scalar) : NULL;
        char path[64];
        (void)snprintf(path, sizeof(path), "recipes[%zu].routing", i);
        if (policy && routing)
            e = lint_profile(policy, routing, path, p);
    }
    return e < 0 || !c->routing ? e : lint_cards(r, p);
}
