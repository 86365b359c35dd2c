/*
 * Who asks, as the policy's role bindings see it: the headers that a proxy in front sets after it
 * has authenticated the user.
 */
#pragma once

#include "gateway/request.h"

/* The value of a header of the request, by its lower-case name; empty: it has none. */
struct str caller_header(const struct request *r, struct str name);

/*
 * Who asks, as a number that is the same on every gateway, so that a canary gets the same callers
 * everywhere. The first of these that there is: the user's header (x-authz-user-id), the session
 * (header, x-session-id, x-claude-code-session-id, metadata.user_id), the body's `user`, the API
 * key, and how the conversation begins. 0: nothing says who asks.
 */
uint64_t caller_sticky(const struct request *r, const struct chat_request *chat);

/* The session as a proxy or client names it (x-session-id, x-claude-code-session-id); or empty. */
struct str caller_session(const struct request *r);

/* Fills identified, user_id, user_groups. Names are those of global.services.authz.identity. */
void caller_identify(const struct request *r, struct route_request *ret);
