/*
 * What is right in a policy and yet not what its author meant: decisions that can never win or
 * never match, thresholds that nothing reaches, names that nobody uses.
 *
 * Every claim holds for all requests; what cannot be proven within a bounded amount of work is not
 * claimed. Not thread-safe in `p`; the router is only read.
 */
#pragma once

#include "router/router.h"

/* Adds warnings. 0 or -ENOMEM. */
int router_lint(const struct router *r, struct problems *p) MUST_USE;
