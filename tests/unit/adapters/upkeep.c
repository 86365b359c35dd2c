/* Pulling, checking and collecting garbage, through the façade, on a Redis catalog whose files are
 * in a folder. */
#include "adapters/upkeep.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

struct site {
    struct test_redis redis;
    const char *store; /* its folder */
    struct str urls[1];
    char url[PATH_MAX];
    struct config config;
    struct adapters *a;
    const char *folders[3]; /* that were pushed */
    struct adapter_revision revisions[3];
};

static void open_site(struct site *s)
{
    *s = (struct site){ .store = test_temp_dir() };
    test_redis_start(&s->redis);
    (void)snprintf(s->url, sizeof(s->url), "file://%s", s->store);
    s->urls[0] = str_of(s->url);
    s->config = redis_config(s->redis.url, test_temp_dir());
    s->config.adapters.blobs.stores = (struct text_list){ s->urls, 1 };
    assert_int_equal(adapters_open(&s->a, &s->config, NULL, NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(s->folders); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "a%u", i);
        s->folders[i] = new_peft(100 + i);
        assert_int_equal(push(s->a, "demo", name, s->folders[i], NULL, &s->revisions[i], NULL), 0);
    }
}

static void close_site(struct site *s)
{
    assert_null(adapters_close(s->a));
    test_redis_stop(&s->redis);
}

static const char *blob_path(const char *root, const struct sha256 *d)
{
    static char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/sha256/%.2s/%s", root, hex_of(d), hex_of(d));
    return path;
}

static struct sha256 digest_in(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct sha256 d;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(sha256_file(&d, path), 0);
    return d;
}

static const char tensors[] = "adapter_model.safetensors";
static const char config_file[] = "adapter_config.json";

static void damage(const char *path)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 20, SEEK_SET), 0);
    assert_int_equal(fputc('~', f), '~');
    assert_int_equal(fclose(f), 0);
}

/* ---- pulling ---- */

static void count_calls(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    ++*(unsigned *)ctx;
}

static void a_pull_brings_the_files_by_name(void **state)
{
    struct site s;
    struct adapters *other;
    struct adapter_revision rev;
    unsigned calls = 0;
    char to[1024];
    (void)state;
    open_site(&s);
    struct config c = s.config;
    c.adapters.blob_cache = str_of(test_temp_dir()); /* that of another host */
    assert_int_equal(adapters_open(&other, &c, NULL, NULL), 0);
    (void)snprintf(to, sizeof(to), "%s/new/folder", test_temp_dir());
    struct adapter_pull p = {
        .name = name_of("demo:a1"), .folder = to, .progress = count_calls, .progress_ctx = &calls
    };
    assert_int_equal(adapters_pull(other, &p, &rev, NULL), 0);
    assert_memory_equal(&rev.digest, &s.revisions[1].digest, SHA256_BYTES);
    assert_true(calls >= 2);
    static const char *const names[] = { tensors, config_file };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct sha256 want = digest_in(s.folders[1], names[i]), is = digest_in(to, names[i]);
        assert_memory_equal(&want, &is, SHA256_BYTES);
    }
    assert_int_equal(adapters_pull(other, &p, &rev, NULL), 0); /* over what is there */
    p.folder = NULL;
    p.name = name_of("a2@1");
    assert_int_equal(adapters_pull(other, &p, &rev, NULL), 0); /* only into the cache */
    struct sha256 d = digest_in(s.folders[2], tensors);
    assert_int_equal(access(blob_path(c.adapters.blob_cache.p, &d), F_OK), 0);
    struct fail f;
    p.name = name_of("none");
    assert_int_equal(adapters_pull(other, &p, &rev, &f), FAILED);
    assert_int_equal(f.code, FAIL_model_not_found);
    d = digest_in(s.folders[0], tensors);
    damage(blob_path(s.store, &d));
    p.name = name_of("a0");
    assert_int_equal(adapters_pull(other, &p, &rev, &f), FAILED);
    assert_int_equal(f.code, FAIL_unprocessable_adapter);
    assert_non_null(strstr(f.message, tensors));
    assert_null(adapters_close(other));
    close_site(&s);
}

