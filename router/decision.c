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
        v.confidence += child.confidence / (double)r->n;
    }
    if (v.value != TRUTH_true)
        v.confidence = 0;
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
