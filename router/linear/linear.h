/*
 * Linear classifiers over the features of a text: trained from examples in milliseconds, and read
 * in microseconds.
 *
 * A trained classifier is immutable; any thread.
 */
#pragma once

#include "router/linear/text_features.h"

struct linear;

struct linear_example {
    const struct features *x; /* weighed; borrowed during training */
    uint32_t y;               /* class */
};

enum linear_loss {
    LINEAR_softmax, /* multinomial logistic regression: scores are log-odds among the classes */
    LINEAR_hinge,   /* one against all others, squared hinge: scores are margins */
};

struct linear_options {
    enum linear_loss loss;
    uint32_t classes;
    double cost; /* of an error, against the squared length of the weights (LIBLINEAR's C) */
    uint32_t iterations; /* of the solver, at most */
    /* Where the weights start and are drawn to: naive Bayes', so strong that their scores of the
     * examples deviate by this; 0: from nothing. */
    double prior;
};

enum { LINEAR_COST_SOFTMAX = 40, LINEAR_COST_HINGE = 1 }; /* that suit vectors of length 1 */
/* What suits n examples: softmax for few of a class, hinge for many. */
struct linear_options linear_options_for(uint32_t classes, size_t n);

/*
 * Minimises ½|W - prior|² + cost · Σ loss by L-BFGS (Liu and Nocedal, "On the limited memory BFGS
 * method", 1989), from the prior: the same examples give the same weights. 0, -ENOMEM, or -EINVAL
 * for no examples.
 */
int linear_train(struct linear **ret, const struct linear_example *examples, size_t n,
                 const struct linear_options *o) MUST_USE;
struct linear *linear_free(struct linear *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct linear *, linear_free);

uint32_t linear_classes(const struct linear *l);
/* One score a class. */
void linear_scores(const struct linear *l, const struct features *x, float *ret_scores);
/* In place: e^(s / temperature), summing to 1. */
void linear_softmax(float *scores, uint32_t n, float temperature);
