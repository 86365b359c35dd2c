/*
 * Reasks: the user asks again what was asked in the turns before (semantic-router.md 2.1).
 *
 * A rule matches when each of its last `lookback_turns` earlier turns is like the current one. Of
 * those that match, the one that looks back furthest is kept.
 */
#include "router/signals/signals.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { LOOKBACK_MAX = 100 };

struct reask_rule {
    struct str name, description;
    double threshold;
    uint64_t lookback_turns;
};

static const struct option reask_options[] = {
    OPT_TEXT(struct reask_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct reask_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct reask_rule, threshold, "threshold", 0, 1, "0.8", "least similarity"),
    OPT_UINT(struct reask_rule, lookback_turns, "lookback_turns", 1, LOOKBACK_MAX, "1",
             "earlier turns that must all be alike"),
    OPT_END,
};

struct reask_state {
    const struct vector_space *space;
    const struct reask_rule *rules; /* the router's arena */
    size_t n;
    size_t lookback; /* of all */
};

static int compile(void **ret, const struct signal_rules *rules)
{
    struct reask_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct reask_state){ rules->space, rules->items, rules->n, 0 };
    for (size_t i = 0; i < s->n; i++)
        if (s->rules[i].lookback_turns > s->lookback)
            s->lookback = s->rules[i].lookback_turns;
    *ret = s;
    return 0;
}

static void *reask_free(void *state)
{
    free(state);
    return NULL;
}

/* least[i]: the smallest similarity of the current turn to the i + 1 turns before it. */
static int measure(const struct reask_state *s, struct signal_view *v, double *least, size_t *ret_n)
{
    struct str texts[LOOKBACK_MAX + 1];
    const struct text_vector *vectors[LOOKBACK_MAX + 1];
    texts[0] = v->text;
    size_t n = signal_earlier_turns(v, texts + 1, s->lookback);
    *ret_n = n;
    if (n == 0 || str_trim(v->text).n == 0) {
        *ret_n = 0;
        return 0;
    }
    int e = signal_vectors(v, texts, n + 1, vectors);
    for (size_t i = 0; i < n && e == 0; i++) {
        least[i] = vector_similarity(s->space, vectors[0], vectors[i + 1]);
        if (i > 0)
            least[i] = fmin(least[i], least[i - 1]);
    }
    return e;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct reask_state *s = state;
    double least[LOOKBACK_MAX];
    size_t n, kept = s->n;
    int e = measure(s, v, least, &n);
    if (e < 0)
        return e;
    for (size_t i = 0; i < s->n; i++) {
        const struct reask_rule *r = &s->rules[i];
        bool measured = r->lookback_turns <= n;
        values[i] =
            (struct signal_value){ TRUTH_false, 0, measured ? least[r->lookback_turns - 1] : 0 };
        bool holds = measured && values[i].raw >= r->threshold;
        if (holds && (kept == s->n || r->lookback_turns > s->rules[kept].lookback_turns))
            kept = i;
    }
    if (kept < s->n)
        values[kept] = (struct signal_value){ TRUTH_true, values[kept].raw, values[kept].raw };
    return 0;
}

const struct signal_family family_reask = {
    .options = reask_options,
    .rule_size = sizeof(struct reask_rule),
    .compile = compile,
    .free = reask_free,
    .evaluate = evaluate,
    .compares = true,
};
