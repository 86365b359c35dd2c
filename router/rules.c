#include "router/rules.h"

#include <errno.h>
#include <stdio.h>

enum { PATH_BYTES = 512 };

static const char *const operators[] = { "AND", "OR", "NOT", "and", "or", "not", NULL };
static const char *const on_errors[] = { "unknown", "match", "no_match", NULL };
static const char *const on_unknowns[] = { "no_match", "match", "fail_request", "skip", NULL };

struct raw {
    unsigned op, on_error, on_unknown;
    struct str type, name, label;
    const struct node *conditions, *predicate, *on_unknown_node;
};

static const struct option options[] = {
    OPT_WORD(struct raw, op, "operator", operators, "AND", "how conditions combine"),
    OPT_NODE(struct raw, conditions, "conditions", "rules that are combined"),
    OPT_TEXT(struct raw, type, "type", NULL, "of a leaf: keyword, context, language, …"),
    OPT_TEXT(struct raw, name, "name", NULL, "of a leaf: the signal"),
    OPT_TEXT(struct raw, label, "label", NULL, "of a classifier leaf"),
    OPT_NODE(struct raw, predicate, "predicate", "of a classifier leaf"),
    OPT_WORD(struct raw, on_error, "on_error", on_errors, "unknown",
             "of a leaf: what it counts as when it cannot be evaluated"),
    OPT_WORD(struct raw, on_unknown, "on_unknown", on_unknowns, "no_match",
             "of the root: what an unknown verdict counts as"),
    OPT_END,
};

/* ---- leaves ---- */

