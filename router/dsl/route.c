/* One ROUTE to one decision. */
#include "router/dsl/make.h"

#include "base/num.h"

#include <stdio.h>

/* ---- rules ---- */

static const struct node *operator_node(struct maker *m, const char *op, struct dsl_place at,
                                        const struct items *conditions)
{
    struct items map = { 0 };
    dsl_make_pair(m, &map, "operator", at, dsl_make_text(m, at, str_of(op)));
    dsl_make_pair(m, &map, "conditions", at, dsl_make_list(m, at, conditions));
    return dsl_make_map(m, at, &map);
}

static const struct node *group_of_one(struct maker *m, const char *op, struct dsl_place at,
                                       const struct node *one)
{
    struct items conditions = { 0 };
    dsl_make_add(m, &conditions, one);
    return operator_node(m, op, at, &conditions);
}

static const struct node *leaf(struct maker *m, const struct dsl_expr *x)
{
    struct items map = { 0 };
    dsl_make_pair(m, &map, "type", x->at, dsl_make_text(m, x->at, x->type));
    dsl_make_pair(m, &map, "name", x->at, dsl_make_text(m, x->at, x->name));
    dsl_make_fields(m, &map, &x->fields);
    return dsl_make_map(m, x->at, &map);
}

static const struct node *condition(struct maker *m, const struct dsl_expr *x);

/* "(a AND b) AND c" is one AND of three; a second pair of parentheses keeps the group. */
static void flatten(struct maker *m, const struct dsl_expr *x, enum dsl_op op, struct items *to)
{
    for (const struct dsl_expr *c = x->first; c; c = c->next) {
        if (c->op == op && c->parens <= 1)
            flatten(m, c, op, to);
        else
            dsl_make_add(m, to, condition(m, c));
    }
}

/* Without regard to parentheses. */
static const struct node *bare(struct maker *m, const struct dsl_expr *x)
{
    struct items conditions = { 0 };
    if (x->op == DSL_leaf)
        return leaf(m, x);
    if (x->op == DSL_not)
        return group_of_one(m, "NOT", x->at, condition(m, x->first));
    flatten(m, x, x->op, &conditions);
    return operator_node(m, x->op == DSL_and ? "AND" : "OR", x->at, &conditions);
}

/* Inside another; "((a))" is an OR of one, "(((a)))" an AND of one: what decompiling needs. */
static const struct node *condition(struct maker *m, const struct dsl_expr *x)
{
    const struct node *n = bare(m, x);
    if (x->op == DSL_and || x->op == DSL_or || x->parens < 2)
        return n;
    return group_of_one(m, x->parens == 2 ? "OR" : "AND", x->at, n);
}

const struct node *dsl_make_rules(struct maker *m, const struct dsl_expr *x, struct dsl_place at)
{
    struct items none = { 0 };
    if (!x)
        return operator_node(m, "AND", at, &none);
    const struct node *n = bare(m, x);
    if (x->op == DSL_leaf && x->parens < 2)
        return group_of_one(m, x->parens ? "OR" : "AND", x->at, n);
    if (x->op == DSL_not && x->parens)
        return group_of_one(m, x->parens == 1 ? "OR" : "AND", x->at, n);
    return n;
}

/* ---- models ---- */

static const char *model_key(struct str option)
{
    static const char *const names[][2] = {
        { "reasoning", "use_reasoning" },
        { "effort", "reasoning_effort" },
        { "lora", "lora_name" },
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(option, names[i][0]))
            return names[i][1];
    return NULL;
}

static const struct node *model_ref(struct maker *m, const struct dsl_value *model)
{
    struct items map = { 0 };
    dsl_make_pair(m, &map, "model", model->at, dsl_make_text(m, model->at, model->text));
    for (const struct dsl_value *o = model->first; o; o = o->next) {
        const char *key = model_key(o->key);
        if (key)
            dsl_make_pair(m, &map, key, o->key_at, dsl_make_value(m, o));
        else if (!str_is(o->key, "param_size")) /* the model card's */
            dsl_make_field(m, &map, o);
    }
    return dsl_make_map(m, model->at, &map);
}

