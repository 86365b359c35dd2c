/*
 * What a request does whose adapter is not in memory, and what requests say that they will want.
 *
 * The request's header goes before the route's options, those before the configuration:
 *
 *     x-rootstock-cold: wait|base|fail[; max-wait=5s]
 *     x-rootstock-prefetch: sql, demo:json@canary
 */
#pragma once

#include "gateway/request.h"

struct cold {
    enum on_cold what;
    uint64_t wait_ms;
    bool base_when_late; /* after wait_ms: the base, else a failure */
};

/* FAILED (invalid_request) for a header that says something else. */
int cold_policy(const struct request *r, const struct route *route, struct cold *ret,
                struct fail *reterr) MUST_USE;
uint64_t cold_deadline_ms(const struct request *r, const struct cold *c);
/* Whether the bare base answers in place of the adapter that failed so. */
bool cold_takes_base(const struct cold *c, const struct fail *fail);
/* Passes the prefetch header on; names that are none, or unknown, are left out. */
void cold_hints(const struct request *r, struct str viewer);
