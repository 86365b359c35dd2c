/*
 * Failures in the dialect of the OpenAI API. The only place that renders one.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"

/* {"error":{"message","type","param","code"}} */
void error_print(struct buf *b, const struct fail *fail);
