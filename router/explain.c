#include "router/explain.h"

#include "router/profiles.h"
#include "router/selection/selection.h"

#include <errno.h>
#include <math.h>

enum { REASON_BYTES = 16384 };

/* ---- signals ---- */

static bool matched(const struct route_signal *s)
{
    return s->value == TRUTH_true;
}

static void put(struct route *ret, struct str type, struct str name, struct signal_value v)
{
    ret->signals[ret->n_signals++] = (struct route_signal){ type, name, v.value, v.confidence };
}

static int fill_signals(struct evaluation *e, struct route *ret)
{
    const struct policy *p = e->policy;
    size_t outputs = projections_outputs(p->projections);
    struct arena *a = e->view.arena;
    struct route_signal *all = arena_array(a, p->n_signals + outputs + 1, sizeof(*all));
    struct route_signal *sorted = arena_array(a, p->n_signals + outputs + 1, sizeof(*sorted));
    if (!all || !sorted)
        return -ENOMEM;
    ret->signals = all;
    for (size_t i = 0; i < p->n_signals; i++) {
        enum family f = p->signals[i].family;
        if (e->family_done[f])
            put(ret, str_of(signal_types[f]), p->signals[i].name, e->values[i]);
    }
    for (size_t i = 0; i < outputs; i++)
        if (e->output_done[i])
            put(ret, STR("projection"), projections_output_name(p->projections, i), e->outputs[i]);
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

/* ---- reasons ---- */

static const char *const marks[] = {
    [TRUTH_false] = "0", [TRUTH_true] = "1", [TRUTH_unknown] = "?"
};

static void print_rule(struct evaluation *e, const struct rule *r, bool nested, struct buf *b)
{
    if (r->op == RULE_signal || r->op == RULE_projection) {
        struct verdict v = evaluation_leaf(e, r);
        buf_add(b, r->type);
        buf_addc(b, ':');
        buf_add(b, r->name);
        buf_addf(b, "=%s", marks[v.value]);
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

static int trace_decision(struct evaluation *e, const struct decision *d, struct route_trace *ret)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(REASON_BYTES);
    struct verdict v = decision_evaluate(d, evaluation_leaf, e);
    if (d->always)
        buf_adds(&b, "always");
    else
        print_rule(e, &d->rules, false, &b);
    if (buf_err(&b) == -ENOMEM)
        return -ENOMEM;
    struct str text = buf_err(&b) < 0 ? STR("(too long to show)") : buf_str(&b);
    *ret = (struct route_trace){ d->name, v.value, v.confidence, arena_str(e->view.arena, text) };
    return ret->reason.p ? 0 : -ENOMEM;
}

static int fill_traces(struct evaluation *e, struct route *ret)
{
    const struct policy *p = e->policy;
    ret->traces = arena_array(e->view.arena, p->n_decisions + 1, sizeof(*ret->traces));
    if (!ret->traces)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_decisions; i++) {
        int r = trace_decision(e, &p->decisions[i], &ret->traces[i]);
        if (r < 0)
            return r;
        ret->n_traces++;
    }
    return 0;
}

int explain_fill(struct evaluation *e, bool trace, struct route *ret)
{
    int r = trace ? fill_traces(e, ret) : 0;
    return r < 0 ? r : fill_signals(e, ret);
}

/* ---- printing ---- */

static void print_number(double x, struct buf *b)
{
    buf_addf(b, "%.6g", isfinite(x) ? x : 0.0);
}

static void print_key(const char *key, struct buf *b) /* ,"key": */
{
    buf_addf(b, ",\"%s\":", key);
}

static void print_text(const char *key, struct str text, struct buf *b)
{
    print_key(key, b);
    buf_add_json(b, text);
}

static void print_plugins(const struct route *route, struct buf *b)
{
    buf_addc(b, '[');
    size_t printed = 0;
    for (size_t i = 0; route->plugins && i < route->plugins->n; i++) {
        const struct node *type = node_get(node_at(route->plugins, i), "type");
        if (!type || type->kind != NODE_scalar)
            continue;
        buf_adds(b, printed++ ? "," : "");
        buf_add_json(b, type->scalar);
    }
    buf_addc(b, ']');
}

static void print_signal_key(const struct route_signal *s, struct buf *b) /* "type:name" */
{
    buf_addc(b, '"');
    buf_add_json_chars(b, s->type);
    buf_addc(b, ':');
    buf_add_json_chars(b, s->name);
    buf_addc(b, '"');
}

/* {"type:name": confidence} of the matched ones; an unknown one is null */
static void print_signals(const struct route *route, bool all, struct buf *b)
{
    buf_addc(b, '{');
    size_t printed = 0;
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (!all && !matched(s))
            continue;
        buf_adds(b, printed++ ? "," : "");
        print_signal_key(s, b);
        buf_addc(b, ':');
        if (s->value == TRUTH_unknown)
            buf_adds(b, "null");
        else
            print_number(matched(s) ? s->confidence : 0, b);
    }
    buf_addc(b, '}');
}

