/*
 * A quick 64-bit hash of bytes: for tables and for choosing alike on every machine of one byte
 * order. Not for what others must not be able to make collide: that is sha256.h.
 *
 * Sixteen bytes a step, by the folded product of wyhash (Wang Yi,
 * https://github.com/wangyi-fudan/wyhash).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Any thread; pure. The hash of one piece may seed that of the next. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
