#include "router/projection.h"

#include "router/partition.h"
#include "router/signals/kb.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum input_kind { INPUT_signal, INPUT_score, INPUT_output, INPUT_metric, INPUT_none };
enum value_source { VALUE_binary, VALUE_confidence, VALUE_raw, VALUE_score };
enum mapping_method { MAPPING_bands, MAPPING_multi };

static const char *const value_sources[] = { "binary", "confidence", "raw", "score", NULL };
static const char *const score_methods[] = { "weighted_sum", NULL };
static const char *const mapping_methods[] = { "threshold_bands", "multi_emit", NULL };
static const char *const calibrations[] = { "sigmoid_distance", NULL };

struct input {
    struct str type, name, kb, metric;
    double weight, match, miss;
    unsigned source;
    enum input_kind kind; /* derived, with index */
    size_t index;
};

struct score {
    struct str name, description;
    unsigned method;
    struct item_list inputs;
    size_t cost; /* derived: inputs looked at, those of the scores it uses included */
};

enum {
    MAX_COST = 100000, /* scores that use scores must not multiply without end */
    DEFAULT_SLOPE = 12,
};

struct output {
    struct str name, description;
    const struct node *gt, *gte, *lt, *lte;
    struct predicate band;
};

struct calibration {
    unsigned method;
    double slope;
};

struct mapping {
    struct str name, description, source;
    unsigned method;
    struct calibration calibration;
    struct item_list outputs;
    size_t score, first; /* number of the first output */
};

struct section {
    struct item_list partitions, scores, mappings;
};

struct projections {
    struct section s;
    struct {
        const struct mapping *mapping;
        const struct output *output;
    } * outputs;
    size_t n_outputs;
};

static const struct option input_options[] = {
    OPT_TEXT(struct input, type, "type", OPTION_REQUIRED,
             "type of a signal, projection, kb_metric"),
    OPT_TEXT(struct input, name, "name", NULL, "of the signal or projection"),
    OPT_TEXT(struct input, kb, "kb", NULL, "of kb_metric"),
    OPT_TEXT(struct input, metric, "metric", NULL, "of kb_metric"),
    OPT_FLOAT(struct input, weight, "weight", -1e9, 1e9, OPTION_REQUIRED, "factor of the value"),
    OPT_WORD(struct input, source, "value_source", value_sources, "binary",
             "what is weighted; of a score and a kb_metric always the number itself"),
    OPT_FLOAT(struct input, match, "match", -1e9, 1e9, "1", "value of a match, of binary"),
    OPT_FLOAT(struct input, miss, "miss", -1e9, 1e9, "0", "value of a miss, of binary"),
    OPT_END,
};

static const struct option score_options[] = {
    OPT_TEXT(struct score, name, "name", OPTION_REQUIRED, "by which mappings refer to it"),
    OPT_TEXT(struct score, description, "description", NULL, "for people"),
    OPT_WORD(struct score, method, "method", score_methods, "weighted_sum", "how it is computed"),
    OPT_LIST(struct score, inputs, "inputs", 1000, input_options, struct input, "what is summed"),
    OPT_END,
};

static const struct option calibration_options[] = {
    OPT_WORD(struct calibration, method, "method", calibrations, "sigmoid_distance",
             "confidence from the distance to the band's edge"),
    OPT_FLOAT(struct calibration, slope, "slope", 0, 1e6, "12", "steepness; 0: the default"),
    OPT_END,
};

static const struct option output_options[] = {
    OPT_TEXT(struct output, name, "name", OPTION_REQUIRED, "by which decisions refer to it"),
    OPT_TEXT(struct output, description, "description", NULL, "for people"),
    OPT_NODE(struct output, gt, "gt", "greater than"),
    OPT_NODE(struct output, gte, "gte", "at least"),
    OPT_NODE(struct output, lt, "lt", "less than"),
    OPT_NODE(struct output, lte, "lte", "at most"),
    OPT_END,
};

static const struct option mapping_options[] = {
    OPT_TEXT(struct mapping, name, "name", OPTION_REQUIRED, "for people"),
    OPT_TEXT(struct mapping, description, "description", NULL, "for people"),
    OPT_TEXT(struct mapping, source, "source", OPTION_REQUIRED, "a score"),
    OPT_WORD(struct mapping, method, "method", mapping_methods, "threshold_bands",
             "the first band that holds, or all of them"),
    OPT_SECTION(struct mapping, calibration, "calibration", calibration_options, "of confidence"),
    OPT_LIST(struct mapping, outputs, "outputs", 1000, output_options, struct output, "the bands"),
    OPT_END,
};

