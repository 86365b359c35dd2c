/*
 * What the process learns about its candidates while it runs. Lives as long as the process: a
 * reload of the policy forgets nothing. Any thread.
 */
#pragma once

#include "gateway/learning/observed.h"

struct learning {
    struct observed *observed;
};

int learning_new(struct learning **ret) MUST_USE;
struct learning *learning_free(struct learning *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct learning *, learning_free);
