/*
 * One request through one policy: families are evaluated when a rule first asks for them.
 */
#pragma once

#include "router/policy.h"

struct evaluation {
    const struct policy *policy;
    struct signal_view view;
    struct signal_value *values; /* of all signals */
    struct signal_value *outputs;
    bool *output_done;
    unsigned char *gates; /* of each gate: 0, or its truth + 1 */
    bool family_done[FAMILY_N];
    bool timed;                   /* fill the next */
    uint64_t family_ns[FAMILY_N]; /* spent evaluating */
    int family_error[FAMILY_N];   /* 0, or why all of the family is unknown: a negative errno */
};

int evaluation_init(struct evaluation *ret, const struct policy *policy,
                    const struct route_request *request, struct arena *arena) MUST_USE;
/* Evaluates every family that some decision depends on. */
void evaluation_all(struct evaluation *e);
/* After it: also the families that none does, if `families`, and every output that can be told. */
void evaluation_rest(struct evaluation *e, bool families);
struct verdict evaluation_leaf(void *ctx,
                               const struct rule *leaf); /* a leaf_fn; ctx: the evaluation */
struct signal_value evaluation_signal(struct evaluation *e, size_t i);
/* What is known of it without evaluating more; false: nothing, or it is nobody's business. */
bool evaluation_seen(const struct evaluation *e, size_t i, struct signal_value *ret);
struct signal_value evaluation_output(struct evaluation *e, size_t i);

struct decision_outcome evaluation_decide(struct evaluation *e);
