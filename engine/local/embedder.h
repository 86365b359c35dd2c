/*
 * What an engine embeds with: text to ids, bounds, shared steps, vectors of unit length.
 *
 * Any thread that may block.
 */
#pragma once

#include "engine/engine.h"
#include "engine/local/embed_decoder.h"

struct encoder;
struct tokenizer;

struct embedder_options {
    const struct tokenizer *tokenizer; /* borrowed, like the next two; they outlive it */
    const struct model *model;         /* a decoder, or NULL */
    const struct encoder *encoder;     /* else */
    uint32_t vocab;                    /* ids that can be given */
    uint32_t context;
    uint32_t rows;    /* of one step, at most */
    uint32_t threads; /* including the leading caller; 0: one a core */
    size_t calls;     /* that may be there at once */
    enum cache_type cache;
};

struct embedder;

/* FAILED: a pooling that the file asks for and nobody knows, named. */
int embedder_new(struct embedder **ret, const struct embedder_options *o,
                 struct fail *reterr) MUST_USE;
struct embedder *embedder_free(struct embedder *e); /* waits for callers; NULL is fine */
DEFINE_CLEANUP(struct embedder *, embedder_free);

/* As engine.h says of the functions of the same names. */
int embedder_embed(struct embedder *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr) MUST_USE;
int embedder_classify(struct embedder *e, const struct embed_input *inputs, size_t n,
                      struct embed_result *ret, struct fail *reterr) MUST_USE;
int embedder_classify_tokens(struct embedder *e, struct str text, struct embed_result *ret,
                             struct token_range **ret_ranges, struct fail *reterr) MUST_USE;
void embedder_drain(struct embedder *e);
void embedder_load(struct embedder *e, size_t *ret_running, size_t *ret_waiting);
