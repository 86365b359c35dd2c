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

/*
 * The packed form, one file that is used where it lies: engine/local/lora.h says what it is.
 * pack writes `to` whole out of what `path` names (as above); map makes the resident of it without
 * a copy, -ESTALE: pack it anew. The engine's threads are not held up by any of them. Any thread.
 */
int engine_local_lora_pack(struct engine *e, enum adapter_packing packing, const char *path,
                           const char *to, struct fail *reterr) MUST_USE;
int engine_local_lora_map(struct engine *e, enum adapter_packing packing, const char *packed,
                          struct lora **ret, size_t *ret_bytes, struct fail *reterr) MUST_USE;
/* Names the base's weights; 0: not known (no decoder, or out of memory). The first call of an
 * engine takes milliseconds. */
uint64_t engine_local_base_id(struct engine *e);

/*
 * Whether the adapter at `path` can be used with the model file `model`, without an engine: for
 * what publishes. FAILED: names file, field or tensor. *ret_base_id is that of the model (NULL: not
 * wanted); `to`: also packs it there (NULL: does not). Reads all of the adapter and little of the
 * model.
 */
int engine_local_lora_check(const char *model, const char *path, const char *to,
                            uint64_t *ret_base_id, struct fail *reterr) MUST_USE;
