/*
 * What the mock upstream answers: whole bodies and event streams of the wires that Rootstock has
 * behind it, as a script says.
 *
 * Text frame i says "t<i> " (padded with x to `size`), so that a reader sees that none is lost,
 * doubled or moved. Usage is 7 tokens in, 2 of them cached, and one a text frame out. Pure: no I/O.
 */
#pragma once

#include "base/buf.h"
#include "tests/support/mock_script.h"

enum mock_wire {
    MOCK_WIRE_none, /* no such path */
    MOCK_WIRE_chat,
    MOCK_WIRE_text, /* OpenAI's legacy completions */
    MOCK_WIRE_embeddings,
    MOCK_WIRE_models, /* and whatever else is asked with GET */
    MOCK_WIRE_anthropic,
    MOCK_WIRE_count, /* Anthropic's count_tokens */
    MOCK_WIRE_gemini,
    MOCK_WIRE_bedrock,
    MOCK_WIRE_ollama,
};

struct mock_ask {
    enum mock_wire wire;
    bool stream, array; /* array: Gemini's stream as a JSON array */
    bool usage;         /* stream_options.include_usage */
    uint32_t n, inputs; /* choices; embedding inputs */
};
void mock_ask_read(struct mock_ask *ret, struct str target, struct str body);

/* Where an answer's stream is. */
struct mock_render {
    const struct mock_ask *ask;       /* borrowed */
    const struct mock_script *script; /* borrowed */
    struct buf json, plain;           /* scratch, kept between answers */
    unsigned step;
    uint32_t i; /* within the step */
    uint32_t events, block, crc, n_plain;
    bool coded; /* gzip has begun */
};
#define MOCK_RENDER_INIT                                                                           \
    ((struct mock_render){ .json = BUF_INIT(1u << 30), .plain = BUF_INIT(1u << 30) })
void mock_render_done(struct mock_render *r);
void mock_render_start(struct mock_render *r, const struct mock_ask *ask,
                       const struct mock_script *script);

enum mock_next { MOCK_NEXT_text, MOCK_NEXT_done, MOCK_NEXT_other, MOCK_NEXT_over };
/* What mock_render_next would append: text frame *ret_i, the sign of the end, something else. */
enum mock_next mock_render_peek(const struct mock_render *r, uint32_t *ret_i);
/* Appends the next event's bytes of body; at `over` what ends a coding, once. */
void mock_render_next(struct mock_render *r, struct buf *out);

/* The body of an answer that is not streamed, or of a refusal (script.status). */
void mock_render_whole(struct mock_render *r, struct buf *out);

/* Status line and headers, with the blank line. length: of the body; or MOCK_CHUNKED, MOCK_CLOSE.
 */
enum { MOCK_CHUNKED = -1, MOCK_CLOSE = -2 };
void mock_answer_head(struct buf *out, const struct mock_ask *ask, const struct mock_script *script,
                      int64_t length);
uint32_t mock_crc32(uint32_t crc, struct str s); /* of zlib; begins with 0 */
