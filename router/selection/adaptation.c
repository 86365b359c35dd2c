#include "router/selection/adaptation.h"

#include "router/selection/draw.h"

#include <errno.h>
#include <math.h>

/* Of routing_sampling (semantic-router.md 4.3); the last of three words each: decision, tier,
 * global. */
static const double COST_PENALTY[] = { 0.04, 0.06, 0.10 };
static const double SET_MARGIN[] = { 0, 0.03, 0.08 };
#define OVERUSE_PENALTY 0.03
#define FAILURE_PENALTY 0.10
#define LATENCY_PENALTY 0.02
#define CACHE_BONUS 0.02
#define INCUMBENT_BONUS 0.001 /* the algorithm's own choice wins a tie */
#define SEED_WEIGHT 2.0       /* outcomes that a model card's quality counts as */
#define UNKNOWN_QUALITY 0.5
#define WARM 0.65 /* share of the prompt in the current candidate's cache: no experiments then */
#define TTFT_PERCENTILE 50

/* Of protection. */
#define REUSE_COST 0.45
#define HISTORY_COST 0.35
#define HISTORY_TOKENS 8192.0
#define TURNS_COST 0.20
#define TURNS 8.0
#define BYTES_PER_TOKEN 4.0
#define RESCUE_VERDICTS 2.0

struct method {
    const char *action, *reason; /* NULL: the method is off */
};

struct choosing {
    const struct decision *d;
    const struct decision_learning *l;
    const struct route_request *request;
    const struct candidate_pool *pool;
    struct candidate_state *states; /* of the pool */
    double *means;                  /* what experience expects of each, without a draw */
    const double *scores;           /* of d->refs, by the algorithm; NULL: none */
    size_t base;                    /* the algorithm's choice, in the pool; pool->n: not in it */
    size_t current;                 /* the conversation's; pool->n: none, or not in the pool */
    bool in_loop;                   /* a tool was called and the answer is due */
};

static bool same(const struct model_ref *ref, struct str model, struct str adapter)
{
    return str_eq(ref->model, model) && str_eq(ref->lora_name, adapter);
}

static size_t find(const struct candidate_pool *pool, struct str model, struct str adapter)
{
    size_t i = 0;
    while (i < pool->n && !same(&pool->refs[i], model, adapter))
        i++;
    return i;
}

/* The last word is a tool's result, or calls that nobody has answered. */
static bool in_tool_loop(const struct chat_request *chat)
{
    if (chat->n_messages == 0)
        return false;
    const struct chat_message *last = &chat->messages[chat->n_messages - 1];
    return str_is(last->role, "tool") || str_is(last->role, "function") ||
           (str_is(last->role, "assistant") && last->n_tool_calls);
}

static double history_tokens(const struct chat_request *chat)
{
    double bytes = 0;
    for (size_t i = 0; i + 1 < chat->n_messages; i++)
        bytes += (double)chat->messages[i].content.n;
    return bytes / BYTES_PER_TOKEN;
}

static double clamp01(double x)
{
    return fmin(fmax(x, 0), 1);
}

/* ---- experience ---- */

static void ask(struct choosing *c)
{
    struct candidate_query q = { .decision = c->d->name,
                                 .wants = ADAPTATION_WANTS,
                                 .ttft_percentile = TTFT_PERCENTILE,
                                 .request = c->request };
    for (size_t i = 0; i < c->pool->n; i++) {
        q.model = c->pool->refs[i].model;
        q.adapter = c->pool->refs[i].lora_name;
        q.description = c->pool->candidates[i].description;
        if (c->request->candidate)
            c->request->candidate(c->request->candidate_ctx, &q, &c->states[i]);
    }
}

