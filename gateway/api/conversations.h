/*
 * Conversations: items under an id, to which responses add their input and output.
 *
 * Workers only: what is kept may have to be asked of Redis.
 */
#pragma once

#include "gateway/request.h"

/* *ret: a JSON array, in the arena. FAILED: there is no such conversation of the caller's. */
int conversation_items(struct request *r, struct str id, struct str *ret,
                       struct fail *reterr) MUST_USE;
/* `items`: separated by commas. 0, or negative errno. */
int conversation_append(struct request *r, struct str id, struct str items) MUST_USE;
