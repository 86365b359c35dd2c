/*
 * The embedded engine: a GGUF model on this machine's CPU, decoding many sequences in one step,
 * each row with its own adapter.
 */
#pragma once

#include "config/config.h"
#include "engine/engine.h"

struct lora;
struct tokenizer;

/* Loads the model and starts coordinator and compute threads. FAILED: *reterr names file and cause.
 */
int engine_local_new(struct engine **ret, const struct config_model *m,
                     struct fail *reterr) MUST_USE;
const struct tokenizer *engine_local_tokenizer(const struct engine *e);

/*
 * Packs an adapter for this engine's base out of a PEFT folder (adapter_config.json and
 * adapter_model.safetensors) or a GGUF adapter file, or a folder that holds one. Checks every shape
 * against the base, folds the scale into B. FAILED (unprocessable_adapter): names the file, the
 * field or tensor and the fix. Any thread; the result is immutable.
 */
int engine_local_lora_load(const struct engine *e, struct lora **ret, size_t *ret_bytes,
                           const char *path, struct fail *reterr) MUST_USE;
struct lora *engine_local_lora_free(struct lora *l); /* NULL is fine; returns NULL */
