/*
 * Time. Deadlines are absolute milliseconds of the monotonic clock, carried by value.
 */
#pragma once

#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX /* a deadline that does not come */

uint64_t clock_ms(void);      /* monotonic */
uint64_t clock_us(void);      /* monotonic */
uint64_t clock_ns(void);      /* monotonic */
uint64_t clock_wall_s(void);  /* Unix time */
uint64_t clock_wall_ms(void); /* Unix time */
