/*
 * Inputs of all callers in shared steps: each caller hands in tasks and waits; one of those who
 * wait leads, fills a step with tasks of all calls in turn, and computes it.
 *
 * Any thread that may block. A task belongs to its caller; results are written where it says.
 */
#pragma once

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the states of a sequence's rows become one vector; the files' own numbering. */
enum pooling { POOLING_none, POOLING_mean, POOLING_cls, POOLING_last, POOLING_rank };

enum embed_output {
    EMBED_vector, /* pooled final state; `width` floats */
    EMBED_scores, /* of the sequence head; one float a label */
    EMBED_tokens, /* of the token head; n rows of one float a label */
};

struct embed_task {
    const int32_t *ids; /* borrowed; each one below the vocabulary's size */
    uint32_t n;         /* at least 1, at most `longest` */
    enum embed_output output;
    float *out;  /* borrowed; zeroed by the caller */
    uint32_t at; /* rows computed so far; of the backend, like the next two */
    uint32_t slot;
    bool done;
    struct embed_call *call; /* of the queue */
};

/* What computes. Called by one thread at a time. */
struct embed_backend {
    void *owner;
    uint32_t tasks; /* of one step, at most */
    uint32_t rows;  /* of all tasks of a step, at most; a first task is taken whatever its size */
    /* Moves the tasks on and sets `done` of those that are finished; others come again, in their
     * order, maybe with new ones behind them. A negative errno ends them all. */
    int (*step)(void *owner, struct embed_task *const *tasks, size_t n);
};

struct embed_queue;

/* `calls`: that may be there at once, with those that are computed. 0 or negative errno. */
int embed_queue_new(struct embed_queue **ret, const struct embed_backend *backend,
                    size_t calls) MUST_USE;
/* Waits for the calls that are inside; none may begin. NULL is fine; returns NULL */
struct embed_queue *embed_queue_free(struct embed_queue *q);
DEFINE_CLEANUP(struct embed_queue *, embed_queue_free);

/* Returns when all n tasks are done. FAILED: queue_full, or overloaded while draining. Negative
 * errno: of the backend. */
int embed_queue_run(struct embed_queue *q, struct embed_task *tasks, size_t n,
                    struct fail *reterr) MUST_USE;
void embed_queue_drain(struct embed_queue *q); /* calls fail from now on */
/* Calls inside: with a task in a step, and without. */
void embed_queue_load(struct embed_queue *q, size_t *ret_running, size_t *ret_waiting);
