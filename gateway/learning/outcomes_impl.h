/*
 * What the file of outcomes reads and writes. Private to gateway/learning/.
 */
#pragma once

#include "gateway/learning/outcomes.h"

struct record {
    char *names; /* owned: decision ("": over all), model, adapter, each with its NUL */
    struct outcome_counts counts;
    uint64_t at_s; /* of their decay */
};

struct user_record {
    double successes, failures;
    uint64_t at_s;
};

struct str record_name(const struct record *r, size_t i); /* decision, model, adapter */

/* Each record, then each user's, under the lock; `fn` must not call back. */
typedef void (*outcomes_fn)(void *ctx, const struct record *r, const struct sha256 *user,
                            const struct user_record *u);
void outcomes_each(struct outcomes *o, outcomes_fn fn, void *ctx);
int outcomes_put(struct outcomes *o, const struct outcome_of *w,
                 const struct outcome_counts *counts, uint64_t at_s) MUST_USE;
int outcomes_put_user(struct outcomes *o, const struct sha256 *key,
                      const struct user_record *from) MUST_USE;
