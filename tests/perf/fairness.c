/*
 * What a flood costs its neighbour: one tenant asks now and then, another asks 100 times as often.
 *
 *     fairness [MODEL.gguf [SECONDS [RATE [THREADS]]]]
 *
 * Requests come as they come (Poisson), whether or not earlier ones were answered. Phases with and
 * without the flood alternate, SECONDS each, twice; the prompts of both have 48 tokens, all
 * different, and ask for 24. Printed: the asker's times to the first token and to the last one,
 * alone and beside the flood, and their ratio; what the flood got.
 */
#include "tests/support/test.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "engine/local/engine_local.h"

enum { PROMPT = 48, ANSWER = 24, MOST = 20000, ROUNDS = 2, TIMES = 100 };

struct asked {
    uint64_t sent_us, first_us, last_us; /* 0: not yet; last_us is that of the end */
    bool refused, failed;
    struct engine_job *job;
};

struct tenant {
    uint64_t id, random, next_us;
    double rate; /* a second; 0: silent */
    struct asked *asked;
    size_t n;
};

static _Atomic size_t open_jobs;

static void on_event(void *owner, const struct engine_event *e)
{
    struct asked *a = owner;
    uint64_t now = clock_us();
    if (e->kind == ENGINE_EVENT_text && !a->first_us)
        a->first_us = now;
    if (e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed) {
        a->failed = e->kind == ENGINE_EVENT_failed;
        a->last_us = now;
        atomic_fetch_sub(&open_jobs, 1);
    }
}

static double uniform(uint64_t *random)
{
    return ((double)(test_random(random) >> 11) + 0.5) * 0x1p-53;
}

static void ask(struct engine *e, struct tenant *t)
{
    int32_t ids[PROMPT];
    if (t->n == MOST)
        return;
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)(260 + test_random(&t->random) % 900);
    struct chat_request request = { .is_completion = true,
                                    .prompt_ids = ids,
                                    .n_prompt_ids = PROMPT,
                                    .sampling = SAMPLING_INIT,
                                    .max_tokens = ANSWER,
                                    .ignore_eos = true,
                                    .n = 1 };
    struct asked *a = &t->asked[t->n++];
    struct engine_spec spec = { .request = &request,
                                .tenant = t->id,
                                .deadline_ms = CLOCK_NEVER,
                                .want_tokens = true,
                                .on_event = on_event,
                                .owner = a };
    struct fail f = { 0 };
    *a = (struct asked){ .sent_us = clock_us() };
    atomic_fetch_add(&open_jobs, 1);
    if (engine_submit(e, &a->job, &spec, &f) != 0) {
        a->refused = true;
        atomic_fetch_sub(&open_jobs, 1);
    }
}

static void wait_until(uint64_t us)
{
    uint64_t now = clock_us();
    if (us <= now)
        return;
    struct timespec t = { .tv_sec = (time_t)((us - now) / 1000000),
                          .tv_nsec = (long)((us - now) % 1000000) * 1000 };
    (void)nanosleep(&t, NULL);
}

static void drop_all(struct tenant *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->asked[i].job)
            engine_cancel(t->asked[i].job);
}

/* Asks for `seconds`; ends with an idle engine. */
static void phase(struct engine *e, struct tenant *tenants, size_t n, double seconds)
{
    uint64_t end = clock_us() + (uint64_t)(seconds * 1e6);
    for (size_t i = 0; i < n; i++)
        tenants[i].next_us = tenants[i].rate > 0 ? clock_us() : UINT64_MAX;
    for (;;) {
        struct tenant *next = &tenants[0];
        for (size_t i = 1; i < n; i++)
            next = tenants[i].next_us < next->next_us ? &tenants[i] : next;
        if (next->next_us >= end)
            break;
        wait_until(next->next_us);
        ask(e, next);
        next->next_us += (uint64_t)(-log(uniform(&next->random)) / next->rate * 1e6);
    }
    drop_all(&tenants[1]);
    while (atomic_load(&open_jobs))
        wait_until(clock_us() + 1000);
}

/* ---- what was measured ---- */

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

struct times {
    double first[MOST], last[MOST]; /* ms */
    size_t n;
};

static void collect(struct times *to, struct tenant *t, size_t from, size_t *refused)
{
    for (size_t i = from; i < t->n; i++) {
        const struct asked *a = &t->asked[i];
        if (a->refused || a->failed || !a->first_us) {
            ++*refused;
            continue;
        }
        to->first[to->n] = (double)(a->first_us - a->sent_us) / 1e3;
        to->last[to->n++] = (double)(a->last_us - a->sent_us) / 1e3;
    }
}

static double quantile(double *v, size_t n, double q)
{
    qsort(v, n, sizeof(*v), by_value);
    return n ? v[(size_t)(q * (double)(n - 1) + 0.5)] : NAN;
}

static void print_line(const char *what, double *alone, size_t n_alone, double *beside, size_t n)
{
    double a50 = quantile(alone, n_alone, 0.5), a95 = quantile(alone, n_alone, 0.95);
    double b50 = quantile(beside, n, 0.5), b95 = quantile(beside, n, 0.95);
    (void)printf("%-12s alone p50 %7.2f p95 %7.2f ms   beside the flood p50 %7.2f p95 %7.2f ms   "
                 "p95 ratio %.2f\n",
                 what, a50, a95, b50, b95, b95 / a95);
}

static struct engine *open_engine(const char *path, uint64_t threads)
{
    struct config_model m = { .name = STR("model"),
                              .path = str_of(path),
                              .slots = 16,
                              .context = 128,
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

int main(int argc, char **argv)
{
    static struct times alone, beside, flood;
    const char *path = argc > 1 ? argv[1] : test_path("models/demo.gguf");
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 10;
    double rate = argc > 3 ? strtod(argv[3], NULL) : 5;
    log_set_level(LOG_error);
    struct engine *e = open_engine(path, argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    struct tenant tenants[2] = { { .id = 1, .random = 1, .rate = rate }, { .id = 2, .random = 2 } };
    size_t refused = 0, dropped = 0;
    for (int i = 0; i < 2; i++)
        tenants[i].asked = calloc(MOST, sizeof(struct asked));
    phase(e, tenants, 2, 1); /* warm */
    for (int round = 0; round < ROUNDS; round++)
        for (int loud = 0; loud < 2; loud++) {
            size_t from = tenants[0].n, flood_from = tenants[1].n;
            tenants[1].rate = loud ? TIMES * rate : 0;
            phase(e, tenants, 2, seconds);
            collect(loud ? &beside : &alone, &tenants[0], from, &refused);
            collect(&flood, &tenants[1], flood_from, &dropped);
        }
    print_line("first token", alone.first, alone.n, beside.first, beside.n);
    print_line("last token", alone.last, alone.n, beside.last, beside.n);
    (void)printf(
        "asker: %zu and %zu answered, %zu refused; flood: %zu answered, %zu refused or cut "
        "off, %.0f tokens/s\n",
        alone.n, beside.n, refused, flood.n, dropped,
        (double)flood.n * (PROMPT + ANSWER) / (ROUNDS * seconds));
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < tenants[i].n; k++)
            (void)engine_job_unref(tenants[i].asked[k].job);
        free(tenants[i].asked);
    }
    (void)engine_free(e);
    return 0;
}
