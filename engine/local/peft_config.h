/*
 * adapter_config.json of PEFT's LoRA: what it says about a module, and a refusal by name of every
 * field that changes the result and is not served.
 *
 * Immutable once parsed; any thread.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct peft_config;

/* FAILED (unprocessable_adapter): *reterr names file and field, with the fix. `name` outlives it.
 */
int peft_config_parse(struct peft_config **ret, const char *name, struct str json,
                      struct fail *reterr) MUST_USE;
struct peft_config *peft_config_free(struct peft_config *c);
DEFINE_CLEANUP(struct peft_config *, peft_config_free);

/* use_dora, lora_bias, and whether bias is not "none". */
bool peft_config_dora(const struct peft_config *c);
bool peft_config_lora_bias(const struct peft_config *c);
bool peft_config_biases(const struct peft_config *c);
/* alora_invocation_tokens: how many, and the i-th as it stands. */
size_t peft_config_n_invocation(const struct peft_config *c);
int64_t peft_config_invocation(const struct peft_config *c, size_t i);
struct str peft_config_base(const struct peft_config *c); /* its name or path; empty: not said */

/*
 * Rank and scale of a module ("model.layers.0.self_attn.q_proj" in layer 0), as PEFT resolves
 * rank_pattern and alpha_pattern. FAILED: PEFT would not adapt that module, or a pattern cannot be
 * matched.
 */
int peft_config_module(const struct peft_config *c, struct str module, uint32_t layer,
                       uint32_t *ret_rank, double *ret_scale, struct fail *reterr) MUST_USE;
