/*
 * What a catalog of many names costs a gateway.
 *
 *     catalog [-n NAMES] [-part replica|redis]
 *     catalog [-n NAMES] -fill URL
 *
 * -fill enters so many names in the catalog `rootstock` of a Redis, for catalog_first_token.py.
 *
 * The replica: bytes of memory an adapter (resident set after less before), look-ups of random
 * names with and without a writer of 1,000 heads a second, a page of a list, and a restart from the
 * snapshot. Redis, a server of its own: its memory an adapter with all that belongs to it, bulk
 * import, publishing and moving aliases, a gateway's first reading, and its restart from the
 * snapshot. Times are of the wall clock; a busy machine shows in the tail.
 */
#include "tests/support/redis.h"
#include "tests/support/test.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/snapshot.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

enum { LOOKUPS = 1000000, LISTS = 200, LIST_PAGE = 100, WRITES_A_SECOND = 1000 };

static void die(const char *what)
{
    (void)fprintf(stderr, "catalog: %s\n", what);
    exit(1);
}

static uint64_t resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
        die("cannot read /proc/self/statm");
    (void)fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void name_of(char ret[static 32], uint64_t i)
{
    (void)snprintf(ret, 32, "adapter-%07llu", (unsigned long long)i);
}

static struct head *head_of(uint64_t i, uint64_t epoch)
{
    char name[32];
    uint64_t seed = i;
    struct head_revision r = {
        .ordinal = 1, .created_s = 1790000000, .bytes = 9 << 20, .rank = 16
    };
    for (size_t k = 0; k < SHA256_BYTES; k++)
        r.digest.b[k] = (uint8_t)test_random(&seed);
    struct head_alias a = { .name = STR("prod"), .digest = r.digest };
    struct head d = { .base = STR("demo"),
                      .adapter = { name, 0 },
                      .epoch = epoch,
                      .revisions = &r,
                      .n_revisions = 1,
                      .aliases = &a,
                      .n_aliases = 1 };
    name_of(name, i);
    d.adapter.n = strlen(name);
    struct head *h = head_new(&d);
    if (!h)
        die("no memory");
    return h;
}

/* ---- times ---- */

static double cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct span {
    uint64_t wall_ms;
    double cpu;
};

static struct span span_begin(void)
{
    return (struct span){ clock_ms(), cpu_ms() };
}

static void span_print(struct span s, const char *what)
{
    printf("%-44s %.0f ms (%.0f of processor)\n", what, (double)(clock_ms() - s.wall_ms),
           cpu_ms() - s.cpu);
}

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print_times(const char *what, uint32_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), by_value);
    printf("%-44s p50 %9.3f  p99 %9.3f  p99.9 %9.3f us\n", what, ns[n / 2] / 1e3,
           ns[n - 1 - n / 100] / 1e3, ns[n - 1 - n / 1000] / 1e3);
}

static void time_lookups(struct page *p, uint64_t names, const char *what)
{
    CLEANUP(own_free) uint32_t *ns = malloc(LOOKUPS * sizeof(*ns));
    uint64_t seed = 7;
    char name[32];
    if (!ns)
        die("no memory");
    for (size_t i = 0; i < LOOKUPS; i++) {
        struct head *h = NULL;
        name_of(name, test_random(&seed) % names);
        struct str s = str_of(name);
        uint64_t begin = clock_ns();
        if (page_find(p, i % 2 ? STR("demo") : STR(""), s, &h, NULL) != 0 || !h)
            die("a name is not found");
        h = head_unref(h);
        ns[i] = (uint32_t)(clock_ns() - begin);
    }
    print_times(what, ns, LOOKUPS);
}

struct writing {
    struct page *page;
    uint64_t names, done;
    atomic_bool stop;
};

static void *write_heads(void *arg)
{
    struct writing *w = arg;
    uint64_t seed = 9, begin = clock_ms();
    while (!w->stop) {
        for (; w->done < (clock_ms() - begin) * WRITES_A_SECOND / 1000; w->done++)
            if (page_put(w->page, head_of(test_random(&seed) % w->names, 2 + w->done)) < 0)
                die("no memory");
        (void)usleep(1000);
    }
    return NULL;
}

