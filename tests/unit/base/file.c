#include "tests/support/test.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void a_replaced_file_is_read_and_mapped(void **state)
{
    char path[8192], deep[8000];
    (void)state;
    (void)snprintf(deep, sizeof(deep), "%s/a/b/c", test_temp_dir());
    (void)snprintf(path, sizeof(path), "%s/x", deep);
    assert_int_equal(file_make_dirs(deep), 0);
    assert_int_equal(file_make_dirs(deep), 0);
    assert_int_equal(file_replace(path, STR("first")), 0);
    assert_int_equal(file_replace(path, STR("second!")), 0);
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    assert_int_equal(file_read(&text, &n, path, 7), 0);
    assert_string_equal(text, "second!");
    CLEANUP(own_free) char *none = NULL;
    assert_int_equal(file_read(&none, &n, path, 6), -EFBIG);
    struct file_map map;
    assert_int_equal(file_map(&map, path), 0);
    assert_int_equal(map.n, 7);
    assert_memory_equal(map.p, "second!", 7);
    file_unmap(&map);
}

static void a_draft_is_seen_when_it_ends(void **state)
{
    char path[8192];
    struct file_draft d;
    struct stat st;
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/x", test_temp_dir());
    assert_int_equal(file_replace(path, STR("first")), 0);
    for (unsigned ends = 0; ends < 2; ends++) {
        assert_int_equal(file_draft_begin(&d, path), 0);
        assert_int_equal(file_draft_add(&d, STR("sec")), 0);
        assert_int_equal(file_draft_add(&d, STR("ond")), 0);
        char beside[sizeof(d.beside)];
        (void)snprintf(beside, sizeof(beside), "%s", d.beside);
        assert_int_equal(stat(beside, &st), 0);
        if (ends)
            assert_int_equal(file_draft_end(&d), 0);
        file_draft_done(&d);
        assert_int_equal(stat(beside, &st), -1);
        CLEANUP(own_free) char *text = NULL;
        size_t n;
        assert_int_equal(file_read(&text, &n, path, 100), 0);
        assert_string_equal(text, ends ? "second" : "first");
    }
    assert_int_equal(file_draft_begin(&d, "/nowhere/at/all"), -ENOENT);
}

static void trouble_is_told_by_errno(void **state)
{
    struct file_map map;
    (void)state;
    assert_int_equal(file_map(&map, "/nowhere/at/all"), -ENOENT);
    assert_int_equal(file_map(&map, "/"), -EISDIR);
    assert_int_equal(file_replace("/nowhere/at/all", STR("x")), -ENOENT);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replaced_file_is_read_and_mapped),
        cmocka_unit_test(a_draft_is_seen_when_it_ends),
        cmocka_unit_test(trouble_is_told_by_errno),
    };
    return TEST_RUN(tests);
}