/* ---- checking ---- */

struct faults {
    size_t n;
    struct {
        char file[64], where[200];
        struct sha256 revision;
        enum adapter_fault_kind kind;
    } all[16];
};

static void note_fault(void *ctx, const struct adapter_fault *f)
{
    struct faults *k = ctx;
    assert_true(k->n < ARRAY_LEN(k->all));
    (void)snprintf(k->all[k->n].file, sizeof(k->all[0].file), "%s", f->file);
    (void)snprintf(k->all[k->n].where, sizeof(k->all[0].where), "%s", f->where);
    k->all[k->n].revision = f->revision->digest;
    k->all[k->n++].kind = f->kind;
}

static bool has_fault(const struct faults *k, const char *file, const char *where,
                      enum adapter_fault_kind kind)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->all[i].file, file) == 0 && strstr(k->all[i].where, where) &&
            k->all[i].kind == kind)
            return true;
    return false;
}

static struct adapter_verify_report verify(struct adapters *a, const char *adapter,
                                           const char *selector, struct faults *ret)
{
    struct adapter_verify_report r;
    struct fail f = { 0 };
    ret->n = 0;
    struct adapter_verify v = { .base = STR_NULL,
                                .adapter = str_of(adapter),
                                .selector = str_of(selector),
                                .fault = note_fault,
                                .ctx = ret };
    if (adapters_verify(a, &v, &r, &f) != 0)
        fail_msg("%s", f.message);
    return r;
}

static void a_check_finds_every_damaged_and_missing_file(void **state)
{
    struct site s;
    struct faults faults;
    struct adapter_revision rev;
    (void)state;
    open_site(&s);
    struct adapter_verify_report r = verify(s.a, "", "", &faults);
    assert_int_equal(r.revisions, 3);
    assert_int_equal(r.files, 7); /* three manifests and tensors, one configuration */
    assert_int_equal(faults.n, 0);
    struct sha256 d = digest_in(s.folders[0], tensors);
    damage(blob_path(s.store, &d));
    d = digest_in(s.folders[1], tensors);
    assert_int_equal(unlink(blob_path(s.store, &d)), 0);
    r = verify(s.a, "", "", &faults);
    assert_int_equal(faults.n, 2);
    assert_int_equal(r.damaged, 1);
    assert_int_equal(r.missing, 1);
    assert_true(has_fault(&faults, tensors, s.store, ADAPTER_FAULT_damaged));
    assert_true(has_fault(&faults, tensors, "every store", ADAPTER_FAULT_missing));
    r = verify(s.a, "a1", "", &faults); /* one adapter */
    assert_int_equal(r.revisions, 1);
    assert_int_equal(r.missing, 1);
    assert_int_equal(r.damaged, 0);
    r = verify(s.a, "a2", "prod", &faults);
    assert_int_equal(r.revisions, 1);
    assert_int_equal(faults.n, 0);
    struct adapter_pull p = { .name = name_of("a2") };
    assert_int_equal(adapters_pull(s.a, &p, &rev, NULL), 0);
    d = digest_in(s.folders[2], tensors);
    damage(blob_path(s.config.adapters.blob_cache.p, &d)); /* in the cache alone */
    r = verify(s.a, "a2", "", &faults);
    assert_int_equal(faults.n, 1);
    assert_true(has_fault(&faults, tensors, "cache", ADAPTER_FAULT_damaged));
    close_site(&s);
}

