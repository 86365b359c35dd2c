/*
 * Whether facts are asked for (semantic-router.md 2.1): a shipped classifier says how likely an
 * answer can be right or wrong as a matter of record. Below the threshold none is needed.
 */
#include "router/signals/learned.h"

#include "router/models/shipped.h"

#include <errno.h>
#include <stdlib.h>

struct fact_rule {
    struct str name, description;
    double threshold;
};

static const struct option options[] = {
    OPT_TEXT(struct fact_rule, name, "name", OPTION_REQUIRED,
             "needs_fact_check or no_fact_check_needed"),
    OPT_TEXT(struct fact_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct fact_rule, threshold, "threshold", 0, 1, "0", "least probability; 0: global"),
    OPT_END,
};

enum fact { FACT_needed, FACT_not_needed, FACT_N };
static const char *const needed_words[] = { "need",   "fact",  "verif", "evidence",
                                            "source", "claim", "check", NULL };
static const char *const not_words[] = { "no",      "not",  "without", "creative",
                                         "opinion", "skip", "never",   NULL };
static const struct label_words labels[FACT_N] = {
    [FACT_needed] = { "needs_fact_check", needed_words },
    [FACT_not_needed] = { "no_fact_check_needed", not_words },
};

struct module { /* global.model_catalog.modules.hallucination_mitigation.fact_check */
    double threshold;
};
#define MODULE_PATH "model_catalog.modules.hallucination_mitigation.fact_check"

static const struct option module_options[] = {
    OPT_FLOAT(struct module, threshold, "threshold", 0, 1, "0.7", "least probability"),
    OPT_IGNORED("*", "the classifier is the shipped one"),
    OPT_END,
};

struct state {
    struct classifier_file *model; /* owned */
    uint32_t needed;               /* its class */
    size_t n;
    struct {
        size_t fact; /* FACT_N: unknown */
        double threshold;
    } rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (s)
        (void)classifier_file_close(s->model);
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    struct module m;
    if (!s)
        return -ENOMEM;
    int e = schema_read(&m, module_options, signal_setting(rules, MODULE_PATH),
                        "global." MODULE_PATH, rules->arena, rules->p);
    if (e == 0)
        e = learned_open(&s->model, "fact_check.model", shipped_fact_check(), rules);
    if (e < 0 || !s->model)
        return e;
    int needed = classifier_file_find(s->model, str_of(labels[FACT_needed].label));
    if (needed < 0 || classifier_file_classes(s->model) != FACT_N)
        return 0; /* another model than ours: evaluate() has room for these two */
    s->needed = (uint32_t)needed;
    s->n = rules->n;
    for (size_t i = 0; i < s->n; i++) {
        const struct fact_rule *r = (const struct fact_rule *)rules->items + i;
        s->rules[i].fact = learned_label(r->name, r->description, labels, FACT_N);
        s->rules[i].threshold = r->threshold > 0 ? r->threshold : m.threshold;
        if (s->rules[i].fact == FACT_N)
            learned_no_label(rules, i, labels, FACT_N);
    }
    *ret = TAKE(s);
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    const struct features *f;
    float p[FACT_N];
    int e = learned_turn(v, &f);
    if (e < 0)
        return e;
    classifier_file_read(s->model, f, p);
    double needed = (double)p[s->needed];
    for (size_t i = 0; i < s->n; i++) {
        bool asks = needed >= s->rules[i].threshold;
        bool match = s->rules[i].fact == FACT_needed ? asks : !asks;
        double likely = s->rules[i].fact == FACT_needed ? needed : 1 - needed;
        values[i] =
            (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? likely : 0, likely };
        if (s->rules[i].fact == FACT_N)
            values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return 0;
}

const struct signal_family family_fact_check = {
    .options = options,
    .rule_size = sizeof(struct fact_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
