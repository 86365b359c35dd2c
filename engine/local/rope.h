/*
 * How far each position turns the pairs of a head, out of a model's keys and tensors: plain, linear
 * and YaRN scaling, Llama 3's factors, long-context factors (longrope). Private to engine/local.
 */
#pragma once

#include <stdint.h>

struct loader;
struct model;

struct rope {
    double *steps;   /* owned; rope_dims / 2 angles of one position; NULL: the model has none */
    float magnitude; /* of the rotated vectors: factor of cosine and sine */
};

/*
 * Fills the model's rope_dims, rope_base, ropes, long_rope and long_above out of the loader's file;
 * its window and head size are known before. FAILED: a scaling that is not drawn here, by name.
 * Sources: YaRN (arXiv 2309.00071), LongRoPE (arXiv 2402.13753); magnitudes and the choice of the
 * long factors by the size of the context are llama.cpp's.
 */
int rope_load(struct loader *l);
void rope_done(struct rope *r);

/* The rope of layers that see everything (k 0) or a window only (k 1), where sequences may have
 * `context` positions. */
const struct rope *rope_of(const struct model *m, uint32_t k, uint32_t context);
