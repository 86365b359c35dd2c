/*
 * For splice.c: the conversation of a request in its own wire, of which some messages were
 * replaced, added or left out.
 */
#pragma once

#include "base/buf.h"
#include "engine/chat.h"

/* Whether the message stands outside of the conversation: Anthropic's `system`, the Responses API's
 * `instructions`. */
bool turns_is_apart(enum wire wire, const struct chat_message *m);

/* Whether the client's `messages` or `input` (p NULL: none) says what the request's messages say:
 * none was added, left out or changed. Of those apart, the same of `system` or `instructions`. */
bool turns_are_as_sent(const struct chat_request *request, struct str value);
bool turns_apart_are_as_sent(const struct chat_request *request, struct str value);

/* What stands there instead, appended as JSON. Members and parts that are no text are the client's
 * bytes. */
void turns_write(struct buf *b, const struct chat_request *request);
/* false: nothing is left to stand there. */
bool turns_write_apart(struct buf *b, const struct chat_request *request);

/* A message that no client wrote, from its fields: one or more items, separated by commas. */
void turn_write_new(struct buf *b, enum wire wire, const struct chat_message *m);
/* A part that holds text; `kind` is its type. */
void turn_write_text(struct buf *b, struct str kind, struct str text, struct str cache_control);
