/*
 * Inside of an encoder: weights (encoder_load.c) that the graph reads (encoder_graph.c). Private.
 */
#pragma once

#include "engine/local/encoder.h"
#include "engine/local/model_impl.h"

enum { LABEL_BYTES = 64 }; /* of a name; longer ones are cut */

enum encoder_activation { ENCODER_gelu, ENCODER_silu, ENCODER_tanh, ENCODER_relu };

enum encoder_gate {
    GATE_none,     /* down(act(up)) */
    GATE_separate, /* down(act(gate) · up) */
    GATE_fused,    /* ffn_up gives both: the half that is activated first */
};

struct encoder_arch { /* what differs between the graphs */
    const char *name; /* general.architecture */
    bool positions;   /* learned, added to the embeddings */
    bool rope;        /* else; pairs (i, i + d/2) */
    bool pre_norm;    /* norms before each block and at the end, none before the first; else
                         behind each block */
    enum encoder_gate gate;
    enum encoder_activation activation;
    /* Of `period` layers the first sees everything, the others a window only; 0: all see all. */
    uint32_t period;
    uint32_t window;       /* where the file does not say: positions to both sides together */
    float local_rope_base; /* likewise */
    enum encoder_activation head_activation; /* of a head's hidden layer, where the file does not
                                                say */
    enum pooling head_pooling;               /* what a sequence head reads, likewise */
};

struct layer_norm_weights {
    float *weight, *bias; /* owned; weight NULL: no norm here; bias NULL: none */
};

struct encoder_layer {
    struct linear q, k, v; /* k and v without data: q is fused */
    struct linear o, gate, up, down;
    struct layer_norm_weights attn_norm, ffn_norm; /* before or behind the blocks */
    bool local;
};

struct encoder_head {         /* out(norm(act(dense(x)))) */
    struct linear dense, out; /* dense without data: out(x) */
    struct layer_norm_weights norm;
    enum encoder_activation activation;
    enum pooling pooling; /* of a sequence head: mean or cls */
};

struct encoder {
    struct gguf *gguf; /* owned */
    const struct encoder_arch *arch;
    struct encoder_shape shape;
    const struct kernel_set *kernels;
    struct weight embedding, positions; /* positions: without data where there are none */
    float *type;                        /* owned; added to every embedding, NULL: none */
    struct layer_norm_weights embed_norm, output_norm;
    struct encoder_layer *layers; /* owned */
    struct encoder_head head;     /* of sequences or of tokens; out without data: none */
    double *ropes[ROPES]; /* owned; head_size / 2 angles a position: of layers that see all, and of
                             local ones; NULL: no rotation, or the same */
    uint32_t reach;       /* of local layers: positions to each side */
    float eps;
    char (*labels)[LABEL_BYTES]; /* owned; shape.labels or shape.token_labels, NUL-terminated */
};

static inline bool has_linear(const struct linear *l)
{
    return l->w.data;
}
