#include "router/dsl/compiled.h"
#include "router/dsl/make.h"

#include "base/limits.h"
#include "router/signals/signals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { TREE_PRIORITY = 1000000, TREE_STEP = 1000 /* most branches of a tree, too */ };

struct compiler {
    struct maker m;
    struct dsl *dsl;
};

struct profile {
    const struct dsl_statement *first; /* its statements */
    struct dsl_statement *templates;   /* the PLUGIN declarations among them */
    struct str recipe;                 /* empty: the default profile */
    const struct dsl_value *strategy;  /* among the recipe's options; NULL: none */
    struct dsl_place at;
};

/* ---- models ---- */

struct sizes { /* that routes of the default profile give beside names of models */
    const struct dsl_value **models; /* one a name */
    size_t n, cap;
};

static const struct dsl_value *size_of(const struct sizes *sizes, struct str model)
{
    for (size_t i = 0; i < sizes->n; i++)
        if (str_eq(sizes->models[i]->text, model))
            return dsl_field(sizes->models[i], "param_size");
    return NULL;
}

static void add_size(struct maker *m, struct sizes *to, const struct dsl_value *model)
{
    enum { FIRST = 16 };
    if (!dsl_field(model, "param_size") || size_of(to, model->text))
        return;
    if (to->n == to->cap) {
        size_t cap = to->cap ? 2 * to->cap : FIRST;
        const struct dsl_value **more = arena_array(m->arena, cap, sizeof(*more));
        m->no_memory = m->no_memory || !more;
        if (!more)
            return;
        if (to->n)
            memcpy(more, to->models, to->n * sizeof(*more));
        to->models = more;
        to->cap = cap;
    }
    to->models[to->n++] = model;
}

static void gather_sizes(struct maker *m, struct sizes *to, const struct dsl_statement *first)
{
    for (const struct dsl_statement *r = first; r; r = r->next)
        for (const struct dsl_statement *s = r->kind == DSL_ROUTE ? r->first : NULL; s; s = s->next)
            for (const struct dsl_value *v = s->kind == DSL_MODEL ? s->models.first : NULL; v;
                 v = v->next)
                add_size(m, to, v);
}

static const struct node *card(struct maker *m, struct dsl_place at, struct str name,
                               const struct dsl_value *fields, const struct sizes *sizes)
{
    struct items map = { 0 };
    const struct dsl_value *size =
        fields && dsl_field(fields, "param_size") ? NULL : size_of(sizes, name);
    dsl_make_pair(m, &map, "name", at, dsl_make_text(m, at, name));
    if (size)
        dsl_make_field(m, &map, size);
    if (fields)
        dsl_make_fields(m, &map, fields);
    return dsl_make_map(m, at, &map);
}

static bool has_card(const struct items *cards, struct str name)
{
    for (size_t i = 0; i < cards->n; i++)
        if (str_eq(node_get(cards->items[i], "name")->scalar, name))
            return true;
    return false;
}

static void add_cards(struct maker *m, struct items *routing, const struct profile *p)
{
    struct items cards = { 0 };
    struct sizes sizes = { 0 };
    if (p->recipe.n == 0)
        gather_sizes(m, &sizes, p->first);
    for (const struct dsl_statement *s = p->first; s; s = s->next)
        if (s->kind == DSL_MODEL)
            dsl_make_add(m, &cards, card(m, s->name_at, s->name, &s->fields, &sizes));
    for (size_t i = 0; !m->no_memory && i < sizes.n; i++)
        if (!has_card(&cards, sizes.models[i]->text))
            dsl_make_add(m, &cards,
                         card(m, sizes.models[i]->at, sizes.models[i]->text, NULL, &sizes));
    if (cards.n)
        dsl_make_pair(m, routing, "modelCards", p->at, dsl_make_list(m, p->at, &cards));
}

/* ---- signals and projections ---- */

