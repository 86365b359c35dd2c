/*
 * What cold loads cost those who are served: requests for a warm adapter come as they come
 * (Poisson) while 64 cold adapters are asked for at once, every second.
 *
 *     cold_loads [SECONDS [RATE [RANK [ROUNDS]]]]
 *
 * On the gateway's core (catalog, residency, engine) with the demo model; the adapters are random
 * ones of rank RANK in a catalog folder. Phases of SECONDS without and with the loads alternate,
 * ROUNDS times; the first loads pack the adapters, the later ones find them packed. Printed: times
 * to the first token of the warm requests before and during, the ratio of their p95, and how long
 * the loads took.
 */
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/state.h"
#include "tests/perf/load.h"
#include "tests/support/random_adapters.h"
#include "tests/support/test.h"

enum { COLD = 64, PERIOD_US = 1000000, LIMIT_MS = 60000 };

static const struct model_shape demo = { .arch = "llama",
                                         .layers = 5,
                                         .embed = 256,
                                         .heads = 8,
                                         .kv_heads = 4,
                                         .head_size = 32,
                                         .ff = 512 };

struct arrival { /* one cold adapter that was asked for */
    struct burst *burst;
    uint64_t asked_us;
};

struct burst { /* the side that loads */
    struct adapters *adapters;
    pthread_t thread;
    _Atomic bool stops;
    _Atomic size_t waiting;
    struct arrival arrivals[COLD];
    double ms[LOAD_MOST]; /* of each load */
    _Atomic size_t n, hits, failed;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "cold_loads: %s\n", what);
    exit(1);
}

/* ---- the catalog ---- */

static void publish(struct core *core, const char *folder, unsigned i, uint32_t rank)
{
    struct random_adapter made = { .rank = rank, .seed = i + 1, .size = 0.1f };
    struct adapter_revision revision;
    struct fail f = { 0 };
    char path[PATH_MAX], name[32];
    (void)snprintf(path, sizeof(path), "%s/%u", folder, i);
    (void)snprintf(name, sizeof(name), "random%u", i);
    random_adapter_write(&made, &demo, path);
    struct adapter_push push = {
        .base = STR("demo"), .adapter = str_of(name), .path = path, .alias = STR("prod")
    };
    if (adapters_push(core->adapters, &push, &revision, &f) != 0)
        die(f.message);
}

/* The budget holds an eighth of the cold adapters, so that each burst finds most of them cold. */
static struct core *open_core(const char *folder, uint32_t rank)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *config = NULL;
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 * MIB), why = BUF_INIT(1 * MIB);
    struct core *core = NULL;
    struct fail f = { 0 };
    size_t each = (size_t)rank * 36000 * sizeof(float); /* in + out of all linears, a little more */
    buf_addf(&text,
             "version: v0.3\nengine: {models: [{name: demo, path: %s}]}\n"
             "adapters:\n  catalog: {type: directory, path: %s/catalog}\n"
             "  blobs: {cache: %s/cache}\n  residency: {max_bytes: %zu, cold_wait: 60s}\n",
             test_path("models/demo.gguf"), folder, folder, (COLD / 8) * each + MIB);
    int r = config_parse(&config, "cold_loads.yaml", buf_str(&text), p);
    problems_print(p, &why);
    if (r < 0)
        die(why.p ? why.p : "the configuration is refused");
    if (core_new(&core, config, &f) != 0)
        die(f.message);
    return core;
}

/* ---- cold loads ---- */

static void on_lease(void *owner, struct lease *lease, const struct fail *f)
{
    struct arrival *a = owner;
    struct burst *b = a->burst;
    if (lease) {
        size_t at = atomic_fetch_add(&b->n, 1);
        if (at < LOAD_MOST)
            b->ms[at] = (double)(clock_us() - a->asked_us) / 1e3;
        (void)lease_release(lease);
    } else {
        (void)fprintf(stderr, "cold_loads: %s\n", f->message);
        atomic_fetch_add(&b->failed, 1);
    }
    atomic_fetch_sub(&b->waiting, 1);
}

static void ask_all(struct burst *b)
{
    struct lease_wait *waits[COLD] = { 0 };
    atomic_store(&b->waiting, COLD);
    for (unsigned i = 0; i < COLD; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "random%u", i + 1); /* 0 is the warm one */
        struct adapter_name name = { .base = STR("demo"), .adapter = str_of(text) };
        struct lease *lease = NULL;
        struct fail f = { 0 };
        b->arrivals[i] = (struct arrival){ b, clock_us() };
        int r = adapters_acquire(b->adapters, &name, clock_ms() + LIMIT_MS, on_lease,
                                 &b->arrivals[i], &lease, &waits[i], &f);
        if (r == ADAPTERS_PENDING)
            continue;
        if (r == 0) {
            atomic_fetch_add(&b->hits, 1);
            (void)lease_release(lease);
        } else {
            (void)fprintf(stderr, "cold_loads: %s\n", f.message);
            atomic_fetch_add(&b->failed, 1);
        }
        atomic_fetch_sub(&b->waiting, 1);
    }
    while (atomic_load(&b->waiting))
        load_wait_until(clock_us() + 500);
    for (unsigned i = 0; i < COLD; i++)
        (void)lease_wait_free(waits[i]);
}

