/*
 * The key-value cache of a stepper: for each layer, slot and key-value head one row a position.
 *
 * Rows of one head stand together, so that a kernel reads them as it reads a weight. Different rows
 * may be written by different threads.
 */
#pragma once

#include "engine/local/kernel.h"
#include "engine/local/model.h"

struct cache {
    const struct kernel *kernel; /* of the rows: F32, F16 or Q8_0 */
    size_t row_bytes;
    size_t slot_bytes; /* of one layer and slot */
    uint32_t slots, context, kv_heads, head_size, layers;
    uint8_t *keys, *values; /* owned mappings of `bytes` each */
    size_t bytes;
};

int cache_init(struct cache *ret, const struct model *m, const struct stepper_options *o) MUST_USE;
void cache_done(struct cache *c);

static inline size_t cache_offset(const struct cache *c, uint32_t layer, uint32_t slot,
                                  uint32_t head, uint32_t position)
{
    size_t row = ((size_t)layer * c->slots + slot) * c->kv_heads + head;
    return (row * c->context + position) * c->row_bytes;
}

/* Writes one position's keys and values: kv_heads × head_size floats each. */
void cache_put(struct cache *c, uint32_t layer, uint32_t slot, uint32_t position, const float *k,
               const float *v);
void cache_copy(struct cache *c, uint32_t from, uint32_t to, uint32_t n_positions);
