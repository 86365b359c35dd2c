/*
 * POST /v1/completions.
 */
#pragma once

#include "gateway/answer.h"

extern const struct dialect completions_dialect;
enum next api_completions(struct request *r);

/* Body → one request a prompt; *ret_empty: max_tokens is 0. */
int completions_decode(struct chat_request **ret, size_t *ret_n, bool *ret_empty, struct str text,
                       struct arena *arena, struct fail *reterr) MUST_USE;
