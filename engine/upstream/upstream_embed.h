/*
 * What an engine behind answers whole, on the caller's thread, which blocks: embeddings, and bodies
 * that pass through.
 */
#pragma once

#include "engine/upstream/inside.h"

int upstream_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr) MUST_USE;
int upstream_relay(struct engine *e, const struct engine_relay *what, struct engine_relayed *ret,
                   struct fail *reterr) MUST_USE;
