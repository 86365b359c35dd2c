#include "router/directives.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    PATH_BYTES = 320,
    MAX_EMITS = 16,
    MAX_ITERATIONS = 100,
    MAX_MODELS = 1000,
    MAX_ANNOTATIONS = 32,
    ANNOTATION_BYTES = 4096, /* of all, as JSON */
};

static const char *const cold_words[] = { "default", "wait", "base", "fail",
                                          NULL }; /* route_cold */

const struct option model_ref_options[] = {
    OPT_TEXT(struct model_ref, model, "model", OPTION_REQUIRED, "a known model"),
    OPT_TEXT(struct model_ref, lora_name, "lora_name", NULL, "adapter to graft onto it"),
    OPT_FLOAT(struct model_ref, weight, "weight", 0, 1e9, "1", "share, for selections that split"),
    OPT_BOOL(struct model_ref, use_reasoning, "use_reasoning", "false", "let it reason"),
    OPT_TEXT(struct model_ref, reasoning_description, "reasoning_description", NULL, "for people"),
    OPT_TEXT(struct model_ref, reasoning_effort, "reasoning_effort", NULL, "low, medium, high"),
    OPT_WORD(struct model_ref, on_cold, "on_cold", cold_words, "default",
             "while the adapter is not in memory: wait, answer with the base, or fail; default: "
             "adapters.residency.on_cold"),
    OPT_DURATION(struct model_ref, cold_wait_ms, "cold_wait", 0, 3600000, "0",
                 "how long to wait; 0: adapters.residency.cold_wait"),
    OPT_END,
};

static int wrong(const struct directives_source *s, const struct node *at, const char *path,
                 const char *what)
{
    return node_problem(s->p, PROBLEM_error, at, path, "%s", what);
}

/* ---- emits ---- */

static const char *const emit_kinds[] = { "retention", NULL };

struct emit {
    unsigned kind;
    const struct node *retention;
};

static const struct option emit_options[] = {
    OPT_WORD(struct emit, kind, "kind", emit_kinds, OPTION_REQUIRED, "what is told"),
    OPT_NODE(struct emit, retention, "retention", "of retention"),
    OPT_END,
};

struct emits {
    struct item_list list;
};

static const struct option emits_options[] = {
    OPT_LIST(struct emits, list, "emits", MAX_EMITS, emit_options, struct emit, "directives"),
    OPT_END,
};

struct retention_raw {
    bool drop, keep_current_model, prefer_prefix_retention;
    uint64_t ttl_turns;
};

static const struct option retention_options[] = {
    OPT_BOOL(struct retention_raw, drop, "drop", NULL, "the answer is not kept in caches"),
    OPT_UINT(struct retention_raw, ttl_turns, "ttl_turns", 0, 1e6, NULL,
             "turns for which it is kept"),
    OPT_BOOL(struct retention_raw, keep_current_model, "keep_current_model", NULL,
             "the session stays with its model"),
    OPT_BOOL(struct retention_raw, prefer_prefix_retention, "prefer_prefix_retention", NULL,
             "who holds the prompt's prefix goes first"),
    OPT_END,
};

static enum truth said(const struct node *map, const char *key, bool value)
{
    return !node_get(map, key) ? TRUTH_unknown : value ? TRUTH_true : TRUTH_false;
}

static int load_retention(struct decision *d, const struct node *at, const char *path,
                          const struct directives_source *s)
{
    struct retention_raw raw = { 0 };
    int e = schema_read(&raw, retention_options, at, path, s->arena, s->p);
    if (e < 0)
        return e;
    bool has_ttl = node_get(at, "ttl_turns") != NULL;
    if (raw.drop && has_ttl && raw.ttl_turns > 0)
        return wrong(s, at, path, "drop and ttl_turns contradict each other");
    if (at->n == 0)
        (void)node_problem(s->p, PROBLEM_warning, at, path, "says nothing");
    d->has_retention = true;
    d->retention = (struct retention){
        .drop = said(at, "drop", raw.drop),
        .keep_current_model = said(at, "keep_current_model", raw.keep_current_model),
        .prefer_prefix_retention = said(at, "prefer_prefix_retention", raw.prefer_prefix_retention),
        .ttl_turns = has_ttl ? (int64_t)raw.ttl_turns : -1,
    };
    return 0;
}

/* A list that stands under a decision's key, read by a table of one row. */
static int read_list(void *into, const struct option *table, const struct node *list,
                     const struct directives_source *s)
{
    const struct str key = str_of(table->key);
    const struct node map = {
        .kind = NODE_map, .n = 1, .items = &list, .keys = &key, .key_nodes = &list
    };
    return schema_read(into, table, &map, s->path, s->arena, s->p);
}

