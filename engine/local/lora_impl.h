/*
 * An adapter between its file and its packed form. Private to the lora_*.c files.
 */
#pragma once

#include "engine/local/model_impl.h"

struct lora_matrix {
    struct str name;  /* in the file, for messages; borrowed; p NULL: absent */
    const void *data; /* rows of `cols` elements; borrowed */
    uint32_t type;    /* enum tensor_type with a kernel */
    uint64_t rows, cols;
};

struct lora_draft_pair {
    struct lora_matrix a, b; /* rank × in, out × rank */
    double scale;
    bool permute; /* B's rows are in Hugging Face's order, the base's are not */
};

struct lora_draft {
    const struct model *model;
    const char *file; /* for messages */
    float extra_scale;
    struct lora_draft_pair *pairs; /* layers × LORA_TARGETS; owned */
};

int lora_draft_init(struct lora_draft *ret, const struct model *m, const char *file,
                    float extra_scale) MUST_USE;
void lora_draft_done(struct lora_draft *d);

/* Puts one matrix into its place. FAILED: it is there already. */
int lora_draft_set(struct lora_draft *d, uint32_t layer, enum lora_target t, bool is_b,
                   const struct lora_matrix *x, struct fail *reterr) MUST_USE;

/* Checks pairs, shapes and values, and copies all into one block. */
int lora_pack(struct lora **ret, const struct lora_draft *d, struct fail *reterr) MUST_USE;

/* The loaders of each format. */
int lora_load_gguf(struct lora **ret, const struct model *m, const char *path, float extra_scale,
                   struct fail *reterr) MUST_USE;
int lora_load_peft(struct lora **ret, const struct model *m, const char *folder, float extra_scale,
                   struct fail *reterr) MUST_USE;
/* The same over parsed bytes; `adapter` outlives the call only. */
int lora_from_gguf(struct lora **ret, const struct model *m, const struct gguf *adapter,
                   float extra_scale, struct fail *reterr) MUST_USE;
