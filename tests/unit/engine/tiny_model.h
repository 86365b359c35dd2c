/*
 * Small models and adapters made on the spot: GGUF and safetensors bytes with random weights.
 */
#pragma once

#include "base/buf.h"
#include "engine/local/lora.h"
#include "tests/support/test.h"

struct tiny_key { /* without the architecture's prefix where it begins with a dot */
    const char *name;
    enum gguf_kind kind; /* bool, u32, f32, string, or array: of u32 */
    double number;
    const char *text; /* of a string; of an array: its digits */
};

struct tiny_options {
    const char *arch; /* "llama" */
    uint32_t type;    /* of the matrices; F32 or F16 */
    uint64_t seed;
    const char *leave_out;    /* a tensor that is missing; NULL: none */
    const char *misshape;     /* a tensor with one row too many; NULL: none */
    const char *retype;       /* a tensor of an unsupported type; NULL: none */
    const char *extra_tensor; /* one that no graph knows; NULL: none */
    uint32_t window;          /* attention.sliding_window; 0: no key */
    struct tiny_key keys[2];  /* more of them; name NULL: none */
};

enum {
    TINY_LAYERS = 2,
    TINY_EMBED = 48,
    TINY_HEADS = 6,
    TINY_KV_HEADS = 2,
    TINY_FF = 80,
    TINY_VOCAB = 61,
    TINY_HEAD_SIZE = TINY_EMBED / TINY_HEADS
};

struct tiny_model {
    struct model *model;
    char *bytes; /* that the model looks into */
};

/* Returns what model_new returns. */
int tiny_model_new(struct tiny_model *ret, struct tiny_options o, struct fail *reterr);
struct model *tiny_model_get(struct tiny_model *ret, struct tiny_options o); /* must succeed */
void tiny_model_done(struct tiny_model *m);

/* A safetensors file; add in any order. */
struct tiny_tensors {
    struct buf header, data;
};
void tiny_tensor_add(struct tiny_tensors *t, const char *name, uint32_t rows, uint32_t cols,
                     const float *values);
/* In "F32", "F16" or "BF16"; rows 0: a vector of `cols`. */
void tiny_tensor_add_as(struct tiny_tensors *t, const char *type, const char *name, uint32_t rows,
                        uint32_t cols, const float *values);
struct buf tiny_tensors_file(struct tiny_tensors *t); /* owned by the caller; t is emptied */
