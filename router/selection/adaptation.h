/*
 * Router learning (semantic-router.md 4.3): what experience proposes instead of the algorithm's
 * choice (adaptation), and whether a conversation may change its model now (protection).
 *
 * Pure: experience and the conversation's past come with the request. Any thread.
 */
#pragma once

#include "router/selection/selection.h"

enum candidate_set { CANDIDATES_decision, CANDIDATES_tier, CANDIDATES_global };

/* `adaptations` of a decision over the defaults of global.router.learning. */
struct decision_learning {
    bool adapts, protects;                       /* the methods are on */
    enum adaptation_mode adaptation, protection; /* bypass where they are off */
    enum candidate_set set;
    double switch_margin, stability_weight;
    uint64_t min_turns;
    bool by_session;
};

/* global.router.learning; NULL: nothing is learned. 0, -EINVAL or -ENOMEM. */
int learning_settings_read(struct learning_settings *ret, const struct node *at,
                           struct arena *arena, struct problems *p) MUST_USE;
struct decision_learning decision_learning_of(const struct adaptations *own,
                                              const struct learning_settings *global);

/* Those among whom experience may choose, beside d->refs. */
struct candidate_pool {
    const struct model_ref *refs;
    const struct candidate *candidates;
    size_t n;
};

/* The pool of each decision that learns, d->refs first; `all` are the policies of the router, `own`
 * is the policy that holds the decisions. 0 or -ENOMEM. */
struct pool_source {
    const struct policy *all;
    size_t n_all;
    struct policy *own;
    const struct model_names *models;
    struct arena *arena;
};
int candidate_pools_make(const struct pool_source *source) MUST_USE;

/* KNOWN_ bits of what experience asks of candidates. */
enum { ADAPTATION_WANTS = KNOWN_outcomes | KNOWN_ttft | KNOWN_prefix };

/*
 * What is chosen in the end, given what the algorithm selected of d->refs. *ret is one of d->refs
 * or of the pool. 0 or -ENOMEM.
 */
int adaptation_choose(const struct decision *d, const struct route_request *request,
                      const struct selected *selected, struct arena *arena,
                      const struct model_ref **ret, struct route_learning *ret_learning) MUST_USE;
