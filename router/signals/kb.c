/*
 * Knowledge bases: whether a text is most like a label or group of one, or like enough
 * (semantic-router.md 2.1, kb).
 */
#include "router/signals/kb.h"

#include "router/knowledge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum match { MATCH_best, MATCH_threshold };

static const char *const target_kinds[] = { "label", "group", NULL }; /* enum knowledge_kind */
static const char *const matches[] = { "best", "threshold", NULL };
static const struct str metric_prefix = { "kb_metric:", 10 };

static const struct option target_options[] = {
    OPT_WORD(struct kb_target, kind, "kind", target_kinds, OPTION_REQUIRED, "label or group"),
    OPT_TEXT(struct kb_target, value, "value", OPTION_REQUIRED, "its name"),
    OPT_END,
};

static const struct option options[] = {
    OPT_TEXT(struct kb_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct kb_rule, description, "description", NULL, "for people"),
    OPT_TEXT(struct kb_rule, kb, "kb", OPTION_REQUIRED, "of global.model_catalog.kbs"),
    OPT_SECTION(struct kb_rule, target, "target", target_options, "what must be found"),
    OPT_WORD(struct kb_rule, match, "match", matches, "threshold",
             "the most similar one, or any at its threshold"),
    OPT_END,
};

/* ---- metrics ---- */

const char *kb_metric_name(struct arena *arena, struct str kb, struct str metric)
{
    return arena_printf(arena, "%.*s%.*s:%.*s", STR_ARG(metric_prefix), STR_ARG(kb),
                        STR_ARG(metric));
}

bool kb_is_metric(struct str name)
{
    return str_starts(name, metric_prefix);
}

static struct str text_of(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n && n->kind == NODE_scalar ? n->scalar : STR_NULL;
}

static bool asked_before(const struct kb_rule *rules, size_t n, struct str kb, struct str metric)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(rules[i].kb, kb) && str_eq(rules[i].target.value, metric))
            return true;
    return false;
}

static int add_metric(struct kb_rule *all, size_t *n, const struct node *input, const char *path,
                      struct arena *arena)
{
    struct str kb = text_of(input, "kb"), metric = text_of(input, "metric");
    if (!node_is(node_get(input, "type"), "kb_metric") || kb.n == 0 || metric.n == 0 ||
        asked_before(all, *n, kb, metric))
        return 0;
    const char *name = kb_metric_name(arena, kb, metric);
    all[(*n)++] = (struct kb_rule){ .name = str_of(name),
                                    .kb = kb,
                                    .target = { KNOWLEDGE_metric, metric },
                                    .at = input,
                                    .at_path = arena_cstr(arena, str_of(path)) };
    return name && all[*n - 1].at_path ? 0 : -ENOMEM;
}

