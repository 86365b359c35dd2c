#include "engine/local/kernel.h"

#include "engine/local/kernel_unpack.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t types[] = {
    TENSOR_F32,  TENSOR_F16,    TENSOR_BF16,   TENSOR_Q8_0,  TENSOR_Q4_0,  TENSOR_Q4_1,
    TENSOR_Q5_0, TENSOR_Q5_1,   TENSOR_Q2_K,   TENSOR_Q3_K,  TENSOR_Q4_K,  TENSOR_Q5_K,
    TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS, TENSOR_TQ1_0, TENSOR_TQ2_0,
};

/* Where a block has its scale, and where its minimum (0: none). */
static const struct {
    uint8_t scale, least;
} halves[] = {
    [TENSOR_Q4_1] = { 0, 2 },   [TENSOR_Q5_1] = { 0, 2 },   [TENSOR_Q2_K] = { 80, 82 },
    [TENSOR_Q3_K] = { 108, 0 }, [TENSOR_Q4_K] = { 0, 2 },   [TENSOR_Q5_K] = { 0, 2 },
    [TENSOR_Q6_K] = { 208, 0 }, [TENSOR_TQ1_0] = { 52, 0 }, [TENSOR_TQ2_0] = { 64, 0 },
};

static const struct kernel_set *sets[KERNEL_SETS]; /* the last one is the generic */
static size_t n_sets;

static float uniform(uint64_t *seed) /* -1 … 1 */
{
    return (float)(int64_t)test_random(seed) * 0x1p-63f;
}

/* A row of k random elements, with scales that stay finite. */
static void random_row(uint8_t *row, uint32_t type, size_t k, uint64_t *seed)
{
    size_t bytes = kernel_row_bytes(type, k);
    for (size_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)test_random(seed);
    uint16_t d = (uint16_t)(0x2400 + test_random(seed) % 1024); /* about 2^-6 */
    const struct tensor_layout *l = tensor_layout(type);
    for (size_t i = 0; i < bytes && l->block > 1; i += l->block_bytes) {
        memcpy(row + i + halves[type].scale, &d, sizeof(d));
        if (halves[type].least)
            memcpy(row + i + halves[type].least, &d, sizeof(d));
    }
    for (size_t i = 0; i < k && type <= TENSOR_F16; i++) {
        float v = uniform(seed);
        kernel_pack(type, row + i * tensor_layout(type)->block_bytes, &v, 1);
    }
    for (size_t i = 0; i < k && type == TENSOR_BF16; i++)
        row[2 * i + 1] = (uint8_t)((row[2 * i + 1] & 0x80) | 0x3e); /* 2^-3 … 2^-1 */
}

enum { MAX_K = 600, MAX_OUT = 69, MAX_N = 15 };

struct product {
    uint32_t type, k, out, n;
    uint8_t *w; /* owned */
    float x[MAX_N][MAX_K], y[KERNEL_SETS][MAX_N][MAX_OUT];
};

/* The sizes given by 0 are random. */
static void random_product(struct product *p, uint32_t out, uint32_t n, uint64_t *seed)
{
    size_t stride = kernel_row_bytes(p->type, p->k);
    p->out = out ? out : 1 + (uint32_t)(test_random(seed) % MAX_OUT);
    p->n = n ? n : 1 + (uint32_t)(test_random(seed) % MAX_N);
    p->w = malloc(stride * p->out); /* exact, so that reading past a row is seen */
    for (uint32_t o = 0; o < p->out; o++)
        random_row(p->w + o * stride, p->type, p->k, seed);
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t j = 0; j < p->k; j++)
            p->x[i][j] = uniform(seed);
}

/* A row in the form that a kernel reads; owned by the caller. */
static void *form_of(const struct kernel_set *set, enum kernel_input input, const float *x,
                     uint32_t k)
{
    void *form =
        malloc(input == INPUT_i16 ? KERNEL_QUANTS(k) * sizeof(struct quants) : k * sizeof(float));
    if (input == INPUT_i16)
        set->quantise(form, x, k);
    else if (input == INPUT_f16)
        set->round_f16(form, x, k);
    else
        memcpy(form, x, k * sizeof(float));
    return form;
}

