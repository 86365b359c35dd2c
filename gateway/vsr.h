/*
 * The response headers of the policy language: how an answer came about, and with `x-vsr-debug:
 * true` which signals led there.
 */
#pragma once

#include "gateway/request.h"

/* Whether the client asked for the long set. */
bool vsr_debug(const struct request *r);

struct str
vsr_path(const struct request *r); /* "upstream", "blocked", …; of a request with an answer */

/* Adds them to the reply of a request that generates; its status is set. Once, before it is sent.
 */
void vsr_headers(struct request *r);