/* The posterior of a good answer: its mean, or a draw where a stream of chance is given. */
static double quality(const struct choosing *c, size_t i, uint64_t *chance)
{
    const struct candidate_state *s = &c->states[i];
    double card = c->pool->candidates[i].quality, good = 0, bad = 0;
    if (s->known & KNOWN_outcomes) {
        good = fmax(s->good_fit, 0);
        bad = fmax(s->underpowered, 0);
    }
    double seed = card > 0 && good + bad == 0 ? card : UNKNOWN_QUALITY;
    double a = 1 + SEED_WEIGHT * seed + good, b = 1 + SEED_WEIGHT * (1 - seed) + bad;
    return chance ? draw_beta(chance, a, b) : a / (a + b);
}

static double adjustment(const struct choosing *c, size_t i, double max_cost, double max_ttft)
{
    const struct candidate_state *s = &c->states[i];
    double cost = c->pool->candidates[i].cost, sum = 0;
    if (cost > 0 && max_cost > 0)
        sum -= COST_PENALTY[c->l->set] * cost / max_cost;
    if (s->known & KNOWN_outcomes) {
        double total = s->good_fit + s->underpowered + s->overprovisioned + s->failed + 1;
        sum -= OVERUSE_PENALTY * s->overprovisioned / total + FAILURE_PENALTY * s->failed / total;
    }
    if ((s->known & KNOWN_ttft) && max_ttft > 0)
        sum -= LATENCY_PENALTY * s->ttft_ms / max_ttft;
    if (s->known & KNOWN_prefix)
        sum += CACHE_BONUS * clamp01(s->prefix);
    return sum + (i == c->base ? INCUMBENT_BONUS : 0);
}

/* Scores of the pool; without chance, what experience expects. */
static void score(const struct choosing *c, uint64_t *chance, double *ret)
{
    double max_cost = 0, max_ttft = 0;
    for (size_t i = 0; i < c->pool->n; i++) {
        max_cost = fmax(max_cost, c->pool->candidates[i].cost);
        if (c->states[i].known & KNOWN_ttft)
            max_ttft = fmax(max_ttft, c->states[i].ttft_ms);
    }
    for (size_t i = 0; i < c->pool->n; i++)
        ret[i] = quality(c, i, chance) + adjustment(c, i, max_cost, max_ttft);
}

static bool untried(const struct candidate_state *s)
{
    return !(s->known & KNOWN_outcomes) || s->attempts <= 0;
}

static bool may_draw(const struct choosing *c)
{
    if (c->l->protection != ADAPTATION_apply)
        return true;
    if (c->in_loop)
        return false;
    return c->current == c->pool->n || !(c->states[c->current].known & KNOWN_prefix) ||
           c->states[c->current].prefix < WARM;
}

static size_t best_of(const double *scores, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = scores[i] > scores[best] ? i : best;
    return best;
}

/* What experience proposes; the base where it is not enough better. */
static size_t propose(const struct choosing *c, double *scores, struct method *ret)
{
    uint64_t chance = draw_seed((struct str){ (const char *)&c->request->seed, sizeof(uint64_t) });
    bool draws = c->l->adaptation == ADAPTATION_apply && may_draw(c) && c->request->seed;
    score(c, draws ? &chance : NULL, scores);
    size_t winner = best_of(scores, c->pool->n);
    bool cold = false;
    *ret = (struct method){ "keep_base", "base_best" };
    if (c->base < c->pool->n && scores[winner] < scores[c->base] + SET_MARGIN[c->l->set])
        winner = c->base;
    for (size_t i = 0; draws && !cold && i < c->pool->n; i++)
        if (untried(&c->states[i])) {
            winner = i;
            cold = true;
        }
    if (winner != c->base)
        *ret = (struct method){ "propose_switch", cold    ? "cold_start"
                                                  : draws ? "sampled_win"
                                                          : "posterior_win" };
    if (c->l->adaptation == ADAPTATION_apply)
        return winner;
    *ret = (struct method){ "observe", "observe_only" };
    return c->base;
}

/* ---- protection ---- */

