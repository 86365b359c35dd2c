/*
 * The wires of the mock upstream: the events of one step of an answer, and whole bodies.
 */
#pragma once

#include "tests/support/mock_answer.h"

enum mock_step {
    STEP_bom,
    STEP_start,
    STEP_strange,
    STEP_think,
    STEP_open, /* of the text's block */
    STEP_text,
    STEP_big,
    STEP_close,
    STEP_tools,
    STEP_finish,
    STEP_again, /* the finish once more */
    STEP_usage,
    STEP_done,
    STEP_over,
    STEP_ended,
};

enum { MOCK_TOOL_PARTS = 4 }; /* STEP_tools has i below it */

/* Appends what the wire says at r->step, r->i; nothing, where it says nothing. */
void mock_wire_next(struct mock_render *r, struct buf *out);
/* Appends an error within a stream. */
void mock_wire_error(struct mock_render *r, struct buf *out);
/* Appends the body of an answer that is not streamed; of a refusal. */
void mock_wire_whole(struct mock_render *r, struct buf *out);
void mock_wire_refusal(struct mock_render *r, struct buf *out);

/* ---- what both use ---- */

#define MOCK_IDENTITY "\"created\":1700000000,\"model\":\"mock-model\""
enum { MOCK_PROMPT_TOKENS = 7, MOCK_CACHED_TOKENS = 2 };

void mock_text_add(struct buf *b, const struct mock_script *s, uint32_t i); /* inside of a string */
void mock_big_add(struct buf *b, uint32_t n);
void mock_usage_add(struct buf *b, const struct mock_render *r);
const char *mock_finish_word(const struct mock_render *r);
