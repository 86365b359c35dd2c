/*
 * AVX2, FMA and F16C: a pair of weight row and activation row has one vector of eight sums, which
 * walks K upward 8 elements at a time whether the weights come from the file or from scratch; only
 * the number of pairs in flight varies.
 */
#include "engine/local/kernel.h"

#include <cpuid.h>
#include <immintrin.h>

#include "engine/local/kernel_unpack.h"

/* NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): places within one tile */

#define INLINE static inline __attribute__((always_inline))

enum { VECTORS = BLOCK / 8, MAX_W = 8, MAX_X = 3 };

/* ---- 32 weights as four vectors; b counts blocks of 32 from the row's begin ---- */

INLINE void load_f32(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const float *p = (const float *)(const void *)row + b * BLOCK;
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_loadu_ps(p + 8 * j);
}

INLINE void load_f16(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * BLOCK * 2;
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * j)));
}

INLINE void load_bf16(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * BLOCK * 2;
    for (int j = 0; j < VECTORS; j++) {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * j));
        v[j] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
}

INLINE __m256 scale_of(const uint8_t *block)
{
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(block))));
}

INLINE void load_q8_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q8_0_BYTES;
    __m256 d = scale_of(p);
    for (int j = 0; j < VECTORS; j++) {
        __m128i q = _mm_loadl_epi64((const __m128i *)(const void *)(p + 2 + 8 * j));
        v[j] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)));
    }
}

INLINE void load_q4_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q4_0_BYTES;
    __m256 d = scale_of(p);
    __m128i packed = _mm_loadu_si128((const __m128i *)(const void *)(p + 2));
    __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    __m128i low = _mm_sub_epi8(_mm_and_si128(packed, mask), eight);
    __m128i high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(packed, 4), mask), eight);
    v[0] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)));
    v[1] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8))));
    v[2] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)));
    v[3] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8))));
}

/* ---- dot products of a tile ---- */

INLINE float lanes_sum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

typedef void load_fn(__m256 *v, const uint8_t *row, size_t b);
typedef void unpack_fn(float *ret, const void *row, size_t k);

struct format { /* always a constant: the compiler folds it */
    load_fn *load;
    unpack_fn *unpack;
    size_t block_bytes; /* of 32 elements */
};

struct tile {
    const uint8_t *w; /* first weight row */
    size_t w_stride;  /* bytes */
    const float *const *x;
    float *const *y;
    uint32_t k, o; /* o: index of the first weight row in y */
};

/* What is left of K below a block, padded with zeros on both sides. */
INLINE void tile_tail(__m256 (*sum)[MAX_X], const struct tile *t, int nw, int nx, struct format f)
{
    size_t whole = t->k / BLOCK, rest = t->k % BLOCK;
    float x[MAX_X][BLOCK] = { { 0 } };
    for (int i = 0; i < nx; i++)
        memcpy(x[i], t->x[i] + whole * BLOCK, rest * sizeof(float));
    for (int r = 0; r < nw; r++) {
        float w[BLOCK] = { 0 };
        f.unpack(w, t->w + (size_t)r * t->w_stride + whole * f.block_bytes, rest);
        for (int j = 0; j < VECTORS; j++)
            for (int i = 0; i < nx; i++)
                sum[r][i] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * j),
                                            _mm256_loadu_ps(x[i] + 8 * j), sum[r][i]);
    }
}

INLINE void tile_run(const struct tile *t, int nw, int nx, struct format f)
{
    __m256 sum[MAX_W][MAX_X];
    for (int r = 0; r < nw; r++)
        for (int i = 0; i < nx; i++)
            sum[r][i] = _mm256_setzero_ps();
    size_t blocks = t->k / BLOCK;
    for (size_t b = 0; b < blocks; b++)
        for (int r = 0; r < nw; r++) {
            __m256 v[VECTORS];
            f.load(v, t->w + (size_t)r * t->w_stride, b);
            for (int j = 0; j < VECTORS; j++)
                for (int i = 0; i < nx; i++)
                    sum[r][i] = _mm256_fmadd_ps(v[j], _mm256_loadu_ps(t->x[i] + b * BLOCK + 8 * j),
                                                sum[r][i]);
        }
    if (t->k % BLOCK)
        tile_tail(sum, t, nw, nx, f);
    for (int r = 0; r < nw; r++)
        for (int i = 0; i < nx; i++)
            t->y[i][t->o + (uint32_t)r] = lanes_sum(sum[r][i]);
}

