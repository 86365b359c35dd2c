/*
 * Vectors of examples, kept as long as the space: rules of several profiles share examples, and a
 * model's forward is made once for each. Private to router/vectors/.
 */
#pragma once

#include "base/sha256.h"
#include "router/vectors/space.h"

struct memory;

int memory_new(struct memory **ret) MUST_USE; /* 0 or a negative errno */
struct memory *memory_free(struct memory *m); /* NULL is fine; returns NULL */

/* Any thread. NULL: not kept. It stays until the memory is freed. */
const struct text_vector *memory_find(struct memory *m, const struct sha256 *digest);
/* Keeps a copy, and returns it or the one that another thread kept meanwhile; NULL: no memory. */
const struct text_vector *memory_keep(struct memory *m, const struct sha256 *digest,
                                      const struct text_vector *v);
