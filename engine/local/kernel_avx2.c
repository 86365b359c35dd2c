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

INLINE __m256 scale_of(const uint8_t *half)
{
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(half))));
}

INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
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
INLINE void scaled_plus(__m256 v[static VECTORS], __m256i q, __m256 d, __m256 m)
{
    scaled(v, q, d);
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_add_ps(v[j], m);
}

/* Scales of the first and the last 16 elements. */
INLINE void scaled_halves(__m256 v[static VECTORS], __m256i q, const float d[static 2])
{
    widen(v, q);
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_mul_ps(_mm256_set1_ps(d[j / 2]), v[j]);
}

/* 16 bytes: the low nibbles, then the high ones. */
INLINE __m256i nibbles(const uint8_t *p)
{
    __m128i packed = load_16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed),
                            _mm256_set1_epi8(15));
}

/* `mask` bits of each of 32 bytes, from bit `shift` on. */
INLINE __m256i bits_at(__m256i bytes, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(shift)),
                            _mm256_set1_epi8((char)mask));
}

/* Bit i of `bits` as 0 or 16 in byte i. */
INLINE __m256i fifth_bits(uint32_t bits)
{
    __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INLINE void load_q8_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q8_0_BYTES;
    scaled(v, load_32(p + 2), scale_of(p));
}

INLINE void load_q4_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q4_0_BYTES;
    scaled(v, _mm256_sub_epi8(nibbles(p + 2), _mm256_set1_epi8(8)), scale_of(p));
}

INLINE void load_q4_1(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q4_1_BYTES;
    scaled_plus(v, nibbles(p + 4), scale_of(p), scale_of(p + 2));
}

INLINE void load_q5_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_0_BYTES;
    __m256i q = _mm256_or_si256(nibbles(p + 6), fifth_bits(load_u32(p + 2)));
    scaled(v, _mm256_sub_epi8(q, _mm256_set1_epi8(16)), scale_of(p));
}

INLINE void load_q5_1(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_1_BYTES;
    __m256i q = _mm256_or_si256(nibbles(p + 8), fifth_bits(load_u32(p + 4)));
    scaled_plus(v, q, scale_of(p), scale_of(p + 2));
}

INLINE __m256i iq4_values(const uint8_t *packed)
{
    __m256i levels = _mm256_broadcastsi128_si256(load_16((const uint8_t *)iq4_levels));
    return _mm256_shuffle_epi8(levels, nibbles(packed));
}

INLINE void load_iq4_nl(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * IQ4_NL_BYTES;
    scaled(v, iq4_values(p + 2), scale_of(p));
}

/* ---- a group of 32 of a super-block: kernel_unpack.h describes the layouts ---- */

enum { GROUPS = SUPER_BLOCK / BLOCK };

INLINE void load_q2_k(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q2_K_BYTES;
    int g = (int)(b % GROUPS);
    float d = load_half(p + 80), least = load_half(p + 82);
    float scale[2] = { d * (float)(p[2 * g] & 15), d * (float)(p[2 * g + 1] & 15) };
    float m[2] = { least * (float)(p[2 * g] >> 4), least * (float)(p[2 * g + 1] >> 4) };
    scaled_halves(v, bits_at(load_32(p + 16 + (g >> 2) * 32), (g & 3) * 2, 3), scale);
    for (int j = 0; j < VECTORS; j++)
        v[j] = _mm256_sub_ps(v[j], _mm256_set1_ps(m[j / 2]));
}

INLINE void load_q3_k(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q3_K_BYTES;
    int g = (int)(b % GROUPS);
    float d = load_half(p + 108);
    float scale[2] = { d * (float)q3_k_scale(p + 96, 2 * g),
                       d * (float)q3_k_scale(p + 96, 2 * g + 1) };
    __m256i low = bits_at(load_32(p + 32 + (g >> 2) * 32), (g & 3) * 2, 3);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p), g, 1), 2);
    scaled_halves(v, _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(4)), scale);
}

INLINE void load_q4_k(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q4_K_BYTES;
    int g = (int)(b % GROUPS);
    float scale = load_half(p) * (float)q4_k_scale(p + 4, g);
    float m = load_half(p + 2) * (float)q4_k_min(p + 4, g);
    __m256i q = bits_at(load_32(p + 16 + (g >> 1) * 32), (g & 1) * 4, 15);
    scaled_plus(v, q, _mm256_set1_ps(scale), _mm256_set1_ps(-m));
}

INLINE void load_q5_k(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q5_K_BYTES;
    int g = (int)(b % GROUPS);
    float scale = load_half(p) * (float)q4_k_scale(p + 4, g);
    float m = load_half(p + 2) * (float)q4_k_min(p + 4, g);
    __m256i low = bits_at(load_32(p + 48 + (g >> 1) * 32), (g & 1) * 4, 15);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p + 16), g, 1), 4);
    scaled_plus(v, _mm256_or_si256(low, high), _mm256_set1_ps(scale), _mm256_set1_ps(-m));
}

