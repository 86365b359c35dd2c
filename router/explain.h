/*
 * Why a route came out as it did.
 */
#pragma once

#include "router/evaluate.h"

/* Fills signals, category and, when traced, the decisions' reasons. 0 or -ENOMEM. */
int explain_fill(struct evaluation *e, bool trace, struct route *ret) MUST_USE;
