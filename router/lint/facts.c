#include "router/lint/facts.h"

#include "base/limits.h"
#include "router/dsl/dsl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    KEY_BYTES = 64 << 10,
    MAX_NODES = 2000, /* of one decision's rules: bounds the depth of the search */
    MAX_RANGES = 1024,
    MAX_SAME = 2000, /* leaves of one measure; more are taken as if each had its own */
};

/* What a leaf looks at. */
enum thing { THING_own, THING_measure, THING_level };

struct fact {
    enum thing thing;
    size_t group; /* of a measure or of levels: its number in the table */
    struct measure measure;
    struct sum_range range;
    bool certain;
    struct predicate predicate;
    size_t output; /* SIZE_MAX: by the predicate */
    unsigned level;
};

static void *new_array(struct facts *f, size_t n, size_t size)
{
    void *p = arena_array(f->arena, n + 1, size);
    f->no_memory = f->no_memory || !p;
    return p;
}

static struct str text_of(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n && n->kind == NODE_scalar ? n->scalar : STR_NULL;
}

/* ---- rules by type and name ---- */

static void add_key(struct buf *b, struct str s) /* as part of a key */
{
    buf_addf(b, "%zu:", s.n);
    buf_add(b, s);
}

static size_t intern(struct facts *f, struct table *t, const struct buf *key, bool *ret_new)
{
    size_t i = buf_err(key) < 0 ? SIZE_MAX : table_intern(t, buf_str(key), ret_new);
    f->no_memory = f->no_memory || i == SIZE_MAX;
    return i;
}

size_t facts_levels(enum family family)
{
    const char *const *levels = signal_families[family]->levels;
    size_t n = 0;
    while (levels && levels[n])
        n++;
    return n ? n : 1;
}

struct str facts_rule_name(const struct signal *s)
{
    struct str base = s->name, level;
    if (signal_families[s->family]->levels)
        (void)str_cut(s->name, ':', &base, &level);
    return base;
}

static void read_rules(struct facts *f)
{
    const struct policy *p = f->policy;
    const struct node *signals = node_get(f->routing, "signals");
    f->named = new_array(f, p->n_signals, sizeof(*f->named));
    f->rules = new_array(f, p->n_signals, sizeof(*f->rules));
    for (size_t i = 0; !f->no_memory && i < p->n_signals; i++) {
        CLEANUP(buf_done) struct buf key = BUF_INIT(KEY_BYTES);
        const struct signal *s = &p->signals[i];
        bool is_new = false;
        add_key(&key, str_of(signal_types[s->family]));
        add_key(&key, facts_rule_name(s));
        size_t k = intern(f, &f->rule_table, &key, &is_new);
        if (f->no_memory)
            return;
        f->rules[i].node =
            node_at(node_get(signals, signal_keys[s->family]), s->rule / facts_levels(s->family));
        f->rules[i].next = is_new ? SIZE_MAX : f->named[k];
        f->named[k] = i;
    }
}

size_t facts_rule(const struct facts *f, struct str type, struct str name)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(KEY_BYTES);
    struct str base = name, level;
    if (str_is(type, signal_types[FAMILY_complexity]) && str_cut(name, ':', &base, &level))
        name = base;
    add_key(&key, type);
    add_key(&key, name);
    size_t k = buf_err(&key) < 0 ? SIZE_MAX : table_find(&f->rule_table, buf_str(&key));
    return k == SIZE_MAX ? SIZE_MAX : f->named[k];
}

/* ---- who is used ---- */

static void mark_signal(void *ctx, size_t signal)
{
    struct facts *f = ctx;
    const struct signal *s = &f->policy->signals[signal];
    size_t levels = facts_levels(s->family), first = signal - s->rule % levels;
    for (size_t i = 0; i < levels; i++) /* whoever asks for one level uses the rule */
        f->rules[first + i].used = true;
}