static bool has_ref(const struct items *refs, const struct node *ref)
{
    const struct node *model = node_get(ref, "model"), *lora = node_get(ref, "lora_name");
    for (size_t i = 0; i < refs->n; i++) {
        const struct node *other = node_get(refs->items[i], "lora_name");
        if (str_eq(node_get(refs->items[i], "model")->scalar, model->scalar) &&
            str_eq(lora ? lora->scalar : STR_NULL, other ? other->scalar : STR_NULL))
            return true;
    }
    return false;
}

static const struct node *iteration(struct maker *m, const struct dsl_statement *s,
                                    struct items *refs)
{
    struct items map = { 0 }, models = { 0 }, outputs = { 0 };
    bool emits_variable = false;
    dsl_make_pair(m, &map, "variable", s->name_at, dsl_make_text(m, s->name_at, s->name));
    dsl_make_pair(m, &map, "source", s->at, dsl_make_text(m, s->at, s->type));
    for (const struct dsl_value *v = s->models.first; v; v = v->next)
        dsl_make_add(m, &models, model_ref(m, v));
    if (models.n)
        dsl_make_pair(m, &map, "models", s->at, dsl_make_list(m, s->at, &models));
    for (const struct dsl_statement *c = s->first; c; c = c->next) {
        struct items output = { 0 };
        struct str value = c->models.first->text;
        dsl_make_pair(m, &output, "type", c->at, dsl_make_text(m, c->at, STR("model")));
        dsl_make_pair(m, &output, "value", c->at, dsl_make_text(m, c->at, value));
        dsl_make_add(m, &outputs, dsl_make_map(m, c->at, &output));
        emits_variable = emits_variable || str_eq(value, s->name);
    }
    if (outputs.n)
        dsl_make_pair(m, &map, "outputs", s->at, dsl_make_list(m, s->at, &outputs));
    for (size_t i = 0; emits_variable && !m->no_memory && i < models.n; i++)
        if (!has_ref(refs, models.items[i]))
            dsl_make_add(m, refs, models.items[i]);
    return dsl_make_map(m, s->at, &map);
}

/* ---- algorithm ---- */

/* Its on_error stands in the algorithm's own block. */
static bool keeps_on_error(struct str type)
{
    static const char *const types[] = { "confidence", "ratings", "remom", "fusion", "workflows" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_is(type, types[i]))
            return true;
    return false;
}

/* "planner.model: x" of a workflow is "planner: { model: x }". */
static void add_setting(struct maker *m, struct items *to, const struct dsl_value *f)
{
    struct str before, after;
    if (!str_cut(f->key, '.', &before, &after)) {
        dsl_make_field(m, to, f);
        return;
    }
    struct dsl_value inner = *f;
    struct dsl_value outer = { .kind = DSL_map, .at = f->at, .key = before, .key_at = f->key_at };
    inner.key = after;
    inner.next = NULL;
    outer.first = outer.last = &inner;
    dsl_make_field(m, to, &outer);
}

static const struct node *algorithm(struct maker *m, const struct dsl_statement *s)
{
    struct items map = { 0 }, block = { 0 };
    dsl_make_pair(m, &map, "type", s->type_at, dsl_make_text(m, s->type_at, s->type));
    for (const struct dsl_value *f = s->fields.first; f; f = f->next) {
        if (str_is(f->key, "on_error") && !keeps_on_error(s->type))
            dsl_make_field(m, &map, f);
        else if (f->kind == DSL_map && str_eq(f->key, s->type))
            dsl_make_fields(m, &block, f);
        else
            add_setting(m, &block, f);
    }
    if (block.n) {
        struct str type = arena_str(m->arena, s->type);
        m->no_memory = m->no_memory || !type.p;
        if (type.p)
            dsl_make_pair(m, &map, type.p, s->type_at, dsl_make_map(m, s->type_at, &block));
    }
    return dsl_make_map(m, s->at, &map);
}

/* ---- plugins ---- */

struct str dsl_plugin_type(struct str name)
{
    static const char *const names[][2] = {
        { "semantic-cache", "response_cache" },
        { "semantic_cache", "response_cache" },
        { "response-cache", "response_cache" },
        { "context-compression", "context_compression" },
        { "system-prompt", "system_prompt" },
        { "header-mutation", "header_mutation" },
        { "router-replay", "router_replay" },
        { "image-gen", "image_gen" },
        { "fast-response", "fast_response" },
        { "request-params", "request_params" },
        { "response-jailbreak", "response_jailbreak" },
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(name, names[i][0]))
            return str_of(names[i][1]);
    return name;
}

