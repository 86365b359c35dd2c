/*
 * What a fleet of gateways on one Redis does when the catalog changes.
 *
 *     fleet [-g GATEWAYS] [-f FLIPS] [-r ROLLBACKS] [-i IMPORTED]
 *
 * Each gateway is a process that asks for one adapter all the time. Flips of its `prod` are timed
 * until every gateway has served the new revision, and until wait=fleet has returned; after that no
 * request may get the old one. Then: publishing with and without gateways, bulk import, and a
 * rollback of many adapters. Times are of the wall clock; a busy machine shows in the tail.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/adapters.h"
#include "base/clock.h"
#include "base/num.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

enum { GATEWAYS_MAX = 64, PAUSE_US = 500, PUBLISHES = 300, FLEET_MS = 10000, ROWS = 1000 };

struct gateway {                         /* in memory that all processes share */
    _Atomic uint64_t seen_flip, seen_ns; /* the last flip it served, and since when */
    _Atomic uint64_t requests, stale, failed;
    atomic_bool up;
};

struct shared {
    _Atomic uint64_t started, committed; /* flips; flip i moves prod to revision 1 + i % 2 */
    atomic_bool stop;
    struct sha256 digests[2];
    struct gateway gateways[GATEWAYS_MAX];
};

static struct shared *shared;
static struct config config;

static void die(const char *what, const struct fail *f)
{
    (void)fprintf(stderr, "fleet: %s: %s\n", what, f ? f->message : "");
    exit(1);
}

/* ---- a gateway ---- */

static int load(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                struct fail *reterr)
{
    (void)ctx;
    (void)base;
    (void)folder;
    (void)reterr;
    *ret = malloc(16);
    *ret_bytes = 16;
    return *ret ? 0 : -ENOMEM;
}

static void unload(void *ctx, void *resident)
{
    (void)ctx;
    free(resident);
}

static const struct adapter_loader loader = { .load = load, .unload = unload };

static void serve_one(struct adapters *a, struct gateway *g)
{
    struct adapter_name name = { .base = STR("demo"), .adapter = STR("sql") };
    struct adapter_revision r;
    uint64_t committed = atomic_load(&shared->committed);
    if (adapters_resolve(a, &name, &r, NULL) != 0) {
        atomic_fetch_add(&g->failed, 1);
        return;
    }
    uint64_t now = clock_ns(), started = atomic_load(&shared->started);
    bool is_new = sha256_eq(&r.digest, &shared->digests[started % 2]);
    if (is_new && atomic_load(&g->seen_flip) < started) {
        atomic_store(&g->seen_ns, now);
        atomic_store(&g->seen_flip, started);
    }
    /* no flip was on its way from before the request began until after it was resolved */
    if (started == committed && !is_new)
        atomic_fetch_add(&g->stale, 1);
    atomic_fetch_add(&g->requests, 1);
}

static void gateway_main(struct gateway *g)
{
    struct adapters *a;
    struct fail f;
    if (adapters_open(&a, &config, &loader, &f) != 0)
        die("opening a gateway", &f);
    atomic_store(&g->up, true);
    while (!atomic_load(&shared->stop)) {
        serve_one(a, g);
        (void)usleep(PAUSE_US);
    }
    (void)adapters_close(a);
    _exit(0);
}

static void start_gateways(pid_t *pids, size_t n)
{
    (void)fflush(stdout);
    atomic_store(&shared->stop, false);
    for (size_t i = 0; i < n; i++) {
        shared->gateways[i] = (struct gateway){ 0 };
        if ((pids[i] = fork()) == 0)
            gateway_main(&shared->gateways[i]);
    }
    for (size_t i = 0; i < n; i++)
        while (!atomic_load(&shared->gateways[i].up))
            (void)usleep(1000);
}

static void stop_gateways(const pid_t *pids, size_t n)
{
    int status;
    atomic_store(&shared->stop, true);
    for (size_t i = 0; i < n; i++)
        (void)waitpid(pids[i], &status, 0);
}

/* ---- numbers ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *ms, size_t n)
{
    qsort(ms, n, sizeof(*ms), by_value);
    (void)printf("%-52s p50 %8.3f ms   p99 %8.3f ms\n", what, ms[n / 2], ms[n * 99 / 100]);
}

static double ms_since(uint64_t start_ns)
{
    return (double)(clock_ns() - start_ns) / 1e6;
}

/* ---- the measurements ---- */

static void publish(struct adapters *a, const char *name, const char *path, const char *alias,
                    struct adapter_revision *ret)
{
    struct fail f;
    struct adapter_push p = {
        .base = STR("demo"), .adapter = str_of(name), .path = path, .alias = str_of(alias)
    };
    if (adapters_push(a, &p, ret, &f) != 0)
        die("publishing", &f);
}

