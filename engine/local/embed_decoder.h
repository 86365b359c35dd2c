/*
 * Embeddings out of a decoder: a stepper of its own, made at the first use, so that embedding never
 * changes what running generations hold; it shares nothing with them but the weights.
 *
 * One thread at a time (embed_queue.h).
 */
#pragma once

#include "engine/local/embed_queue.h"
#include "engine/local/model.h"

struct embed_decoder;

/* `o`: slots are sequences computed together. The model outlives it. 0 or -ENOMEM. */
int embed_decoder_new(struct embed_decoder **ret, const struct model *m, enum pooling pooling,
                      const struct stepper_options *o) MUST_USE;
struct embed_decoder *embed_decoder_free(struct embed_decoder *d);
DEFINE_CLEANUP(struct embed_decoder *, embed_decoder_free);
struct embed_backend embed_decoder_backend(struct embed_decoder *d);
