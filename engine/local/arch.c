#include "engine/local/arch.h"

#include <stdio.h>

#include "base/own.h"

static const struct architecture architectures[] = {
    { .name = "llama", .hf_rows_permuted = true },
    { .name = "qwen2", .rope_neox = true },
    { .name = "qwen3", .rope_neox = true, .head_norms = true },
    { .name = "gemma", .rope_neox = true, .scaled_embedding = true, .activation = ACT_gelu_tanh },
    { .name = "gemma2",
      .rope_neox = true,
      .post_norms = true,
      .scaled_embedding = true,
      .activation = ACT_gelu_tanh,
      .period = 2,
      .window = 4096,
      .score_cap = 50,
      .logit_cap = 30,
      .wide_head_layers = 46 },
    { .name = "gemma3",
      .rope_neox = true,
      .head_norms = true,
      .post_norms = true,
      .scaled_embedding = true,
      .activation = ACT_gelu_tanh,
      .period = 6,
      .local_rope_base = 10000,
      .wide_head_layers = 62 },
    { .name = "phi3", .rope_neox = true, .fused = true, .period = UINT32_MAX },
};

bool activation_named(enum activation a, struct str name)
{
    if (a == ACT_silu)
        return str_is(name, "silu") || str_is(name, "swish");
    return str_is(name, "gelu_pytorch_tanh") || str_is(name, "gelu_new");
}

const struct architecture *architecture_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(architectures); i++)
        if (str_is(name, architectures[i].name))
            return &architectures[i];
    return NULL;
}

void architecture_names(char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_LEN(architectures) && used < size; i++)
        used +=
            (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", architectures[i].name);
}
