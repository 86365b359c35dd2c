/*
 * Many greedy sequences at once, for tests: prompts in, ids and margins out.
 */
#pragma once

#include "engine/local/lora.h"

struct decode_job {
    const int32_t *prompt;
    size_t n_prompt;
    const struct lora *lora; /* NULL: the base */
    size_t n_wanted;
    int32_t *ids;  /* n_wanted, filled */
    float *logits; /* vocab floats at the last prompt position; NULL: not wanted */
};

/* Runs all jobs, `slots` of them in each batch, with prompts cut into steps of at most `chunk`
 * rows. */
void decode_all(const struct model *m, struct decode_job *jobs, size_t n, uint32_t slots,
                uint32_t chunk);
int32_t decode_best(const float *logits, uint32_t n);
struct model *decode_model(const char *path); /* fails the test when it does not load */