static int load_emits(struct decision *d, const struct directives_source *s)
{
    struct emits emits = { { NULL, 0 } };
    if (!d->emits_node)
        return 0;
    int e = read_list(&emits, emits_options, d->emits_node, s);
    for (size_t i = 0; e == 0 && i < emits.list.n; i++) {
        const struct emit *emit = (const struct emit *)emits.list.items + i;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.emits[%zu].retention", s->path, i);
        const struct node *at = d->emits_node->items[i];
        if (i > 0)
            e = wrong(s, at, path, "a decision emits retention once");
        else if (!emit->retention || emit->retention->kind != NODE_map)
            e = wrong(s, emit->retention ? emit->retention : at, path, "is missing: a map");
        else
            e = load_retention(d, emit->retention, path, s);
    }
    return e;
}

/* ---- adaptations ---- */

static const char *const modes[] = { "apply", "observe", "bypass", NULL };
static const char *const candidate_sets[] = { "", "decision", "tier", "global", NULL };

struct adaptation {
    unsigned mode, candidate_set;
};

struct protection {
    unsigned mode;
    double stability_weight, switch_margin;
};

struct adaptations_raw {
    unsigned mode;
    struct adaptation adaptation;
    struct protection protection;
};

static const struct option adaptation_options[] = {
    OPT_WORD(struct adaptation, mode, "mode", modes, "apply", "of choosing by outcomes"),
    OPT_WORD(struct adaptation, candidate_set, "candidate_set", candidate_sets, "",
             "among which candidates"),
    OPT_END,
};

static const struct option protection_options[] = {
    OPT_WORD(struct protection, mode, "mode", modes, "apply", "of staying with a session's model"),
    OPT_FLOAT(struct protection, stability_weight, "stability_weight", -1, 1000, "-1",
              "weight of the cost of a switch"),
    OPT_FLOAT(struct protection, switch_margin, "switch_margin", -1, 1000, "-1",
              "gain that a switch needs"),
    OPT_END,
};

static const struct option adaptations_options[] = {
    OPT_WORD(struct adaptations_raw, mode, "mode", modes, "apply",
             "apply, only observe, or bypass learning"),
    OPT_SECTION(struct adaptations_raw, adaptation, "adaptation", adaptation_options,
                "choosing by outcomes"),
    OPT_SECTION(struct adaptations_raw, protection, "protection", protection_options,
                "staying with a session's model"),
    OPT_END,
};

/* The decision's mode bounds those of its parts. */
static enum adaptation_mode stricter(unsigned a, unsigned b)
{
    return (enum adaptation_mode)(a > b ? a : b);
}

static int load_adaptations(struct decision *d, const struct directives_source *s)
{
    struct adaptations_raw raw = { 0 };
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.adaptations", s->path);
    int e = schema_read(&raw, adaptations_options, d->adaptations_node, path, s->arena, s->p);
    const struct protection *protection = &raw.protection;
    const struct node *at =
        d->adaptations_node ? node_get(d->adaptations_node, "protection") : NULL;
    if (e == 0 && at &&
        ((node_get(at, "stability_weight") && protection->stability_weight < 0) ||
         (node_get(at, "switch_margin") && protection->switch_margin < 0)))
        e = wrong(s, at, path, "a weight or margin below 0");
    d->adaptations = (struct adaptations){
        .adaptation = stricter(raw.mode, raw.adaptation.mode),
        .protection = stricter(raw.mode, raw.protection.mode),
        .candidate_set = candidate_sets[raw.adaptation.candidate_set],
        .stability_weight = protection->stability_weight,
        .switch_margin = protection->switch_margin,
    };
    return e;
}

/* ---- annotations ---- */

static bool is_json_number(struct str s)
{
    size_t digits = 0, points = 0;
    bool minus = s.n && s.p[0] == '-';
    s = str_sub(s, minus);
    if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.' ||
        (s.n > 1 && s.p[0] == '0' && s.p[1] != '.'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        points += s.p[i] == '.';
        digits += s.p[i] >= '0' && s.p[i] <= '9';
    }
    return points < 2 && digits + points == s.n;
}

static void print_scalar(const struct node *n, struct buf *b)
{
    bool plain =
        str_is(n->scalar, "true") || str_is(n->scalar, "false") || is_json_number(n->scalar);
    if (plain && !n->quoted)
        buf_add(b, n->scalar);
    else
        buf_add_json(b, n->scalar);
}

static void print_node(const struct node *n, struct buf *b) /* bounded by the document's depth */
{
    bool list = n->kind == NODE_list;
    if (n->kind == NODE_null)
        buf_adds(b, "null");
    if (n->kind == NODE_scalar)
        print_scalar(n, b);
    if (!list && n->kind != NODE_map)
        return;
    buf_addc(b, list ? '[' : '{');
    for (size_t i = 0; i < n->n; i++) {
        if (i)
            buf_addc(b, ',');
        if (!list)
            buf_add_json(b, n->keys[i]);
        if (!list)
            buf_addc(b, ':');
        print_node(n->items[i], b);
    }
    buf_addc(b, list ? ']' : '}');
}