static int family_of(struct maker *m, const struct dsl_statement *s)
{
    char word[64];
    for (int f = 0; f < FAMILY_N; f++)
        if (str_is(s->type, signal_types[f]))
            return f;
    (void)snprintf(word, sizeof(word), "%.*s", STR_ARG(str_head(s->type, sizeof(word) - 1)));
    const char *near = str_suggest(word, signal_types, FAMILY_N);
    DSL_REFUSE(m, s->type_at, "'%s' is not a type of signal%s%s%s", word,
               near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return -1;
}

static const struct node *named(struct maker *m, const char *key, const struct dsl_statement *s)
{
    struct items map = { 0 };
    dsl_make_pair(m, &map, key, s->name_at, dsl_make_text(m, s->name_at, s->name));
    for (const struct dsl_value *f = s->fields.first; f; f = f->next) {
        if (str_is(f->key, key))
            DSL_REFUSE(m, f->key_at, "the %s stands behind %s already", key, dsl_words[s->kind]);
        else
            dsl_make_field(m, &map, f);
    }
    return dsl_make_map(m, s->at, &map);
}

static void add_signals(struct maker *m, struct items *routing, const struct profile *p)
{
    struct items families[FAMILY_N] = { { 0 } }, signals = { 0 };
    for (const struct dsl_statement *s = p->first; s; s = s->next) {
        int f = s->kind == DSL_SIGNAL ? family_of(m, s) : -1;
        if (f >= 0)
            dsl_make_add(m, &families[f], named(m, "name", s));
    }
    for (int f = 0; f < FAMILY_N; f++)
        if (families[f].n)
            dsl_make_pair(m, &signals, signal_keys[f], p->at,
                          dsl_make_list(m, p->at, &families[f]));
    if (signals.n)
        dsl_make_pair(m, routing, "signals", p->at, dsl_make_map(m, p->at, &signals));
}

/* A projection; its method stands there even where the source leaves it out. */
static const struct node *projection(struct maker *m, const struct dsl_statement *s,
                                     const char *method)
{
    struct dsl_statement with = *s;
    struct dsl_value field = {
        .kind = DSL_text, .key = STR("method"), .text = str_of(method), .at = s->at, .key_at = s->at
    };
    if (method && !dsl_field(&s->fields, "method")) {
        field.next = with.fields.first;
        with.fields.first = &field;
    }
    return named(m, "name", &with);
}

static void add_projections(struct maker *m, struct items *routing, const struct profile *p)
{
    static const struct {
        const char *word, *key, *method;
    } kinds[] = {
        { "partition", "partitions", NULL },
        { "score", "scores", "weighted_sum" },
        { "mapping", "mappings", "threshold_bands" },
    };
    struct items all = { 0 };
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct items list = { 0 };
        for (const struct dsl_statement *s = p->first; s; s = s->next)
            if (s->kind == DSL_PROJECTION && str_is(s->type, kinds[k].word))
                dsl_make_add(m, &list, projection(m, s, kinds[k].method));
        if (list.n)
            dsl_make_pair(m, &all, kinds[k].key, p->at, dsl_make_list(m, p->at, &list));
    }
    if (all.n)
        dsl_make_pair(m, routing, "projections", p->at, dsl_make_map(m, p->at, &all));
}

/* ---- decision trees ---- */

static struct dsl_expr *copy_of(struct maker *m, const struct dsl_expr *x)
{
    struct dsl_expr *copy = arena_alloc(m->arena, sizeof(*copy));
    m->no_memory = m->no_memory || !copy;
    if (copy) {
        *copy = *x;
        copy->next = NULL;
    }
    return copy;
}

