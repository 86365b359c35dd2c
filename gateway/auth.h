/*
 * Who may ask: bearer keys from an environment variable, or, without keys, this machine only.
 *
 * Immutable; any thread. Keys are kept as digests and compared in constant time.
 */
#pragma once

#include "base/fail.h"
#include "config/config.h"

struct auth;

/* -EINVAL: `p` says why (a named variable that is unset or holds no key is an error: open by
 * accident is worse than not starting). */
int auth_new(struct auth **ret, const struct config_gateway *g, struct problems *p) MUST_USE;
/* The same from the variable's text: "key[=tenant],…", separated by commas or white space. */
int auth_parse(struct auth **ret, struct str keys) MUST_USE; /* -EINVAL: no key in it */
struct auth *auth_free(struct auth *a);
DEFINE_CLEANUP(struct auth *, auth_free);
bool auth_open(const struct auth *a); /* no keys: loopback only */

/*
 * `authorization` and `api_key` are the headers' values, p NULL when absent. 0, or FAILED:
 * invalid_api_key, permission_denied.
 */
int auth_check(const struct auth *a, struct str authorization, struct str api_key, bool loopback,
               struct fail *reterr) MUST_USE;

struct sockaddr;
bool auth_is_loopback(const struct sockaddr *addr);
