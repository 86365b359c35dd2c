/*
 * How a failure looks on the wire.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"

/* A wire API's own way. */
struct error_dialect {
    unsigned (*status)(const struct fail *fail);
    /* The whole body, or what an error event of a stream holds. */
    void (*print)(struct buf *b, const struct fail *fail, const char *request_id);
    const char *id_header; /* has the request's id beside x-request-id; NULL: none */
};
extern const struct error_dialect error_openai;
/* The same where what is asked is called input, as the Responses API has it. */
extern const struct error_dialect error_responses;
/* {"type":"error","error":{"type":…,"message":…},"request_id":…}; 503 is 529 there. */
extern const struct error_dialect error_anthropic;

/* {"error":{"message":…,"type":…,"param":…,"code":…}}, OpenAI's error object. */
void error_print(struct buf *b, const struct fail *fail);
