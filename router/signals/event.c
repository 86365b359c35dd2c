#include "router/signals/signals.h"

#include "router/signals/pattern.h"
#include "router/signals/unicode.h"

#include <errno.h>

struct event_rule {
    struct str name, description;
    struct text_list event_types, severities, action_codes;
    bool temporal;
};

static const struct option options[] = {
    OPT_TEXT(struct event_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct event_rule, description, "description", NULL, "for people"),
    OPT_TEXTS(struct event_rule, event_types, "event_types", 1000, "such as payment_failed"),
    OPT_TEXTS(struct event_rule, severities, "severities", 16, "critical, high, medium, low"),
    OPT_TEXTS(struct event_rule, action_codes, "action_codes", 1000, "such as TXN_DECLINE"),
    OPT_BOOL(struct event_rule, temporal, "temporal", "false", "a point in time is named"),
    OPT_END,
};

/* A date, a clock time, or a word that places the event in time. */
static const char temporal_pattern[] =
    "\\b\\d{4}-\\d{2}-\\d{2}\\b|\\b\\d{1,2}:\\d{2}\\b|"
    "\\b(?:now|today|yesterday|tomorrow|tonight|this (?:morning|afternoon|evening|week|month)|"
    "last (?:night|week|month|hour)|(?:\\d+|a few|an?) (?:seconds?|minutes?|hours?|days?|weeks?) "
    "ago|at (?:noon|midnight)|since \\w+day)\\b";

enum { CRITERIA = 3 };

struct span {
    size_t from, n; /* numbers of literals */
};

struct rule {
    const struct event_rule *rule;
    struct span criteria[CRITERIA];
    size_t n_criteria; /* that the rule names, `temporal` among them */
};

struct state {
    struct pattern *temporal;
    size_t temporal_filter;
    struct rule *rules;
    size_t n;
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (s)
        (void)pattern_free(s->temporal);
    return NULL;
}

/* "payment_failed" also stands in a text as "payment failed" and "payment-failed". */
static int add_spellings(const struct signal_rules *rules, struct str word, struct span *span)
{
    static const char joints[] = "_ -";
    struct arena *a = rules->arena;
    struct str folded = unicode_fold_text(word, a);
    if (!folded.p)
        return -ENOMEM;
    bool joined = memchr(folded.p, '_', folded.n) || memchr(folded.p, '-', folded.n);
    for (size_t k = 0; k < (joined ? 3 : 1); k++) {
        struct str copy = arena_str(a, folded);
        if (!copy.p)
            return -ENOMEM;
        char *p = (char *)copy.p; /* ours: just copied */
        for (size_t i = 0; joined && i < copy.n; i++)
            if (p[i] == '_' || p[i] == '-')
                p[i] = joints[k];
        size_t number;
        int e = scanner_literal(rules->scanner, copy, SCAN_bounded, &number);
        if (e < 0)
            return e;
        span->n++;
    }
    return 0;
}

static int add_list(const struct signal_rules *rules, size_t i, struct text_list list,
                    struct span *span)
{
    span->from = scanner_len(rules->scanner);
    for (size_t k = 0; k < list.n; k++) {
        if (str_trim(list.items[k]).n == 0)
            return signal_rule_error(rules, i, NULL, "a word of the event is empty");
        int e = add_spellings(rules, list.items[k], span);
        if (e < 0)
            return e;
    }
    return 0;
}

static int build(struct state *s, const struct signal_rules *rules)
{
    char why[128];
    s->rules = arena_array(rules->arena, rules->n, sizeof(*s->rules));
    if (!s->rules)
        return -ENOMEM;
    int e = pattern_new(&s->temporal, str_of(temporal_pattern), true, false, why, sizeof(why));
    if (e == 0)
        e = scanner_filter(rules->scanner, str_of(temporal_pattern), false, &s->temporal_filter);
    s->n = rules->n;
    for (size_t i = 0; e == 0 && i < rules->n; i++) {
        const struct event_rule *r = (const struct event_rule *)rules->items + i;
        const struct text_list lists[] = { r->event_types, r->severities, r->action_codes };
        struct rule *into = &s->rules[i];
        into->rule = r;
        into->n_criteria = r->temporal;
        for (size_t k = 0; e == 0 && k < CRITERIA; k++) {
            into->n_criteria += lists[k].n > 0;
            e = add_list(rules, i, lists[k], &into->criteria[k]);
        }
        if (into->n_criteria == 0)
            e = signal_rule_error(rules, i, NULL, "the event names nothing to look for");
    }
    return e;
}

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    int e = build(s, rules);
    if (e < 0 && e != -EINVAL) {
        (void)state_free(s);
        return e;
    }
    *ret_state = s;
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct pattern_budget budget = { .arena = v->arena };
    int e = signal_scan(v), temporal = 0;
    if (e == 0 && (s->temporal_filter == SCAN_NO_FILTER || v->found[s->temporal_filter]))
        temporal = pattern_matches(s->temporal, v->text, &budget);
    for (size_t i = 0; e == 0 && i < s->n; i++) {
        const struct rule *r = &s->rules[i];
        size_t matched = r->rule->temporal && temporal > 0;
        for (size_t k = 0; k < CRITERIA; k++)
            matched += memchr(v->found + r->criteria[k].from, true, r->criteria[k].n) != NULL;
        double share = (double)matched / (double)(r->n_criteria ? r->n_criteria : 1);
        values[i] = (struct signal_value){ matched ? TRUTH_true : TRUTH_false,
                                           matched ? 0.5 + 0.5 * share : 0, (double)matched };
    }
    return e;
}

const struct signal_family family_event = {
    .options = options,
    .rule_size = sizeof(struct event_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
