/*
 * The weights of a classifier, and what makes it one of texts. Private to router/linear/.
 */
#pragma once

#include "router/linear/background.h"
#include "router/linear/classifier.h"
#include "router/vectors/words.h"

/* Hashed features, then the dimensions of the words' meaning. */
enum { LINEAR_IDS = FEATURE_BUCKETS + WORDS_WIDTH };

struct linear {
    uint32_t classes;
    uint32_t n_rows;
    uint32_t *row_of; /* by feature id, below LINEAR_IDS, from 1; 0: the feature has no weights */
    float *rows;      /* n_rows of `classes` weights */
    float *bias;      /* a class */
};

int linear_new(struct linear **ret, uint32_t classes) MUST_USE; /* no rows yet; 0 or -ENOMEM */

struct classifier {
    struct linear *linear;
    float *rarity; /* by feature id; NULL: that of `background` */
    struct background background;
    float temperature;
    uint32_t n;
    struct arena *arena; /* of the labels */
    struct str *labels;
};

/*
 * Fills the rows, which are 0, with naive Bayes' weights: the logarithm of how much likelier a
 * hashed feature is inside a class than outside it (Rennie et al., "Tackling the Poor Assumptions
 * of Naive Bayes Text Classifiers", 2003).
 */
void linear_naive_bayes(struct linear *l, const struct linear_example *examples, size_t n);