static void time_lookups_beside_writes(struct page *p, uint64_t names)
{
    struct writing w = { .page = p, .names = names };
    pthread_t t;
    if (pthread_create(&t, NULL, write_heads, &w) != 0)
        die("no thread");
    time_lookups(p, names, "look-up beside 1,000 writes a second");
    w.stop = true;
    (void)pthread_join(t, NULL);
}

static void time_lists(struct page *p, uint64_t names)
{
    CLEANUP(own_free) uint32_t *ns = malloc(LISTS * sizeof(*ns));
    uint64_t seed = 3;
    struct span span = span_begin();
    char name[32];
    if (!ns || page_sort(p) < 0)
        die("no memory");
    span_print(span, "names sorted, once");
    for (size_t i = 0; i < LISTS; i++) {
        struct head **heads;
        size_t n;
        name_of(name, test_random(&seed) % names);
        if (page_put(p, head_of(names + i, 1)) < 0) /* a new name before each */
            die("no memory");
        uint64_t at = clock_ns();
        if (page_list(p, str_of(name), LIST_PAGE, &heads, &n) < 0)
            die("no memory");
        page_list_free(heads, n);
        ns[i] = (uint32_t)(clock_ns() - at);
    }
    print_times("list of 100, after a new name", ns, LISTS);
}

/* ---- restart ---- */

static void time_restart(struct page *p)
{
    char path[] = "/tmp/rootstock-perf-XXXXXX";
    static struct snapshot_shards shards = { .n = 16 };
    struct fail f;
    struct stat st;
    struct page *back;
    size_t n = 0;
    int fd = mkstemp(path);
    struct span span = span_begin();
    if (fd < 0 || close(fd) < 0 || snapshot_save(p, path, STR("perf"), &shards) < 0)
        die("cannot write a snapshot");
    span_print(span, "snapshot written");
    span = span_begin();
    if (page_new(&back) < 0 || snapshot_load(back, path, STR("perf"), &shards, &n, &f) != 0)
        die("cannot read the snapshot");
    span_print(span, "restart from the snapshot");
    if (n != page_len(p) || stat(path, &st) < 0)
        die("a name is missing after the restart");
    printf("%-44s %.1f bytes\n", "snapshot, an adapter", (double)st.st_size / (double)n);
    (void)page_free(back);
    (void)unlink(path);
}

static void measure_replica(uint64_t names)
{
    struct page *p;
    uint64_t before = resident_bytes();
    struct span span = span_begin();
    if (page_new(&p) < 0)
        die("no memory");
    for (uint64_t i = 0; i < names; i++)
        if (page_put(p, head_of(i * 7919 % names, 1)) < 0)
            die("no memory");
    (void)malloc_trim(0);
    span_print(span, "replica filled, head by head");
    printf("%-44s %.1f bytes (%.1f by its own count)\n", "replica, an adapter",
           (double)(resident_bytes() - before) / (double)names,
           (double)page_bytes(p) / (double)names);
    time_lookups(p, names, "look-up");
    time_lookups_beside_writes(p, names);
    time_lists(p, names);
    (void)malloc_trim(0);
    printf("%-44s %.1f bytes\n", "replica with its order, an adapter",
           (double)(resident_bytes() - before) / (double)names);
    time_restart(p);
    (void)page_free(p);
}

/* ---- Redis ---- */

enum { IMPORT_ROWS = 65536, PUBLISHES = 300, MOVES = 5000 };

static struct config catalog_config(const char *url, const char *folder, const char *snapshot)
{
    return (struct config){ .adapters = { .catalog = CATALOG_redis,
                                          .catalog_url = str_of(url),
                                          .catalog_namespace = STR("rootstock"),
                                          .catalog_snapshot = str_of(snapshot),
                                          .blob_cache = str_of(folder),
                                          .blob_max_bytes = 1 * GIB,
                                          .max_bytes = 64 * MIB,
                                          .max_loads = 2,
                                          .cold_wait_ms = 10000 } };
}