INLINE void load_q6_k(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q6_K_BYTES;
    int g = (int)(b % GROUPS), quarter = g & 3;
    float d = load_half(p + 208);
    float scale[2] = { d * (float)(int8_t)p[192 + 2 * g], d * (float)(int8_t)p[193 + 2 * g] };
    __m256i low = bits_at(load_32(p + (g >> 2) * 64 + (quarter & 1) * 32), (quarter >> 1) * 4, 15);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p + 128 + (g >> 2) * 32), quarter * 2, 3), 4);
    scaled_halves(v, _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32)), scale);
}

INLINE void load_iq4_xs(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * IQ4_XS_BYTES;
    int g = (int)(b % GROUPS);
    scaled(v, iq4_values(p + 8 + g * 16), _mm256_set1_ps(load_half(p) * (float)iq4_xs_scale(p, g)));
}

INLINE void load_tq2_0(__m256 v[static VECTORS], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * TQ2_0_BYTES;
    int g = (int)(b % GROUPS);
    __m256i q = bits_at(load_32(p + (g >> 2) * 32), (g & 3) * 2, 3);
    scaled(v, _mm256_sub_epi8(q, _mm256_set1_epi8(1)), scale_of(p + 64));
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

static const struct format format_f32 = { load_f32, unpack_f32, 4 };

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
        if (k % BLOCK) {                                                                           \
            float rest[BLOCK];                                                                     \
            load_rest(rest, row, whole, k % BLOCK, format_##name);                                 \
            memcpy(ret + whole * BLOCK, rest, k % BLOCK * sizeof(float));                          \
        }                                                                                          \
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

static const struct format format_f16 = { load_f16, unpack_f16, 2 };
static const struct format format_bf16 = { load_bf16, unpack_bf16, 2 };
DEFINE_UNPACK_ROW(f32)
DEFINE_UNPACK_ROW(f16)
DEFINE_UNPACK_ROW(bf16)
DEFINE_TYPE(f32)
DEFINE_TYPE(f16)
DEFINE_TYPE(bf16)

#define DEFINE_BLOCK_TYPE(name)                                                                    \
    static const struct format format_##name = { load_##name, NULL, 0 };                           \
    DEFINE_UNPACK_ROW(name)                                                                        \
    DEFINE_TYPE(name)
DEFINE_BLOCK_TYPE(q8_0)
DEFINE_BLOCK_TYPE(q4_0)
DEFINE_BLOCK_TYPE(q4_1)
DEFINE_BLOCK_TYPE(q5_0)
DEFINE_BLOCK_TYPE(q5_1)
DEFINE_BLOCK_TYPE(q2_k)
DEFINE_BLOCK_TYPE(q3_k)
DEFINE_BLOCK_TYPE(q4_k)
DEFINE_BLOCK_TYPE(q5_k)
DEFINE_BLOCK_TYPE(q6_k)
DEFINE_BLOCK_TYPE(iq4_nl)
DEFINE_BLOCK_TYPE(iq4_xs)
DEFINE_BLOCK_TYPE(tq2_0)

/* Always unpacked first: the elements of a group of 32 are spread over digits of many bytes. */
static void unpack_row_tq1_0(float *ret, const void *row, size_t k)
{
    unpack_tq1_0(ret, row, k);
}

static void matmul_tq1_0(const struct matmul *m, uint32_t begin, uint32_t end)
{
    matmul_from_scratch(m, begin, end, unpack_row_tq1_0);
}

static void mix_tq1_0(float *y, const struct mix *m)
{
    float row[MIX_WIDTH];
    const uint8_t *from = m->rows;
    float sum[MIX_WIDTH] = { 0 };
    for (uint32_t r = 0; r < m->n; r++, from += m->row_stride) {
        unpack_tq1_0(row, from, m->width);
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
    ROW(F32, f32, f32),     ROW(F16, f16, f16),       ROW(BF16, bf16, f32),
    ROW(Q8_0, q8_0, f32),   ROW(Q4_0, q4_0, f32),     ROW(Q4_1, q4_1, f32),
    ROW(Q5_0, q5_0, f32),   ROW(Q5_1, q5_1, f32),     ROW(Q2_K, q2_k, f32),
    ROW(Q3_K, q3_k, f32),   ROW(Q4_K, q4_k, f32),     ROW(Q5_K, q5_k, f32),
    ROW(Q6_K, q6_k, f32),   ROW(IQ4_NL, iq4_nl, f32), ROW(IQ4_XS, iq4_xs, f32),
    ROW(TQ2_0, tq2_0, f32), ROW(TQ1_0, tq1_0, f32),
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