static void print_traces(const struct route *route, struct buf *b)
{
    static const char *const words[] = {
        [TRUTH_false] = "false", [TRUTH_true] = "true", [TRUTH_unknown] = "null"
    };
    buf_addc(b, '[');
    for (size_t i = 0; i < route->n_traces; i++) {
        const struct route_trace *t = &route->traces[i];
        buf_adds(b, i ? ",{\"decision\":" : "{\"decision\":");
        buf_add_json(b, t->decision);
        buf_addf(b, ",\"matched\":%s,\"confidence\":", words[t->matched]);
        print_number(t->confidence, b);
        print_text("reason", t->reason, b);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

void route_print_line(const struct route *route, bool explain, struct buf *b)
{
    buf_adds(b, "{\"decision\":");
    buf_add_json(b, route->decision);
    print_text("model", route->model, b);
    print_text("adapter", route->adapter, b);
    print_text("algorithm", route->algorithm, b);
    print_key("plugins", b);
    print_plugins(route, b);
    print_key("signals", b);
    print_signals(route, explain, b);
    if (explain) {
        print_text("recipe", route->recipe, b);
        print_key("confidence", b);
        print_number(route->confidence, b);
        buf_addf(b, ",\"use_reasoning\":%s", route->use_reasoning ? "true" : "false");
        print_text("reasoning_effort", route->reasoning_effort, b);
        print_key("trace", b);
        print_traces(route, b);
    }
    buf_addf(b, ",\"us\":%llu}", (unsigned long long)route->us);
}

/* ---- /api/v1/eval ---- */

/* The key of each family in the eval answer's lists of signals. */
static const char *eval_key(size_t family)
{
    static const char *const keys[FAMILY_N + 1] = {
        [FAMILY_conversation] = "conversation",
        [FAMILY_metadata] = "metadata",
        [FAMILY_role_binding] = "authz",
        [FAMILY_context] = "context",
        [FAMILY_keyword] = "keywords",
        [FAMILY_event] = "events",
        [FAMILY_structure] = "structure",
        [FAMILY_modality] = "modality",
        [FAMILY_language] = "language",
        [FAMILY_embedding] = "embeddings",
        [FAMILY_domain] = "domains",
        [FAMILY_fact_check] = "fact_check",
        [FAMILY_user_feedback] = "user_feedback",
        [FAMILY_reask] = "reask",
        [FAMILY_preference] = "preferences",
        [FAMILY_complexity] = "complexity",
        [FAMILY_jailbreak] = "jailbreak",
        [FAMILY_pii] = "pii",
        [FAMILY_kb] = "kb",
        [FAMILY_classifier] = "classifiers",
        [FAMILY_N] = "projections",
    };
    return keys[family];
}

static void print_families(const struct route *route, bool match, bool every, struct buf *b)
{
    buf_addc(b, '{');
    size_t families = 0;
    for (size_t f = 0; f <= FAMILY_N; f++) {
        size_t printed = 0;
        for (size_t i = 0; i < route->n_signals; i++) {
            const struct route_signal *s = &route->signals[i];
            const char *type = f == FAMILY_N ? "projection" : signal_types[f];
            if (!str_is(s->type, type) || (!every && matched(s) != match))
                continue;
            if (printed++ == 0)
                buf_addf(b, "%s\"%s\":[", families++ ? "," : "", eval_key(f));
            else
                buf_addc(b, ',');
            buf_add_json(b, s->name);
        }
        buf_adds(b, printed ? "]" : "");
    }
    buf_addc(b, '}');
}

static const struct decision *find_decision(const struct router *r, const struct route *route)
{
    for (size_t k = 0; k < r->n_policies; k++)
        for (size_t i = 0; i < r->policies[k].n_decisions; i++)
            if (str_eq(r->policies[k].name, route->recipe) &&
                str_eq(r->policies[k].decisions[i].name, route->decision))
                return &r->policies[k].decisions[i];
    return NULL;
}

static void print_candidates(const struct decision *d, const struct route *route, struct buf *b)
{
    const struct model_ref *refs = d ? d->refs.items : NULL;
    size_t n = d ? d->refs.n : 0;
    buf_addc(b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, i ? "," : "");
        buf_add_json(b, refs[i].model);
    }
    if (n == 0)
        buf_add_json(b, route->model);
    buf_addc(b, ']');
}

static void print_unknown(const struct route *route, struct buf *b)
{
    buf_addc(b, '{');
    size_t printed = 0;
    for (size_t i = 0; i < route->n_signals; i++) {
        if (route->signals[i].value != TRUTH_unknown)
            continue;
        buf_adds(b, printed++ ? "," : "");
        print_signal_key(&route->signals[i], b);
        buf_adds(b, ":\"not evaluated\"");
    }
    buf_addc(b, '}');
}

static void print_result(const struct route *route, struct buf *b)
{
    buf_adds(b, "{\"decision_name\":");
    buf_add_json(b, route->decision);
    print_text("algorithm", route->algorithm, b);
    print_key("plugins", b);
    print_plugins(route, b);
    print_key("confidence", b);
    print_number(route->confidence, b);
    print_key("used_signals", b);
    print_families(route, true, true, b);
    print_key("matched_signals", b);
    print_families(route, true, false, b);
    print_key("unmatched_signals", b);
    print_families(route, false, false, b);
    buf_addc(b, '}');
}

void route_print_eval(const struct router *r, const struct route *route, struct buf *b)
{
    const struct decision *d = find_decision(r, route);
    static const char *const statuses[] = { [SELECTION_selected] = "selected",
                                            [SELECTION_fallback] = "fallback",
                                            [SELECTION_execution_required] = "execution_required" };
    buf_adds(b, "{\"original_text\":");
    buf_add_json(b, route->text);
    print_text("requested_model", route->requested, b);
    print_text("recipe", route->recipe, b);
    print_key("decision_result", b);
    print_result(route, b);
    print_key("eval_trace", b);
    print_traces(route, b);
    print_key("recommended_models", b);
    print_candidates(d, route, b);
    print_text("selected_model", route->model, b);
    print_text("selected_lora", route->adapter, b);
    print_text("selection_status", str_of(statuses[route->selection]), b);
    print_text("selection_method", d ? str_of(d->selection->name) : STR("default"), b);
    print_text("selection_reason", route->selection_reason, b);
    print_text("routing_decision", d ? route->decision : STR(""), b);
    buf_addf(b, ",\"use_reasoning\":%s", route->use_reasoning ? "true" : "false");
    print_text("reasoning_effort", route->reasoning_effort, b);
    print_key("signal_confidences", b);
    print_signals(route, false, b);
    print_key("signal_errors", b);
    print_unknown(route, b);
    buf_addf(b, ",\"metrics\":{\"routing_us\":%llu}}", (unsigned long long)route->us);
}
