/*
 * Elements of each tensor type as floats: the portable reading, which every kernel set shares.
 *
 * Layouts: the GGUF specification; all little-endian, blocks unaligned.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

static inline float bits_to_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint32_t float_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}

static inline float half_to_float(uint16_t h)
{
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00u) /* infinity, NaN */
        return bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    /* 2^112 moves the exponent's bias from 15 to 127 and makes subnormals normal; exact */
    return bits_to_float(sign | float_to_bits(bits_to_float(rest << 13) * 0x1p112f));
#endif
}

/* Nearest, ties to even; too large becomes infinity. */
static inline uint16_t float_to_half(float f)
{
    uint32_t u = float_to_bits(f), sign = u >> 16 & 0x8000u, rest = u & 0x7fffffffu;
    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (rest >= 0x477ff000u) /* 65520 and above */
        return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) { /* subnormal: let the addition round at 2^-24 */
        float shifted = bits_to_float(rest) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(shifted) - 0x3f000000u));
    }
    rest += 0xfffu + (rest >> 13 & 1u);
    return (uint16_t)(sign | ((rest >> 13) - (112u << 10)));
}

static inline float bfloat_to_float(uint16_t h)
{
    return bits_to_float((uint32_t)h << 16);
}

/* Nearest, ties to even. */
static inline uint16_t float_to_bfloat(float f)
{
    uint32_t u = float_to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline uint16_t load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

enum { BLOCK = 32, SUPER_BLOCK = 256 };
enum {
    Q4_0_BYTES = 18,
    Q4_1_BYTES = 20,
    Q5_0_BYTES = 22,
    Q5_1_BYTES = 24,
    Q8_0_BYTES = 34,
    IQ4_NL_BYTES = 18,
    Q2_K_BYTES = 84,
    Q3_K_BYTES = 110,
    Q4_K_BYTES = 144,
    Q5_K_BYTES = 176,
    Q6_K_BYTES = 210,
    IQ4_XS_BYTES = 136,
    TQ1_0_BYTES = 54,
    TQ2_0_BYTES = 66,
};

static inline float load_half(const uint8_t *p)
{
    return half_to_float(load_u16(p));
}

/*
 * Every quantised type reads as groups of 32 elements w = scale · q − least, whose scale and least
 * hold for 16 or all 32 of them. Block b of a row is its elements from 32 b on, also where the
 * file's blocks are of 256.
 */
struct scales {
    float scale[2], least[2]; /* of elements 0 … 15 and 16 … 31 */
};

static inline void scales_both(struct scales *ret, float scale, float least)
{
    *ret = (struct scales){ { scale, scale }, { least, least } };
}

/* ---- blocks of 32: one scale, maybe a minimum, then the elements ---- */

#define DEFINE_SCALES(name, bytes)                                                                 \
    static inline void scales_##name(struct scales *ret, const uint8_t *row, size_t b)             \
    {                                                                                              \
        scales_both(ret, load_half(row + b * (bytes)), 0);                                         \
    }
DEFINE_SCALES(q8_0, Q8_0_BYTES)
DEFINE_SCALES(q4_0, Q4_0_BYTES)
DEFINE_SCALES(q5_0, Q5_0_BYTES)
DEFINE_SCALES(iq4_nl, IQ4_NL_BYTES)
#undef DEFINE_SCALES

#define DEFINE_SCALES_LEAST(name, bytes)                                                           \
    static inline void scales_##name(struct scales *ret, const uint8_t *row, size_t b)             \
    {                                                                                              \
        const uint8_t *p = row + b * (bytes);                                                      \
        scales_both(ret, load_half(p), -load_half(p + 2));                                         \
    }
DEFINE_SCALES_LEAST(q4_1, Q4_1_BYTES)
DEFINE_SCALES_LEAST(q5_1, Q5_1_BYTES)
#undef DEFINE_SCALES_LEAST

static inline void quants_q8_0(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    memcpy(ret, row + b * Q8_0_BYTES + 2, BLOCK);
}

/* Low nibbles are the first half of the block, high ones the second. */
static inline void quants_nibbles(int8_t ret[static BLOCK], const uint8_t *p, int less)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = (int8_t)((p[i] & 15) - less);
        ret[i + BLOCK / 2] = (int8_t)((p[i] >> 4) - less);
    }
}

