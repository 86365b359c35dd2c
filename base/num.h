/*
 * Numbers from outside, and sums that must not wrap.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stdint.h>

/* All: whole text, no blanks around. 0, -EINVAL (not a number) or -ERANGE (outside [min, max]). */
int num_parse_u64(uint64_t *ret, struct str s, uint64_t min, uint64_t max) MUST_USE;
int num_parse_i64(int64_t *ret, struct str s, int64_t min, int64_t max) MUST_USE;
int num_parse_double(double *ret, struct str s, double min, double max) MUST_USE; /* finite only */
/* "512", "64KiB", "10GiB", "5MB" (KB, MB, GB, TB are powers of 1000) → bytes. */
int num_parse_bytes(uint64_t *ret, struct str s, uint64_t min, uint64_t max) MUST_USE;
/* "250ms", "10s", "5m", "2h", "1d", "0" → milliseconds; a bare number is seconds. */
int num_parse_duration(uint64_t *ret_ms, struct str s, uint64_t min_ms, uint64_t max_ms) MUST_USE;

static inline bool mul_ok(size_t a, size_t b, size_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

static inline bool add_ok(size_t a, size_t b, size_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}
