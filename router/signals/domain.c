/*
 * Subjects (semantic-router.md 2.1): a shipped classifier says how likely each of the fourteen
 * classes of MMLU-Pro is.
 *
 * While it is sure (normalised entropy below SURE) only the likeliest counts, otherwise every class
 * at the threshold. A rule of several classes counts with their sum. Nothing at the threshold: the
 * fallback category. A rule whose name and categories are none of the classes is told by how alike
 * the turn is to its name and description.
 */
#include "router/signals/learned.h"

#include "router/models/shipped.h"
#include "router/vectors/vectors.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_DOMAINS = 32 };
static const double SURE = 0.4; /* normalised entropy */

struct model_score {
    struct str model;
    double score;
    bool use_reasoning;
};

static const struct option model_score_options[] = {
    OPT_TEXT(struct model_score, model, "model", OPTION_REQUIRED, "a model of the policy"),
    OPT_FLOAT(struct model_score, score, "score", 0, 1, "0", "how good it is in the domain"),
    OPT_BOOL(struct model_score, use_reasoning, "use_reasoning", "false", "let it reason"),
    OPT_END,
};

struct domain_rule {
    struct str name, description;
    struct text_list mmlu_categories;
    struct item_list model_scores;
};

static const struct option options[] = {
    OPT_TEXT(struct domain_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct domain_rule, description, "description", NULL,
             "for people; compared where neither name nor categories are known"),
    OPT_TEXTS(struct domain_rule, mmlu_categories, "mmlu_categories", 100, "classes it covers"),
    OPT_LIST(struct domain_rule, model_scores, "model_scores", 1000, model_score_options,
             struct model_score, "which model is how good in it"),
    OPT_END,
};

struct module { /* global.model_catalog.modules.classifier.domain */
    bool enabled;
    double threshold;
    struct str fallback;
};
#define MODULE_PATH "model_catalog.modules.classifier.domain"

static const struct option module_options[] = {
    OPT_BOOL(struct module, enabled, "enabled", "true", "false: its leaves are unknown"),
    OPT_FLOAT(struct module, threshold, "threshold", 0, 1, "0.5", "least probability"),
    OPT_TEXT(struct module, fallback, "fallback_category", "other",
             "what a turn is that no class is likely enough for"),
    OPT_IGNORED("*", "the classifier is the shipped one"),
    OPT_END,
};

