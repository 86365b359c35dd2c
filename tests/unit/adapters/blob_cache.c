#include "adapters/blob_cache.h"

#include <errno.h>

#include <sys/stat.h>
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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_is_stored_under_its_digest),
        cmocka_unit_test(what_is_not_what_was_promised_is_not_kept),
        cmocka_unit_test(the_least_recently_used_goes_and_what_is_held_stays),
        cmocka_unit_test(a_reopened_cache_knows_its_blobs_and_finds_the_damaged),
        cmocka_unit_test(a_staged_file_keeps_its_blob),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
    };
    return TEST_RUN(tests);
}
