#include "tests/unit/adapters/common.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

static void write_file(const char *folder, const char *name, const void *p, size_t n)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void write_peft(const char *folder, unsigned seed)
{
    static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2}\n";
    static const char head[] = "{\"q.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,4],"
                               "\"data_offsets\":[0,16]},\"q.lora_B.weight\":{\"dtype\":\"F32\","
                               "\"shape\":[4,1],\"data_offsets\":[16,32]}}";
    unsigned char file[512] = { 0 };
    uint64_t n = sizeof(head) - 1;
    memcpy(file, &n, 8);
    memcpy(file + 8, head, n);
    memcpy(file + 8 + n, &seed, sizeof(seed));
    (void)mkdir(folder, 0755);
    write_file(folder, "adapter_config.json", config, sizeof(config) - 1);
    write_file(folder, "adapter_model.safetensors", file, 8 + n + 32);
}

const char *new_peft(unsigned seed)
{
    static char ring[16][512], *root;
    static unsigned at;
    char *p = ring[at++ % ARRAY_LEN(ring)];
    if (!root)
        root = str_dup(str_of(test_temp_dir())); /* for the life of the program */
    (void)snprintf(p, sizeof(ring[0]), "%s/%u", root, seed);
    write_peft(p, seed);
    return p;
}

static struct config some_config(void)
{
    return (struct config){ .adapters = { .blob_max_bytes = 64 * MIB,
                                          .max_bytes = 1 * MIB,
                                          .max_loads = 2,
                                          .cold_wait_ms = 10000,
                                          .catalog_namespace = STR("test") } };
}

struct config directory_config(const char *path)
{
    struct config c = some_config();
    c.adapters.catalog = CATALOG_directory;
    c.adapters.catalog_path = str_of(path);
    return c;
}

struct config redis_config(const char *url, const char *cache)
{
    struct config c = some_config();
    c.adapters.catalog = CATALOG_redis;
    c.adapters.catalog_url = str_of(url);
    c.adapters.blob_cache = str_of(cache);
    return c;
}

/* ---- a loader that only reads the files ---- */

static uint64_t size_of(const char *folder, const char *name)
{
    char path[4096];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int fake_load(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                     struct fail *reterr)
{
    struct fake_loader *f = ctx;
    unsigned now = atomic_fetch_add(&f->running, 1) + 1, most = atomic_load(&f->most_running);
    while (now > most && !atomic_compare_exchange_weak(&f->most_running, &most, now))
        ;
    atomic_fetch_add(&f->loads, 1);
    unsigned delay_ms = atomic_load(&f->delay_ms);
    if (delay_ms)
        (void)usleep(delay_ms * 1000);
    size_t bytes =
        size_of(folder, "adapter_model.safetensors") + size_of(folder, "adapter_config.json");
    int r = 0;
    if (atomic_load(&f->refuse) || base.n == 0)
        r = fail_set(reterr, FAIL_unprocessable_adapter, "%s: refused", folder);
    else if (bytes == 0)
        r = fail_set(reterr, FAIL_unprocessable_adapter, "%s: no files", folder);
    else
        *ret = malloc(16);
    *ret_bytes = atomic_load(&f->bytes) ? atomic_load(&f->bytes) : bytes;
    atomic_fetch_sub(&f->running, 1);
    return r;
}

static void fake_unload(void *ctx, void *resident)
{
    struct fake_loader *f = ctx;
    atomic_fetch_add(&f->unloads, 1);
    free(resident);
}

struct adapter_loader loader_of(struct fake_loader *f)
{
    return (struct adapter_loader){ .load = fake_load, .unload = fake_unload, .ctx = f };
}

/* ---- waiting ---- */

struct adapter_name name_of(const char *text)
{
    return adapter_name_split(str_of(text));
}

void waiting_init(struct waiting *w)
{
    memset(w, 0, sizeof(*w));
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->done, NULL);
}

void waiting_answer(void *owner, struct lease *lease, const struct fail *fail)
{
    struct waiting *w = owner;
    (void)pthread_mutex_lock(&w->lock);
    w->calls++;
    w->lease = lease;
    if (fail)
        w->fail = *fail;
    (void)pthread_cond_signal(&w->done);
    (void)pthread_mutex_unlock(&w->lock);
}

bool waiting_done(struct waiting *w, unsigned timeout_ms)
{
    uint64_t until = clock_ms() + timeout_ms;
    for (;;) {
        (void)pthread_mutex_lock(&w->lock);
        bool done = w->calls > 0;
        (void)pthread_mutex_unlock(&w->lock);
        if (done || clock_ms() >= until)
            return done;
        (void)usleep(500);
    }
}

int acquire(struct adapters *a, const char *name, struct lease **ret, struct fail *reterr)
{
    struct waiting w;
    struct adapter_name n = name_of(name);
    waiting_init(&w);
    int r = adapters_acquire(a, &n, clock_ms() + 10000, waiting_answer, &w, ret, &w.wait, reterr);
    if (r != ADAPTERS_PENDING)
        return r;
    assert_true(waiting_done(&w, 20000));
    assert_int_equal(w.calls, 1);
    w.wait = lease_wait_free(w.wait);
    *ret = w.lease;
    if (!w.lease && reterr)
        *reterr = w.fail;
    return w.lease ? 0 : FAILED;
}

const char *hex_of(const struct sha256 *d)
{
    static char ring[8][SHA256_HEX + 1];
    static unsigned at;
    char *p = ring[at++ % ARRAY_LEN(ring)];
    sha256_hex(p, d);
    return p;
}

const char *served(struct adapters *a, const char *name)
{
    struct lease *l = NULL;
    if (acquire(a, name, &l, NULL) != 0)
        return "";
    const char *hex = hex_of(&lease_revision(l)->digest);
    assert_non_null(lease_resident(l));
    (void)lease_release(l);
    return hex;
}

int push(struct adapters *a, const char *base, const char *adapter, const char *path,
         const char *alias, struct adapter_revision *ret, struct fail *reterr)
{
    struct adapter_push p = { .base = str_of(base),
                              .adapter = str_of(adapter),
                              .who = STR("tester"),
                              .path = path,
                              .alias = str_of(alias),
                              .description = STR("what it does") };
    return adapters_push(a, &p, ret, reterr);
}

int set_alias(struct adapters *a, const char *adapter, const char *alias, const char *selector)
{
    struct adapter_revision r;
    return adapters_alias(a, STR_NULL, str_of(adapter), str_of(alias), str_of(selector), STR_NULL,
                          STR("tester"), &r, NULL);
}