static void a_check_names_a_lost_manifest(void **state)
{
    struct site s;
    struct faults faults;
    struct adapters *other;
    (void)state;
    open_site(&s);
    struct config c = s.config;
    c.adapters.blob_cache = str_of(test_temp_dir());
    assert_int_equal(adapters_open(&other, &c, NULL, NULL), 0);
    assert_int_equal(unlink(blob_path(s.store, &s.revisions[1].digest)), 0);
    struct adapter_verify_report r = verify(other, "", "", &faults);
    assert_int_equal(r.missing, 1);
    assert_true(has_fault(&faults, "manifest", "every store", ADAPTER_FAULT_missing));
    assert_memory_equal(&faults.all[0].revision, &s.revisions[1].digest, SHA256_BYTES);
    assert_null(adapters_close(other));
    close_site(&s);
}

/* ---- garbage ---- */

static void put_stray(const char *root, const char *text, time_t age_s)
{
    struct sha256 d = sha256_of(str_of(text));
    char folder[PATH_MAX];
    const char *path = blob_path(root, &d);
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_int_equal(file_make_dirs(folder), 0);
    assert_int_equal(file_replace(path, str_of(text)), 0);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - age_s } };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool is_there(const char *root, const char *text)
{
    struct sha256 d = sha256_of(str_of(text));
    return access(blob_path(root, &d), F_OK) == 0;
}

static struct adapter_gc_report collect(struct adapters *a, bool dry_run, uint64_t grace_s)
{
    struct adapter_gc_report r;
    unsigned calls = 0;
    struct fail f = { 0 };
    struct adapter_gc gc = {
        .dry_run = dry_run, .grace_s = grace_s, .progress = count_calls, .progress_ctx = &calls
    };
    if (adapters_gc(a, &gc, &r, &f) != 0)
        fail_msg("%s", f.message);
    assert_true(calls > 0);
    return r;
}

static void garbage_goes_and_what_is_named_or_young_stays(void **state)
{
    struct site s;
    struct faults faults;
    (void)state;
    open_site(&s);
    const char *cache = s.config.adapters.blob_cache.p;
    put_stray(s.store, "stray and old", 7200);
    put_stray(s.store, "stray and young", 60);
    put_stray(cache, "stray, old, cached", 7200);
    put_stray(cache, "stray, young, cached", 60);
    struct adapter_gc_report r = collect(s.a, /* dry_run= */ true, 3600);
    assert_int_equal(r.revisions, 3);
    assert_int_equal(r.missing, 0);
    assert_int_equal(r.stores.removed, 1);
    assert_int_equal(r.stores.removed_bytes, 13);
    assert_int_equal(r.stores.kept, 8);
    assert_int_equal(r.cache.removed, 1);
    assert_true(is_there(s.store, "stray and old"));
    assert_true(is_there(cache, "stray, old, cached"));
    r = collect(s.a, /* dry_run= */ false, 3600);
    assert_int_equal(r.stores.removed, 1);
    assert_int_equal(r.cache.removed, 1);
    assert_int_equal(r.cache.removed_bytes, 18);
    assert_false(is_there(s.store, "stray and old"));
    assert_true(is_there(s.store, "stray and young"));
    assert_false(is_there(cache, "stray, old, cached"));
    assert_true(is_there(cache, "stray, young, cached"));
    r = collect(s.a, /* dry_run= */ false, 3600);
    assert_int_equal(r.stores.removed + r.cache.removed, 0);
    r = collect(s.a, /* dry_run= */ false, 0); /* no grace: all that is not named */
    assert_int_equal(r.stores.removed, 1);
    assert_int_equal(r.stores.kept, 7);
    assert_int_equal(verify(s.a, "", "", &faults).files, 7);
    assert_int_equal(faults.n, 0);
    close_site(&s);
}