static const struct option section_options[] = {
    OPT_LIST(struct section, partitions, "partitions", 1000, partition_options, struct partition,
             "groups of signals of which one wins"),
    OPT_LIST(struct section, scores, "scores", 1000, score_options, struct score, "weighted sums"),
    OPT_LIST(struct section, mappings, "mappings", 1000, mapping_options, struct mapping,
             "names for bands of a score"),
    OPT_END,
};

/* ---- loading ---- */

struct build {
    const struct projection_source *source;
    struct projections *p;
};

static const struct node *list_of(const struct build *b, const char *key)
{
    return b->source->node ? node_get(b->source->node, key) : NULL;
}

static size_t find_score(const struct projections *p, struct str name)
{
    const struct score *scores = p->s.scores.items;
    for (size_t i = 0; i < p->s.scores.n; i++)
        if (str_eq(scores[i].name, name))
            return i;
    return SIZE_MAX;
}

size_t projections_find(const struct projections *p, struct str output)
{
    for (size_t i = 0; p && i < p->n_outputs; i++)
        if (str_eq(p->outputs[i].output->name, output))
            return i;
    return SIZE_MAX;
}

size_t projections_outputs(const struct projections *p)
{
    return p ? p->n_outputs : 0;
}

struct str projections_output_name(const struct projections *p, size_t i)
{
    return p->outputs[i].output->name;
}

static int read_band(struct build *b, struct output *o, const struct node *at, const char *path)
{
    if ((o->gt && o->gte) || (o->lt && o->lte))
        (void)node_problem(b->source->p, PROBLEM_error, at, path,
                           "the band '%.*s' has two bounds on one side: gt or gte, lt or lte",
                           STR_ARG(o->name));
    static const struct str keys[] = { { "gt", 2 }, { "gte", 3 }, { "lt", 2 }, { "lte", 3 } };
    const struct node *all[] = { o->gt, o->gte, o->lt, o->lte };
    const struct node *items[4];
    struct str names[4];
    size_t n = 0;
    for (size_t i = 0; i < 4; i++)
        if (all[i]) {
            items[n] = all[i];
            names[n++] = keys[i];
        }
    struct node map = {
        .kind = NODE_map, .n = n, .items = items, .keys = names, .key_nodes = items
    };
    return predicate_read(&o->band, n ? &map : NULL, path, b->source->arena, b->source->p);
}

static int add_outputs(struct build *b, size_t m)
{
    struct projections *p = b->p;
    struct mapping *mapping = (struct mapping *)p->s.mappings.items + m;
    struct output *outputs = mapping->outputs.items;
    const struct node *at = node_at(list_of(b, "mappings"), m);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s.mappings[%zu]", b->source->path, m);
    mapping->score = find_score(p, mapping->source);
    mapping->first = p->n_outputs;
    if (mapping->score == SIZE_MAX)
        (void)node_problem(b->source->p, PROBLEM_error, at, path, "the score '%.*s' is not defined",
                           STR_ARG(mapping->source));
    if (mapping->outputs.n == 0)
        (void)node_problem(b->source->p, PROBLEM_error, at, path, "a mapping needs outputs");
    for (size_t i = 0; i < mapping->outputs.n; i++) {
        int e = read_band(b, &outputs[i], at, path);
        if (e < 0 && e != -EINVAL)
            return e;
        if (projections_find(p, outputs[i].name) != SIZE_MAX)
            (void)node_problem(b->source->p, PROBLEM_error, at, path,
                               "the output '%.*s' is defined twice", STR_ARG(outputs[i].name));
        p->outputs[p->n_outputs].mapping = mapping;
        p->outputs[p->n_outputs++].output = &outputs[i];
    }
    return 0;
}

/* By its confidence an output is meant, else a score; either name will do where only one is. */
static void resolve_projection(struct build *b, struct input *in, const struct node *at,
                               const char *path)
{
    size_t output = projections_find(b->p, in->name), score = find_score(b->p, in->name);
    bool is_output = output != SIZE_MAX && (in->source == VALUE_confidence || score == SIZE_MAX);
    in->kind = is_output ? INPUT_output : INPUT_score;
    in->index = is_output ? output : score;
    if (output != SIZE_MAX || (score != SIZE_MAX && in->source != VALUE_confidence))
        return;
    in->kind = INPUT_none;
    (void)node_problem(b->source->p, PROBLEM_error, at, path,
                       score == SIZE_MAX ? "the projection '%.*s' is not defined"
                                         : "'%.*s' is a score, which has no confidence; an output "
                                           "of a mapping has one",
                       STR_ARG(in->name));
}

