/* From a configuration to the tree of a source. */
#include "router/dsl/dsl.h"
#include "router/dsl/make.h"

#include "base/limits.h"
#include "base/num.h"
#include "router/signals/signals.h"

#include <errno.h>
#include <float.h>
#include <stdio.h>

enum { PATH_BYTES = 320, WIDTH = 100 /* columns, past which a list is broken */ };

struct decompiler {
    struct arena *arena;
    struct problems *p;
    struct dsl_program *program;
    bool no_memory, wrong;
};

static void *new_of(struct decompiler *d, size_t size)
{
    void *p = arena_alloc(d->arena, size);
    d->no_memory = d->no_memory || !p;
    return p;
}

/* ---- scalars ---- */

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

/* As the language spells numbers: no exponent, digits on both sides of the point. */
static bool is_number(struct str s)
{
    struct str whole = str_sub(s, s.n && s.p[0] == '-'), part;
    int64_t i;
    if (!str_cut(whole, '.', &whole, &part))
        return all_digits(whole) && (whole.n == 1 || whole.p[0] != '0') &&
               num_parse_i64(&i, s, INT64_MIN, INT64_MAX) == 0;
    return all_digits(whole) && all_digits(part);
}

static bool is_one_of(struct str s, const char *const *words)
{
    for (; *words; words++)
        if (str_is(s, *words))
            return true;
    return false;
}

/* A plain scalar of YAML 1.1 that is a float in another spelling: 1e-3, .5, +2.0 */
static struct str other_number(struct decompiler *d, struct str s)
{
    double value;
    bool digit = false;
    for (size_t i = 0; i < s.n; i++) {
        if (!s.p[i] || !strchr("0123456789+-.eE", s.p[i]))
            return STR_NULL;
        digit = digit || (s.p[i] >= '0' && s.p[i] <= '9');
    }
    struct str t = str_sub(s, s.n && s.p[0] == '+');
    if (!digit || num_parse_double(&value, t, -DBL_MAX, DBL_MAX) < 0)
        return STR_NULL;
    if (t.n > 1 && t.p[0] == '0' && all_digits(t))
        return STR_NULL; /* 017: an octal number to some, a text to us */
    for (int precision = 1; precision <= DBL_DIG + 2; precision++) { /* the shortest that is it */
        char exact[40], plain[400];
        double back;
        (void)snprintf(exact, sizeof(exact), "%.*e", precision - 1, value);
        if (num_parse_double(&back, str_of(exact), -DBL_MAX, DBL_MAX) < 0 || back != value)
            continue;
        int64_t exponent = 0;
        struct str mantissa, power;
        (void)str_cut(str_of(exact), 'e', &mantissa, &power);
        if (num_parse_i64(&exponent, str_sub(power, power.p[0] == '+'), -400, 400) < 0)
            return STR_NULL;
        int digits = precision - 1 - (int)exponent;
        (void)snprintf(plain, sizeof(plain), "%.*f", digits < 1 ? 1 : digits, value);
        return arena_str(d->arena, str_of(plain));
    }
    return STR_NULL;
}

static void read_scalar(struct decompiler *d, const struct node *n, bool item,
                        struct dsl_value *ret)
{
    static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes",
                                       "YES",  "on",   "On",   "ON",  NULL };
    static const char *const no[] = { "false", "False", "FALSE", "no",  "No",
                                      "NO",    "off",   "Off",   "OFF", NULL };
    struct str s = n->scalar, number;
    ret->kind = DSL_text;
    ret->text = s;
    if (n->quoted)
        return;
    bool spelt_out = str_eq_nocase(s, STR("true")) || str_eq_nocase(s, STR("false"));
    if ((is_one_of(s, yes) || is_one_of(s, no)) && (spelt_out || !item)) { /* "- no" is a text */
        ret->kind = DSL_bool;
        ret->text = is_one_of(s, yes) ? STR("true") : STR("false");
    } else if (is_number(s)) {
        ret->kind = DSL_number;
    } else if ((number = other_number(d, s)).n) {
        ret->kind = DSL_number;
        ret->text = number;
    }
}

