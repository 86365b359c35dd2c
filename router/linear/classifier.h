/*
 * A classifier of texts: features, how rare each is, weights, and the names of the classes.
 *
 * Immutable once trained and calibrated; any thread.
 */
#pragma once

#include "router/linear/linear.h"

struct background;
struct classifier;

struct classifier_example {
    struct str text; /* borrowed during training; any bytes */
    uint32_t label;  /* index of its class */
};

/*
 * Learns from examples; `labels` are the names of the o->classes classes (copied), and each name,
 * its underscores as spaces, is one more example of its class. Rarity is counted over the
 * examples; beside what is hashed stands what the words mean (router/vectors/words.h). 0, -ENOMEM,
 * or -EINVAL for no examples or a label that is no class.
 */
int classifier_train(struct classifier **ret, const struct str *labels,
                     const struct classifier_example *examples, size_t n,
                     const struct linear_options *o) MUST_USE;
/* The same with a rarity that is known, so that the classifier
 * reads vectors which others read too; its bytes must outlive the classifier. */
int classifier_train_on(struct classifier **ret, const struct background *background,
                        const struct str *labels, const struct classifier_example *examples,
                        size_t n, const struct linear_options *o) MUST_USE;
struct classifier *classifier_free(struct classifier *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct classifier *, classifier_free);

uint32_t classifier_classes(const struct classifier *c);
struct str classifier_label(const struct classifier *c, uint32_t i); /* borrowed */
/* The features of any bytes, not yet weighed; all memory is the arena's. 0 or -ENOMEM. */
int classifier_features(struct features *ret, struct str text, struct arena *arena) MUST_USE;
/* The same as a classifier on a background reads it. */
int classifier_read_text(struct features *ret, const struct background *background, struct str text,
                         struct arena *arena) MUST_USE;
/* One score a class, as linear_scores gives them; scratch from the arena. 0 or -ENOMEM. */
int classifier_scores(const struct classifier *c, struct str text, float *ret_scores,
                      struct arena *arena) MUST_USE;
/* The same as probabilities: e^(score / temperature), summing to 1. */
int classifier_probabilities(const struct classifier *c, struct str text, float *ret,
                             struct arena *arena) MUST_USE;

/*
 * The temperature by which scores of texts that were not learnt from say how likely they are right:
 * the one of the least log-loss (Guo et al., "On Calibration of Modern Neural Networks", 2017).
 * `scores` are n rows of `classes`; `y` their classes.
 */
float linear_fit_temperature(const float *scores, const uint32_t *y, size_t n, uint32_t classes);
void classifier_set_temperature(struct classifier *c, float temperature); /* 1 after training */
/* Makes class k likelier: `by` is added to its scores, before the temperature divides them. */
void classifier_add_bias(struct classifier *c, uint32_t k, float by);
