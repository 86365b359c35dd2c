/* What a route says of itself: the line of `rootstock route`, the body of POST /api/v1/eval. */
#include "router/profiles.h"
#include "router/selection/selection.h"

#include <math.h>

static const char *const truths[] = {
    [TRUTH_false] = "false", [TRUTH_true] = "true", [TRUTH_unknown] = "unknown"
};

static bool matched(const struct route_signal *s)
{
    return s->value == TRUTH_true;
}

/* ---- pieces ---- */

static void print_number(double x, struct buf *b)
{
    buf_addf(b, "%.10g", isfinite(x) ? x : 0.0);
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

static void print_bool(const char *key, bool is_so, struct buf *b)
{
    buf_addf(b, ",\"%s\":%s", key, is_so ? "true" : "false");
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

static void print_signal_key(const struct route_signal *s, struct buf *b) /* "type:name": */
{
    buf_addc(b, '"');
    buf_add_json_chars(b, s->type);
    buf_addc(b, ':');
    buf_add_json_chars(b, s->name);
    buf_adds(b, "\":");
}

enum map {
    MAP_matched,  /* confidences of those that matched */
    MAP_all,      /* of all: 0 where it does not match, null where it is unknown */
    MAP_values,   /* what was measured */
    MAP_unknown,  /* why */
    MAP_probable, /* chances of classes */
};

static bool in_map(const struct route_signal *s, enum map map)
{
    switch (map) {
    case MAP_matched:
        return matched(s);
    case MAP_all:
        return true;
    case MAP_values:
        return s->value != TRUTH_unknown && isfinite(s->raw);
    case MAP_unknown:
        return s->value == TRUTH_unknown;
    default: /* what is a class has a measure in 0…1 */
        return s->value != TRUTH_unknown && s->raw >= 0 && s->raw <= 1 &&
               !str_is(s->type, "projection");
    }
}

static void print_map_value(const struct route_signal *s, enum map map, struct buf *b)
{
    if (map == MAP_unknown)
        buf_add_json(b, str_of(s->unknown ? s->unknown : "it could not be evaluated"));
    else if (map == MAP_values || map == MAP_probable)
        print_number(s->raw, b);
    else if (s->value == TRUTH_unknown)
        buf_adds(b, "null");
    else
        print_number(matched(s) ? s->confidence : 0, b);
}

/* {"type:name": …} */
static void print_map(const char *key, const struct route *route, enum map map, struct buf *b)
{
    print_key(key, b);
    buf_addc(b, '{');
    size_t printed = 0;
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (!in_map(s, map))
            continue;
        buf_adds(b, printed++ ? "," : "");
        print_signal_key(s, b);
        print_map_value(s, map, b);
    }
    buf_addc(b, '}');
}

/* ---- the trees of decisions ---- */

static void print_node(const struct route_node *n, struct buf *b)
{
    bool leaf = n->type.n > 0;
    buf_addf(b, "{\"node_type\":\"%s\"", n->op);
    if (leaf) {
        print_text("signal_type", n->type, b);
        print_text("signal_name", n->name, b);
    } else {
        buf_addf(b, ",\"operator\":\"%s\"", n->op);
    }
    print_bool("matched", n->value == TRUTH_true, b);
    buf_addf(b, ",\"truth\":\"%s\",\"confidence\":", truths[n->value]);
    print_number(n->confidence, b);
    for (size_t i = 0; i < n->n; i++) {
        buf_adds(b, i ? "," : ",\"children\":[");
        print_node(&n->children[i], b);
    }
    buf_adds(b, n->n ? "]}" : "}");
}

static void print_trace(const struct route_trace *t, struct buf *b)
{
    buf_adds(b, "{\"decision_name\":");
    buf_add_json(b, t->decision);
    print_bool("matched", t->matched == TRUTH_true, b);
    buf_addf(b, ",\"truth\":\"%s\",\"confidence\":", truths[t->matched]);
    print_number(t->confidence, b);
    buf_addf(b, ",\"priority\":%lld,\"tier\":%llu", (long long)t->priority,
             (unsigned long long)t->tier);
    print_text("reason", t->reason, b);
    buf_adds(b, ",\"root_trace\":");
    print_node(&t->root, b);
    buf_addc(b, '}');
}

static void print_traces(const char *key, const struct route *route, bool all, struct buf *b)
{
    print_key(key, b);
    buf_addc(b, '[');
    for (size_t i = 0; all && i < route->n_traces; i++) {
        buf_adds(b, i ? "," : "");
        print_trace(&route->traces[i], b);
    }
    buf_addc(b, ']');
}

static const struct route_trace *trace_of(const struct route *route, struct str decision)
{
    for (size_t i = 0; i < route->n_traces; i++)
        if (str_eq(route->traces[i].decision, decision))
            return &route->traces[i];
    return NULL;
}

/* {"winner", "because", "second", "reason"} */
static void print_why(const char *key, const struct route *route, struct buf *b)
{
    const struct route_trace *t = trace_of(route, route->decision);
    print_key(key, b);
    buf_adds(b, "{\"winner\":");
    buf_add_json(b, route->decision);
    print_text("because",
               route->precedence ? str_of(route->precedence) : STR("no decision matched"), b);
    print_text("second", route->runner_up, b);
    print_text("reason", t ? t->reason : STR_NULL, b);
    print_text("selection", route->selection_reason, b);
    buf_addc(b, '}');
}

/* ---- rootstock route ---- */

void route_print_line(const struct route *route, bool explain, struct buf *b)
{
    buf_adds(b, "{\"decision\":");
    buf_add_json(b, route->decision);
    print_text("model", route->model, b);
    print_text("adapter", route->adapter, b);
    print_text("algorithm", route->algorithm, b);
    print_key("plugins", b);
    print_plugins(route, b);
    print_map("signals", route, explain ? MAP_all : MAP_matched, b);
    if (explain) {
        print_text("recipe", route->recipe, b);
        print_key("confidence", b);
        print_number(route->confidence, b);
        print_bool("use_reasoning", route->use_reasoning, b);
        print_text("reasoning_effort", route->reasoning_effort, b);
        print_why("why", route, b);
        print_map("values", route, MAP_values, b);
        print_map("unknown", route, MAP_unknown, b);
        print_traces("trace", route, true, b);
    }
    buf_addf(b, ",\"us\":%llu}", (unsigned long long)route->us);
}

/* ---- /api/v1/eval ---- */

/*
 * The key of each family in the eval answer's lists of signals. Three families have two: the
 * contract's text says one, the reference's own programs and its probes the other.
 */
struct list_key {
    const char *type, *key;
};
static const struct list_key list_keys[] = {
    { "keyword", "keywords" },
    { "embedding", "embeddings" },
    { "domain", "domains" },
    { "fact_check", "fact_check" },
    { "user_feedback", "user_feedback" },
    { "reask", "reask" },
    { "preference", "preferences" },
    { "language", "language" },
    { "context", "context" },
    { "structure", "structure" },
    { "complexity", "complexity" },
    { "modality", "modality" },
    { "authz", "authz" },
    { "jailbreak", "jailbreak" },
    { "pii", "pii" },
    { "kb", "kb" },
    { "conversation", "conversation" },
    { "event", "event" },
    { "event", "events" },
    { "metadata", "metadata" },
    { "classifier", "classifier" },
    { "classifier", "classifiers" },
    { "projection", "projection" },
    { "projection", "projections" },
};

static void print_families(const char *key, const struct route *route, bool match, struct buf *b)
{
    print_key(key, b);
    buf_addc(b, '{');
    size_t families = 0;
    for (size_t f = 0; f < ARRAY_LEN(list_keys); f++) {
        size_t printed = 0;
        for (size_t i = 0; i < route->n_signals; i++) {
            const struct route_signal *s = &route->signals[i];
            if (!str_is(s->type, list_keys[f].type) || matched(s) != match)
                continue;
            if (printed++ == 0)
                buf_addf(b, "%s\"%s\":[", families++ ? "," : "", list_keys[f].key);
            else
                buf_addc(b, ',');
            buf_add_json(b, s->name);
        }
        buf_adds(b, printed ? "]" : "");
    }
    buf_addc(b, '}');
}

/* Leaves of a type below a node that were not met before it in `root`; prints them. */
struct leaves {
    const struct route_node *root;
    const char *type;
    size_t printed;
    struct buf *b;
};

/* The first leaf of the tree with this type and name. */
static const struct route_node *first_leaf(const struct route_node *n,
                                           const struct route_node *like)
{
    if (n->type.n)
        return str_eq(n->type, like->type) && str_eq(n->name, like->name) ? n : NULL;
    for (size_t i = 0; i < n->n; i++) {
        const struct route_node *found = first_leaf(&n->children[i], like);
        if (found)
            return found;
    }
    return NULL;
}

static void print_leaves(struct leaves *l, const struct route_node *n)
{
    for (size_t i = 0; i < n->n; i++)
        print_leaves(l, &n->children[i]);
    if (!str_is(n->type, l->type) || first_leaf(l->root, n) != n)
        return;
    buf_adds(l->b, l->printed++ ? "," : "");
    buf_add_json(l->b, n->name);
}

static bool has_leaf(const struct route_node *n, const char *type)
{
    for (size_t i = 0; i < n->n; i++)
        if (has_leaf(&n->children[i], type))
            return true;
    return str_is(n->type, type);
}

/* The signals that the winner's rules name. */
static void print_used(const struct route *route, struct buf *b)
{
    const struct route_trace *t = trace_of(route, route->decision);
    print_key("used_signals", b);
    buf_addc(b, '{');
    size_t families = 0;
    for (size_t f = 0; t && f < ARRAY_LEN(list_keys); f++) {
        struct leaves l = { &t->root, list_keys[f].type, 0, b };
        if (!has_leaf(&t->root, l.type))
            continue;
        buf_addf(b, "%s\"%s\":[", families++ ? "," : "", list_keys[f].key);
        print_leaves(&l, &t->root);
        buf_addc(b, ']');
    }
    buf_addc(b, '}');
}

static const struct decision *decision_of(const struct router *r, const struct route *route)
{
    size_t i = route->index;
    for (size_t k = 0; i != SIZE_MAX && k < r->n_policies; k++) {
        if (i < r->policies[k].n_decisions)
            return &r->policies[k].decisions[i];
        i -= r->policies[k].n_decisions;
    }
    return NULL;
}

static void print_candidates(const struct decision *d, const struct route *route, struct buf *b)
{
    const struct model_ref *refs = d ? d->refs.items : NULL;
    size_t n = d ? d->refs.n : 0, printed = 0;
    print_key("recommended_models", b);
    buf_addc(b, '[');
    for (size_t i = 0; i < n; i++) {
        bool seen = false; /* with another adapter */
        for (size_t k = 0; k < i && !seen; k++)
            seen = str_eq(refs[k].model, refs[i].model);
        if (seen)
            continue;
        buf_adds(b, printed++ ? "," : "");
        buf_add_json(b, refs[i].model);
    }
    if (n == 0 && route->model.n)
        buf_add_json(b, route->model);
    buf_addc(b, ']');
}

/* The model that gives the last word where several answer, if the policy names one. */
static struct str planned_final(const struct decision *d)
{
    static const struct {
        const char *algorithm, *keys[3];
    } rows[] = {
        { "fusion", { "fusion", "model" } },
        { "remom", { "remom", "synthesis_model" } },
        { "workflows", { "workflows", "final", "model" } },
    };
    for (size_t i = 0; d && i < ARRAY_LEN(rows); i++) {
        const struct node *at = d->algorithm_node;
        if (strcmp(d->algorithm, rows[i].algorithm) != 0)
            continue;
        for (size_t k = 0; at && k < ARRAY_LEN(rows[i].keys) && rows[i].keys[k]; k++)
            at = node_get(at, rows[i].keys[k]);
        return at && at->kind == NODE_scalar ? str_trim(at->scalar) : STR_NULL;
    }
    return STR_NULL;
}

/*
 * Some algorithms document which candidate they take while nothing was observed. Theirs is then a
 * selection like another, whose reason says so; "fallback" is left to those that did not run.
 */
static bool has_own_default(struct str algorithm)
{
    static const char *const names[] = { "static", "multi_factor", "latency_aware" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(algorithm, names[i]))
            return true;
    return false;
}

const char *route_selection_word(const struct route *route)
{
    static const char *const words[] = { [SELECTION_selected] = "selected",
                                         [SELECTION_fallback] = "fallback",
                                         [SELECTION_execution_required] = "execution_required",
                                         [SELECTION_unavailable] = "unavailable",
                                         [SELECTION_failed] = "failed" };
    if (route->selection == SELECTION_fallback && has_own_default(route->algorithm))
        return "selected";
    return words[route->selection];
}

static void print_selection(const struct decision *d, const struct route *route, struct buf *b)
{
    bool later = route->selection == SELECTION_execution_required;
    struct str final = later ? planned_final(d) : STR_NULL;
    if (!later) {
        print_text("selected_model", route->model, b);
        print_text("selected_lora", route->adapter, b);
    } else if (final.n) {
        print_text("selected_model", final, b);
    }
    print_text("selection_status",
               final.n ? STR("planned_final") : str_of(route_selection_word(route)), b);
    print_text("selection_method", d ? str_of(d->algorithm) : STR("default"), b);
    print_text("selection_reason",
               final.n ? STR("the model that the policy names for the final answer")
                       : route->selection_reason,
               b);
}

static void print_metrics(const struct route *route, struct buf *b)
{
    enum { NS_IN_MS = 1000000 };
    print_key("metrics", b);
    buf_addc(b, '{');
    for (size_t i = 0; i < route->n_families; i++) {
        const struct route_family *f = &route->families[i];
        buf_addf(b, "%s\"%s\":{\"execution_time_ms\":", i ? "," : "", f->type);
        print_number((double)f->ns / NS_IN_MS, b);
        buf_adds(b, ",\"confidence\":");
        print_number(f->confidence, b);
        buf_addc(b, '}');
    }
    buf_addc(b, '}');
}

static void print_result(const struct route *route, struct buf *b)
{
    print_key("decision_result", b);
    buf_adds(b, "{\"decision_name\":");
    buf_add_json(b, route->decision);
    print_text("algorithm", route->algorithm, b);
    print_key("plugins", b);
    print_plugins(route, b);
    print_key("confidence", b);
    print_number(route->confidence, b);
    print_used(route, b);
    print_families("matched_signals", route, true, b);
    print_families("unmatched_signals", route, false, b);
    buf_addc(b, '}');
}

void route_print_eval_as(const struct router *r, const struct route *route,
                         const struct eval_options *options, struct buf *b)
{
    const struct decision *d = decision_of(r, route);
    buf_adds(b, "{\"original_text\":");
    buf_add_json(b, route->text);
    print_text("requested_model", route->requested, b);
    print_text("recipe", route->recipe, b);
    print_result(route, b);
    print_traces("eval_trace", route, options->trace, b);
    print_candidates(d, route, b);
    print_selection(d, route, b);
    print_text("routing_decision", route->decision, b);
    print_bool("use_reasoning", route->use_reasoning, b);
    print_text("reasoning_effort", route->reasoning_effort, b);
    print_metrics(route, b);
    print_map("signal_confidences", route, MAP_matched, b);
    print_map("signal_values", route, MAP_values, b);
    print_map("signal_errors", route, MAP_unknown, b);
    if (options->probabilities)
        print_map("probabilities", route, MAP_probable, b);
    if (options->explanation)
        print_why("explanation", route, b);
    if (options->confidence_threshold > 0)
        print_bool("confident", route->confidence >= options->confidence_threshold, b);
    buf_addf(b, ",\"routing_us\":%llu}", (unsigned long long)route->us);
}

void route_print_eval(const struct router *r, const struct route *route, struct buf *b)
{
    route_print_eval_as(r, route, &(struct eval_options){ .trace = true }, b);
}
