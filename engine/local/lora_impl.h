/*
 * An adapter between its files and its packed form. Private to the lora_*.c files.
 */
#pragma once

#include "engine/local/model_impl.h"

enum { LORA_INVOCATION_TOKENS = 4096 }; /* of one adapter, at most */

struct lora_matrix {
    struct str name;  /* in the file, for messages; borrowed; p NULL: absent */
    const void *data; /* rows of `cols` elements; borrowed */
    uint32_t type;    /* enum tensor_type with a kernel */
    uint64_t rows, cols;
};

enum lora_part {
    LORA_part_a,         /* rank × in */
    LORA_part_b,         /* out × rank */
    LORA_part_magnitude, /* out: DoRA's lengths of rows */
    LORA_part_bias,      /* out: in place of the base's bias */
    LORA_part_b_bias,    /* out: B's own */
    LORA_PARTS
};

struct lora_draft_pair {
    struct lora_matrix parts[LORA_PARTS]; /* vectors are one row */
    double scale;
    bool permute; /* rows of outputs are in Hugging Face's order, the base's are not */
    bool f16;     /* x and A x are rounded to F16, as llama.cpp does for F16 files */
};

struct lora_draft {
    const struct model *model;
    const char *file; /* for messages */
    float extra_scale;
    struct lora_draft_pair *pairs; /* layers × LORA_TARGETS; owned */
    int32_t *invocation;           /* owned */
    size_t n_invocation;
    struct str sources[2]; /* the files' bytes; borrowed */
};

int lora_draft_init(struct lora_draft *ret, const struct model *m, const char *file,
                    float extra_scale) MUST_USE;
void lora_draft_done(struct lora_draft *d);

/* Puts one matrix into its place. FAILED: it is there already. */
int lora_draft_set(struct lora_draft *d, uint32_t layer, enum lora_target t, enum lora_part part,
                   const struct lora_matrix *x, struct fail *reterr) MUST_USE;
/* Room for n invocation tokens. */
int lora_draft_invoke(struct lora_draft *d, size_t n) MUST_USE;

static inline bool lora_draft_has(const struct lora_draft_pair *p, enum lora_part part)
{
    return p->parts[part].name.p;
}

/* Checks pairs, shapes and that there are any; values are checked when they are packed. */
int lora_draft_check(const struct lora_draft *d, struct fail *reterr) MUST_USE;

/* What is done with a draft; its matrices are there during the call only. */
typedef int lora_use(void *ctx, const struct lora_draft *d, struct fail *reterr);

/* The readers of each format: `use` is called once, with a checked draft. */
int lora_read_gguf(const struct model *m, const char *path, float extra_scale, lora_use *use,
                   void *ctx, struct fail *reterr) MUST_USE;
int lora_read_peft(const struct model *m, const char *folder, float extra_scale, lora_use *use,
                   void *ctx, struct fail *reterr) MUST_USE;
/* The same over parsed bytes; `adapter` outlives the call only. */
int lora_from_gguf(const struct model *m, const struct gguf *adapter, float extra_scale,
                   lora_use *use, void *ctx, struct fail *reterr) MUST_USE;

/* ---- the packed form ---- */

/* As one block in memory. */
int lora_pack_memory(struct lora **ret, const struct lora_draft *d, struct fail *reterr) MUST_USE;
int lora_pack_draft(const struct lora_pack *p, const struct lora_draft *d, const char *to,
                    struct fail *reterr) MUST_USE;

/* What a matrix becomes: type, and B's way up. */
struct lora_form {
    uint32_t type;
    bool rows; /* B as published, not transposed */
};
struct lora_form lora_form_a(const struct lora_matrix *a, enum lora_packing packing);
struct lora_form lora_form_b(const struct lora_matrix *b, enum lora_packing packing);

/*
 * Write a matrix into its place in form `f`. The factor is taken into the values only where none of
 * them loses by it, else into *scale, by which the product has to be multiplied.
 */
int lora_fill_a(const struct lora_draft *d, const struct lora_matrix *a, struct lora_form f,
                uint8_t *to, float *scale, struct fail *reterr) MUST_USE;
int lora_fill_b(const struct lora_draft *d, const struct lora_draft_pair *p, struct lora_form f,
                uint8_t *to, float *scale, struct fail *reterr) MUST_USE;
/* DoRA's m / ‖W + s·B·A‖ for each output, over the base as it is served. */
int lora_fill_gain(const struct lora_draft *d, const struct lora_draft_pair *p,
                   const struct weight *w, float *to, struct fail *reterr) MUST_USE;
int lora_fill_bias(const struct lora_draft *d, const struct lora_draft_pair *p,
                   const struct linear *l, float *to, struct fail *reterr) MUST_USE;
