/*
 * Chance from a seed: the same seed draws the same numbers on every machine.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

/* A seed out of a text (FNV-1a, then mixed); never 0. */
uint64_t draw_seed(struct str text);

/* The next number of the stream (splitmix64). */
uint64_t draw_next(uint64_t *state);

/* Uniform in (0, 1), both ends excluded. */
double draw_uniform(uint64_t *state);

/* Beta(a, b) for a, b of at least 1: two gamma variates by Marsaglia and Tsang (2000). */
double draw_beta(uint64_t *state, double a, double b);
