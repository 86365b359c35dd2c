#include "router/router.h"

#include "base/clock.h"
#include "base/limits.h"
#include "router/evaluate.h"
#include "router/explain.h"
#include "router/profiles.h"
#include "router/selection/adaptation.h"

#include <errno.h>

#define ELO_K 32.0 /* of decisions that say nothing */

int router_new(struct router **ret, const struct config *c, struct problems *p)
{
    static const struct router_parts none = { NULL };
    return router_new_with(ret, c, &none, p);
}

int router_new_with(struct router **ret, const struct config *c, const struct router_parts *parts,
                    struct problems *p)
{
    CLEANUP(router_freep) struct router *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->config = c;
    r->arena = arena_new(ROUTER_ARENA);
    if (!r->arena)
        return -ENOMEM;
    r->encoder = parts->encoder;
    size_t before = problems_count(p, PROBLEM_error);
    int e = profiles_load(r, p);
    if (e < 0 && e != -EINVAL)
        return e;
    if (problems_count(p, PROBLEM_error) > before)
        return -EINVAL;
    *ret = TAKE(r);
    return 0;
}

int router_describe(struct router *r, const struct adapter_words *words, struct fail *reterr)
{
    int e = 0;
    for (size_t i = 0; e == 0 && i < r->n_policies; i++)
        for (size_t k = 0; e == 0 && k < r->policies[i].n_decisions; k++)
            e = selection_describe(&r->policies[i].decisions[k], r->space, words, r->arena, reterr);
    return e;
}

struct router *router_free(struct router *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n_policies; i++)
        policy_done(&r->policies[i]);
    (void)vector_space_free(r->space);
    selection_defaults_done(&r->selection);
    (void)arena_free(r->arena);
    free(r);
    return NULL;
}

bool router_blocks(const struct router *r)
{
    return vector_space_blocks(r->space);
}

static const struct entrypoint *find_entrypoint(const struct router *r, struct str model)
{
    for (size_t i = 0; i < r->n_entrypoints; i++)
        if (str_eq(r->entrypoints[i].name, model))
            return &r->entrypoints[i];
    return NULL;
}

bool router_is_auto(const struct router *r, struct str model)
{
    static const char *const always[] = { "auto", "MoM", "vllm-sr/auto" };
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        if (str_is(model, always[i]))
            return true;
    for (size_t i = 0; i < r->auto_names.n; i++)
        if (str_eq(model, r->auto_names.items[i]))
            return true;
    return find_entrypoint(r, model) != NULL;
}

bool router_knows_model(const struct router *r, struct str model)
{
    return model_names_have(&r->models, model);
}

struct str router_default_model(const struct router *r)
{
    return r->default_model;
}

/* Among the decisions of all profiles. */
static size_t index_of(const struct router *r, const struct decision *d)
{
    size_t before = 0;
    for (size_t k = 0; k < r->n_policies; k++) {
        const struct policy *p = &r->policies[k];
        for (size_t i = 0; i < p->n_decisions; i++)
            if (&p->decisions[i] == d)
                return before + i;
        before += p->n_decisions;
    }
    return SIZE_MAX;
}

static void use_default(const struct router *r, struct route *ret)
{
    ret->model = r->default_model;
    ret->adapter = r->default_adapter;
    ret->use_reasoning = false;
    ret->selection = SELECTION_fallback;
    ret->selection_reason = STR("no decision matched: the default model");
}

/* What refuses a request is, in a preview, the answer to it. */
static int refuse(const struct route_request *request, struct arena *arena, struct route *ret,
                  struct fail *reterr)
{
    if (!request->preview)
        return FAILED;
    ret->selection = SELECTION_failed;
    ret->selection_reason = arena_str(arena, str_of(reterr->message));
    ret->model = ret->adapter = STR_NULL;
    return ret->selection_reason.p ? 0 : fail_errno(reterr, -ENOMEM, "routing");
}

static int use_decision(const struct router *r, const struct decision *d, struct signal_view *view,
                        struct route *ret, struct fail *reterr)
{
    struct selected selected;
    ret->decision = d->name;
    ret->index = index_of(r, d);
    ret->algorithm = str_of(d->algorithm);
    ret->plugins = d->plugins;
    ret->retention = d->has_retention ? &d->retention : NULL;
    ret->contract = d->contract;
    ret->output_contract = d->output_contract;
    ret->annotations = d->annotations;
    if (d->refs.n == 0) {
        use_default(r, ret);
        ret->selection_reason = STR("the decision names no candidate: the default model");
        return 0;
    }
    int e = selection_pick(d, view, &selected, reterr);
    const struct model_ref *picked = (const struct model_ref *)d->refs.items + selected.pick.index;
    const struct model_ref *ref = picked;
    if (e == 0 && d->learning && selected.pick.status != SELECTION_execution_required)
        e = adaptation_choose(d, view->request, &selected, view->arena, &ref, &ret->learning);
    if (e != 0)
        return e < 0 ? fail_errno(reterr, e, "selecting")
                     : refuse(view->request, view->arena, ret, reterr);
    ret->selection = selected.pick.status;
    ret->selection_reason = ref == picked ? str_of(selected.pick.reason)
                                          : STR("router learning: see x-vsr-learning-reasons");
    ret->model = ref->model;
    ret->adapter = ref->lora_name;
    ret->on_cold = ref->on_cold;
    ret->cold_wait_ms = ref->cold_wait_ms;
    ret->use_reasoning = ref->use_reasoning;
    if (ref->use_reasoning)
        ret->reasoning_effort =
            ref->reasoning_effort.n ? ref->reasoning_effort : r->providers.default_effort;
    providers_reasoning(&r->providers, ret);
    return 0;
}