static struct adapters *open_catalog(const struct config *c, const struct adapter_loader *loader)
{
    struct adapters *a;
    struct fail f = { 0 };
    if (adapters_open(&a, c, loader, &f) != 0)
        die(f.message);
    return a;
}

static uint64_t redis_memory(const struct test_redis *r)
{
    redisReply *reply = test_redis_do(r, "INFO memory");
    const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, "used_memory:") : NULL;
    uint64_t n = at ? strtoull(at + strlen("used_memory:"), NULL, 10) : 0;
    freeReplyObject(reply);
    return n;
}

static void import_names(struct adapters *a, uint64_t names)
{
    static struct adapter_import rows[IMPORT_ROWS];
    static char text[IMPORT_ROWS][32];
    struct fail f = { 0 };
    struct span span = span_begin();
    for (uint64_t at = 0; at < names;) {
        size_t n = 0, written;
        for (; n < IMPORT_ROWS && at < names; n++, at++) {
            uint64_t seed = at;
            name_of(text[n], at);
            rows[n] = (struct adapter_import){ .base = STR("demo"),
                                               .adapter = str_of(text[n]),
                                               .description = STR(""),
                                               .bytes = 9 << 20 };
            for (size_t k = 0; k < SHA256_BYTES; k++)
                rows[n].digest.b[k] = (uint8_t)test_random(&seed);
        }
        if (adapters_import(a, rows, n, /* replace= */ true, &written, &f) != 0)
            die(f.message);
        if (written != n)
            die("a row was not written");
    }
    printf("%-44s %.0f a second\n", "bulk import",
           (double)names * 1e3 / (double)(clock_ms() - span.wall_ms + 1));
}

static void write_text(const char *folder, const char *name, const void *p, size_t n)
{
    char path[8192];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0)
        die("cannot write an adapter");
}

/* A small PEFT folder, another one for each seed. */
static void write_adapter(const char *folder, uint32_t seed)
{
    static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2}\n";
    static const char head[] = "{\"q.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,4],"
                               "\"data_offsets\":[0,16]},\"q.lora_B.weight\":{\"dtype\":\"F32\","
                               "\"shape\":[4,1],\"data_offsets\":[16,32]}}";
    unsigned char file[512] = { 0 };
    uint64_t n = sizeof(head) - 1;
    memcpy(file, &n, sizeof(n));
    memcpy(file + sizeof(n), head, n);
    memcpy(file + sizeof(n) + n, &seed, sizeof(seed));
    write_text(folder, "adapter_config.json", config, sizeof(config) - 1);
    write_text(folder, "adapter_model.safetensors", file, sizeof(n) + n + 32);
}

static void time_publishes(struct adapters *a)
{
    CLEANUP(own_free) uint32_t *ns = malloc(PUBLISHES * sizeof(*ns));
    char folder[512];
    (void)snprintf(folder, sizeof(folder), "%s", test_temp_dir());
    if (!ns)
        die("no memory");
    for (uint32_t i = 0; i < PUBLISHES; i++) {
        struct adapter_push push = { .base = STR("demo"),
                                     .adapter = STR("published"),
                                     .description = STR(""),
                                     .path = folder,
                                     .alias = STR("prod"),
                                     .who = STR("perf") };
        struct adapter_revision r;
        struct fail f = { 0 };
        write_adapter(folder, i);
        uint64_t begin = clock_ns();
        if (adapters_push(a, &push, &r, &f) != 0)
            die(f.message);
        ns[i] = (uint32_t)(clock_ns() - begin);
    }
    print_times("publish, files and all", ns, PUBLISHES);
}

