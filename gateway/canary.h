/*
 * Canary: compares what a canary revision does with what `prod` does, and takes it back where it
 * does worse.
 *
 * Both get their requests by a hash of who asks, so they differ by chance only. Over a sliding
 * window three things are tested, each against the bound of the configuration: the error rates (two
 * proportions, with the added success and failure of Agresti and Caffo 2000), and the means of the
 * logarithms of first-token time and time per token (Welch 1947). They are tested after every
 * request, so the bound on the test statistic grows with the iterated logarithm of their number
 * (a union over the doublings of the sample; Howard, Ramdas, McAuliffe, Sekhon 2021): looking often
 * does not make a good canary fail.
 */
#pragma once

#include "adapters/adapters.h"

struct canaries;

/* Sums over the requests of one revision. */
struct canary_times {
    uint64_t n;
    double sum, squares; /* of natural logarithms */
};
struct canary_tally {
    uint64_t requests, errors;
    struct canary_times first_token, token;
};

/* One request that has ended. Times in milliseconds; negative: there is none. */
struct canary_sample {
    bool failed; /* and its revision, or what serves it, is to blame */
    double first_token_ms, token_ms;
};

void canary_count(struct canary_tally *t, const struct canary_sample *s);

enum canary_worse { CANARY_fine, CANARY_errors, CANARY_first_token, CANARY_token, CANARY_VERDICTS };
/* Pure. `why` says it in a sentence, where it is worse. */
enum canary_worse canary_judge(const struct canary_tally *canary, const struct canary_tally *prod,
                               const struct config_canary *rule, char why[static 160]);

/* The adapters are borrowed. Starts the thread that takes canaries back. */
int canaries_new(struct canaries **ret, struct adapters *a) MUST_USE;
struct canaries *canaries_free(struct canaries *c); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct canaries *, canaries_free);

/*
 * A request for `prod` has ended on the revision that t->revision names. Any thread, never blocks:
 * a canary that is worse is taken back soon, once.
 */
void canaries_note(struct canaries *c, const struct adapter_trial *t, const struct canary_sample *s,
                   const struct config_canary *rule, uint64_t now_ms);
