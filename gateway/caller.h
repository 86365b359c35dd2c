/*
 * Who asks, as the policy's role bindings see it: the headers that a proxy in front sets after it
 * has authenticated the user.
 */
#pragma once

#include "gateway/request.h"

/* The value of a header of the request, by its lower-case name; empty: it has none. */
struct str caller_header(const struct request *r, struct str name);

/* Fills identified, user_id, user_groups. Names are those of global.services.authz.identity. */
void caller_identify(const struct request *r, struct route_request *ret);
