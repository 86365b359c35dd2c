/*
 * Thompson sampling: each candidate draws its success rate from Beta(1 + successes, 1 + failures)
 * and the largest draw, less its cost, answers. With use_thompson_sampling off: the best mean, and
 * with the exploration rate any candidate.
 */
#include "router/selection/draw.h"
#include "router/selection/selection.h"

#include <math.h>

#define DECAY_OUTCOMES 100.0 /* exploration_decay is applied once for so many */
#define MAX_OUTCOMES 1e12    /* beyond: no draw differs */

struct rl_driven {
    double exploration, decay, min_exploration, blend, cost_weight;
    bool thompson, personal, cost_aware;
};

static const struct option options[] = {
    OPT_FLOAT(struct rl_driven, exploration, "exploration_rate", 0, 1, "0.3",
              "share of any candidate, without Thompson sampling"),
    OPT_FLOAT(struct rl_driven, decay, "exploration_decay", 0, 1, "0.99",
              "of that share, for 100 outcomes"),
    OPT_FLOAT(struct rl_driven, min_exploration, "min_exploration", 0, 1, "0.05", "its floor"),
    OPT_BOOL(struct rl_driven, thompson, "use_thompson_sampling", "true",
             "draw from what outcomes leave possible"),
    OPT_BOOL(struct rl_driven, personal, "enable_personalization", "true",
             "outcomes of the same user count apart"),
    OPT_FLOAT(struct rl_driven, blend, "personalization_blend", 0, 1, "0.7",
              "their share, where the user has any"),
    OPT_BOOL(struct rl_driven, cost_aware, "cost_awareness", "false", "dearer ones are held back"),
    OPT_FLOAT(struct rl_driven, cost_weight, "cost_weight", 0, 1, "0.2",
              "by this much for the dearest"),
    OPT_IGNORED("session_context_weight", "conversations are protected by global.router.learning"),
    OPT_IGNORED("implicit_feedback_weight",
                "a failure that the gateway sees counts as one outcome"),
    OPT_IGNORED("storage_path",
                "global.router.learning.state_store.path holds all that is learned"),
    OPT_IGNORED("auto_save_interval",
                "global.router.learning.state_store.path holds all that is learned"),
    OPT_IGNORED("use_router_r1_rewards", "an outcome is a verdict, not a sum of rewards"),
    OPT_IGNORED("cost_reward_alpha", "an outcome is a verdict, not a sum of rewards"),
    OPT_IGNORED("format_reward_penalty", "an outcome is a verdict, not a sum of rewards"),
    OPT_IGNORED("enable_llm_routing", "no helper model is asked"),
    OPT_IGNORED("router_r1_server_url", "no helper model is asked"),
    OPT_IGNORED("llm_routing_fallback", "no helper model is asked"),
    OPT_IGNORED("enable_multi_round_aggregation", "one model answers"),
    OPT_IGNORED("max_aggregation_rounds", "one model answers"),
    OPT_END,
};

static double count(double n) /* what an outcome count may be */
{
    return n > 0 ? fmin(n, MAX_OUTCOMES) : 0;
}

static double rate(const struct rl_driven *r, double successes, double failures, uint64_t *state)
{
    double a = 1 + count(successes), b = 1 + count(failures);
    return r->thompson ? draw_beta(state, a, b) : a / (a + b);
}

static double score(const struct rl_driven *r, const struct candidate_state *s, uint64_t *state)
{
    bool known = s->known & KNOWN_outcomes;
    double all = rate(r, known ? s->successes : 0, known ? s->failures : 0, state);
    if (!r->personal || !(s->known & KNOWN_user_outcomes))
        return all;
    return (1 - r->blend) * all + r->blend * rate(r, s->user_successes, s->user_failures, state);
}

/* Whether this request explores without looking at outcomes; *ret: which candidate. */
static bool explores(const struct pick_context *in, const struct rl_driven *r, uint64_t *state,
                     size_t *ret)
{
    double outcomes = 0;
    if (r->thompson)
        return false;
    for (size_t i = 0; i < in->decision->refs.n; i++)
        if (in->states[i].known & KNOWN_outcomes)
            outcomes += count(in->states[i].successes) + count(in->states[i].failures);
    double share =
        fmax(r->min_exploration, r->exploration * pow(r->decay, outcomes / DECAY_OUTCOMES));
    if (draw_uniform(state) >= share)
        return false;
    *ret = (size_t)(draw_uniform(state) * (double)in->decision->refs.n);
    return true;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct rl_driven *r = in->decision->settings;
    uint64_t state = in->seed;
    double best = -INFINITY;
    ret->status = SELECTION_selected;
    ret->reason = "an exploring draw";
    if (explores(in, r, &state, &ret->index))
        return 0;
    ret->reason = r->thompson ? "the largest Thompson draw" : "the best mean outcome";
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        double s = score(r, &in->states[i], &state) -
                   (r->cost_aware ? r->cost_weight * pick_cost_share(in, i) : 0);
        in->scores[i] = s;
        if (s > best) {
            best = s;
            ret->index = i;
        }
    }
    return 0;
}

const struct selection selection_rl_driven = { .name = "rl_driven",
                                               .options = options,
                                               .size = sizeof(struct rl_driven),
                                               .wants = KNOWN_outcomes | KNOWN_user_outcomes,
                                               .pick = pick };
