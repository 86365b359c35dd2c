/*
 * Learning a selector from measured examples: texts, and what each model's answer was worth.
 *
 * The same examples and seed give the same selector. One thread.
 */
#pragma once

#include "router/selection/learned/learned.h"

struct learned_examples {
    size_t n;
    const struct str *models; /* names */
    uint32_t n_models;
    const float *scores; /* n × n_models, 0…1; below 0: not measured */
    const float *x;      /* n × dims: learned_features */
    uint32_t width, dims;
};

struct learned_options {
    enum learned_kind kind;
    uint32_t clusters; /* of kmeans */
    double gamma;      /* of svm's radial functions; 0: linear */
    double cost;       /* of svm: of an error against the length of the weights */
    uint32_t hidden;   /* of mlp */
    uint32_t epochs;   /* of svm and mlp */
    uint64_t seed;
};
extern const struct learned_options learned_default;

/* At most LEARNED_ROWS examples. *ret lives in the arena, without its probe. 0, -EINVAL (none,
 * or too many) or -ENOMEM. */
int learned_train(struct learned *ret, const struct learned_examples *e,
                  const struct learned_options *o, struct arena *arena) MUST_USE;