static struct dsl_statement *find_template(struct dsl_statement *s, struct str name)
{
    for (; s; s = s->next)
        if (s->kind == DSL_PLUGIN && s->type.n &&
            (str_eq(s->name, name) || str_eq(s->name, dsl_plugin_type(name))))
            return s;
    return NULL;
}

static const struct node *plugin(struct maker *m, const struct dsl_statement *s,
                                 struct dsl_statement *templates)
{
    struct dsl_statement *t = find_template(templates, s->name);
    struct str type = dsl_plugin_type(t ? t->type : s->name);
    struct items map = { 0 }, fields = { 0 };
    if (t)
        t->used = true;
    for (const struct dsl_value *f = t ? t->fields.first : NULL; f; f = f->next) {
        bool given = false;
        for (const struct dsl_value *o = s->fields.first; o; o = o->next)
            given = given || str_eq(o->key, f->key);
        if (!given)
            dsl_make_field(m, &fields, f);
    }
    dsl_make_fields(m, &fields, &s->fields);
    dsl_make_pair(m, &map, "type", s->name_at, dsl_make_text(m, s->name_at, type));
    if (fields.n)
        dsl_make_pair(m, &map, "configuration", s->at, dsl_make_map(m, s->at, &fields));
    return dsl_make_map(m, s->at, &map);
}

/* ---- emits ---- */

static void check_retention(struct maker *m, const struct dsl_statement *s)
{
    static const char *const names[] = { "drop", "ttl_turns", "keep_current_model",
                                         "prefer_prefix_retention" };
    const struct dsl_value *drop = dsl_field(&s->fields, "drop");
    const struct dsl_value *ttl = dsl_field(&s->fields, "ttl_turns");
    uint64_t turns = 0;
    for (const struct dsl_value *f = s->fields.first; f; f = f->next) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            known = known || str_is(f->key, names[i]);
        if (!known)
            DSL_REFUSE(m, f->key_at,
                       "retention has no field '%.*s'; it has drop, ttl_turns, "
                       "keep_current_model and prefer_prefix_retention",
                       STR_ARG(f->key));
        else if (f != ttl && f->kind != DSL_bool)
            DSL_REFUSE(m, f->at, "'%.*s' is true or false", STR_ARG(f->key));
    }
    if (ttl && (ttl->kind != DSL_number || num_parse_u64(&turns, ttl->text, 0, INT64_MAX) < 0))
        DSL_REFUSE(m, ttl->at, "'ttl_turns' is a whole number from 0 on");
    else if (drop && drop->kind == DSL_bool && str_is(drop->text, "true") && turns > 0)
        DSL_REFUSE(m, drop->at, "drop: true leaves nothing for ttl_turns; use one of them");
}

static const struct node *emit(struct maker *m, const struct dsl_statement *s)
{
    struct items map = { 0 };
    if (str_is(s->type, "retention"))
        check_retention(m, s);
    else
        DSL_REFUSE(m, s->type_at, "'%.*s' cannot be emitted; only retention can", STR_ARG(s->type));
    dsl_make_pair(m, &map, "kind", s->type_at, dsl_make_text(m, s->type_at, s->type));
    dsl_make_pair(m, &map, "retention", s->at, dsl_make_value(m, &s->fields));
    return dsl_make_map(m, s->at, &map);
}

/* ---- routes ---- */

struct lists {
    struct items refs, iterations, plugins, emits;
};

/* The one statement of a kind; NULL: none. */
static const struct dsl_statement *only(struct maker *m, const struct dsl_statement *route,
                                        enum dsl_statement_kind kind)
{
    const struct dsl_statement *found = NULL;
    for (const struct dsl_statement *s = route->first; s; s = s->next) {
        if (s->kind != kind)
            continue;
        if (found)
            DSL_REFUSE(m, s->at, "%s stands twice in '%.*s'; keep one", dsl_words[kind],
                       STR_ARG(route->name));
        found = s;
    }
    return found;
}

