/*
 * Embeddings: the user's turn is like a rule's examples (semantic-router.md 2.1).
 *
 * A rule matches at its threshold; when none does, the best one may match softly; the best `top_k`
 * of those are said to match.
 */
#include "router/signals/signals.h"
#include "router/vectors/bank.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const aggregations[] = { "mean", "max", "any", NULL };
enum { AGGREGATE_mean };
static const char *const query_modalities[] = { "text", "image", NULL };
enum { QUERY_text };

struct embedding_rule {
    struct str name, description;
    double threshold;
    unsigned aggregation, query_modality;
    struct text_list candidates;
};

static const struct option embedding_options[] = {
    OPT_TEXT(struct embedding_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct embedding_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct embedding_rule, threshold, "threshold", 0, 1, "0.75", "least similarity"),
    OPT_WORD(struct embedding_rule, aggregation, "aggregation_method", aggregations, "max",
             "over the candidates"),
    OPT_WORD(struct embedding_rule, query_modality, "query_modality", query_modalities, "text",
             "what is compared; images are not"),
    OPT_TEXTS(struct embedding_rule, candidates, "candidates", 10000, "examples"),
    OPT_END,
};

struct embedding_settings {
    bool soft;
    double min_score;
    uint64_t top_k;
    const struct node *prototypes;
};

static const struct option settings_options[] = {
    OPT_BOOL(struct embedding_settings, soft, "enable_soft_matching", "true",
             "when no rule reaches its threshold, the best one matches"),
    OPT_FLOAT(struct embedding_settings, min_score, "min_score_threshold", 0, 1, "0.5",
              "least similarity of such a match"),
    OPT_UINT(struct embedding_settings, top_k, "top_k", 0, 10000, "1",
             "so many rules match at once; 0: all"),
    OPT_NODE(struct embedding_settings, prototypes, "prototype_scoring", "of examples"),
    OPT_IGNORED("backend", "the space is the lexical one, or that of engine.embedding"),
    OPT_IGNORED("model_type", "the space is the lexical one, or that of engine.embedding"),
    OPT_IGNORED("preload_embeddings", "examples are always embedded at load"),
    OPT_IGNORED("target_dimension", "vectors are compared whole"),
    OPT_IGNORED("target_layer", "vectors are compared whole"),
    OPT_IGNORED("*", "not known to this version"),
    OPT_END,
};

#define SETTINGS_PATH "model_catalog.embeddings.semantic.embedding_config"

struct compiled_rule {
    struct bank *bank; /* owned; NULL: not about text, so unknown */
    double threshold;
    bool mean;
};

struct embedding_state {
    struct embedding_settings settings;
    size_t n;
    struct compiled_rule rules[];
};

static void *embedding_free(void *state)
{
    struct embedding_state *s = state;
    for (size_t i = 0; s && i < s->n; i++)
        (void)bank_free(s->rules[i].bank);
    free(s);
    return NULL;
}

static void freep(struct embedding_state **s)
{
    (void)embedding_free(*s);
}

static int compile_rule(struct compiled_rule *ret, const struct signal_rules *rules, size_t i,
                        const struct bank_options *o)
{
    const struct embedding_rule *r = (const struct embedding_rule *)rules->items + i;
    struct fail fail = { 0 };
    *ret = (struct compiled_rule){ NULL, r->threshold, r->aggregation == AGGREGATE_mean };
    if (r->query_modality != QUERY_text) {
        signal_rule_warning(rules, i, "query_modality",
                            "images are not compared by this version: the signal '%.*s' is "
                            "unknown",
                            STR_ARG(r->name));
        return 0;
    }
    int e = bank_new(&ret->bank, rules->space, r->candidates.items, r->candidates.n, o, &fail);
    return e > 0 ? signal_rule_error(rules, i, "candidates", "%s", fail.message) : e;
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct embedding_state *s = calloc(1, sizeof(*s) + rules->n * sizeof(*s->rules));
    struct bank_options o = { 0 };
    if (!s)
        return -ENOMEM;
    int e = schema_read(&s->settings, settings_options, signal_setting(rules, SETTINGS_PATH),
                        "global." SETTINGS_PATH, rules->arena, rules->p);
    if (e == 0)
        e = bank_options_read(&o, s->settings.prototypes,
                              "global." SETTINGS_PATH ".prototype_scoring", rules->arena, rules->p);
    for (size_t i = 0; i < rules->n && e == 0; i++) {
        e = compile_rule(&s->rules[i], rules, i, &o);
        s->n++;
    }
    if (e != 0)
        return e;
    *ret = TAKE(s);
    return 0;
}

/* The best rule that `values` does not yet call true, among those at `least` or above; n: none. */
static size_t best_of(const struct embedding_state *s, const struct signal_value *values,
                      const double *least)
{
    size_t best = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (values[i].value == TRUTH_false &&
            values[i].raw >= (least ? *least : s->rules[i].threshold) &&
            (best == s->n || values[i].raw > values[best].raw))
            best = i;
    return best;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct embedding_state *s = state;
    const struct text_vector *turn;
    int e = signal_vector(v, v->text, &turn);
    if (e < 0)
        return e;
    for (size_t i = 0; i < s->n; i++) {
        values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
        if (!s->rules[i].bank)
            continue;
        struct bank_score score = bank_score(s->rules[i].bank, turn);
        values[i] =
            (struct signal_value){ TRUTH_false, 0, s->rules[i].mean ? score.mean : score.score };
    }
    size_t most = s->settings.top_k ? s->settings.top_k : s->n, n = 0;
    size_t best = best_of(s, values, /* least= */ NULL);
    if (best == s->n && s->settings.soft)
        best = best_of(s, values, &s->settings.min_score), n = most - 1;
    for (; best < s->n && n < most; n++) {
        values[best].value = TRUTH_true;
        values[best].confidence = values[best].raw;
        best = best_of(s, values, /* least= */ NULL);
    }
    return 0;
}

const struct signal_family family_embedding = {
    .options = embedding_options,
    .rule_size = sizeof(struct embedding_rule),
    .compile = compile,
    .free = embedding_free,
    .evaluate = evaluate,
    .compares = true,
};
