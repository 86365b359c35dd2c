/*
 * Experience (Elo), similarity, AutoMix value and cost in one weighted mean; a warm cache and a low
 * price add to it, and among those within the gap of the best the cheapest answers.
 */
#include "router/selection/automix.h"
#include "router/selection/learning.h"
#include "router/selection/selection.h"

#include <errno.h>
#include <math.h>

#define NEUTRAL_RATING 1500.0
#define CHEAP_BONUS 0.2 /* times the weight of cost, for a candidate that costs nothing */
#define CACHE_BONUS 0.1 /* for a prompt that is all in the candidate's cache */

enum part { PART_experience, PART_similarity, PART_automix, PART_cost, PART_N };

struct hybrid {
    double weights[PART_N], gap;
    bool normalize;
};

static const struct option options[] = {
    OPT_FLOAT(struct hybrid, weights[PART_experience], "experience_weight", 0, 1, "0.3",
              "of the rating"),
    OPT_FLOAT(struct hybrid, weights[PART_similarity], "router_dc_weight", 0, 1, "0.3",
              "of the similarity to its description"),
    OPT_FLOAT(struct hybrid, weights[PART_automix], "automix_weight", 0, 1, "0.2",
              "of its value with escalation"),
    OPT_FLOAT(struct hybrid, weights[PART_cost], "cost_weight", 0, 1, "0.2", "of a low price"),
    OPT_FLOAT(struct hybrid, gap, "quality_gap_threshold", 0, 1, "0.1",
              "within it of the best, the cheapest answers"),
    OPT_BOOL(struct hybrid, normalize, "normalize_scores", "true",
             "spread each part over 0 to 1 among the candidates"),
    OPT_NOTE("description"),
    OPT_END,
};

static int check(void *settings, const struct place *at)
{
    const struct hybrid *h = settings;
    double sum = 0;
    for (int p = 0; p < PART_N; p++)
        sum += h->weights[p];
    if (sum > 0)
        return 0;
    return node_problem(at->p, PROBLEM_error, at->node, at->path, "every weight is 0");
}

/* In 0…1, or NAN when it is unknown. */
static double part_of(const struct pick_context *in, size_t i, enum part p)
{
    const struct candidate_state *s = &in->states[i];
    switch (p) {
    case PART_experience:
        return s->known & KNOWN_rating ? elo_expected(s->rating, NEUTRAL_RATING) : NAN;
    case PART_similarity:
        return s->known & KNOWN_similarity ? fmin(fmax(s->similarity, 0), 1) : NAN;
    case PART_automix:
        return fmin(fmax(in->scratch[i], 0), 1);
    case PART_cost:
        return in->decision->candidates[i].cost >= 0 ? 1 - pick_cost_share(in, i) : NAN;
    case PART_N:
        break;
    }
    return NAN;
}

/* Adds the part to the scores; whether it tells candidates apart. */
static bool add_part(const struct pick_context *in, const struct hybrid *h, enum part p,
                     double *scores)
{
    double min = INFINITY, max = -INFINITY;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        min = fmin(min, part_of(in, i, p));
        max = fmax(max, part_of(in, i, p));
    }
    bool tells = max > min && h->weights[p] > 0;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        double v = part_of(in, i, p);
        if (isnan(v) || !tells)
            v = 0.5;
        else if (h->normalize)
            v = (v - min) / (max - min);
        scores[i] += h->weights[p] * v;
    }
    return tells;
}

static void finish(const struct pick_context *in, const struct hybrid *h, double *scores)
{
    double sum = 0;
    for (int p = 0; p < PART_N; p++)
        sum += h->weights[p];
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        const struct candidate_state *s = &in->states[i];
        bool priced = in->decision->candidates[i].cost >= 0;
        double cheap = priced ? 1 - pick_cost_share(in, i) : 0;
        double warm = s->known & KNOWN_prefix ? fmin(fmax(s->prefix, 0), 1) : 0;
        scores[i] *=
            (1 + cheap * h->weights[PART_cost] * CHEAP_BONUS) * (1 + warm * CACHE_BONUS) / sum;
    }
}

/* The cheapest among those within the gap; unpriced ones do not undercut. */
static size_t cheapest_near(const struct pick_context *in, double gap, const double *scores,
                            size_t best)
{
    const struct candidate *c = in->decision->candidates;
    size_t found = best;
    for (size_t i = 0; i < in->decision->refs.n; i++)
        if (scores[best] - scores[i] < gap && c[i].cost >= 0 && c[i].cost < c[found].cost)
            found = i;
    return found;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct hybrid *h = in->decision->settings;
    size_t n = in->decision->refs.n, best = 0;
    double *scores = in->scratch + n;
    bool told = false;
    automix_values(&automix_default, in, in->scratch, scores);
    memset(scores, 0, n * sizeof(*scores));
    for (enum part p = 0; p < PART_N; p++)
        told = add_part(in, h, p, scores) || told;
    finish(in, h, scores);
    memcpy(in->scores, scores, n * sizeof(*scores));
    for (size_t i = 1; i < n; i++)
        best = scores[i] > scores[best] ? i : best;
    ret->index = cheapest_near(in, h->gap, scores, best);
    ret->status = told ? SELECTION_selected : SELECTION_fallback;
    ret->reason = !told                ? "nothing tells the candidates apart: the first"
                  : ret->index == best ? "the best mean of experience, similarity, value and cost"
                                       : "as good as the best within the gap, and cheaper";
    return 0;
}

const struct selection selection_hybrid = { .name = "hybrid",
                                            .options = options,
                                            .size = sizeof(struct hybrid),
                                            .wants = KNOWN_rating | KNOWN_similarity |
                                                     KNOWN_verification | KNOWN_prefix,
                                            .check = check,
                                            .pick = pick };