/* ---- values ---- */

static size_t width(const struct dsl_value *v) /* in one line, about */
{
    size_t n = v->key.n + v->text.n + 4;
    for (const struct dsl_value *c = v->first; c; c = c->next)
        n += width(c);
    return n;
}

static void read_value(struct decompiler *d, const struct node *n, bool item, struct dsl_value *ret)
{
    if (n->kind == NODE_scalar) {
        read_scalar(d, n, item, ret);
        return;
    }
    if (n->kind == NODE_null) {
        ret->kind = DSL_text;
        return;
    }
    ret->kind = n->kind == NODE_map ? DSL_map : DSL_list;
    for (size_t i = 0; i < n->n; i++) {
        struct dsl_value *v = new_of(d, sizeof(*v));
        if (!v)
            return;
        if (n->kind == NODE_map && n->items[i]->kind == NODE_null)
            continue; /* as good as absent */
        if (n->kind == NODE_map)
            v->key = n->keys[i];
        read_value(d, n->items[i], n->kind == NODE_list, v);
        dsl_add_value(ret, v);
    }
    ret->open = width(ret) > WIDTH;
}

static void add_field(struct decompiler *d, struct dsl_value *map, struct str key,
                      const struct node *n)
{
    struct dsl_value *v = n->kind == NODE_null ? NULL : new_of(d, sizeof(*v));
    map->kind = DSL_map;
    if (!v)
        return;
    v->key = key;
    read_value(d, n, false, v);
    dsl_add_value(map, v);
}

/* Every pair of a map but some. */
static void add_fields(struct decompiler *d, struct dsl_value *to, const struct node *map,
                       const char *const *but)
{
    to->kind = DSL_map;
    for (size_t i = 0; map && map->kind == NODE_map && i < map->n; i++)
        if (!is_one_of(map->keys[i], but))
            add_field(d, to, map->keys[i], map->items[i]);
}

static const char *const nothing[] = { NULL };

static struct str text_of(const struct node *n) /* empty: absent or no scalar */
{
    return n && n->kind == NODE_scalar ? n->scalar : STR_NULL;
}

static struct dsl_statement *add_statement(struct decompiler *d, struct dsl_statement *to,
                                           enum dsl_statement_kind kind)
{
    struct dsl_statement *s = new_of(d, sizeof(*s));
    if (!s)
        return NULL;
    s->kind = kind;
    if (to)
        dsl_add_statement(&to->first, &to->last, s);
    else
        dsl_add_statement(&d->program->first, &d->program->last, s);
    return s;
}

/* A banner above the statement that comes first in a section. */
static void add_title(struct decompiler *d, struct dsl_statement *s, struct str title)
{
    static const char line[] =
        "# =============================================================================";
    struct str texts[] = { str_of(line), str_of(arena_printf(d->arena, "# %.*s", STR_ARG(title))),
                           str_of(line) };
    struct dsl_comment **end = &s->notes.before;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct dsl_comment *c = new_of(d, sizeof(*c));
        if (!c)
            return;
        c->text = texts[i];
        c->blank = i == 0;
        *end = c;
        end = &c->next;
    }
    s->notes.blank = true;
}

/* ---- rules ---- */

static struct dsl_expr *read_rules(struct decompiler *d, const struct node *n, unsigned depth);

static bool read_operator(const struct node *n, enum dsl_op *ret)
{
    struct str op = text_of(node_get(n, "operator"));
    *ret = str_eq_nocase(op, STR("OR"))    ? DSL_or
           : str_eq_nocase(op, STR("NOT")) ? DSL_not
                                           : DSL_and;
    return op.n == 0 || *ret != DSL_and || str_eq_nocase(op, STR("AND"));
}

static struct dsl_expr *read_leaf(struct decompiler *d, const struct node *n)
{
    static const char *const said[] = { "type", "name", NULL };
    struct dsl_expr *x = new_of(d, sizeof(*x));
    if (!x)
        return NULL;
    x->type = text_of(node_get(n, "type"));
    x->name = text_of(node_get(n, "name"));
    add_fields(d, &x->fields, n, said);
    return dsl_is_word(x->type) ? x : NULL;
}

