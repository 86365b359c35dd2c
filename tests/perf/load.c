#include "tests/perf/load.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/local/engine_local.h"
#include "tests/support/test.h"

void load_init(struct load *l, struct engine *e, uint64_t seed)
{
    *l = (struct load){ .engine = e, .random = seed, .prompt = 48, .answer = 24 };
    l->requests = calloc(LOAD_MOST, sizeof(*l->requests));
    if (!l->requests)
        exit(1);
}

void load_done(struct load *l)
{
    for (size_t i = 0; i < l->n; i++)
        (void)engine_job_unref(l->requests[i].job);
    free(l->requests);
}

static void on_event(void *owner, const struct engine_event *e)
{
    struct load_request *a = owner;
    uint64_t now = clock_us();
    if (e->kind == ENGINE_EVENT_text && !a->first_us)
        a->first_us = now;
    if (e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed) {
        a->failed = e->kind == ENGINE_EVENT_failed;
        a->cached = e->usage.cached_tokens;
        a->last_us = now;
        atomic_fetch_sub(&a->load->open, 1);
    }
}

void load_random_ids(uint64_t *random, int32_t *ids, uint32_t n)
{
    enum { FIRST = 260, SPAN = 900 }; /* words of the demo's vocabulary */
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(FIRST + test_random(random) % SPAN);
}

const struct load_request *load_ask(struct load *l, const int32_t *ids, uint32_t n)
{
    if (l->n == LOAD_MOST)
        return NULL;
    struct chat_request request = { .is_completion = true,
                                    .prompt_ids = ids,
                                    .n_prompt_ids = n,
                                    .sampling = SAMPLING_INIT,
                                    .max_tokens = l->answer,
                                    .ignore_eos = true,
                                    .n = 1 };
    struct load_request *a = &l->requests[l->n++];
    struct engine_spec spec = { .request = &request,
                                .lora = l->lora,
                                .lora_digest = l->lora ? l->digest : NULL,
                                .tenant = l->tenant,
                                .deadline_ms = CLOCK_NEVER,
                                .want_tokens = true,
                                .on_event = on_event,
                                .owner = a };
    struct fail f = { 0 };
    *a = (struct load_request){ .sent_us = clock_us(), .load = l };
    atomic_fetch_add(&l->open, 1);
    if (engine_submit(l->engine, &a->job, &spec, &f) != 0) {
        a->refused = true;
        atomic_fetch_sub(&l->open, 1);
    }
    return a;
}

void load_wait_until(uint64_t us)
{
    uint64_t now = clock_us();
    if (us <= now)
        return;
    struct timespec t = { .tv_sec = (time_t)((us - now) / 1000000),
                          .tv_nsec = (long)((us - now) % 1000000) * 1000 };
    (void)nanosleep(&t, NULL);
}

void load_wait(struct load *l)
{
    while (atomic_load(&l->open))
        load_wait_until(clock_us() + 500);
}

static double uniform(uint64_t *random)
{
    return ((double)(test_random(random) >> 11) + 0.5) * 0x1p-53;
}

static void ask_random(struct load *l)
{
    int32_t ids[4096];
    assert(l->prompt <= sizeof(ids) / sizeof(*ids));
    load_random_ids(&l->random, ids, l->prompt);
    (void)load_ask(l, ids, l->prompt);
}

void load_run(struct load *const *loads, size_t n, double seconds, const struct load *cut)
{
    uint64_t end = clock_us() + (uint64_t)(seconds * 1e6);
    for (size_t i = 0; i < n; i++)
        loads[i]->next_us = loads[i]->rate > 0 ? clock_us() : UINT64_MAX;
    for (;;) {
        struct load *next = loads[0];
        for (size_t i = 1; i < n; i++)
            next = loads[i]->next_us < next->next_us ? loads[i] : next;
        if (next->next_us >= end)
            break;
        load_wait_until(next->next_us);
        ask_random(next);
        next->next_us += (uint64_t)(-log(uniform(&next->random)) / next->rate * 1e6);
    }
    for (size_t i = 0; cut && i < cut->n; i++)
        if (cut->requests[i].job)
            engine_cancel(cut->requests[i].job);
    for (size_t i = 0; i < n; i++)
        load_wait(loads[i]);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

size_t load_times(const struct load *l, size_t from, enum load_time which, double *ret)
{
    size_t n = 0;
    for (size_t i = from; i < l->n; i++) {
        const struct load_request *a = &l->requests[i];
        uint64_t end = which == LOAD_first ? a->first_us : a->last_us;
        if (!a->refused && !a->failed && a->first_us)
            ret[n++] = (double)(end - a->sent_us) / 1e3;
    }
    return n;
}

double load_quantile(double *v, size_t n, double q)
{
    if (!n)
        return NAN;
    qsort(v, n, sizeof(*v), by_value);
    return v[(size_t)(q * (double)(n - 1) + 0.5)];
}

struct engine *load_engine(const char *path, uint64_t threads, uint64_t context)
{
    struct config_model m = { .name = STR("model"),
                              .path = str_of(path),
                              .slots = 16,
                              .context = context,
                              .queue = 256,
                              .batch = 256,
                              .threads = threads };
    struct engine *e = NULL;
    struct fail f = { 0 };
    if (engine_local_new(&e, &m, &f) != 0) {
        (void)fprintf(stderr, "%s: %s\n", path, f.message);
        exit(1);
    }
    return e;
}