/* The branch's own condition and none of those before it. NULL: no condition, or no memory. */
static struct dsl_expr *branch_condition(struct maker *m, const struct dsl_statement *tree,
                                         const struct dsl_statement *branch)
{
    struct dsl_expr *all = arena_alloc(m->arena, sizeof(*all));
    m->no_memory = m->no_memory || !all;
    if (!all)
        return NULL;
    all->op = DSL_and;
    all->at = branch->at;
    if (branch->expr) {
        struct dsl_expr *own = copy_of(m, branch->expr);
        if (own)
            dsl_add_expr(all, own);
    }
    for (const struct dsl_statement *b = tree->first; b != branch; b = b->next) {
        struct dsl_expr *not = arena_alloc(m->arena, sizeof(*not ));
        struct dsl_expr *inner = copy_of(m, b->expr);
        m->no_memory = m->no_memory || !not ;
        if (!not || !inner)
            return NULL;
        not ->op = DSL_not;
        not ->at = b->at;
        dsl_add_expr(not, inner);
        dsl_add_expr(all, not );
    }
    return all->n == 1 ? all->first : all;
}

static struct dsl_statement *statement(struct maker *m, enum dsl_statement_kind kind,
                                       struct dsl_place at)
{
    struct dsl_statement *s = arena_alloc(m->arena, sizeof(*s));
    m->no_memory = m->no_memory || !s;
    if (s) {
        s->kind = kind;
        s->at = s->name_at = at;
    }
    return s;
}

/* One branch as a ROUTE. */
static struct dsl_statement *branch_route(struct maker *m, const struct dsl_statement *tree,
                                          const struct dsl_statement *branch, unsigned index,
                                          long priority)
{
    struct dsl_statement *route = statement(m, DSL_ROUTE, branch->at);
    struct dsl_statement *rank = statement(m, DSL_PRIORITY, branch->at);
    struct dsl_statement *when = statement(m, DSL_WHEN, branch->at);
    bool has_model = false;
    if (!route || !rank || !when)
        return NULL;
    route->name =
        str_of(arena_printf(m->arena, "%.*s__branch_%02u", STR_ARG(tree->name), index + 1));
    rank->name = str_of(arena_printf(m->arena, "%ld", priority));
    when->expr = branch_condition(m, tree, branch);
    m->no_memory = m->no_memory || !route->name.p || !rank->name.p || !when->expr;
    dsl_add_statement(&route->first, &route->last, rank);
    dsl_add_statement(&route->first, &route->last, when);
    for (const struct dsl_statement *s = branch->first; s; s = s->next) {
        struct dsl_statement *copy = statement(m, s->kind, s->at);
        if (!copy)
            return NULL;
        *copy = *s;
        copy->next = NULL;
        has_model = has_model || s->kind == DSL_MODEL || s->kind == DSL_FOR;
        if (s->kind == DSL_NAME)
            route->name = s->name;
        else
            dsl_add_statement(&route->first, &route->last, copy);
    }
    if (!has_model)
        DSL_REFUSE(m, branch->at, "this branch of '%.*s' names no model; add MODEL \"name\"",
                   STR_ARG(tree->name));
    return route;
}

static void add_tree(struct maker *m, struct items *decisions, const struct profile *p,
                     const struct dsl_statement *tree, unsigned number)
{
    unsigned index = 0;
    for (const struct dsl_statement *b = tree->first; b && !m->no_memory; b = b->next, index++) {
        if (index == TREE_STEP) {
            DSL_REFUSE(m, b->at, "more than %d branches in one tree", TREE_STEP);
            return;
        }
        long priority = TREE_PRIORITY - (long)number * TREE_STEP - (long)index;
        const struct dsl_statement *route = branch_route(m, tree, b, index, priority);
        if (route)
            dsl_make_add(m, decisions, dsl_make_decision(m, route, p->templates));
    }
}

