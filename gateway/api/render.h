/*
 * Pieces that chat and completions print alike.
 */
#pragma once

#include "engine/engine.h"
#include "gateway/answer.h"

/* {"prompt_tokens":…} */
void render_usage(struct buf *b, const struct engine_usage *u);
/* A token as text: its characters, or "bytes:\xe2\x82" for part of one. With quotes. */
void render_token(struct buf *b, struct str bytes);
void render_logprob(struct buf *b, float logprob); /* JSON has no infinity: at least -9999 */
/* The tokens of an event (NULL: none) as chat has them, each behind a comma but the first. */
void render_logprobs(struct buf *b, const struct engine_event *e, uint32_t n_top);
/* The reason on the wire, quoted. */
void render_finish(struct buf *b, enum finish_reason finish);
/* {"id":…,"object":…,"created":…,"model":… — without the closing brace. */
void render_start(struct buf *b, const struct answer *a, const char *object);
/* Of a stream as OpenAI has it: "[DONE]" at the end, an error event that ends it, a comment. */
void render_done(struct buf *b);
void render_broken(struct answer *a, const struct fail *fail, struct buf *b);
void render_keep_alive(struct answer *a, struct buf *b);
/* A chunk or whole answer of an engine behind, under the name that the client asked for, without
 * the usage that it did not ask for; an event that then says nothing is left out. */
void render_verbatim(struct answer *a, const struct engine_event *e, struct buf *b);
/* A whole answer of that object type; add_choice prints one of the choices, with its comma. */
void render_whole(struct buf *b, struct answer *a, const char *object,
                  void (*add_choice)(struct answer *a, struct choice *c, struct buf *b));
