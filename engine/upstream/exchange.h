/*
 * Exchange: one job of an engine behind. Picks an endpoint, tries elsewhere what failed before
 * anything was told, asks a second one when the first is slow (hedging), and tells the events of
 * the one that answers.
 *
 * Lives on one loop; only submitting, cancelling, pausing and references come from other threads.
 */
#pragma once

#include "engine/upstream/inside.h"

int exchange_submit(struct upstream *u, struct engine_job **ret, const struct engine_spec *spec,
                    struct fail *reterr) MUST_USE;
void exchange_cancel(struct engine_job *job);
void exchange_pause(struct engine_job *job, bool paused);
void exchange_unref(struct engine_job *job);
/* All of them, from engine_free. Under u->lock. */
void exchange_cancel_all(struct upstream *u);
