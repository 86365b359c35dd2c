/*
 * The memory of a computation as one block: a list of placements, walked twice, first to count
 * bytes and then to hand them out. Private to engine/local.
 */
#pragma once

#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>

struct layout {
    uint8_t *block; /* NULL while bytes are counted */
    size_t used;
    bool overflow;
};

struct rows {      /* of floats, one a row of the step */
    float *data;   /* in the block */
    float **at;    /* at[i]: row i */
    size_t stride; /* floats */
};

/* n elements of `size` bytes, on a cache line of their own; NULL while counting. */
void *layout_place(struct layout *l, size_t n, size_t size);
void layout_rows(struct layout *l, struct rows *r, uint32_t n, size_t width);
/* Rows that begin `offset` floats into those of `of`. */
void layout_view(struct layout *l, struct rows *r, uint32_t n, const struct rows *of,
                 size_t offset);

/* n rows of `width` activations as integers (kernel.h); (*ret)[i]: row i. */
struct quants;
void layout_quants(struct layout *l, struct quants ***ret, uint32_t n, size_t width);

/* Calls place(owner, …) twice. The block is zeroed, and paged in when touched. 0 or -ENOMEM. */
int layout_allocate(uint8_t **ret_block, size_t *ret_bytes,
                    void (*place)(void *owner, struct layout *l), void *owner) MUST_USE;
void layout_free(uint8_t *block, size_t bytes); /* NULL is fine */
