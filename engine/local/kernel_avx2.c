/*
 * AVX2, FMA and F16C: a pair of weight row and activation row has one vector of eight sums, which
 * walks K upward 8 elements at a time whether the weights come from the file or from scratch; only
 * the number of pairs in flight varies.
 */
#include "engine/local/kernel.h"

#include <cpuid.h>

#include "engine/local/kernel_x86.h"

/* NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): places within one tile */

enum { VECTORS = BLOCK / 8, FLOAT_W = 8, FLOAT_X = 3 }; /* a tile of floats, at most */

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

/* 32 signed bytes as floats. */
INLINE void widen(__m256 v[static VECTORS], __m256i q)
{
    __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    v[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
    v[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8)));
    v[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high));
    v[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8)));
}

INLINE void scaled(__m256 v[static VECTORS], __m256i q, __m256 d)
{
    widen(v, q);
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_mul_ps(d, v[j]);
}

/* Two roundings, as the formats' definition has: not fused. */
INLINE void scaled_less(__m256 v[static VECTORS], __m256i q, const struct scales *s)
{
    widen(v, q);
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_sub_ps(_mm256_mul_ps(_mm256_set1_ps(s->scale[j / 2]), v[j]),
                             _mm256_set1_ps(s->least[j / 2]));
}

INLINE void load_q8_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    scaled(v, bytes_q8_0(row, b),
           _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(row + b * Q8_0_BYTES)))));
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
    unpack_fn *plain;     /* of types without blocks, whose rows may end anywhere */
    size_t element_bytes; /* of those */
};

/* The last `rest` elements, less than 32, of a row behind `whole` times 32; zeros after them. */
INLINE void load_rest(float ret[static BLOCK], const uint8_t *row, size_t whole, size_t rest,
                      struct format f)
{
    memset(ret, 0, BLOCK * sizeof(float));
    if (f.plain) {
        f.plain(ret, row + whole * BLOCK * f.element_bytes, rest);
        return;
    }
    __m256 v[VECTORS];
    float all[BLOCK];
    f.load(v, row, whole); /* the file has the whole block */
    for (int j = 0; j < VECTORS; j++)
        _mm256_storeu_ps(all + 8 * j, v[j]);
    memcpy(ret, all, rest * sizeof(float));
}

struct tile {
    const uint8_t *w;     /* first weight row */
    size_t w_stride;      /* bytes */
    const void *const *x; /* floats */
    float *const *y;
    uint32_t k, o; /* o: index of the first weight row in y */
};

/* What is left of K below a block, padded with zeros on both sides. */
INLINE void tile_tail(__m256 (*sum)[FLOAT_X], const struct tile *t, int nw, int nx, struct format f)
{
    size_t whole = t->k / BLOCK, rest = t->k % BLOCK;
    float x[FLOAT_X][BLOCK] = { { 0 } };
    for (int i = 0; i < nx; i++)
        memcpy(x[i], (const float *)t->x[i] + whole * BLOCK, rest * sizeof(float));
    for (int r = 0; r < nw; r++) {
        float w[BLOCK];
        load_rest(w, t->w + (size_t)r * t->w_stride, whole, rest, f);
        for (int j = 0; j < VECTORS; j++)
            for (int i = 0; i < nx; i++)
                sum[r][i] = _mm256_fmadd_ps(_mm256_loadu_ps(w + 8 * j),
                                            _mm256_loadu_ps(x[i] + 8 * j), sum[r][i]);
    }
}