/* A group of one inside another group needs parentheses to stay one (see route.c). */
static struct dsl_expr *group_of_one(struct dsl_expr *one, enum dsl_op op, bool root)
{
    bool joined = one && (one->op == DSL_and || one->op == DSL_or);
    if (!one || joined)
        return one; /* of a group: the same as the group */
    if (root)
        one->parens = op == DSL_or ? 1 : one->op == DSL_leaf ? 0 : 2;
    else
        one->parens = op == DSL_or ? 2 : 3;
    return one;
}

static struct dsl_expr *read_joined(struct decompiler *d, const struct node *conditions,
                                    enum dsl_op op, unsigned depth)
{
    struct dsl_expr *x = new_of(d, sizeof(*x));
    if (!x)
        return NULL;
    x->op = op;
    for (size_t i = 0; i < conditions->n; i++) {
        struct dsl_expr *c = read_rules(d, conditions->items[i], depth + 1);
        if (!c)
            return NULL;
        if (c->op == DSL_and || c->op == DSL_or)
            c->parens = c->op == op ? 2 : 1; /* once more, and it is not flattened */
        dsl_add_expr(x, c);
    }
    return x;
}

/* NULL: the language cannot say it. */
static struct dsl_expr *read_rules(struct decompiler *d, const struct node *n, unsigned depth)
{
    static const char *const said[] = { "operator", "conditions", NULL };
    const struct node *conditions = node_get(n, "conditions");
    enum dsl_op op;
    struct dsl_value extra = { 0 };
    if (!n || n->kind != NODE_map || depth > DSL_DEPTH / 2)
        return NULL;
    if (node_get(n, "type")) {
        struct dsl_expr *leaf = read_leaf(d, n);
        if (leaf && depth == 0)
            leaf->parens = 2;
        return leaf;
    }
    add_fields(d, &extra, n, said);
    if (extra.n || !read_operator(n, &op) || !conditions || conditions->kind != NODE_list ||
        conditions->n == 0 || (op == DSL_not && conditions->n != 1))
        return NULL;
    if (conditions->n > 1 || op == DSL_not)
        return read_joined(d, conditions, op, depth);
    return group_of_one(read_rules(d, conditions->items[0], depth + 1), op, depth == 0);
}

static bool is_always(const struct node *rules)
{
    enum dsl_op op;
    const struct node *conditions = node_get(rules, "conditions");
    bool none = !conditions || conditions->kind == NODE_null ||
                (conditions->kind == NODE_list && conditions->n == 0);
    if (!rules || rules->kind == NODE_null)
        return true;
    for (size_t i = 0; rules->kind == NODE_map && i < rules->n; i++)
        if (!str_is(rules->keys[i], "operator") && !str_is(rules->keys[i], "conditions"))
            return false;
    return rules->kind == NODE_map && none && read_operator(rules, &op) && op == DSL_and;
}

/* ---- sameness ---- */

/* Whether two trees say the same: the order of keys and empty configurations do not count. */
static bool same(const struct node *a, const struct node *b)
{
    if (a->kind == NODE_scalar || b->kind == NODE_scalar)
        return a->kind == b->kind && str_eq(a->scalar, b->scalar);
    if (a->kind != b->kind || a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct node *other = a->kind == NODE_map ? node_get(b, a->keys[i].p) : b->items[i];
        if (!other || !same(a->items[i], other))
            return false;
    }
    return true;
}

/* ---- decisions ---- */