/* How much better the proposal is than the current one: by the algorithm where both are its own
 * candidates and it scored both, else by experience. */
static double gain(const struct choosing *c, size_t proposal)
{
    const struct model_ref *refs = c->d->refs.items;
    double of[2] = { NAN, NAN };
    const size_t which[2] = { proposal, c->current };
    for (size_t k = 0; c->scores && c->l->adaptation != ADAPTATION_apply && k < 2; k++)
        for (size_t i = 0; i < c->d->refs.n; i++)
            if (same(&refs[i], c->pool->refs[which[k]].model, c->pool->refs[which[k]].lora_name))
                of[k] = c->scores[i];
    double by_algorithm = of[0] - of[1];
    return isnan(by_algorithm) ? c->means[proposal] - c->means[c->current] : by_algorithm;
}

/* What would be lost: the cache, the history to be read again, the habit. 0…1. */
static double switch_cost(const struct choosing *c)
{
    const struct candidate_state *s = &c->states[c->current];
    double reuse = s->known & KNOWN_prefix ? clamp01(s->prefix) : 0;
    return REUSE_COST * reuse +
           HISTORY_COST * clamp01(history_tokens(c->request->chat) / HISTORY_TOKENS) +
           TURNS_COST * clamp01(c->request->last->turns / TURNS);
}

static bool weak(const struct choosing *c, size_t i)
{
    const struct candidate_state *s = &c->states[i];
    const struct route_session *last = c->request->last;
    if (i == c->current &&
        (last->underpowered >= RESCUE_VERDICTS || last->failed >= RESCUE_VERDICTS))
        return true;
    return (s->known & KNOWN_outcomes) &&
           ((s->underpowered >= RESCUE_VERDICTS && s->underpowered > s->good_fit) ||
            s->failed >= RESCUE_VERDICTS);
}

/* The proposal, or the best other one that is not weak itself; pool->n: none. */
static size_t rescuer(const struct choosing *c, size_t proposal)
{
    size_t best = c->pool->n;
    if (proposal != c->current && !weak(c, proposal))
        return proposal;
    for (size_t i = 0; i < c->pool->n; i++)
        if (i != c->current && !weak(c, i) && (best == c->pool->n || c->means[i] > c->means[best]))
            best = i;
    return best;
}

static struct method beginning(const struct choosing *c)
{
    const struct route_session *last = c->request->last;
    if (!c->request->in_session)
        return (struct method){ "allow_switch", "identity_missing" };
    if (last && last->idle)
        return (struct method){ "establish_baseline", "idle_reset" };
    if (last)
        return (struct method){ "establish_baseline", "decision_changed" };
    return (struct method){ "establish_baseline",
                            c->l->by_session ? "new_session" : "new_conversation" };
}

/* Whether the conversation may change to the proposal. */
static size_t protect(const struct choosing *c, size_t proposal, struct method *ret)
{
    const struct route_session *last = c->request->last;
    *ret = beginning(c);
    if (c->current == c->pool->n)
        return proposal;
    *ret = (struct method){ "hold_current", "tool_or_protocol_state" };
    if (c->in_loop)
        return c->current;
    size_t rescue = weak(c, c->current) ? rescuer(c, proposal) : c->pool->n;
    if (rescue < c->pool->n) {
        *ret = (struct method){ "rescue_switch", "rescue_evidence" };
        return rescue;
    }
    *ret = (struct method){ "hold_current", "retention" };
    if (last->keeps)
        return c->current;
    *ret = (struct method){ "hold_current", "current_best" };
    if (proposal == c->current)
        return proposal;
    *ret = (struct method){ "hold_current", "session_scope" };
    if (c->l->by_session)
        return c->current;
    *ret = (struct method){ "hold_current", "min_turns_before_switch" };
    if (last->held < c->l->min_turns)
        return c->current;
    *ret = (struct method){ "hold_current", "switch_margin_not_met" };
    if (gain(c, proposal) < c->l->switch_margin + c->l->stability_weight * switch_cost(c))
        return c->current;
    *ret = (struct method){ "allow_switch", "switch_allowed" };
    return proposal;
}

