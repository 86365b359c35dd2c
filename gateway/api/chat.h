/*
 * POST /v1/chat/completions.
 */
#pragma once

#include "gateway/answer.h"

extern const struct dialect chat_dialect;
enum next api_chat(struct request *r);

/* Body → request, without choosing a model: shared with the fuzz target. */
int chat_decode(struct chat_request *ret, struct str text, struct arena *arena,
                struct fail *reterr) MUST_USE;
