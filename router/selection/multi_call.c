/*
 * Algorithms in which several models answer one request: confidence (a cascade), ratings, remom,
 * fusion, workflows. Their settings are read and checked; a route that needs one says so
 * (SELECTION_execution_required) and the request is answered 501 by name.
 */
#include "router/selection/selection.h"

#include "base/num.h"

#include <errno.h>

#define MAX_TEMPERATURE 100
#define MAX_SECONDS 86400
#define MAX_TOKENS 1e9
#define MAX_CALLS 1000
#define MAX_SCORE 1e6

static const char *const on_errors[] = { "skip", "fail", NULL };

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)in;
    (void)reterr;
    *ret = (struct pick){ 0, SELECTION_execution_required, "several models answer together" };
    return 0;
}

/* ---- confidence ---- */

static const char *const methods[] = { "avg_logprob",        "margin", "hybrid", "self_verify",
                                       "automix_entailment", NULL };
enum { METHOD_automix_entailment = 4 };
static const char *const orders[] = {
    "size", "small_to_large", "declared", "cost", "automix", NULL
};
static const char *const filters[] = { "all", "tool_call_args", NULL };

struct hybrid_weights {
    double logprob, margin;
};

static const struct option hybrid_weight_options[] = {
    OPT_FLOAT(struct hybrid_weights, logprob, "logprob_weight", 0, MAX_SCORE, "0.5", "its share"),
    OPT_FLOAT(struct hybrid_weights, margin, "margin_weight", 0, MAX_SCORE, "0.5", "its share"),
    OPT_END,
};

struct confidence {
    unsigned method, order, filter, on_error;
    double threshold, tradeoff;
    struct hybrid_weights weights;
    struct str verifier;
    uint64_t verifier_seconds, max_bytes;
};

static const struct option confidence_options[] = {
    OPT_WORD(struct confidence, method, "confidence_method", methods, "avg_logprob",
             "how sure an answer is"),
    OPT_FLOAT(struct confidence, threshold, "threshold", -MAX_SCORE, MAX_SCORE, "0",
              "below: the next model is asked"),
    OPT_SECTION(struct confidence, weights, "hybrid_weights", hybrid_weight_options, "of hybrid"),
    OPT_WORD(struct confidence, on_error, "on_error", on_errors, "skip", "when a call fails"),
    OPT_WORD(struct confidence, order, "escalation_order", orders, "size", "who is asked first"),
    OPT_FLOAT(struct confidence, tradeoff, "cost_quality_tradeoff", 0, 1, "0.3", "of the order"),
    OPT_WORD(struct confidence, filter, "token_filter", filters, "all", "which tokens count"),
    OPT_TEXT(struct confidence, verifier, "verifier_server_url", NULL, "of automix_entailment"),
    OPT_UINT(struct confidence, verifier_seconds, "verifier_timeout_seconds", 0, MAX_SECONDS, "0",
             "0: 60"),
    OPT_UINT(struct confidence, max_bytes, "max_response_bytes", 0, 1e12, "0", "0: no bound"),
    OPT_END,
};

static int check_confidence(void *settings, const struct place *at)
{
    const struct confidence *c = settings;
    bool entails = c->method == METHOD_automix_entailment;
    if (entails && c->verifier.n == 0)
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "automix_entailment needs verifier_server_url");
    if (!entails && (c->verifier.n || c->verifier_seconds))
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "verifier_server_url and verifier_timeout_seconds go with "
                            "confidence_method: automix_entailment only");
    return 0;
}

const struct selection selection_confidence = { .name = "confidence",
                                                .options = confidence_options,
                                                .size = sizeof(struct confidence),
                                                .check = check_confidence,
                                                .pick = pick };

/* ---- what the others share ---- */

struct calls {
    uint64_t concurrent, tokens, seconds, successes;
    double temperature;
    unsigned on_error;
    bool intermediate;
};

#define CALL_OPTIONS(type, temperature_default)                                                    \
    OPT_UINT(type, calls.tokens, "max_completion_tokens", 0, MAX_TOKENS, "0", "0: the model's"),   \
        OPT_UINT(type, calls.seconds, "round_timeout_seconds", 0, MAX_SECONDS, "0", "0: none"),    \
        OPT_UINT(type, calls.successes, "min_successful_responses", 0, MAX_CALLS, "0", "quorum"),  \
        OPT_FLOAT(type, calls.temperature, "temperature", 0, MAX_TEMPERATURE, temperature_default, \
                  "of the calls"),                                                                 \
        OPT_WORD(type, calls.on_error, "on_error", on_errors, "skip", "when a call fails"),        \
        OPT_BOOL(type, calls.intermediate, "include_intermediate_responses", "false",              \
                 "answers carry them")

