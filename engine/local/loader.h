/*
 * Reading a model out of its GGUF: keys and tensors, each checked against what the graph expects;
 * shared by the decoders (model.c) and the encoders (encoder_load.c). Private to engine/local.
 *
 * Every refusal names the file and the key or tensor. One thread.
 */
#pragma once

#include "engine/local/embed_queue.h"
#include "engine/local/model_impl.h"

struct loader {
    const struct gguf *gguf;
    const struct kernel_set *kernels;
    const char *prefix; /* of the architecture's keys: its name */
    struct fail *reterr;
    size_t used;     /* tensors taken */
    bool *taken;     /* by tensor, set for those that were asked for; may be NULL */
    struct model *m; /* what model.c fills; NULL for encoders, like the next */
    const struct architecture *arch;
};

enum { LOADER_NAME = 128 }; /* bytes of a key's or a tensor's name, at most */

/* Returns FAILED. */
int loader_refuse(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "PREFIX.key", in buf. */
const char *loader_key(const struct loader *l, char buf[static LOADER_NAME], const char *key);
/* A number of 1 … max, or a list of one such number for all layers. `absent` is the value of a
 * missing key; UINT64_MAX: the key must be there.
 */
int loader_uint(struct loader *l, uint32_t *ret, const char *key, uint64_t max,
                uint64_t absent) MUST_USE;
/* A finite number above 0; absent NAN: the key must be there. */
int loader_float(struct loader *l, float *ret, const char *key, float absent) MUST_USE;

/* out 0: as many rows as the tensor has. The weight is a view. */
int loader_weight(struct loader *l, struct weight *ret, const char *name, uint32_t in,
                  uint32_t out) MUST_USE;
/* n floats that the caller frees; *ret is untouched where the tensor is absent and not required. */
int loader_vector(struct loader *l, float **ret, const char *name, uint32_t n,
                  bool required) MUST_USE;
/* How states become a vector; `absent` where the file says nothing. */
int loader_pooling(struct loader *l, enum pooling *ret, const char *key,
                   enum pooling absent) MUST_USE;