int kb_metric_rules(struct kb_rule **ret, size_t *ret_n, const struct node *projections,
                    const char *path, struct arena *arena)
{
    const struct node *scores = projections ? node_get(projections, "scores") : NULL;
    size_t most = 0;
    *ret_n = 0;
    for (size_t i = 0; node_at(scores, i); i++) {
        const struct node *inputs = node_get(node_at(scores, i), "inputs");
        most += inputs && inputs->kind == NODE_list ? inputs->n : 0;
    }
    *ret = arena_array(arena, most + 1, sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    int e = 0;
    for (size_t i = 0; node_at(scores, i); i++) {
        const struct node *inputs = node_get(node_at(scores, i), "inputs");
        for (size_t k = 0; inputs && node_at(inputs, k) && e == 0; k++) {
            char at[256];
            (void)snprintf(at, sizeof(at), "%s.scores[%zu].inputs[%zu]", path, i, k);
            e = add_metric(*ret, ret_n, node_at(inputs, k), at, arena);
        }
    }
    return e;
}

/* ---- compiling ---- */

struct base {
    struct str name;
    struct knowledge *knowledge; /* owned; NULL: unknown */
};

struct compiled {
    size_t base;   /* of state.bases */
    size_t target; /* number of the label, group or metric */
    enum knowledge_kind kind;
    enum match match;
};

struct state {
    struct base *bases; /* owned */
    size_t n_bases;
    size_t n;
    struct compiled rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    for (size_t i = 0; s && i < s->n_bases; i++)
        (void)knowledge_free(s->bases[i].knowledge);
    free(s ? s->bases : NULL);
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

static int rule_error(const struct signal_rules *rules, size_t i, const char *key, const char *what,
                      struct str name)
{
    const struct kb_rule *r = (const struct kb_rule *)rules->items + i;
    if (!r->at)
        return signal_rule_error(rules, i, key, "%s '%.*s'", what, STR_ARG(name));
    return node_problem(rules->p, PROBLEM_error, r->at, r->at_path, "%s '%.*s'", what,
                        STR_ARG(name));
}

/* The base of rule i, loaded when it is the first that asks for it. */
static int find_base(struct state *s, const struct signal_rules *rules, size_t i, size_t *ret)
{
    const struct kb_rule *r = (const struct kb_rule *)rules->items + i;
    for (*ret = 0; *ret < s->n_bases; (*ret)++)
        if (str_eq(s->bases[*ret].name, r->kb))
            return 0;
    struct base *b = &s->bases[s->n_bases++];
    char path[256];
    (void)snprintf(path, sizeof(path), "%s[%zu].kb", rules->path, i);
    const struct knowledge_source source = { rules->config,
                                             rules->space,
                                             rules->arena,
                                             rules->p,
                                             r->at ? r->at : node_at(rules->list, i),
                                             r->at ? r->at_path : path };
    *b = (struct base){ r->kb, NULL };
    int e = knowledge_load(&b->knowledge, r->kb, &source);
    if (e == -ENOENT)
        return rule_error(rules, i, "kb",
                          "global.model_catalog.kbs does not declare the knowledge base", r->kb);
    return e == -ENOTSUP ? 0 : e;
}

static int compile_rule(struct state *s, const struct signal_rules *rules, size_t i)
{
    static const char *const missing[] = { "the knowledge base has no label",
                                           "the knowledge base has no group",
                                           "the knowledge base has no metric" };
    const struct kb_rule *r = (const struct kb_rule *)rules->items + i;
    struct compiled *c = &s->rules[i];
    *c = (struct compiled){ .kind = (enum knowledge_kind)r->target.kind,
                            .match = (enum match)r->match };
    int e = find_base(s, rules, i, &c->base);
    if (e < 0)
        return e;
    const struct knowledge *k = s->bases[c->base].knowledge;
    c->target = k ? knowledge_find(k, c->kind, r->target.value) : 0;
    if (c->target == SIZE_MAX)
        return rule_error(rules, i, "target", missing[c->kind], r->target.value);
    return 0;
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(*s->rules));
    if (!s)
        return -ENOMEM;
    s->bases = calloc(rules->n, sizeof(*s->bases));
    s->n = rules->n;
    if (!s->bases)
        return -ENOMEM;
    int first = 0;
    for (size_t i = 0; i < rules->n; i++) {
        int e = compile_rule(s, rules, i);
        if (e < 0 && e != -EINVAL)
            return e;
        first = first < 0 ? first : e;
    }
    if (first < 0)
        return first;
    *ret = TAKE(s);
    return 0;
}

/* ---- evaluating ---- */

static struct signal_value value_of(const struct compiled *c, const struct knowledge *k,
                                    const struct knowledge_scores *s)
{
    if (c->kind == KNOWLEDGE_metric)
        return (struct signal_value){ TRUTH_false, 0, knowledge_metric(k, s, c->target) };
    bool group = c->kind == KNOWLEDGE_group;
    double score = group ? s->groups[c->target] : s->labels[c->target];
    double best = group ? s->best_group : s->best_label;
    bool matched = group ? s->group_matched[c->target] : s->label_matched[c->target];
    if (c->match == MATCH_best) /* of groups that share labels several may be */
        matched = score > 0 && score >= best;
    return (struct signal_value){ matched ? TRUTH_true : TRUTH_false, matched ? score : 0, score };
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    const struct text_vector *turn;
    int e = signal_vector(v, v->text, &turn);
    struct knowledge_scores *scores = arena_array(v->arena, s->n_bases + 1, sizeof(*scores));
    if (e == 0 && !scores)
        e = -ENOMEM;
    for (size_t i = 0; i < s->n_bases && e == 0; i++)
        if (s->bases[i].knowledge)
            e = knowledge_score(s->bases[i].knowledge, turn, v->arena, &scores[i]);
    for (size_t i = 0; i < s->n && e == 0; i++) {
        const struct compiled *c = &s->rules[i];
        const struct knowledge *k = s->bases[c->base].knowledge;
        values[i] =
            k ? value_of(c, k, &scores[c->base]) : (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return e;
}

const struct signal_family family_kb = {
    .options = options,
    .rule_size = sizeof(struct kb_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
    .compares = true,
};