/* ---- both ---- */

static int tell(struct route_learning *ret, const struct method *adaptation,
                const struct method *protection, bool by_session, struct arena *arena)
{
    const char *scope = by_session ? "session" : "conversation";
    bool both = adaptation->action && protection->action;
    const char *a = adaptation->action ? "adaptation" : "",
               *p = protection->action ? "protection" : "";
    const char *comma = both ? "," : "";
    const char *is_a = adaptation->action ? "=" : "", *is_p = protection->action ? "=" : "";
    *ret = (struct route_learning){ 0 };
    if (!adaptation->action && !protection->action)
        return 0;
    ret->methods = str_of(arena_printf(arena, "%s%s%s", a, comma, p));
    ret->actions = str_of(arena_printf(arena, "%s%s%s%s%s%s%s", a, is_a,
                                       adaptation->action ? adaptation->action : "", comma, p, is_p,
                                       protection->action ? protection->action : ""));
    ret->reasons = str_of(arena_printf(arena, "%s%s%s%s%s%s%s", a, is_a,
                                       adaptation->action ? adaptation->reason : "", comma, p, is_p,
                                       protection->action ? protection->reason : ""));
    ret->scopes = str_of(protection->action ? arena_printf(arena, "protection=%s", scope) : "");
    return ret->methods.p && ret->actions.p && ret->reasons.p && ret->scopes.p ? 0 : -ENOMEM;
}

static int begin(struct choosing *c, const struct pick *pick, struct arena *arena)
{
    const struct model_ref *ref = (const struct model_ref *)c->d->refs.items + pick->index;
    const struct route_session *last = c->request->last;
    c->states = arena_array(arena, c->pool->n + 1, sizeof(*c->states));
    c->means = arena_array(arena, 2 * c->pool->n + 1, sizeof(*c->means));
    if (!c->states || !c->means)
        return -ENOMEM;
    c->base = find(c->pool, ref->model, ref->lora_name);
    c->current = c->pool->n;
    if (last && !last->idle && (last->keeps || str_eq(last->decision, c->d->name)))
        c->current = find(c->pool, last->model, last->adapter);
    c->in_loop = in_tool_loop(c->request->chat);
    ask(c);
    score(c, /* chance= */ NULL, c->means);
    return 0;
}

int adaptation_choose(const struct decision *d, const struct route_request *request,
                      const struct selected *selected, struct arena *arena,
                      const struct model_ref **ret, struct route_learning *ret_learning)
{
    struct choosing c = {
        .d = d, .l = d->learning, .request = request, .pool = d->pool, .scores = selected->scores
    };
    const struct pick *pick = &selected->pick;
    struct method adaptation = { 0 }, protection = { 0 };
    int e = begin(&c, pick, arena);
    *ret = (const struct model_ref *)d->refs.items + pick->index;
    if (e < 0 || c.base == c.pool->n)
        return e;
    size_t chosen = c.base;
    if (c.l->adapts)
        adaptation = (struct method){ "bypass", "decision_bypass" };
    if (c.l->protects)
        protection = (struct method){ "bypass", "decision_bypass" };
    if (c.l->adaptation != ADAPTATION_bypass)
        chosen = propose(&c, c.means + c.pool->n, &adaptation);
    if (c.l->protection != ADAPTATION_bypass) {
        size_t kept = protect(&c, chosen, &protection);
        if (c.l->protection == ADAPTATION_apply)
            chosen = kept;
        else
            protection = (struct method){ "observe", "observe_only" };
    }
    if (chosen != c.base)
        *ret = &c.pool->refs[chosen];
    return tell(ret_learning, &adaptation, &protection, c.l->by_session, arena);
}
