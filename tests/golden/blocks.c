/*
 * Blocks of every quantised type against the floats that another implementation reads out of them
 * (blocks.py makes the file).
 */
#include "engine/local/kernel.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 512 };

/* Returns the bytes, owned by the caller. */
static uint8_t *from_hex(const json_t *text, size_t *ret_n)
{
    const char *s = json_string_value(text);
    *ret_n = json_string_length(text) / 2;
    uint8_t *bytes = malloc(*ret_n); /* exact, so that reading past it is seen */
    for (size_t i = 0; i < *ret_n; i++)
        bytes[i] = (uint8_t)strtoul((char[]){ s[2 * i], s[2 * i + 1], '\0' }, NULL, 16);
    return bytes;
}

static const struct kernel *kernel_named(const struct kernel_set *set, const char *type)
{
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(tensor_layout(set->kernels[i].type)->name, type) == 0)
            return &set->kernels[i];
    fail_msg("no kernel of the set %s reads %s", set->name, type);
    return NULL;
}

static void check_blocks(const struct kernel_set *set, const json_t *row)
{
    const char *type = json_string_value(json_object_get(row, "type"));
    const struct kernel *k = kernel_named(set, type);
    size_t n_bytes, n_values;
    uint8_t *bytes = from_hex(json_object_get(row, "bytes"), &n_bytes);
    uint8_t *values = from_hex(json_object_get(row, "values"), &n_values);
    assert_int_equal(n_bytes, kernel_row_bytes(k->type, ELEMENTS));
    assert_int_equal(n_values, ELEMENTS * sizeof(float));
    float want[ELEMENTS], got[ELEMENTS];
    memcpy(want, values, sizeof(want));
    k->unpack(got, bytes, ELEMENTS);
    for (size_t i = 0; i < ELEMENTS; i++)
        if (got[i] != want[i])
            fail_msg("%s %s: element %zu is %.9g, stored %.9g", set->name, type, i, (double)got[i],
                     (double)want[i]);
    free(values);
    free(bytes);
}

static void every_set_reads_blocks_as_stored(void **state)
{
    (void)state;
    const struct kernel_set *sets[] = { &kernels_generic, kernels_best() };
    json_error_t e;
    json_t *rows = json_load_file(test_path("tests/golden/blocks.json"), 0, &e), *row;
    if (!rows)
        fail_msg("blocks.json:%d: %s", e.line, e.text);
    assert_int_equal(json_array_size(rows), 14);
    size_t i;
    json_array_foreach(rows, i, row) for (size_t s = 0; s < 2; s++) check_blocks(sets[s], row);
    json_decref(rows);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_reads_blocks_as_stored),
    };
    return TEST_RUN(tests);
}
