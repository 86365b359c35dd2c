/*
 * Router: evaluates a `version: v0.3` policy (vLLM Semantic Router) over a request and says which
 * model and adapter answer it, with which plugins, and why.
 *
 * A compiled router is immutable; any thread may route with it. Routing is pure: no I/O, no clock
 * except to time itself, no globals.
 */
#pragma once

#include "base/arena.h"
#include "base/fail.h"
#include "config/config.h"
#include "engine/chat.h"

struct engine;
struct router;

/*
 * Compiles the policy sections of the snapshot, which must outlive the router. Everything wrong is
 * added to `p`, with its place; -EINVAL then. A configuration without `routing` compiles to a
 * router that knows no auto decision: every auto request goes to the default model.
 */
int router_new(struct router **ret, const struct config *c, struct problems *p) MUST_USE;
/* What a router may use of the program around it. */
struct router_parts {
    struct engine *encoder; /* borrowed, of engine.embedding; NULL: the lexical space */
};
int router_new_with(struct router **ret, const struct config *c, const struct router_parts *parts,
                    struct problems *p) MUST_USE;

/* What a catalog says of an adapter, in the caller's arena. */
struct adapter_words {
    /* true: *ret_description and *ret_examples hold it. `adapter` is without "@alias". */
    bool (*tell)(void *ctx, struct str model, struct str adapter, struct arena *arena,
                 struct str *ret_description, struct text_list *ret_examples);
    void *ctx;
};

/*
 * Before the router is shared, may be left out: selections that compare the user's turn with what
 * describes a candidate learn the catalog's descriptions and examples of its adapter too. Copies.
 * 0, -ENOMEM, or FAILED with what the encoder says.
 */
int router_describe(struct router *r, const struct adapter_words *words,
                    struct fail *reterr) MUST_USE;
struct router *router_free(struct router *r); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct router *, router_free);

/* Counts tokens of a text for the context signal; NULL: an estimate of 4 bytes a token. */
typedef ptrdiff_t (*count_tokens_fn)(void *ctx, struct str text);

/* Where the weights of a candidate's adapter are: in memory, on this machine's disk, elsewhere. */
enum weights_at { WEIGHTS_memory, WEIGHTS_disk, WEIGHTS_away };

/* Bits of candidate_state.known. */
enum {
    KNOWN_ttft = 1 << 0,
    KNOWN_tpot = 1 << 1,
    KNOWN_load = 1 << 2,
    KNOWN_rating = 1 << 3,
    KNOWN_outcomes = 1 << 4,
    KNOWN_user_outcomes = 1 << 5,
    KNOWN_verification = 1 << 6,
    KNOWN_similarity = 1 << 7,
    KNOWN_weights = 1 << 8,
    KNOWN_prefix = 1 << 9,
};

/* What run time knows about one candidate at this moment; a member holds where `known` says so. */
struct candidate_state {
    unsigned known;             /* KNOWN_ bits; 0: nothing */
    uint32_t samples;           /* observations behind the two latencies */
    double ttft_ms, tpot_ms;    /* at the percentiles asked for; above 0 */
    uint32_t inflight;          /* requests it answers or that wait for it now */
    double rating;              /* Elo */
    double comparisons;         /* behind it, decayed */
    double successes, failures; /* outcomes, decayed by whoever keeps them */
    /* The same by verdict: successes are the first two, failures the others; and how often it was
     * chosen, verdict or none. Known with the outcomes. */
    double good_fit, overprovisioned, underpowered, failed, attempts;
    double user_successes, user_failures; /* the same of this user */
    double verification;                  /* chance 0…1 that its answer holds */
    double similarity;                    /* -1…1: of the user's turn to what describes it */
    enum weights_at weights;              /* of its adapter */
    double prefix;                        /* share 0…1 of the prompt that its cache holds */
};

struct candidate_query {
    struct str model, adapter, decision;
    unsigned wants;                       /* KNOWN_ bits: what the algorithm looks at */
    struct str description;               /* of its adapter, else of its model card; may be empty */
    const struct text_list *capabilities; /* part of what describes it; NULL: they are not */
    bool use_capabilities;                /* the algorithm wants them */
    unsigned ttft_percentile, tpot_percentile; /* 1…100; 0: not asked for */
    const struct route_request *request;
};