static void measure_flips(struct adapters *a, size_t n_gateways, size_t flips)
{
    double *visible = calloc(flips, sizeof(*visible)), *waited = calloc(flips, sizeof(*waited));
    uint64_t requests = 0, stale = 0, failed = 0;
    for (size_t i = 1; i <= flips; i++) {
        struct adapter_change c = { .op = ADAPTER_OP_promote,
                                    .base = STR("demo"),
                                    .adapter = STR("sql"),
                                    .selector = i % 2 ? STR("2") : STR("1"),
                                    .fleet_ms = FLEET_MS };
        struct adapter_changed done;
        struct fail f;
        atomic_store(&shared->started, i);
        uint64_t start = clock_ns(), last = start;
        if (adapters_change(a, &c, NULL, &done, &f) != 0)
            die("flipping", &f);
        if (done.behind)
            die("a gateway did not follow", NULL);
        atomic_store(&shared->committed, i);
        waited[i - 1] = ms_since(start);
        for (size_t g = 0; g < n_gateways; g++) {
            while (atomic_load(&shared->gateways[g].seen_flip) < i)
                (void)usleep(100);
            uint64_t seen = atomic_load(&shared->gateways[g].seen_ns);
            last = seen > last ? seen : last;
        }
        visible[i - 1] = (double)(last - start) / 1e6;
    }
    for (size_t g = 0; g < n_gateways; g++) {
        requests += atomic_load(&shared->gateways[g].requests);
        stale += atomic_load(&shared->gateways[g].stale);
        failed += atomic_load(&shared->gateways[g].failed);
    }
    print_times("flip served by every gateway (asked each 0.5 ms)", visible, flips);
    print_times("flip with wait=fleet, until it returns", waited, flips);
    (void)printf("%-52s %llu of %llu (failed: %llu)\n", "requests with the old revision after that",
                 (unsigned long long)stale, (unsigned long long)requests,
                 (unsigned long long)failed);
    free(visible);
    free(waited);
}

static void measure_publish(struct adapters *a, const char *what)
{
    static unsigned seed = 100000;
    double ms[PUBLISHES];
    struct adapter_revision r;
    for (size_t i = 0; i < PUBLISHES; i++) {
        char name[40];
        (void)snprintf(name, sizeof(name), "published-%u", seed);
        const char *files = new_peft(seed++);
        uint64_t start = clock_ns();
        publish(a, name, files, NULL, &r);
        ms[i] = ms_since(start);
    }
    print_times(what, ms, PUBLISHES);
}

static double redis_bytes(const struct test_redis *redis)
{
    redisReply *info = test_redis_do(redis, "INFO memory");
    const char *at = info->type == REDIS_REPLY_STRING ? strstr(info->str, "used_memory:") : NULL;
    double bytes = at ? strtod(at + strlen("used_memory:"), NULL) : 0;
    freeReplyObject(info);
    return bytes;
}

/* A gateway that starts without a snapshot. */
static void measure_start(void)
{
    struct adapters *a;
    struct adapters_state state;
    uint64_t start = clock_ns();
    if (adapters_open(&a, &config, &loader, NULL) != 0)
        die("opening", NULL);
    double ms = ms_since(start);
    adapters_state(a, &state);
    (void)printf("%-52s %.2f s (%zu adapters)\n", "a gateway reads the catalog without a snapshot",
                 ms / 1e3, state.known);
    (void)adapters_close(a);
}

static void measure_import(struct adapters *a, const struct test_redis *redis, size_t n)
{
    struct adapter_import *rows = calloc(n, sizeof(*rows));
    char(*names)[32] = calloc(n, sizeof(*names));
    struct fail f;
    size_t written;
    uint64_t seed = 7;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "imported-%zu", i);
        rows[i] = (struct adapter_import){ .base = STR("demo"),
                                           .adapter = str_of(names[i]),
                                           .bytes = 9 << 20 };
        for (size_t k = 0; k < SHA256_BYTES; k++)
            rows[i].digest.b[k] = (uint8_t)test_random(&seed);
    }
    double before = redis_bytes(redis);
    uint64_t start = clock_ns();
    if (adapters_import(a, rows, n, false, &written, &f) != 0 || written != n)
        die("importing", &f);
    double ms = ms_since(start);
    (void)printf("%-52s %.0f rows/s (%zu in %.2f s)\n", "import", (double)n / ms * 1e3, n,
                 ms / 1e3);
    (void)printf("%-52s %.0f (with their events)\n", "bytes of Redis for each",
                 (redis_bytes(redis) - before) / (double)n);
    free(rows);
    free(names);
}

