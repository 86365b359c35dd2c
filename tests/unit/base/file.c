#include "tests/support/test.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
        cmocka_unit_test(trouble_is_told_by_errno),
    };
    return TEST_RUN(tests);
}
