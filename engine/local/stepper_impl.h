/*
 * A step's memory. Private to stepper.c (memory, rows, driver) and forward.c (the graph).
 */
#pragma once

#include "engine/local/cache.h"
#include "engine/local/layout.h"
#include "engine/local/model_impl.h"
#include "engine/local/team.h"

struct step_entry { /* a row of the running step, in the order of its adapter */
    int32_t token;
    uint32_t position, slot;
};

struct step_group { /* rows that share an adapter and its scale stand together */
    const struct lora *lora;
    float scale;
    uint32_t first, n;
};

enum { SHARED_INPUTS = 3 }; /* q, k, v read the same rows */

struct stepper {
    const struct model *model;
    struct stepper_options options;
    struct team *team;
    struct cache cache;
    uint8_t *block; /* owned mapping that all below point into */
    size_t block_bytes;
    struct rows residual, normed, q, k, v, attended, gate, up, projected, logits;
    struct rows rounded;            /* a copy of a linear's input, rounded to F16 */
    struct quants **quantised;      /* and one in integers; row by row */
    struct rows low[SHARED_INPUTS]; /* A x, of each linear that shares an input */
    /* k and v lie behind q in its rows, up behind gate: a fused linear writes them in one go */
    const struct rope *ropes[ROPES]; /* of the model, for this context */
    float *angles;                   /* rows × ROPES × rope_dims: cosine and sine of each pair */
    float *member_scratch;           /* team × member_floats */
    size_t member_floats;
    size_t score_floats; /* of one query, within a member's scratch */
    struct step_entry *entries;
    struct step_group *groups;
    uint32_t *group_of;       /* by the caller's row */
    uint32_t *wanted;         /* rows whose logits are wanted, in the caller's order */
    const void **wanted_rows; /* their final activations, as the output matrix reads them */
    uint32_t n, n_groups, n_wanted;
};

/* Computes the step that the entries, groups and wanted rows describe. */
void forward(struct stepper *s);