static int load_annotations(struct decision *d, const struct directives_source *s)
{
    const struct node *n = d->annotations_node;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.annotations", s->path);
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_map)
        return wrong(s, n, path, "needs a map");
    if (n->n > MAX_ANNOTATIONS)
        return wrong(s, n, path, "more than 32 annotations");
    CLEANUP(buf_done) struct buf b = BUF_INIT(ANNOTATION_BYTES);
    print_node(n, &b);
    if (buf_err(&b) == -ENOMEM)
        return -ENOMEM;
    if (buf_err(&b) < 0)
        return wrong(s, n, path, "more than 4096 bytes as JSON");
    d->annotations = arena_str(s->arena, buf_str(&b));
    return d->annotations.p ? 0 : -ENOMEM;
}

/* ---- candidate iterations ---- */

static const char *const iteration_sources[] = { "decision.candidates", "models", NULL };
static const char *const output_types[] = { "model", NULL };

enum { SOURCE_candidates, SOURCE_models };

struct iteration_output {
    unsigned type;
    struct str value;
};

struct iteration {
    struct str variable;
    unsigned source;
    struct item_list models, outputs; /* struct model_ref, struct iteration_output */
};

static const struct option iteration_output_options[] = {
    OPT_WORD(struct iteration_output, type, "type", output_types, OPTION_REQUIRED, "what it adds"),
    OPT_TEXT(struct iteration_output, value, "value", OPTION_REQUIRED, "the variable"),
    OPT_END,
};

static const struct option iteration_options[] = {
    OPT_TEXT(struct iteration, variable, "variable", OPTION_REQUIRED, "stands for each in turn"),
    OPT_WORD(struct iteration, source, "source", iteration_sources, OPTION_REQUIRED,
             "what is gone through"),
    OPT_LIST(struct iteration, models, "models", MAX_MODELS, model_ref_options, struct model_ref,
             "of source models"),
    OPT_LIST(struct iteration, outputs, "outputs", MAX_MODELS, iteration_output_options,
             struct iteration_output, "what each adds; none: nothing is added"),
    OPT_END,
};

struct iterations {
    struct item_list list;
};

static const struct option iterations_options[] = {
    OPT_LIST(struct iterations, list, "candidateIterations", MAX_ITERATIONS, iteration_options,
             struct iteration, "candidates as a loop"),
    OPT_END,
};

static int check_iteration(const struct decision *d, size_t i, const struct iteration *it,
                           const struct directives_source *s)
{
    const struct node *at = node_at(d->iterations_node, i);
    const struct iteration_output *outputs = it->outputs.items;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.candidateIterations[%zu]", s->path, i);
    if (it->variable.n == 0)
        return wrong(s, at, path, "the variable has no name");
    if (it->source == SOURCE_candidates && d->refs.n == 0)
        return wrong(s, at, path, "source decision.candidates needs modelRefs");
    if (it->source == SOURCE_models && it->models.n == 0)
        return wrong(s, at, path, "source models needs models");
    if (it->source == SOURCE_candidates && it->models.n)
        return wrong(s, at, path, "models are for source models");
    for (size_t k = 0; k < it->outputs.n; k++)
        if (!str_eq(outputs[k].value, it->variable))
            return wrong(s, at, path, "an output's value must be the variable");
    return 0;
}

static bool has_ref(const struct decision *d, const struct model_ref *ref)
{
    const struct model_ref *refs = d->refs.items;
    for (size_t i = 0; i < d->refs.n; i++)
        if (str_eq(refs[i].model, ref->model) && str_eq(refs[i].lora_name, ref->lora_name))
            return true;
    return false;
}

static int append(struct decision *d, const struct iteration *it, const struct directives_source *s)
{
    size_t most = d->refs.n + it->models.n;
    struct model_ref *all = arena_array(s->arena, most, sizeof(*all));
    const struct model_ref *models = it->models.items;
    if (!all)
        return -ENOMEM;
    if (d->refs.n)
        memcpy(all, d->refs.items, d->refs.n * sizeof(*all));
    d->refs.items = all;
    for (size_t i = 0; i < it->models.n; i++)
        if (!has_ref(d, &models[i]))
            all[d->refs.n++] = models[i];
    return 0;
}

static int load_iterations(struct decision *d, const struct directives_source *s)
{
    struct iterations all = { { NULL, 0 } };
    if (!d->iterations_node)
        return 0;
    int e = read_list(&all, iterations_options, d->iterations_node, s);
    for (size_t i = 0; e == 0 && i < all.list.n; i++) {
        const struct iteration *it = (const struct iteration *)all.list.items + i;
        e = check_iteration(d, i, it, s);
        if (e == 0 && it->source == SOURCE_models && it->outputs.n)
            e = append(d, it, s);
    }
    return e;
}

int directives_load(struct decision *d, const struct directives_source *s)
{
    int (*const steps[])(struct decision *,
                         const struct directives_source *) = { load_emits, load_adaptations,
                                                               load_annotations, load_iterations };
    int first = 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int e = steps[i](d, s);
        if (e < 0 && e != -EINVAL)
            return e;
        first = first < 0 ? first : e;
    }
    return first;
}