static void mark_leaf(struct facts *f, const struct node *leaf)
{
    struct str type = text_of(leaf, "type"), name = text_of(leaf, "name");
    if (str_is(type, "projection")) {
        size_t output = projections_find(f->policy->projections, name);
        if (output == SIZE_MAX || f->outputs_used[output])
            return;
        f->outputs_used[output] = true;
        projections_each_signal(f->policy->projections, output, mark_signal, f);
        return;
    }
    for (size_t i = facts_rule(f, type, name); i != SIZE_MAX; i = f->rules[i].next)
        f->rules[i].used = true;
}

static void mark_rules(struct facts *f, const struct node *rules)
{
    const struct node *conditions = node_get(rules, "conditions");
    if (node_get(rules, "type"))
        mark_leaf(f, rules);
    for (size_t i = 0; node_at(conditions, i); i++)
        mark_rules(f, conditions->items[i]);
}

/* What complexity rules that are used are composed of; a rule may name another such one. */
static void mark_composers(struct facts *f)
{
    const struct family_state *family = &f->policy->families[FAMILY_complexity];
    bool more = true;
    for (size_t round = 0; more && round <= family->n; round++) {
        size_t before = 0, after = 0;
        for (size_t i = 0; i < family->n; i++)
            before += f->rules[family->first + i].used;
        for (size_t i = 0; i < family->n; i++)
            if (f->rules[family->first + i].used)
                mark_rules(f, node_get(f->rules[family->first + i].node, "composer"));
        for (size_t i = 0; i < family->n; i++)
            after += f->rules[family->first + i].used;
        more = after > before;
    }
}

/* Who else is in the partition of a signal that is used changes what that signal says. */
static void mark_partitions(struct facts *f)
{
    static const enum family families[] = { FAMILY_embedding, FAMILY_domain };
    const struct node *list = node_get(node_get(f->routing, "projections"), "partitions");
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *members = node_get(list->items[i], "members");
        for (size_t k = 0; k < ARRAY_LEN(families); k++) {
            struct str type = str_of(signal_types[families[k]]);
            bool used = false;
            for (size_t m = 0; node_at(members, m); m++) {
                size_t rule = facts_rule(f, type, members->items[m]->scalar);
                used = used || (rule != SIZE_MAX && f->rules[rule].used);
            }
            for (size_t m = 0; used && node_at(members, m); m++) {
                size_t rule = facts_rule(f, type, members->items[m]->scalar);
                if (rule != SIZE_MAX)
                    f->rules[rule].used = true;
            }
        }
    }
}

/* ---- leaves ---- */

static struct fact *new_fact(struct facts *f)
{
    enum { FIRST = 64 };
    if (f->n_facts == f->cap_facts) {
        size_t cap = f->cap_facts ? 2 * f->cap_facts : FIRST;
        struct fact *more = new_array(f, cap, sizeof(*more));
        if (!more)
            return NULL;
        if (f->n_facts)
            memcpy(more, f->facts, f->n_facts * sizeof(*more));
        f->facts = more;
        f->cap_facts = cap;
    }
    struct fact *fact = &f->facts[f->n_facts++];
    *fact = (struct fact){ .output = SIZE_MAX };
    return fact;
}

static void join_group(struct facts *f, struct fact *fact, const struct buf *key, enum thing thing)
{
    bool is_new;
    fact->thing = thing;
    fact->group = intern(f, &f->group_table, key, &is_new);
}

static void of_signal(struct facts *f, struct fact *fact, const struct node *rule, int family)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(MIB);
    if (!predicate_of_rule(f, rule, (enum family)family, &fact->predicate))
        return;
    buf_addf(&key, "%s ", signal_types[family]);
    if (family == FAMILY_context) {
        fact->range = (struct sum_range){ 0, INFINITY };
        fact->measure = (struct measure){ MEASURE_integer, &fact->range, 1, false };
    } else {
        measure_of_rule(rule, (enum family)family, &fact->measure, &fact->range);
        if (node_get(rule, "feature"))
            dsl_print_yaml(node_get(rule, "feature"), &key);
    }
    fact->certain = family == FAMILY_context || family == FAMILY_conversation;
    if (buf_err(&key) == 0)
        join_group(f, fact, &key, THING_measure);
}

