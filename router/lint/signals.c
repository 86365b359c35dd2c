#include "router/lint/checks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 320, MAX_RANGES = 1024 };

static void rule_path(const struct facts *f, size_t i, char ret[static PATH_BYTES])
{
    const struct signal *s = &f->policy->signals[i];
    (void)snprintf(ret, PATH_BYTES, "%s.signals.%s[%zu]", f->path, signal_keys[s->family],
                   s->rule / facts_levels(s->family));
}

/* ---- texts that stand twice in a list ---- */

struct text_at {
    struct str text;
    const struct node *node;
};

static int fold(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int by_letters(const void *a, const void *b)
{
    struct str x = ((const struct text_at *)a)->text, y = ((const struct text_at *)b)->text;
    for (size_t i = 0; i < x.n && i < y.n; i++) {
        int d = fold((unsigned char)x.p[i]) - fold((unsigned char)y.p[i]);
        if (d)
            return d;
    }
    return (x.n > y.n) - (x.n < y.n);
}

static bool all_scalars(const struct node *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i]->kind != NODE_scalar)
            return false;
    return list->n > 1;
}

/* Warns of the first twin and says how many there are. */
static int check_list(struct facts *f, const struct node *list, bool case_sensitive,
                      const char *path)
{
    struct text_at *all = calloc(list->n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < list->n; i++)
        all[i] = (struct text_at){ str_trim(list->items[i]->scalar), list->items[i] };
    qsort(all, list->n, sizeof(*all), by_letters);
    const struct text_at *twin = NULL;
    size_t n = 0;
    for (size_t i = 1; i < list->n; i++) {
        bool same = case_sensitive ? str_eq(all[i].text, all[i - 1].text)
                                   : str_eq_nocase(all[i].text, all[i - 1].text);
        twin = same && !twin ? &all[i] : twin;
        n += same;
    }
    if (twin && n == 1)
        (void)node_problem(f->p, PROBLEM_warning, twin->node, path,
                           "'%.*s' stands twice in this list; remove one", STR_ARG(twin->text));
    else if (twin)
        (void)node_problem(f->p, PROBLEM_warning, twin->node, path,
                           "'%.*s' stands twice in this list, and so do %zu others; remove them",
                           STR_ARG(twin->text), n - 1);
    free(all);
    return 0;
}

/* Every list of texts below a rule; sequences of words may repeat them. */
static int check_lists(struct facts *f, const struct node *n, bool case_sensitive, const char *path)
{
    const struct node *own = node_get(n, "case_sensitive");
    case_sensitive = case_sensitive || node_is(own, "true");
    for (size_t i = 0; n->kind == NODE_map && i < n->n; i++) {
        const struct node *v = n->items[i];
        char sub[PATH_BYTES];
        int e = 0;
        (void)snprintf(sub, sizeof(sub), "%.200s.%.100s", path, n->keys[i].p);
        if (v->kind == NODE_list && all_scalars(v))
            e = check_list(f, v, case_sensitive, sub);
        else if (v->kind == NODE_map)
            e = check_lists(f, v, case_sensitive, sub);
        if (e < 0)
            return e;
    }
    return 0;
}

/* ---- predicates that nothing meets ---- */

static void check_predicate(struct facts *f, size_t i, const char *path)
{
    enum family family = f->policy->signals[i].family;
    const struct node *rule = f->rules[i].node, *at = node_get(rule, "predicate");
    struct predicate predicate;
    struct measured leaf = { &predicate, SIZE_MAX };
    struct sum_range range;
    struct measure m;
    struct cells universe;
    struct lint_leaf sets;
    if ((family != FAMILY_structure && family != FAMILY_conversation) ||
        !predicate_of_rule(f, rule, family, &predicate))
        return;
    measure_of_rule(rule, family, &m, &range);
    if (!measure_cells(f->policy, &m, &leaf, 1, &universe, &sets))
        return;
    const char *type = "count";
    if (range.hi <= 1)
        type = m.kind == MEASURE_real ? "density" : "value";
    if (cells_none(&sets.on))
        (void)node_problem(f->p, PROBLEM_warning, at ? at : rule, path,
                           "'%.*s' can never match: no %s%s meets its predicate; change the bounds",
                           STR_ARG(f->policy->signals[i].name), type,
                           isinf(range.hi) ? " from 0 on" : " from 0 to what is possible here");
}

/* ---- bands ---- */

static const struct node *band_node(const struct facts *f, struct str name,
                                    char ret[static PATH_BYTES])
{
    const struct node *mappings = node_get(node_get(f->routing, "projections"), "mappings");
    for (size_t i = 0; node_at(mappings, i); i++) {
        const struct node *outputs = node_get(mappings->items[i], "outputs");
        for (size_t k = 0; node_at(outputs, k); k++) {
            const struct node *own = node_get(outputs->items[k], "name");
            if (!own || own->kind != NODE_scalar || !str_eq(own->scalar, name))
                continue;
            (void)snprintf(ret, PATH_BYTES, "%s.projections.mappings[%zu].outputs[%zu]", f->path, i,
                           k);
            return outputs->items[k];
        }
    }
    return NULL;
}