static size_t find(const struct family_state *f, struct str name) /* first by name; SIZE_MAX */
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (str_cmp(f->sorted[mid].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->n && str_eq(f->sorted[lo].name, name) ? lo : SIZE_MAX;
}

static int undefined(const struct rules_source *s, int family, struct str name,
                     const struct node *at, const char *path)
{
    const struct family_state *f = &s->policy->families[family];
    const char *names[256];
    size_t n = 0;
    for (size_t i = 0; i < f->n && n < ARRAY_LEN(names); i++)
        if (f->sorted[i].name.p)
            names[n++] = f->sorted[i].name.p;
    char word[256];
    (void)snprintf(word, sizeof(word), "%.*s", (int)(name.n < 255 ? name.n : 255),
                   name.p ? name.p : "");
    const char *near = str_suggest(word, names, n);
    return node_problem(s->p, PROBLEM_error, at, path, "the %s signal '%s' is not defined%s%s%s",
                        signal_types[family], word, near ? "; did you mean '" : "",
                        near ? near : "", near ? "'?" : "");
}

static int unknown_type(const struct rules_source *s, struct str type, const struct node *at,
                        const char *path)
{
    const char *types[FAMILY_N + 1];
    for (int i = 0; i < FAMILY_N; i++)
        types[i] = signal_types[i];
    types[FAMILY_N] = "projection";
    char word[64];
    (void)snprintf(word, sizeof(word), "%.*s", (int)(type.n < 63 ? type.n : 63),
                   type.p ? type.p : "");
    const char *near = str_suggest(word, types, ARRAY_LEN(types));
    return node_problem(s->p, PROBLEM_error, at, path, "'%s' is not a type of signal%s%s%s", word,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Whether a leaf of a family with levels names one. */
static bool has_level(const struct signal_family *family, struct str name)
{
    struct str base, level;
    if (!str_cut(name, ':', &base, &level))
        return false;
    for (size_t i = 0; family->levels[i]; i++)
        if (str_is(level, family->levels[i]))
            return true;
    return false;
}

/* Position among the sorted signals of its family; SIZE_MAX with a problem. */
static size_t look_up(const struct rules_source *s, int family, struct str name,
                      const struct node *at, const char *path)
{
    size_t i = find(&s->policy->families[family], name);
    if (i != SIZE_MAX || !at)
        return i;
    if (signal_families[family]->levels && !has_level(signal_families[family], name))
        (void)node_problem(s->p, PROBLEM_error, at, path,
                           "'%.*s' needs a level: name:hard, name:medium or name:easy",
                           STR_ARG(name));
    else
        (void)undefined(s, family, name, at, path);
    return SIZE_MAX;
}

size_t rules_resolve(void *ctx, struct str type, struct str name, const struct node *at,
                     const char *path)
{
    const struct rules_source *s = ctx;
    int family = signal_family_of(type);
    if (family < 0) {
        if (at)
            (void)unknown_type(s, type, at, path);
        return SIZE_MAX;
    }
    const struct family_state *f = &s->policy->families[family];
    size_t i = look_up(s, family, name, at, path);
    return i == SIZE_MAX ? SIZE_MAX : f->first + f->sorted[i].rule;
}

static int compile_projection(const struct rules_source *s, struct rule *r, const struct node *at,
                              const char *path)
{
    r->op = RULE_projection;
    r->cost = FAMILY_language; /* most of them need it, or text */
    r->index = projections_find(s->policy->projections, r->name);
    if (r->index == SIZE_MAX)
        return node_problem(s->p, PROBLEM_error, at, path, "the projection '%.*s' is not defined",
                            STR_ARG(r->name));
    return 0;
}

/* The families stand cheapest first; but what waits for an encoder is dearer than all others. */
static unsigned cost_of(const struct rules_source *s, int family)
{
    const struct vector_space *space = s->policy->space;
    bool waits = signal_families[family]->compares && space && vector_space_blocks(space);
    return (unsigned)family + (waits ? FAMILY_N : 0);
}

/* Several bindings may give one role: any of them will do. */
static int compile_signal(const struct rules_source *s, struct rule *r, const struct node *at,
                          const char *path)
{
    int family = signal_family_of(r->type);
    const struct family_state *f = &s->policy->families[family];
    size_t i = look_up(s, family, r->name, at, path), n = 0;
    if (i == SIZE_MAX)
        return -EINVAL;
    while (i + n < f->n && str_eq(f->sorted[i + n].name, f->sorted[i].name))
        n++;
    r->cost = cost_of(s, family);
    r->op = RULE_signal;
    r->index = f->first + f->sorted[i].rule;
    if (n == 1 || !signal_families[family]->leaf_name)
        return 0;
    struct rule leaf = *r;
    *r = (struct rule){ .op = RULE_or, .cost = r->cost, .n = n };
    r->children = arena_array(s->arena, n, sizeof(*r->children));
    if (!r->children)
        return -ENOMEM;
    for (size_t k = 0; k < n; k++) {
        r->children[k] = leaf;
        r->children[k].index = f->first + f->sorted[i + k].rule;
    }
    return 0;
}

/* What a leaf asks of a classifier: which label, and how likely it must be. */
static int compile_label(const struct rules_source *s, struct rule *r, const struct raw *raw,
                         const struct node *at, const char *path)
{
    const struct signal *signal = &s->policy->signals[r->index];
    const struct signal_family *family = signal_families[signal->family];
    const void *state = s->policy->families[signal->family].state;
    if (!family->label || !raw->label.n || !state)
        return 0; /* unknown, or the rule itself is meant */
    struct label_leaf *l = arena_alloc(s->arena, sizeof(*l));
    char sub[PATH_BYTES];
    if (!l)
        return -ENOMEM;
    (void)snprintf(sub, sizeof(sub), "%s.predicate", path);
    *l = (struct label_leaf){ signal->family, signal->rule, -1, raw->predicate != NULL, { 0 } };
    l->label = family->label(state, signal->rule, raw->label);
    int e = predicate_read(&l->when, raw->predicate, sub, s->arena, s->p);
    if (e < 0)
        return e;
    r->label = l;
    if (l->label < 0)
        (void)node_problem(s->p, PROBLEM_warning, at, path,
                           "'%.*s' is no label of the classifier '%.*s', or has no model: the leaf "
                           "is unknown",
                           STR_ARG(raw->label), STR_ARG(r->name));
    return 0;
}

static int compile_leaf(const struct rules_source *s, struct rule *r, const struct raw *raw,
                        const struct node *at, const char *path)
{
    static const enum truth on_error[] = { TRUTH_unknown, TRUTH_true, TRUTH_false };
    *r = (struct rule){ .type = raw->type, .name = raw->name, .on_error = on_error[raw->on_error] };
    const struct node *name = node_get(at, "name");
    if (!name)
        return node_problem(s->p, PROBLEM_error, at, path, "a leaf needs a type and a name");
    if ((raw->label.n || raw->predicate) && !str_is(raw->type, "classifier"))
        (void)node_problem(s->p, PROBLEM_warning, at, path,
                           "label and predicate have an effect on type classifier only");
    char sub[PATH_BYTES];
    (void)snprintf(sub, sizeof(sub), "%s.name", path);
    if (str_is(raw->type, "projection"))
        return compile_projection(s, r, name, sub);
    if (signal_family_of(raw->type) >= 0) {
        int e = compile_signal(s, r, name, sub);
        return e < 0 || r->op != RULE_signal ? e : compile_label(s, r, raw, at, path);
    }
    const struct node *type = node_get(at, "type");
    (void)snprintf(sub, sizeof(sub), "%s.type", path);
    return unknown_type(s, raw->type, type ? type : at, sub);
}

/* ---- trees ---- */

static int compile_node(const struct rules_source *s, struct rule *r, const struct node *at,
                        const char *path, bool root, struct raw *raw);

static void sort_by_cost(struct rule *children, size_t n) /* few; stable */
{
    for (size_t i = 1; i < n; i++) {
        struct rule r = children[i];
        size_t k = i;
        for (; k > 0 && children[k - 1].cost > r.cost; k--)
            children[k] = children[k - 1];
        children[k] = r;
    }
}

static int compile_conditions(const struct rules_source *s, struct rule *r, const struct node *list,
                              const char *path)
{
    enum { MAX_CONDITIONS = 10000 };
    if (list && list->n > MAX_CONDITIONS)
        return node_problem(s->p, PROBLEM_error, list, path, "more than %d conditions",
                            MAX_CONDITIONS);
    r->n = list ? list->n : 0;
    r->children = arena_array(s->arena, r->n + 1, sizeof(*r->children));
    if (!r->children)
        return -ENOMEM;
    int first = 0;
    for (size_t i = 0; i < r->n; i++) {
        char sub[PATH_BYTES];
        struct raw raw;
        (void)snprintf(sub, sizeof(sub), "%s.conditions[%zu]", path, i);
        int e = compile_node(s, &r->children[i], list->items[i], sub, false, &raw);
        first = first < 0 ? first : e;
        if (r->children[i].cost > r->cost)
            r->cost = r->children[i].cost;
    }
    sort_by_cost(r->children, r->n);
    return first;
}

static int compile_operator(const struct rules_source *s, struct rule *r, const struct raw *raw,
                            const struct node *at, const char *path)
{
    static const enum rule_op ops[] = { RULE_and, RULE_or, RULE_not };
    const struct node *list = raw->conditions;
    *r = (struct rule){ .op = ops[raw->op % ARRAY_LEN(ops)] };
    if (node_get(at, "type") || node_get(at, "name"))
        return node_problem(s->p, PROBLEM_error, at, path,
                            "either operator and conditions, or type and name");
    if (!node_get(at, "operator"))
        return node_problem(s->p, PROBLEM_error, at, path, "conditions need an operator");
    if (list && list->kind != NODE_list && list->kind != NODE_null)
        return node_problem(s->p, PROBLEM_error, list, path, "conditions are a list");
    if (r->op == RULE_not && (!list || list->n != 1))
        return node_problem(s->p, PROBLEM_error, at, path, "NOT needs exactly one condition");
    return compile_conditions(s, r, list, path);
}

/* The depth is bounded by that of the document. */
static int compile_node(const struct rules_source *s, struct rule *r, const struct node *at,
                        const char *path, bool root, struct raw *raw)
{
    *raw = (struct raw){ 0 };
    int e = schema_read(raw, options, at, path, s->arena, s->p);
    if (e < 0)
        return e;
    const struct node *on_unknown = node_get(at, "on_unknown");
    if (on_unknown && !root)
        return node_problem(s->p, PROBLEM_error, on_unknown, path,
                            "on_unknown belongs to the root of the rules");
    if (node_get(at, "operator") || raw->conditions)
        return compile_operator(s, r, raw, at, path);
    return compile_leaf(s, r, raw, at, path);
}

/* The leaf of a gate that cannot be asked there; NULL: none. */
static const struct rule *forbidden(const struct rules_source *s, const struct rule *r)
{
    const struct rule *found = NULL;
    bool gated =
        r->op == RULE_signal && signal_families[s->policy->signals[r->index].family]->gate != NULL;
    if (r->op == RULE_projection || gated)
        return r;
    for (size_t i = 0; i < r->n && !found; i++)
        found = forbidden(s, &r->children[i]);
    return found;
}

int rules_compile_gate(struct rule *ret, const struct node *at, const struct rules_source *s)
{
    struct raw raw;
    int e = compile_node(s, ret, at, s->path, /* root= */ false, &raw);
    if (e < 0)
        return e;
    const struct rule *leaf = forbidden(s, ret);
    if (leaf)
        return node_problem(s->p, PROBLEM_error, at, s->path,
                            "a composer cannot ask the %.*s '%.*s': it may depend on the composer",
                            STR_ARG(leaf->type), STR_ARG(leaf->name));
    return 0;
}

static bool is_empty(const struct node *rules)
{
    if (!rules || rules->kind == NODE_null)
        return true;
    return rules->kind == NODE_map && rules->n == 0;
}

static int read_on_unknown(struct decision *d, const struct rules_source *s, unsigned word)
{
    static const struct option table[] = {
        OPT_WORD(struct raw, on_unknown, "on_unknown", on_unknowns, "no_match", "see rules"),
        OPT_END,
    };
    struct raw raw = { .on_unknown = word };
    int e = 0;
    if (d->on_unknown_node) {
        static const struct str key = { "on_unknown", 10 };
        struct node map = { .kind = NODE_map,
                            .n = 1,
                            .items = &d->on_unknown_node,
                            .keys = &key,
                            .key_nodes = &d->on_unknown_node };
        e = schema_read(&raw, table, &map, s->path, s->arena, s->p);
    }
    static const enum on_unknown meanings[] = { ON_UNKNOWN_no_match, ON_UNKNOWN_match,
                                                ON_UNKNOWN_fail_request, ON_UNKNOWN_no_match };
    d->on_unknown = meanings[raw.on_unknown];
    return e;
}

int rules_compile(struct decision *d, const struct rules_source *s)
{
    struct raw raw = { 0 };
    d->always = is_empty(d->rules_node);
    int e = 0;
    if (!d->always) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.rules", s->path);
        e = compile_node(s, &d->rules, d->rules_node, path, true, &raw);
    }
    int k = read_on_unknown(d, s, raw.on_unknown);
    d->always = d->always || e < 0; /* never evaluated then: the policy is refused */
    return e < 0 ? e : k;
}
