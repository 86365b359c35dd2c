/*
 * Stored outputs of another implementation (../shared/engine/ref) and the models that they are of.
 */
#pragma once

#include "tests/golden/decode.h"

#include <jansson.h>

enum reference_kind { REFERENCE_exact, REFERENCE_quantised };

struct reference_model {
    const char *name; /* "stories260K.q4_0" */
    enum reference_kind kind;
    double logit;  /* how far a logit may be from that of the nearest reference */
    double margin; /* a greedy choice may differ where the stored first and second are nearer */
};

/* The table of all of them; *ret_n rows. */
const struct reference_model *reference_models(size_t *ret_n);

/* The model's file, or NULL: neither in shared nor among the random models that were made here
 * (random_models.sh). Static ring of paths. */
const char *reference_model_path(const struct reference_model *m);
/* Prints why a model's case is skipped, and leaves it. */
void reference_skip(const struct reference_model *m);

/* A JSON file below shared/engine ("ref/dequant"), new reference; NULL: absent. */
json_t *reference_load(const char *folder, const struct reference_model *m);
json_t *reference_need(const char *folder, const struct reference_model *m); /* fails without it */
size_t reference_ids(const json_t *list, int32_t *ret, size_t max);
/* The adapter's file in that form (".gguf" or "" for a PEFT folder), or NULL. */
const char *reference_adapter_path(const struct reference_model *m, const char *adapter,
                                   const char *ending);

/* The largest difference between logits that both files store of the same prompts: what the order
 * of sums and the rounding of activations cost the reference itself. */
double reference_spread(const json_t *a, const json_t *b);
