/*
 * Kernels: the arithmetic of each tensor type.
 *
 * A set is one implementation for one instruction set; a row of it serves one tensor type. The sum
 * of a dot product runs over K in one order whatever the number of rows, so a row's result does not
 * depend on what else is in the batch. Pure; any thread.
 */
#pragma once

#include "engine/local/gguf.h"

/* How a type reads its activations; the step prepares each form once for all who read it. */
enum kernel_input {
    INPUT_f32,
    INPUT_f16, /* floats rounded to F16 first, as llama.cpp multiplies F16 weights */
    INPUT_i16, /* struct quants: integers with one scale for 32 of them */
};

/*
 * 32 activations as q · scale, |q| <= 32767; beyond the row's end they are 0. Sixteen bits, not
 * eight: the sum of a block of products with an 8-bit weight still fits 32 bits exactly, and the
 * result differs from that of unrounded activations by no more than F16 activations' would.
 */
struct quants {
    int16_t q[32]; /* in an order that the set chooses */
    float scale;
    float sum, half[2]; /* scale · Σ q, of all and of the first and last 16 */
};
#define QUANTS_MOST 32767.0f
#define QUANTS_TINY 1e-30f /* blocks below are zeros: the inverse of their scale is no float */
#define KERNEL_QUANTS(k) (((size_t)(k) + 31) / 32) /* a row of k activations */

/* y[i][o] = Σ w[o][k] · x[i][k] for o in [begin, end) of the call. */
struct matmul {
    const void *w;        /* rows of k elements of the kernel's type */
    size_t w_stride;      /* bytes from row to row */
    uint32_t k;           /* elements summed */
    const void *const *x; /* n rows of k floats, any alignment, or of KERNEL_QUANTS(k) quants */
    float *const *y;      /* n rows, indexed by the weight's row */
    uint32_t n;
    float *scratch; /* KERNEL_SCRATCH(k) floats of the calling thread */
};

enum { KERNEL_TILE = 4 }; /* weight rows unpacked at once */
#define KERNEL_PADDED(k) (((size_t)(k) + 31) & ~(size_t)31)
#define KERNEL_SCRATCH(k) (KERNEL_TILE * KERNEL_PADDED(k))

enum { MIX_WIDTH = 256 }; /* outputs of one call, at most: they stay in registers and L1 */

struct mix {
    const float *t;    /* n factors */
    const void *rows;  /* n rows of the kernel's type, at least `width` elements */
    size_t row_stride; /* bytes */
    uint32_t n, width;
};

struct kernel {
    uint32_t type; /* enum tensor_type */
    enum kernel_input input;
    /*
     * How far a product may be from Σ w[k] · x[k] in exact arithmetic over unrounded activations:
     *     (error + (K / 8 + 8) · 2^-24) · Σ |w[k]| · max |x| of k's block of 32
     * `error` is the rounding of the activations, the rest that of the sum. Where a type has a
     * minimum, |w| stands for the magnitudes of its two parts together.
     */
    float error;
    /* The exact values of the first k elements of a row. */
    void (*unpack)(float *ret, const void *row, size_t k);
    void (*matmul)(const struct matmul *m, uint32_t begin, uint32_t end); /* x as `input` says */
    /* Of the types that the key-value cache and adapters are kept in, else NULL. */
    void (*dot)(const struct matmul *m, uint32_t begin, uint32_t end); /* x as floats, unrounded */
    /* y[o] += Σ t[r] · rows[r][o], r ascending; the sum is formed first, then added. */
    void (*mix)(float *y, const struct mix *m);
};

/* Half a step of the largest of 32 activations, and what dividing and multiplying by it loses. */
#define ERROR_f32 0.0f
#define ERROR_f16 0x1p-11f
#define ERROR_i16 (0.5f / 32767 + 0x1p-22f)

struct kernel_set {
    const char *name; /* "avx2" */
    bool (*usable)(void);
    const struct kernel *kernels;
    size_t n;
    void (*round_f16)(float *ret, const float *x, size_t k); /* ret may be x */
    void (*quantise)(struct quants *ret, const float *x, size_t k);
};

extern const struct kernel_set kernels_generic, kernels_avx2, kernels_avx512;

/* All sets of this build that the processor runs, the fastest first; returns how many, at least 1.
 */
enum { KERNEL_SETS = 3 };
size_t kernels_usable(const struct kernel_set *ret[static KERNEL_SETS]);
/* The fastest set; the same at every call. */
const struct kernel_set *kernels_best(void);
const struct kernel *kernel_for(const struct kernel_set *set, uint32_t type); /* NULL: no row */
/* "F32, F16, …": the types of the set, for messages. */
void kernel_names(const struct kernel_set *set, char *ret, size_t size);

/* Bytes of a row of k elements; the last block of a quantised row may be partly used. */
size_t kernel_row_bytes(uint32_t type, size_t k);
/* Writes k floats as F32, F16, BF16 or Q8_0 (the key-value cache's and adapters' types). */
void kernel_pack(uint32_t type, void *row, const float *x, size_t k);
