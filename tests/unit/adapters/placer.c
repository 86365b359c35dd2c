/* Files put where other programs read them: whole, hashed once, bounded, and never taken from who
 * uses them. */
#include "adapters/placer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "tests/unit/adapters/common.h"

enum {
    FOLDER_MAX = 1024,
    PATH_BYTES = 2048,
    REVISIONS = 3,
    HOUR_S = 3600,
    HOUR_MS = HOUR_S * 1000,
    ROUNDS = 300
};

struct site {
    struct config config;
    struct adapters *adapters;
    char folder[FOLDER_MAX];
    struct adapter_revision revisions[REVISIONS];
};

static const char *const names[REVISIONS] = { "demo:a0", "demo:a1", "demo:a2" };

static void open_site(struct site *s)
{
    *s = (struct site){ .config = directory_config(test_temp_dir()) };
    assert_int_equal(adapters_open(&s->adapters, &s->config, NULL, NULL), 0);
    for (unsigned i = 0; i < REVISIONS; i++)
        assert_int_equal(
            push(s->adapters, "demo", names[i] + 5, new_peft(i + 1), NULL, &s->revisions[i], NULL),
            0);
    (void)snprintf(s->folder, sizeof(s->folder), "%s/engines", test_temp_dir());
}

static struct placer *new_placer(const struct site *s, uint64_t max_bytes, uint64_t keep_ms)
{
    struct placer *p = NULL;
    struct placer_options o = { str_of(s->folder), max_bytes, keep_ms };
    assert_int_equal(placer_new(&p, &o), 0);
    return p;
}

static void put(struct placer *p, struct site *s, unsigned i)
{
    struct adapter_name name = name_of(names[i]);
    struct fail fail = { 0 };
    int r = placer_put(p, s->adapters, &name, &fail);
    if (r != 0)
        print_message("# %d %s\n", r, fail.message);
    assert_int_equal(r, 0);
}

static const char *path_of(const struct site *s, unsigned i, const char *file)
{
    static _Thread_local char path[PATH_BYTES];
    char hex[SHA256_HEX + 1]; /* by threads at once */
    sha256_hex(hex, &s->revisions[i].digest);
    (void)snprintf(path, sizeof(path), "%s/%.2s/%s/%s", s->folder, hex, hex, file);
    return path;
}

static bool is_there(const struct site *s, unsigned i)
{
    return access(path_of(s, i, "adapter_model.safetensors"), R_OK) == 0 &&
           access(path_of(s, i, "adapter_config.json"), R_OK) == 0;
}

/* Was used so long ago. */
static void set_age(const char *path, time_t age_s)
{
    struct timespec t[2] = { { .tv_sec = time(NULL) - age_s }, { .tv_sec = time(NULL) - age_s } };
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static uint64_t bytes_of(const struct site *s, unsigned i)
{
    return s->revisions[i].bytes;
}

static void files_are_put_whole_and_hashed_once_in_a_process(void **state)
{
    struct site s;
    open_site(&s);
    struct placer *p = new_placer(&s, UINT64_MAX, HOUR_MS), *other = new_placer(&s, 1, HOUR_MS);
    for (unsigned i = 0; i < 5; i++)
        put(p, &s, 0);
    assert_true(is_there(&s, 0));
    assert_int_equal(placer_look(p).hashed, 0); /* it has written them */
    assert_int_equal(placer_look(p).put, 1);
    for (unsigned i = 0; i < 5; i++)
        put(other, &s, 0);
    assert_int_equal(placer_look(other).hashed, 1); /* of another process it knows nothing */
    assert_int_equal(placer_look(other).put, 0);
    (void)placer_free(p);
    (void)placer_free(other);
    assert_null(adapters_close(s.adapters));
}

/* In place, and dressed up as if nothing had happened. */
static void damage(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "~", 1, st.st_size - 1), 1);
    struct timespec t[2] = { st.st_atim, st.st_mtim };
    assert_int_equal(futimens(fd, t), 0);
    assert_int_equal(close(fd), 0);
}

static void files_that_somebody_touched_are_hashed_again_and_put_anew(void **state)
{
    struct site s;
    struct sha256 before, after;
    char path[PATH_BYTES];
    open_site(&s);
    struct placer *p = new_placer(&s, UINT64_MAX, HOUR_MS);
    put(p, &s, 0);
    (void)snprintf(path, sizeof(path), "%s", path_of(&s, 0, "adapter_model.safetensors"));
    assert_int_equal(sha256_file(&before, path), 0);
    damage(path);
    put(p, &s, 0);
    assert_int_equal(sha256_file(&after, path), 0);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(placer_look(p).hashed, 2); /* and once more before it was replaced */
    assert_int_equal(placer_look(p).put, 2);
    assert_int_equal(unlink(path), 0);
    put(p, &s, 0);
    assert_true(is_there(&s, 0));
    assert_int_equal(chmod(path, 0600), 0); /* touched, but the same */
    put(p, &s, 0);
    assert_int_equal(placer_look(p).hashed, 3);
    put(p, &s, 0);
    assert_int_equal(placer_look(p).hashed, 3);
    assert_int_equal(placer_look(p).put, 3);
    (void)placer_free(p);
    assert_null(adapters_close(s.adapters));
}

