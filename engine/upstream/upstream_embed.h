/*
 * Embeddings by an engine behind: one call, answered on the caller's thread, which blocks.
 */
#pragma once

#include "engine/upstream/inside.h"

int upstream_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr) MUST_USE;