static void add_model(struct decompiler *d, struct dsl_value *to, const struct node *ref)
{
    static const char *const names[][2] = {
        { "use_reasoning", "reasoning" },
        { "reasoning_effort", "effort" },
        { "lora_name", "lora" },
    };
    struct dsl_value *v = new_of(d, sizeof(*v));
    if (!v)
        return;
    v->kind = DSL_text;
    v->text = text_of(node_get(ref, "model"));
    for (size_t i = 0; i < ref->n; i++) {
        struct str key = ref->keys[i];
        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            if (str_is(key, names[k][0]))
                key = str_of(names[k][1]);
        if (!str_is(key, "model"))
            add_field(d, v, key, ref->items[i]);
    }
    v->kind = DSL_text; /* add_field makes maps */
    to->kind = DSL_list;
    dsl_add_value(to, v);
}

static void add_refs(struct decompiler *d, struct dsl_statement *route, const struct node *refs)
{
    struct dsl_statement *s = refs->n ? add_statement(d, route, DSL_MODEL) : NULL;
    for (size_t i = 0; s && node_at(refs, i); i++)
        add_model(d, &s->models, refs->items[i]);
}

static void add_iteration(struct decompiler *d, struct dsl_statement *route, const struct node *n)
{
    struct dsl_statement *s = add_statement(d, route, DSL_FOR);
    const struct node *models = node_get(n, "models"), *outputs = node_get(n, "outputs");
    if (!s)
        return;
    s->block = true;
    s->name = text_of(node_get(n, "variable"));
    s->type = text_of(node_get(n, "source"));
    if (str_is(s->type, "models"))
        s->models.kind = DSL_list;
    for (size_t i = 0; node_at(models, i); i++)
        add_model(d, &s->models, models->items[i]);
    for (size_t i = 0; node_at(outputs, i); i++) {
        struct dsl_statement *out = add_statement(d, s, DSL_MODEL);
        struct dsl_value *v = new_of(d, sizeof(*v));
        if (!out || !v)
            return;
        v->text = text_of(node_get(outputs->items[i], "value"));
        v->kind = dsl_is_word(v->text) ? DSL_word : DSL_text;
        dsl_add_value(&out->models, v);
    }
}

static void add_algorithm(struct decompiler *d, struct dsl_statement *route, const struct node *n)
{
    struct dsl_statement *s = add_statement(d, route, DSL_ALGORITHM);
    if (!s)
        return;
    s->type = text_of(node_get(n, "type"));
    const struct node *block = s->type.n ? node_get(n, s->type.p) : NULL;
    const struct node *on_error = node_get(n, "on_error");
    if (block && str_is(s->type, "prompt")) /* its settings keep their name */
        add_field(d, &s->fields, s->type, block);
    else if (block)
        add_fields(d, &s->fields, block, nothing);
    if (on_error && !dsl_field(&s->fields, "on_error"))
        add_field(d, &s->fields, STR("on_error"), on_error);
    s->block = s->fields.n > 0;
}

static void add_plugin(struct decompiler *d, struct dsl_statement *route, const struct node *n)
{
    struct dsl_statement *s = add_statement(d, route, DSL_PLUGIN);
    if (!s)
        return;
    s->name = dsl_plugin_type(text_of(node_get(n, "type")));
    add_fields(d, &s->fields, node_get(n, "configuration"), nothing);
    s->block = s->fields.n > 0;
}

static void add_emit(struct decompiler *d, struct dsl_statement *route, const struct node *n)
{
    struct dsl_statement *s = add_statement(d, route, DSL_EMIT);
    if (!s)
        return;
    s->type = text_of(node_get(n, "kind"));
    s->block = true;
    if (s->type.n)
        add_fields(d, &s->fields, node_get(n, s->type.p), nothing);
}

/* The same plugins by their canonical names, without empty configurations. */
static const struct node *canonical_plugins(struct maker *m, const struct node *list)
{
    struct items all = { 0 };
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *p = list->items[i];
        struct items map = { 0 };
        for (size_t k = 0; p->kind == NODE_map && k < p->n; k++) {
            const struct node *item = p->items[k];
            if (str_is(p->keys[k], "type") && item->kind == NODE_scalar)
                item = dsl_make_text(m, (struct dsl_place){ 0, 0 }, dsl_plugin_type(item->scalar));
            if (!str_is(p->keys[k], "configuration") || item->n)
                dsl_make_pair(m, &map, p->keys[k].p, (struct dsl_place){ 0, 0 }, item);
        }
        dsl_make_add(m, &all, dsl_make_map(m, (struct dsl_place){ 0, 0 }, &map));
    }
    return dsl_make_list(m, (struct dsl_place){ 0, 0 }, &all);
}

