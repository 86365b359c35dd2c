/*
 * One call to an engine behind whose caller waits: what is neither streamed nor long.
 */
#pragma once

#include "engine/upstream/inside.h"

struct upstream_ask {
    struct str tenant, request_id;
    const struct chat_pair *headers; /* of the client's request */
    size_t n_headers;
    bool is_relay; /* an engine without that path is told as FAIL_unsupported_parameter */
    /* Writes the call for the job's endpoint. 0, negative errno, FAILED: not served there. */
    int (*write)(void *ctx, const struct provider *p, struct provider_call *call,
                 const struct provider_job *job, struct fail *reterr);
    /* Reads an answer of status 200; all is borrowed during the call. 0, negative errno, FAILED. */
    int (*read)(void *ctx, const struct provider *p, const struct provider_job *job,
                struct str body, struct fail *reterr);
    void *ctx;
};

/*
 * Asks one endpoint after another, within the retry budget, until one answers. Blocks: not on http
 * threads and not on loops. FAILED: the last one's failure; *ret_status (may be NULL) and *ret_body
 * (may be NULL, appended) are its refusal's, where it has refused.
 */
int upstream_call(struct upstream *u, const struct upstream_ask *ask, unsigned *ret_status,
                  struct buf *ret_body, struct fail *reterr) MUST_USE;
