/*
 * The candidate whose Elo rating is highest, dearer ones held back by cost_scaling_factor. The
 * score is its share of the Bradley-Terry strengths: 10^(rating / 400).
 */
#include "router/selection/learning.h"
#include "router/selection/selection.h"

#include <math.h>

#define SCALE 400.0

struct elo {
    double initial_rating, cost_scaling, k;
    uint64_t min_comparisons;
    bool by_decision;
};

static const struct option options[] = {
    OPT_FLOAT(struct elo, initial_rating, "initial_rating", 0, 10000, "1500",
              "of a candidate without comparisons"),
    OPT_FLOAT(struct elo, cost_scaling, "cost_scaling_factor", 0, 100, "0",
              "divides the score by 1 + factor * cost / largest cost"),
    OPT_FLOAT(struct elo, k, "k_factor", 1, 1000, "32", "what one comparison moves, at most"),
    OPT_BOOL(struct elo, by_decision, "category_weighted", "true",
             "ratings of this decision; else of all"),
    OPT_UINT(struct elo, min_comparisons, "min_comparisons", 0, 1e9, "0",
             "with fewer, a candidate has its initial rating"),
    OPT_IGNORED("decay_factor", "ratings fall back by half in 30 days"),
    OPT_IGNORED("storage_path",
                "global.router.learning.state_store.path holds all that is learned"),
    OPT_IGNORED("auto_save_interval", "what is learned is saved when an outcome comes"),
    OPT_END,
};

double elo_expected(double rating, double other)
{
    return 1 / (1 + pow(10, (other - rating) / SCALE));
}

void elo_update(double *winner, double *loser, double k, bool tie)
{
    double expected = elo_expected(*winner, *loser);
    double change = k * ((tie ? 0.5 : 1) - expected);
    *winner += change;
    *loser -= change;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct elo *e = in->decision->settings;
    double best = -INFINITY;
    bool rated = false;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        const struct candidate_state *s = &in->states[i];
        bool known = (s->known & KNOWN_rating) && s->comparisons >= (double)e->min_comparisons;
        /* the logarithm of the strength over its divisor: the same order, and it cannot overflow */
        double score = (known ? s->rating : e->initial_rating) * (M_LN10 / SCALE) -
                       log1p(e->cost_scaling * pick_cost_share(in, i));
        rated = rated || known;
        in->scores[i] = elo_expected(known ? s->rating : e->initial_rating, e->initial_rating);
        if (score > best) {
            best = score;
            ret->index = i;
        }
    }
    ret->status = rated ? SELECTION_selected : SELECTION_fallback;
    ret->reason =
        rated ? "the highest rating" : "no candidate is rated: by initial rating and cost";
    return 0;
}

static void ask(const void *settings, struct candidate_query *q)
{
    if (!((const struct elo *)settings)->by_decision)
        q->decision = STR_NULL;
}

static void learn(const void *settings, struct outcome_rule *ret)
{
    ret->elo_k = ((const struct elo *)settings)->k;
}

const struct selection selection_elo = { .name = "elo",
                                         .options = options,
                                         .size = sizeof(struct elo),
                                         .wants = KNOWN_rating,
                                         .ask = ask,
                                         .learn = learn,
                                         .pick = pick };