struct part { /* of a decision: a list whose entries become statements, or one map */
    const char *key;
    enum dsl_statement_kind kind;
    void (*add)(struct decompiler *d, struct dsl_statement *route, const struct node *n);
};

static const struct part parts[] = {
    { "modelRefs", DSL_MODEL, add_refs },
    { "candidateIterations", DSL_FOR, add_iteration },
    { "algorithm", DSL_ALGORITHM, add_algorithm },
    { "plugins", DSL_PLUGIN, add_plugin },
    { "emits", DSL_EMIT, add_emit },
};

/* Whether the statements of one part compile to what the configuration holds. */
static bool says(struct decompiler *d, const struct dsl_statement *route, const struct part *part,
                 const struct node *n)
{
    CLEANUP(problems_freep) struct problems *unheard = problems_new();
    struct maker m = { d->arena, "", unheard, false, false };
    if (!unheard)
        return false;
    const struct node *decision = dsl_make_decision(&m, route, NULL);
    const struct node *made = decision ? node_get(decision, part->key) : NULL;
    if (part->kind == DSL_PLUGIN && made) {
        made = canonical_plugins(&m, made);
        n = canonical_plugins(&m, n);
    }
    d->no_memory = d->no_memory || m.no_memory;
    return made && n && !m.wrong && same(made, n);
}

/* Whether iterations leave the candidates as the configuration has them: they append what is not
 * there. */
static bool keeps_refs(struct decompiler *d, const struct dsl_statement *iterations,
                       const struct node *refs)
{
    struct dsl_statement trial = { .kind = DSL_ROUTE, .name = iterations->name };
    if (!refs || refs->kind != NODE_list || refs->n == 0)
        return false;
    add_refs(d, &trial, refs);
    if (!trial.last)
        return false;
    trial.last->next = iterations->first;
    return says(d, &trial, &parts[0], refs);
}

static bool holds(const struct node *n, enum node_kind kind)
{
    for (size_t i = 0; i < n->n; i++)
        if (n->items[i]->kind != kind)
            return false;
    return true;
}

/* As statements; where they do not say the same, as an option of the route. */
static void add_part(struct decompiler *d, struct dsl_statement *route, const struct part *part,
                     const struct node *decision)
{
    struct dsl_statement trial = { .kind = DSL_ROUTE, .name = route->name };
    const struct node *n = node_get(decision, part->key);
    bool one = part->kind == DSL_ALGORITHM;
    if (!n || n->kind == NODE_null || (n->kind == NODE_list && n->n == 0))
        return;
    bool well = one ? n->kind == NODE_map : n->kind == NODE_list && holds(n, NODE_map);
    if (well && (one || part->kind == DSL_MODEL))
        part->add(d, &trial, n);
    else
        for (size_t i = 0; well && i < n->n; i++)
            part->add(d, &trial, n->items[i]);
    well = well && !d->no_memory && says(d, &trial, part, n);
    if (well && part->kind == DSL_FOR)
        well = keeps_refs(d, &trial, node_get(decision, "modelRefs"));
    if (!well) {
        add_field(d, &route->opts, str_of(part->key), n);
        return;
    }
    for (struct dsl_statement *s = trial.first, *next; s; s = next) {
        next = s->next;
        s->next = NULL;
        dsl_add_statement(&route->first, &route->last, s);
    }
}

static void add_rules(struct decompiler *d, struct dsl_statement *route, const struct node *rules)
{
    if (is_always(rules))
        return;
    struct dsl_expr *x = read_rules(d, rules, 0);
    if (!x) {
        add_field(d, &route->opts, STR("rules"), rules);
        return;
    }
    struct dsl_statement *when = add_statement(d, route, DSL_WHEN);
    if (when)
        when->expr = x;
}

