#include "router/signals/learned.h"

#include "router/models/shipped.h"
#include "router/signals/unicode.h"

#include <errno.h>

enum method { METHOD_classifier, METHOD_keyword, METHOD_hybrid };
enum modality { MODALITY_ar, MODALITY_diffusion, MODALITY_both, MODALITY_N };

static const char *const methods[] = { "classifier", "keyword", "hybrid", NULL };
static const char *const modalities[] = { "AR", "DIFFUSION", "BOTH" };

struct modality_rule {
    struct str name, description;
};

static const struct option options[] = {
    OPT_TEXT(struct modality_rule, name, "name", OPTION_REQUIRED, "AR, DIFFUSION or BOTH"),
    OPT_TEXT(struct modality_rule, description, "description", NULL, "for people"),
    OPT_END,
};

struct detector { /* global.model_catalog.modules.modality_detector */
    bool enabled;
    unsigned method;
    struct text_list prefixes, keywords, both_keywords;
    double threshold, lower_ratio;
};

static const struct option detector_options[] = {
    OPT_BOOL(struct detector, enabled, "enabled", "true", "false: its leaves are unknown"),
    OPT_WORD(struct detector, method, "method", methods, "classifier",
             "keyword looks for words; classifier asks the shipped one; hybrid does both"),
    OPT_TEXTS(struct detector, prefixes, "prompt_prefixes", 1000, "a turn for an image begins so"),
    OPT_TEXTS(struct detector, keywords, "keywords", 1000, "that ask for an image"),
    OPT_TEXTS(struct detector, both_keywords, "both_keywords", 1000, "that ask for text and image"),
    OPT_FLOAT(struct detector, threshold, "confidence_threshold", 0, 1, "0.7",
              "least probability of the classifier"),
    OPT_FLOAT(struct detector, lower_ratio, "lower_threshold_ratio", 0, 1, "0.7",
              "of it, where words tell nothing either"),
    OPT_IGNORED("*", "the classifier is the shipped one"),
    OPT_END,
};

struct state {
    enum method method;
    struct classifier_file *model;    /* owned; NULL: cannot be read, or is not asked */
    uint32_t modality_of[MODALITY_N]; /* of a class of the model */
    double threshold, lower;
    size_t first, n_both, n_literals; /* in the scanner: those for both, then those for an image */
    const struct str *prefixes;       /* folded */
    size_t n_prefixes;
    unsigned *modality; /* of each rule */
    size_t n;
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (s)
        (void)classifier_file_close(s->model);
    return NULL;
}

static int add_all(struct text_list list, const struct signal_rules *rules)
{
    for (size_t i = 0; i < list.n; i++) {
        struct str text = unicode_fold_text(str_trim(list.items[i]), rules->arena);
        size_t number;
        int e = text.p ? 0 : -ENOMEM;
        if (text.n)
            e = scanner_literal(rules->scanner, text, SCAN_bounded, &number);
        if (e < 0)
            return e;
    }
    return 0;
}

#define DETECTOR_PATH "model_catalog.modules.modality_detector"

static int add_words(struct state *s, const struct detector *d, const struct signal_rules *rules)
{
    struct str *prefixes = arena_array(rules->arena, d->prefixes.n, sizeof(*prefixes));
    if (d->prefixes.n && !prefixes)
        return -ENOMEM;
    for (size_t i = 0; i < d->prefixes.n; i++) {
        prefixes[s->n_prefixes] = unicode_fold_text(str_trim(d->prefixes.items[i]), rules->arena);
        if (!prefixes[s->n_prefixes].p)
            return -ENOMEM;
        s->n_prefixes += prefixes[s->n_prefixes].n > 0;
    }
    s->prefixes = prefixes;
    s->first = scanner_len(rules->scanner);
    int e = add_all(d->both_keywords, rules);
    s->n_both = scanner_len(rules->scanner) - s->first;
    if (e == 0)
        e = add_all(d->keywords, rules);
    s->n_literals = scanner_len(rules->scanner) - s->first;
    return e;
}