static void resolve_metric(struct build *b, struct input *in, const struct node *at,
                           const char *path)
{
    in->kind = INPUT_none;
    if (in->kb.n == 0 || in->metric.n == 0) {
        (void)node_problem(b->source->p, PROBLEM_error, at, path, "kb_metric needs kb and metric");
        return;
    }
    if (node_get(at, "value_source") && in->source != VALUE_score)
        (void)node_problem(b->source->p, PROBLEM_error, node_get(at, "value_source"), path,
                           "the value_source of a kb_metric is 'score'");
    in->source = VALUE_score;
    const char *name = kb_metric_name(b->source->arena, in->kb, in->metric);
    in->index =
        name ? b->source->resolve(b->source->ctx, STR("kb"), str_of(name), at, path) : SIZE_MAX;
    in->kind = in->index == SIZE_MAX ? INPUT_none : INPUT_metric;
}

static void resolve_input(struct build *b, struct input *in, const struct node *at,
                          const char *path)
{
    if (str_is(in->type, "kb_metric")) {
        resolve_metric(b, in, at, path);
        return;
    }
    if (str_is(in->type, "projection")) {
        resolve_projection(b, in, at, path);
        return;
    }
    in->kind = INPUT_signal;
    in->index = b->source->resolve(b->source->ctx, in->type, in->name, at, path);
    if (in->index == SIZE_MAX)
        in->kind = INPUT_none;
}

static void resolve_inputs(struct build *b)
{
    struct score *scores = b->p->s.scores.items;
    const struct node *list = list_of(b, "scores");
    for (size_t i = 0; i < b->p->s.scores.n; i++) {
        struct input *inputs = scores[i].inputs.items;
        const struct node *nodes = node_at(list, i) ? node_get(node_at(list, i), "inputs") : NULL;
        char path[256];
        (void)snprintf(path, sizeof(path), "%s.scores[%zu]", b->source->path, i);
        if (scores[i].inputs.n == 0)
            (void)node_problem(b->source->p, PROBLEM_error, node_at(list, i), path,
                               "a score needs inputs");
        for (size_t k = 0; k < scores[i].inputs.n; k++) {
            (void)snprintf(path, sizeof(path), "%s.scores[%zu].inputs[%zu]", b->source->path, i, k);
            resolve_input(b, &inputs[k], node_at(nodes, k), path);
        }
    }
}

static size_t score_of(const struct projections *p, const struct input *in) /* SIZE_MAX: none */
{
    if (in->kind == INPUT_score)
        return in->index;
    return in->kind == INPUT_output ? p->outputs[in->index].mapping->score : SIZE_MAX;
}

enum { UNSEEN, OPEN, DONE };

/* Whether score i depends on itself. The depth is at most the number of scores, 1000. */
static bool circular(const struct projections *p, size_t i, unsigned char *seen)
{
    struct score *s = (struct score *)p->s.scores.items + i;
    const struct input *inputs = s->inputs.items;
    if (seen[i] != UNSEEN)
        return seen[i] == OPEN;
    seen[i] = OPEN;
    s->cost = 1;
    for (size_t k = 0; k < s->inputs.n; k++) {
        size_t next = score_of(p, &inputs[k]);
        if (next != SIZE_MAX && circular(p, next, seen))
            return true;
        size_t more = next == SIZE_MAX ? 1 : ((struct score *)p->s.scores.items + next)->cost;
        s->cost = s->cost + more > MAX_COST ? MAX_COST : s->cost + more;
    }
    seen[i] = DONE;
    return false;
}

static void break_circles(struct build *b)
{
    struct score *scores = b->p->s.scores.items;
    for (size_t i = 0; i < b->p->s.scores.n; i++) {
        unsigned char seen[1000] = { UNSEEN };
        bool circle = circular(b->p, i, seen);
        if (!circle && scores[i].cost < MAX_COST)
            continue;
        char path[256];
        (void)snprintf(path, sizeof(path), "%s.scores[%zu]", b->source->path, i);
        (void)node_problem(b->source->p, PROBLEM_error, node_at(list_of(b, "scores"), i), path,
                           "the score '%.*s' %s", STR_ARG(scores[i].name),
                           circle ? "depends on itself" : "uses too many scores");
        scores[i].inputs.n = 0;
    }
}

