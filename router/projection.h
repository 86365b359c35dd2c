/*
 * Projections: weighted sums over signals, and named bands of them that decisions may use.
 *
 * A sum over a signal that is unknown is an interval; a band that holds for all of it is true, for
 * none of it false, else unknown.
 */
#pragma once

#include "router/signals/signals.h"

struct projections;

/* Finds a signal for an input; SIZE_MAX: undefined (a problem was added). */
typedef size_t (*resolve_fn)(void *ctx, struct str type, struct str name, const struct node *at,
                             const char *path);

struct projection_source {
    const struct node *node; /* of routing.projections; NULL: none */
    const char *path;
    struct arena *arena;
    struct problems *p;
    resolve_fn resolve;
    void *ctx;
};

/* 0 (problems may have been added) or -ENOMEM. Lives in the arena. */
int projections_new(struct projections **ret, const struct projection_source *source) MUST_USE;
size_t projections_outputs(const struct projections *p);
struct str projections_output_name(const struct projections *p, size_t i);
size_t projections_find(const struct projections *p, struct str output); /* SIZE_MAX: none */

/* The signals that an output depends on, each once for each use. */
void projections_each_signal(const struct projections *p, size_t output,
                             void (*each)(void *ctx, size_t signal), void *ctx);

/* Lets one member of each partition win, once its family is evaluated. `values` are those of all
 * signals. */
void projections_reduce(const struct projections *p, enum family f, struct signal_value *values);

/* Says what a signal is for this request. */
typedef struct signal_value (*signal_fn)(void *ctx, size_t signal);
struct signal_value projections_evaluate(const struct projections *p, size_t output, signal_fn get,
                                         void *ctx);
