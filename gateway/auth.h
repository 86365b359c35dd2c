/*
 * Who may ask: bearer keys from an environment variable, or, without keys, this machine only.
 *
 * A key may belong to a tenant, who sees the shared adapters and its own; one without a tenant, and
 * this machine where there are no keys, is the operator. Immutable; any thread. Keys are kept as
 * digests and compared in constant time.
 */
#pragma once

#include "base/fail.h"
#include "config/config.h"

#include <stdint.h>

struct auth;

/* -EINVAL: `p` says why (a named variable that is unset or holds no key is an error: open by
 * accident is worse than not starting). */
int auth_new(struct auth **ret, const struct config_gateway *g, struct problems *p) MUST_USE;
/*
 * The same from the variable's text: "key[=tenant],…", separated by commas or white space. -EINVAL:
 * no key in it, or a tenant that is no name (letters, digits, '.', '_', '-').
 */
int auth_parse(struct auth **ret, struct str keys) MUST_USE;
struct auth *auth_free(struct auth *a);
DEFINE_CLEANUP(struct auth *, auth_free);
bool auth_open(const struct auth *a); /* no keys: loopback only */

/* Whom a key stands for. */
struct auth_caller {
    struct str tenant; /* borrowed from the auth; p NULL: the operator */
    uint64_t key;      /* of the key's digest; 0: there are no keys */
};

/*
 * `authorization` and `api_key` are the headers' values, p NULL when absent. 0, or FAILED:
 * invalid_api_key, permission_denied.
 */
int auth_check(const struct auth *a, struct str authorization, struct str api_key, bool loopback,
               struct auth_caller *ret, struct fail *reterr) MUST_USE;

struct sockaddr;
bool auth_is_loopback(const struct sockaddr *addr);
