#include "router/selection/automix.h"

#include <math.h>

#define UNKNOWN_QUALITY 0.8
#define UNKNOWN_VERIFICATION 0.7
#define HOLDS_BONUS 1.1
#define MAX_ESCALATIONS 10

const struct automix automix_default = {
    .threshold = 0.7, .tradeoff = 0.3, .discount = 0.95, .escalations = 2, .cost_aware = true
};

static const struct option options[] = {
    OPT_FLOAT(struct automix, threshold, "verification_threshold", 0, 1, "0.7",
              "chance from which an answer is trusted"),
    OPT_UINT(struct automix, escalations, "max_escalations", 0, MAX_ESCALATIONS, "2",
             "to dearer candidates"),
    OPT_BOOL(struct automix, cost_aware, "cost_aware_routing", "true", "prices count"),
    OPT_FLOAT(struct automix, tradeoff, "cost_quality_tradeoff", 0, 1, "0.3",
              "quality that the dearest candidate's price is worth"),
    OPT_FLOAT(struct automix, discount, "discount_factor", 0, 1, "0.95", "of an escalation"),
    OPT_IGNORED("use_logprob_verification", "how often answers hold is observed at run time"),
    OPT_NOTE("description"),
    OPT_END,
};

static double quality_of(const struct pick_context *in, size_t i)
{
    double q = in->decision->candidates[i].quality;
    return q > 0 ? q : UNKNOWN_QUALITY;
}

static double holds(const struct pick_context *in, size_t i)
{
    const struct candidate_state *s = &in->states[i];
    return s->known & KNOWN_verification ? fmin(fmax(s->verification, 0), 1) : UNKNOWN_VERIFICATION;
}

static double best_dearer(const struct pick_context *in, size_t i, const double *values)
{
    double best = -INFINITY, own = pick_cost_share(in, i);
    for (size_t j = 0; j < in->decision->refs.n; j++)
        if (pick_cost_share(in, j) > own)
            best = fmax(best, values[j]);
    return best;
}

/* What it is worth when nobody is asked after it. */
static double alone(const struct automix *a, const struct pick_context *in, size_t i)
{
    return holds(in, i) * quality_of(in, i) -
           (a->cost_aware ? a->tradeoff * pick_cost_share(in, i) : 0);
}

void automix_values(const struct automix *a, const struct pick_context *in, double *values,
                    double *scratch)
{
    size_t n = in->decision->refs.n;
    for (size_t i = 0; i < n; i++)
        values[i] = alone(a, in, i);
    for (uint64_t k = 0; k < a->escalations; k++) {
        memcpy(scratch, values, n * sizeof(*values));
        for (size_t i = 0; i < n; i++)
            values[i] = alone(a, in, i) +
                        a->discount * (1 - holds(in, i)) * fmax(0, best_dearer(in, i, scratch));
    }
    for (size_t i = 0; i < n; i++)
        if (holds(in, i) >= a->threshold && values[i] > 0)
            values[i] *= HOLDS_BONUS;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    double *values = in->scratch, best = -INFINITY;
    bool told = false;
    automix_values(in->decision->settings, in, values, values + in->decision->refs.n);
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        told = told || values[i] != values[0];
        in->scores[i] = values[i];
        if (values[i] > best) {
            best = values[i];
            ret->index = i;
        }
    }
    ret->status = told ? SELECTION_selected : SELECTION_fallback;
    ret->reason = told ? "the best value of quality, cost and escalation"
                       : "every candidate is worth the same: the first";
    return 0;
}

const struct selection selection_automix = { .name = "automix",
                                             .options = options,
                                             .size = sizeof(struct automix),
                                             .wants = KNOWN_verification,
                                             .pick = pick };