typedef void multiply_fn(const struct matmul *m, uint32_t begin, uint32_t end);

static void multiply_with(multiply_fn *run, const struct kernel_set *set, enum kernel_input input,
                          const struct product *p, float y[MAX_N][MAX_OUT], uint32_t first,
                          uint32_t n)
{
    void *x_rows[MAX_N];
    float *y_rows[MAX_N];
    for (uint32_t i = 0; i < n; i++) {
        x_rows[i] = form_of(set, input, p->x[first + i], p->k);
        y_rows[i] = y[first + i];
    }
    float *scratch = malloc(KERNEL_SCRATCH(p->k) * sizeof(float));
    struct matmul m = {
        p->w, kernel_row_bytes(p->type, p->k), p->k, (const void *const *)x_rows, y_rows, n, scratch
    };
    run(&m, 0, p->out);
    free(scratch);
    for (uint32_t i = 0; i < n; i++)
        free(x_rows[i]);
}

static void multiply(const struct product *p, const struct kernel_set *set, float y[MAX_N][MAX_OUT],
                     uint32_t first, uint32_t n)
{
    const struct kernel *k = kernel_for(set, p->type);
    multiply_with(k->matmul, set, k->input, p, y, first, n);
}

static const uint32_t ks[] = { 1, 7, 8, 31, 32, 33, 64, 172, 256, 257, 512, 600 };

/* Of weight row o: the elements, and the magnitudes of their parts together. */
static void elements(const struct product *p, uint32_t o, float w[MAX_K], double size[MAX_K])
{
    const struct kernel *k = kernel_for(&kernels_generic, p->type);
    const uint8_t *row = p->w + o * kernel_row_bytes(p->type, p->k);
    k->unpack(w, row, p->k);
    for (uint32_t j = 0; j < p->k; j++)
        size[j] = fabs((double)w[j]);
#define LEAST(TYPE, name, halves, has_least, dot, mix)                                             \
    for (uint32_t j = 0; p->type == TENSOR_##TYPE && j < p->k; j++) {                              \
        struct scales s;                                                                           \
        scales_##name(&s, row, j / BLOCK);                                                         \
        double least = (double)s.least[j % BLOCK / 16];                                            \
        size[j] = fabs((double)w[j] + least) + fabs(least);                                        \
    }
    KERNEL_INTEGER_TYPES(LEAST)
#undef LEAST
}

/* What the row of the table promises, against sums in double over the unrounded activations. */
static void check_product(const struct product *p, size_t set, double error)
{
    float w[MAX_K];
    double size[MAX_K];
    for (uint32_t o = 0; o < p->out; o++) {
        elements(p, o, w, size);
        for (uint32_t r = 0; r < p->n; r++) {
            double sum = 0, bound = 0;
            for (uint32_t b = 0; b < p->k; b += BLOCK) {
                uint32_t end = p->k - b < BLOCK ? p->k : b + BLOCK;
                double most = 0;
                for (uint32_t j = b; j < end; j++)
                    most = fmax(most, fabs((double)p->x[r][j]));
                for (uint32_t j = b; j < end; j++) {
                    sum += (double)w[j] * (double)p->x[r][j];
                    bound += size[j] * most;
                }
            }
            double within = (error + (p->k / 8 + 8) * 0x1p-24) * bound + 1e-30;
            double got = (double)p->y[set][r][o];
            if (!(fabs(got - sum) <= within))
                fail_msg("%s %s k=%u row %u out %u: %g, not %g within %g", sets[set]->name,
                         tensor_layout(p->type)->name, p->k, r, o, got, sum, within);
        }
    }
}

static void every_set_multiplies_within_its_error(void **state)
{
    (void)state;
    uint64_t seed = 1;
    struct product *p = calloc(1, sizeof(*p));
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ks); i++) {
            *p = (struct product){ .type = types[t], .k = ks[i] };
            random_product(p, 0, 0, &seed);
            for (size_t s = 0; s < n_sets; s++) {
                multiply(p, sets[s], p->y[s], 0, p->n);
                check_product(p, s, (double)kernel_for(sets[s], p->type)->error);
            }
            free(p->w);
        }
    free(p);
}

