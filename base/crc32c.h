/*
 * CRC-32C (Castagnoli; RFC 3720, appendix B.4): notices damage of files, no forgery.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of `n` bytes behind those whose sum is `crc`; 0 at the begin. Pure; any thread. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
