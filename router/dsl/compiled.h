/* The inside of a compiled source. */
#pragma once

#include "base/arena.h"
#include "router/dsl/dsl.h"

struct dsl {
    struct arena *arena;
    const struct node *root;
    struct dsl_test *tests;
    size_t n_tests, cap_tests;
};
