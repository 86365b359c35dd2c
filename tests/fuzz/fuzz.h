/*
 * A fuzz target is a file with LLVMFuzzerTestOneInput, at most 25 lines of it. It runs three ways:
 * under libFuzzer
 * (`make fuzz`), over its committed corpus, and over 10,000 mutations of seed files (both in `make
 * test`).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