INLINE void tile_run(const struct tile *t, int nw, int nx, struct format f)
{
    __m256 sum[FLOAT_W][FLOAT_X];
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
                    sum[r][i] = _mm256_fmadd_ps(
                        v[j], _mm256_loadu_ps((const float *)t->x[i] + b * BLOCK + 8 * j),
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

static const struct format format_f32 = { load_f32, unpack_f32, 4 };

/* Weight rows [o, o + nw), nw at most 4, unpacked once for all activations. */
static void rows_from_scratch(const struct matmul *m, uint32_t o, uint32_t nw, unpack_fn *unpack)
{
    size_t padded = KERNEL_PADDED(m->k);
    for (uint32_t r = 0; r < nw; r++)
        unpack(m->scratch + r * padded, (const uint8_t *)m->w + (o + r) * m->w_stride, m->k);
    struct tile t = { (const uint8_t *)m->scratch, padded * sizeof(float), m->x, m->y, m->k, o };
    for (uint32_t i = 0; i < m->n; i += FLOAT_X, t.x += FLOAT_X, t.y += FLOAT_X)
        tile_any(&t, nw, m->n - i < FLOAT_X ? m->n - i : FLOAT_X, format_f32);
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

enum { CACHE_FLOATS = 96 * 1024, DIRECT_ROWS = 8 };

static void matmul_from_scratch(const struct matmul *m, uint32_t begin, uint32_t end,
                                unpack_fn *unpack)
{
    uint32_t rows = (uint32_t)(CACHE_FLOATS / (m->k + 1)) / FLOAT_X * FLOAT_X;
    if (rows < 4 * FLOAT_X)
        rows = 4 * FLOAT_X;
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
    uint32_t step = m->n == 1 ? FLOAT_W : KERNEL_TILE;
    for (uint32_t o = begin; o < end; o += step) {
        uint32_t nw = end - o < step ? end - o : step;
        struct tile t = {
            (const uint8_t *)m->w + o * m->w_stride, m->w_stride, m->x, m->y, m->k, o
        };
        for (uint32_t i = 0; i < m->n; i += FLOAT_X, t.x += FLOAT_X, t.y += FLOAT_X)
            tile_any(&t, nw, m->n - i < FLOAT_X ? m->n - i : FLOAT_X, f);
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
    const uint8_t *row = m->rows;
    float w[BLOCK];
    for (uint32_t r = 0; r < m->n; r++, row += m->row_stride) {
        load_rest(w, row, whole, rest, f);
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

#define DEFINE_UNPACK(name)                                                                        \
    void avx2_unpack_##name(float *ret, const void *row, size_t k)                                 \
    {                                                                                              \
        size_t whole = k / BLOCK;                                                                  \
        for (size_t b = 0; b < whole; b++) {                                                       \
            __m256 v[VECTORS];                                                                     \
            load_##name(v, row, b);                                                                \
            for (int j = 0; j < VECTORS; j++)                                                      \
                _mm256_storeu_ps(ret + b * BLOCK + 8 * j, v[j]);                                   \
        }                                                                                          \
        if (k % BLOCK) {                                                                           \
            float rest[BLOCK];                                                                     \
            load_rest(rest, row, whole, k % BLOCK, format_##name);                                 \
            memcpy(ret + whole * BLOCK, rest, k % BLOCK * sizeof(float));                          \
        }                                                                                          \
    }

#define DEFINE_DOT(name)                                                                           \
    void avx2_dot_##name(const struct matmul *m, uint32_t begin, uint32_t end)                     \
    {                                                                                              \
        if (m->n > DIRECT_ROWS)                                                                    \
            matmul_from_scratch(m, begin, end, avx2_unpack_##name);                                \
        else                                                                                       \
            matmul_direct(m, begin, end, format_##name);                                           \
    }

#define DEFINE_MIX(name)                                                                           \
    void avx2_mix_##name(float *y, const struct mix *m)                                            \
    {                                                                                              \
        mix_all(y, m, format_##name);                                                              \
    }

static const struct format format_f16 = { load_f16, unpack_f16, 2 };
static const struct format format_bf16 = { load_bf16, unpack_bf16, 2 };
static const struct format format_q8_0 = { load_q8_0, NULL, 0 };
DEFINE_UNPACK(f32)
DEFINE_UNPACK(f16)
DEFINE_UNPACK(bf16)
DEFINE_DOT(f32)
DEFINE_DOT(f16)
DEFINE_DOT(bf16)
DEFINE_DOT(q8_0)
DEFINE_MIX(f32)
DEFINE_MIX(f16)
DEFINE_MIX(bf16)
DEFINE_MIX(q8_0)

/* ---- integers ---- */

#define DEFINE_UNPACK_INTEGER(TYPE, name, halves, least, dot, mix)                                 \
    void avx2_unpack_##name(float *ret, const void *row, size_t k)                                 \
    {                                                                                              \
        for (size_t b = 0; b * BLOCK < k; b++) {                                                   \
            __m256 v[VECTORS];                                                                     \
            struct scales s;                                                                       \
            scales_##name(&s, row, b);                                                             \
            scaled_less(v, bytes_##name(row, b), &s);                                              \
            float some[BLOCK], *to = k - b * BLOCK < BLOCK ? some : ret + b * BLOCK;               \
            for (int j = 0; j < VECTORS; j++)                                                      \
                _mm256_storeu_ps(to + 8 * j, v[j]);                                                \
            if (to == some)                                                                        \
                memcpy(ret + b * BLOCK, some, (k - b * BLOCK) * sizeof(float));                    \
        }                                                                                          \
    }
KERNEL_INTEGER_TYPES(DEFINE_UNPACK_INTEGER)

enum { LANES = 8, MAX_X = 4 };
typedef __m256i ints;
typedef __m256 floats;

INLINE ints ints_load(const int16_t *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
}

INLINE void ints_store(int16_t *p, ints v)
{
    _mm256_store_si256((__m256i *)(void *)p, v);
}

INLINE ints ints_zero(void)
{
    return _mm256_setzero_si256();
}

INLINE ints ints_pair(const int16_t *p)
{
    return _mm256_set1_epi32((int)load_u32(p));
}

INLINE void ints_pieces(ints ret[static 4], const uint8_t *const *p)
{
    ints x[4];
    for (int i = 0; i < 4; i++)
        x[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(p[i])), load_16(p[i + 4]), 1);
    ints low01 = _mm256_unpacklo_epi32(x[0], x[1]), high01 = _mm256_unpackhi_epi32(x[0], x[1]);
    ints low23 = _mm256_unpacklo_epi32(x[2], x[3]), high23 = _mm256_unpackhi_epi32(x[2], x[3]);
    ret[0] = _mm256_unpacklo_epi64(low01, low23);
    ret[1] = _mm256_unpackhi_epi64(low01, low23);
    ret[2] = _mm256_unpacklo_epi64(high01, high23);
    ret[3] = _mm256_unpackhi_epi64(high01, high23);
}

INLINE ints ints_even(ints v)
{
    return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
}

INLINE ints ints_odd(ints v)
{
    return _mm256_srai_epi16(v, 8);
}

INLINE ints ints_low_nibbles(ints v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

INLINE ints ints_high_nibbles(ints v)
{
    return ints_low_nibbles(_mm256_srli_epi16(v, 4));
}

INLINE ints ints_less(ints v, int by)
{
    return _mm256_sub_epi8(v, _mm256_set1_epi8((char)by));
}

INLINE ints ints_or(ints a, ints b)
{
    return _mm256_or_si256(a, b);
}

INLINE ints ints_levels(ints v)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_16((const uint8_t *)iq4_levels)),
                               v);
}

/* Byte quad / 2 of the lane everywhere in the lane, then one bit of it in each byte. */
INLINE ints ints_fifth(ints bits, int quad)
{
    ints lane = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    ints mask = _mm256_set1_epi32((int)(0x08040201u << quad % 2 * 4));
    __m256i byte =
        _mm256_shuffle_epi8(bits, _mm256_add_epi8(lane, _mm256_set1_epi8((char)(quad / 2))));
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, mask), mask);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INLINE ints ints_dot(ints sum, ints w, ints x)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x));
}

INLINE floats floats_load(const float *p)
{
    return _mm256_load_ps(p);
}

INLINE void floats_store(float *p, floats v)
{
    _mm256_store_ps(p, v);
}

INLINE floats floats_all(float x)
{
    return _mm256_set1_ps(x);
}

INLINE floats floats_of(ints v)
{
    return _mm256_cvtepi32_ps(v);
}

INLINE floats floats_of_halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(load_16((const uint8_t *)(const void *)p));
}

INLINE floats floats_add(floats a, floats b)
{
    return _mm256_add_ps(a, b);
}

INLINE floats floats_sub(floats a, floats b)
{
    return _mm256_sub_ps(a, b);
}

INLINE floats floats_mul(floats a, floats b)
{
    return _mm256_mul_ps(a, b);
}

#include "engine/local/kernel_panel.h"

/* ---- activations ---- */

void avx2_round_f16(float *ret, const float *x, size_t k)
{
    size_t i = 0;
    for (; i + 8 <= k; i += 8)
        _mm256_storeu_ps(ret + i, _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(x + i),
                                                                  _MM_FROUND_TO_NEAREST_INT)));
    for (; i < k; i++)
        ret[i] = half_to_float(float_to_half(x[i]));
}

/* The largest magnitude of 32. */
INLINE float block_most(const __m256 v[static VECTORS])
{
    __m256 sign = _mm256_set1_ps(-0.0f), m = _mm256_setzero_ps();
    for (int j = 0; j < VECTORS; j++)
        m = _mm256_max_ps(_mm256_andnot_ps(sign, v[j]), m);
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

/* 16 numbers as integers, the two middle ones of every four swapped: as the panels have them. */
INLINE int32_t quantise_16(int16_t *ret, __m256 a, __m256 b, __m256 inverse)
{
    __m256i swap = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(a, inverse));
    __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(b, inverse));
    __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    _mm256_storeu_si256((__m256i *)(void *)ret, _mm256_shuffle_epi8(both, swap));
    __m256i s = _mm256_madd_epi16(both, _mm256_set1_epi16(1));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

INLINE void quantise_block(struct quants *ret, const float *x)
{
    __m256 v[VECTORS];
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_loadu_ps(x + 8 * j);
    float most = block_most(v);
    __m256 inverse = _mm256_set1_ps(most > QUANTS_TINY ? QUANTS_MOST / most : 0);
    int32_t first = quantise_16(ret->q, v[0], v[1], inverse);
    int32_t last = quantise_16(ret->q + 16, v[2], v[3], inverse);
    ret->scale = most / QUANTS_MOST;
    ret->sum = ret->scale * (float)(first + last);
    ret->half[0] = ret->scale * (float)first;
    ret->half[1] = ret->scale * (float)last;
}

void avx2_quantise(struct quants *ret, const float *x, size_t k)
{
    size_t i = 0;
    for (; i + BLOCK <= k; i += BLOCK)
        quantise_block(ret++, x + i);
    if (i < k) {
        float rest[BLOCK] = { 0 };
        memcpy(rest, x + i, (k - i) * sizeof(float));
        quantise_block(ret, rest);
    }
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

#define dot_q8_0 avx2_dot_q8_0
#define mix_q8_0 avx2_mix_q8_0
#define ROW(TYPE, name, halves, least, dot, mix)                                                   \
    { TENSOR_##TYPE, INPUT_i16, ERROR_i16, avx2_unpack_##name, matmul_##name, dot, mix },
static const struct kernel kernels[] = {
    { TENSOR_F32, INPUT_f32, ERROR_f32, avx2_unpack_f32, avx2_dot_f32, avx2_dot_f32, avx2_mix_f32 },
    { TENSOR_F16, INPUT_f16, ERROR_f16, avx2_unpack_f16, avx2_dot_f16, avx2_dot_f16, avx2_mix_f16 },
    { TENSOR_BF16, INPUT_f32, ERROR_f32, avx2_unpack_bf16, avx2_dot_bf16, avx2_dot_bf16,
      avx2_mix_bf16 },
    KERNEL_INTEGER_TYPES(ROW)
};

const struct kernel_set kernels_avx2 = { "avx2",         usable,       kernels, ARRAY_LEN(kernels),
                                         avx2_round_f16, avx2_quantise };
