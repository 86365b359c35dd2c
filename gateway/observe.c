#include "gateway/observe.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/canary.h"
#include "gateway/candidates.h"
#include "gateway/learning/learning.h"
#include "gateway/server.h"
#include "gateway/shadow.h"

void observe_event(struct choice *c, const struct engine_event *e)
{
    bool token = e->kind == ENGINE_EVENT_reasoning || e->kind == ENGINE_EVENT_tool_call ||
                 (e->kind == ENGINE_EVENT_text && !e->is_prompt);
    if (token && !c->first_us)
        c->first_us = clock_us();
    if (e->kind == ENGINE_EVENT_done && c->first_us)
        c->done_us = clock_us();
}

void observe_text(struct answer *a)
{
    if (a->has_text)
        return;
    a->has_text = true;
    const struct request *r = a->request;
    metrics_observe_us(METRIC_first_token_seconds, flow_now_us(&r->flow) - r->accepted_us);
}

/* The policy's name of the candidate, where it chose one; else that on the wire. */
static struct str adapter_of(const struct answer *a)
{
    if (a->target.is_auto)
        return a->target.route.adapter;
    const struct adapter_name *n = &a->target.adapter;
    if (n->selector.n == 0)
        return n->adapter;
    return str_of(arena_printf(a->request->arena, "" STR_FMT "@" STR_FMT, STR_ARG(n->adapter),
                               STR_ARG(n->selector)));
}

/* From submitting to the first token, and from token to token, of the choice that was first. */
static void times_of(const struct answer *a, struct observation *x)
{
    const struct choice *first = NULL;
    for (size_t i = 0; i < a->n_choices; i++)
        if (a->choices[i].first_us && (!first || a->choices[i].first_us < first->first_us))
            first = &a->choices[i];
    if (!first || first->first_us < a->submitted_us)
        return;
    x->ttft_ms = (double)(first->first_us - a->submitted_us) / 1e3;
    if (first->usage.completion_tokens > 1 && first->done_us > first->first_us)
        x->tpot_ms = (double)(first->done_us - first->first_us) / 1e3 /
                     (double)(first->usage.completion_tokens - 1);
}

void observe_conversation(struct answer *a, struct route_request *q)
{
    const struct request *r = a->request;
    const struct learning_settings *l = router_learning(r->state->router);
    struct learning *learning = r->state->core->learning;
    a->user = q->user_id.n ? q->user_id : a->chats[0].user;
    if (!learning || !router_keeps_sessions(r->state->router))
        return;
    a->conversation = conversation_of(l, &a->chats[0], r->headers, r->n_headers);
    const struct conversation *c = &a->conversation;
    struct session_question ask = { c->key, clock_ms(), l->idle_timeout_s, l->ttl_s };
    q->in_session = c->known;
    q->session = c->id;
    if (c->known && !c->begins && sessions_get(learning->sessions, &ask, r->arena, &a->last))
        q->last = &a->last;
}

void observe_chosen(struct answer *a)
{
    struct learning *l = a->request->state->core->learning;
    const struct route *route = &a->target.route;
    const struct conversation *c = &a->conversation;
    if (!l || !a->target.is_auto)
        return;
    struct outcome_of who = { route->decision, route->model, route->adapter, a->user };
    outcomes_chosen(l->outcomes, str_of(a->request->id), &who, c->known ? &c->key : NULL,
                    clock_wall_s());
    if (c->known)
        sessions_put(l->sessions, &c->key, route, clock_ms());
}

/* Whether the candidate is to blame, not the request or a queue that is full. */
static bool is_its_fault(const struct fail *fail)
{
    return fail->code == FAIL_internal_error || fail->code == FAIL_upstream_error ||
           fail->code == FAIL_timeout;
}

static void blame(struct answer *a, struct learning *l)
{
    const struct route *route = &a->target.route;
    if (!a->target.is_auto)
        return;
    struct outcome_rule rule = router_outcome_rule(a->request->state->router, route->decision);
    if (outcomes_judge_request(l->outcomes, str_of(a->request->id), OUTCOME_failed, rule.elo_k,
                               clock_wall_s()) == OUTCOME_first &&
        a->conversation.known)
        sessions_judge(l->sessions, &a->conversation.key, route->model, route->adapter,
                       /* underpowered= */ false);
}

/* ---- canaries and shadows ---- */

/* What the catalog tries beside the revision that answers, where the name left the choice. */
static bool trial_of(const struct answer *a, struct adapter_trial *ret)
{
    const struct adapter_name *n = &a->target.adapter;
    struct adapters *adapters = a->request->state->core->adapters;
    if (n->adapter.n == 0 || n->selector.n || !adapters || !adapters_trial(adapters, n, ret))
        return false;
    if (a->has_revision)
        ret->revision = *a->revision;
    return true;
}

static void begin_shadow(struct answer *a)
{
    struct request *r = a->request;
    struct adapter_trial t;
    if (!a->has_revision || !a->target.model || a->remote.name.n /* it has no weights here */ ||
        !trial_of(a, &t) || t.shadow_weight == 0 || !sha256_eq(&t.revision.digest, &t.prod))
        return;
    a->shadow = shadow_begin(server_shadows(r->server),
                             &(struct shadow_offer){
                                 .trial = &t,
                                 .engine = a->target.model->engine,
                                 .chat = &a->chats[0],
                                 .id = str_of(r->made),
                                 .deadline_ms = r->deadline_ms,
                                 .max_running = r->state->config->adapters.shadow_max,
                             });
}

void observe_shadow(struct choice *c, struct str text)
{
    struct answer *a = c->answer;
    if (c->index != 0)
        return;
    if (!a->is_shadowed) {
        a->is_shadowed = true;
        begin_shadow(a);
    }
    if (text.n)
        shadow_text(a->shadow, text);
    if (c->done)
        a->shadow = shadow_end(a->shadow, /* whole= */ !c->ended);
}

/* Whether the revision, or what serves it, is to blame. */
static bool fails_canary(const struct fail *fail)
{
    return fail && (is_its_fault(fail) || fail->code == FAIL_unprocessable_adapter);
}

static void judge_canary(struct answer *a, const struct fail *fail)
{
    struct request *r = a->request;
    struct canaries *c = server_canaries(r->server);
    struct observation x = { .ttft_ms = -1, .tpot_ms = -1 };
    struct adapter_trial t;
    bool fell_back = !fail && !a->has_revision; /* the base has answered */
    if (a->is_judged || !c || fell_back || (fail && !fails_canary(fail)) || !trial_of(a, &t))
        return;
    a->is_judged = true;
    if (!fail && a->submitted_us)
        times_of(a, &x);
    struct canary_sample s = { fail != NULL, x.ttft_ms, x.tpot_ms };
    canaries_note(c, &t, &s, &r->state->config->adapters.canary, clock_ms());
}

void observe_end(struct answer *a, const struct fail *fail)
{
    judge_canary(a, fail);
    struct learning *l = a->request->state->core->learning;
    if (a->is_observed || !l || !a->target.model)
        return;
    a->is_observed = true;
    struct observation x = { .ttft_ms = -1, .tpot_ms = -1, .staged = a->has_revision };
    struct prefix prefix;
    if (fail && is_its_fault(fail))
        blame(a, l);
    unsigned wants = router_wants(a->request->state->router);
    if (fail || !a->submitted_us || !(wants & CANDIDATES_OBSERVED))
        return;
    times_of(a, &x);
    if (wants & KNOWN_prefix) {
        prefix_of(&prefix, &a->chats[0]);
        x.prefix = &prefix;
    }
    observed_add(l->observed, a->target.model->name, adapter_of(a), &x);
}
