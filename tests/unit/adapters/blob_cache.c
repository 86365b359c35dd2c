#include "adapters/blob_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/file.h"
#include "tests/unit/adapters/common.h"

/* A blob of n bytes that depend on the seed. */
static struct str content(unsigned seed, size_t n, struct sha256 *ret_digest)
{
    static char bytes[4096];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(seed * 31 + i);
    *ret_digest = sha256_of((struct str){ bytes, n });
    return (struct str){ bytes, n };
}

static int add(struct blob_cache *c, unsigned seed, size_t n)
{
    struct sha256 d;
    struct str s = content(seed, n, &d);
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    assert_int_equal(blob_writer_new(&w, c, &d, n), 0);
    assert_int_equal(blob_writer_add(w, str_head(s, n / 2)), 0);
    assert_int_equal(blob_writer_add(w, str_sub(s, n / 2)), 0);
    int r = blob_writer_end(w);
    return r;
}

static int hold(struct blob_cache *c, unsigned seed, size_t n)
{
    struct sha256 d;
    (void)content(seed, n, &d);
    return blob_cache_hold(c, &d);
}

static void release(struct blob_cache *c, unsigned seed, size_t n)
{
    struct sha256 d;
    (void)content(seed, n, &d);
    blob_cache_release(c, &d);
}

static bool there(struct blob_cache *c, unsigned seed, size_t n)
{
    if (hold(c, seed, n) != 0)
        return false;
    release(c, seed, n);
    return true;
}

static void a_blob_is_stored_under_its_digest(void **state)
{
    struct blob_cache *c;
    struct sha256 d;
    char path[PATH_MAX];
    const char *folder = test_temp_dir();
    (void)state;
    assert_int_equal(blob_cache_open(&c, folder, 10000, NULL), 0);
    assert_int_equal(add(c, 1, 100), 0);
    struct str s = content(1, 100, &d);
    char want[PATH_MAX], hex[SHA256_HEX + 1];
    sha256_hex(hex, &d);
    (void)snprintf(want, sizeof(want), "%s/sha256/%.2s/%s", folder, hex, hex);
    assert_int_equal(blob_cache_path(c, &d, path), 0);
    assert_string_equal(path, want);
    size_t n;
    CLEANUP(own_free) char *text = test_read(want, &n);
    assert_int_equal(n, 100);
    assert_memory_equal(text, s.p, 100);
    release(c, 1, 100);
    assert_int_equal(blob_cache_bytes(c), 100);
    assert_int_equal(hold(c, 2, 100), -ENOENT);
    assert_null(blob_cache_free(c));
}

static void what_is_not_what_was_promised_is_not_kept(void **state)
{
    struct blob_cache *c;
    struct blob_writer *w;
    struct sha256 d;
    (void)state;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 10000, NULL), 0);
    struct str s = content(1, 100, &d);
    assert_int_equal(blob_writer_new(&w, c, &d, 100), 0);
    assert_int_equal(blob_writer_add(w, str_head(s, 99)), 0);
    assert_int_equal(blob_writer_end(w), -EBADMSG); /* short */
    (void)blob_writer_free(w);
    assert_int_equal(blob_writer_new(&w, c, &d, 100), 0);
    assert_int_equal(blob_writer_add(w, s), 0);
    assert_int_equal(blob_writer_add(w, STR("x")), -EBADMSG); /* long */
    (void)blob_writer_free(w);
    s = content(2, 100, &(struct sha256){ 0 });
    assert_int_equal(blob_writer_new(&w, c, &d, 100), 0);
    assert_int_equal(blob_writer_add(w, s), 0);
    assert_int_equal(blob_writer_end(w), -EBADMSG); /* another content */
    (void)blob_writer_free(w);
    assert_int_equal(blob_cache_bytes(c), 0);
    assert_false(there(c, 1, 100));
    assert_null(blob_cache_free(c));
}

static void the_least_recently_used_goes_and_what_is_held_stays(void **state)
{
    struct blob_cache *c;
    (void)state;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 300, NULL), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(add(c, i, 100), 0);
        release(c, i, 100);
    }
    assert_true(there(c, 1, 100)); /* used again: 2 is the oldest */
    assert_int_equal(add(c, 4, 100), 0);
    release(c, 4, 100);
    assert_false(there(c, 2, 100));
    assert_int_equal(hold(c, 3, 100), 0);
    assert_int_equal(hold(c, 1, 100), 0);
    assert_int_equal(add(c, 5, 250), 0); /* all else goes; the held stay, above the bound */
    assert_int_equal(blob_cache_bytes(c), 450);
    assert_true(there(c, 3, 100));
    assert_false(there(c, 4, 100));
    release(c, 5, 250);
    release(c, 3, 100);
    release(c, 1, 100);
    assert_true(blob_cache_bytes(c) <= 300);
    assert_null(blob_cache_free(c));
}