static int ask_model(struct state *s, const struct detector *d, const struct signal_rules *rules)
{
    int e = learned_open(&s->model, "modality.model", shipped_modality(), rules);
    s->threshold = d->threshold;
    s->lower = d->threshold * d->lower_ratio;
    if (e < 0 || !s->model)
        return e;
    for (unsigned m = 0; m < MODALITY_N; m++) {
        int class = classifier_file_find(s->model, str_of(modalities[m]));
        if (class < 0 || classifier_file_classes(s->model) != MODALITY_N) {
            s->model = classifier_file_close(s->model);
            return 0;
        }
        s->modality_of[class] = m;
    }
    return 0;
}

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct detector d = { 0 };
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    unsigned *modality = arena_array(rules->arena, rules->n, sizeof(*modality));
    if (!s || !modality)
        return -ENOMEM;
    *s = (struct state){ .modality = modality, .n = rules->n };
    for (size_t i = 0; i < rules->n; i++) {
        const struct modality_rule *r = (const struct modality_rule *)rules->items + i;
        while (modality[i] < MODALITY_N && !str_is(r->name, modalities[modality[i]]))
            modality[i]++;
        if (modality[i] == MODALITY_N)
            (void)signal_rule_error(rules, i, "name", "'%.*s' is not one of AR, DIFFUSION, BOTH",
                                    STR_ARG(r->name));
    }
    int e = schema_read(&d, detector_options, signal_setting(rules, DETECTOR_PATH),
                        "global." DETECTOR_PATH, rules->arena, rules->p);
    if (e < 0 || !d.enabled)
        return e == -EINVAL ? 0 : e;
    s->method = (enum method)d.method;
    if (s->method != METHOD_classifier)
        e = add_words(s, &d, rules);
    if (e == 0 && s->method != METHOD_keyword)
        e = ask_model(s, &d, rules);
    if (e < 0)
        return e;
    if (s->method != METHOD_classifier || s->model)
        *ret_state = s;
    return 0;
}

/* ---- evaluating ---- */

struct seen {
    unsigned modality;
    double confidence;
    bool sure; /* else: nothing told against text alone */
};

static int by_words(const struct state *s, struct signal_view *v, struct seen *ret)
{
    int e = signal_scan(v);
    if (e < 0)
        return e;
    const bool *found = v->found + s->first;
    bool both = memchr(found, true, s->n_both) != NULL;
    bool image = memchr(found + s->n_both, true, s->n_literals - s->n_both) != NULL;
    struct str text = str_trim(v->folded);
    for (size_t i = 0; i < s->n_prefixes && !image; i++)
        image = str_starts(text, s->prefixes[i]) && unicode_bounded(text, 0, s->prefixes[i].n);
    *ret = (struct seen){ MODALITY_ar, 0.8, both || image };
    if (both)
        *ret = (struct seen){ MODALITY_both, 0.75, true };
    else if (image)
        ret->modality = MODALITY_diffusion;
    return 0;
}

static int by_model(const struct state *s, struct signal_view *v, double p[MODALITY_N])
{
    const struct features *f;
    float read[MODALITY_N];
    int e = learned_turn(v, &f);
    if (e < 0)
        return e;
    classifier_file_read(s->model, f, read);
    for (unsigned c = 0; c < MODALITY_N; c++)
        p[s->modality_of[c]] = (double)read[c];
    return 0;
}

static unsigned likeliest(const double p[MODALITY_N])
{
    unsigned best = MODALITY_ar;
    for (unsigned m = 0; m < MODALITY_N; m++)
        best = p[m] > p[best] ? m : best;
    return best;
}

/* The model where it is sure; else the words; else the model at its lower threshold; else text. */
static int look(const struct state *s, struct signal_view *v, struct seen *ret)
{
    double p[MODALITY_N];
    int e = s->method == METHOD_classifier ? 0 : by_words(s, v, ret);
    if (e < 0 || s->method == METHOD_keyword) {
        ret->sure = true;
        return e;
    }
    if (!s->model)
        return 0;
    e = by_model(s, v, p);
    if (e < 0)
        return e;
    unsigned best = likeliest(p);
    bool words = s->method == METHOD_hybrid && ret->sure;
    if (p[best] >= s->threshold || (!words && s->method == METHOD_hybrid && p[best] >= s->lower))
        *ret = (struct seen){ best, p[best], true };
    else if (!words)
        *ret = (struct seen){ MODALITY_ar, p[MODALITY_ar], true };
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct seen seen = { 0 };
    int e = look(s, v, &seen);
    for (size_t i = 0; i < s->n && e == 0; i++) {
        bool match = s->modality[i] == seen.modality;
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false,
                                           match ? seen.confidence : 0, match };
        if (!seen.sure)
            values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return e;
}

const struct signal_family family_modality = {
    .options = options,
    .rule_size = sizeof(struct modality_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
