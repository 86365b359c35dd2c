/* The portable set: eight sums side by side, as the vector sets keep them. */
#include "engine/local/kernel.h"

#include "engine/local/kernel_unpack.h"

enum { LANES = 8 };

static float lanes_sum(const float s[static LANES])
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static float dot(const float *w, const float *x, size_t k)
{
    float s[LANES] = { 0 };
    size_t i = 0;
    for (; i + LANES <= k; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            s[j] += w[i + j] * x[i + j];
    for (size_t j = 0; i + j < k; j++)
        s[j] += w[i + j] * x[i + j];
    return lanes_sum(s);
}

static inline void matmul_with(const struct matmul *m, uint32_t begin, uint32_t end,
                               void (*unpack)(float *, const void *, size_t))
{
    for (uint32_t o = begin; o < end; o++) {
        unpack(m->scratch, (const uint8_t *)m->w + o * m->w_stride, m->k);
        for (uint32_t i = 0; i < m->n; i++)
            m->y[i][o] = dot(m->scratch, m->x[i], m->k);
    }
}

static inline void mix_with(float *y, const struct mix *m,
                            void (*unpack)(float *, const void *, size_t))
{
    float sum[MIX_WIDTH] = { 0 }, row[MIX_WIDTH];
    const uint8_t *rows = m->rows;
    for (uint32_t r = 0; r < m->n; r++) {
        unpack(row, rows + r * m->row_stride, m->width);
        for (uint32_t o = 0; o < m->width; o++)
            sum[o] += m->t[r] * row[o];
    }
    for (uint32_t o = 0; o < m->width; o++)
        y[o] += sum[o];
}

#define TYPES(X)                                                                                   \
    X(F32, f32, f32)                                                                               \
    X(F16, f16, f16)                                                                               \
    X(BF16, bf16, f32)                                                                             \
    X(Q8_0, q8_0, f32)                                                                             \
    X(Q4_0, q4_0, f32)                                                                             \
    X(Q4_1, q4_1, f32)                                                                             \
    X(Q5_0, q5_0, f32)                                                                             \
    X(Q5_1, q5_1, f32)                                                                             \
    X(Q2_K, q2_k, f32)                                                                             \
    X(Q3_K, q3_k, f32)                                                                             \
    X(Q4_K, q4_k, f32)                                                                             \
    X(Q5_K, q5_k, f32)                                                                             \
    X(Q6_K, q6_k, f32)                                                                             \
    X(IQ4_NL, iq4_nl, f32)                                                                         \
    X(IQ4_XS, iq4_xs, f32)                                                                         \
    X(TQ1_0, tq1_0, f32)                                                                           \
    X(TQ2_0, tq2_0, f32)

#define DEFINE_TYPE(TYPE, name, input)                                                             \
    static void unpack_row_##name(float *ret, const void *row, size_t k)                           \
    {                                                                                              \
        unpack_##name(ret, row, k);                                                                \
    }                                                                                              \
    static void matmul_##name(const struct matmul *m, uint32_t begin, uint32_t end)                \
    {                                                                                              \
        matmul_with(m, begin, end, unpack_##name);                                                 \
    }                                                                                              \
    static void mix_##name(float *y, const struct mix *m)                                          \
    {                                                                                              \
        mix_with(y, m, unpack_##name);                                                             \
    }
TYPES(DEFINE_TYPE)

#define ROW(TYPE, name, input)                                                                     \
    { TENSOR_##TYPE, INPUT_##input, unpack_row_##name, matmul_##name, mix_##name },
static const struct kernel kernels[] = { TYPES(ROW) };

static void round_f16(float *ret, const float *x, size_t k)
{
    for (size_t i = 0; i < k; i++)
        ret[i] = half_to_float(float_to_half(x[i]));
}

static bool usable(void)
{
    return true;
}

const struct kernel_set kernels_generic = { "generic", usable, kernels, ARRAY_LEN(kernels),
                                            round_f16 };
