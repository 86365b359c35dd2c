/* The portable set: eight sums side by side for floats, as the vector sets keep them. */
#include "engine/local/kernel.h"

#include <math.h>

#include "engine/local/kernel_unpack.h"

/* ---- floats ---- */

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

static inline void dot_with(const struct matmul *m, uint32_t begin, uint32_t end,
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

/* ---- integers ---- */

struct format {
    void (*quants)(int8_t *ret, const uint8_t *row, size_t b);
    void (*scales)(struct scales *ret, const uint8_t *row, size_t b);
    bool halves, least; /* a scale of 16 elements; a minimum */
};

/*
 * One block after the other: its products are summed as integers, exactly, and then join the
 * row's sum in a multiplication, a multiplication and an addition, each rounded. Every set does
 * this, so all give the same bits.
 */
static inline float block_dot(float sum, const int8_t *w, const struct scales *s,
                              const struct quants *x, struct format f)
{
    int32_t half[2] = { 0, 0 };
    for (size_t i = 0; i < BLOCK; i++)
        half[i / 16] += w[i] * x->q[i];
    if (f.halves) {
        sum += (float)half[0] * (s->scale[0] * x->scale);
        sum += (float)half[1] * (s->scale[1] * x->scale);
    } else {
        sum += (float)(half[0] + half[1]) * (s->scale[0] * x->scale);
    }
    if (f.least && f.halves) {
        sum -= s->least[0] * x->half[0];
        sum -= s->least[1] * x->half[1];
    } else if (f.least) {
        sum -= s->least[0] * x->sum;
    }
    return sum;
}

static inline void matmul_with(const struct matmul *m, uint32_t begin, uint32_t end,
                               struct format f)
{
    for (uint32_t o = begin; o < end; o++) {
        const uint8_t *row = (const uint8_t *)m->w + o * m->w_stride;
        for (uint32_t i = 0; i < m->n; i++)
            m->y[i][o] = 0;
        for (size_t b = 0; b < KERNEL_QUANTS(m->k); b++) {
            int8_t w[BLOCK];
            struct scales s;
            f.quants(w, row, b);
            f.scales(&s, row, b);
            for (uint32_t i = 0; i < m->n; i++)
                m->y[i][o] = block_dot(m->y[i][o], w, &s, (const struct quants *)m->x[i] + b, f);
        }
    }
}

/* ---- the table ---- */

#define DEFINE_UNPACK(name)                                                                        \
    static void unpack_row_##name(float *ret, const void *row, size_t k)                           \
    {                                                                                              \
        unpack_##name(ret, row, k);                                                                \
    }

#define DEFINE_KEPT(name)                                                                          \
    static void dot_##name(const struct matmul *m, uint32_t begin, uint32_t end)                   \
    {                                                                                              \
        dot_with(m, begin, end, unpack_##name);                                                    \
    }                                                                                              \
    static void mix_##name(float *y, const struct mix *m)                                          \
    {                                                                                              \
        mix_with(y, m, unpack_##name);                                                             \
    }

DEFINE_UNPACK(f32)
DEFINE_UNPACK(f16)
DEFINE_UNPACK(bf16)
DEFINE_KEPT(f32)
DEFINE_KEPT(f16)
DEFINE_KEPT(bf16)
DEFINE_KEPT(q8_0)

#define DEFINE_INTEGER(TYPE, name, halves, least, dot, mix)                                        \
    DEFINE_UNPACK(name)                                                                            \
    static void matmul_##name(const struct matmul *m, uint32_t begin, uint32_t end)                \
    {                                                                                              \
        matmul_with(m, begin, end,                                                                 \
                    (struct format){ quants_##name, scales_##name, halves, least });               \
    }
KERNEL_INTEGER_TYPES(DEFINE_INTEGER)

#define ROW(TYPE, name, halves, least, dot, mix)                                                   \
    { TENSOR_##TYPE, INPUT_i16, ERROR_i16, unpack_row_##name, matmul_##name, dot, mix },
static const struct kernel kernels[] = {
    { TENSOR_F32, INPUT_f32, ERROR_f32, unpack_row_f32, dot_f32, dot_f32, mix_f32 },
    { TENSOR_F16, INPUT_f16, ERROR_f16, unpack_row_f16, dot_f16, dot_f16, mix_f16 },
    { TENSOR_BF16, INPUT_f32, ERROR_f32, unpack_row_bf16, dot_bf16, dot_bf16, mix_bf16 },
    KERNEL_INTEGER_TYPES(ROW)
};

/* ---- activations ---- */

static void round_f16(float *ret, const float *x, size_t k)
{
    for (size_t i = 0; i < k; i++)
        ret[i] = half_to_float(float_to_half(x[i]));
}

/* In the order of K. */
static void quantise_block(struct quants *ret, const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    float inverse = most > QUANTS_TINY ? QUANTS_MOST / most : 0;
    int32_t sum[2] = { 0, 0 };
    for (size_t i = 0; i < BLOCK; i++) {
        ret->q[i] = i < n ? (int16_t)lrintf(x[i] * inverse) : (int16_t)0;
        sum[i / 16] += ret->q[i];
    }
    ret->scale = most / QUANTS_MOST;
    ret->sum = ret->scale * (float)(sum[0] + sum[1]);
    for (int h = 0; h < 2; h++)
        ret->half[h] = ret->scale * (float)sum[h];
}

static void quantise(struct quants *ret, const float *x, size_t k)
{
    for (size_t i = 0; i < k; i += BLOCK)
        quantise_block(ret++, x + i, k - i < BLOCK ? k - i : BLOCK);
}

static bool usable(void)
{
    return true;
}

const struct kernel_set kernels_generic = { "generic",          usable,    kernels,
                                            ARRAY_LEN(kernels), round_f16, quantise };