static void of_level(struct facts *f, struct fact *fact, struct str name)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(KEY_BYTES);
    const char *const *levels = signal_families[FAMILY_complexity]->levels;
    struct str base, level;
    if (!str_cut(name, ':', &base, &level))
        return;
    while (levels[fact->level] && !str_is(level, levels[fact->level]))
        fact->level++;
    buf_adds(&key, "complexity ");
    buf_add(&key, base);
    if (levels[fact->level] && buf_err(&key) == 0)
        join_group(f, fact, &key, THING_level);
}

static void of_output(struct facts *f, struct fact *fact, struct str name)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(KEY_BYTES);
    const struct projections *p = f->policy->projections;
    size_t output = projections_find(p, name);
    size_t score = output == SIZE_MAX ? SIZE_MAX : projections_score(p, output);
    if (score == SIZE_MAX)
        return;
    struct sum_range *ranges = new_array(f, MAX_RANGES, sizeof(*ranges));
    if (!ranges)
        return;
    fact->output = output;
    fact->measure = (struct measure){ MEASURE_real, ranges,
                                      projections_reach(p, score, ranges, MAX_RANGES), false };
    buf_addf(&key, "score %zu", score);
    join_group(f, fact, &key, THING_measure);
}

/* A classifier's probability of a label. */
static void of_classifier(struct facts *f, struct fact *fact, const struct node *leaf)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(KEY_BYTES);
    const struct node *predicate = node_get(leaf, "predicate");
    if (!predicate || predicate_read(&fact->predicate, predicate, f->path, f->arena, f->p) < 0)
        return;
    buf_adds(&key, "classifier ");
    add_key(&key, text_of(leaf, "name"));
    add_key(&key, text_of(leaf, "label"));
    fact->range = (struct sum_range){ 0, 1 };
    fact->measure = (struct measure){ MEASURE_real, &fact->range, 1, true };
    if (buf_err(&key) == 0)
        join_group(f, fact, &key, THING_measure);
}

static void describe(struct facts *f, struct fact *fact, const struct node *leaf)
{
    struct str type = text_of(leaf, "type"), name = text_of(leaf, "name");
    int family = signal_family_of(type);
    size_t rule = facts_rule(f, type, name);
    if (text_of(leaf, "on_error").n) /* never unknown: not what the others of its group are */
        return;
    if (str_is(type, "projection"))
        of_output(f, fact, name);
    else if (family == FAMILY_complexity)
        of_level(f, fact, name);
    else if (family == FAMILY_classifier)
        of_classifier(f, fact, leaf);
    else if (family >= 0 && rule != SIZE_MAX && f->rules[rule].next == SIZE_MAX)
        of_signal(f, fact, f->rules[rule].node, family);
}

static size_t leaf_of(struct facts *f, const struct node *leaf)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(MIB);
    bool is_new = false;
    add_key(&key, text_of(leaf, "type"));
    add_key(&key, text_of(leaf, "name"));
    add_key(&key, text_of(leaf, "label"));
    add_key(&key, text_of(leaf, "on_error"));
    if (node_get(leaf, "predicate"))
        dsl_print_yaml(node_get(leaf, "predicate"), &key);
    size_t i = intern(f, &f->leaf_table, &key, &is_new);
    struct fact *fact = is_new && !f->no_memory ? new_fact(f) : NULL;
    if (fact)
        describe(f, fact, leaf);
    return i;
}

/* ---- formulas ---- */

