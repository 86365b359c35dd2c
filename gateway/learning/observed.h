/*
 * What the gateway saw of its candidates: latencies, where adapters came from, which prompts they
 * answered. A candidate is a base and an adapter as the policy names them. Any thread; one lock.
 */
#pragma once

#include "gateway/learning/latencies.h"
#include "gateway/learning/prefixes.h"

struct observed;
int observed_new(struct observed **ret) MUST_USE;
struct observed *observed_free(struct observed *o); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct observed *, observed_free);

struct observation {
    double ttft_ms, tpot_ms;     /* below 0: not measured */
    bool staged;                 /* its adapter's files are on this machine's disk now */
    const struct prefix *prefix; /* NULL: not known */
};
void observed_add(struct observed *o, struct str model, struct str adapter,
                  const struct observation *x);

struct observed_state {
    uint32_t samples_ttft, samples_tpot;
    double ttft_ms, tpot_ms; /* at the percentiles asked for */
    bool staged;
    double prefix; /* share 0…1 of the prompt */
};
struct observed_question {
    struct str model, adapter;
    unsigned ttft_percentile, tpot_percentile; /* 1…100; 0: not asked for */
    const struct prefix *prefix;               /* NULL: not asked for */
};
void observed_get(struct observed *o, const struct observed_question *q,
                  struct observed_state *ret);