/* Fills *ret, which comes zeroed. Called by the routing thread, for algorithms that ask; no I/O. */
typedef void (*candidate_fn)(void *ctx, const struct candidate_query *q,
                             struct candidate_state *ret);

/* What the last choice of the same conversation was. */
struct route_session {
    struct str decision, model, adapter;
    uint32_t turns; /* answered in it */
    uint32_t held;  /* of them by this model in a row */
    bool keeps;     /* a decision of it asked to stay with the model (struct retention) */
    bool idle;      /* silent for longer than learning_settings.idle_timeout_s */
    double underpowered, failed; /* verdicts on this model in it */
};

struct route_request {
    const struct chat_request *chat; /* borrowed */
    count_tokens_fn count_tokens;
    void *count_ctx;
    bool identified;        /* the caller is known; else role bindings are unknown */
    struct str user_id;     /* x-authz-user-id, or the key's tenant */
    struct str user_groups; /* comma separated */
    bool trace;             /* keep every signal's value and each decision's reason in the route */
    bool every_family;      /* with trace: also families that no decision depends on */
    bool reasons; /* keep each decision's reason as far as it was asked; evaluates nothing more */
    bool preview; /* nothing will be executed: what would refuse the request is told in the route */
    candidate_fn candidate; /* NULL: nothing is known about any candidate */
    void *candidate_ctx;
    uint64_t seed;                    /* of random draws; 0: the hash of the user's turn */
    struct str session;               /* its id; empty: none */
    bool in_session;                  /* the caller can tell conversations apart */
    const struct route_session *last; /* of the same conversation; NULL: it begins */
};

enum selection_status {
    SELECTION_selected,
    SELECTION_fallback,           /* the algorithm could not tell: what it documents for that */
    SELECTION_execution_required, /* several models answer together: not one candidate's turn */
    SELECTION_unavailable,        /* a preview: there is no model to answer */
    SELECTION_failed,             /* a preview: the request would be refused, for the reason said */
};

enum truth { TRUTH_false, TRUTH_true, TRUTH_unknown };

struct route_signal {
    struct str type, name; /* "keyword", "code" */
    enum truth value;
    double confidence;
    double raw;          /* what was measured: a count, tokens, a similarity; may be infinite */
    const char *unknown; /* static: why it is; NULL: it is known */
};

/* A node of a decision's rules as it was evaluated; a leaf has a type, others have children. */
struct route_node {
    const char *op; /* "leaf", "AND", "OR", "NOT"; "fallback": a decision without rules */
    struct str type, name;
    enum truth value;
    double confidence;
    const struct route_node *children;
    size_t n;
};

/* What a decision asks for the session's next turns (`emits`). TRUTH_unknown: not said. */
struct retention {
    enum truth drop;                    /* the answer is not kept in caches */
    enum truth keep_current_model;      /* the session stays with its model */
    enum truth prefer_prefix_retention; /* who holds the prompt's prefix goes first */
    int64_t ttl_turns;                  /* turns for which the answer is kept; -1: not said */
};

struct route_trace {
    struct str decision;
    enum truth matched;
    double confidence;
    int64_t priority;
    uint64_t tier;     /* 0: none */
    struct str reason; /* "keyword:code=1 AND NOT language:en=0" */
    struct route_node root;
};

/* One family of signals as it was evaluated. */
struct route_family {
    const char *type; /* static: "keyword" */
    uint64_t ns;
    double confidence; /* the highest of a match; 0: none */
};

/* What router learning did: "adaptation,protection", "adaptation=keep_base,protection=hold_current"
 * and so on; each empty where no method is on. Static or the arena's. */
struct route_learning {
    struct str methods, actions, scopes, reasons;
};

/* What a request does whose adapter is not in memory. */
enum route_cold { ROUTE_COLD_default, ROUTE_COLD_wait, ROUTE_COLD_base, ROUTE_COLD_fail };

