#include "router/evaluate.h"

#include <errno.h>

int evaluation_init(struct evaluation *ret, const struct policy *policy,
                    const struct route_request *request, struct arena *arena)
{
    size_t n = policy->n_signals, m = projections_outputs(policy->projections);
    *ret = (struct evaluation){ .policy = policy };
    ret->values = arena_array(arena, n + 1, sizeof(*ret->values));
    ret->outputs = arena_array(arena, m + 1, sizeof(*ret->outputs));
    ret->output_done = arena_array(arena, m + 1, sizeof(*ret->output_done));
    if (!ret->values || !ret->outputs || !ret->output_done)
        return -ENOMEM;
    return signal_view_init(&ret->view, request, arena);
}

static void evaluate_family(struct evaluation *e, enum family f)
{
    const struct family_state *s = &e->policy->families[f];
    struct signal_value *values = e->values + s->first;
    e->family_done[f] = true;
    int r = -ENOTSUP;
    if (s->state)
        r = signal_families[f]->evaluate(s->state, &e->view, values);
    for (size_t i = 0; r < 0 && i < s->n; i++)
        values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    projections_reduce(e->policy->projections, f, e->values);
}

void evaluation_all(struct evaluation *e)
{
    for (int f = 0; f < FAMILY_N; f++)
        if (e->policy->families[f].used && !e->family_done[f])
            evaluate_family(e, (enum family)f);
}

struct signal_value evaluation_signal(struct evaluation *e, size_t i)
{
    enum family f = e->policy->signals[i].family;
    if (!e->family_done[f])
        evaluate_family(e, f);
    return e->values[i];
}

static struct signal_value get(void *ctx, size_t i)
{
    return evaluation_signal(ctx, i);
}

struct signal_value evaluation_output(struct evaluation *e, size_t i)
{
    if (!e->output_done[i]) {
        e->output_done[i] = true;
        e->outputs[i] = projections_evaluate(e->policy->projections, i, get, e);
    }
    return e->outputs[i];
}

struct verdict evaluation_leaf(void *ctx, const struct rule *leaf)
{
    struct evaluation *e = ctx;
    struct signal_value v = leaf->op == RULE_projection ? evaluation_output(e, leaf->index)
                                                        : evaluation_signal(e, leaf->index);
    return (struct verdict){ v.value, v.confidence };
}

struct best {
    const struct decision *decision;
    double confidence;
};

/* The first of those met so far, by tiers and by the strategy: which of the two orders counts is
 * known when all are met. */
struct bests {
    struct best tiered, plain;
    bool tier; /* one of them has a tier */
};

static bool goes_before(const struct policy *p, const struct best *a, const struct best *b,
                        bool tiered)
{
    return !b->decision || decision_before(a->decision, a->confidence, b->decision, b->confidence,
                                           tiered, p->by_confidence);
}

static void meet(struct bests *b, const struct policy *p, const struct decision *d,
                 double confidence)
{
    struct best met = { d, confidence };
    if (goes_before(p, &met, &b->tiered, true))
        b->tiered = met;
    if (goes_before(p, &met, &b->plain, false))
        b->plain = met;
    b->tier = b->tier || d->tier > 0;
}

const struct decision *evaluation_decide(struct evaluation *e, bool every,
                                         struct verdict *ret_verdict,
                                         const struct decision **ret_unresolved)
{
    const struct policy *p = e->policy;
    struct bests matched = { { NULL, 0 }, { NULL, 0 }, false }, unresolved = matched;
    bool in_order = !p->tiered && !p->by_confidence && !every;
    for (size_t i = 0; i < p->n_decisions; i++) {
        const struct decision *d = &p->decisions[i];
        if (in_order && matched.plain.decision && d->priority < matched.plain.decision->priority)
            break; /* the winner cannot change */
        struct verdict v = decision_evaluate(d, evaluation_leaf, e);
        if (v.value == TRUTH_true)
            meet(&matched, p, d, v.confidence);
        if (v.value == TRUTH_unknown && d->on_unknown == ON_UNKNOWN_fail_request)
            meet(&unresolved, p, d, 1);
    }
    bool tiered = matched.tier || unresolved.tier;
    struct best open = tiered ? unresolved.tiered : unresolved.plain;
    struct best best = tiered ? matched.tiered : matched.plain;
    *ret_unresolved = open.decision && goes_before(p, &open, &best, tiered) ? open.decision : NULL;
    best = matched.tier ? matched.tiered : matched.plain;
    *ret_verdict = (struct verdict){ best.decision ? TRUTH_true : TRUTH_false, best.confidence };
    return best.decision;
}
