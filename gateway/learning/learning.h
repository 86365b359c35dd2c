/*
 * What the process learns about its candidates while it runs. Lives as long as the process: a
 * reload of the policy forgets nothing. Any thread.
 */
#pragma once

#include "gateway/learning/observed.h"
#include "gateway/learning/outcomes.h"
#include "gateway/learning/sessions.h"

struct learning_file;

struct learning {
    struct observed *observed;
    struct outcomes *outcomes;
    struct sessions *sessions;
    struct learning_file *file;
};

int learning_new(struct learning **ret) MUST_USE;
struct learning *learning_free(struct learning *l); /* saves; NULL is fine; returns NULL */
DEFINE_CLEANUP(struct learning *, learning_free);

/*
 * Outcomes are read from this file now, and written to it from now on; only the first call counts.
 * One that is not there yet is empty. FAILED: it cannot be read, or is no file of outcomes.
 */
int learning_use_file(struct learning *l, struct str path, struct fail *reterr) MUST_USE;
/* Writes what changed, at most once in a second; does not return before. Not on http threads. */
void learning_save(struct learning *l);
