/*
 * Relay: a body of one of the smaller APIs that passes through to the engine behind that serves it.
 */
#pragma once

#include "engine/engine.h"
#include "gateway/request.h"

/*
 * Worker. Sends the request's body to `path` of the engine's own API and puts its answer, under the
 * model's name that the client asked for, or its refusal into r->reply. 0: r->reply is made.
 * FAILED; unsupported_parameter: the engine has no such API (nothing was sent).
 */
int relay_chat(struct request *r, struct engine *e, const struct chat_request *chat,
               const char *path, struct fail *reterr) MUST_USE; /* … the body is that chat */
int relay_body(struct request *r, struct engine *e, struct str model, const char *path,
               struct fail *reterr) MUST_USE;