/* Any tile of at most 8 × 1, 4 × 2 or 4 × 3 pairs, by constants. */
INLINE void tile_any(const struct tile *t, uint32_t nw, uint32_t nx, struct format f)
{
    if (nx == 1 && nw == 8)
        tile_run(t, 8, 1, f);
    else if (nx == 1 && nw == 4)
        tile_run(t, 4, 1, f);
    else if (nx == 2 && nw == 4)
        tile_run(t, 4, 2, f);
    else if (nx == 3 && nw == 4)
        tile_run(t, 4, 3, f);
    else
        for (uint32_t r = 0; r < nw; r++) {
            struct tile one = { t->w + r * t->w_stride, t->w_stride, t->x, t->y, t->k, t->o + r };
            for (uint32_t i = 0; i < nx; i++, one.x++, one.y++)
                tile_run(&one, 1, 1, f);
        }
}

static const struct format format_f32 = { load_f32, unpack_f32, BLOCK * 4 };

/* Weight rows [o, o + nw), nw at most 4, unpacked once for all activations. */
static void rows_from_scratch(const struct matmul *m, uint32_t o, uint32_t nw, unpack_fn *unpack)
{
    size_t padded = KERNEL_PADDED(m->k);
    for (uint32_t r = 0; r < nw; r++)
        unpack(m->scratch + r * padded, (const uint8_t *)m->w + (o + r) * m->w_stride, m->k);
    struct tile t = { (const uint8_t *)m->scratch, padded * sizeof(float), m->x, m->y, m->k, o };
    for (uint32_t i = 0; i < m->n; i += MAX_X, t.x += MAX_X, t.y += MAX_X)
        tile_any(&t, nw, m->n - i < MAX_X ? m->n - i : MAX_X, format_f32);
}

/* A block of activations that stays in the second-level cache. */
static void block_from_scratch(const struct matmul *m, uint32_t begin, uint32_t end,
                               unpack_fn *unpack)
{
    uint32_t o = begin;
    for (; o + KERNEL_TILE <= end; o += KERNEL_TILE)
        rows_from_scratch(m, o, KERNEL_TILE, unpack);
    if (o < end)
        rows_from_scratch(m, o, end - o, unpack);
}

enum { CACHE_FLOATS = 96 * 1024, DIRECT_ROWS = 6 };

static void matmul_from_scratch(const struct matmul *m, uint32_t begin, uint32_t end,
                                unpack_fn *unpack)
{
    uint32_t rows = (uint32_t)(CACHE_FLOATS / (m->k + 1)) / MAX_X * MAX_X;
    if (rows < 4 * MAX_X)
        rows = 4 * MAX_X;
    for (uint32_t i = 0; i < m->n; i += rows) {
        struct matmul part = *m;
        part.x += i;
        part.y += i;
        part.n = m->n - i < rows ? m->n - i : rows;
        block_from_scratch(&part, begin, end, unpack);
    }
}

INLINE void matmul_direct(const struct matmul *m, uint32_t begin, uint32_t end, struct format f)
{
    uint32_t step = m->n == 1 ? MAX_W : KERNEL_TILE;
    for (uint32_t o = begin; o < end; o += step) {
        uint32_t nw = end - o < step ? end - o : step;
        struct tile t = {
            (const uint8_t *)m->w + o * m->w_stride, m->w_stride, m->x, m->y, m->k, o
        };
        for (uint32_t i = 0; i < m->n; i += MAX_X, t.x += MAX_X, t.y += MAX_X)
            tile_any(&t, nw, m->n - i < MAX_X ? m->n - i : MAX_X, f);
    }
}

/* ---- mix ---- */

/* `vectors` × 8 outputs; whole blocks are loaded, so the row must have them. */
INLINE void mix_block(float *y, const struct mix *m, size_t block, struct format f)
{
    __m256 sum[VECTORS];
    for (int j = 0; j < VECTORS; j++)
        sum[j] = _mm256_setzero_ps();
    const uint8_t *row = m->rows;
    for (uint32_t r = 0; r < m->n; r++, row += m->row_stride) {
        __m256 v[VECTORS], t = _mm256_broadcast_ss(m->t + r);
        f.load(v, row, block);
        for (int j = 0; j < VECTORS; j++)
            sum[j] = _mm256_fmadd_ps(t, v[j], sum[j]);
    }
    for (int j = 0; j < VECTORS; j++)
        _mm256_storeu_ps(y + 8 * j, _mm256_add_ps(_mm256_loadu_ps(y + 8 * j), sum[j]));
}

INLINE void mix_all(float *y, const struct mix *m, struct format f)
{
    size_t whole = m->width / BLOCK, rest = m->width % BLOCK;
    for (size_t b = 0; b < whole; b++)
        mix_block(y + b * BLOCK, m, b, f);
    if (!rest)
        return;
    __m256 sum[VECTORS];
    for (int j = 0; j < VECTORS; j++)
        sum[j] = _mm256_setzero_ps();
    const uint8_t *row = (const uint8_t *)m->rows + whole * f.block_bytes;
    float w[BLOCK] = { 0 };
    for (uint32_t r = 0; r < m->n; r++, row += m->row_stride) {
        f.unpack(w, row, rest);
        for (int j = 0; j < VECTORS; j++)
            sum[j] =
                _mm256_fmadd_ps(_mm256_broadcast_ss(m->t + r), _mm256_loadu_ps(w + 8 * j), sum[j]);
    }
    for (int j = 0; j < VECTORS; j++)
        _mm256_storeu_ps(w + 8 * j, sum[j]);
    for (size_t i = 0; i < rest; i++)
        y[whole * BLOCK + i] += w[i];
}

