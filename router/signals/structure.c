#include "router/signals/signals.h"

#include "router/signals/pattern.h"
#include "router/signals/unicode.h"

#include <errno.h>

enum feature { FEATURE_exists, FEATURE_count, FEATURE_density, FEATURE_sequence };
enum source { SOURCE_regex, SOURCE_keyword_set, SOURCE_sequence, SOURCE_text_bytes };

static const char *const features[] = { "exists", "count", "density", "sequence", NULL };
static const char *const sources[] = { "regex", "keyword_set", "sequence", "text_bytes", NULL };

struct source_options {
    unsigned type;
    struct str pattern;
    struct text_list keywords;
    const struct node *sequences;
    bool case_sensitive;
};

struct feature_options {
    unsigned type;
    struct source_options source;
};

struct structure_rule {
    struct str name, description;
    struct feature_options feature;
    const struct node *predicate_node;
    struct predicate predicate;
};

static const struct option source_options[] = {
    OPT_WORD(struct source_options, type, "type", sources, OPTION_REQUIRED, "what is looked for"),
    OPT_TEXT(struct source_options, pattern, "pattern", NULL, "of regex"),
    OPT_TEXTS(struct source_options, keywords, "keywords", 10000, "of keyword_set"),
    OPT_NODE(struct source_options, sequences, "sequences",
             "of sequence: lists of texts that follow each other"),
    OPT_BOOL(struct source_options, case_sensitive, "case_sensitive", "false", "compare case"),
    OPT_END,
};

static const struct option feature_options[] = {
    OPT_WORD(struct feature_options, type, "type", features, OPTION_REQUIRED,
             "exists: 1 or 0; count; density: count per unit of text; sequence: 1 or 0"),
    OPT_SECTION(struct feature_options, source, "source", source_options, "what is looked for"),
    OPT_END,
};

static const struct option options[] = {
    OPT_TEXT(struct structure_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct structure_rule, description, "description", NULL, "for people"),
    OPT_SECTION(struct structure_rule, feature, "feature", feature_options, "what is measured"),
    OPT_NODE(struct structure_rule, predicate_node, "predicate",
             "gt, gte, lt, lte; absent: more than 0"),
    OPT_END,
};

struct chain {
    struct text_list texts;
    size_t first; /* number of the first text in the scanner, the others follow */
};

struct rule {
    const struct structure_rule *rule;
    struct pattern *pattern; /* owned by the state */
    size_t filter;           /* of the pattern */
    struct text_list texts;  /* keywords, as they are compared */
    size_t first;            /* number of the first keyword in the scanner, the others follow */
    struct chain *chains;    /* sequences */
    size_t n_chains;
};

struct state {
    struct rule *rules;
    size_t n;
};

static void *state_free(void *state)
{
    struct state *s = state;
    for (size_t i = 0; s && i < s->n; i++)
        (void)pattern_free(s->rules[i].pattern);
    return NULL;
}

/* ---- compiling ---- */

static int fold_list(struct text_list *ret, struct text_list from, bool as_is, struct arena *a)
{
    struct str *items = arena_array(a, from.n + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < from.n; i++) {
        items[i] =
            as_is ? unicode_valid_text(from.items[i], a) : unicode_fold_text(from.items[i], a);
        if (!items[i].p)
            return -ENOMEM;
    }
    *ret = (struct text_list){ items, from.n };
    return 0;
}

/* Hands texts to the scanner, in a row. */
static int scan_texts(const struct signal_rules *rules, struct text_list texts, unsigned flags,
                      size_t *ret_first)
{
    int e = 0;
    *ret_first = scanner_len(rules->scanner);
    for (size_t i = 0; e == 0 && i < texts.n; i++) {
        size_t number;
        e = scanner_literal(rules->scanner, texts.items[i], flags, &number);
    }
    return e;
}

static int read_keywords(const struct signal_rules *rules, size_t i, struct rule *into)
{
    const struct source_options *source = &into->rule->feature.source;
    unsigned flags = SCAN_bounded | (source->case_sensitive ? SCAN_exact : 0u);
    for (size_t k = 0; k < source->keywords.n; k++)
        if (source->keywords.items[k].n == 0)
            return signal_rule_error(rules, i, "feature", "a keyword is empty");
    int e = fold_list(&into->texts, source->keywords, source->case_sensitive, rules->arena);
    return e < 0 ? e : scan_texts(rules, into->texts, flags, &into->first);
}

static int read_chain(const struct signal_rules *rules, size_t i, const struct node *list,
                      bool as_is, struct chain *ret)
{
    bool texts = list->kind == NODE_list && list->n > 0;
    for (size_t k = 0; texts && k < list->n; k++)
        texts = list->items[k]->kind == NODE_scalar && list->items[k]->scalar.n > 0;
    if (!texts)
        return signal_rule_error(rules, i, "feature", "a sequence is a list of texts");
    struct str *items = arena_array(rules->arena, list->n, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t k = 0; k < list->n; k++)
        items[k] = list->items[k]->scalar;
    int e = fold_list(&ret->texts, (struct text_list){ items, list->n }, as_is, rules->arena);
    return e < 0 ? e : scan_texts(rules, ret->texts, as_is ? SCAN_exact : 0u, &ret->first);
}

static int read_chains(const struct signal_rules *rules, size_t i, struct rule *into)
{
    const struct source_options *source = &into->rule->feature.source;
    const struct node *list = source->sequences;
    if (!list || list->kind != NODE_list || list->n == 0)
        return signal_rule_error(rules, i, "feature",
                                 "source type sequence needs sequences: [[first, then], …]");
    into->chains = arena_array(rules->arena, list->n, sizeof(*into->chains));
    if (!into->chains)
        return -ENOMEM;
    int e = 0;
    for (size_t k = 0; e == 0 && k < list->n; k++)
        e = read_chain(rules, i, list->items[k], source->case_sensitive, &into->chains[k]);
    into->n_chains = e == 0 ? list->n : 0;
    return e;
}

