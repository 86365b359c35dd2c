/*
 * Vectors of a GGUF encoder as features, for measuring linear classifiers on them. Ends the program
 * with a message on any failure.
 */
#pragma once

#include "router/linear/text_features.h"

struct engine;

struct engine *encode_open(const char *path); /* to be freed by engine_free */
/* The vector of any bytes, ids counting from 0; of a text that is too long for the model, of as
 * much of its begin as fits. Both arrays are the caller's, to be freed by free. */
void encode_text(struct engine *e, struct str whole, struct features *ret);
