/*
 * Keys of the learning tables: a digest over parts, each with its length, so that no two lists of
 * parts give one key. Pure.
 */
#pragma once

#include "base/sha256.h"

struct sha256 learning_key(const struct str *parts, size_t n); /* at most 8 parts */
