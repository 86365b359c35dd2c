/*
 * Prompts: what becomes of them between decoding and the engine. http thread.
 */
#pragma once

#include "gateway/answer.h"

/* Signals and guards read text: a prompt of token ids gets its own beside them. 0 or negative
 * errno. */
int prompt_spell(struct answer *a) MUST_USE;
/* The same where the prompt is part of the answer. */
int prompt_spell_echo(struct answer *a) MUST_USE;

/* The plugins' prompt stage on every prompt. 0 (with a->is_canned: a plugin has answered), FAILED,
 * or negative errno. */
int prompt_guard(struct answer *a, struct fail *reterr) MUST_USE;
/* FAILED (unsupported_parameter): an image or a file for a model that reads text only; for one
 * behind, what no other wire can say. */
int prompt_refuse_media(const struct answer *a, struct fail *reterr) MUST_USE;
