/*
 * What the router's tests share: a policy from text, a chat from messages, a route.
 */
#pragma once

#include "router/router.h"
#include "tests/support/test.h"

/* Compiles a policy; fails the test with the problems when it does not. */
struct router *policy_from(const char *yaml, struct config **ret_config);
struct router *policy_from_file(const char *path, struct config **ret_config);

/* The problems of a policy as text ("file:line:column: kind: path: text"), owned by the caller. */
char *policy_problems(const char *yaml, int *ret_result);

/* Routes one user turn, traced; text of *ret lives in the arena. */
void route_text(const struct router *r, const char *model, const char *text, struct arena *arena,
                struct route *ret);

/* Value and confidence of a signal of a traced route; fails the test when it was not evaluated. */
const struct route_signal *route_signal_of(const struct route *r, const char *type,
                                           const char *name);
