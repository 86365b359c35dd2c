/*
 * LoRA adapters, packed for this engine: per layer and linear A (r × in) and B, 64-byte aligned, in
 * the type that they were published in, used where they lie (a mapped file, or one block).
 *
 *     y = g ∘ (W x + s·B (A x)) + b
 *
 * with s = alpha/r, or alpha/√r for rank-stabilised LoRA (Hu et al. 2021; Kalajdzievski 2023);
 * g is 1 but for DoRA (Liu et al. 2024), b is the base's bias unless the adapter brings its own.
 * Immutable and counted in bytes; any thread.
 */
#pragma once

#include "base/fail.h"
#include "base/sha256.h"
#include "engine/local/model.h"

struct kernel;

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
    uint32_t rank; /* 0: this linear has no A and B */
    bool f16;    /* published as F16: x and A x are rounded to F16, as llama.cpp multiplies them */
    bool rows;   /* b holds `out` rows of rank elements, else rank rows of `out`: B transposed */
    float scale; /* of A x; what of s is not folded into b */
    const struct kernel *a_kernel, *b_kernel; /* of their types */
    const void *a;                            /* rank rows of `in` elements */
    const void *b;
    size_t a_stride, b_stride; /* bytes from row to row */
    const float *gain;         /* `out` factors; NULL: 1 */
    const float *bias;         /* `out` sums in place of the base's bias; NULL: the base's */
};

struct lora {
    uint32_t layers;
    size_t bytes;              /* resident: its pages or block, and the table of pairs */
    struct lora_pair *pairs;   /* layers × LORA_TARGETS */
    const int32_t *invocation; /* activated LoRA: it adapts nothing before the last place of these
                                  ids in a prompt; NULL: it always adapts */
    size_t n_invocation;
    void *image; /* owned mapping, of a file or of memory: what all of the above points into */
    size_t image_bytes;
};

/* The element type of a packed adapter; what each costs is in engine/README.md. */
enum lora_packing {
    LORA_packing_source, /* as published */
    LORA_packing_f16,    /* wider ones are rounded to F16 */
    LORA_packing_int8,   /* Q8_0: blocks of 32 with one scale */
    LORA_PACKINGS
};

/* `path`: a PEFT folder, a GGUF adapter, or a folder that holds one .gguf. `extra_scale` multiplies
 * (1 as published). FAILED (unprocessable_adapter): *reterr names file, field or tensor. */
int lora_load(struct lora **ret, const struct model *m, const char *path, float extra_scale,
              struct fail *reterr) MUST_USE;
struct lora *lora_free(struct lora *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct lora *, lora_free);

/* The same checks and no result: an adapter that passes can be loaded and packed for this base. */
int lora_check(const struct model *m, const char *path, struct fail *reterr) MUST_USE;

/* ---- packed files (lora_packed.c describes the bytes) ---- */

struct lora_pack { /* what a packed file belongs to */
    const struct model *model;
    uint64_t base_id; /* model_id of the model */
    enum lora_packing packing;
};

/* Writes the adapter at `path` (as for lora_load) into the file `to`, which is old or new, never
 * half. The same input gives the same bytes. FAILED as lora_load; negative errno. */
int lora_pack_file(const struct lora_pack *p, const char *path, const char *to,
                   struct fail *reterr) MUST_USE;
/*
 * Maps such a file, and reads its pages in: nothing is copied, the weights are the mapping. The
 * file must neither shrink nor change meanwhile (a page that is gone would be a SIGBUS): whoever
 * keeps it replaces by rename and removes by unlink, both of which leave mappings whole. -ESTALE:
 * it is of another layout, base or packing, or its head is damaged; pack it anew.
 */
int lora_map_file(struct lora **ret, const struct lora_pack *p, const char *path) MUST_USE;
/* Compares every layer with its checksum: what mapping leaves out. FAILED: *reterr says where it is
 * damaged. */
int lora_verify_file(const char *path, struct fail *reterr) MUST_USE;

/* Several adapters at once: the sum of their parts (ranks are joined). FAILED: a joined rank is
 * above LIMIT_LORA_RANK, or one has a part that cannot be added. The parts may be freed. */
int lora_sum(struct lora **ret, const struct model *m, const struct lora *const *parts, size_t n,
             struct fail *reterr) MUST_USE;

/* Random small values of a type (F32, F16, BF16, Q8_0) on every linear of the model: for
 * measuring. */
int lora_synthetic_of(struct lora **ret, const struct model *m, uint32_t rank, uint32_t type,
                      uint64_t seed) MUST_USE;
int lora_synthetic(struct lora **ret, const struct model *m, uint32_t rank,
                   uint64_t seed) MUST_USE; /* in F32 */

#define LORA_NEVER UINT32_MAX

/*
 * The first position of a prompt that the adapter has a part in: 0, or, of an activated one (aLoRA:
 * Greenewald et al. 2025), where its invocation last begins in the n ids; LORA_NEVER without one,
 * and then the base answers, as in PEFT and vLLM.
 */
uint32_t lora_from(const struct lora *l, const int32_t *ids, size_t n);
/* Whether a factor on A x is all that a scale changes: not where gains (DoRA) or biases of its own
 * go with it. */
bool lora_scales(const struct lora *l);

static inline const struct lora_pair *lora_pair(const struct lora *l, uint32_t layer,
                                                enum lora_target t)
{
    return &l->pairs[(size_t)layer * LORA_TARGETS + t];
}
