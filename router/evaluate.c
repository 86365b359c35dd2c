#include "router/evaluate.h"

#include "base/clock.h"
#include "router/rules.h"

#include <errno.h>

int evaluation_init(struct evaluation *ret, const struct policy *policy,
                    const struct route_request *request, struct arena *arena)
{
    size_t n = policy->n_signals, m = projections_outputs(policy->projections);
    *ret = (struct evaluation){ .policy = policy };
    ret->values = arena_array(arena, n + 1, sizeof(*ret->values));
    ret->outputs = arena_array(arena, m + 1, sizeof(*ret->outputs));
    ret->output_done = arena_array(arena, m + 1, sizeof(*ret->output_done));
    ret->gates = arena_array(arena, policy->n_gates + 1, sizeof(*ret->gates));
    if (!ret->values || !ret->outputs || !ret->output_done || !ret->gates)
        return -ENOMEM;
    int r = signal_view_init(&ret->view, request, arena);
    ret->view.space = policy->space;
    ret->view.scanner = policy->scanner;
    return r;
}

static void evaluate_family(struct evaluation *e, enum family f)
{
    const struct family_state *s = &e->policy->families[f];
    struct signal_value *values = e->values + s->first;
    uint64_t from = e->timed ? clock_ns() : 0;
    e->family_done[f] = true;
    int r = -ENOTSUP;
    if (s->state)
        r = signal_families[f]->evaluate(s->state, &e->view, values);
    e->family_error[f] = r < 0 ? r : 0;
    if (e->timed)
        e->family_ns[f] = clock_ns() - from;
    for (size_t i = 0; r < 0 && i < s->n; i++)
        values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    projections_reduce(e->policy->projections, f, e->values);
}

static enum truth ask_gate(struct evaluation *e, size_t i)
{
    if (!e->gates[i])
        e->gates[i] =
            (unsigned char)(1 + rule_evaluate(&e->policy->gates[i], evaluation_leaf, e).value);
    return (enum truth)(e->gates[i] - 1);
}

void evaluation_all(struct evaluation *e)
{
    for (int f = 0; f < FAMILY_N; f++)
        if (e->policy->families[f].used && !e->family_done[f])
            evaluate_family(e, (enum family)f);
    for (size_t i = 0; i < e->policy->n_signals; i++)
        if (e->policy->signals[i].gate && e->family_done[e->policy->signals[i].family])
            (void)ask_gate(e, e->policy->signals[i].gate - 1);
}

struct check {
    const struct evaluation *e;
    bool ready; /* every signal asked about was evaluated */
};

static void is_ready(void *ctx, size_t signal)
{
    struct check *c = ctx;
    if (!c->e->family_done[c->e->policy->signals[signal].family])
        c->ready = false;
}

void evaluation_rest(struct evaluation *e, bool families)
{
    for (int f = 0; f < FAMILY_N; f++)
        if (families && e->policy->families[f].n && !e->family_done[f])
            evaluate_family(e, (enum family)f);
    size_t outputs = projections_outputs(e->policy->projections);
    for (size_t i = 0; i < outputs; i++) {
        struct check c = { e, true };
        projections_each_signal(e->policy->projections, i, is_ready, &c);
        if (c.ready)
            (void)evaluation_output(e, i);
    }
}

/* What is true or unknown is no more than its gate. */
static struct signal_value through_gate(struct signal_value v, enum truth gate)
{
    if (gate == TRUTH_true || v.value == TRUTH_false)
        return v;
    return (struct signal_value){ gate, 0, v.raw };
}

struct signal_value evaluation_signal(struct evaluation *e, size_t i)
{
    const struct signal *s = &e->policy->signals[i];
    enum truth gate = s->gate ? ask_gate(e, s->gate - 1) : TRUTH_true;
    if (gate == TRUTH_false && !e->family_done[s->family])
        return (struct signal_value){ TRUTH_false, 0, 0 };
    if (!e->family_done[s->family])
        evaluate_family(e, s->family);
    return through_gate(e->values[i], gate);
}

bool evaluation_seen(const struct evaluation *e, size_t i, struct signal_value *ret)
{
    const struct signal *s = &e->policy->signals[i];
    if (s->hidden || !e->family_done[s->family] || (s->gate && !e->gates[s->gate - 1]))
        return false;
    enum truth gate = s->gate ? (enum truth)(e->gates[s->gate - 1] - 1) : TRUTH_true;
    *ret = through_gate(e->values[i], gate);
    return true;
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

/* A leaf that asks for one label: unknown where its classifier is. */
static struct verdict ask_label(struct evaluation *e, const struct label_leaf *l)
{
    const struct family_state *f = &e->policy->families[l->family];
    double p = 0;
    if (!f->state || l->label < 0 ||
        signal_families[l->family]->probability(f->state, &e->view, l->rule, l->label, &p) < 0)
        return (struct verdict){ TRUTH_unknown, 0 };
    bool match = l->given ? predicate_holds(&l->when, p) : p > 0.5;
    return (struct verdict){ match ? TRUTH_true : TRUTH_false, match ? p : 0 };
}

struct verdict evaluation_leaf(void *ctx, const struct rule *leaf)
{
    struct evaluation *e = ctx;
    if (leaf->label)
        return ask_label(e, leaf->label);
    struct signal_value v = leaf->op == RULE_projection ? evaluation_output(e, leaf->index)
                                                        : evaluation_signal(e, leaf->index);
    return (struct verdict){ v.value, v.confidence };
}

struct decision_outcome evaluation_decide(struct evaluation *e)
{
    const struct policy *p = e->policy;
    struct decision_list list = { p->decisions, p->n_decisions, p->by_confidence };
    return decisions_pick(&list, evaluation_leaf, e);
}