static void what_was_used_longest_ago_goes_when_there_is_too_much(void **state)
{
    struct site s;
    open_site(&s);
    struct placer *p = new_placer(&s, bytes_of(&s, 0) + bytes_of(&s, 1), HOUR_MS);
    assert_int_equal(placer_trim(p), 0); /* there is no folder yet */
    for (unsigned i = 0; i < REVISIONS; i++)
        put(p, &s, i);
    assert_int_equal(placer_trim(p), 0);
    assert_int_equal(placer_look(p).removed, 0); /* all were used within the hour */
    for (unsigned i = 0; i < REVISIONS; i++)
        set_age(path_of(&s, i, ""), (time_t)(REVISIONS - i) * 2 * HOUR_S);
    char digits[13];
    (void)snprintf(digits, sizeof(digits), "%s", hex_of(&s.revisions[0].digest));
    assert_int_equal(placer_keep(p, str_of(digits)), 0); /* an engine has it */
    assert_int_equal(placer_keep(p, STR("0123456789ab")), 0);
    assert_int_equal(placer_trim(p), 0);
    assert_true(is_there(&s, 0));
    assert_false(is_there(&s, 1));
    assert_true(is_there(&s, 2));
    assert_int_equal(placer_look(p).removed, 1);
    assert_int_equal(placer_look(p).bytes, bytes_of(&s, 0) + bytes_of(&s, 2));
    put(p, &s, 1); /* it comes back when it is wanted */
    assert_true(is_there(&s, 1));
    assert_int_equal(placer_trim(p), 0);
    assert_false(is_there(&s, 2));
    (void)placer_free(p);
    assert_null(adapters_close(s.adapters));
}

static void drafts_of_processes_that_died_go_after_a_day(void **state)
{
    struct site s;
    char old[PATH_BYTES], young[PATH_BYTES], file[PATH_BYTES + 8], theirs[PATH_BYTES];
    open_site(&s);
    struct placer *p = new_placer(&s, UINT64_MAX, 1);
    put(p, &s, 0);
    const char *hex = hex_of(&s.revisions[0].digest);
    (void)snprintf(old, sizeof(old), "%s/%.2s/.%s.1.0", s.folder, hex, hex);
    (void)snprintf(young, sizeof(young), "%s/%.2s/.%s.1.1", s.folder, hex, hex);
    (void)snprintf(theirs, sizeof(theirs), "%s/%.2s/theirs", s.folder, hex);
    assert_int_equal(mkdir(old, 0755), 0);
    assert_int_equal(mkdir(young, 0755), 0);
    assert_int_equal(mkdir(theirs, 0755), 0);
    (void)snprintf(file, sizeof(file), "%s/part", old);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    set_age(old, 25L * HOUR_S);
    set_age(theirs, 1000L * HOUR_S);
    assert_int_equal(placer_trim(p), 0);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(access(theirs, F_OK), 0); /* not ours */
    assert_true(is_there(&s, 0));
    (void)placer_free(p);
    assert_null(adapters_close(s.adapters));
}

/* Two gateways: one puts and uses, the other removes whatever nobody uses. */
static struct {
    pthread_mutex_t lock;
    struct site *site;
    unsigned in_use;
    bool over;
} race = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool age_all_but_used(void)
{
    LOCKED(&race.lock);
    for (unsigned i = 0; i < REVISIONS; i++)
        if (i != race.in_use && is_there(race.site, i))
            set_age(path_of(race.site, i, ""), 2L * HOUR_S);
    return !race.over;
}

static void *trimmer_main(void *arg)
{
    while (age_all_but_used())
        assert_int_equal(placer_trim(arg), 0);
    return NULL;
}

static void nothing_is_taken_from_who_uses_it(void **state)
{
    struct site s;
    pthread_t thread;
    open_site(&s);
    struct placer *p = new_placer(&s, 1, HOUR_MS), *other = new_placer(&s, 1, HOUR_MS);
    race.site = &s;
    race.over = false;
    assert_int_equal(pthread_create(&thread, NULL, trimmer_main, other), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        {
            LOCKED(&race.lock);
            race.in_use = round % REVISIONS;
        }
        put(p, &s, round % REVISIONS);
        for (unsigned i = 0; i < 20; i++)
            assert_true(is_there(&s, round % REVISIONS));
    }
    {
        LOCKED(&race.lock);
        race.over = true;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)placer_free(p);
    (void)placer_free(other);
    assert_null(adapters_close(s.adapters));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_put_whole_and_hashed_once_in_a_process),
        cmocka_unit_test(files_that_somebody_touched_are_hashed_again_and_put_anew),
        cmocka_unit_test(what_was_used_longest_ago_goes_when_there_is_too_much),
        cmocka_unit_test(drafts_of_processes_that_died_go_after_a_day),
        cmocka_unit_test(nothing_is_taken_from_who_uses_it),
    };
    return TEST_RUN(tests);
}