static void *burst_main(void *arg)
{
    struct burst *b = arg;
    while (!atomic_load(&b->stops)) {
        uint64_t next = clock_us() + PERIOD_US;
        ask_all(b);
        load_wait_until(next);
    }
    return NULL;
}

static void burst_start(struct burst *b)
{
    atomic_store(&b->stops, false);
    if (thread_start(&b->thread, THREAD_worker, burst_main, b) < 0)
        die("no thread");
}

static void burst_stop(struct burst *b)
{
    atomic_store(&b->stops, true);
    (void)pthread_join(b->thread, NULL);
}

/* ---- measuring ---- */

struct times {
    double ms[LOAD_MOST];
    size_t n;
};

static double print_line(const char *what, struct times *t)
{
    double p95 = load_quantile(t->ms, t->n, 0.95);
    (void)printf("%-7s %5zu: p50 %7.2f p95 %7.2f p99 %7.2f ms\n", what, t->n,
                 load_quantile(t->ms, t->n, 0.5), p95, load_quantile(t->ms, t->n, 0.99));
    return p95;
}

/* Both kinds of phases by turns, so that what else the machine does falls on both alike. */
static void measure(struct load *warm, struct burst *b, double seconds, unsigned rounds)
{
    static struct times times[2], loads_first, loads_later;
    struct load *const loads[] = { warm };
    load_run(loads, 1, 1, NULL);
    for (unsigned i = 0; i < rounds; i++)
        for (int busy = 0; busy < 2; busy++) {
            size_t from = warm->n;
            if (busy)
                burst_start(b);
            load_run(loads, 1, seconds, NULL);
            if (busy)
                burst_stop(b);
            struct times *t = &times[busy];
            t->n += load_times(warm, from, LOAD_first, t->ms + t->n);
        }
    size_t n = atomic_load(&b->n) < LOAD_MOST ? atomic_load(&b->n) : LOAD_MOST;
    for (size_t i = 0; i < n; i++) {
        struct times *t = i < COLD ? &loads_first : &loads_later;
        t->ms[t->n++] = b->ms[i];
    }
    (void)printf("time to the first token of warm requests\n");
    double before = print_line("before", &times[0]), during = print_line("during", &times[1]);
    (void)printf("p95 during/before %.2f\ntime of a cold load, 64 asked for at once\n",
                 during / before);
    (void)print_line("first", &loads_first);
    (void)print_line("later", &loads_later);
    (void)printf("%zu were resident when asked for, %zu failed\n", atomic_load(&b->hits),
                 atomic_load(&b->failed));
}

int main(int argc, char **argv)
{
    static struct load warm;
    static struct burst burst;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 3;
    double rate = argc > 2 ? strtod(argv[2], NULL) : 10;
    uint32_t rank = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 32;
    unsigned rounds = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 8;
    json_object_seed(0);
    log_set_level(LOG_error);
    const char *folder = test_temp_dir();
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/catalog", folder);
    if (mkdir(path, 0755) < 0)
        die(path);
    struct core *core = open_core(folder, rank);
    for (unsigned i = 0; i <= COLD; i++)
        publish(core, folder, i, rank);
    burst.adapters = core->adapters;
    struct adapter_name name = { .base = STR("demo"), .adapter = STR("random0") };
    struct arrival first = { &burst, clock_us() };
    struct lease_wait *wait = NULL;
    struct lease *lease = NULL;
    struct fail f = { 0 };
    for (int r = 1; !lease && r > 0;) { /* until it is there */
        atomic_store(&burst.waiting, 1);
        r = adapters_acquire(core->adapters, &name, CLOCK_NEVER, on_lease, &first, &lease, &wait,
                             &f);
        if (r != 0 && r != ADAPTERS_PENDING)
            die(f.message);
        while (r == ADAPTERS_PENDING && atomic_load(&burst.waiting))
            load_wait_until(clock_us() + 500);
        wait = r == ADAPTERS_PENDING ? lease_wait_free(wait) : NULL;
    }
    atomic_store(&burst.n, 0);
    load_init(&warm, core->models[0].engine, 1);
    warm.rate = rate;
    warm.lora = lease_resident(lease);
    warm.digest = &lease_revision(lease)->digest;
    measure(&warm, &burst, seconds, rounds);
    load_done(&warm);
    (void)lease_release(lease);
    (void)core_free(core);
    return 0;
}
