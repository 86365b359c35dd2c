/*
 * safetensors files: a JSON header of names, types, shapes and offsets, then the bytes. Every
 * number is checked: tensors lie inside the file, do not overlap and leave no hole.
 *
 * Immutable once parsed; any thread. Source: the safetensors format description.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stdint.h>

enum { SAFETENSOR_DIMS = 8 };

struct safetensor {
    struct str name, dtype; /* "F32"; owned by the safetensors */
    uint32_t n_dims;
    uint64_t dims[SAFETENSOR_DIMS]; /* row-major: the last one is contiguous */
    const void *data;               /* view into the bytes, any alignment */
    size_t bytes;
};

struct safetensors;

/* FAILED (unprocessable_adapter): *reterr names file and tensor. `name` and `bytes` outlive it. */
int safetensors_parse(struct safetensors **ret, const char *name, struct str bytes,
                      struct fail *reterr) MUST_USE;
struct safetensors *safetensors_free(struct safetensors *s);
DEFINE_CLEANUP(struct safetensors *, safetensors_free);

size_t safetensors_n(const struct safetensors *s);
const struct safetensor *safetensors_at(const struct safetensors *s, size_t i); /* by offset */