static void add_number(struct decompiler *d, struct dsl_statement *route,
                       enum dsl_statement_kind kind, const char *key, const struct node *n)
{
    int64_t value;
    if (!n || n->kind == NODE_null)
        return;
    if (num_parse_i64(&value, text_of(n), INT64_MIN, INT64_MAX) < 0) {
        add_field(d, &route->opts, str_of(key), n);
        return;
    }
    struct dsl_statement *s = add_statement(d, route, kind);
    if (s)
        s->name = text_of(n);
}

static void add_decision(struct decompiler *d, struct dsl_statement *to, const struct node *n)
{
    static const char *const said[] = { "name",  "priority",  "tier",
                                        "rules", "modelRefs", "plugins",
                                        "emits", "algorithm", "candidateIterations",
                                        NULL };
    struct dsl_statement *route = add_statement(d, to, DSL_ROUTE);
    if (!route)
        return;
    route->block = true;
    route->name = text_of(node_get(n, "name"));
    add_fields(d, &route->opts, n, said);
    add_number(d, route, DSL_PRIORITY, "priority", node_get(n, "priority"));
    add_number(d, route, DSL_TIER, "tier", node_get(n, "tier"));
    add_rules(d, route, node_get(n, "rules"));
    for (size_t i = 0; i < ARRAY_LEN(parts) && !d->no_memory; i++)
        add_part(d, route, &parts[i], n);
}

/* ---- profiles ---- */

/* A map with a name, as "WORD type name { fields }". */
static void add_named(struct decompiler *d, struct dsl_statement *to, enum dsl_statement_kind kind,
                      const char *type, const struct node *n)
{
    static const char *const said[] = { "name", NULL };
    struct dsl_statement *s = add_statement(d, to, kind);
    if (!s)
        return;
    s->block = true;
    s->type = str_of(type);
    s->name = text_of(node_get(n, "name"));
    add_fields(d, &s->fields, n, said);
}

static struct dsl_statement *last_of(struct decompiler *d, struct dsl_statement *to)
{
    return to ? to->last : d->program->last;
}

/* Titles what was added behind `before`, if anything was. */
static void title(struct decompiler *d, struct dsl_statement *to, struct dsl_statement *before,
                  const char *text)
{
    struct dsl_statement *first = before ? before->next : to ? to->first : d->program->first;
    if (first)
        add_title(d, first, str_of(text));
}

static void each(struct decompiler *d, struct dsl_statement *to, enum dsl_statement_kind kind,
                 const char *type, const struct node *list)
{
    for (size_t i = 0; node_at(list, i) && !d->no_memory; i++) {
        const struct node *n = list->items[i];
        if (n->kind == NODE_map)
            add_named(d, to, kind, type, n);
    }
}

static void add_signals(struct decompiler *d, struct dsl_statement *to, const struct node *signals)
{
    for (size_t i = 0; signals && signals->kind == NODE_map && i < signals->n; i++) {
        bool known = false;
        for (int f = 0; f < FAMILY_N; f++)
            known = known || str_is(signals->keys[i], signal_keys[f]);
        if (!known)
            (void)node_problem(d->p, PROBLEM_warning, signals->key_nodes[i], "signals",
                               "no word of the language says '%.*s': it is left out",
                               STR_ARG(signals->keys[i]));
    }
    for (int f = 0; f < FAMILY_N; f++) {
        const struct node *list = node_get(signals, signal_keys[f]);
        for (size_t i = 0; node_at(list, i) && !d->no_memory; i++) {
            const struct node *n = list->items[i];
            if (n->kind == NODE_map)
                add_named(d, to, DSL_SIGNAL, signal_types[f], n);
        }
    }
}

