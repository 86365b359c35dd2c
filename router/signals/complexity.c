/*
 * Complexity: whether the user's turn is hard, medium or easy, by examples of both
 * (semantic-router.md 2.1). A rule has three signals, of which one matches: name:hard, name:medium,
 * name:easy. A composer, which must hold as well, is asked by whoever evaluates the policy. A rule
 * without any example goes by how hard the text looks.
 */
#include "router/linear/difficulty.h"
#include "router/signals/signals.h"
#include "router/vectors/bank.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum level { LEVEL_hard, LEVEL_medium, LEVEL_easy, LEVEL_N };
/*
 * Without an encoder a text that shares little with any example is still a little more like one
 * bank than the other, by its language above all. Its margin counts as far as the likeness to the
 * nearer bank rises from the first to the second.
 */
#define LIKENESS_NONE 0.4
#define LIKENESS_FULL 0.6

static const char *const levels[] = { "hard", "medium", "easy", NULL };

struct example_set {
    struct text_list candidates, image_candidates;
};

static const struct option example_options[] = {
    OPT_TEXTS(struct example_set, candidates, "candidates", 10000, "examples"),
    OPT_TEXTS(struct example_set, image_candidates, "image_candidates", 10000, "for images"),
    OPT_END,
};

struct complexity_rule {
    struct str name, description;
    double threshold;
    struct example_set hard, easy;
    const struct node *composer;
};

static const struct option options[] = {
    OPT_TEXT(struct complexity_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct complexity_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct complexity_rule, threshold, "threshold", 0, 1, "0.1",
              "margin of hard over easy"),
    OPT_SECTION(struct complexity_rule, hard, "hard", example_options, "examples of hard requests"),
    OPT_SECTION(struct complexity_rule, easy, "easy", example_options, "examples of easy requests"),
    OPT_NODE(struct complexity_rule, composer, "composer", "a rule that must hold as well"),
    OPT_END,
};

#define SETTINGS_PATH "model_catalog.modules.complexity"

struct settings {
    const struct node *prototypes;
};

static const struct option settings_options[] = {
    OPT_NODE(struct settings, prototypes, "prototype_scoring", "of examples"),
    OPT_END,
};

struct compiled {
    struct bank *hard, *easy; /* owned */
    double threshold;
    bool no_examples;
};

struct state {
    bool lexical;
    size_t n;
    struct compiled rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    for (size_t i = 0; s && i < s->n; i++) {
        (void)bank_free(s->rules[i].hard);
        (void)bank_free(s->rules[i].easy);
    }
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

static int make_bank(struct bank **ret, const struct text_list *examples,
                     const struct signal_rules *rules, size_t i, const struct bank_options *o)
{
    struct fail fail = { 0 };
    int e = bank_new(ret, rules->space, examples->items, examples->n, o, &fail);
    return e > 0 ? signal_rule_error(rules, i, NULL, "%s", fail.message) : e;
}

static int compile_rule(struct compiled *ret, const struct signal_rules *rules, size_t i,
                        const struct bank_options *o)
{
    const struct complexity_rule *r = (const struct complexity_rule *)rules->items + i;
    *ret = (struct compiled){ NULL, NULL, r->threshold,
                              r->hard.candidates.n + r->easy.candidates.n == 0 };
    if (r->hard.image_candidates.n || r->easy.image_candidates.n)
        signal_rule_warning(rules, i, NULL,
                            "images are not compared by this version: the texts alone decide");
    int e = make_bank(&ret->hard, &r->hard.candidates, rules, i, o);
    return e < 0 ? e : make_bank(&ret->easy, &r->easy.candidates, rules, i, o);
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(*s->rules));
    struct settings settings = { NULL };
    struct bank_options o;
    if (!s)
        return -ENOMEM;
    s->lexical = !vector_space_blocks(rules->space);
    int e = schema_read(&settings, settings_options, signal_setting(rules, SETTINGS_PATH),
                        "global." SETTINGS_PATH, rules->arena, rules->p);
    if (e == 0)
        e = bank_options_read(&o, settings.prototypes, "global." SETTINGS_PATH ".prototype_scoring",
                              rules->arena, rules->p);
    for (size_t i = 0; i < rules->n && e == 0; i++) {
        s->n++;
        e = compile_rule(&s->rules[i], rules, i, &o);
    }
    if (e != 0)
        return e;
    *ret = TAKE(s);
    return 0;
}

static void set_levels(struct signal_value *values, double margin, double threshold)
{
    enum level level = margin > threshold    ? LEVEL_hard
                       : margin < -threshold ? LEVEL_easy
                                             : LEVEL_medium;
    for (size_t k = 0; k < LEVEL_N; k++) {
        bool match = k == level;
        values[k] = (struct signal_value){ match ? TRUTH_true : TRUTH_false,
                                           match ? fmin(fabs(margin), 1) : 0, margin };
    }
}

static double margin_of(const struct state *s, const struct compiled *c,
                        const struct text_vector *turn)
{
    double hard = bank_score(c->hard, turn).score, easy = bank_score(c->easy, turn).score;
    double likeness = (fmax(hard, easy) - LIKENESS_NONE) / (LIKENESS_FULL - LIKENESS_NONE);
    return (hard - easy) * (s->lexical ? fmin(fmax(likeness, 0), 1) : 1);
}

/* From -1, as short as can be, over 0 at some forty words to 1. */
static double margin_of_looks(struct str text)
{
    return 2 * (double)difficulty_of(text) - 1;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    const struct text_vector *turn;
    int e = signal_vector(v, v->text, &turn);
    for (size_t i = 0; i < s->n && e == 0; i++) {
        const struct compiled *c = &s->rules[i];
        double margin = c->no_examples ? margin_of_looks(v->text) : margin_of(s, c, turn);
        set_levels(values + i * LEVEL_N, margin, c->threshold);
    }
    return e;
}

static const struct node *gate(const void *rule)
{
    return ((const struct complexity_rule *)rule)->composer;
}

const struct signal_family family_complexity = {
    .options = options,
    .rule_size = sizeof(struct complexity_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
    .levels = levels,
    .gate = gate,
    .compares = true,
};