static void check_names(struct build *b)
{
    const struct score *scores = b->p->s.scores.items;
    for (size_t i = 0; i < b->p->s.scores.n; i++)
        if (find_score(b->p, scores[i].name) != i) {
            char path[256];
            (void)snprintf(path, sizeof(path), "%s.scores[%zu].name", b->source->path, i);
            (void)node_problem(b->source->p, PROBLEM_error, node_at(list_of(b, "scores"), i), path,
                               "the score '%.*s' is defined twice", STR_ARG(scores[i].name));
        }
}

static int resolve_partitions(struct build *b)
{
    struct partition *parts = b->p->s.partitions.items;
    for (size_t i = 0; i < b->p->s.partitions.n; i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s.partitions[%zu]", b->source->path, i);
        int e = partition_resolve(&parts[i], b->source, node_at(list_of(b, "partitions"), i), path);
        if (e < 0)
            return e;
    }
    return 0;
}

int projections_new(struct projections **ret, const struct projection_source *source)
{
    struct build b = { source, arena_alloc(source->arena, sizeof(struct projections)) };
    if (!b.p)
        return -ENOMEM;
    int e =
        schema_read(&b.p->s, section_options, source->node, source->path, source->arena, source->p);
    if (e < 0 && e != -EINVAL)
        return e;
    *ret = b.p;
    if (e == -EINVAL) { /* what was read may lack parts: it is not looked into */
        b.p->s = (struct section){ { NULL, 0 } };
        return 0;
    }
    size_t n = 0;
    const struct mapping *mappings = b.p->s.mappings.items;
    for (size_t i = 0; i < b.p->s.mappings.n; i++)
        n += mappings[i].outputs.n;
    b.p->outputs = arena_array(source->arena, n + 1, sizeof(*b.p->outputs));
    if (!b.p->outputs)
        return -ENOMEM;
    for (size_t i = 0; e == 0 && i < b.p->s.mappings.n; i++)
        e = add_outputs(&b, i);
    if (e < 0)
        return e;
    check_names(&b);
    resolve_inputs(&b);
    break_circles(&b);
    return resolve_partitions(&b);
}

static void each_of_score(const struct projections *p, size_t score,
                          void (*each)(void *ctx, size_t signal), void *ctx)
{
    if (score == SIZE_MAX)
        return;
    const struct score *s = (const struct score *)p->s.scores.items + score;
    const struct input *inputs = s->inputs.items;
    for (size_t i = 0; i < s->inputs.n; i++) {
        if (inputs[i].kind == INPUT_signal || inputs[i].kind == INPUT_metric)
            each(ctx, inputs[i].index);
        else
            each_of_score(p, score_of(p, &inputs[i]), each, ctx);
    }
}

void projections_each_signal(const struct projections *p, size_t output,
                             void (*each)(void *ctx, size_t signal), void *ctx)
{
    each_of_score(p, p->outputs[output].mapping->score, each, ctx);
}

/* ---- evaluating ---- */

void projections_reduce(const struct projections *p, enum family f, struct signal_value *values)
{
    if (!p || (f != FAMILY_domain && f != FAMILY_embedding))
        return;
    const struct partition *parts = p->s.partitions.items;
    for (size_t i = 0; i < p->s.partitions.n; i++)
        partition_reduce(&parts[i], f, values);
}

struct interval {
    double lo, hi;
};

static struct interval sum_of(const struct projections *p, size_t score, signal_fn get, void *ctx);

static struct interval of_signal(const struct input *in, struct signal_value v)
{
    if (v.value == TRUTH_unknown) {
        if (in->source == VALUE_raw || in->source == VALUE_score)
            return (struct interval){ -INFINITY, INFINITY };
        if (in->source == VALUE_confidence)
            return (struct interval){ 0, 1 };
        return (struct interval){ fmin(in->match, in->miss), fmax(in->match, in->miss) };
    }
    double x = v.value == TRUTH_true ? in->match : in->miss;
    if (in->source == VALUE_raw || in->source == VALUE_score)
        x = v.raw;
    else if (in->source == VALUE_confidence) /* a match without a confidence counts 1 */
        x = v.value != TRUTH_true ? 0 : v.confidence > 0 ? v.confidence : 1;
    return (struct interval){ x, x };
}

static struct interval of_metric(struct signal_value v)
{
    if (v.value == TRUTH_unknown) /* a similarity, or a margin between two */
        return (struct interval){ -1, 1 };
    return (struct interval){ v.raw, v.raw };
}

