#include "router/lint/checks.h"

#include <errno.h>
#include <stdio.h>

enum { PATH_BYTES = 320, MAX_SHOWN = 8 };

/* "a, b, c and 5 more" */
static void add_name(struct buf *b, struct str name, size_t n)
{
    if (n < MAX_SHOWN)
        buf_addf(b, "%s'%.*s'", n ? ", " : "", STR_ARG(str_head(name, 100)));
}

static void end_names(struct buf *b, size_t n)
{
    if (n > MAX_SHOWN)
        buf_addf(b, " and %zu more", n - MAX_SHOWN);
}

/* One warning a family, at the first one. */
static void check_family(struct facts *f, enum family family)
{
    const struct family_state *s = &f->policy->families[family];
    CLEANUP(buf_done) struct buf names = BUF_INIT(4096);
    size_t n = 0, first = SIZE_MAX;
    size_t levels = facts_levels(family);
    for (size_t i = s->first; i < s->first + s->n; i += levels) {
        if (f->rules[i].used || !f->rules[i].node)
            continue;
        first = first == SIZE_MAX ? i : first;
        add_name(&names, facts_rule_name(&f->policy->signals[i]), n++);
    }
    if (n == 0)
        return;
    end_names(&names, n);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.signals.%s[%zu]", f->path, signal_keys[family],
                   f->policy->signals[first].rule / levels);
    (void)node_problem(f->p, PROBLEM_warning, f->rules[first].node, path,
                       "no decision depends on the %s signal%s %s; use or remove %s",
                       signal_types[family], n > 1 ? "s" : "", names.p ? names.p : "",
                       n > 1 ? "them" : "it");
}

/* ---- projections ---- */

static void check_scores(struct facts *f, const bool *seen)
{
    const struct projections *p = f->policy->projections;
    const struct node *list = node_get(node_get(f->routing, "projections"), "scores");
    for (size_t i = 0; i < projections_scores(p); i++) {
        char path[PATH_BYTES];
        if (seen[i] || !node_at(list, i))
            continue;
        (void)snprintf(path, sizeof(path), "%s.projections.scores[%zu]", f->path, i);
        (void)node_problem(f->p, PROBLEM_warning, list->items[i], path,
                           "no decision depends on the score '%.*s'; use or remove it",
                           STR_ARG(projections_score_name(p, i)));
    }
}

/* Mappings of which no output is used: one output of several is there to be the other case. */
static void check_mappings(struct facts *f)
{
    const struct node *list = node_get(node_get(f->routing, "projections"), "mappings");
    size_t next = 0, n_outputs = projections_outputs(f->policy->projections);
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *outputs = node_get(list->items[i], "outputs");
        size_t n = outputs ? outputs->n : 0;
        bool used = false;
        for (size_t k = next; k < next + n && k < n_outputs; k++)
            used = used || f->outputs_used[k];
        next += n;
        if (used)
            continue;
        char path[PATH_BYTES];
        const struct node *name = node_get(list->items[i], "name");
        (void)snprintf(path, sizeof(path), "%s.projections.mappings[%zu]", f->path, i);
        (void)node_problem(f->p, PROBLEM_warning, list->items[i], path,
                           "no decision depends on an output of the mapping '%s'; use or remove it",
                           name && name->kind == NODE_scalar ? name->scalar.p : "");
    }
}

int lint_unused(struct facts *f)
{
    const struct projections *p = f->policy->projections;
    bool *seen = arena_array(f->arena, projections_scores(p) + 1, sizeof(*seen));
    if (!seen)
        return -ENOMEM;
    for (int i = 0; i < FAMILY_N; i++)
        check_family(f, (enum family)i);
    /* outputs that a used score weighs are used as well */
    for (size_t i = 0; i < projections_outputs(p); i++)
        if (f->outputs_used[i])
            projections_mark_scores(p, i, seen);
    check_mappings(f);
    check_scores(f, seen);
    return 0;
}
