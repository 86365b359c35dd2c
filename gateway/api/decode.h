/*
 * What the generating APIs share: sampling fields, stop strings, messages, tools.
 *
 * Text without escapes is a view of the body, which lives as long as the request; the rest is in
 * the arena.
 */
#pragma once

#include "engine/chat.h"
#include "gateway/api/body.h"

/* Fills everything of the request but messages and prompt. What only an engine behind may serve is
 * noted in ret->unserved; decode_served refuses it for all others. */
int decode_common(struct chat_request *ret, const struct body *body, struct arena *arena,
                  struct fail *reterr) MUST_USE;
int decode_messages(struct chat_request *ret, struct str messages, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/* The same where nothing will be generated: parts of any kind, tool messages without their call's
 * id, messages without content are let pass. */
int decode_conversation(struct chat_request *ret, struct str messages, struct arena *arena,
                        struct fail *reterr) MUST_USE;
int decode_tools(struct chat_request *ret, const struct body *body, struct arena *arena,
                 struct fail *reterr) MUST_USE;
/* tool_choice and parallel_tool_calls, after decode_tools; "none" drops the tools. */
int decode_tool_choice(struct chat_request *ret, const struct body *body, struct arena *arena,
                       struct fail *reterr) MUST_USE;
int decode_metadata(struct chat_request *ret, struct str metadata, struct arena *arena,
                    struct fail *reterr) MUST_USE;

/* Notes a field that only an engine behind may serve; the first one stays. */
void decode_unserved(struct chat_request *ret, const struct refused *table,
                     const struct body *body);
/* FAILED (unsupported_parameter): a field of the body is served by no engine but one behind that
 * speaks its wire. */
int decode_served(const struct chat_request *request, struct fail *reterr) MUST_USE;

/* An image, sound or file by its address: what a data URL holds is apart. */
void decode_part_url(struct chat_part *part, struct str url);

/*
 * A body that only asks for a route: `text`, or what a chat request has. Without a model it asks
 * the router to choose.
 */
int decode_routable(struct chat_request *ret, struct str text, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/* The same of a body that was read. Tools are not checked: whatever is an object counts as one. */
int decode_question(struct chat_request *ret, const struct body *body, struct arena *arena,
                    struct fail *reterr) MUST_USE;
