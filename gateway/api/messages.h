/*
 * Anthropic's Messages API: POST /v1/messages and /v1/messages/count_tokens.
 *
 * Bodies are read by views and stay as they are, for engines behind that speak the same wire.
 */
#pragma once

#include "engine/chat.h"
#include "gateway/answer.h"

enum { MESSAGES_TOOL_NAME = 128 }; /* bytes of a tool's name, as Anthropic allows */

/*
 * Body → request. What is read points into the body or the arena; both must live as long as the
 * request. A user message with tool results becomes a tool message for each, then what else it
 * says. `counts`: nothing will be generated, and max_tokens need not be there. FAILED names the
 * field.
 */
int messages_decode(struct chat_request *ret, struct str text, bool counts, struct arena *arena,
                    struct fail *reterr) MUST_USE;
/* The part of it that reads `system` and `messages` (messages_blocks.c). */
int messages_decode_turns(struct chat_request *ret, struct str system, struct str messages,
                          struct arena *arena, struct fail *reterr) MUST_USE;
/* `tools` and `tool_choice` (messages_tools.c). */
int messages_decode_tools(struct chat_request *ret, struct str tools, struct str choice,
                          struct arena *arena, struct fail *reterr) MUST_USE;

/* What a stream remembers; answer->own. */
struct messages_stream;
/* NULL: no memory. */
struct messages_stream *messages_stream_new(struct arena *arena);

/* How it looks (messages_render.c), for the dialect's table. */
void messages_begin(struct answer *a, struct choice *c, struct buf *b);
void messages_text(struct answer *a, struct choice *c, struct str text,
                   const struct engine_event *e, struct buf *b);
void messages_part(struct answer *a, struct choice *c, const struct engine_event *e, struct buf *b);
void messages_end(struct answer *a, struct choice *c, struct buf *b);
void messages_finish(struct answer *a, struct buf *b);
void messages_fail(struct answer *a, const struct fail *fail, struct buf *b);
void messages_beat(struct answer *a, struct buf *b);
void messages_verbatim(struct answer *a, const struct engine_event *e, struct buf *b);
void messages_collect(struct answer *a, struct choice *c, struct str text,
                      const struct engine_event *e);
void messages_whole(struct answer *a, struct buf *b);