static void add_routing(struct decompiler *d, struct dsl_statement *to, const struct node *routing)
{
    static const char *const said[] = { "signals", "projections", "decisions", NULL };
    static const char *const said_on_top[] = { "signals", "projections", "decisions", "modelCards",
                                               NULL };
    struct dsl_value fields = { 0 };
    struct dsl_statement *before = last_of(d, to);
    add_fields(d, &fields, routing, to ? said : said_on_top);
    if (fields.n) {
        struct dsl_statement *s = add_statement(d, to, DSL_ROUTING);
        if (!s)
            return;
        s->block = true;
        s->fields = fields;
        if (dsl_field(&fields, "strategy"))
            ((struct dsl_value *)dsl_field(&fields, "strategy"))->kind = DSL_word;
        title(d, to, before, "ROUTING PROFILE");
    }
    const struct node *projections = node_get(routing, "projections");
    before = last_of(d, to);
    add_signals(d, to, node_get(routing, "signals"));
    title(d, to, before, "SIGNALS");
    before = last_of(d, to);
    each(d, to, DSL_PROJECTION, "partition", node_get(projections, "partitions"));
    each(d, to, DSL_PROJECTION, "score", node_get(projections, "scores"));
    each(d, to, DSL_PROJECTION, "mapping", node_get(projections, "mappings"));
    title(d, to, before, "PROJECTIONS");
    before = last_of(d, to);
    if (!to)
        each(d, to, DSL_MODEL, NULL, node_get(routing, "modelCards"));
    title(d, to, before, "MODELS");
    before = last_of(d, to);
    const struct node *decisions = node_get(routing, "decisions");
    for (size_t i = 0; node_at(decisions, i) && !d->no_memory; i++)
        if (decisions->items[i]->kind == NODE_map)
            add_decision(d, to, decisions->items[i]);
    title(d, to, before, "ROUTES");
}

static void add_recipe(struct decompiler *d, const struct node *n)
{
    static const char *const said[] = { "name", "routing", NULL };
    struct dsl_statement *s = add_statement(d, NULL, DSL_RECIPE);
    if (!s)
        return;
    s->block = true;
    s->name = text_of(node_get(n, "name"));
    add_title(d, s, str_of(arena_printf(d->arena, "RECIPE %.*s", STR_ARG(s->name))));
    add_fields(d, &s->opts, n, said);
    add_routing(d, s, node_get(n, "routing"));
}

static void add_config(struct decompiler *d, const struct node *config)
{
    const struct node *routing = node_get(config, "routing");
    const struct node *entries = node_get(config, "entrypoints");
    const struct node *recipes = node_get(config, "recipes");
    if (!routing && !recipes && (node_get(config, "decisions") || node_get(config, "signals")))
        routing = config;
    if (routing)
        add_routing(d, NULL, routing);
    struct dsl_statement *before = last_of(d, NULL);
    for (size_t i = 0; node_at(entries, i); i++) {
        struct dsl_statement *s = add_statement(d, NULL, DSL_ENTRYPOINT);
        if (!s)
            return;
        s->block = true;
        add_fields(d, &s->fields, entries->items[i], nothing);
    }
    title(d, NULL, before, "ENTRYPOINTS");
    for (size_t i = 0; node_at(recipes, i) && !d->no_memory; i++)
        add_recipe(d, recipes->items[i]);
    if (!routing && !recipes)
        d->wrong = node_problem(d->p, PROBLEM_error, config, "",
                                "there is no 'routing' and no 'recipes' here") < 0;
}

int dsl_decompile(struct buf *b, const struct node *config, struct problems *p)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * GIB);
    struct dsl_program program = { .arena = arena };
    struct decompiler d = { arena, p, &program, false, false };
    if (!arena)
        return -ENOMEM;
    add_config(&d, config);
    if (d.no_memory)
        return -ENOMEM;
    if (d.wrong)
        return -EINVAL;
    dsl_print(&program, b);
    return buf_err(b);
}

int dsl_format(struct buf *b, const char *file, struct str source, struct problems *p)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * GIB);
    struct dsl_program program;
    if (!arena)
        return -ENOMEM;
    int e = dsl_parse(&program, file, source, arena, p);
    if (e < 0)
        return e;
    dsl_print(&program, b);
    return buf_err(b);
}
