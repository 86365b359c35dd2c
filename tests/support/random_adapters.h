/*
 * Adapters with random weights, as files: a PEFT folder or one GGUF file, of the shape that a base
 * model of the llama family asks for. The same seed gives the same bytes.
 */
#pragma once

#include "engine/local/model.h"

struct random_adapter {
    uint32_t rank;
    uint64_t seed;
    float size; /* of a value of A and of B, at most */
    bool gguf;
    const int32_t *invocation; /* activated LoRA; NULL: none */
    size_t n_invocation;
};

/* Makes `folder` and the files in it. Aborts where it cannot. */
void random_adapter_write(const struct random_adapter *a, const struct model_shape *shape,
                          const char *folder);