static struct interval of_input(const struct projections *p, const struct input *in, signal_fn get,
                                void *ctx)
{
    switch (in->kind) {
    case INPUT_signal:
        return of_signal(in, get(ctx, in->index));
    case INPUT_score:
        return sum_of(p, in->index, get, ctx);
    case INPUT_output:
        return of_signal(in, projections_evaluate(p, in->index, get, ctx));
    case INPUT_metric:
        return of_metric(get(ctx, in->index));
    default:
        return (struct interval){ 0, 0 };
    }
}

static struct interval sum_of(const struct projections *p, size_t score, signal_fn get, void *ctx)
{
    struct interval sum = { 0, 0 };
    if (score == SIZE_MAX)
        return (struct interval){ -INFINITY, INFINITY };
    const struct score *s = (const struct score *)p->s.scores.items + score;
    const struct input *inputs = s->inputs.items;
    for (size_t i = 0; i < s->inputs.n; i++) {
        struct interval x = of_input(p, &inputs[i], get, ctx);
        double w = inputs[i].weight;
        if (w == 0)
            continue; /* not even infinity counts */
        sum.lo += w * (w > 0 ? x.lo : x.hi);
        sum.hi += w * (w > 0 ? x.hi : x.lo);
    }
    return sum;
}

static bool unbounded(const struct predicate *band)
{
    return isnan(band->gt) && isnan(band->gte) && isnan(band->lt) && isnan(band->lte);
}

static bool inside(const struct predicate *band, double x)
{
    return unbounded(band) || predicate_holds(band, x);
}

static enum truth holds(const struct predicate *band, struct interval x)
{
    if (inside(band, x.lo) && inside(band, x.hi))
        return TRUTH_true;
    bool below = x.hi < band->gte || x.hi <= band->gt;
    bool above = x.lo > band->lte || x.lo >= band->lt;
    return below || above ? TRUTH_false : TRUTH_unknown;
}

static double confidence(const struct mapping *m, const struct predicate *band, struct interval x)
{
    const double bounds[] = { band->gt, band->gte, band->lt, band->lte };
    double slope = m->calibration.slope > 0 ? m->calibration.slope : DEFAULT_SLOPE;
    double least = INFINITY;
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        if (!isnan(bounds[i]))
            least = fmin(least, fmin(fabs(x.lo - bounds[i]), fabs(x.hi - bounds[i])));
    return isinf(least) ? 1 : 1 / (1 + exp(-slope * least));
}

struct signal_value projections_evaluate(const struct projections *p, size_t output, signal_fn get,
                                         void *ctx)
{
    const struct mapping *m = p->outputs[output].mapping;
    const struct output *outputs = m->outputs.items;
    struct interval x = sum_of(p, m->score, get, ctx);
    size_t own = output - m->first;
    enum truth t = holds(&outputs[own].band, x);
    for (size_t i = 0; m->method == MAPPING_bands && i < own && t != TRUTH_false; i++) {
        enum truth earlier = holds(&outputs[i].band, x);
        if (earlier == TRUTH_true)
            t = TRUTH_false;
        else if (earlier == TRUTH_unknown)
            t = TRUTH_unknown;
    }
    double c = t == TRUTH_true ? confidence(m, &outputs[own].band, x) : 0;
    return (struct signal_value){ t, c, x.lo };
}

/* ---- for a linter ---- */

size_t projections_score(const struct projections *p, size_t output)
{
    return p->outputs[output].mapping->score;
}

bool projections_holds(const struct projections *p, size_t output, double sum)
{
    const struct mapping *m = p->outputs[output].mapping;
    const struct output *outputs = m->outputs.items;
    size_t own = output - m->first;
    bool is = inside(&outputs[own].band, sum);
    for (size_t i = 0; m->method == MAPPING_bands && is && i < own; i++)
        is = !inside(&outputs[i].band, sum);
    return is;
}

bool projections_inside(const struct projections *p, size_t output, double sum)
{
    return inside(&p->outputs[output].output->band, sum);
}

size_t projections_bounds(const struct projections *p, size_t output, double *ret, size_t max)
{
    const struct mapping *m = p->outputs[output].mapping;
    const struct output *outputs = m->outputs.items;
    size_t own = output - m->first, n = 0;
    for (size_t i = m->method == MAPPING_bands ? 0 : own; i <= own; i++) {
        const struct predicate *b = &outputs[i].band;
        const double bounds[] = { b->gt, b->gte, b->lt, b->lte };
        for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
            if (isnan(bounds[k]))
                continue;
            if (n < max)
                ret[n] = bounds[k];
            n++;
        }
    }
    return n;
}

