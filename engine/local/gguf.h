/*
 * GGUF v2/v3 files over mmap (little-endian): keys and tensor descriptions, every length and offset
 * checked against the file before use. Source: the GGUF specification (ggml/docs/gguf.md).
 *
 * Immutable once opened; any thread.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stdint.h>

enum gguf_kind {
    GGUF_u8,
    GGUF_i8,
    GGUF_u16,
    GGUF_i16,
    GGUF_u32,
    GGUF_i32,
    GGUF_f32,
    GGUF_bool,
    GGUF_string,
    GGUF_array,
    GGUF_u64,
    GGUF_i64,
    GGUF_f64,
}; /* the file's own numbering */

enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2,
    TENSOR_Q4_1 = 3,
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8,
    TENSOR_Q2_K = 10,
    TENSOR_Q3_K = 11,
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_IQ4_NL = 20,
    TENSOR_IQ4_XS = 23,
    TENSOR_BF16 = 30,
    TENSOR_TQ1_0 = 34,
    TENSOR_TQ2_0 = 35,
}; /* ggml's numbering */

struct tensor_layout { /* of one type */
    const char *name;  /* "Q4_0" */
    uint32_t block;    /* elements a block */
    uint32_t block_bytes;
};
const struct tensor_layout *tensor_layout(uint32_t type); /* NULL: not known */

struct gguf_tensor {
    struct str name;
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] is contiguous (input features); unused ones are 1 */
    uint32_t type;    /* enum tensor_type, known to tensor_layout */
    const void *data; /* aligned view into the mapping */
    size_t bytes;
};

struct gguf;

/* FAILED: *reterr names file, offset and what is wrong (unprocessable_adapter's code is chosen by
 * the caller: here always invalid_request). Negative errno when the file cannot be read. */
int gguf_open(struct gguf **ret, const char *path, struct fail *reterr) MUST_USE;
int gguf_parse(struct gguf **ret, const char *name, struct str bytes,
               struct fail *reterr) MUST_USE; /* bytes outlive it */
struct gguf *gguf_close(struct gguf *g);      /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct gguf *, gguf_close);

const char *gguf_name(const struct gguf *g); /* for messages */
struct str gguf_bytes(const struct gguf *g); /* of the whole file */

/* Typed look-ups: true and *ret when the key exists with a fitting type (integers convert when in
 * range). */
bool gguf_u64(const struct gguf *g, const char *key, uint64_t *ret);
bool gguf_f32(const struct gguf *g, const char *key, float *ret);
bool gguf_bool(const struct gguf *g, const char *key, bool *ret);
bool gguf_str(const struct gguf *g, const char *key, struct str *ret);

struct gguf_array {
    enum gguf_kind kind; /* of its elements */
    uint64_t n;
    const void *data;          /* of fixed-size elements, maybe unaligned; NULL for strings */
    const struct str *strings; /* of an array of strings, owned by the gguf */
};
bool gguf_array(const struct gguf *g, const char *key, struct gguf_array *ret);
float gguf_array_f32(const struct gguf_array *a, uint64_t i);   /* of f32 and integer kinds */
int64_t gguf_array_i64(const struct gguf_array *a, uint64_t i); /* of integer kinds */

size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); /* NULL: absent */
