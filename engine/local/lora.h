/*
 * LoRA adapters, packed for this engine: per layer and linear A (r × in) and s·B (out × r), 64-byte
 * aligned.
 *
 * y = W x + s·B (A x) with s = alpha/r, or alpha/√r for rank-stabilised LoRA (Hu et al. 2021;
 * Kalajdzievski 2023). Immutable and counted in bytes; any thread.
 */
#pragma once

#include "base/fail.h"
#include "base/sha256.h"
#include "engine/local/model.h"

/* The linears of a layer; a model has the separate ones or the fused ones. */
enum lora_target {
    LORA_q,
    LORA_k,
    LORA_v,
    LORA_o,
    LORA_gate,
    LORA_up,
    LORA_down,
    LORA_qkv,     /* q, k, v in one */
    LORA_gate_up, /* gate, up in one */
    LORA_TARGETS
};

struct lora_pair {
    uint32_t rank;  /* 0: this linear has no adapter */
    const float *a; /* rank rows of `in` floats */
    const float *b; /* rank rows of `out` floats: B transposed, scale folded in */
    bool f16; /* published as F16: x and A x are rounded to F16, as llama.cpp multiplies them */
};

struct lora {
    uint32_t layers;
    size_t bytes;            /* resident */
    struct lora_pair *pairs; /* layers × LORA_TARGETS */
    void *memory;            /* one aligned block that holds all of it */
};

/* `path`: a PEFT folder, a GGUF adapter, or a folder that holds one .gguf. `extra_scale` multiplies
 * (1 as published). */
int lora_load(struct lora **ret, const struct model *m, const char *path, float extra_scale,
              struct fail *reterr) MUST_USE;
struct lora *lora_free(struct lora *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct lora *, lora_free);

/* Several adapters at once: the sum of their parts (ranks are joined). FAILED: a joined rank is
 * above LIMIT_LORA_RANK. The parts may be freed. */
int lora_sum(struct lora **ret, const struct model *m, const struct lora *const *parts, size_t n,
             struct fail *reterr) MUST_USE;

/* Random small values on every linear of the model: for measuring. */
int lora_synthetic(struct lora **ret, const struct model *m, uint32_t rank, uint64_t seed) MUST_USE;

static inline const struct lora_pair *lora_pair(const struct lora *l, uint32_t layer,
                                                enum lora_target t)
{
    return &l->pairs[(size_t)layer * LORA_TARGETS + t];
}
