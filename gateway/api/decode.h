/*
 * What the generating APIs share: sampling fields, stop strings, messages, tools.
 */
#pragma once

#include "engine/chat.h"
#include "gateway/api/json.h"

/* Fills everything of the request but messages and prompt. Text is copied into the arena. */
int decode_common(struct chat_request *ret, const json_t *body, struct arena *arena,
                  struct fail *reterr) MUST_USE;
int decode_messages(struct chat_request *ret, const json_t *messages, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/* The same where nothing will be generated: parts that are neither text nor image, tool messages
 * without their call's id, messages without content are let pass. */
int decode_conversation(struct chat_request *ret, const json_t *messages, struct arena *arena,
                        struct fail *reterr) MUST_USE;
int decode_tools(struct chat_request *ret, const json_t *body, struct arena *arena,
                 struct fail *reterr) MUST_USE;
/* tool_choice and parallel_tool_calls, after decode_tools; "none" drops the tools. */
int decode_tool_choice(struct chat_request *ret, const json_t *body, struct arena *arena,
                       struct fail *reterr) MUST_USE;
int decode_metadata(struct chat_request *ret, const json_t *metadata, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/*
 * A body that only asks for a route: `text`, or what a chat request has. Without a model it asks
 * the router to choose.
 */
int decode_routable(struct chat_request *ret, struct str text, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/* The same of a parsed body. Tools are not checked: whatever is an object counts as one. */
int decode_question(struct chat_request *ret, const json_t *body, struct arena *arena,
                    struct fail *reterr) MUST_USE;
