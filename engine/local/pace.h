/*
 * What a step costs: a + b·rows, fitted to the latest steps by least squares with forgetting.
 *
 * One thread.
 */
#pragma once

#include <stdint.h>

struct pace {
    double weight, rows, us, rows_rows, rows_us; /* decayed sums */
    double fixed_us, row_us;                     /* the fit; row_us 0: not known yet */
};

void pace_note(struct pace *p, uint32_t rows, uint64_t us);
/* Rows that would make a step of `rows` longer by at most `share` of itself. */
uint32_t pace_extra(const struct pace *p, uint32_t rows, double share);
/* Rows of a step whose variable part is at most `us`, or the fixed part where that is more:
 * UINT32_MAX while nothing is known. */
uint32_t pace_rows(const struct pace *p, uint64_t us);