static void a_reopened_cache_knows_its_blobs_and_finds_the_damaged(void **state)
{
    struct blob_cache *c;
    struct sha256 d;
    char path[PATH_MAX];
    const char *folder = test_temp_dir();
    (void)state;
    assert_int_equal(blob_cache_open(&c, folder, 1000, NULL), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(add(c, i, 100), 0);
        release(c, i, 100);
        (void)usleep(20000); /* the order survives as times of the files */
    }
    assert_true(there(c, 1, 100));
    (void)content(2, 100, &d);
    assert_int_equal(blob_cache_path(c, &d, path), 0);
    assert_null(blob_cache_free(c));
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fputc('X', f), 'X');
    assert_int_equal(fclose(f), 0);
    assert_int_equal(blob_cache_open(&c, folder, 1000, NULL), 0);
    assert_int_equal(blob_cache_bytes(c), 300);
    assert_true(there(c, 1, 100));
    assert_false(there(c, 2, 100)); /* its content is not its name any more */
    assert_int_equal(access(path, F_OK), -1);
    (void)usleep(20000);
    assert_true(there(c, 3, 100));
    assert_null(blob_cache_free(c));
    assert_int_equal(blob_cache_open(&c, folder, 100, NULL), 0); /* a smaller bound trims at once */
    assert_int_equal(blob_cache_bytes(c), 100);
    assert_true(there(c, 3, 100));
    assert_null(blob_cache_free(c));
}

static void a_staged_file_keeps_its_blob(void **state)
{
    struct blob_cache *c;
    struct sha256 d;
    char folder[PATH_MAX], path[PATH_MAX + 16];
    (void)state;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 100, NULL), 0);
    assert_int_equal(add(c, 1, 100), 0);
    (void)content(1, 100, &d);
    assert_int_equal(blob_cache_stage(c, folder), 0);
    assert_int_equal(blob_cache_link(c, &d, folder, "file"), 0);
    release(c, 1, 100);
    assert_int_equal(add(c, 2, 100), 0);
    release(c, 2, 100);
    assert_true(there(c, 1, 100));
    assert_false(there(c, 2, 100));
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    struct sha256 is;
    assert_int_equal(sha256_file(&is, path), 0);
    assert_true(sha256_eq(&is, &d));
    folder_remove(folder);
    assert_int_equal(access(folder, F_OK), -1);
    assert_int_equal(add(c, 2, 100), 0);
    release(c, 2, 100);
    assert_false(there(c, 1, 100));
    assert_null(blob_cache_free(c));
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    struct blob_cache *c = NULL;
    struct fail f;
    (void)state;
    assert_int_equal(blob_cache_open(&c, "/proc/nope", 100, &f), FAILED);
    assert_non_null(strstr(f.message, "/proc/nope"));
    assert_null(c);
}

/* ---- several processes ---- */

/* Runs `fn` in a process of its own, which dies at once without any tidying up. */
static int in_child(int (*fn)(const char *folder), const char *folder)
{
    int status = -1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(folder));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int fill_up(const char *folder)
{
    struct blob_cache *c;
    if (blob_cache_open(&c, folder, 300, NULL) != 0)
        return 1;
    for (unsigned i = 10; i < 20; i++) {
        (void)add(c, i, 100);
        release(c, i, 100);
    }
    return blob_cache_bytes(c) <= 300 ? 0 : 2;
}

static int hold_and_die(const char *folder)
{
    struct blob_cache *c;
    char path[PATH_MAX];
    if (blob_cache_open(&c, folder, 300, NULL) != 0 || hold(c, 1, 100) != 0)
        return 1;
    return blob_cache_stage(c, path) == 0 ? 0 : 2;
}

static int has_first(const char *folder)
{
    struct blob_cache *c;
    return blob_cache_open(&c, folder, 300, NULL) == 0 && there(c, 1, 100);
}

static void what_one_process_holds_no_other_removes(void **state)
{
    struct blob_cache *c;
    const char *folder = test_temp_dir();
    (void)state;
    assert_int_equal(blob_cache_open(&c, folder, 300, NULL), 0);
    assert_int_equal(add(c, 1, 100), 0);
    assert_int_equal(in_child(fill_up, folder), 0);
    assert_true(there(c, 1, 100));
    assert_int_equal(blob_cache_bytes(c), 300); /* the other's are counted here */
    release(c, 1, 100);
    (void)usleep(2000);
    assert_int_equal(in_child(fill_up, folder), 0);
    assert_false(there(c, 1, 100));
    assert_null(blob_cache_free(c));
}

