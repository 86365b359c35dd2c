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
};
extern const struct error_dialect error_openai;

/* {"error":{"message":…,"type":…,"param":…,"code":…}}, OpenAI's error object. */
void error_print(struct buf *b, const struct fail *fail);
