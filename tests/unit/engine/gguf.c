/*
 * GGUF files: what the Python `gguf` package wrote is read back (seeds by
 * tests/support/seed_models.py), and every damaged length, count, type and offset is refused.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/local/gguf.h"

static const char seed_path[] = "tests/fuzz/corpus/gguf/everything.gguf";

static struct gguf *open_seed(const char *path)
{
    struct gguf *g = NULL;
    struct fail f = { 0 };
    int r = gguf_open(&g, test_path(path), &f);
    if (r != 0)
        fail_msg("%s: %d %s", path, r, f.message);
    return g;
}

static void reads_keys_of_every_kind(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = open_seed(seed_path);
    uint64_t u = 0;
    float f = 0;
    bool b = false;
    struct str s;
    assert_true(gguf_u64(g, "test.u8", &u) && u == 255);
    assert_true(gguf_u64(g, "test.u16", &u) && u == 65535);
    assert_true(gguf_u64(g, "test.u32", &u) && u == 4294967295u);
    assert_true(gguf_u64(g, "test.u64", &u) && u == UINT64_MAX);
    assert_true(gguf_f32(g, "test.f32", &f) && f == 1.5f);
    assert_true(gguf_f32(g, "test.f64", &f) && f == -2.25f);
    assert_true(gguf_f32(g, "test.i16", &f) && f == -32768.0f);
    assert_true(gguf_bool(g, "test.bool", &b) && b);
    assert_true(gguf_str(g, "test.string", &s) && str_is(s, "gr\xc3\xbc\xc3\x9f"
                                                            "e"));
}

static void a_look_up_of_the_wrong_kind_finds_nothing(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = open_seed(seed_path);
    uint64_t u = 7;
    float f;
    bool b;
    struct str s;
    struct gguf_array a;
    assert_false(gguf_u64(g, "test.i8", &u)); /* negative */
    assert_false(gguf_u64(g, "test.i32", &u));
    assert_false(gguf_u64(g, "test.i64", &u));
    assert_false(gguf_u64(g, "test.f32", &u));
    assert_false(gguf_u64(g, "test.bool", &u));
    assert_false(gguf_u64(g, "test.absent", &u));
    assert_int_equal(u, 7);
    assert_false(gguf_f32(g, "test.string", &f));
    assert_false(gguf_bool(g, "test.u8", &b));
    assert_false(gguf_str(g, "test.array.string", &s));
    assert_false(gguf_array(g, "test.string", &a));
}

static void reads_arrays(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = open_seed(seed_path);
    struct gguf_array a;
    assert_true(gguf_array(g, "test.array.string", &a) && a.kind == GGUF_string && a.n == 3);
    assert_true(str_is(a.strings[0], "a") && a.strings[1].n == 0 && str_is(a.strings[2], "cc"));
    assert_true(gguf_array(g, "test.array.u8", &a) && a.n == 3);
    assert_int_equal(gguf_array_i64(&a, 2), 3);
    assert_true(gguf_array(g, "test.array.i32", &a) && a.n == 3);
    assert_int_equal(gguf_array_i64(&a, 0), -1);
    assert_true(gguf_array_f32(&a, 0) == -1.0f);
    assert_true(gguf_array(g, "test.array.f32", &a) && gguf_array_f32(&a, 1) == -0.5f);
    assert_true(gguf_array(g, "test.array.i64", &a) && gguf_array_i64(&a, 0) == -5);
}

static void reads_tensors(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = open_seed(seed_path);
    assert_int_equal(gguf_n_tensors(g), 4);
    const struct gguf_tensor *t = gguf_tensor(g, "f32");
    assert_non_null(t);
    assert_true(t->n_dims == 2 && t->dims[0] == 4 && t->dims[1] == 3 && t->dims[2] == 1);
    assert_true(t->type == TENSOR_F32 && t->bytes == 48);
    assert_true(((const float *)t->data)[11] == 11.0f);
    t = gguf_tensor(g, "q4_0");
    assert_true(t->type == TENSOR_Q4_0 && t->dims[0] == 32 && t->bytes == 36);
    t = gguf_tensor(g, "q8_0");
    assert_true(t->type == TENSOR_Q8_0 && t->bytes == 68);
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        assert_int_equal((uintptr_t)gguf_tensor_at(g, i)->data % 32, 0);
    assert_null(gguf_tensor(g, "absent"));
}

