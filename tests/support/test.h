/*
 * What every unit test includes: cmocka with TAP output, and the way to test data.
 *
 *     static void adds_numbers(void **state) { assert_int_equal(1 + 1, 2); }
 *     int main(void) { static const struct CMUnitTest tests[] = { cmocka_unit_test(adds_numbers) };
 * return TEST_RUN(tests); }
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEST_RUN(tests) (test_begin(), cmocka_run_group_tests(tests, NULL, NULL))

void test_begin(void); /* TAP on stdout */

/* Path of a file of the repository; static ring of 8 buffers. */
const char *test_path(const char *relative);
/* Path below shared/, or NULL when it is absent; then call test_skip_shared(). */
const char *test_shared(const char *relative);
void test_skip_shared(const char *relative); /* prints why, marks the test skipped and leaves it */
#define TEST_SHARED(var, relative)                                                                 \
    const char *var = test_shared(relative);                                                       \
    if (!var) {                                                                                    \
        test_skip_shared(relative);                                                                \
        return;                                                                                    \
    }

/* A new empty folder under the build folder, removed at exit; static ring. */
const char *test_temp_dir(void);
/* Whole file, NUL-terminated; fails the test when it cannot be read. Owned by the caller. */
char *test_read(const char *path, size_t *ret_len);

/* Deterministic random numbers (splitmix64). */
uint64_t test_random(uint64_t *state);
