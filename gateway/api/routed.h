/*
 * Routed: what the decision that won changes in the request itself, beside its plugins.
 */
#pragma once

#include "engine/chat.h"
#include "router/router.h"

/*
 * Tells the chat template to reason or not to, as the model's reasoning family has it; and, where
 * the client asks for no format and offers no tools, asks for the form of the decision's output
 * contract: one of its choices, or a JSON object. Text is borrowed from the route or the arena.
 * 0, -EINVAL when chat->template_kwargs is no JSON object, or -ENOMEM.
 */
int routed_apply(struct chat_request *chat, const struct route *route,
                 struct arena *arena) MUST_USE;
