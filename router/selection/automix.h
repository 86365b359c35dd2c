/*
 * The value of asking a candidate first when an answer that fails its check is asked of a dearer
 * one. Shared by automix and hybrid.
 */
#pragma once

#include "router/selection/selection.h"

struct automix {
    double threshold, tradeoff, discount;
    uint64_t escalations;
    bool cost_aware;
};

/*
 * values: of each candidate, n of them; scratch: n more. V0(i) = v q - t c, and with k escalations
 * left Vk(i) = v q - t c + d (1 - v) max(0, V(k-1)(j)) for the best dearer j, where q is the
 * quality of an answer that holds, v the chance that it does, c the share of cost, t the trade-off,
 * d the discount. Whoever holds at the threshold or above counts a tenth more. (After AutoMix,
 * Madaan et al. 2023; an answer that does not hold is worth nothing.)
 */
void automix_values(const struct automix *a, const struct pick_context *in, double *values,
                    double *scratch);

/* What a policy that says nothing means. */
extern const struct automix automix_default;
