/*
 * What a chunk of OpenAI's wire, or a whole answer, holds: views of it.
 */
#pragma once

#include "base/json_view.h"
#include "engine/engine.h"

/* What one pass finds. */
struct openai_chunk {
    struct str choices, usage, error, object, model, extra_usage;
    const char *usage_key; /* its quote */
    bool has_choices, has_detail;
};
void openai_look(struct openai_chunk *ret, struct str json);
/* One member of it; as json_view_member_fn, ctx a struct openai_chunk. */
void openai_look_at_member(void *ctx, struct str key, struct str value);
struct engine_found openai_found(struct str json, const struct openai_chunk *c);
bool openai_is_error(const struct openai_chunk *c);

/* Of a "usage" object, in any of its dialects; numbers that are missing stay. */
void openai_usage(struct engine_usage *u, struct str usage);

/* A choice's own members. */
struct openai_piece {
    uint32_t index;
    struct str delta; /* or message */
    struct str text;  /* of a completion */
    struct str finish, stop, logprobs, usage;
};
void openai_look_at_choice(struct openai_piece *ret, struct str choice);

/* What its delta, message or text is. */
struct openai_said {
    bool something; /* text, reasoning or a call is in it */
    bool lacks;     /* `content` or `refusal` is not there, which OpenAI's messages always have */
};
struct openai_said openai_said(const struct openai_piece *p);

/* Whether a member stands for something: not null, false, "", {} or 0. */
bool openai_is_truthy(struct str value);
