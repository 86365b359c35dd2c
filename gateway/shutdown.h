/*
 * Answers that the end of the drain time cuts: their clients are told.
 *
 * http thread.
 */
#pragma once

#include "gateway/answer.h"

/* Nothing was sent yet: 503 to a client that waits; closed where it left. */
enum next shutdown_reply(struct answer *a);
/* A stream ends with an error behind what was rendered, once. */
void shutdown_tell(struct answer *a);
