#include "gateway/candidates.h"

#include "base/clock.h"
#include "gateway/learning/learning.h"

enum { MIN_SAMPLES = 3 }; /* fewer latencies say nothing */

static const struct prefix *prefix_of_request(struct candidates *c,
                                              const struct route_request *request)
{
    if (!c->prefix && (c->prefix = arena_alloc(c->arena, sizeof(*c->prefix))))
        prefix_of(c->prefix, request->chat);
    return c->prefix;
}

static void tell_observed(struct candidates *c, const struct candidate_query *q,
                          struct candidate_state *ret)
{
    bool prefix = (q->wants & KNOWN_prefix) != 0;
    struct observed_question ask = {
        .model = q->model,
        .adapter = q->adapter,
        .ttft_percentile = q->ttft_percentile,
        .tpot_percentile = q->tpot_percentile,
        .prefix = prefix ? prefix_of_request(c, q->request) : NULL,
    };
    struct observed_state s;
    observed_get(c->core->learning->observed, &ask, &s);
    ret->samples = s.samples_ttft > s.samples_tpot ? s.samples_ttft : s.samples_tpot;
    if (q->ttft_percentile && s.samples_ttft >= MIN_SAMPLES) {
        ret->ttft_ms = s.ttft_ms;
        ret->known |= KNOWN_ttft;
    }
    if (q->tpot_percentile && s.samples_tpot >= MIN_SAMPLES) {
        ret->tpot_ms = s.tpot_ms;
        ret->known |= KNOWN_tpot;
    }
    if (ask.prefix) {
        ret->prefix = s.prefix;
        ret->known |= KNOWN_prefix;
    }
    /* What was fetched once is on this disk, unless the blob cache was too small. */
    if ((ret->known & KNOWN_weights) && ret->weights == WEIGHTS_away && s.staged)
        ret->weights = WEIGHTS_disk;
}

static void tell_weights(const struct candidates *c, const struct candidate_query *q,
                         struct candidate_state *ret)
{
    static const enum weights_at where[] = { [RESIDENCY_hit] = WEIGHTS_memory,
                                             [RESIDENCY_disk] = WEIGHTS_disk,
                                             [RESIDENCY_cold] = WEIGHTS_away };
    struct adapter_name name = { .base = q->model, .adapter = q->adapter };
    enum residency r = RESIDENCY_cold;
    (void)str_cut(q->adapter, '@', &name.adapter, &name.selector);
    if (q->adapter.n == 0 || !c->core->adapters)
        return;
    ret->weights = adapters_where(c->core->adapters, &name, &r) ? where[r] : WEIGHTS_away;
    ret->known |= KNOWN_weights;
}

static void tell_outcomes(const struct candidates *c, const struct candidate_query *q,
                          struct candidate_state *ret)
{
    const struct route_request *r = q->request;
    struct outcome_of who = { q->decision, q->model, q->adapter,
                              r->user_id.n ? r->user_id : r->chat->user };
    struct outcome_state s;
    outcomes_get(c->core->learning->outcomes, &who, clock_wall_s(), &s);
    if (s.known) {
        ret->known |= KNOWN_outcomes;
        ret->good_fit = s.counts.of[OUTCOME_good_fit];
        ret->overprovisioned = s.counts.of[OUTCOME_overprovisioned];
        ret->underpowered = s.counts.of[OUTCOME_underpowered];
        ret->failed = s.counts.of[OUTCOME_failed];
        ret->attempts = s.counts.attempts;
        ret->successes = ret->good_fit + ret->overprovisioned;
        ret->failures = ret->underpowered + ret->failed;
    }
    if (s.known && s.counts.comparisons > 0) {
        ret->known |= KNOWN_rating;
        ret->rating = s.counts.rating;
        ret->comparisons = s.counts.comparisons;
    }
    if (s.judged) {
        ret->known |= KNOWN_verification;
        ret->verification = s.counts.holds;
    }
    if (s.user_known) {
        ret->known |= KNOWN_user_outcomes;
        ret->user_successes = s.user_successes;
        ret->user_failures = s.user_failures;
    }
}

void candidates_tell(void *ctx, const struct candidate_query *q, struct candidate_state *ret)
{
    struct candidates *c = ctx;
    const struct core_model *m = core_model(c->core, q->model);
    if ((q->wants & KNOWN_load) && m) {
        size_t running = 0, waiting = 0;
        ret->inflight = (uint32_t)engine_load(m->engine, &running, &waiting);
        ret->known |= KNOWN_load;
    }
    if (q->wants & KNOWN_weights)
        tell_weights(c, q, ret);
    if (c->core->learning && (q->wants & CANDIDATES_OBSERVED))
        tell_observed(c, q, ret);
    if (c->core->learning &&
        (q->wants & (KNOWN_outcomes | KNOWN_user_outcomes | KNOWN_rating | KNOWN_verification)))
        tell_outcomes(c, q, ret);
}

bool candidates_describe(void *ctx, struct str model, struct str adapter, struct arena *arena,
                         struct str *ret_description, struct text_list *ret_examples)
{
    const struct core *c = ctx;
    struct adapter_info info = { 0 };
    struct fail fail = { 0 };
    if (!c->adapters || adapters_show(c->adapters, arena, model, adapter, &info, &fail) != 0)
        return false; /* published later: the next reload learns it */
    *ret_description = info.description;
    *ret_examples = (struct text_list){ info.examples, info.n_examples };
    return true;
}
