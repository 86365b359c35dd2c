#include "router/explain.h"

#include <errno.h>
#include <math.h>

enum { REASON_BYTES = 16384 };

/* ---- signals ---- */

static bool matched(const struct route_signal *s)
{
    return s->value == TRUTH_true;
}

/* What can keep one signal of a family that was evaluated from being known. */
static const char *open_reason(enum family f)
{
    switch (f) {
    case FAMILY_role_binding:
        return "the caller is not identified: send x-authz-user-id";
    case FAMILY_keyword:
    case FAMILY_event:
    case FAMILY_structure:
        return "its pattern ran past its budget of time";
    default:
        return "it could not be evaluated";
    }
}

static const char *unknown_reason(const struct evaluation *e, enum family f)
{
    if (!e->policy->families[f].state)
        return "signals of this family are not evaluated by this version";
    switch (e->family_error[f]) {
    case 0:
        return open_reason(f);
    case -ENOMEM:
        return "there was not enough memory to evaluate its family";
    case -ENOTSUP:
        return "this configuration has no vectors or classifier to evaluate its family with";
    default:
        return "its family could not be evaluated";
    }
}

static void put(struct route *ret, struct str type, struct str name, struct signal_value v)
{
    ret->signals[ret->n_signals++] =
        (struct route_signal){ type, name, v.value, v.confidence, v.raw, /* unknown= */ NULL };
}

static void put_family(const struct evaluation *e, enum family f, struct route *ret)
{
    const struct family_state *s = &e->policy->families[f];
    for (size_t i = s->first; i < s->first + s->n; i++) {
        struct signal_value v;
        if (!evaluation_seen(e, i, &v))
            continue;
        put(ret, str_of(signal_types[f]), e->policy->signals[i].name, v);
        if (v.value == TRUTH_unknown)
            ret->signals[ret->n_signals - 1].unknown = unknown_reason(e, f);
    }
}

static void put_outputs(const struct evaluation *e, struct route *ret)
{
    const struct projections *p = e->policy->projections;
    size_t n = projections_outputs(p);
    for (size_t i = 0; i < n; i++) {
        if (!e->output_done[i])
            continue;
        put(ret, STR("projection"), projections_output_name(p, i), e->outputs[i]);
        if (e->outputs[i].value == TRUTH_unknown)
            ret->signals[ret->n_signals - 1].unknown = "its score depends on unknown signals";
    }
}

/* Matched ones first, each group in the order of families. */
static int fill_signals(struct evaluation *e, struct route *ret)
{
    const struct policy *p = e->policy;
    size_t max = p->n_signals + projections_outputs(p->projections) + 1;
    struct arena *a = e->view.arena;
    struct route_signal *all = arena_array(a, max, sizeof(*all));
    struct route_signal *sorted = arena_array(a, max, sizeof(*sorted));
    if (!all || !sorted)
        return -ENOMEM;
    ret->signals = all;
    for (int f = 0; f < FAMILY_N; f++)
        if (e->family_done[f])
            put_family(e, (enum family)f, ret);
    put_outputs(e, ret);
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < ret->n_signals; i++)
            if (matched(&all[i]) == (pass == 0))
                sorted[n++] = all[i];
    ret->signals = sorted;
    for (size_t i = 0; i < n && ret->category.n == 0; i++)
        if (matched(&sorted[i]) && str_is(sorted[i].type, "domain"))
            ret->category = sorted[i].name;
    return 0;
}

static int fill_families(struct evaluation *e, struct route *ret)
{
    struct route_family *all = arena_array(e->view.arena, FAMILY_N, sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (int f = 0; f < FAMILY_N; f++) {
        const struct family_state *s = &e->policy->families[f];
        all[f] = (struct route_family){ signal_types[f], e->family_ns[f], 0 };
        for (size_t i = s->first; i < s->first + s->n; i++) {
            struct signal_value v;
            if (evaluation_seen(e, i, &v) && v.value == TRUTH_true)
                all[f].confidence = fmax(all[f].confidence, v.confidence);
        }
    }
    ret->families = all;
    ret->n_families = FAMILY_N;
    return 0;
}

/* ---- reasons ---- */

static const char *const marks[] = {
    [TRUTH_false] = "0", [TRUTH_true] = "1", [TRUTH_unknown] = "?"
};

static bool was_asked(const struct evaluation *e, const struct rule *leaf)
{
    return leaf->op == RULE_projection ? e->output_done[leaf->index]
                                       : e->family_done[e->policy->signals[leaf->index].family];
}

/* A leaf_fn that evaluates nothing: what was not asked is unknown. */
static struct verdict known_leaf(void *ctx, const struct rule *leaf)
{
    return was_asked(ctx, leaf) ? evaluation_leaf(ctx, leaf) : (struct verdict){ TRUTH_unknown, 0 };
}

/* A leaf that was not asked has the mark '-'. */
static void print_rule(struct evaluation *e, const struct rule *r, bool nested, struct buf *b)
{
    if (r->op == RULE_signal || r->op == RULE_projection) {
        buf_add(b, r->type);
        buf_addc(b, ':');
        buf_add(b, r->name);
        buf_addf(b, "=%s", was_asked(e, r) ? marks[evaluation_leaf(e, r).value] : "-");
        return;
    }
    if (r->op == RULE_not) {
        buf_adds(b, "NOT ");
        print_rule(e, &r->children[0], true, b);
        return;
    }
    bool brackets = nested && r->n != 1;
    buf_adds(b, brackets ? "(" : "");
    if (r->n == 0)
        buf_adds(b, r->op == RULE_and ? "all of nothing" : "any of nothing");
    for (size_t i = 0; i < r->n; i++) {
        buf_adds(b, i == 0 ? "" : r->op == RULE_and ? " AND " : " OR ");
        print_rule(e, &r->children[i], true, b);
    }
    buf_adds(b, brackets ? ")" : "");
}

static const char *op_word(enum rule_op op)
{
    switch (op) {
    case RULE_and:
        return "AND";
    case RULE_or:
        return "OR";
    case RULE_not:
        return "NOT";
    default:
        return "leaf";
    }
}

/* The tree of rules with the verdict of each node; as deep as the policy's document is. */
static int build_node(struct evaluation *e, const struct rule *r, struct route_node *ret)
{
    struct verdict v = rule_evaluate(r, evaluation_leaf, e);
    struct route_node *children = arena_array(e->view.arena, r->n + 1, sizeof(*children));
    size_t n = r->op == RULE_not ? 1 : r->n;
    if (!children)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int k = build_node(e, &r->children[i], &children[i]);
        if (k < 0)
            return k;
    }
    *ret =
        (struct route_node){ op_word(r->op), r->type, r->name, v.value, v.confidence, children, n };
    return 0;
}