static void read_formula(struct facts *f, const struct node *n, struct formula *ret, size_t *nodes)
{
    const struct node *conditions = node_get(n, "conditions");
    struct str op = text_of(n, "operator");
    ++*nodes;
    *ret = (struct formula){ .op = FORMULA_and };
    if (*nodes > MAX_NODES || f->no_memory)
        return;
    if (node_get(n, "type")) {
        ret->op = FORMULA_leaf;
        ret->leaf = leaf_of(f, n);
        return;
    }
    if (str_eq_nocase(op, STR("OR")))
        ret->op = FORMULA_or;
    else if (str_eq_nocase(op, STR("NOT")))
        ret->op = FORMULA_not;
    size_t count = conditions && conditions->kind == NODE_list ? conditions->n : 0;
    if (count > MAX_NODES) {
        *nodes += count;
        return;
    }
    ret->children = new_array(f, count, sizeof(*ret->children));
    for (size_t i = 0; ret->children && i < count; i++)
        read_formula(f, conditions->items[i], &ret->children[ret->n++], nodes);
}

static void read_decisions(struct facts *f)
{
    const struct policy *p = f->policy;
    const struct node *list = node_get(f->routing, "decisions");
    struct table names = { .arena = f->arena };
    f->formulas = new_array(f, p->n_decisions, sizeof(*f->formulas));
    f->decisions = new_array(f, p->n_decisions, sizeof(*f->decisions));
    f->positions = new_array(f, p->n_decisions, sizeof(*f->positions));
    bool is_new;
    for (size_t i = 0; !f->no_memory && node_at(list, i); i++) /* no name stands twice */
        f->no_memory = table_intern(&names, text_of(list->items[i], "name"), &is_new) == SIZE_MAX;
    for (size_t i = 0; !f->no_memory && i < p->n_decisions; i++) {
        const struct decision *d = &p->decisions[i];
        struct formula *formula = new_array(f, 1, sizeof(*formula));
        size_t nodes = 0;
        f->positions[i] = table_find(&names, d->name);
        f->decisions[i] = node_at(list, f->positions[i]);
        if (!formula)
            return;
        mark_rules(f, d->rules_node);
        read_formula(f, d->always ? NULL : d->rules_node, formula, &nodes);
        f->formulas[i] = nodes > MAX_NODES ? NULL : formula;
    }
}

/* ---- groups ---- */

struct grouping {
    struct facts *f;
    struct lint_group *groups;
    struct lint_leaf *leaves;
    size_t n; /* groups */
};

static void alone(struct grouping *g,
                  size_t leaf) /* true or false, and nothing to do with others */
{
    struct lint_group *group = &g->groups[g->n];
    cells_set(&group->universe, 0);
    cells_set(&group->universe, 1);
    g->leaves[leaf] = (struct lint_leaf){ .group = g->n++ };
    cells_set(&g->leaves[leaf].on, 0);
    cells_set(&g->leaves[leaf].maybe, 0);
}

static void measured(struct grouping *g, const size_t *members, size_t n)
{
    struct facts *f = g->f;
    const struct fact *first = &f->facts[members[0]];
    struct measured *leaves = new_array(f, n, sizeof(*leaves));
    struct lint_leaf *sets = new_array(f, n, sizeof(*sets));
    struct cells universe;
    for (size_t i = 0; !f->no_memory && i < n; i++) {
        const struct fact *fact = &f->facts[members[i]];
        leaves[i].predicate = fact->output == SIZE_MAX ? &fact->predicate : NULL;
        leaves[i].output = fact->output;
    }
    if (f->no_memory)
        return;
    struct measure m = first->measure;
    if (m.ranges != NULL && first->output == SIZE_MAX)
        m.ranges = &first->range; /* facts may have moved */
    if (n > MAX_SAME || !measure_cells(f->policy, &m, leaves, n, &universe, sets)) {
        for (size_t i = 0; i < n; i++)
            alone(g, members[i]);
        return;
    }
    g->groups[g->n] = (struct lint_group){ universe, first->certain, first->output == SIZE_MAX };
    for (size_t i = 0; i < n; i++) {
        g->leaves[members[i]] = sets[i];
        g->leaves[members[i]].group = g->n;
    }
    g->n++;
}