static void add_decisions(struct maker *m, struct items *routing, const struct profile *p)
{
    struct items decisions = { 0 };
    const struct dsl_statement *route = NULL, *tree = NULL;
    unsigned trees = 0;
    for (const struct dsl_statement *s = p->first; s && !m->no_memory; s = s->next) {
        if (s->kind == DSL_ROUTE) {
            route = s;
            dsl_make_add(m, &decisions, dsl_make_decision(m, s, p->templates));
        } else if (s->kind == DSL_DECISION_TREE) {
            tree = s;
            add_tree(m, &decisions, p, s, trees++);
        }
    }
    if (route && tree)
        DSL_REFUSE(m, tree->at,
                   "a DECISION_TREE and a ROUTE ('%.*s') in one profile; use trees or routes only",
                   STR_ARG(route->name));
    if (decisions.n)
        dsl_make_pair(m, routing, "decisions", p->at, dsl_make_list(m, p->at, &decisions));
}

/* ---- profiles ---- */

static void add_routing_fields(struct maker *m, struct items *routing, const struct profile *p)
{
    const struct dsl_statement *found = NULL;
    for (const struct dsl_statement *s = p->first; s; s = s->next) {
        if (s->kind != DSL_ROUTING)
            continue;
        if (found)
            DSL_REFUSE(m, s->at, "ROUTING stands twice; keep one");
        else if (s->fields.n == 0)
            DSL_REFUSE(m, s->at, "ROUTING needs a strategy: priority or confidence");
        else
            dsl_make_fields(m, routing, &s->fields);
        found = s;
    }
    if (p->strategy && (!found || !dsl_field(&found->fields, "strategy")))
        dsl_make_field(m, routing, p->strategy);
}

static void add_tests(struct compiler *c, const struct profile *p)
{
    struct dsl *d = c->dsl;
    for (const struct dsl_statement *t = p->first; t; t = t->next)
        for (const struct dsl_statement *e = t->kind == DSL_TEST ? t->first : NULL; e;
             e = e->next) {
            if (d->n_tests == d->cap_tests) {
                size_t cap = d->cap_tests ? 2 * d->cap_tests : 16;
                struct dsl_test *more = arena_array(d->arena, cap, sizeof(*more));
                c->m.no_memory = c->m.no_memory || !more;
                if (!more)
                    return;
                if (d->n_tests)
                    memcpy(more, d->tests, d->n_tests * sizeof(*more));
                d->tests = more;
                d->cap_tests = cap;
            }
            d->tests[d->n_tests++] =
                (struct dsl_test){ e->name, e->type, p->recipe, e->at.line, e->at.column };
        }
}

static void gather_templates(struct maker *m, struct profile *p)
{
    struct dsl_statement *last = NULL;
    for (const struct dsl_statement *s = p->first; s; s = s->next) {
        struct dsl_statement *copy = s->kind == DSL_PLUGIN ? statement(m, s->kind, s->at) : NULL;
        if (!copy)
            continue;
        *copy = *s;
        copy->next = NULL;
        dsl_add_statement(&p->templates, &last, copy);
    }
}

static void warn_unused(struct maker *m, const struct profile *p)
{
    for (const struct dsl_statement *t = p->templates; t; t = t->next)
        if (!t->used)
            (void)dsl_problem(m->p, PROBLEM_warning, m->file, t->at,
                              "no route refers to the plugin '%.*s'; use or remove it",
                              STR_ARG(t->name));
}

static const struct node *routing_of(struct compiler *c, struct profile *p)
{
    struct items routing = { 0 };
    gather_templates(&c->m, p);
    add_routing_fields(&c->m, &routing, p);
    add_cards(&c->m, &routing, p);
    add_signals(&c->m, &routing, p);
    add_projections(&c->m, &routing, p);
    add_decisions(&c->m, &routing, p);
    warn_unused(&c->m, p);
    add_tests(c, p);
    return dsl_make_map(&c->m, p->at, &routing);
}

