/*
 * A classifier as a file, read where it lies: weights in eight bits, of the strongest features.
 *
 * It reads vectors of background_features. Immutable; any thread.
 */
#pragma once

#include "router/linear/background.h"
#include "router/linear/classifier.h"

struct classifier_file;

/*
 * Checks every length and number against `bytes`, which must outlive it. `name` is for messages.
 * 0, -ENOMEM, or FAILED with *reterr.
 */
int classifier_file_open(struct classifier_file **ret, const char *name, struct str bytes,
                         struct fail *reterr) MUST_USE;
struct classifier_file *classifier_file_close(struct classifier_file *c); /* NULL is fine */
DEFINE_CLEANUP(struct classifier_file *, classifier_file_close);

uint32_t classifier_file_classes(const struct classifier_file *c);
struct str classifier_file_label(const struct classifier_file *c, uint32_t i); /* borrowed */
uint32_t classifier_file_rows(const struct classifier_file *c); /* features that have weights */
/* The class of that name; -1: none. */
int classifier_file_find(const struct classifier_file *c, struct str label);

/* One score a class, over its temperature: what a softmax turns into probabilities. */
void classifier_file_scores(const struct classifier_file *c, const struct features *x,
                            float *ret_scores);
/* Probabilities, summing to 1. */
void classifier_file_read(const struct classifier_file *c, const struct features *x, float *ret);

/*
 * Appends a file of at most max_bytes: only the strongest features that fit. The classifier must
 * have been trained on a background. 0, -ENOMEM, -EMSGSIZE (the buffer's ceiling), -E2BIG (not even
 * without features) or -EINVAL (trained without a background).
 */
int classifier_file_write(const struct classifier *c, size_t max_bytes, struct buf *out) MUST_USE;