static void check_band(struct facts *f, size_t output, struct sum_range *ranges)
{
    const struct projections *p = f->policy->projections;
    size_t score = projections_score(p, output);
    struct measure m = { MEASURE_real, ranges, projections_reach(p, score, ranges, MAX_RANGES),
                         false };
    struct measured leaf = { NULL, output };
    struct cells universe;
    struct lint_leaf sets;
    char path[PATH_BYTES] = "";
    if (score == SIZE_MAX || !measure_cells(f->policy, &m, &leaf, 1, &universe, &sets) ||
        !cells_none(&sets.on))
        return;
    struct str name = projections_output_name(p, output), of = projections_score_name(p, score);
    const struct node *at = band_node(f, name, path);
    (void)node_problem(
        f->p, PROBLEM_warning, at ? at : f->routing, path,
        "no sum of '%.*s' falls into the band '%.*s': its inputs give from %g to %g%s; "
        "change the bounds or the weights",
        STR_ARG(of), STR_ARG(name), ranges[0].lo, ranges[m.n - 1].hi,
        m.n > 1 ? ", with gaps, and bands before it go first" : ", and bands before it go first");
}

static int check_bands(struct facts *f)
{
    size_t n = projections_outputs(f->policy->projections);
    struct sum_range *ranges = arena_array(f->arena, MAX_RANGES, sizeof(*ranges));
    for (size_t i = 0; ranges && i < n; i++)
        check_band(f, i, ranges);
    return ranges ? 0 : -ENOMEM;
}

/* ---- partitions ---- */

/* Texts by which two members of a partition would both win. */
static const char *const shared_lists[] = { "candidates", "mmlu_categories" };

struct claims { /* which member claims a text first */
    struct table texts;
    const struct node **owners;
    size_t cap;
};

static int claim(struct facts *f, struct claims *c, const struct node *rule,
                 const struct node *text, const char *path)
{
    bool is_new;
    size_t i = table_intern(&c->texts, str_trim(text->scalar), &is_new);
    if (i == SIZE_MAX)
        return -ENOMEM;
    if (i >= c->cap) {
        size_t cap = 2 * i + 64;
        const struct node **more = arena_array(f->arena, cap, sizeof(*more));
        if (!more)
            return -ENOMEM;
        if (c->cap)
            memcpy(more, c->owners, c->cap * sizeof(*more));
        c->owners = more;
        c->cap = cap;
    }
    if (is_new)
        c->owners[i] = rule;
    else if (c->owners[i] != rule)
        (void)node_problem(
            f->p, PROBLEM_warning, text, path,
            "the members '%s' and '%s' of a partition overlap: both are described by "
            "'%.*s'; keep it in one of them",
            node_get(c->owners[i], "name")->scalar.p, node_get(rule, "name")->scalar.p,
            STR_ARG(text->scalar));
    return 0;
}

static int check_member(struct facts *f, struct claims *c, size_t rule)
{
    char path[PATH_BYTES];
    const struct node *node = f->rules[rule].node;
    rule_path(f, rule, path);
    for (size_t k = 0; k < ARRAY_LEN(shared_lists); k++) {
        const struct node *list = node_get(node, shared_lists[k]);
        for (size_t i = 0; node_at(list, i); i++) {
            int e =
                list->items[i]->kind == NODE_scalar ? claim(f, c, node, list->items[i], path) : 0;
            if (e < 0)
                return e;
        }
    }
    return 0;
}

static size_t member_rule(const struct facts *f, struct str name)
{
    size_t rule = facts_rule(f, str_of(signal_types[FAMILY_embedding]), name);
    return rule != SIZE_MAX ? rule : facts_rule(f, str_of(signal_types[FAMILY_domain]), name);
}

static int check_partitions(struct facts *f)
{
    const struct node *list = node_get(node_get(f->routing, "projections"), "partitions");
    size_t *homes = arena_array(f->arena, f->policy->n_signals + 1, sizeof(*homes));
    if (!homes)
        return -ENOMEM;
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *members = node_get(list->items[i], "members");
        struct claims c = { .texts = { .arena = f->arena } };
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.projections.partitions[%zu]", f->path, i);
        if (members && members->kind == NODE_list && members->n == 1)
            (void)node_problem(
                f->p, PROBLEM_warning, members, path,
                "a partition of one member changes nothing; add members or remove it");
        for (size_t k = 0; node_at(members, k); k++) {
            size_t rule = member_rule(f, members->items[k]->scalar);
            if (rule == SIZE_MAX || homes[rule] == i + 1)
                continue;
            if (homes[rule])
                (void)node_problem(
                    f->p, PROBLEM_warning, members->items[k], path,
                    "'%.*s' is a member of two partitions: it must win in both; keep "
                    "it in one",
                    STR_ARG(members->items[k]->scalar));
            homes[rule] = i + 1;
            int e = check_member(f, &c, rule);
            if (e < 0)
                return e;
        }
    }
    return 0;
}

int lint_signals(struct facts *f)
{
    int e = 0;
    for (size_t i = 0; e == 0 && i < f->policy->n_signals; i++) {
        char path[PATH_BYTES];
        rule_path(f, i, path);
        if (!f->rules[i].node ||
            f->policy->signals[i].rule % facts_levels(f->policy->signals[i].family))
            continue;
        e = check_lists(f, f->rules[i].node, false, path);
        check_predicate(f, i, path);
    }
    if (e == 0)
        e = check_bands(f);
    return e < 0 ? e : check_partitions(f);
}