static void time_moves(struct adapters *a)
{
    CLEANUP(own_free) uint32_t *ns = malloc(MOVES * sizeof(*ns));
    if (!ns)
        die("no memory");
    for (size_t i = 0; i < MOVES; i++) {
        struct arena *arena = arena_new(MIB);
        struct adapter_change change = { .op = ADAPTER_OP_rollback,
                                         .base = STR("demo"),
                                         .adapter = STR("published"),
                                         .who = STR("perf") };
        struct adapter_changed changed;
        struct fail f = { 0 };
        uint64_t begin = clock_ns();
        if (!arena || adapters_change(a, &change, arena, &changed, &f) != 0)
            die(f.message);
        ns[i] = (uint32_t)(clock_ns() - begin);
        (void)arena_free(arena);
    }
    print_times("roll-back of one adapter", ns, MOVES);
}

static int load_nothing(void *ctx, struct str base, const char *folder, void **ret,
                        size_t *ret_bytes, struct fail *reterr)
{
    (void)ctx;
    (void)base;
    (void)folder;
    return fail_set(reterr, FAIL_unprocessable_adapter, "nothing is loaded here");
}

static void time_gateway(const struct config *c, uint64_t names, const char *what)
{
    const struct adapter_loader loader = { .load = load_nothing };
    struct adapters_state state;
    struct span span = span_begin();
    struct adapters *g = open_catalog(c, &loader);
    adapters_state(g, &state);
    if (state.known < names)
        die("a gateway does not know every name");
    span_print(span, what);
    span = span_begin();
    (void)adapters_close(g);
    span_print(span, "  and its stop");
}

static void set(const struct test_redis *r, const char *name, const char *value)
{
    redisReply *reply = test_redis_do(r, "CONFIG SET %s %s", name, value);
    if (reply->type == REDIS_REPLY_ERROR)
        die(reply->str);
    freeReplyObject(reply);
}

static void measure_redis(uint64_t names)
{
    struct test_redis r = { 0 };
    char folder[512], snapshot[1024];
    (void)snprintf(folder, sizeof(folder), "%s", test_temp_dir());
    (void)snprintf(snapshot, sizeof(snapshot), "%s/catalog.snapshot", folder);
    test_redis_start(&r);
    /* As the start-up check asks for. */
    set(&r, "hash-max-listpack-entries", "128");
    set(&r, "hash-max-listpack-value", "192");
    set(&r, "appendfsync", "everysec");
    struct config c = catalog_config(r.url, folder, snapshot);
    struct adapters *a = open_catalog(&c, NULL);
    uint64_t before = redis_memory(&r);
    import_names(a, names);
    printf("%-44s %.1f bytes\n", "Redis, an adapter",
           (double)(redis_memory(&r) - before) / (double)names);
    time_gateway(&c, names, "gateway starts: reads all of Redis");
    time_gateway(&c, names, "gateway starts again: from the snapshot");
    before = redis_memory(&r);
    time_publishes(a);
    printf("%-44s %.1f bytes, files and all\n", "Redis, a revision of 500 bytes",
           (double)(redis_memory(&r) - before) / PUBLISHES);
    time_moves(a);
    (void)adapters_close(a);
    test_redis_stop(&r);
}

static int fill(const char *url, uint64_t names)
{
    struct config c = catalog_config(url, test_temp_dir(), "");
    struct adapters *a = open_catalog(&c, NULL);
    import_names(a, names);
    (void)adapters_close(a);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t names = 1000000;
    const char *part = "", *url = NULL;
    bool good = true;
    for (int i = 1; i < argc && good; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "-part") == 0)
            part = value;
        else if (strcmp(argv[i], "-fill") == 0)
            url = value;
        else
            good = strcmp(argv[i], "-n") == 0 &&
                   num_parse_u64(&names, str_of(value), 1000, 100000000) == 0;
    }
    bool replica = !part[0] || strcmp(part, "replica") == 0;
    bool redis = !part[0] || strcmp(part, "redis") == 0;
    if (!good || (!replica && !redis)) {
        (void)fprintf(stderr, "usage: catalog [-n NAMES] [-part replica|redis] [-fill URL]\n");
        return 2;
    }
    log_set_level(LOG_warn);
    if (url)
        return fill(url, names);
    printf("%llu names\n", (unsigned long long)names);
    if (replica)
        measure_replica(names);
    if (redis)
        measure_redis(names);
    return 0;
}