struct route {
    struct str recipe;   /* the routing profile: "default", or the recipe of an entrypoint */
    struct str decision; /* empty: none matched, the default model */
    size_t index;        /* of the decision, as router_decision_name counts; SIZE_MAX: none */
    struct str model;    /* wire name of the base, or of an upstream model */
    struct str adapter;  /* lora_name, may carry "@alias"; empty: the bare base */
    enum route_cold on_cold;
    uint64_t cold_wait_ms; /* 0: as configured */
    struct str algorithm;  /* of the decision: "static"; empty without one */
    enum selection_status selection;
    struct str selection_reason; /* a phrase */
    struct str category;         /* x-vsr-selected-category: the matched domain, or empty */
    bool use_reasoning;
    struct str reasoning_effort;
    /* How the model's template is told (providers.defaults.reasoning_families): a variable of it,
     * true or false or a text. Empty: nothing is said. */
    struct str reasoning_key, reasoning_value;
    bool reasoning_is_text;
    bool reasoning_yields; /* what the client says of it goes before */
    double confidence;
    const struct node
        *plugins; /* the decision's plugin list, NULL when none; borrowed from the snapshot */
    const struct retention *retention;      /* of the decision; NULL: none. Borrowed, as the next */
    const struct output_contract *contract; /* router/output_contract.h; NULL: none */
    struct str output_contract;             /* its sentence for people and models; may be empty */
    struct str annotations;                 /* of the decision, a JSON object; empty: none */
    struct route_signal *signals;           /* evaluated ones (matched ones come first) */
    size_t n_signals;
    struct route_trace *traces; /* with trace: every decision's, and the families' */
    size_t n_traces;
    const struct route_family *families;
    size_t n_families;
    struct str runner_up;   /* with trace: the decision that would have won without the winner */
    const char *precedence; /* static, with trace: what put the winner before it */
    struct str requested;   /* the model name asked for */
    struct str text;        /* the user's turn that the signals read */
    uint64_t us;            /* spent routing */
    struct route_learning learning;
};

/* Whether routing may wait for a model's forward: then not on a thread that must not block. */
bool router_blocks(const struct router *r);

/* global.router.learning. */
struct learning_settings {
    bool enabled, adapts, protects;
    unsigned candidate_set; /* enum candidate_set */
    bool by_session;        /* a session keeps its model; else a conversation */
    struct str session_header, conversation_header; /* lower case */
    uint64_t idle_timeout_s, min_turns;
    double switch_margin, stability_weight;
    uint64_t ttl_s;  /* of what is known of a conversation */
    struct str path; /* of the file that outlives a restart; empty: none */
};
/* Never NULL. */
const struct learning_settings *router_learning(const struct router *r);
/* Whether some decision looks at route_request.last. */
bool router_keeps_sessions(const struct router *r);
/* KNOWN_ bits: what its decisions may ask of route_request.candidate. */
unsigned router_wants(const struct router *r);

/* How the outcomes of a decision count. */
struct outcome_rule {
    double elo_k; /* what one comparison moves, at most */
};
struct outcome_rule router_outcome_rule(const struct router *r, struct str decision);

/* Whether this model name asks the router to choose: auto, MoM, configured auto names, an
 * entrypoint. */
bool router_is_auto(const struct router *r, struct str model);

/* Decides. Text of *ret is borrowed from router, snapshot or arena. FAILED: e.g. no model to fall
 * back to. */
int router_route(const struct router *r, const struct route_request *request, struct arena *arena,
                 struct route *ret, struct fail *reterr) MUST_USE;

/* A concrete model name of the policy ("qwen-3b" of modelCards / providers.models); NULL arena text
 * when unknown. */
bool router_knows_model(const struct router *r, struct str model);
struct str router_default_model(const struct router *r); /* empty: none */

/* Every decision's plugin list, so that a configuration's plugins are checked at load. */
size_t router_decisions(const struct router *r);
struct str router_decision_name(const struct router *r, size_t i);
const struct node *router_decision_plugins(const struct router *r, size_t i, const char **ret_path);

struct str router_decision_recipe(const struct router *r, size_t i);

/* The JSON line of `rootstock route`. */
void route_print_line(const struct route *route, bool explain, struct buf *b);

/* What of the body of POST /api/v1/eval was asked for (semantic-router.md, appendix A). */
struct eval_options {
    bool trace, probabilities, explanation;
    double confidence_threshold; /* 0: not given */
};
void route_print_eval_as(const struct router *r, const struct route *route,
                         const struct eval_options *options, struct buf *b);
void route_print_eval(const struct router *r, const struct route *route, struct buf *b); /* trace */
const char *route_selection_word(const struct route *route); /* "selected", as printed there */
