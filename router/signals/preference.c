/*
 * Preferences: the rule whose examples the user's turn is most like (semantic-router.md 2.1). Only
 * the best one matches, at its threshold and with a lead over the next.
 */
#include "router/signals/signals.h"
#include "router/vectors/bank.h"

#include <errno.h>
#include <stdlib.h>

struct preference_rule {
    struct str name, description;
    double threshold;
    struct text_list examples;
};

static const struct option preference_options[] = {
    OPT_TEXT(struct preference_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct preference_rule, description, "description", NULL,
             "what it is about; compared where there are no examples"),
    OPT_FLOAT(struct preference_rule, threshold, "threshold", 0, 1, "0", "least similarity"),
    OPT_TEXTS(struct preference_rule, examples, "examples", 10000, "of such requests"),
    OPT_END,
};

struct preference_settings {
    bool contrastive;
    const struct node *prototypes;
};

static const struct option settings_options[] = {
    OPT_BOOL(struct preference_settings, contrastive, "use_contrastive", "true",
             "compare with examples; a helper model is not asked by this version"),
    OPT_NODE(struct preference_settings, prototypes, "prototype_scoring", "of examples"),
    OPT_IGNORED("embedding_model", "the space is the lexical one, or that of engine.embedding"),
    OPT_IGNORED("*", "not known to this version"),
    OPT_END,
};

#define SETTINGS_PATH "model_catalog.modules.classifier.preference"

struct preference_state {
    double margin;
    const struct preference_rule *rules; /* the router's arena */
    size_t n;
    struct bank *banks[];
};

static void *preference_free(void *state)
{
    struct preference_state *s = state;
    for (size_t i = 0; s && i < s->n; i++)
        (void)bank_free(s->banks[i]);
    free(s);
    return NULL;
}

static void freep(struct preference_state **s)
{
    (void)preference_free(*s);
}

static int compile_rule(struct preference_state *s, const struct signal_rules *rules, size_t i,
                        const struct bank_options *o)
{
    const struct preference_rule *r = &s->rules[i];
    struct fail fail = { 0 };
    bool described = r->examples.n == 0;
    const struct str *about = r->description.n ? &r->description : &r->name;
    int e = bank_new(&s->banks[i], rules->space, described ? about : r->examples.items,
                     described ? 1 : r->examples.n, o, &fail);
    return e > 0 ? signal_rule_error(rules, i, "examples", "%s", fail.message) : e;
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep)
    struct preference_state *s = calloc(1, sizeof(*s) + rules->n * sizeof(*s->banks));
    const struct node *at = signal_setting(rules, SETTINGS_PATH);
    struct preference_settings settings = { 0 };
    struct bank_options o = { 0 };
    if (!s)
        return -ENOMEM;
    s->rules = rules->items;
    s->n = rules->n;
    int e = schema_read(&settings, settings_options, at, "global." SETTINGS_PATH, rules->arena,
                        rules->p);
    if (e == 0)
        e = bank_options_read(&o, settings.prototypes, "global." SETTINGS_PATH ".prototype_scoring",
                              rules->arena, rules->p);
    if (e == 0 && !settings.contrastive)
        (void)node_problem(rules->p, PROBLEM_warning, node_get(at, "use_contrastive"),
                           "global." SETTINGS_PATH ".use_contrastive",
                           "no helper model is asked by this version: preferences are told by "
                           "their examples and descriptions");
    for (size_t i = 0; i < rules->n && e == 0; i++)
        e = compile_rule(s, rules, i, &o);
    if (e != 0)
        return e;
    s->margin = o.margin;
    *ret = TAKE(s);
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct preference_state *s = state;
    const struct text_vector *turn;
    size_t best = 0;
    double next = -1; /* the best score of another rule */
    int e = signal_vector(v, v->text, &turn);
    if (e < 0)
        return e;
    for (size_t i = 0; i < s->n; i++) {
        values[i] = (struct signal_value){ TRUTH_false, 0, bank_score(s->banks[i], turn).score };
        if (i > 0 && values[i].raw > values[best].raw) {
            next = values[best].raw;
            best = i;
        } else if (i > 0 && values[i].raw > next) {
            next = values[i].raw;
        }
    }
    double score = values[best].raw;
    if (score > 0 && score >= s->rules[best].threshold && (s->n == 1 || score - next >= s->margin))
        values[best] = (struct signal_value){ TRUTH_true, score, score };
    return 0;
}

const struct signal_family family_preference = {
    .options = preference_options,
    .rule_size = sizeof(struct preference_rule),
    .compile = compile,
    .free = preference_free,
    .evaluate = evaluate,
    .compares = true,
};
