/*
 * What the compute side shares about a model: its linears, by layer. Private to engine/local.
 */
#pragma once

#include "engine/local/arch.h"
#include "engine/local/kernel.h"
#include "engine/local/lora.h"
#include "engine/local/model.h"
#include "engine/local/rope.h"

struct weight {
    const void *data; /* out rows of `in` elements; a view into the mapping */
    const struct kernel *kernel;
    size_t row_bytes;
    uint32_t in, out;
};

struct linear {
    struct weight w; /* data NULL: the architecture has none */
    float *bias;     /* owned; NULL: none */
};

enum layer_norm { NORM_attn, NORM_ffn, NORM_q, NORM_k, NORM_post_attn, NORM_post_ffn, NORMS };

struct layer {
    float *norms[NORMS]; /* owned; NULL: the architecture has none */
    struct linear linears[LORA_TARGETS];
    bool local; /* sees the last `window` positions only */
};

enum { ROPES = 2 };

struct model {
    struct gguf *gguf; /* owned */
    struct model_shape shape;
    const struct kernel_set *kernels;
    struct weight embedding, output; /* output may be the embedding: tied */
    float *output_norm;              /* owned */
    struct rope ropes[ROPES];        /* of all layers, or of the others and the local ones; the
                                        second may have no steps */
    struct rope long_rope;           /* instead of the first, where sequences may have more than
                                        long_above positions; may have no steps */
    uint32_t long_above;
    struct layer *layers;
    const struct architecture *arch;
    uint32_t window; /* positions that a local layer sees, with its own; 0: no layer is local */
    float embedding_scale, query_scale;
    float score_cap, logit_cap; /* soft: c·tanh(x / c); 0: none */
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

/* Same in all layers. */
static inline bool model_has_linear(const struct model *m, enum lora_target t)
{
    return m->layers[0].linears[t].w.data;
}

/* "attn_q, attn_k, …" or Hugging Face's names, for messages. */
void model_linear_names(const struct model *m, bool hf, char *ret, size_t size);