static void what_the_dead_held_is_free_again(void **state)
{
    struct blob_cache *c;
    const char *folder = test_temp_dir();
    (void)state;
    assert_int_equal(blob_cache_open(&c, folder, 300, NULL), 0);
    assert_int_equal(add(c, 1, 100), 0);
    release(c, 1, 100);
    assert_int_equal(in_child(hold_and_die, folder), 0);
    assert_int_equal(in_child(has_first, folder), 1);
    (void)usleep(2000);
    for (unsigned i = 2; i < 5; i++) {
        assert_int_equal(add(c, i, 100), 0);
        release(c, i, 100);
    }
    assert_false(there(c, 1, 100));
    assert_int_equal(blob_cache_bytes(c), 300);
    assert_null(blob_cache_free(c));
}

static int write_for_ever(const char *folder)
{
    struct blob_cache *c;
    if (blob_cache_open(&c, folder, 2000, NULL) != 0)
        return 1;
    for (unsigned i = 0;; i++)
        if (add(c, i % 100, 500) == 0 && (i % 3 || hold(c, i % 100, 500) == 0))
            release(c, i % 100, 500);
}

static uint64_t bytes_on_disk(const char *folder, unsigned *ret_damaged)
{
    uint64_t bytes = 0;
    for (unsigned seed = 0; seed < 256; seed++) {
        struct sha256 d, is;
        char path[PATH_MAX], hex[SHA256_HEX + 1];
        struct stat st;
        (void)content(seed, 500, &d);
        sha256_hex(hex, &d);
        (void)snprintf(path, sizeof(path), "%s/sha256/%.2s/%s", folder, hex, hex);
        if (stat(path, &st) < 0)
            continue;
        bytes += (uint64_t)st.st_size;
        *ret_damaged += sha256_file(&is, path) != 0 || !sha256_eq(&is, &d);
    }
    return bytes;
}

static void a_process_killed_at_any_moment_leaves_only_whole_files(void **state)
{
    const char *folder = test_temp_dir();
    uint64_t random = 11;
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct blob_cache *c;
        unsigned damaged = 0;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(write_for_ever(folder));
        (void)usleep((useconds_t)(3000 + test_random(&random) % 6000));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(blob_cache_open(&c, folder, 2000, NULL), 0);
        assert_int_equal(blob_cache_bytes(c), bytes_on_disk(folder, &damaged));
        assert_int_equal(damaged, 0);
        assert_true(blob_cache_bytes(c) <= 2000);
        assert_null(blob_cache_free(c));
    }
}

/* ---- packed revisions ---- */

