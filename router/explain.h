/*
 * Why a route came out as it did.
 */
#pragma once

#include "router/evaluate.h"

/*
 * Fills signals and category; when traced, also families, the decisions' trees and reasons, and
 * what put the winner (NULL: none) before the next. 0 or -ENOMEM.
 */
int explain_fill(struct evaluation *e, const struct route_request *request,
                 const struct decision *winner, struct route *ret) MUST_USE;
