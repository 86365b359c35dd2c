/*
 * Quality, latency, cost and load in one sum: candidates beyond a ceiling are left out, each factor
 * is spread over 0…1 among the others, and the largest weighted sum answers (semantic-router.md,
 * 4.1). What is unknown of a candidate, and a factor that tells none apart, counts one half.
 */
#include "router/selection/selection.h"

#include <errno.h>
#include <math.h>

enum factor { FACTOR_quality, FACTOR_latency, FACTOR_cost, FACTOR_load, FACTOR_N };

static const char *const on_empty[] = { "cheapest", "first", "fail", NULL };
enum { ON_EMPTY_cheapest, ON_EMPTY_first, ON_EMPTY_fail };

struct weights {
    double of[FACTOR_N];
};

struct ceilings { /* 0: none */
    double tpot_ms, ttft_ms, cost;
    uint64_t inflight;
};

struct multi_factor {
    struct weights weights;
    struct ceilings slo;
    uint64_t percentile;
    unsigned on_empty;
};

#define MAX_WEIGHT 1e6
#define MAX_CEILING 1e12

static const struct option weight_options[] = {
    OPT_FLOAT(struct weights, of[FACTOR_quality], "quality", 0, MAX_WEIGHT, "0", "of its card"),
    OPT_FLOAT(struct weights, of[FACTOR_latency], "latency", 0, MAX_WEIGHT, "0", "observed"),
    OPT_FLOAT(struct weights, of[FACTOR_cost], "cost", 0, MAX_WEIGHT, "0", "of its pricing"),
    OPT_FLOAT(struct weights, of[FACTOR_load], "load", 0, MAX_WEIGHT, "0", "requests in flight"),
    OPT_END,
};

static const struct option ceiling_options[] = {
    OPT_FLOAT(struct ceilings, tpot_ms, "max_tpot_ms", 0, MAX_CEILING, "0", "0: none"),
    OPT_FLOAT(struct ceilings, ttft_ms, "max_ttft_ms", 0, MAX_CEILING, "0", "0: none"),
    OPT_FLOAT(struct ceilings, cost, "max_cost_per_1m", 0, MAX_CEILING, "0", "0: none"),
    OPT_UINT(struct ceilings, inflight, "max_inflight", 0, 1e9, "0", "requests; 0: no ceiling"),
    OPT_END,
};

static const struct option options[] = {
    OPT_SECTION(struct multi_factor, weights, "weights", weight_options,
                "of the factors; none given: equal"),
    OPT_SECTION(struct multi_factor, slo, "slo", ceiling_options, "who is beyond one is left out"),
    OPT_UINT(struct multi_factor, percentile, "latency_percentile", 1, 100, "95",
             "of the latencies that count"),
    OPT_WORD(struct multi_factor, on_empty, "on_no_candidates", on_empty, "cheapest",
             "when every candidate is beyond a ceiling"),
    OPT_NOTE("description"),
    OPT_END,
};

static int check(void *settings, const struct place *at)
{
    (void)at;
    struct weights *w = &((struct multi_factor *)settings)->weights;
    double sum = 0;
    for (int f = 0; f < FACTOR_N; f++)
        sum += w->of[f];
    for (int f = 0; f < FACTOR_N; f++)
        w->of[f] = sum > 0 ? w->of[f] / sum : 1.0 / FACTOR_N;
    return 0;
}

static void ask(const void *settings, struct candidate_query *q)
{
    const struct multi_factor *m = settings;
    q->tpot_percentile = q->ttft_percentile = (unsigned)m->percentile;
}

static bool beyond(const struct ceilings *c, const struct candidate *fixed,
                   const struct candidate_state *s)
{
    return (c->tpot_ms > 0 && (s->known & KNOWN_tpot) && s->tpot_ms > c->tpot_ms) ||
           (c->ttft_ms > 0 && (s->known & KNOWN_ttft) && s->ttft_ms > c->ttft_ms) ||
           (c->cost > 0 && fixed->cost > c->cost) ||
           (c->inflight > 0 && (s->known & KNOWN_load) && s->inflight > c->inflight);
}