static void gather(struct maker *m, const struct dsl_statement *route,
                   struct dsl_statement *templates, struct lists *l)
{
    for (const struct dsl_statement *s = route->first; s; s = s->next)
        for (const struct dsl_value *v = s->kind == DSL_MODEL ? s->models.first : NULL; v;
             v = v->next)
            dsl_make_add(m, &l->refs, model_ref(m, v));
    for (const struct dsl_statement *s = route->first; s; s = s->next) {
        if (s->kind == DSL_FOR)
            dsl_make_add(m, &l->iterations, iteration(m, s, &l->refs));
        else if (s->kind == DSL_PLUGIN)
            dsl_make_add(m, &l->plugins, plugin(m, s, templates));
        else if (s->kind == DSL_EMIT && l->emits.n)
            DSL_REFUSE(m, s->at, "'%.*s' emits retention twice; keep one", STR_ARG(route->name));
        else if (s->kind == DSL_EMIT)
            dsl_make_add(m, &l->emits, emit(m, s));
    }
}

static void add_lists(struct maker *m, struct items *to, const struct lists *l,
                      const struct dsl_statement *route)
{
    const struct dsl_statement *a = only(m, route, DSL_ALGORITHM);
    if (l->refs.n)
        dsl_make_pair(m, to, "modelRefs", route->at, dsl_make_list(m, route->at, &l->refs));
    if (l->iterations.n)
        dsl_make_pair(m, to, "candidateIterations", route->at,
                      dsl_make_list(m, route->at, &l->iterations));
    if (a)
        dsl_make_pair(m, to, "algorithm", a->at, algorithm(m, a));
    if (l->plugins.n)
        dsl_make_pair(m, to, "plugins", route->at, dsl_make_list(m, route->at, &l->plugins));
    if (l->emits.n)
        dsl_make_pair(m, to, "emits", route->at, dsl_make_list(m, route->at, &l->emits));
}

/* An option that says the same as a statement. */
static void refuse_twins(struct maker *m, const struct items *map,
                         const struct dsl_statement *route)
{
    for (size_t i = 0; i < map->n; i++)
        for (size_t k = 0; k < i; k++)
            if (str_eq(map->keys[i], map->keys[k]))
                DSL_REFUSE(m, route->at,
                           "'%.*s' of '%.*s' stands among its options and in its body; keep one",
                           STR_ARG(map->keys[i]), STR_ARG(route->name));
}

const struct node *dsl_make_decision(struct maker *m, const struct dsl_statement *route,
                                     struct dsl_statement *templates)
{
    struct items map = { 0 };
    struct lists lists = { 0 };
    const struct dsl_statement *description = only(m, route, DSL_DESCRIPTION);
    const struct dsl_statement *priority = only(m, route, DSL_PRIORITY);
    const struct dsl_statement *tier = only(m, route, DSL_TIER), *when = only(m, route, DSL_WHEN);
    bool has_rules = false;
    dsl_make_pair(m, &map, "name", route->name_at, dsl_make_text(m, route->name_at, route->name));
    if (description)
        dsl_make_pair(m, &map, "description", description->at,
                      dsl_make_text(m, description->name_at, description->name));
    for (const struct dsl_value *o = route->opts.first; o; o = o->next) {
        if (!description || !str_is(o->key, "description")) /* the statement wins */
            dsl_make_field(m, &map, o);
        has_rules = has_rules || str_is(o->key, "rules");
    }
    if (priority)
        dsl_make_pair(m, &map, "priority", priority->at,
                      dsl_make_plain(m, priority->name_at, priority->name));
    if (tier)
        dsl_make_pair(m, &map, "tier", tier->at, dsl_make_plain(m, tier->name_at, tier->name));
    if (!has_rules)
        dsl_make_pair(m, &map, "rules", when ? when->at : route->at,
                      dsl_make_rules(m, when ? when->expr : NULL, route->at));
    else if (when)
        DSL_REFUSE(m, when->at, "'%.*s' has rules among its options already", STR_ARG(route->name));
    gather(m, route, templates, &lists);
    add_lists(m, &map, &lists, route);
    refuse_twins(m, &map, route);
    return dsl_make_map(m, route->at, &map);
}
