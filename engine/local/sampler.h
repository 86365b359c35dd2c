/*
 * Picks the next token from logits: what a grammar allows, bias and penalties, then temperature,
 * top-k, typical, top-p, min-p, then one random draw. Same seed, same text, whatever else is in the
 * batch.
 *
 * One sampler a sequence; one thread at a time.
 */
#pragma once

#include "engine/engine.h"

struct sampler;

/* `prompt` ids take part in the repeat penalty. A request without a seed gets a random one. */
int sampler_new(struct sampler **ret, const struct sampling *p, uint32_t choice, uint32_t vocab,
                const int32_t *prompt, size_t n_prompt) MUST_USE;
struct sampler *sampler_free(struct sampler *s);
DEFINE_CLEANUP(struct sampler *, sampler_free);

/*
 * Chooses; remembers it for the penalties. Only ids whose bit (id % 32 of word id / 32) is set in
 * `allowed` can be chosen (NULL: all), and none of the `banned` ones. -1: nothing can.
 */
int32_t sampler_pick(struct sampler *s, const float *logits, const uint32_t *allowed,
                     const int32_t *banned, size_t n_banned);

/* Natural-log probability of id and the n_top most likely ids, of the raw logits (OpenAI's
 * logprobs). */
float sampler_logprobs(struct sampler *s, const float *logits, int32_t id,
                       struct token_logprob *ret_top, size_t n_top);
