/*
 * Observe: what one answer teaches about the candidate that gave it.
 */
#pragma once

#include "gateway/answer.h"

/* Engine thread, before the event is handed on: keeps its time. */
void observe_event(struct choice *c, const struct engine_event *e);
/* http thread, before routing: what its conversation did before. */
void observe_conversation(struct answer *a, struct route_request *q);
/* http thread: its candidate is about to be asked. */
void observe_chosen(struct answer *a);
/* http thread: a token of the answer was rendered. */
void observe_text(struct answer *a);
/* http thread: text of a choice, in order; at its end `c->done`. The first one's is compared with
 * that of a shadow, which begins with it. */
void observe_shadow(struct choice *c, struct str text);
/* http thread, once an answer: it is complete, or has failed with `fail`. */
void observe_end(struct answer *a, const struct fail *fail);
