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

/* ---- what a linter asks: nothing of one request ---- */

struct sum_range { /* both ends included */
    double lo, hi;
};
/* The score that an output is a band of; SIZE_MAX: none. */
size_t projections_score(const struct projections *p, size_t output);
/* Whether an output holds for a sum that is known; bands before it are considered. */
bool projections_holds(const struct projections *p, size_t output, double sum);
bool projections_inside(const struct projections *p, size_t output, double sum); /* they are not */
/* The bounds of its band and of those before it: at most `max` are written, their number returned.
 */
size_t projections_bounds(const struct projections *p, size_t output, double *ret, size_t max);
/*
 * Ranges that hold every sum a score can have, ascending and apart: values of binary inputs are
 * taken in every combination while they are few, others as what they span. At most `max`, at
 * least 1.
 */
size_t projections_reach(const struct projections *p, size_t score, struct sum_range *ret,
                         size_t max);
/* Scores, and those of them that an output depends on: seen[i] is set. */
size_t projections_scores(const struct projections *p);
struct str projections_score_name(const struct projections *p, size_t score);
void projections_mark_scores(const struct projections *p, size_t output, bool *seen);