/* `n` adapters with two revisions each, made by as many processes as there are gateways. */
static void make_many(size_t n, size_t workers)
{
    pid_t pids[GATEWAYS_MAX] = { 0 };
    const char *one = new_peft(1), *two = new_peft(2);
    (void)fflush(stdout);
    for (size_t w = 0; w < workers; w++)
        if ((pids[w] = fork()) == 0) {
            struct adapters *a;
            struct adapter_revision r;
            struct fail f;
            if (adapters_open(&a, &config, NULL, &f) != 0)
                die("opening", &f);
            for (size_t i = w; i < n; i += workers) {
                char name[32];
                (void)snprintf(name, sizeof(name), "many-%zu", i);
                publish(a, name, one, NULL, &r);
                publish(a, name, two, "prod", &r);
            }
            (void)adapters_close(a);
            _exit(0);
        }
    stop_gateways(pids, workers);
}

static void measure_rollback(struct adapters *a, size_t n)
{
    struct adapter_change *changes = calloc(n, sizeof(*changes));
    struct adapter_changed *changed = calloc(n, sizeof(*changed));
    struct fail *fails = calloc(n, sizeof(*fails)), f;
    char(*names)[32] = calloc(n, sizeof(*names));
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "many-%zu", i);
        changes[i] = (struct adapter_change){ .op = ADAPTER_OP_rollback,
                                              .base = STR("demo"),
                                              .adapter = str_of(names[i]),
                                              .fleet_ms = FLEET_MS };
    }
    uint64_t start = clock_ns();
    if (adapters_change_many(a, changes, n, NULL, changed, fails, &f) != 0)
        die("rolling back", &f);
    double ms = ms_since(start);
    for (size_t i = 0; i < n; i++)
        failed += fails[i].message[0] != '\0';
    (void)printf("%-52s %.2f s, applied by all (%zu failed, %u behind)\n", "rollback of many",
                 ms / 1e3, failed, changed[0].behind);
    (void)printf("%-52s %zu\n", "  of them", n);
    free(changes);
    free(changed);
    free(fails);
    free(names);
}

static size_t read_count(const char *text, size_t max)
{
    uint64_t n;
    if (num_parse_u64(&n, str_of(text), 1, max) < 0)
        die("not a number", NULL);
    return (size_t)n;
}

int main(int argc, char **argv)
{
    size_t gateways = 8, flips = 1000, rollbacks = 2000, imported = 100000;
    pid_t pids[GATEWAYS_MAX] = { 0 };
    struct test_redis redis = { 0 };
    struct adapters *a;
    struct adapter_revision r;
    struct fail f;
    for (int o; (o = getopt(argc, argv, "g:f:r:i:")) >= 0;) {
        size_t *to = o == 'g' ? &gateways : o == 'f' ? &flips : o == 'r' ? &rollbacks : &imported;
        if (o == '?')
            die("usage: fleet [-g GATEWAYS] [-f FLIPS] [-r ROLLBACKS] [-i IMPORTED]", NULL);
        *to = read_count(optarg, o == 'g' ? GATEWAYS_MAX : 10000000);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("no memory", NULL);
    test_redis_start(&redis);
    freeReplyObject(test_redis_do(&redis, "CONFIG SET appendfsync everysec")); /* as it is run */
    config.adapters = (struct config_adapters){ .catalog = CATALOG_redis,
                                                .catalog_url = str_of(redis.url),
                                                .catalog_namespace = STR("fleet"),
                                                .blob_cache = str_of(test_temp_dir()),
                                                .blob_max_bytes = GIB,
                                                .max_bytes = 1 * MIB,
                                                .max_loads = 1,
                                                .cold_wait_ms = 1000 };
    if (adapters_open(&a, &config, &loader, &f) != 0)
        die("opening", &f);
    publish(a, "sql", new_peft(1), NULL, &r);
    shared->digests[0] = r.digest;
    publish(a, "sql", new_peft(2), NULL, &r);
    shared->digests[1] = r.digest;
    measure_publish(a, "publish, no other gateway");
    make_many(rollbacks, gateways);
    start_gateways(pids, gateways);
    (void)printf("%-52s %zu\n", "gateways", gateways);
    measure_publish(a, "publish, applied by every gateway");
    measure_flips(a, gateways, flips);
    measure_rollback(a, rollbacks);
    measure_import(a, &redis, imported);
    stop_gateways(pids, gateways);
    measure_start();
    (void)adapters_close(a);
    test_redis_stop(&redis);
    return 0;
}