#define CONCURRENT_OPTION(type)                                                                    \
    OPT_UINT(type, calls.concurrent, "max_concurrent", 0, MAX_CALLS, "0", "calls; 0: all at once")

/* ---- ratings ---- */

struct ratings {
    struct calls calls;
};

static const struct option ratings_options[] = {
    CONCURRENT_OPTION(struct ratings),
    OPT_WORD(struct ratings, calls.on_error, "on_error", on_errors, "skip", "when a call fails"),
    OPT_END,
};

const struct selection selection_ratings = {
    .name = "ratings", .options = ratings_options, .size = sizeof(struct ratings), .pick = pick
};

/* ---- remom ---- */

static const char *const distributions[] = { "weighted", "equal", "round_robin", "first_only",
                                             NULL };
static const char *const compactions[] = { "full", "last_n_tokens", NULL };

struct remom {
    struct calls calls;
    struct text_list breadths;
    unsigned distribution, compaction;
    uint64_t compaction_tokens, per_round;
    int64_t shuffle_seed;
    struct str synthesis_template, synthesis_model;
    bool reasoning;
};

static const struct option remom_options[] = {
    OPT_TEXTS(struct remom, breadths, "breadth_schedule", MAX_CALLS, "calls of each round"),
    OPT_WORD(struct remom, distribution, "model_distribution", distributions, "weighted",
             "which model gets how many"),
    OPT_BOOL(struct remom, reasoning, "include_reasoning", "false", "rounds see it"),
    OPT_WORD(struct remom, compaction, "compaction_strategy", compactions, "full",
             "of answers between rounds"),
    OPT_UINT(struct remom, compaction_tokens, "compaction_tokens", 0, MAX_TOKENS, "1000",
             "of last_n_tokens"),
    OPT_TEXT(struct remom, synthesis_template, "synthesis_template", NULL, "of the last round"),
    OPT_TEXT(struct remom, synthesis_model, "synthesis_model", NULL, "of the last round"),
    OPT_INT(struct remom, shuffle_seed, "shuffle_seed", -1e15, 1e15, "42", "order of answers"),
    OPT_UINT(struct remom, per_round, "max_responses_per_round", 0, MAX_CALLS, "0", "0: all"),
    CONCURRENT_OPTION(struct remom),
    CALL_OPTIONS(struct remom, "1"),
    OPT_END,
};

static int check_remom(void *settings, const struct place *at)
{
    const struct remom *r = settings;
    uint64_t breadth;
    if (r->breadths.n == 0)
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "breadth_schedule is missing: calls of each round, such as [3, 2]");
    for (size_t i = 0; i < r->breadths.n; i++)
        if (num_parse_u64(&breadth, r->breadths.items[i], 1, MAX_CALLS) < 0)
            return node_problem(at->p, PROBLEM_error, at->node, at->path,
                                "breadth_schedule[%zu] is not a number from 1 to %d", i, MAX_CALLS);
    return 0;
}

const struct selection selection_remom = { .name = "remom",
                                           .options = remom_options,
                                           .size = sizeof(struct remom),
                                           .check = check_remom,
                                           .pick = pick };

/* ---- fusion ---- */

static const char *const references[] = { "hybrid", "context", "panel", NULL };
static const char *const policies[] = { "weight", "annotate", "filter", NULL };

struct grounding {
    bool enabled;
    unsigned reference, policy, on_error;
    double min_score, penalty;
    uint64_t min_keep;
};

static const struct option grounding_options[] = {
    OPT_BOOL(struct grounding, enabled, "enabled", "false", "score answers by what supports them"),
    OPT_WORD(struct grounding, reference, "reference", references, "hybrid", "supports them"),
    OPT_WORD(struct grounding, policy, "policy", policies, "weight", "what the scores do"),
    OPT_FLOAT(struct grounding, min_score, "min_score", 0, 1, "0", "of filter"),
    OPT_UINT(struct grounding, min_keep, "min_keep", 0, MAX_CALLS, "1", "of filter"),
    OPT_FLOAT(struct grounding, penalty, "nli_contradiction_penalty", 0, MAX_SCORE, "1",
              "of a contradiction"),
    OPT_WORD(struct grounding, on_error, "on_error", on_errors, "skip", "when scoring fails"),
    OPT_END,
};

struct override {
    struct str model;
    double temperature;
    uint64_t tokens;
};

static const struct option override_options[] = {
    OPT_TEXT(struct override, model, "model", OPTION_REQUIRED, "of the panel"),
    OPT_FLOAT(struct override, temperature, "temperature", 0, MAX_TEMPERATURE, "0", "of its call"),
    OPT_UINT(struct override, tokens, "max_completion_tokens", 0, MAX_TOKENS, "0", "of its call"),
    OPT_END,
};

