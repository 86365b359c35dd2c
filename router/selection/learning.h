/*
 * Arithmetic for whoever keeps what run time learns. Pure.
 */
#pragma once

#include <stdbool.h>

/* Chance that the first of two ratings wins (Elo 1978, scale 400). */
double elo_expected(double rating, double other);

/* One comparison; `tie` takes the two as equal. The sum of the ratings stays. */
void elo_update(double *winner, double *loser, double k, bool tie);
