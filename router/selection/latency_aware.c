/*
 * The candidate that was fastest: the mean of its latencies at the percentiles, each as a multiple
 * of the least among the candidates (semantic-router.md, 4.1).
 */
#include "router/selection/selection.h"

#include <errno.h>
#include <math.h>

enum { MIN_SAMPLES = 3 }; /* fewer say nothing */

struct latency_aware {
    uint64_t tpot, ttft;
};

static const struct option options[] = {
    OPT_UINT(struct latency_aware, tpot, "tpot_percentile", 0, 100, "0",
             "of the time per output token; 0: not looked at"),
    OPT_UINT(struct latency_aware, ttft, "ttft_percentile", 0, 100, "0",
             "of the time to the first token; 0: not looked at"),
    OPT_NOTE("description"),
    OPT_END,
};

static int check(void *settings, const struct place *at)
{
    const struct latency_aware *l = settings;
    if (l->tpot || l->ttft)
        return 0;
    return node_problem(at->p, PROBLEM_error, at->node, at->path,
                        "needs tpot_percentile or ttft_percentile, from 1 to 100");
}

static void ask(const void *settings, struct candidate_query *q)
{
    const struct latency_aware *l = settings;
    q->tpot_percentile = (unsigned)l->tpot;
    q->ttft_percentile = (unsigned)l->ttft;
}

static bool observed(const struct latency_aware *l, const struct candidate_state *s)
{
    unsigned wanted = (l->tpot ? KNOWN_tpot : 0u) | (l->ttft ? KNOWN_ttft : 0u);
    return s->samples >= MIN_SAMPLES && (s->known & wanted) == wanted;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct latency_aware *l = in->decision->settings;
    double tpot = INFINITY, ttft = INFINITY, least = INFINITY;
    size_t n = in->decision->refs.n;
    for (size_t i = 0; i < n; i++)
        if (observed(l, &in->states[i])) {
            tpot = fmin(tpot, in->states[i].tpot_ms);
            ttft = fmin(ttft, in->states[i].ttft_ms);
        }
    *ret =
        (struct pick){ 0, SELECTION_fallback, "too few latencies observed: the first candidate" };
    for (size_t i = 0; i < n; i++) {
        const struct candidate_state *s = &in->states[i];
        if (!observed(l, s))
            continue;
        double sum = (l->tpot ? s->tpot_ms / tpot : 0) + (l->ttft ? s->ttft_ms / ttft : 0);
        in->scores[i] = sum > 0 ? 1 / sum : NAN;
        if (sum < least) { /* all have as many terms: the sum orders as the mean does */
            least = sum;
            *ret = (struct pick){ i, SELECTION_selected, "the least observed latency" };
        }
    }
    return 0;
}

const struct selection selection_latency_aware = { .name = "latency_aware",
                                                   .options = options,
                                                   .size = sizeof(struct latency_aware),
                                                   .wants = KNOWN_ttft | KNOWN_tpot,
                                                   .check = check,
                                                   .ask = ask,
                                                   .pick = pick };
