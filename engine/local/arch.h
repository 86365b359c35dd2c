/*
 * Architectures as data: what differs between the graphs that this engine draws.
 *
 * One row describes one. A graph that none of the fields can say needs a field here and the block
 * function in forward.c that reads it. Constants; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"

enum activation { ACT_silu, ACT_gelu_tanh }; /* of the gate */

struct architecture {
    const char *name;      /* general.architecture */
    bool rope_neox;        /* pairs (i, i + d/2); else (2i, 2i + 1) */
    bool hf_rows_permuted; /* the converter reorders q and k rows for interleaved rotation */
    bool fused;            /* one linear for q, k, v and one for gate, up */
    bool head_norms;       /* of each head's q and k, before rotation */
    bool post_norms;       /* of what attention and feed-forward add to the residual */
    bool scaled_embedding; /* by √embed */
    enum activation activation;
    /* Of `period` layers the last sees everything and those before it only a window; UINT32_MAX:
     * all have the window; 0: none has. */
    uint32_t period;
    uint32_t window; /* where the file does not say; 0: none */
    float
        local_rope_base; /* of layers with a window, where the file does not say; 0: the others' */
    float score_cap;     /* attention scores, where the file does not say; 0: none */
    float logit_cap;     /* likewise, final logits */
    uint32_t wide_head_layers; /* a model this deep scales queries by √(heads / embed), not by
                                  1/√head_size: its authors' choice, and no key says it */
};

/* As files and configurations call it: "silu", "gelu_pytorch_tanh". */
bool activation_named(enum activation a, struct str name);
/* NULL: none of that name. */
const struct architecture *architecture_find(struct str name);
/* "llama, qwen2, …", for messages. */
void architecture_names(char *ret, size_t size);