static int unresolvable(const struct decision *d, const struct route_request *request,
                        struct arena *arena, struct route *ret, struct fail *reterr)
{
    (void)fail_set(reterr, FAIL_overloaded,
                   "the decision '%.*s' could not be resolved: a signal it needs could not be "
                   "evaluated",
                   STR_ARG(d->name));
    return refuse(request, arena, ret, reterr);
}

static int check_model(const struct route_request *request, struct route *ret, struct fail *reterr)
{
    static const char missing[] =
        "no decision matched and there is no default model; set providers.defaults.default_model";
    if (ret->model.n || ret->selection == SELECTION_failed)
        return 0;
    if (!request->preview)
        return fail_param(reterr, FAIL_model_not_found, "model", "%s", missing);
    ret->selection = SELECTION_unavailable;
    ret->selection_reason = str_of(missing);
    return 0;
}

int router_route(const struct router *r, const struct route_request *request, struct arena *arena,
                 struct route *ret, struct fail *reterr)
{
    uint64_t begin = clock_us();
    const struct entrypoint *entry = find_entrypoint(r, request->chat->model);
    const struct policy *policy = &r->policies[entry ? entry->policy : 0];
    struct evaluation e;
    int k = evaluation_init(&e, policy, request, arena);
    if (k < 0)
        return fail_errno(reterr, k, "routing");
    *ret = (struct route){
        .recipe = policy->name,
        .requested = request->chat->model,
        .text = e.view.text,
        .index = SIZE_MAX,
    };
    e.timed = request->trace;
    if (request->trace) {
        evaluation_all(&e);
        evaluation_rest(&e, request->every_family);
    }
    struct decision_outcome out = evaluation_decide(&e);
    const struct decision *d = out.unresolved ? NULL : out.winner;
    if (out.unresolved)
        k = unresolvable(out.unresolved, request, arena, ret, reterr);
    else if (d)
        k = use_decision(r, d, &e.view, ret, reterr);
    else
        use_default(r, ret);
    if (k == 0)
        k = check_model(request, ret, reterr);
    if (k != 0)
        return k;
    ret->confidence = d ? out.confidence : 0;
    k = explain_fill(&e, request, d, ret);
    if (k < 0)
        return fail_errno(reterr, k, "explaining the route");
    ret->us = clock_us() - begin;
    return 0;
}

/* ---- learning ---- */

const struct learning_settings *router_learning(const struct router *r)
{
    return &r->learning;
}

bool router_keeps_sessions(const struct router *r)
{
    return r->keeps_sessions;
}

unsigned router_wants(const struct router *r)
{
    return r->wants;
}

struct outcome_rule router_outcome_rule(const struct router *r, struct str decision)
{
    struct outcome_rule rule = { .elo_k = ELO_K };
    for (size_t k = 0; k < r->n_policies; k++)
        for (size_t i = 0; i < r->policies[k].n_decisions; i++) {
            const struct decision *d = &r->policies[k].decisions[i];
            if (d->selection && d->selection->learn && str_eq(d->name, decision))
                d->selection->learn(d->settings, &rule);
        }
    return rule;
}

/* ---- decisions of all profiles ---- */

static const struct decision *nth(const struct router *r, size_t i)
{
    for (size_t k = 0; k < r->n_policies; k++) {
        if (i < r->policies[k].n_decisions)
            return &r->policies[k].decisions[i];
        i -= r->policies[k].n_decisions;
    }
    return NULL;
}

size_t router_decisions(const struct router *r)
{
    size_t n = 0;
    for (size_t k = 0; k < r->n_policies; k++)
        n += r->policies[k].n_decisions;
    return n;
}

struct str router_decision_name(const struct router *r, size_t i)
{
    const struct decision *d = nth(r, i);
    return d ? d->name : STR_NULL;
}

struct str router_decision_recipe(const struct router *r, size_t i)
{
    for (size_t k = 0; k < r->n_policies; k++) {
        if (i < r->policies[k].n_decisions)
            return r->policies[k].name;
        i -= r->policies[k].n_decisions;
    }
    return STR_NULL;
}

const struct node *router_decision_plugins(const struct router *r, size_t i, const char **ret_path)
{
    const struct decision *d = nth(r, i);
    *ret_path = d ? d->plugins_path : NULL;
    return d ? d->plugins : NULL;
}