struct state {
    struct classifier_file *model; /* owned */
    double threshold;
    int fallback; /* class; -1: none */
    const struct vector_space *space;
    struct arena *arena; /* owned; of the vectors */
    size_t n;
    struct {
        uint32_t classes;                /* bits; 0: told by likeness */
        const struct text_vector *about; /* its name and description; NULL: unknown */
    } rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (s) {
        (void)classifier_file_close(s->model);
        (void)arena_free(s->arena);
    }
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

/* Blanks, '-' and '_' are alike, case does not matter. */
static bool same_name(struct str label, struct str name)
{
    size_t i = 0;
    while (i < label.n && label.n == name.n &&
           (tolower((unsigned char)name.p[i]) == label.p[i] ||
            (label.p[i] == ' ' && (name.p[i] == '_' || name.p[i] == '-'))))
        i++;
    return i == label.n && i == name.n;
}

/* The class of that name; -1: none. */
static int class_of(const struct state *s, struct str name)
{
    for (uint32_t c = 0; c < classifier_file_classes(s->model); c++)
        if (same_name(classifier_file_label(s->model, c), name))
            return (int)c;
    return -1;
}

static int describe(struct state *s, const struct signal_rules *rules, size_t i)
{
    const struct domain_rule *r = (const struct domain_rule *)rules->items + i;
    struct fail fail = { 0 };
    char *name = arena_cstr(rules->arena, r->name);
    const char *text =
        name ? arena_printf(rules->arena, "%s. %.*s", name, STR_ARG(r->description)) : NULL;
    if (!text)
        return -ENOMEM;
    for (char *at = name; *at; at++)
        *at = *at == '_' || *at == '-' ? ' ' : *at;
    struct str about = str_of(text);
    int e = vectors_of(s->space, &about, 1, s->arena, &s->rules[i].about, &fail);
    return e > 0 ? signal_rule_error(rules, i, "description", "%s", fail.message) : e;
}

static int compile_rule(struct state *s, const struct signal_rules *rules, size_t i)
{
    const struct domain_rule *r = (const struct domain_rule *)rules->items + i;
    int c = class_of(s, r->name);
    if (c >= 0)
        s->rules[i].classes |= UINT32_C(1) << c;
    for (size_t k = 0; k < r->mmlu_categories.n; k++) {
        c = class_of(s, r->mmlu_categories.items[k]);
        if (c >= 0)
            s->rules[i].classes |= UINT32_C(1) << c;
    }
    return s->rules[i].classes || !s->space ? 0 : describe(s, rules, i);
}

static int compile(void **ret, const struct signal_rules *rules)
{
    enum { VECTOR_BYTES = 64 << 20 };
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    struct module m;
    if (!s)
        return -ENOMEM;
    int e = schema_read(&m, module_options, signal_setting(rules, MODULE_PATH),
                        "global." MODULE_PATH, rules->arena, rules->p);
    if (e < 0 || !m.enabled)
        return e;
    e = learned_open(&s->model, "domain.model", shipped_domain(), rules);
    if (e < 0 || !s->model || classifier_file_classes(s->model) > MAX_DOMAINS)
        return e;
    s->arena = arena_new(VECTOR_BYTES);
    if (!s->arena)
        return -ENOMEM;
    s->space = rules->space;
    s->threshold = m.threshold;
    s->fallback = class_of(s, m.fallback);
    s->n = rules->n;
    for (size_t i = 0; i < s->n && e == 0; i++)
        e = compile_rule(s, rules, i);
    if (e == 0)
        *ret = TAKE(s);
    return e;
}

/* ---- evaluating ---- */

struct seen {
    float p[MAX_DOMAINS];
    uint32_t n, best;
    bool sure;
};

static int look(const struct state *s, struct signal_view *v, struct seen *ret)
{
    const struct features *f;
    int e = learned_turn(v, &f);
    if (e < 0)
        return e;
    *ret = (struct seen){ .n = classifier_file_classes(s->model) };
    classifier_file_read(s->model, f, ret->p);
    double entropy = 0;
    for (uint32_t c = 0; c < ret->n; c++) {
        double p = (double)ret->p[c];
        entropy -= p > 0 ? p * log(p) : 0;
        ret->best = ret->p[c] > ret->p[ret->best] ? c : ret->best;
    }
    ret->sure = entropy / log(ret->n) < SURE;
    return 0;
}

static double sum_of(const struct seen *t, uint32_t classes)
{
    double sum = 0;
    for (uint32_t c = 0; c < t->n; c++)
        sum += classes >> c & 1 ? (double)t->p[c] : 0;
    return sum;
}

/* Whether a rule of these classes matches. */
static bool holds(const struct state *s, const struct seen *t, uint32_t classes)
{
    if (t->sure && (double)t->p[t->best] >= s->threshold)
        return classes >> t->best & 1;
    return sum_of(t, classes) >= s->threshold;
}

/* How likely a turn this alike to what describes a rule is meant by it: fitted to names of intents
 * and what people say who mean them. */
static double likelihood(double similarity)
{
    static const double MIDDLE = 0.32, STEEP = 13.5;
    return 1 / (1 + exp(-STEEP * (similarity - MIDDLE)));
}

static int evaluate_alike(const struct state *s, struct signal_view *v, size_t i,
                          struct signal_value *ret)
{
    const struct text_vector *turn;
    *ret = (struct signal_value){ TRUTH_unknown, 0, 0 };
    int e = s->rules[i].about ? signal_vector(v, v->text, &turn) : -ENOTSUP;
    if (e < 0)
        return e == -ENOMEM ? e : 0;
    double p = likelihood(vector_similarity(s->space, turn, s->rules[i].about));
    bool match = p >= s->threshold;
    *ret = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? p : 0, p };
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct seen t;
    bool any = false;
    int e = look(s, v, &t);
    for (size_t i = 0; i < s->n && e == 0; i++) {
        uint32_t classes = s->rules[i].classes;
        if (!classes) {
            e = evaluate_alike(s, v, i, &values[i]);
        } else {
            double p = sum_of(&t, classes);
            bool match = holds(s, &t, classes);
            values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? p : 0, p };
        }
        any |= values[i].value == TRUTH_true;
    }
    any |= (double)t.p[t.best] >= s->threshold; /* a class that no rule is about */
    for (size_t i = 0; i < s->n && e == 0 && !any && s->fallback >= 0; i++)
        if (s->rules[i].classes >> s->fallback & 1)
            values[i] = (struct signal_value){ TRUTH_true, values[i].raw, values[i].raw };
    return e;
}

const struct signal_family family_domain = {
    .options = options,
    .rule_size = sizeof(struct domain_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
