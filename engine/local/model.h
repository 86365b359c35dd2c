/*
 * A model's weights and the one step that every sequence shares: rows in, logits out.
 *
 * The model is immutable; any thread. A stepper holds the KV cache, scratch memory and compute
 * threads; one thread at a time drives it. All memory is allocated when it is made.
 */
#pragma once

#include "config/config.h"
#include "engine/local/gguf.h"

struct lora;
struct model;
struct stepper;

struct model_shape {
    const char *arch; /* "llama"; the rows of arch.c */
    uint32_t layers, embed, heads, kv_heads, head_size, ff, vocab, context;
    uint32_t rope_dims;
    bool rope_neox; /* pairs (i, i + d/2); else (2i, 2i + 1) */
    float rope_base, rms_eps;
};

/* Whether a graph is drawn for the file's architecture; FAILED names it and those that are
 * supported. Before anything else of a file is read, so that its other oddities do not hide this.
 */
int model_supported(const struct gguf *g, struct fail *reterr) MUST_USE;
/* Takes the gguf over on success (weights are views into it). FAILED: unsupported architecture or
 * type (named, with what is supported), missing or misshapen tensor. */
int model_new(struct model **ret, struct gguf **gguf, struct fail *reterr) MUST_USE;
struct model *model_free(struct model *m);
DEFINE_CLEANUP(struct model *, model_free);
const struct model_shape *model_shape(const struct model *m);
const struct gguf *model_gguf(const struct model *m);
/* Names the weights: a digest over the file's keys, its table of tensors and samples of each
 * tensor, so that not all of it is read. The same for the same file, wherever it lies; never 0.
 * Negative errno. Takes milliseconds. */
int model_id(const struct model *m, uint64_t *ret) MUST_USE;

struct stepper_options {
    uint32_t slots;   /* sequences with a cache of their own */
    uint32_t context; /* positions of each */
    uint32_t rows;    /* of one step, at most */
    uint32_t threads; /* including the caller; 0: one a core */
    enum cache_type cache;
    bool states; /* gives the final normed states of rows instead of their logits */
};

struct step_row {
    int32_t token;
    uint32_t position; /* its keys and values are written there; it attends to positions 0 …
                          position of its slot */
    uint32_t slot;
    bool logits;             /* wanted for this row */
    const struct lora *lora; /* NULL: the bare base */
    float scale;             /* multiplies the adapter's part; 0: 1 */
};

int stepper_new(struct stepper **ret, const struct model *m, const struct stepper_options *o,
                struct fail *reterr) MUST_USE;
struct stepper *stepper_free(struct stepper *s);
DEFINE_CLEANUP(struct stepper *, stepper_free);

/*
 * Computes all rows in one pass over the weights. Rows of one slot stand together, in ascending
 * positions. A row's result does not depend on the other rows or on how a prompt is cut into steps:
 * every sum runs in one fixed order along K. *ret_logits: vocab floats (of a stepper of states:
 * embed) for each row that wanted them, in row order; valid until the next step. 0 or negative
 * errno.
 */
int stepper_run(struct stepper *s, const struct step_row *rows, size_t n,
                const float **ret_logits) MUST_USE;

/* Copies the first n positions of one slot's cache to another's: several choices share one prefill.
 */
void stepper_copy_slot(struct stepper *s, uint32_t from, uint32_t to, uint32_t n);
