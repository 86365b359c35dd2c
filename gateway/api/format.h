/*
 * What the text of an answer must look like: response_format, and the spellings of vLLM
 * (guided_json and the like, structured_outputs) and llama.cpp (grammar, json_schema).
 */
#pragma once

#include "engine/chat.h"
#include "gateway/api/body.h"

/* Fills the request's format. FAILED: a malformed one, two at once, one that is not served. Whether
 * a schema or grammar means something is the engine's to say. */
int decode_format(struct chat_request *ret, const struct body *body, struct arena *arena,
                  struct fail *reterr) MUST_USE;