/* ---- the table ---- */

#define DEFINE_UNPACK_ROW(name)                                                                    \
    static void unpack_row_##name(float *ret, const void *row, size_t k)                           \
    {                                                                                              \
        size_t whole = k / BLOCK;                                                                  \
        for (size_t b = 0; b < whole; b++) {                                                       \
            __m256 v[VECTORS];                                                                     \
            load_##name(v, row, b);                                                                \
            for (int j = 0; j < VECTORS; j++)                                                      \
                _mm256_storeu_ps(ret + b * BLOCK + 8 * j, v[j]);                                   \
        }                                                                                          \
        if (k % BLOCK)                                                                             \
            unpack_##name(ret + whole * BLOCK,                                                     \
                          (const uint8_t *)row + whole * format_##name.block_bytes, k % BLOCK);    \
    }

#define DEFINE_TYPE(name)                                                                          \
    static void matmul_##name(const struct matmul *m, uint32_t begin, uint32_t end)                \
    {                                                                                              \
        if (m->n > DIRECT_ROWS)                                                                    \
            matmul_from_scratch(m, begin, end, unpack_row_##name);                                 \
        else                                                                                       \
            matmul_direct(m, begin, end, format_##name);                                           \
    }                                                                                              \
    static void mix_##name(float *y, const struct mix *m)                                          \
    {                                                                                              \
        mix_all(y, m, format_##name);                                                              \
    }

static const struct format format_f16 = { load_f16, unpack_f16, BLOCK * 2 };
static const struct format format_bf16 = { load_bf16, unpack_bf16, BLOCK * 2 };
static const struct format format_q8_0 = { load_q8_0, unpack_q8_0, Q8_0_BYTES };
static const struct format format_q4_0 = { load_q4_0, unpack_q4_0, Q4_0_BYTES };

DEFINE_UNPACK_ROW(f32)
DEFINE_UNPACK_ROW(f16)
DEFINE_UNPACK_ROW(bf16)
DEFINE_UNPACK_ROW(q8_0)
DEFINE_UNPACK_ROW(q4_0)
DEFINE_TYPE(f32)
DEFINE_TYPE(f16)
DEFINE_TYPE(bf16)
DEFINE_TYPE(q8_0)
DEFINE_TYPE(q4_0)

/* Super-blocks are always unpacked first: their scales do not sit beside 32 elements. */
static void unpack_row_q6_k(float *ret, const void *row, size_t k)
{
    unpack_q6_k(ret, row, k);
}

static void matmul_q6_k(const struct matmul *m, uint32_t begin, uint32_t end)
{
    matmul_from_scratch(m, begin, end, unpack_row_q6_k);
}

static void mix_q6_k(float *y, const struct mix *m)
{
    float row[MIX_WIDTH];
    const uint8_t *from = m->rows;
    float sum[MIX_WIDTH] = { 0 };
    for (uint32_t r = 0; r < m->n; r++, from += m->row_stride) {
        unpack_q6_k(row, from, m->width);
        for (uint32_t o = 0; o < m->width; o++)
            sum[o] += m->t[r] * row[o];
    }
    for (uint32_t o = 0; o < m->width; o++)
        y[o] += sum[o];
}

#define ROW(TYPE, name, input)                                                                     \
    {                                                                                              \
        TENSOR_##TYPE, INPUT_##input, unpack_row_##name, matmul_##name, mix_##name                 \
    }
static const struct kernel kernels[] = {
    ROW(F32, f32, f32),   ROW(F16, f16, f16),   ROW(BF16, bf16, f32),
    ROW(Q8_0, q8_0, f32), ROW(Q4_0, q4_0, f32), ROW(Q6_K, q6_k, f32),
};

static void round_f16(float *ret, const float *x, size_t k)
{
    size_t i = 0;
    for (; i + 8 <= k; i += 8)
        _mm256_storeu_ps(ret + i, _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(x + i),
                                                                  _MM_FROUND_TO_NEAREST_INT)));
    for (; i < k; i++)
        ret[i] = half_to_float(float_to_half(x[i]));
}

/* NOLINTEND(bugprone-implicit-widening-of-multiplication-result) */

/* Not every compiler's __builtin_cpu_supports knows the word. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool usable(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

const struct kernel_set kernels_avx2 = { "avx2", usable, kernels, ARRAY_LEN(kernels), round_f16 };