static inline void quants_q4_0(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_nibbles(ret, row + b * Q4_0_BYTES + 2, 8);
}

static inline void quants_q4_1(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_nibbles(ret, row + b * Q4_1_BYTES + 4, 0);
}

/* Nibbles, and bit i of `high` is the fifth bit of element i. */
static inline void quants_five_bits(int8_t ret[static BLOCK], const uint8_t *nibbles, uint32_t high,
                                    int less)
{
    quants_nibbles(ret, nibbles, 0);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = (int8_t)((ret[i] | (int)(high >> i & 1u) << 4) - less);
}

static inline void quants_q5_0(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_0_BYTES;
    quants_five_bits(ret, p + 6, load_u32(p + 2), 16);
}

static inline void quants_q5_1(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_1_BYTES;
    quants_five_bits(ret, p + 8, load_u32(p + 4), 0);
}

/* The levels of IQ4_NL and IQ4_XS, dense about zero. */
static const int8_t iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113 };

static inline void quants_levels(int8_t ret[static BLOCK], const uint8_t *nibbles)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = iq4_levels[nibbles[i] & 15];
        ret[i + BLOCK / 2] = iq4_levels[nibbles[i] >> 4];
    }
}

static inline void quants_iq4_nl(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_levels(ret, row + b * IQ4_NL_BYTES + 2);
}

/* ---- super-blocks of 256: eight groups of 32, each with scales of its own ---- */

enum { GROUPS = SUPER_BLOCK / BLOCK };

/*
 * Two bits each: a group's are at one position of 32 neighbouring bytes, four groups sharing the
 * bytes. The 16 scales (low nibble) and minimums (high nibble) are of 16 elements.
 */
static inline void scales_q2_k(struct scales *ret, const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q2_K_BYTES, *pair = p + b % GROUPS * 2;
    float d = load_half(p + 80), least = load_half(p + 82);
    for (int h = 0; h < 2; h++) {
        ret->scale[h] = d * (float)(pair[h] & 15);
        ret->least[h] = least * (float)(pair[h] >> 4);
    }
}

static inline void quants_two_bits(int8_t ret[static BLOCK], const uint8_t *p, size_t g, int less)
{
    for (int i = 0; i < BLOCK; i++)
        ret[i] = (int8_t)((p[g / 4 * 32 + (size_t)i] >> g % 4 * 2 & 3) - less);
}

static inline void quants_q2_k(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_two_bits(ret, row + b / GROUPS * Q2_K_BYTES + 16, b % GROUPS, 0);
}

/* Scale of 16 elements, -32 … 31: twelve bytes hold 16 nibbles, then 16 pairs of high bits. */
static inline int q3_k_scale(const uint8_t *scales, size_t run)
{
    int low = run < 8 ? scales[run] & 15 : scales[run - 8] >> 4;
    int high = scales[8 + (run & 3)] >> (run >> 2) * 2 & 3;
    return (low | high << 4) - 32;
}

static inline void scales_q3_k(struct scales *ret, const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q3_K_BYTES;
    float d = load_half(p + 108);
    for (size_t h = 0; h < 2; h++) {
        ret->scale[h] = d * (float)q3_k_scale(p + 96, b % GROUPS * 2 + h);
        ret->least[h] = 0;
    }
}

/* As Q2_K, with a third bit: bit g of 32 bytes is of group g. No minimum. */
static inline void quants_q3_k(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q3_K_BYTES;
    quants_two_bits(ret, p + 32, b % GROUPS, 4);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = (int8_t)(ret[i] + (p[i] >> b % GROUPS & 1) * 4);
}

