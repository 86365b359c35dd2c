#include "router/signals/signals.h"

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
    unsigned method;
    struct text_list keywords, both_keywords;
};

static const struct option detector_options[] = {
    OPT_WORD(struct detector, method, "method", methods, "classifier",
             "keyword and hybrid look for words; hybrid and classifier need a model"),
    OPT_TEXTS(struct detector, keywords, "keywords", 1000, "that ask for an image"),
    OPT_TEXTS(struct detector, both_keywords, "both_keywords", 1000, "that ask for text and image"),
    OPT_IGNORED("*", ""),
    OPT_END,
};

struct state {
    size_t first, n_literals; /* in the scanner */
    size_t n_both;            /* the first literals ask for both, the others for an image */
    bool only_keywords;
    unsigned *modality; /* of each rule */
    size_t n;
};

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

static int read_detector(struct detector *d, const struct signal_rules *rules)
{
    const struct node *n = rules->config->global;
    n = n ? node_get(n, "model_catalog") : NULL;
    n = n ? node_get(n, "modules") : NULL;
    n = n ? node_get(n, "modality_detector") : NULL;
    return schema_read(d, detector_options, n, "global.model_catalog.modules.modality_detector",
                       rules->arena, rules->p);
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
    int e = read_detector(&d, rules);
    if (e < 0 || d.method == METHOD_classifier)
        return e == -EINVAL ? 0 : e;
    s->only_keywords = d.method == METHOD_keyword;
    s->first = scanner_len(rules->scanner);
    e = add_all(d.both_keywords, rules);
    s->n_both = scanner_len(rules->scanner) - s->first;
    if (e == 0)
        e = add_all(d.keywords, rules);
    s->n_literals = scanner_len(rules->scanner) - s->first;
    if (e < 0)
        return e;
    *ret_state = s;
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    int e = signal_scan(v);
    if (e < 0)
        return e;
    const bool *found = v->found + s->first;
    bool both = memchr(found, true, s->n_both) != NULL;
    bool image = memchr(found + s->n_both, true, s->n_literals - s->n_both) != NULL;
    unsigned seen = both ? MODALITY_both : image ? MODALITY_diffusion : MODALITY_ar;
    double confidence = both ? 0.75 : 0.8;
    for (size_t i = 0; i < s->n; i++) {
        bool match = s->modality[i] == seen;
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? confidence : 0,
                                           match };
        if (!both && !image && !s->only_keywords)
            values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return 0;
}

const struct signal_family family_modality = {
    .options = options,
    .rule_size = sizeof(struct modality_rule),
    .compile = compile,
    .evaluate = evaluate,
};