/* The key-value cache's and adapters' products: activations as they are. */
static void every_set_multiplies_floats_within_rounding(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct product *p = calloc(1, sizeof(*p));
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ks); i++) {
            if (!kernel_for(&kernels_generic, types[t])->dot)
                continue;
            *p = (struct product){ .type = types[t], .k = ks[i] };
            random_product(p, 0, 0, &seed);
            for (size_t s = 0; s < n_sets; s++) {
                multiply_with(kernel_for(sets[s], p->type)->dot, sets[s], INPUT_f32, p, p->y[s], 0,
                              p->n);
                check_product(p, s, /* error= */ 0);
            }
            free(p->w);
        }
    free(p);
}

/* Integers are summed exactly and scaled in one order, so a type's product has one value. */
static void every_set_multiplies_integers_to_the_same_bits(void **state)
{
    (void)state;
    uint64_t seed = 8;
    struct product *p = calloc(1, sizeof(*p));
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ks); i++) {
            *p = (struct product){ .type = types[t], .k = ks[i] };
            if (kernel_for(&kernels_generic, p->type)->input != INPUT_i16)
                continue;
            random_product(p, 0, 0, &seed);
            for (size_t s = 0; s < n_sets; s++)
                multiply(p, sets[s], p->y[s], 0, p->n);
            for (size_t s = 0; s + 1 < n_sets; s++)
                for (uint32_t r = 0; r < p->n; r++)
                    if (memcmp(p->y[s][r], p->y[n_sets - 1][r], p->out * sizeof(float)) != 0)
                        fail_msg("%s %s k=%u row %u", sets[s]->name, tensor_layout(p->type)->name,
                                 p->k, r);
            free(p->w);
        }
    free(p);
}

/* Scales and sums to the bit; the integers themselves may be in another order. */
static void every_set_quantises_alike(void **state)
{
    (void)state;
    uint64_t seed = 9;
    float x[77];
    struct quants q[KERNEL_SETS][KERNEL_QUANTS(ARRAY_LEN(x))];
    for (int round = 0; round < 200; round++) {
        float size = ldexpf(1, round - 140); /* down to what counts as nothing */
        for (size_t i = 0; i < ARRAY_LEN(x); i++)
            x[i] = uniform(&seed) * size;
        for (size_t s = 0; s < n_sets; s++)
            sets[s]->quantise(q[s], x, ARRAY_LEN(x));
        for (size_t b = 0; b < KERNEL_QUANTS(ARRAY_LEN(x)); b++) {
            const struct quants *plain = &q[n_sets - 1][b]; /* the generic set keeps the order */
            for (size_t i = 0; i < BLOCK; i++) {
                double want = b * BLOCK + i < ARRAY_LEN(x) ? (double)x[b * BLOCK + i] : 0;
                double off = fabs(plain->q[i] * (double)plain->scale - want);
                assert_true(off <= (double)plain->scale * 0.51 + 2 * (double)QUANTS_TINY);
            }
            for (size_t s = 0; s + 1 < n_sets; s++) {
                int64_t squares = 0;
                for (size_t i = 0; i < BLOCK; i++)
                    squares += q[s][b].q[i] * q[s][b].q[i] - plain->q[i] * plain->q[i];
                assert_int_equal(squares, 0);
                assert_memory_equal(&q[s][b].scale, &plain->scale, 4 * sizeof(float));
            }
        }
    }
}

/* To the bit, so that which set runs does not matter to what a file means. */
static void every_set_reads_the_same_elements(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ks); i++) {
            size_t bytes = kernel_row_bytes(types[t], ks[i]);
            uint8_t *row = malloc(bytes); /* exact, so that reading past it is seen */
            random_row(row, types[t], ks[i], &seed);
            float v[KERNEL_SETS][MAX_K];
            for (size_t s = 0; s < n_sets; s++) {
                kernel_for(sets[s], types[t])->unpack(v[s], row, ks[i]);
                if (memcmp(v[s], v[0], ks[i] * sizeof(float)) != 0)
                    fail_msg("%s %s k=%u", sets[s]->name, tensor_layout(types[t])->name, ks[i]);
            }
            free(row);
        }
}

