/*
 * The compute team: threads that share one piece of work at a time, cut into numbered parts.
 *
 * Which member runs a part never matters to its result. One thread at a time (the driver) calls
 * team_run; it works too, so a team of one has no other thread. Members spin for microseconds
 * between pieces of work, then park.
 */
#pragma once

#include "base/own.h"

#include <stdint.h>

struct team;

/* member: 0 … team_size - 1, for scratch memory of its own. */
typedef void team_part(void *arg, uint32_t part, uint32_t member);

int team_new(struct team **ret, uint32_t size) MUST_USE; /* including the driver; 0: one a core */
struct team *team_free(struct team *t);                  /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct team *, team_free);
uint32_t team_size(const struct team *t);

/* Runs part 0 … n - 1 and returns when all are done. */
void team_run(struct team *t, team_part *run, void *arg, uint32_t n);
/* The same for work of that many multiply-adds in all: where waking the others does not pay, the
 * caller runs every part. */
void team_run_work(struct team *t, team_part *run, void *arg, uint32_t n, uint64_t work);
/* How to cut the outputs of a matrix: outputs of a part, so that a member has several parts, each
 * worth taking, of whole tiles. */
uint32_t team_chunk(const struct team *t, uint64_t outputs, uint64_t work);