struct fusion {
    struct calls calls;
    struct str model, analysis_template, synthesis_template, version;
    struct text_list panel;
    struct item_list overrides;
    struct grounding grounding;
    bool analysis;
};

static const struct option fusion_options[] = {
    OPT_TEXT(struct fusion, model, "model", NULL, "judges"),
    OPT_TEXTS(struct fusion, panel, "analysis_models", MAX_CALLS, "the panel; none: modelRefs"),
    OPT_LIST(struct fusion, overrides, "analysis_overrides", MAX_CALLS, override_options,
             struct override, "of single models"),
    OPT_BOOL(struct fusion, analysis, "include_analysis", "false", "the answer carries it"),
    OPT_TEXT(struct fusion, analysis_template, "analysis_template", NULL, "of the panel"),
    OPT_TEXT(struct fusion, synthesis_template, "synthesis_template", NULL, "of the judge"),
    OPT_TEXT(struct fusion, version, "judge_prompt_version", "fusion-v1", "of the judge"),
    OPT_SECTION(struct fusion, grounding, "grounding", grounding_options, "faithfulness"),
    CONCURRENT_OPTION(struct fusion),
    CALL_OPTIONS(struct fusion, "1"),
    OPT_END,
};

const struct selection selection_fusion = {
    .name = "fusion", .options = fusion_options, .size = sizeof(struct fusion), .pick = pick
};

/* ---- workflows ---- */

static const char *const modes[] = { "static", "dynamic", NULL };
enum { MODE_static, MODE_dynamic };

struct role {
    struct str name, prompt;
    struct text_list models, access;
};

static const struct option role_options[] = {
    OPT_TEXT(struct role, name, "name", OPTION_REQUIRED, "of the role"),
    OPT_TEXTS(struct role, models, "models", MAX_CALLS, "that take it"),
    OPT_TEXT(struct role, prompt, "prompt", NULL, "they get"),
    OPT_TEXTS(struct role, access, "access_list", MAX_CALLS, "roles whose answers it sees"),
    OPT_END,
};

struct step { /* the planner, the final answer */
    struct str model, prompt;
    uint64_t tokens;
};

static const struct option planner_options[] = {
    OPT_TEXT(struct step, model, "model", NULL, "plans"),
    OPT_UINT(struct step, tokens, "max_completion_tokens", 0, MAX_TOKENS, "0", "of the plan"),
    OPT_END,
};

static const struct option final_options[] = {
    OPT_TEXT(struct step, model, "model", NULL, "answers"),
    OPT_TEXT(struct step, prompt, "prompt", NULL, "it gets"),
    OPT_END,
};

struct workflows {
    struct calls calls;
    unsigned mode;
    struct str name; /* of the template */
    struct item_list roles;
    struct step planner, final;
    uint64_t steps, parallel;
};

static const struct option workflows_options[] = {
    OPT_WORD(struct workflows, mode, "mode", modes, "static", "who makes the plan"),
    OPT_TEXT(struct workflows, name, "template", NULL, "of the plan"),
    OPT_LIST(struct workflows, roles, "roles", MAX_CALLS, role_options, struct role,
             "of a static plan"),
    OPT_SECTION(struct workflows, planner, "planner", planner_options, "of a dynamic plan"),
    OPT_SECTION(struct workflows, final, "final", final_options, "the last step"),
    OPT_UINT(struct workflows, steps, "max_steps", 0, MAX_CALLS, "3", "of a plan"),
    OPT_UINT(struct workflows, parallel, "max_parallel", 0, MAX_CALLS, "2", "calls"),
    CALL_OPTIONS(struct workflows, "1"),
    OPT_END,
};

static int check_workflows(void *settings, const struct place *at)
{
    const struct workflows *w = settings;
    const struct role *roles = w->roles.items;
    if (w->mode == MODE_dynamic && w->roles.n)
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "roles belong to mode: static; mode is dynamic");
    if (w->mode == MODE_static && w->roles.n == 0)
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "mode: static needs roles; or set mode: dynamic");
    if (w->parallel && w->calls.successes > w->parallel)
        return node_problem(at->p, PROBLEM_error, at->node, at->path,
                            "min_successful_responses is above max_parallel");
    for (size_t i = 0; i < w->roles.n; i++)
        if (roles[i].models.n == 0 || w->calls.successes > roles[i].models.n)
            return node_problem(at->p, PROBLEM_error, at->node, at->path,
                                "roles[%zu] has fewer models than it needs", i);
    return 0;
}

const struct selection selection_workflows = { .name = "workflows",
                                               .options = workflows_options,
                                               .size = sizeof(struct workflows),
                                               .check = check_workflows,
                                               .pick = pick };