static void a_row_is_the_same_in_every_batch(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct product *p = calloc(1, sizeof(*p));
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(ks); i++)
            for (size_t s = 0; s < n_sets; s++) {
                *p = (struct product){ .type = types[t], .k = ks[i] };
                random_product(p, 37, MAX_N, &seed);
                for (uint32_t n = 1; n <= MAX_N; n++) {
                    multiply(p, sets[s], p->y[0], 0, n);
                    for (uint32_t r = 0; r < n; r++)
                        multiply(p, sets[s], p->y[1], r, 1);
                    for (uint32_t r = 0; r < n; r++)
                        assert_memory_equal(p->y[0][r], p->y[1][r], p->out * sizeof(float));
                }
                free(p->w);
            }
    free(p);
}

static void every_set_mixes_within_rounding(void **state)
{
    (void)state;
    static const uint32_t widths[] = { 1, 8, 31, 32, 64, 80, 96, 256 };
    uint64_t seed = 3;
    enum { ROWS = 37 };
    float t[ROWS], row[MIX_WIDTH], y[MIX_WIDTH], was[MIX_WIDTH];
    for (size_t k = 0; k < ARRAY_LEN(types) * ARRAY_LEN(widths); k++) {
        uint32_t type = types[k % ARRAY_LEN(types)], width = widths[k / ARRAY_LEN(types)];
        if (!kernel_for(&kernels_generic, type)->mix)
            continue;
        size_t stride = kernel_row_bytes(type, width);
        uint8_t *rows = malloc(stride * ROWS);
        for (uint32_t r = 0; r < ROWS; r++) {
            random_row(rows + r * stride, type, width, &seed);
            t[r] = uniform(&seed);
        }
        for (uint32_t o = 0; o < width; o++)
            was[o] = uniform(&seed);
        for (size_t s = 0; s < n_sets; s++) {
            memcpy(y, was, sizeof(y));
            struct mix m = { t, rows, stride, ROWS, width };
            kernel_for(sets[s], type)->mix(y, &m);
            for (uint32_t o = 0; o < width; o++) {
                double sum = (double)was[o], size = fabs(sum);
                for (uint32_t r = 0; r < ROWS; r++) {
                    kernel_for(&kernels_generic, type)->unpack(row, rows + r * stride, width);
                    sum += (double)t[r] * (double)row[o];
                    size += fabs((double)t[r] * (double)row[o]);
                }
                assert_true(fabs((double)y[o] - sum) <= (ROWS + 4) * 0x1p-24 * size);
            }
        }
        free(rows);
    }
}

static void halves_are_read_and_written_exactly(void **state)
{
    (void)state;
    static const struct {
        uint16_t half;
        float value;
    } rows[] = {
        { 0x0000, 0 },           { 0x3c00, 1 },        { 0xc000, -2 },
        { 0x7bff, 65504 },       { 0x0001, 0x1p-24f }, { 0x03ff, 0x1.ff8p-15f },
        { 0x0400, 0x1p-14f },    { 0x7c00, INFINITY }, { 0xfc00, -INFINITY },
        { 0x3555, 0x1.554p-2f },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(half_to_float(rows[i].half) == rows[i].value);
        assert_int_equal(float_to_half(rows[i].value), rows[i].half);
    }
    assert_true(isnan(half_to_float(0x7e00)));
    assert_int_equal(float_to_half(0x1.002p0f), 0x3c00); /* a tie goes to the even one … */
    assert_int_equal(float_to_half(0x1.006p0f), 0x3c02); /* … above as well */
    assert_int_equal(float_to_half(0x1.8p-25f), 0x0001);
    assert_int_equal(float_to_half(0x1p-25f), 0x0000);
    assert_int_equal(float_to_half(65520), 0x7c00);
}

