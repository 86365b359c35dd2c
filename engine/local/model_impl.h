/*
 * What the compute side shares about a model: its linears, by layer. Private to engine/local.
 */
#pragma once

#include "engine/local/kernel.h"
#include "engine/local/lora.h"
#include "engine/local/model.h"

struct weight {
    const void *data; /* out rows of `in` elements; a view into the mapping */
    const struct kernel *kernel;
    size_t row_bytes;
    uint32_t in, out;
};

struct linear {
    struct weight w;
    float *bias; /* owned; NULL: none */
};

struct layer {
    float *attn_norm, *ffn_norm; /* owned; `embed` floats */
    struct linear linears[LORA_TARGETS];
};

struct model {
    struct gguf *gguf; /* owned */
    struct model_shape shape;
    const struct kernel_set *kernels;
    struct weight embedding, output; /* output may be the embedding: tied */
    float *output_norm;              /* owned */
    double *rope_frequencies;        /* owned; rope_dims / 2 angles a position */
    struct layer *layers;
    bool hf_rows_permuted; /* q and k rows differ from the order of Hugging Face's checkpoints */
};

/* How the linears are called. */
struct linear_names {
    const char *gguf; /* "attn_q", in blk.N.attn_q.weight */
    const char *hf;   /* "self_attn.q_proj", in model.layers.N.self_attn.q_proj */
};
extern const struct linear_names linear_names[LORA_TARGETS];

static inline const struct linear *model_linear(const struct model *m, uint32_t layer,
                                                enum lora_target t)
{
    return &m->layers[layer].linears[t];
}
