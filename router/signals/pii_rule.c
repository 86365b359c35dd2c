/*
 * Personal data that a rule does not allow (semantic-router.md 2.1), by the detectors of pii/.
 * Types that only a recogniser of names could find are never claimed: a rule that denies nothing
 * else is unknown, and one that denies them too says at load that it does not see them.
 */
#include "router/signals/pii/pii.h"
#include "router/signals/signals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TURNS = 64 /* that include_history looks back */ };

/* Types of the reference that have no detector here. */
static const char *const unseen[] = {
    "AGE",
    "DATE_TIME",
    "DOMAIN_NAME",
    "GPE",
    "NRP",
    "ORGANIZATION",
    "PERSON",
    "LOCATION",
    "STREET_ADDRESS",
    "ZIP_CODE",
    "US_DRIVER_LICENSE",
};

struct pii_rule {
    struct str name, description;
    double threshold;
    struct text_list allowed;
    bool include_history;
};

static const struct option options[] = {
    OPT_TEXT(struct pii_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct pii_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct pii_rule, threshold, "threshold", 0, 1, "0", "least probability; 0: global"),
    OPT_TEXTS(struct pii_rule, allowed, "pii_types_allowed", 100, "types that may pass"),
    OPT_BOOL(struct pii_rule, include_history, "include_history", "false", "all turns"),
    OPT_END,
};

struct module { /* global.model_catalog.modules.classifier.pii */
    bool enabled;
    double threshold;
};
#define MODULE_PATH "model_catalog.modules.classifier.pii"

static const struct option module_options[] = {
    OPT_BOOL(struct module, enabled, "enabled", "true", "false: its leaves are unknown"),
    OPT_FLOAT(struct module, threshold, "threshold", 0, 1, "0.9", "least probability"),
    OPT_IGNORED("*", "the detectors need no model"),
    OPT_END,
};

struct state {
    size_t n;
    bool history;
    struct {
        uint32_t denied; /* bits of enum pii_type; 0: unknown */
        double threshold;
        bool include_history;
    } rules[];
};

static void *state_free(void *state)
{
    free(state);
    return NULL;
}

static bool lists(struct text_list list, const char *type)
{
    for (size_t i = 0; i < list.n; i++)
        if (str_eq_nocase(list.items[i], str_of(type)))
            return true;
    return false;
}

/* Warns of denied types that nothing here sees. */
static void warn_unseen(const struct signal_rules *rules, size_t i, const struct pii_rule *r,
                        bool sees)
{
    char path[256];
    CLEANUP(buf_done) struct buf names = BUF_INIT(1024);
    for (size_t k = 0; k < ARRAY_LEN(unseen); k++)
        if (!lists(r->allowed, unseen[k]))
            buf_addf(&names, "%s%s", names.n ? ", " : "", unseen[k]);
    if (!names.n || buf_err(&names) < 0)
        return;
    (void)snprintf(path, sizeof(path), "%s[%zu]", rules->path, i);
    (void)node_problem(rules->p, PROBLEM_warning, node_at(rules->list, i), path,
                       "%s have no detector here: %s", names.p,
                       sees ? "text that holds nothing else does not match"
                            : "the rule denies nothing else, its leaves are unknown");
}

static void warn_unknown(const struct signal_rules *rules, size_t i, struct text_list allowed)
{
    enum pii_type type;
    for (size_t k = 0; k < allowed.n; k++) {
        char path[256];
        bool known = pii_of(allowed.items[k], &type) == 0;
        for (size_t u = 0; u < ARRAY_LEN(unseen); u++)
            known |= str_eq_nocase(allowed.items[k], str_of(unseen[u]));
        (void)snprintf(path, sizeof(path), "%s[%zu].pii_types_allowed[%zu]", rules->path, i, k);
        if (!known)
            (void)node_problem(rules->p, PROBLEM_warning, node_at(rules->list, i), path,
                               "'%.*s' is no type of personal data that is known here",
                               STR_ARG(allowed.items[k]));
    }
}

static int compile(void **ret, const struct signal_rules *rules)
{
    struct module m;
    int e = schema_read(&m, module_options, signal_setting(rules, MODULE_PATH),
                        "global." MODULE_PATH, rules->arena, rules->p);
    if (e < 0 || !m.enabled)
        return e;
    struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    if (!s)
        return -ENOMEM;
    s->n = rules->n;
    for (size_t i = 0; i < s->n; i++) {
        const struct pii_rule *r = (const struct pii_rule *)rules->items + i;
        for (unsigned t = 0; t < PII_N; t++)
            if (!lists(r->allowed, pii_name((enum pii_type)t)))
                s->rules[i].denied |= UINT32_C(1) << t;
        s->rules[i].threshold = r->threshold > 0 ? r->threshold : m.threshold;
        s->rules[i].include_history = r->include_history;
        s->history |= r->include_history;
        warn_unknown(rules, i, r->allowed);
        warn_unseen(rules, i, r, s->rules[i].denied != 0);
    }
    *ret = s;
    return 0;
}

/*
 * How likely an entity of a detector's score is what it looks like: scores say how much of the
 * grammar holds, and most text that has the shape of a number of such a kind is one.
 */
static double likelihood(double score)
{
    static const struct {
        double score, likely;
    } steps[] = { { 0.85, 0.97 }, { 0.7, 0.92 }, { 0.6, 0.85 }, { 0.5, 0.7 } };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (score >= steps[i].score)
            return score > steps[i].likely ? score : steps[i].likely;
    return score;
}

/* Raises most[type] to the likeliest of each type in the text. */
static void find(struct str text, double most[PII_N])
{
    struct pii_hit hit;
    size_t clean;
    for (size_t at = 0; pii_next(text, at, /* end= */ true, &hit, &clean);) {
        double p = likelihood(hit.score);
        most[hit.type] = p > most[hit.type] ? p : most[hit.type];
        at = hit.end > hit.start ? hit.end : hit.start + 1;
    }
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    double now[PII_N] = { 0 }, ever[PII_N];
    struct str earlier[MAX_TURNS];
    find(v->text, now);
    memcpy(ever, now, sizeof(ever));
    size_t n = s->history ? signal_earlier_turns(v, earlier, MAX_TURNS) : 0;
    for (size_t t = 0; t < n; t++)
        find(earlier[t], ever);
    for (size_t i = 0; i < s->n; i++) {
        const double *most = s->rules[i].include_history ? ever : now;
        double p = 0;
        for (unsigned t = 0; t < PII_N; t++)
            if (s->rules[i].denied >> t & 1 && most[t] > p)
                p = most[t];
        bool match = p > 0 && p >= s->rules[i].threshold;
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? p : 0, p };
        if (!s->rules[i].denied)
            values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return 0;
}

const struct signal_family family_pii = {
    .options = options,
    .rule_size = sizeof(struct pii_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