static void every_set_rounds_to_halves_alike(void **state)
{
    (void)state;
    uint64_t seed = 4;
    float x[67], y[KERNEL_SETS][67];
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < ARRAY_LEN(x); i++) {
            uint32_t bits = (uint32_t)test_random(&seed);
            if ((bits & 0x7f800000u) == 0x7f800000u)
                bits &= 0x807fffffu;
            x[i] = bits_to_float(round % 2 ? bits : (bits & 0x83ffffffu) | 0x38000000u);
        }
        for (size_t s = 0; s < n_sets; s++)
            sets[s]->round_f16(y[s], x, ARRAY_LEN(x));
        for (size_t s = 1; s < n_sets; s++)
            assert_memory_equal(y[0], y[s], sizeof(y[0]));
    }
}

/* Blocks written out by hand from the format's description. */
static void blocks_mean_what_the_format_says(void **state)
{
    (void)state;
    uint8_t q4[Q4_0_BYTES] = { 0x00, 0x38 /* 0.5 */, 0xf0, 0x08 };
    uint8_t q8[Q8_0_BYTES] = { 0x00, 0x40 /* 2 */, 0x80, 0x7f, 0xff };
    uint8_t q6[Q6_K_BYTES] = { 0 };
    q6[0] = 0x5f;   /* element 0: low 15; element 64: low 5 */
    q6[128] = 0x93; /* high bits 3, 0, 1, 2 of elements 0, 32, 64, 96 */
    q6[192] = 2;    /* scale of elements 0 … 15 */
    q6[196] = 0xff; /* -1: of elements 64 … 79 */
    q6[209] = 0x3c; /* 1 */
    for (size_t s = 0; s < n_sets; s++) {
        float v[SUPER_BLOCK];
        kernel_for(sets[s], TENSOR_Q4_0)->unpack(v, q4, BLOCK);
        assert_true(v[0] == -4 && v[16] == 3.5f && v[1] == 0 && v[17] == -4);
        kernel_for(sets[s], TENSOR_Q8_0)->unpack(v, q8, BLOCK);
        assert_true(v[0] == -256 && v[1] == 254 && v[2] == -2 && v[3] == 0);
        kernel_for(sets[s], TENSOR_Q6_K)->unpack(v, q6, SUPER_BLOCK);
        assert_true(v[0] == 2 * (63 - 32) && v[64] == -(21 - 32) && v[1] == -64);
    }
}

static void cached_rows_come_back_within_their_type(void **state)
{
    (void)state;
    uint64_t seed = 5;
    float x[80], back[80];
    uint8_t row[512];
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        x[i] = uniform(&seed);
    static const struct {
        uint32_t type;
        float bound; /* of values up to 1 */
    } rows[] = { { TENSOR_F32, 0 }, { TENSOR_F16, 0x1p-11f }, { TENSOR_Q8_0, 0.0041f } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 1; k <= ARRAY_LEN(x); k += 13) {
            kernel_pack(rows[i].type, row, x, k);
            kernel_for(&kernels_generic, rows[i].type)->unpack(back, row, k);
            for (size_t j = 0; j < k; j++)
                assert_true(fabsf(back[j] - x[j]) <= rows[i].bound);
        }
}

int main(void)
{
    n_sets = kernels_usable(sets);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_multiplies_within_its_error),
        cmocka_unit_test(every_set_multiplies_floats_within_rounding),
        cmocka_unit_test(every_set_multiplies_integers_to_the_same_bits),
        cmocka_unit_test(every_set_quantises_alike),
        cmocka_unit_test(every_set_reads_the_same_elements),
        cmocka_unit_test(a_row_is_the_same_in_every_batch),
        cmocka_unit_test(every_set_mixes_within_rounding),
        cmocka_unit_test(halves_are_read_and_written_exactly),
        cmocka_unit_test(every_set_rounds_to_halves_alike),
        cmocka_unit_test(blocks_mean_what_the_format_says),
        cmocka_unit_test(cached_rows_come_back_within_their_type),
    };
    return TEST_RUN(tests);
}
