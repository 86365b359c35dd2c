/*
 * What the replay ring keeps of a routed request: decision, signals, usage, and, where the decision
 * says so, cut copies of what was asked and answered. Headers and keys are never part of it.
 */
#pragma once

#include "gateway/request.h"

enum { RECORD_ID = 40 };

/* The id of the record that the request has or will have; false: it is not kept. */
bool record_id(const struct request *r, char ret[static RECORD_ID]);

/* Keeps the start of the body as it came; before it is freed. 0 or -ENOMEM. */
int record_request(struct request *r) MUST_USE;
/* Whether the text of the answer is kept. */
bool record_wants_text(const struct request *r);
/* Text that leaves to the client. */
void record_text(struct request *r, struct str text);

/* Puts the record, once: with the reply as it is now, or as one whose client has gone. */
void record_finish(struct request *r, bool gone);