static void reads_version_2_and_its_own_alignment(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = open_seed("tests/fuzz/corpus/gguf/version2.gguf");
    const struct gguf_tensor *t = gguf_tensor(g, "w");
    assert_non_null(t);
    assert_int_equal((uintptr_t)t->data % 64, 0);
    assert_true(((const float *)t->data)[7] == 7.0f);
}

static void sizes_of_blocks_are_those_of_ggml(void **state)
{
    static const struct {
        uint32_t type, block, bytes;
        const char *name;
    } rows[] = {
        { 0, 1, 4, "F32" },       { 1, 1, 2, "F16" },         { 2, 32, 18, "Q4_0" },
        { 3, 32, 20, "Q4_1" },    { 6, 32, 22, "Q5_0" },      { 7, 32, 24, "Q5_1" },
        { 8, 32, 34, "Q8_0" },    { 10, 256, 84, "Q2_K" },    { 11, 256, 110, "Q3_K" },
        { 12, 256, 144, "Q4_K" }, { 13, 256, 176, "Q5_K" },   { 14, 256, 210, "Q6_K" },
        { 20, 32, 18, "IQ4_NL" }, { 23, 256, 136, "IQ4_XS" }, { 30, 1, 2, "BF16" },
        { 34, 256, 54, "TQ1_0" }, { 35, 256, 66, "TQ2_0" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct tensor_layout *l = tensor_layout(rows[i].type);
        assert_non_null(l);
        assert_string_equal(l->name, rows[i].name);
        assert_int_equal(l->block, rows[i].block);
        assert_int_equal(l->block_bytes, rows[i].bytes);
    }
    assert_null(tensor_layout(4));
    assert_null(tensor_layout(16));
    assert_null(tensor_layout(UINT32_MAX));
}

static int parse(const void *p, size_t n, struct fail *f)
{
    /* A copy of its own size: a read past the end is seen. */
    CLEANUP(own_free) char *exact = malloc(n ? n : 1);
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    assert_non_null(exact);
    if (n)
        memcpy(exact, p, n);
    *f = (struct fail){ 0 };
    return gguf_parse(&g, "x.gguf", (struct str){ exact, n }, f);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    size_t n;
    CLEANUP(own_free) char *whole = test_read(test_path(seed_path), &n);
    struct fail f;
    assert_int_equal(parse(whole, n, &f), 0);
    for (size_t cut = 0; cut < n - 32; cut++) { /* the last tensor may be padded */
        assert_int_equal(parse(whole, cut, &f), FAILED);
        assert_non_null(strstr(f.message, "x.gguf: offset "));
    }
}

/* Finds `at` in the file and writes `bytes` `skip` bytes behind its beginning. */
static void damaged(const char *at, size_t skip, const void *bytes, size_t n, const char *message)
{
    size_t size;
    CLEANUP(own_free) char *whole = test_read(test_path(seed_path), &size);
    char *hit = memmem(whole, size, at, strlen(at));
    struct fail f;
    assert_non_null(hit);
    memcpy(hit + skip, bytes, n);
    assert_int_equal(parse(whole, size, &f), FAILED);
    if (!strstr(f.message, message))
        fail_msg("'%s' does not say '%s'", f.message, message);
}

static void damaged_u64(const char *at, size_t skip, uint64_t v, const char *message)
{
    damaged(at, skip, &v, sizeof(v), message);
}

static void damaged_u32(const char *at, size_t skip, uint32_t v, const char *message)
{
    damaged(at, skip, &v, sizeof(v), message);
}

static void damaged_heads_are_refused(void **state)
{
    damaged("GGUF", 0, "GGML", 4, "not a GGUF file");
    damaged_u32("GGUF", 4, 1, "version 1");
    damaged_u32("GGUF", 4, 0x03000000, "big-endian");
    damaged_u64("GGUF", 8, UINT64_MAX, "tensors do not fit");
    damaged_u64("GGUF", 8, 60000, "tensors do not fit");
    damaged_u64("GGUF", 16, UINT64_MAX / 2, "keys do not fit");
}

static void damaged_keys_are_refused(void **state)
{
    damaged("test.u8", 0, "test.i8", 7, "test.i8 is there twice");
    damaged_u32("test.u8", 7, 13, "test.u8 has kind 13");
    damaged_u32("test.u8", 7, UINT32_MAX, "has kind");
    damaged("test.bool", 13, "\x02", 1, "a bool is 0 or 1");
    damaged_u64("test.string", 15, UINT64_MAX, "over the limit");
    damaged_u64("test.string", 15, 16ull << 20, "the file ends here");
    damaged_u32("test.array.u8", 17, 9, "an array of kind 9");
    damaged_u64("test.array.u8", 21, UINT64_MAX, "over the limit");
    damaged_u64("test.array.i64", 22, 1 << 20, "does not fit");
    damaged_u64("test.array.string", 25, 16 << 20, "does not fit");
}

static void damaged_tensors_are_refused(void **state)
{
    /* name, u32 dims, u64 each, u32 type, u64 offset */
    damaged("q8_0", 0, "q4_0", 4, "q4_0 is there twice");
    damaged_u32("q8_0", 4, 5, "5 dimensions");
    damaged_u64("q8_0", 8, 33, "does not divide into blocks of 32");
    damaged_u64("q8_0", 8, 0, "dimension 0 is 0");
    damaged_u64("q8_0", 16, 1ull << 61, "size overflows");
    damaged_u64("q8_0", 16, UINT64_MAX, "dimension 1");
    damaged_u64("q8_0", 16, 1 << 20, "lies outside the file");
    damaged_u32("q8_0", 24, 4, "has type 4;");
    damaged_u32("q8_0", 24, 16, "has type 16 (IQ2_XXS)");
    damaged_u64("q8_0", 28, 1, "not at a multiple of 32");
    damaged_u64("q8_0", 28, 1 << 20, "lies outside the file");
    damaged_u64("q8_0", 28, UINT64_MAX - 31, "lies outside the file");
}

static void an_alignment_that_is_no_power_of_two_is_refused(void **state)
{
    static const uint32_t bad[] = { 0, 1, 4, 24, 33, 0xffffffff };
    size_t size;
    CLEANUP(own_free)
    char *whole = test_read(test_path("tests/fuzz/corpus/gguf/version2.gguf"), &size);
    char *hit = memmem(whole, size, "general.alignment", 17);
    struct fail f;
    assert_non_null(hit);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memcpy(hit + 17 + 4, &bad[i], 4);
        assert_int_equal(parse(whole, size, &f), FAILED);
        assert_non_null(strstr(f.message, "general.alignment"));
    }
}

static void a_missing_file_is_an_errno(void **state)
{
    struct gguf *g = NULL;
    struct fail f = { 0 };
    assert_int_equal(gguf_open(&g, "/nowhere/at/all.gguf", &f), -ENOENT);
    assert_null(g);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_keys_of_every_kind),
        cmocka_unit_test(a_look_up_of_the_wrong_kind_finds_nothing),
        cmocka_unit_test(reads_arrays),
        cmocka_unit_test(reads_tensors),
        cmocka_unit_test(reads_version_2_and_its_own_alignment),
        cmocka_unit_test(sizes_of_blocks_are_those_of_ggml),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(damaged_heads_are_refused),
        cmocka_unit_test(damaged_keys_are_refused),
        cmocka_unit_test(damaged_tensors_are_refused),
        cmocka_unit_test(an_alignment_that_is_no_power_of_two_is_refused),
        cmocka_unit_test(a_missing_file_is_an_errno),
    };
    return TEST_RUN(tests);
}
