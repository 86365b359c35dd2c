/*
 * Kernels: the arithmetic of each tensor type over F32 activations.
 *
 * A set is one implementation for one instruction set; a row of it serves one tensor type. The sum
 * of a dot product runs over K in one order whatever the number of rows, so a row's result does not
 * depend on what else is in the batch. Pure; any thread.
 */
#pragma once

#include "engine/local/gguf.h"

/* y[i][o] = Σ w[o][k] · x[i][k] for o in [begin, end) of the call. */
struct matmul {
    const void *w;         /* rows of k elements of the kernel's type */
    size_t w_stride;       /* bytes from row to row */
    uint32_t k;            /* elements summed */
    const float *const *x; /* n rows of k floats, any alignment */
    float *const *y;       /* n rows, indexed by the weight's row */
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

/* How a type wants its activations; the step prepares each form once for all who read it. */
enum kernel_input {
    INPUT_f32,
    INPUT_f16, /* floats rounded to F16 first, as llama.cpp multiplies F16 weights */
};

struct kernel {
    uint32_t type; /* enum tensor_type */
    enum kernel_input input;
    /* The exact values of the first k elements of a row. */
    void (*unpack)(float *ret, const void *row, size_t k);
    void (*matmul)(const struct matmul *m, uint32_t begin, uint32_t end);
    /* y[o] += Σ t[r] · rows[r][o], r ascending; the sum is formed first, then added. */
    void (*mix)(float *y, const struct mix *m);
};

struct kernel_set {
    const char *name; /* "avx2" */
    bool (*usable)(void);
    const struct kernel *kernels;
    size_t n;
    void (*round_f16)(float *ret, const float *x, size_t k); /* ret may be x */
};

extern const struct kernel_set kernels_generic, kernels_avx2;

/* The fastest set that this processor runs; the same at every call. */
const struct kernel_set *kernels_best(void);
const struct kernel *kernel_for(const struct kernel_set *set, uint32_t type); /* NULL: no row */
/* "F32, F16, …": the types of the set, for messages. */
void kernel_names(const struct kernel_set *set, char *ret, size_t size);

/* Bytes of a row of k elements; the last block of a quantised row may be partly used. */
size_t kernel_row_bytes(uint32_t type, size_t k);
/* Writes k floats as F32, F16 or Q8_0 (the key-value cache's types). */
void kernel_pack(uint32_t type, void *row, const float *x, size_t k);
