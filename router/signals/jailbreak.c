/*
 * Attempts to break the model's rules (semantic-router.md 2.1).
 *
 *   classifier    the highest probability that a shipped classifier gives anywhere in the text
 *   contrastive   likeness to the nearest of jailbreak_patterns less that to the nearest of
 *                 benign_patterns; the threshold is one of this difference
 *   hybrid        1 − (1 − probability) · (1 − that of the difference): either can tell, and two
 *                 that half believe it make a belief
 */
#include "router/signals/learned.h"

#include "router/models/shipped.h"
#include "router/vectors/bank.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum method { METHOD_classifier, METHOD_contrastive, METHOD_hybrid };
static const char *const methods[] = { "classifier", "contrastive", "hybrid", NULL };
enum { MAX_TURNS = 64 /* that include_history looks back */ };
static const double CONTRAST = 0.1; /* threshold of a difference, by default */

struct jailbreak_rule {
    struct str name, description;
    unsigned method;
    double threshold;
    bool include_history;
    struct text_list jailbreak_patterns, benign_patterns;
};

static const struct option options[] = {
    OPT_TEXT(struct jailbreak_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct jailbreak_rule, description, "description", NULL, "for people"),
    OPT_WORD(struct jailbreak_rule, method, "method", methods, "classifier",
             "classifier, contrastive (by the patterns) or hybrid (both)"),
    OPT_FLOAT(struct jailbreak_rule, threshold, "threshold", 0, 1, "0", "least risk; 0: default"),
    OPT_BOOL(struct jailbreak_rule, include_history, "include_history", "false", "all turns"),
    OPT_TEXTS(struct jailbreak_rule, jailbreak_patterns, "jailbreak_patterns", 10000, "examples"),
    OPT_TEXTS(struct jailbreak_rule, benign_patterns, "benign_patterns", 10000, "counter-examples"),
    OPT_END,
};

static const char *const on_errors[] = { "unknown", "allow", "block", NULL };

struct module { /* global.model_catalog.modules.prompt_guard */
    bool enabled;
    double threshold;
    unsigned on_error;
};
#define MODULE_PATH "model_catalog.modules.prompt_guard"

static const struct option module_options[] = {
    OPT_BOOL(struct module, enabled, "enabled", "true", "false: its leaves are unknown"),
    OPT_FLOAT(struct module, threshold, "threshold", 0, 1, "0.7", "least risk"),
    OPT_WORD(struct module, on_error, "on_error", on_errors, "unknown",
             "what a turn is that could not be read: no attempt (allow), one (block), unknown"),
    OPT_IGNORED("*", "the classifier is the shipped one"),
    OPT_END,
};

struct rule_state {
    const struct jailbreak_rule *rule; /* the router's arena */
    double threshold;
    struct bank *attacks, *honest; /* owned; NULL: the method does not compare */
};