/* Six-bit scale and minimum of a group of Q4_K and Q5_K, out of twelve bytes. */
static inline int q4_k_scale(const uint8_t *s, size_t group)
{
    return group < 4 ? s[group] & 63 : (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
}

static inline int q4_k_min(const uint8_t *s, size_t group)
{
    return group < 4 ? s[group + 4] & 63 : s[group + 4] >> 4 | s[group] >> 6 << 4;
}

static inline void scales_of_q4_k(struct scales *ret, const uint8_t *p, size_t g)
{
    scales_both(ret, load_half(p) * (float)q4_k_scale(p + 4, g),
                load_half(p + 2) * (float)q4_k_min(p + 4, g));
}

/* Two groups share 32 bytes: the low nibbles are the even one's. */
static inline void quants_of_q4_k(int8_t ret[static BLOCK], const uint8_t *nibbles, size_t g)
{
    for (int i = 0; i < BLOCK; i++)
        ret[i] = (int8_t)(nibbles[g / 2 * 32 + (size_t)i] >> g % 2 * 4 & 15);
}

static inline void scales_q4_k(struct scales *ret, const uint8_t *row, size_t b)
{
    scales_of_q4_k(ret, row + b / GROUPS * Q4_K_BYTES, b % GROUPS);
}

static inline void quants_q4_k(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_of_q4_k(ret, row + b / GROUPS * Q4_K_BYTES + 16, b % GROUPS);
}

static inline void scales_q5_k(struct scales *ret, const uint8_t *row, size_t b)
{
    scales_of_q4_k(ret, row + b / GROUPS * Q5_K_BYTES, b % GROUPS);
}

/* As Q4_K, with a fifth bit: bit g of 32 bytes is of group g. */
static inline void quants_q5_k(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q5_K_BYTES;
    quants_of_q4_k(ret, p + 48, b % GROUPS);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = (int8_t)(ret[i] | (p[16 + i] >> b % GROUPS & 1) << 4);
}

static inline void scales_q6_k(struct scales *ret, const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q6_K_BYTES;
    float d = load_half(p + 208);
    for (size_t h = 0; h < 2; h++) {
        ret->scale[h] = d * (float)(int8_t)p[192 + b % GROUPS * 2 + h];
        ret->least[h] = 0;
    }
}

/* Two halves of four groups: 64 bytes of nibbles, 32 of pairs of high bits. */
static inline void quants_q6_k(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q6_K_BYTES;
    size_t half = b % GROUPS / 4, quarter = b % 4;
    const uint8_t *low = p + half * 64 + quarter % 2 * 32, *high = p + 128 + half * 32;
    for (int i = 0; i < BLOCK; i++)
        ret[i] =
            (int8_t)(((low[i] >> quarter / 2 * 4 & 15) | (high[i] >> quarter * 2 & 3) << 4) - 32);
}

/* Scale of a group, -32 … 31: a nibble of four bytes and two bits of a 16-bit word. */
static inline void scales_iq4_xs(struct scales *ret, const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * IQ4_XS_BYTES;
    size_t g = b % GROUPS;
    int low = p[4 + g / 2] >> g % 2 * 4 & 15;
    int scale = (low | (load_u16(p + 2) >> 2 * g & 3) << 4) - 32;
    scales_both(ret, load_half(p) * (float)scale, 0);
}

static inline void quants_iq4_xs(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_levels(ret, row + b / GROUPS * IQ4_XS_BYTES + 8 + b % GROUPS * 16);
}

static inline void scales_tq1_0(struct scales *ret, const uint8_t *row, size_t b)
{
    scales_both(ret, load_half(row + b / GROUPS * TQ1_0_BYTES + 52), 0);
}

/*
 * Ternary, base 3: a byte is a fraction of 256 whose digits are elements; times 3^n drops the first
 * n, and the next is what times 3 carries out. Digit by digit: five of 32 bytes, five of 16, four
 * of 4.
 */
static inline void quants_tq1_0(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    static const uint8_t powers[] = { 1, 3, 9, 27, 81 };
    const uint8_t *p = row + b / GROUPS * TQ1_0_BYTES;
    for (size_t i = 0; i < BLOCK; i++) {
        size_t at = b % GROUPS * BLOCK + i, from = 0, n = 32;
        if (at >= 160) {
            from = at < 240 ? 32 : 48;
            n = at < 240 ? 16 : 4;
            at -= at < 240 ? 160 : 240;
        }
        ret[i] = (int8_t)((p[from + at % n] * powers[at / n] & 255) * 3 / 256 - 1);
    }
}

/* Ternary, two bits each, laid out as Q2_K. */
static inline void scales_tq2_0(struct scales *ret, const uint8_t *row, size_t b)
{
    scales_both(ret, load_half(row + b / GROUPS * TQ2_0_BYTES + 64), 0);
}

static inline void quants_tq2_0(int8_t ret[static BLOCK], const uint8_t *row, size_t b)
{
    quants_two_bits(ret, row + b / GROUPS * TQ2_0_BYTES, b % GROUPS, 1);
}

/* ---- rows ---- */

static inline void unpack_f32(float *ret, const void *row, size_t k)
{
    memcpy(ret, row, k * sizeof(float));
}

static inline void unpack_f16(float *ret, const void *row, size_t k)
{
    for (size_t i = 0; i < k; i++)
        ret[i] = half_to_float(load_u16((const uint8_t *)row + 2 * i));
}

static inline void unpack_bf16(float *ret, const void *row, size_t k)
{
    for (size_t i = 0; i < k; i++)
        ret[i] = bfloat_to_float(load_u16((const uint8_t *)row + 2 * i));
}

#define DEFINE_UNPACK(name)                                                                        \
    static inline void unpack_##name(float *ret, const void *row, size_t k)                        \
    {                                                                                              \
        for (size_t b = 0; b * BLOCK < k; b++) {                                                   \
            int8_t q[BLOCK];                                                                       \
            struct scales s;                                                                       \
            quants_##name(q, row, b);                                                              \
            scales_##name(&s, row, b);                                                             \
            for (size_t i = 0; i < BLOCK && b * BLOCK + i < k; i++)                                \
                ret[b * BLOCK + i] = s.scale[i / 16] * (float)q[i] - s.least[i / 16];              \
        }                                                                                          \
    }
DEFINE_UNPACK(q8_0)
DEFINE_UNPACK(q4_0)
DEFINE_UNPACK(q4_1)
DEFINE_UNPACK(q5_0)
DEFINE_UNPACK(q5_1)
DEFINE_UNPACK(iq4_nl)
DEFINE_UNPACK(q2_k)
DEFINE_UNPACK(q3_k)
DEFINE_UNPACK(q4_k)
DEFINE_UNPACK(q5_k)
DEFINE_UNPACK(q6_k)
DEFINE_UNPACK(iq4_xs)
DEFINE_UNPACK(tq1_0)
DEFINE_UNPACK(tq2_0)
#undef DEFINE_UNPACK

/*
 * What is multiplied as integers: X(TYPE, name, scales are of 16 elements, it has a minimum,
 * dot, mix); the last two for the one that a key-value cache is kept in.
 */
#define KERNEL_INTEGER_TYPES(X)                                                                    \
    X(Q8_0, q8_0, false, false, dot_q8_0, mix_q8_0)                                                \
    X(Q4_0, q4_0, false, false, NULL, NULL)                                                        \
    X(Q4_1, q4_1, false, true, NULL, NULL)                                                         \
    X(Q5_0, q5_0, false, false, NULL, NULL)                                                        \
    X(Q5_1, q5_1, false, true, NULL, NULL)                                                         \
    X(Q2_K, q2_k, true, true, NULL, NULL)                                                          \
    X(Q3_K, q3_k, true, false, NULL, NULL)                                                         \
    X(Q4_K, q4_k, false, true, NULL, NULL)                                                         \
    X(Q5_K, q5_k, false, true, NULL, NULL)                                                         \
    X(Q6_K, q6_k, true, false, NULL, NULL)                                                         \
    X(IQ4_NL, iq4_nl, false, false, NULL, NULL)                                                    \
    X(IQ4_XS, iq4_xs, false, false, NULL, NULL)                                                    \
    X(TQ1_0, tq1_0, false, false, NULL, NULL)                                                      \
    X(TQ2_0, tq2_0, false, false, NULL, NULL)
