/*
 * The candidate whose answers please this user most, as far as outcomes tell: the mean of the
 * user's own and everybody's, which counts as EVERYBODY of the user's. The graph network of the
 * paper that the name comes from is not computed.
 */
#include "router/selection/selection.h"

#include <math.h>

#define EVERYBODY 4.0

struct gmtrouter {
    char nothing;
};

static const struct option options[] = {
    OPT_IGNORED("*", "no graph network is computed: outcomes of users and of all are averaged"),
    OPT_END,
};

static double mean(double successes, double failures)
{
    return (1 + fmax(successes, 0)) / (2 + fmax(successes, 0) + fmax(failures, 0));
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    double best = -INFINITY;
    bool known = false;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        const struct candidate_state *s = &in->states[i];
        bool all = s->known & KNOWN_outcomes, own = s->known & KNOWN_user_outcomes;
        double score = all ? mean(s->successes, s->failures) : mean(0, 0);
        if (own) {
            double n = fmax(s->user_successes, 0) + fmax(s->user_failures, 0);
            score = (EVERYBODY * score + n * mean(s->user_successes, s->user_failures)) /
                    (EVERYBODY + n);
        }
        known = known || all || own;
        in->scores[i] = score;
        if (score > best) {
            best = score;
            ret->index = i;
        }
    }
    ret->status = known ? SELECTION_selected : SELECTION_fallback;
    ret->reason = known ? "the best outcomes of this user and of all"
                        : "no outcome is known: the first candidate";
    return 0;
}

const struct selection selection_gmtrouter = { .name = "gmtrouter",
                                               .options = options,
                                               .size = sizeof(struct gmtrouter),
                                               .wants = KNOWN_outcomes | KNOWN_user_outcomes,
                                               .pick = pick };
