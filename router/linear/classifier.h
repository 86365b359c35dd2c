/*
 * A classifier of texts: features, how rare each is, weights, and the names of the classes.
 *
 * Immutable once trained; any thread.
 */
#pragma once

#include "router/linear/linear.h"

struct classifier;

struct classifier_example {
    struct str text; /* borrowed during training; any bytes */
    uint32_t label;  /* index of its class */
};

/*
 * Learns from examples; `labels` are the names of the o->classes classes (copied), and each name,
 * its underscores as spaces, is one more example of its class. Rarity is counted over the
 * examples. 0, -ENOMEM, or -EINVAL for no examples or a label that is no class.
 */
int classifier_train(struct classifier **ret, const struct str *labels,
                     const struct classifier_example *examples, size_t n,
                     const struct linear_options *o) MUST_USE;
struct classifier *classifier_free(struct classifier *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct classifier *, classifier_free);

uint32_t classifier_classes(const struct classifier *c);
struct str classifier_label(const struct classifier *c, uint32_t i); /* borrowed */
/* One score a class, as linear_scores gives them; scratch from the arena. 0 or -ENOMEM. */
int classifier_scores(const struct classifier *c, struct str text, float *ret_scores,
                      struct arena *arena) MUST_USE;
