/*
 * An open-loop load on an embedded engine: requests as they come, whether or not earlier ones were
 * answered, with the times of each. For the measurements of this folder.
 */
#pragma once

#include <stdatomic.h>

#include "engine/engine.h"

enum { LOAD_MOST = 20000 };

struct load_request {
    uint64_t sent_us, first_us, last_us; /* 0: not yet; last_us is that of the end */
    uint32_t cached;
    bool refused, failed;
    struct engine_job *job;
    struct load *load;
};

struct load {
    struct engine *engine;
    uint64_t tenant, random;
    uint32_t prompt, answer; /* tokens */
    const struct lora *lora; /* borrowed; NULL: the base */
    const struct sha256 *digest;
    double rate;                   /* a second; 0: silent */
    struct load_request *requests; /* LOAD_MOST */
    size_t n;
    _Atomic size_t open;
    uint64_t next_us; /* when the next one comes */
};

void load_init(struct load *l, struct engine *e, uint64_t seed);
void load_done(struct load *l); /* all have ended */
/* One request of these ids; returns where its times will be. NULL: no room. */
const struct load_request *load_ask(struct load *l, const int32_t *ids, uint32_t n);
void load_wait(struct load *l); /* until all that were sent have ended */
/* All loads together for so long; ends with idle engines. Those of `cut` are cancelled at the end.
 */
void load_run(struct load *const *loads, size_t n, double seconds, const struct load *cut);

void load_wait_until(uint64_t us); /* of clock_us */
void load_random_ids(uint64_t *random, int32_t *ids, uint32_t n);

/* Times in ms of the requests from `from` on that were answered; how many. */
enum load_time { LOAD_first, LOAD_last };
size_t load_times(const struct load *l, size_t from, enum load_time which, double *ret);
double load_quantile(double *v, size_t n, double q); /* sorts */

/* The embedded engine on a model file; exits where it cannot be opened. */
struct engine *load_engine(const char *path, uint64_t threads, uint64_t context);