static struct interval span_of(const struct projections *p, size_t score);

/* What an input adds, whatever the request; infinite where nobody knows. */
static struct interval span_of_input(const struct projections *p, const struct input *in)
{
    double w = in->weight;
    struct interval x = { 0, 0 };
    if (w == 0)
        return x;
    if (in->kind == INPUT_signal || in->kind == INPUT_output)
        x = of_signal(in, (struct signal_value){ TRUTH_unknown, 0, 0 });
    else if (in->kind == INPUT_score)
        x = span_of(p, in->index);
    else if (in->kind == INPUT_metric)
        x = (struct interval){ -1, 1 };
    return (struct interval){ w * (w > 0 ? x.lo : x.hi), w * (w > 0 ? x.hi : x.lo) };
}

static struct interval span_of(const struct projections *p, size_t score)
{
    struct interval sum = { 0, 0 };
    if (score == SIZE_MAX)
        return (struct interval){ -INFINITY, INFINITY };
    const struct score *s = (const struct score *)p->s.scores.items + score;
    const struct input *inputs = s->inputs.items;
    for (size_t i = 0; i < s->inputs.n; i++) {
        struct interval x = span_of_input(p, &inputs[i]);
        sum.lo += x.lo;
        sum.hi += x.hi;
    }
    return sum;
}

static bool is_binary(const struct input *in) /* it adds one of two numbers */
{
    return (in->kind == INPUT_signal || in->kind == INPUT_output) && in->source == VALUE_binary;
}

static int by_lower_end(const void *a, const void *b)
{
    const struct sum_range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* Those that touch become one; `slack` is for numbers that are summed in another order here. */
static size_t merge_ranges(struct sum_range *r, size_t n, double slack)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        r[i].lo -= slack * (1 + fabs(r[i].lo));
        r[i].hi += slack * (1 + fabs(r[i].hi));
    }
    qsort(r, n, sizeof(*r), by_lower_end);
    for (size_t i = 0; i < n; i++) {
        if (kept && r[i].lo <= r[kept - 1].hi)
            r[kept - 1].hi = fmax(r[kept - 1].hi, r[i].hi);
        else
            r[kept++] = r[i];
    }
    return kept;
}

size_t projections_reach(const struct projections *p, size_t score, struct sum_range *ret,
                         size_t max)
{
    enum { MAX_BINARY = 16 };
    static const double SLACK = 1e-9;
    const struct score *s =
        score == SIZE_MAX ? NULL : (const struct score *)p->s.scores.items + score;
    const struct input *inputs = s ? s->inputs.items : NULL;
    const struct input *binary[MAX_BINARY];
    struct interval rest = s ? (struct interval){ 0, 0 } : span_of(p, score);
    size_t n = 0;
    for (size_t i = 0; s && i < s->inputs.n; i++) {
        if (is_binary(&inputs[i]) && n < MAX_BINARY && (2u << n) <= max) {
            binary[n++] = &inputs[i];
            continue;
        }
        struct interval x = span_of_input(p, &inputs[i]);
        rest.lo += x.lo;
        rest.hi += x.hi;
    }
    for (size_t c = 0; c < (size_t)1 << n; c++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += binary[i]->weight * (c >> i & 1 ? binary[i]->match : binary[i]->miss);
        ret[c] = (struct sum_range){ rest.lo + sum, rest.hi + sum };
    }
    return merge_ranges(ret, (size_t)1 << n, s && n == s->inputs.n ? 0 : SLACK);
}

size_t projections_scores(const struct projections *p)
{
    return p ? p->s.scores.n : 0;
}

struct str projections_score_name(const struct projections *p, size_t score)
{
    return ((const struct score *)p->s.scores.items)[score].name;
}

static void mark_score(const struct projections *p, size_t score, bool *seen)
{
    if (score == SIZE_MAX || seen[score])
        return;
    seen[score] = true;
    const struct score *s = (const struct score *)p->s.scores.items + score;
    const struct input *inputs = s->inputs.items;
    for (size_t i = 0; i < s->inputs.n; i++)
        mark_score(p, score_of(p, &inputs[i]), seen);
}

void projections_mark_scores(const struct projections *p, size_t output, bool *seen)
{
    mark_score(p, p->outputs[output].mapping->score, seen);
}