/* How bad the candidate is by this factor, or NAN. Latency: `metric` of all, never two in one. */
static double badness(const struct pick_context *in, size_t i, enum factor f, unsigned metric)
{
    const struct candidate *fixed = &in->decision->candidates[i];
    const struct candidate_state *s = &in->states[i];
    switch (f) {
    case FACTOR_quality:
        return fixed->quality > 0 ? -fixed->quality : NAN;
    case FACTOR_latency:
        if (!(s->known & metric))
            return NAN;
        return metric == KNOWN_tpot ? s->tpot_ms : s->ttft_ms;
    case FACTOR_cost:
        return fixed->cost >= 0 ? fixed->cost : NAN;
    case FACTOR_load:
        return s->known & KNOWN_load ? (double)s->inflight : (double)NAN;
    case FACTOR_N:
        break;
    }
    return NAN;
}

struct range {
    double min, max; /* INFINITY, -INFINITY: nothing known */
};

struct field {
    const struct pick_context *in;
    const struct multi_factor *m;
    unsigned metric;
    struct range range[FACTOR_N];
};

static bool in_play(const struct field *x, size_t i)
{
    return !beyond(&x->m->slo, &x->in->decision->candidates[i], &x->in->states[i]);
}

static void measure(struct field *x)
{
    size_t n = x->in->decision->refs.n;
    x->metric = KNOWN_ttft; /* time per output token, where any candidate has it */
    for (size_t i = 0; i < n; i++)
        if (in_play(x, i) && (x->in->states[i].known & KNOWN_tpot))
            x->metric = KNOWN_tpot;
    for (enum factor f = 0; f < FACTOR_N; f++) {
        x->range[f] = (struct range){ INFINITY, -INFINITY };
        for (size_t i = 0; i < n; i++)
            if (in_play(x, i)) {
                double v = badness(x->in, i, f, x->metric);
                x->range[f].min = fmin(x->range[f].min, v); /* NAN loses */
                x->range[f].max = fmax(x->range[f].max, v);
            }
    }
}

static double score(const struct field *x, size_t i, bool *ret_told)
{
    double sum = 0;
    for (enum factor f = 0; f < FACTOR_N; f++) {
        const struct range *r = &x->range[f];
        double v = badness(x->in, i, f, x->metric);
        bool tells = r->max > r->min && x->m->weights.of[f] > 0;
        sum += x->m->weights.of[f] * (tells && !isnan(v) ? (r->max - v) / (r->max - r->min) : 0.5);
        *ret_told = *ret_told || tells;
    }
    return sum;
}

static int none_left(const struct pick_context *in, const struct multi_factor *m, struct pick *ret,
                     struct fail *reterr)
{
    if (m->on_empty == ON_EMPTY_fail)
        return fail_set(reterr, FAIL_overloaded,
                        "no candidate of the decision '%.*s' is within its service levels",
                        STR_ARG(in->decision->name));
    *ret = (struct pick){ 0, SELECTION_fallback,
                          "every candidate is beyond a ceiling: the first candidate" };
    double least = INFINITY;
    for (size_t i = 0; m->on_empty == ON_EMPTY_cheapest && i < in->decision->refs.n; i++) {
        double cost = in->decision->candidates[i].cost;
        if (cost >= 0 && cost < least) {
            least = cost;
            *ret = (struct pick){ i, SELECTION_fallback,
                                  "every candidate is beyond a ceiling: the cheapest" };
        }
    }
    return 0;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    struct field x = { .in = in, .m = in->decision->settings };
    double best = -INFINITY;
    bool told = false;
    measure(&x);
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        double s = in_play(&x, i) ? score(&x, i, &told) : -INFINITY;
        in->scores[i] = in_play(&x, i) ? s : NAN;
        if (s > best) {
            best = s;
            ret->index = i;
        }
    }
    if (best == -INFINITY)
        return none_left(in, x.m, ret, reterr);
    ret->status = told ? SELECTION_selected : SELECTION_fallback;
    ret->reason = told ? "the best sum of quality, latency, cost and load"
                       : "no factor tells the candidates apart: the first in play";
    return 0;
}

const struct selection selection_multi_factor = { .name = "multi_factor",
                                                  .options = options,
                                                  .size = sizeof(struct multi_factor),
                                                  .wants = KNOWN_ttft | KNOWN_tpot | KNOWN_load,
                                                  .check = check,
                                                  .ask = ask,
                                                  .pick = pick };
