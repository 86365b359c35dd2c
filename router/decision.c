#include "router/decision.h"

static struct verdict all(const struct rule *r, leaf_fn leaf, void *ctx)
{
    struct verdict v = { TRUTH_true, 0 };
    for (size_t i = 0; i < r->n; i++) {
        struct verdict child = rule_evaluate(&r->children[i], leaf, ctx);
        if (child.value == TRUTH_false)
            return (struct verdict){ TRUTH_false, 0 };
        if (child.value == TRUTH_unknown)
            v.value = TRUTH_unknown;
        v.confidence += child.confidence;
    }
    v.confidence = v.value == TRUTH_true && r->n ? v.confidence / (double)r->n : 0;
    return v;
}

static struct verdict any(const struct rule *r, leaf_fn leaf, void *ctx)
{
    struct verdict v = { TRUTH_false, 0 };
    for (size_t i = 0; i < r->n && !(v.value == TRUTH_true && v.confidence >= 1); i++) {
        struct verdict child = rule_evaluate(&r->children[i], leaf, ctx);
        if (child.value == TRUTH_true) {
            v.value = TRUTH_true;
            if (child.confidence > v.confidence)
                v.confidence = child.confidence;
        } else if (child.value == TRUTH_unknown && v.value == TRUTH_false) {
            v.value = TRUTH_unknown;
        }
    }
    return v;
}

static struct verdict negate(struct verdict v)
{
    switch (v.value) {
    case TRUTH_true:
        return (struct verdict){ TRUTH_false, 0 };
    case TRUTH_false:
        return (struct verdict){ TRUTH_true, 1 };
    default:
        return (struct verdict){ TRUTH_unknown, 0 };
    }
}

static struct verdict ask(const struct rule *r, leaf_fn leaf, void *ctx)
{
    struct verdict v = leaf(ctx, r);
    if (v.value == TRUTH_unknown && r->on_error != TRUTH_unknown)
        v = (struct verdict){ r->on_error, r->on_error == TRUTH_true ? 1 : 0 };
    if (v.value != TRUTH_true)
        v.confidence = 0;
    v.confidence = v.confidence > 1 ? 1 : v.confidence; /* what decisions_pick relies on */
    return v;
}

struct verdict rule_evaluate(const struct rule *r, leaf_fn leaf, void *ctx)
{
    switch (r->op) {
    case RULE_and:
        return all(r, leaf, ctx);
    case RULE_or:
        return any(r, leaf, ctx);
    case RULE_not:
        return negate(rule_evaluate(&r->children[0], leaf, ctx));
    default:
        return ask(r, leaf, ctx);
    }
}

struct verdict decision_evaluate(const struct decision *d, leaf_fn leaf, void *ctx)
{
    if (d->always)
        return (struct verdict){ TRUTH_true, 0 };
    struct verdict v = rule_evaluate(&d->rules, leaf, ctx);
    if (v.value == TRUTH_unknown && d->on_unknown == ON_UNKNOWN_match)
        return (struct verdict){ TRUTH_true, 1 };
    return v;
}

static int down(double a, double b) /* negative: a first */
{
    return (a < b) - (a > b);
}

bool decision_before(const struct decision *a, double confidence_a, const struct decision *b,
                     double confidence_b, bool tiered, bool by_confidence)
{
    int confidence = down(confidence_a, confidence_b);
    int priority = (a->priority < b->priority) - (a->priority > b->priority);
    int order = 0;
    if (tiered)
        order = (a->tier > b->tier) - (a->tier < b->tier);
    if (order == 0)
        order = tiered || by_confidence ? confidence : priority;
    if (order == 0)
        order = tiered || by_confidence ? priority : confidence;
    if (order == 0)
        order = str_cmp(a->name, b->name);
    return order < 0;
}

/* ---- picking one ---- */

struct choice {
    const struct decision *decision; /* NULL: none */
    double confidence;
};

struct picker {
    leaf_fn leaf;
    void *ctx;
    bool tiered, by_confidence;
    struct choice best, unresolved;
};

static bool ahead(const struct picker *p, struct choice a, struct choice b)
{
    return !b.decision || decision_before(a.decision, a.confidence, b.decision, b.confidence,
                                          p->tiered, p->by_confidence);
}

static void consider(struct picker *p, const struct decision *d)
{
    struct choice most = { d, 1 };
    if (!ahead(p, most, p->best))
        return; /* cannot win, whatever it says */
    struct verdict v = decision_evaluate(d, p->leaf, p->ctx);
    struct choice it = { d, v.confidence };
    if (v.value == TRUTH_true && ahead(p, it, p->best))
        p->best = it;
    if (v.value == TRUTH_unknown && d->on_unknown == ON_UNKNOWN_fail_request &&
        ahead(p, most, p->unresolved))
        p->unresolved = most;
}

/* Neither d nor any after it can win. */
static bool over(const struct picker *p, const struct decision *d)
{
    const struct decision *best = p->best.decision;
    if (!best)
        return false;
    if (p->tiered)
        return d->tier > best->tier;
    return !p->by_confidence && d->priority < best->priority;
}

static void consider_all(struct picker *p, const struct decision *d, size_t n)
{
    for (size_t i = 0; i < n && !over(p, &d[i]); i++)
        consider(p, &d[i]);
}

static bool any_matches(const struct picker *p, const struct decision *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (decision_evaluate(&d[i], p->leaf, p->ctx).value == TRUTH_true)
            return true;
    return false;
}

static struct decision_outcome outcome(const struct picker *p)
{
    bool open = p->unresolved.decision && ahead(p, p->unresolved, p->best);
    return (struct decision_outcome){ p->best.decision, p->best.confidence,
                                      open ? p->unresolved.decision : NULL };
}

struct decision_outcome decisions_pick(const struct decision_list *list, leaf_fn leaf, void *ctx)
{
    const struct decision *d = list->sorted;
    size_t plain = 0; /* decisions without a tier */
    while (plain < list->n && d[plain].tier == 0)
        plain++;
    struct picker untiered = { .leaf = leaf, .ctx = ctx, .by_confidence = list->by_confidence };
    struct picker tiered = untiered;
    tiered.tiered = true;
    if (plain > 0)
        consider_all(&untiered, d, plain);
    if (plain == list->n)
        return outcome(&untiered);
    consider_all(&tiered, d, plain);
    if (tiered.best
            .decision) { /* no tier goes before none: those that have one only set the order */
        bool same = tiered.best.decision == untiered.best.decision &&
                    tiered.unresolved.decision == untiered.unresolved.decision;
        return outcome(!same && any_matches(&tiered, d + plain, list->n - plain) ? &tiered
                                                                                 : &untiered);
    }
    consider_all(&tiered, d + plain, list->n - plain);
    return outcome(&tiered);
}