static void write_temp(struct blob_cache *c, char path[static PATH_MAX], const char *text)
{
    assert_int_equal(blob_cache_temp(c, path), 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void a_packed_file_is_found_by_its_group_and_revision(void **state)
{
    struct blob_cache *c;
    struct sha256 d = sha256_of(STR("revision"));
    char temp[PATH_MAX], path[PATH_MAX], again[PATH_MAX];
    (void)state;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 1000, NULL), 0);
    assert_int_equal(blob_cache_packed_hold(c, "1-ab", &d, path), -ENOENT);
    write_temp(c, temp, "0123456789");
    assert_int_equal(blob_cache_packed_insert(c, "1-ab", &d, temp, path), 0);
    assert_int_equal(access(temp, F_OK), -1);
    assert_int_equal(blob_cache_bytes(c), 10);
    assert_int_equal(blob_cache_packed_hold(c, "1-ab", &d, again), 0);
    assert_string_equal(path, again);
    assert_int_equal(blob_cache_packed_hold(c, "2-ab", &d, again), -ENOENT);
    assert_int_equal(blob_cache_hold(c, &d), -ENOENT); /* it is no blob */
    blob_cache_packed_release(c, "1-ab", &d);
    write_temp(c, temp, "01234"); /* packed anew */
    assert_int_equal(blob_cache_packed_insert(c, "1-ab", &d, temp, path), 0);
    assert_int_equal(blob_cache_bytes(c), 5);
    blob_cache_packed_remove(c, "1-ab", &d);
    assert_int_equal(blob_cache_bytes(c), 0);
    assert_int_equal(blob_cache_packed_hold(c, "1-ab", &d, again), -ENOENT);
    blob_cache_packed_release(c, "1-ab", &d);
    blob_cache_packed_release(c, "1-ab", &d);
    static const char *const bad[] = { "", ".", "..", "a/b", ".a", "a b" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(blob_cache_packed_hold(c, bad[i], &d, again), -EINVAL);
    assert_null(blob_cache_free(c));
}

/* Ages a file by its time of use. */
static void age(const char *path, time_t by_s)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec -= by_s;
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void the_age_of_what_was_packed_counts_double(void **state)
{
    static const struct {
        time_t packed_s, blob_s;
        bool packed_goes;
    } rows[] = { { 100, 150, true }, { 100, 250, false } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct blob_cache *c;
        struct sha256 d = sha256_of(STR("revision")), blob;
        char temp[PATH_MAX], packed[PATH_MAX], path[PATH_MAX];
        assert_int_equal(blob_cache_open(&c, test_temp_dir(), 120, NULL), 0);
        assert_int_equal(add(c, 1, 100), 0);
        release(c, 1, 100);
        (void)content(1, 100, &blob);
        assert_int_equal(blob_cache_path(c, &blob, path), 0);
        write_temp(c, temp, "0123456789");
        assert_int_equal(blob_cache_packed_insert(c, "1-ab", &d, temp, packed), 0);
        blob_cache_packed_release(c, "1-ab", &d);
        age(packed, rows[i].packed_s);
        age(path, rows[i].blob_s);
        assert_int_equal(add(c, 3, 15), 0); /* too much by 5 */
        release(c, 3, 15);
        assert_int_equal(access(packed, F_OK) != 0, rows[i].packed_goes);
        assert_int_equal(access(path, F_OK) != 0, !rows[i].packed_goes);
        assert_null(blob_cache_free(c));
    }
}

/* ---- downloads that break off ---- */

static void a_broken_download_is_gone_on_with(void **state)
{
    struct blob_cache *c;
    struct blob_writer *w, *other;
    struct sha256 d;
    const char *folder = test_temp_dir();
    (void)state;
    assert_int_equal(blob_cache_open(&c, folder, 10000, NULL), 0);
    struct str s = content(1, 1000, &d);
    assert_int_equal(blob_writer_resume(&w, c, &d, 1000), 0);
    assert_int_equal(blob_writer_at(w), 0);
    assert_int_equal(blob_writer_add(w, str_head(s, 600)), 0);
    assert_int_equal(blob_writer_resume(&other, c, &d, 1000), -EBUSY); /* one at a time */
    assert_null(blob_writer_free(w));
    assert_int_equal(blob_cache_hold(c, &d), -ENOENT); /* nothing to see yet */
    assert_null(blob_cache_free(c));
    assert_int_equal(blob_cache_open(&c, folder, 10000, NULL), 0); /* after a restart */
    assert_int_equal(blob_writer_resume(&w, c, &d, 1000), 0);
    assert_int_equal(blob_writer_at(w), 600);
    assert_int_equal(blob_writer_add(w, str_sub(s, 600)), 0);
    assert_int_equal(blob_writer_end(w), 0);
    assert_null(blob_writer_free(w));
    assert_int_equal(blob_cache_hold(c, &d), 0);
    blob_cache_release(c, &d);
    blob_cache_release(c, &d);
    assert_null(blob_cache_free(c));
}

static void a_damaged_beginning_is_found_at_the_end(void **state)
{
    struct blob_cache *c;
    struct blob_writer *w;
    struct sha256 d;
    (void)state;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 10000, NULL), 0);
    struct str s = content(1, 1000, &d);
    assert_int_equal(blob_writer_resume(&w, c, &d, 1000), 0);
    assert_int_equal(blob_writer_add(w, STR("not what it should be")), 0);
    assert_null(blob_writer_free(w));
    assert_int_equal(blob_writer_resume(&w, c, &d, 1000), 0);
    assert_int_equal(blob_writer_add(w, str_sub(s, (size_t)blob_writer_at(w))), 0);
    assert_int_equal(blob_writer_end(w), -EBADMSG);
    assert_int_equal(blob_writer_restart(w), 0); /* from the start, then it is right */
    assert_int_equal(blob_writer_add(w, s), 0);
    assert_int_equal(blob_writer_end(w), 0);
    assert_null(blob_writer_free(w));
    blob_cache_release(c, &d);
    assert_int_equal(blob_writer_resume(&w, c, &d, 1000), 0); /* and nothing is left behind */
    assert_int_equal(blob_writer_at(w), 0);
    assert_null(blob_writer_free(w));
    assert_null(blob_cache_free(c));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_is_stored_under_its_digest),
        cmocka_unit_test(what_is_not_what_was_promised_is_not_kept),
        cmocka_unit_test(the_least_recently_used_goes_and_what_is_held_stays),
        cmocka_unit_test(a_reopened_cache_knows_its_blobs_and_finds_the_damaged),
        cmocka_unit_test(a_staged_file_keeps_its_blob),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
        cmocka_unit_test(what_one_process_holds_no_other_removes),
        cmocka_unit_test(what_the_dead_held_is_free_again),
        cmocka_unit_test(a_process_killed_at_any_moment_leaves_only_whole_files),
        cmocka_unit_test(a_packed_file_is_found_by_its_group_and_revision),
        cmocka_unit_test(the_age_of_what_was_packed_counts_double),
        cmocka_unit_test(a_broken_download_is_gone_on_with),
        cmocka_unit_test(a_damaged_beginning_is_found_at_the_end),
    };
    return TEST_RUN(tests);
}