static void every_revision_keeps_its_files(void **state)
{
    struct site s;
    struct faults faults;
    struct adapters *tool;
    struct adapter_revision rev;
    (void)state;
    open_site(&s);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(push(s.a, "demo", "a0", new_peft(400 + i), "prod", &rev, NULL), 0);
    struct config c = s.config;
    c.adapters.blob_cache = str_of(test_temp_dir());
    assert_int_equal(adapters_open(&tool, &c, NULL, NULL), 0);
    struct adapter_gc_report r = collect(tool, /* dry_run= */ false, 0);
    assert_int_equal(r.revisions, 7);
    assert_int_equal(r.stores.removed, 0);
    assert_int_equal(verify(tool, "a0", "", &faults).revisions, 5);
    assert_int_equal(verify(tool, "", "", &faults).revisions, 7);
    assert_int_equal(faults.n, 0);
    assert_null(adapters_close(tool));
    close_site(&s);
}

static void garbage_in_redis_goes_too(void **state)
{
    struct site s;
    (void)state;
    open_site(&s);
    struct config c = s.config;
    struct adapters *a;
    struct adapter_revision rev;
    struct str urls[] = { STR("redis") };
    c.adapters.blobs.stores = (struct text_list){ urls, 1 };
    c.adapters.blob_cache = str_of(test_temp_dir());
    assert_int_equal(adapters_open(&a, &c, NULL, NULL), 0);
    assert_int_equal(push(a, "demo", "in-redis", new_peft(200), NULL, &rev, NULL), 0);
    redisReply *keys = test_redis_do(&s.redis, "KEYS test:b:*");
    assert_int_equal(keys->elements, 3);
    freeReplyObject(keys);
    freeReplyObject(test_redis_do(&s.redis, "SET test:b:{%s}:0 hello",
                                  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9"
                                  "824"));
    freeReplyObject(test_redis_do(&s.redis, "HSET test:bl:{b2c} %s %s",
                                  "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9"
                                  "824",
                                  "5 1000 part"));
    struct adapter_gc_report r = collect(a, /* dry_run= */ false, 3600);
    assert_int_equal(r.stores.removed, 1);
    assert_int_equal(r.stores.kept, 3);
    assert_int_equal(r.missing, 3); /* those whose files are in the folder */
    keys = test_redis_do(&s.redis, "KEYS test:b:*");
    assert_int_equal(keys->elements, 3);
    freeReplyObject(keys);
    assert_null(adapters_close(a));
    close_site(&s);
}

static void a_folder_is_pulled_from_and_checked_too(void **state)
{
    struct config c = directory_config(test_temp_dir());
    struct adapters *a;
    struct adapter_revision rev;
    struct faults faults;
    char to[1024];
    const char *folder = new_peft(300);
    (void)state;
    c.adapters.blob_cache = str_of(test_temp_dir());
    assert_int_equal(adapters_open(&a, &c, NULL, NULL), 0);
    assert_int_equal(push(a, "demo", "sql", folder, NULL, &rev, NULL), 0);
    (void)snprintf(to, sizeof(to), "%s/out", test_temp_dir());
    struct adapter_pull p = { .name = name_of("sql"), .folder = to };
    assert_int_equal(adapters_pull(a, &p, &rev, NULL), 0);
    struct sha256 want = digest_in(folder, tensors), is = digest_in(to, tensors);
    assert_memory_equal(&want, &is, SHA256_BYTES);
    assert_int_equal(verify(a, "", "", &faults).revisions, 1);
    assert_int_equal(faults.n, 0);
    (void)collect(a, /* dry_run= */ false, 0);
    assert_null(adapters_close(a));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pull_brings_the_files_by_name),
        cmocka_unit_test(a_check_finds_every_damaged_and_missing_file),
        cmocka_unit_test(a_check_names_a_lost_manifest),
        cmocka_unit_test(garbage_goes_and_what_is_named_or_young_stays),
        cmocka_unit_test(every_revision_keeps_its_files),
        cmocka_unit_test(garbage_in_redis_goes_too),
        cmocka_unit_test(a_folder_is_pulled_from_and_checked_too),
    };
    return TEST_RUN(tests);
}
