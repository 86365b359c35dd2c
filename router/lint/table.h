/* Texts to numbers: 0, 1, 2 … in the order they come. Grows; lives in an arena. */
#pragma once

#include "base/arena.h"

struct table {
    struct arena *arena;
    const struct str **slots; /* of the power of two `cap`; the number follows the text */
    size_t n, cap;
};

/* The number of a text; a new one gets the next (and *ret_new is set). SIZE_MAX: no memory. */
size_t table_intern(struct table *t, struct str text, bool *ret_new);
size_t table_find(const struct table *t, struct str text); /* SIZE_MAX: none */
