/*
 * The scheduler: a thread that decodes all running sequences in one step, each row with its own
 * adapter, and admits new ones between steps.
 *
 * Each step holds one row for every decoding sequence first, then prompt rows up to the bound, so a
 * long prompt delays decoding by one bounded step at most. Waiting jobs are admitted in turn
 * (turns.h), those of one tenant first come, first served; where tenants compete, the rows of one
 * that is far ahead give way. A result never depends on what else runs: the stepper's rows are
 * independent, cache content is only reused for the same ids under the same key, and each sequence
 * has its own random numbers.
 */
#pragma once

#include "engine/local/job.h"
#include "engine/local/model.h"

struct coordinator;

struct coordinator_options {
    struct stepper *stepper; /* borrowed; outlives it */
    uint32_t slots, context, vocab;
    uint32_t spare; /* slots beside those, for tenants that have none; the stepper has them too */
    uint32_t rows;  /* of one step, at most; at least `slots` and `spare` */
    uint32_t queue; /* jobs that may wait while no slot is free */
};

/* Starts the thread. 0 or negative errno. */
int coordinator_new(struct coordinator **ret, const struct coordinator_options *o) MUST_USE;
/* Every job that has not ended is cancelled, then the thread joined. NULL is fine; returns NULL */
struct coordinator *coordinator_free(struct coordinator *c);
DEFINE_CLEANUP(struct coordinator *, coordinator_free);

/* Takes a reference of its own and sets *ret before the first event can come. FAILED: queue_full,
 * or overloaded while draining; then nothing happened. Any thread. */
int coordinator_put(struct coordinator *c, struct engine_job **ret, struct job *j,
                    struct fail *reterr) MUST_USE;
size_t coordinator_load(const struct coordinator *c, size_t *ret_running, size_t *ret_waiting);
void coordinator_drain(struct coordinator *c); /* puts fail from now on */