static int trace_decision(struct evaluation *e, const struct decision *d, bool tree,
                          struct route_trace *ret)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(REASON_BYTES);
    struct verdict v = decision_evaluate(d, known_leaf, e);
    *ret = (struct route_trace){ .decision = d->name,
                                 .matched = v.value,
                                 .confidence = v.confidence,
                                 .priority = d->priority,
                                 .tier = d->tier,
                                 .root = { .op = "fallback", .value = TRUTH_true } };
    if (d->always)
        buf_adds(&b, "always");
    else
        print_rule(e, &d->rules, false, &b);
    if (buf_err(&b) == -ENOMEM)
        return -ENOMEM;
    struct str text = buf_err(&b) < 0 ? STR("(too long to show)") : buf_str(&b);
    ret->reason = arena_str(e->view.arena, text);
    if (!ret->reason.p)
        return -ENOMEM;
    return d->always || !tree ? 0 : build_node(e, &d->rules, &ret->root);
}

static int fill_traces(struct evaluation *e, bool tree, struct route *ret)
{
    const struct policy *p = e->policy;
    ret->traces = arena_array(e->view.arena, p->n_decisions + 1, sizeof(*ret->traces));
    if (!ret->traces)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_decisions; i++) {
        int r = trace_decision(e, &p->decisions[i], tree, &ret->traces[i]);
        if (r < 0)
            return r;
        ret->n_traces++;
    }
    return 0;
}

/* ---- why this one ---- */

struct order {
    bool tiered, by_confidence;
};

static const char *precedence(const struct order *o, const struct route_trace *a,
                              const struct route_trace *b)
{
    if (o->tiered && a->tier != b->tier)
        return "its tier goes before";
    bool first = o->tiered || o->by_confidence; /* confidence goes before priority */
    if (first && a->confidence != b->confidence)
        return "its confidence is higher";
    if (a->priority != b->priority)
        return "its priority is higher";
    if (a->confidence != b->confidence)
        return "its confidence is higher";
    return "its name sorts before";
}

/* Who comes second, by the order in which decisions are chosen. */
static void fill_runner_up(const struct evaluation *e, const struct decision *winner,
                           struct route *ret)
{
    const struct decision *all = e->policy->decisions;
    struct order o = { false, e->policy->by_confidence };
    size_t first = SIZE_MAX, second = SIZE_MAX;
    for (size_t i = 0; winner && i < ret->n_traces; i++)
        o.tiered = o.tiered || (ret->traces[i].matched == TRUTH_true && ret->traces[i].tier > 0);
    for (size_t i = 0; winner && i < ret->n_traces; i++) {
        const struct route_trace *t = &ret->traces[i];
        if (&all[i] == winner)
            first = i;
        else if (t->matched == TRUTH_true &&
                 (second == SIZE_MAX ||
                  decision_before(&all[i], t->confidence, &all[second],
                                  ret->traces[second].confidence, o.tiered, o.by_confidence)))
            second = i;
    }
    if (first == SIZE_MAX)
        return;
    ret->precedence = "no other decision matched";
    if (second == SIZE_MAX)
        return;
    ret->runner_up = all[second].name;
    ret->precedence = precedence(&o, &ret->traces[first], &ret->traces[second]);
}

int explain_fill(struct evaluation *e, const struct route_request *request,
                 const struct decision *winner, struct route *ret)
{
    bool trace = request->trace;
    int r = trace || request->reasons ? fill_traces(e, trace, ret) : 0;
    if (r == 0 && trace)
        r = fill_families(e, ret);
    if (r == 0 && trace)
        fill_runner_up(e, winner, ret);
    return r < 0 ? r : fill_signals(e, ret);
}