static void levels(struct grouping *g, const size_t *members, size_t n)
{
    const char *const *words = signal_families[FAMILY_complexity]->levels;
    size_t none = 0; /* of them: what the rule is composed of does not hold */
    for (; words[none]; none++)
        cells_set(&g->groups[g->n].universe, none);
    cells_set(&g->groups[g->n].universe, none);
    for (size_t i = 0; i < n; i++) {
        g->leaves[members[i]] = (struct lint_leaf){ .group = g->n };
        cells_set(&g->leaves[members[i]].on, g->f->facts[members[i]].level);
        g->leaves[members[i]].maybe = g->leaves[members[i]].on;
    }
    g->n++;
}

/* The leaves of each group, one after the other: a counting sort. */
static size_t *sort_members(struct facts *f, size_t *starts, size_t n_groups)
{
    size_t *members = new_array(f, f->n_facts, sizeof(*members));
    size_t *next = new_array(f, n_groups + 1, sizeof(*next));
    if (f->no_memory)
        return NULL;
    for (size_t i = 0; i < f->n_facts; i++)
        if (f->facts[i].thing != THING_own)
            starts[f->facts[i].group + 1]++;
    for (size_t i = 0; i < n_groups; i++)
        starts[i + 1] += starts[i];
    memcpy(next, starts, (n_groups + 1) * sizeof(*next));
    for (size_t i = 0; i < f->n_facts; i++)
        if (f->facts[i].thing != THING_own)
            members[next[f->facts[i].group]++] = i;
    return members;
}

static void note_exact(struct facts *f)
{
    enum { FEW = 4 };
    struct logic *l = &f->logic;
    size_t *exact = new_array(f, l->n_groups, sizeof(*exact)), certain = 0;
    for (size_t i = 0; exact && i < l->n_groups; i++) {
        if (l->groups[i].exact)
            exact[l->n_exact++] = i;
        certain += l->groups[i].certain;
    }
    l->exact = exact;
    l->split_certain = certain <= FEW;
}

static void make_groups(struct facts *f)
{
    size_t n_groups = f->group_table.n;
    struct grouping g = { .f = f };
    size_t *starts = new_array(f, n_groups + 1, sizeof(*starts));
    g.groups = new_array(f, n_groups + f->n_facts, sizeof(*g.groups));
    g.leaves = new_array(f, f->n_facts, sizeof(*g.leaves));
    const size_t *members = f->no_memory ? NULL : sort_members(f, starts, n_groups);
    if (!members)
        return;
    for (size_t i = 0; i < f->n_facts; i++)
        if (f->facts[i].thing == THING_own)
            alone(&g, i);
    for (size_t i = 0; !f->no_memory && i < n_groups; i++) {
        const size_t *own = members + starts[i];
        if (f->facts[own[0]].thing == THING_level)
            levels(&g, own, starts[i + 1] - starts[i]);
        else
            measured(&g, own, starts[i + 1] - starts[i]);
    }
    f->logic = (struct logic){
        .groups = g.groups, .leaves = g.leaves, .n_groups = g.n, .n_leaves = f->n_facts
    };
    note_exact(f);
    f->logic.now = new_array(f, g.n, sizeof(*f->logic.now));
    f->logic.known = new_array(f, g.n, sizeof(*f->logic.known));
    for (size_t i = 0; !f->no_memory && i < g.n; i++)
        f->logic.now[i] = g.groups[i].universe;
}

int facts_make(struct facts *f)
{
    f->rule_table.arena = f->leaf_table.arena = f->group_table.arena = f->arena;
    f->outputs_used =
        new_array(f, projections_outputs(f->policy->projections), sizeof(*f->outputs_used));
    read_rules(f);
    if (!f->no_memory)
        read_decisions(f);
    if (!f->no_memory) {
        mark_composers(f);
        mark_partitions(f);
        make_groups(f);
    }
    return f->no_memory ? -ENOMEM : 0;
}
