/*
 * Selection: which candidate of the decision answers. One file an algorithm.
 *
 * Pure: what changes at run time is asked of route_request.candidate, chance comes from
 * route_request.seed. Ties go to the candidate that the policy names first.
 */
#pragma once

#include "router/decision.h"
#include "router/policy.h"
#include "router/signals/signals.h"

/* What the policy says about a candidate. */
struct candidate {
    double quality;                       /* of its model card, 0…1; 0: unknown */
    struct str description;               /* of its adapter, else of its model card */
    const struct text_list *capabilities; /* of its model card; NULL: no card */
    double cost;  /* per million tokens, mean of prompt and completion; -1: unknown */
    double saved; /* of it, where a cache holds the whole prompt */
};

struct pick_context {
    const struct decision *decision; /* at least one candidate */
    const struct route_request *request;
    const struct candidate_state *states; /* of the candidates */
    double *scratch;                      /* two numbers a candidate */
    double *scores;                       /* of the candidates, NAN at first: larger is better */
    double max_cost;                      /* the largest known one; 0: none is known */
    uint64_t seed;                        /* never 0 */
    struct signal_view *view;             /* of the request: its text and vectors */
};

struct pick {
    size_t index; /* of decision->refs */
    enum selection_status status;
    const char *reason; /* static */
};

struct selected {
    struct pick pick;
    const double *scores; /* of every reference, NAN where it has none; NULL: none has */
};

/* A place in the configuration, for messages. */
struct place {
    const struct node *node;
    const char *path;
    struct problems *p;
    const struct decision *decision; /* its candidates are read */
    const struct selection_source *source;
};

struct selection {
    const char *name;             /* "static" */
    const struct option *options; /* of its block; NULL: whatever it holds is ignored */
    size_t size;                  /* of its settings, read from the block */
    unsigned wants;               /* KNOWN_ bits of what it looks at */
    /* Settings that contradict each other; may complete them. NULL: none can. */
    int (*check)(void *settings, const struct place *at);
    /* Whether it can pick with these settings; NULL: always. */
    bool (*usable)(const void *settings);
    /* What it wants to know of the candidates beyond their names; NULL: nothing. */
    void (*ask)(const void *settings, struct candidate_query *q);
    void (*learn)(const void *settings, struct outcome_rule *ret); /* NULL: it says nothing */
    /* Picks one; 0 or FAILED. */
    int (*pick)(const struct pick_context *in, struct pick *ret, struct fail *reterr);
};

/* Those with a file here: X(name in the policy). */
#define SELECTIONS(X)                                                                              \
    X(static)                                                                                      \
    X(weighted)                                                                                    \
    X(latency_aware)                                                                               \
    X(multi_factor)                                                                                \
    X(elo)                                                                                         \
    X(rl_driven)                                                                                   \
    X(automix)                                                                                     \
    X(hybrid)                                                                                      \
    X(adapter_affinity)                                                                            \
    X(router_dc)                                                                                   \
    X(knn)                                                                                         \
    X(kmeans)                                                                                      \
    X(svm)                                                                                         \
    X(mlp)                                                                                         \
    X(gmtrouter)                                                                                   \
    X(session_aware)                                                                               \
    X(prompt)                                                                                      \
    X(confidence)                                                                                  \
    X(ratings)                                                                                     \
    X(remom)                                                                                       \
    X(fusion)                                                                                      \
    X(workflows)

#define SELECTION_DECLARE(name) extern const struct selection selection_##name;
SELECTIONS(SELECTION_DECLARE)
#undef SELECTION_DECLARE

struct selection_defaults;

struct selection_source {
    const char *path; /* of the algorithm */
    struct selection_defaults *defaults;
    const struct model_names *models;
    const struct vector_space *space;
    struct arena *arena;
    struct problems *p;
};

/* The words of `algorithm.type`, NULL-terminated. */
extern const char *const selection_names[];

/* Reads d->algorithm_node into the derived members of d. 0, -EINVAL or -ENOMEM. */
int selection_load(struct decision *d, const struct selection_source *source) MUST_USE;

/*
 * Learns the words that describe the decision's candidates: `tell` adds to what the policy says of
 * an adapter. Nothing where the algorithm does not compare. In the arena. 0, -ENOMEM or FAILED.
 */
int selection_describe(struct decision *d, const struct vector_space *space,
                       const struct adapter_words *words, struct arena *arena,
                       struct fail *reterr) MUST_USE;

/* What the policy says about one candidate. */
struct candidate candidate_of(const struct model_ref *ref, const struct model_names *models);

/* Picks among d->refs (at least one); scores are in the view's arena. 0, FAILED or -ENOMEM. */
int selection_pick(const struct decision *d, struct signal_view *view, struct selected *ret,
                   struct fail *reterr) MUST_USE;

/* Cost as a share of the largest one, 0 when it is unknown. */
double pick_cost_share(const struct pick_context *in, size_t i);