static const struct node *recipe(struct compiler *c, const struct dsl_statement *s)
{
    struct items map = { 0 };
    struct profile p = { s->first, NULL, s->name, dsl_field(&s->opts, "strategy"), s->at };
    dsl_make_pair(&c->m, &map, "name", s->name_at, dsl_make_text(&c->m, s->name_at, s->name));
    for (const struct dsl_value *o = s->opts.first; o; o = o->next)
        if (!str_is(o->key, "strategy"))
            dsl_make_field(&c->m, &map, o);
    dsl_make_pair(&c->m, &map, "routing", s->at, routing_of(c, &p));
    return dsl_make_map(&c->m, s->at, &map);
}

static const struct node *entrypoint(struct maker *m, const struct dsl_statement *s)
{
    const struct dsl_value *names = dsl_field(&s->fields, "model_names");
    const struct dsl_value *target = dsl_field(&s->fields, "recipe");
    if (!names || names->kind != DSL_list || names->n == 0)
        DSL_REFUSE(m, s->at, "ENTRYPOINT needs model_names: a list of at least one name");
    if (!target)
        DSL_REFUSE(m, s->at, "ENTRYPOINT needs recipe: the name of a RECIPE, or default");
    return dsl_make_value(m, &s->fields);
}

static void compile(struct compiler *c, const struct dsl_program *program)
{
    struct items root = { 0 }, entries = { 0 }, recipes = { 0 };
    struct profile p = { program->first, NULL, STR_NULL, NULL, { 1, 1 } };
    dsl_make_pair(&c->m, &root, "routing", p.at, routing_of(c, &p));
    for (const struct dsl_statement *s = program->first; s; s = s->next) {
        if (s->kind == DSL_ENTRYPOINT)
            dsl_make_add(&c->m, &entries, entrypoint(&c->m, s));
        else if (s->kind == DSL_RECIPE)
            dsl_make_add(&c->m, &recipes, recipe(c, s));
    }
    if (entries.n)
        dsl_make_pair(&c->m, &root, "entrypoints", p.at, dsl_make_list(&c->m, p.at, &entries));
    if (recipes.n)
        dsl_make_pair(&c->m, &root, "recipes", p.at, dsl_make_list(&c->m, p.at, &recipes));
    c->dsl->root = dsl_make_map(&c->m, p.at, &root);
}

/* What is nested deeper than a configuration may be could not be read again. */
static int refuse_depth(struct maker *m, const struct node *n, unsigned depth)
{
    if (depth > LIMIT_YAML_DEPTH)
        return node_problem(m->p, PROBLEM_error, n, "",
                            "nested too deeply: as YAML it would have more than %d levels",
                            LIMIT_YAML_DEPTH);
    int e = 0;
    for (size_t i = 0; n->kind >= NODE_list && e == 0 && i < n->n; i++)
        e = refuse_depth(m, n->items[i], depth + 1);
    return e;
}

int dsl_compile(struct dsl **ret, const char *file, struct str source, struct problems *p)
{
    CLEANUP(dsl_freep) struct dsl *d = calloc(1, sizeof(*d));
    struct dsl_program program;
    if (!d)
        return -ENOMEM;
    d->arena = arena_new(1 * GIB);
    if (!d->arena)
        return -ENOMEM;
    int e = dsl_parse(&program, file, source, d->arena, p);
    if (e < 0 && e != -EINVAL)
        return e;
    struct compiler c = { { d->arena, file, p, false, false }, d };
    compile(&c, &program);
    if (c.m.no_memory)
        return -ENOMEM;
    if (e < 0 || c.m.wrong || refuse_depth(&c.m, d->root, 0) < 0)
        return -EINVAL;
    *ret = TAKE(d);
    return 0;
}

struct dsl *dsl_free(struct dsl *d)
{
    if (d && d->arena)
        (void)arena_free(d->arena);
    free(d);
    return NULL;
}

const struct node *dsl_root(const struct dsl *d)
{
    return d->root;
}

size_t dsl_tests(const struct dsl *d, const struct dsl_test **ret)
{
    *ret = d->tests;
    return d->n_tests;
}