struct state {
    struct classifier_file *model; /* owned; NULL: cannot be read, or is switched off */
    uint32_t attack;               /* its class */
    enum truth on_error;
    bool history; /* some rule includes it */
    size_t n;
    struct rule_state rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    for (size_t i = 0; s && i < s->n; i++) {
        (void)bank_free(s->rules[i].attacks);
        (void)bank_free(s->rules[i].honest);
    }
    if (s)
        (void)classifier_file_close(s->model);
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

static int make_banks(struct rule_state *s, const struct signal_rules *rules, size_t i)
{
    const struct jailbreak_rule *r = s->rule;
    struct bank_options o;
    struct fail fail = { 0 };
    int e = bank_options_read(&o, NULL, "", rules->arena, rules->p);
    if (e < 0)
        return e;
    o.enabled = false; /* every pattern counts by itself */
    if (!r->jailbreak_patterns.n)
        (void)signal_rule_error(rules, i, "jailbreak_patterns",
                                "method %s needs jailbreak_patterns", methods[r->method]);
    e = bank_new(&s->attacks, rules->space, r->jailbreak_patterns.items, r->jailbreak_patterns.n,
                 &o, &fail);
    if (e == 0)
        e = bank_new(&s->honest, rules->space, r->benign_patterns.items, r->benign_patterns.n, &o,
                     &fail);
    return e > 0 ? signal_rule_error(rules, i, "jailbreak_patterns", "%s", fail.message) : e;
}

static int compile_rule(struct state *s, const struct signal_rules *rules, size_t i,
                        const struct module *m)
{
    struct rule_state *r = &s->rules[i];
    r->rule = (const struct jailbreak_rule *)rules->items + i;
    r->threshold = r->rule->threshold;
    if (!(r->threshold > 0))
        r->threshold = r->rule->method == METHOD_contrastive ? CONTRAST : m->threshold;
    s->history |= r->rule->include_history;
    bool compares = r->rule->method == METHOD_contrastive ||
                    (r->rule->method == METHOD_hybrid && r->rule->jailbreak_patterns.n);
    return compares ? make_banks(r, rules, i) : 0;
}

static int compile(void **ret, const struct signal_rules *rules)
{
    static const enum truth truths[] = { TRUTH_unknown, TRUTH_false, TRUTH_true };
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    struct module m;
    if (!s)
        return -ENOMEM;
    int e = schema_read(&m, module_options, signal_setting(rules, MODULE_PATH),
                        "global." MODULE_PATH, rules->arena, rules->p);
    if (e == 0 && m.enabled)
        e = learned_open(&s->model, "jailbreak.model", shipped_jailbreak(), rules);
    int attack = e == 0 && s->model ? classifier_file_find(s->model, STR("jailbreak")) : 0;
    s->attack = (uint32_t)(attack < 0 ? 0 : attack);
    s->on_error = truths[m.on_error];
    s->n = rules->n;
    for (size_t i = 0; i < s->n && e == 0; i++)
        e = compile_rule(s, rules, i, &m);
    if (e == 0)
        *ret = TAKE(s);
    return e;
}

/* ---- evaluating ---- */

/* How likely a difference of likeness is an attempt. */
static double likelihood(double difference)
{
    static const double MIDDLE = 0.2, STEEP = 20;
    return 1 / (1 + exp(-STEEP * (difference - MIDDLE)));
}

static int contrast(const struct rule_state *r, struct signal_view *v, struct str text, double *ret)
{
    const struct text_vector *vector;
    int e = signal_vector(v, text, &vector);
    if (e == 0)
        *ret = bank_score(r->attacks, vector).best - fmax(0, bank_score(r->honest, vector).best);
    return e;
}

struct turn {
    struct str text;
    double probability;
    int error; /* of the probability */
};

/* The risk of one turn by one rule. */
static int risk_of(const struct rule_state *r, struct signal_view *v, const struct turn *t,
                   double *ret)
{
    double difference = 0;
    int e = r->attacks ? contrast(r, v, t->text, &difference) : 0;
    if (r->rule->method == METHOD_contrastive) {
        *ret = difference;
        return e;
    }
    *ret = t->probability;
    if (t->error < 0 || e < 0)
        return t->error < 0 ? t->error : e;
    if (r->attacks)
        *ret = 1 - (1 - t->probability) * (1 - likelihood(difference));
    return 0;
}

static void judge(const struct state *s, const struct rule_state *r, struct signal_view *v,
                  const struct turn *turns, size_t n, struct signal_value *ret)
{
    double most = 0;
    int error = 0;
    for (size_t t = 0; t < (r->rule->include_history ? n : 1); t++) {
        double risk = 0;
        int e = risk_of(r, v, &turns[t], &risk);
        error = e < 0 ? e : error;
        most = e == 0 && risk > most ? risk : most;
    }
    bool match = most >= r->threshold;
    *ret =
        (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? fmin(most, 1) : 0, most };
    if (!match && error < 0)
        *ret = (struct signal_value){ s->on_error, s->on_error == TRUTH_true, 0 };
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct str earlier[MAX_TURNS];
    size_t n = s->history ? signal_earlier_turns(v, earlier, MAX_TURNS) : 0;
    struct turn *turns = arena_array(v->arena, n + 1, sizeof(*turns));
    if (!turns)
        return -ENOMEM;
    for (size_t t = 0; t <= n; t++) {
        turns[t] = (struct turn){ t ? earlier[t - 1] : v->text, 0, -ENOTSUP };
        if (s->model)
            turns[t].error =
                t ? learned_text_most(s->model, s->attack, earlier[t - 1], &turns[t].probability)
                  : learned_turn_most(s->model, s->attack, v, &turns[t].probability);
    }
    for (size_t i = 0; i < s->n; i++)
        judge(s, &s->rules[i], v, turns, n + 1, &values[i]);
    return 0;
}

const struct signal_family family_jailbreak = {
    .options = options,
    .rule_size = sizeof(struct jailbreak_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