static int read_source(const struct signal_rules *rules, size_t i, struct rule *into)
{
    const struct source_options *source = &into->rule->feature.source;
    char why[256];
    int e = 0;
    switch (source->type) {
    case SOURCE_regex:
        if (source->pattern.n == 0)
            return signal_rule_error(rules, i, "feature", "source type regex needs a pattern");
        e = pattern_new(&into->pattern, source->pattern, !source->case_sensitive, false, why,
                        sizeof(why));
        if (e == -EINVAL)
            return signal_rule_error(rules, i, "feature", "'%.*s' is %s", STR_ARG(source->pattern),
                                     why);
        into->filter = SCAN_NO_FILTER;
        if (e == 0 && !source->case_sensitive)
            e = scanner_filter(rules->scanner, source->pattern, false, &into->filter);
        return e;
    case SOURCE_keyword_set:
        if (source->keywords.n == 0)
            return signal_rule_error(rules, i, "feature", "source type keyword_set needs keywords");
        return read_keywords(rules, i, into);
    case SOURCE_sequence:
        return read_chains(rules, i, into);
    default:
        return 0;
    }
}

static int add_rule(const struct signal_rules *rules, size_t i, struct rule *into)
{
    struct structure_rule *r = (struct structure_rule *)rules->items + i;
    into->rule = r;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s[%zu].predicate", rules->path, i);
    int e = predicate_read(&r->predicate, r->predicate_node, path, rules->arena, rules->p);
    int k = read_source(rules, i, into);
    if (r->feature.type == FEATURE_sequence && r->feature.source.type != SOURCE_sequence)
        (void)signal_rule_error(rules, i, "feature", "type sequence needs source type sequence");
    if (k < 0 && k != -EINVAL)
        return k;
    return e < 0 && e != -EINVAL ? e : 0;
}

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (s)
        s->rules = arena_array(rules->arena, rules->n, sizeof(*s->rules));
    if (!s || !s->rules)
        return -ENOMEM;
    s->n = rules->n;
    for (size_t i = 0; i < rules->n; i++) {
        int e = add_rule(rules, i, &s->rules[i]);
        if (e < 0) {
            (void)state_free(s);
            return e;
        }
    }
    *ret_state = s;
    return 0;
}

/* ---- evaluating ---- */

/* Occurrences that do not overlap, each a whole word where the script has words. */
static size_t occurrences(struct str text, struct str what)
{
    size_t n = 0, at = 0;
    for (ptrdiff_t d; what.n && (d = str_find(str_sub(text, at), what)) >= 0;) {
        size_t from = at + (size_t)d;
        n += unicode_bounded(text, from, from + what.n);
        at = from + what.n;
    }
    return n;
}

static bool follows(struct str text, const struct chain *chain, const bool *found)
{
    const struct text_list *texts = &chain->texts;
    if (memchr(found + chain->first, false, texts->n))
        return false;
    for (size_t i = 0; i < texts->n; i++) {
        ptrdiff_t at = str_find(text, texts->items[i]);
        if (at < 0)
            return false;
        text = str_sub(text, (size_t)at + texts->items[i].n);
    }
    return texts->n > 0;
}

static ptrdiff_t count(const struct rule *r, struct signal_view *v, struct pattern_budget *budget)
{
    const struct source_options *source = &r->rule->feature.source;
    struct str text = source->case_sensitive ? v->text : v->folded;
    size_t n = 0;
    switch (source->type) {
    case SOURCE_regex:
        if (r->filter != SCAN_NO_FILTER && !v->found[r->filter])
            return 0;
        if (r->rule->feature.type == FEATURE_exists)
            return pattern_matches(r->pattern, v->text, budget);
        return pattern_count(r->pattern, v->text, budget);
    case SOURCE_keyword_set:
        for (size_t i = 0; i < r->texts.n; i++)
            if (v->found[r->first + i])
                n += occurrences(text, r->texts.items[i]);
        return (ptrdiff_t)n;
    case SOURCE_sequence:
        for (size_t i = 0; n == 0 && i < r->n_chains; i++)
            n = follows(text, &r->chains[i], v->found);
        return (ptrdiff_t)n;
    default:
        return (ptrdiff_t)v->text.n;
    }
}

static struct signal_value measure(const struct rule *r, struct signal_view *v, double units,
                                   struct pattern_budget *budget)
{
    ptrdiff_t n = count(r, v, budget);
    if (n < 0)
        return (struct signal_value){ TRUTH_unknown, 0, 0 };
    double value = (double)n;
    if (r->rule->feature.type == FEATURE_density)
        value = units > 0 ? value / units : 0;
    else if (r->rule->feature.type != FEATURE_count)
        value = n > 0;
    return signal_measured(value, &r->rule->predicate);
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct pattern_budget budget = { .arena = v->arena };
    int r = signal_scan(v);
    if (r < 0)
        return r;
    if (str_trim(v->text).n == 0) { /* nothing to measure: no rule matches */
        for (size_t i = 0; i < s->n; i++)
            values[i] = (struct signal_value){ TRUTH_false, 0, 0 };
        return 0;
    }
    double units = (double)unicode_units(v->text);
    for (size_t i = 0; i < s->n; i++)
        values[i] = measure(&s->rules[i], v, units, &budget);
    return 0;
}

const struct signal_family family_structure = {
    .options = options,
    .rule_size = sizeof(struct structure_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
