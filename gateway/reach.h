/*
 * Reach: the engines behind, of every configuration that somebody still works with.
 *
 * A reload makes those that it changes anew, beside the old ones, and keeps the others: an engine
 * lives while a state has it, and what a new one's endpoints have in common with those of its
 * predecessor (health, ejection, latencies) it knows from the start. Connections, and the account
 * of adapters loaded at each engine, are of the process.
 */
#pragma once

#include "base/fail.h"
#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct config_model;
struct core;
struct engine;
struct reach;
struct reached; /* one of them; counted */

/* `core` is the first and outlives it. 0, negative errno. */
int reach_new(struct reach **ret, struct core *core) MUST_USE;
/* Frees them: nobody has any of them now. Blocks until their last calls have ended. NULL is fine;
 * returns NULL */
struct reach *reach_free(struct reach *r);
void reach_drain(struct reach *r); /* engine_drain of all */

/*
 * The engine of a model behind: the one that there is, where it is written just so, else a new one.
 * *ret is the caller's reference; the configuration is kept with a new one. 0, negative errno,
 * FAILED (a credential that cannot be read). One thread at a time (the one that reloads).
 */
int reach_model(struct reach *r, struct reached **ret, struct config *config,
                const struct config_model *from, struct fail *reterr) MUST_USE;
/* Any thread, at once: the last one's engine is freed by a thread of its own. NULL is fine. */
void reached_unref(struct reached *m);
struct engine *reached_engine(const struct reached *m);
uint64_t reached_since_s(const struct reached *m); /* Unix time */
bool reached_passes_keys(const struct reached *m); /* some endpoint is given the client's own */
