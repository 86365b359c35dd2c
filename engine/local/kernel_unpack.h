/*
 * Elements of each tensor type as floats: the portable reading, which every kernel set shares.
 *
 * Layouts: the GGUF specification; all little-endian, blocks unaligned.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00u) /* infinity, NaN */
        return bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    /* 2^112 moves the exponent's bias from 15 to 127 and makes subnormals normal; exact */
    return bits_to_float(sign | float_to_bits(bits_to_float(rest << 13) * 0x1p112f));
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

/* ---- blocks of 32: one scale, maybe a minimum, then the elements ---- */

static inline void block_q8_0(float ret[static BLOCK], const uint8_t *b)
{
    float d = load_half(b);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = d * (float)(int8_t)b[2 + i];
}

/* Low nibbles are the first half of the block, high ones the second. */
static inline void block_q4_0(float ret[static BLOCK], const uint8_t *b)
{
    float d = load_half(b);
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = d * (float)((b[2 + i] & 15) - 8);
        ret[i + BLOCK / 2] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

static inline void block_q4_1(float ret[static BLOCK], const uint8_t *b)
{
    float d = load_half(b), m = load_half(b + 2);
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = d * (float)(b[4 + i] & 15) + m;
        ret[i + BLOCK / 2] = d * (float)(b[4 + i] >> 4) + m;
    }
}

/* Element i's five bits: a nibble and bit i of `high`. */
static inline int five_bits(const uint8_t *nibbles, uint32_t high, int i)
{
    int nibble = i < BLOCK / 2 ? nibbles[i] & 15 : nibbles[i - BLOCK / 2] >> 4;
    return nibble | (int)(high >> i & 1u) << 4;
}

static inline void block_q5_0(float ret[static BLOCK], const uint8_t *b)
{
    float d = load_half(b);
    uint32_t high = load_u32(b + 2);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = d * (float)(five_bits(b + 6, high, i) - 16);
}

static inline void block_q5_1(float ret[static BLOCK], const uint8_t *b)
{
    float d = load_half(b), m = load_half(b + 2);
    uint32_t high = load_u32(b + 4);
    for (int i = 0; i < BLOCK; i++)
        ret[i] = d * (float)five_bits(b + 8, high, i) + m;
}

/* The levels of IQ4_NL and IQ4_XS, dense about zero. */
static const int8_t iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113 };

static inline void iq4_elements(float ret[static BLOCK], const uint8_t *nibbles, float d)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = d * (float)iq4_levels[nibbles[i] & 15];
        ret[i + BLOCK / 2] = d * (float)iq4_levels[nibbles[i] >> 4];
    }
}

static inline void block_iq4_nl(float ret[static BLOCK], const uint8_t *b)
{
    iq4_elements(ret, b + 2, load_half(b));
}

/* ---- super-blocks of 256: eight groups of 32, each with scales of its own ---- */

/*
 * Two bits each: a group's are at one position of 32 neighbouring bytes, four groups sharing the
 * bytes. The 16 scales (low nibble) and minimums (high nibble) are of 16 elements.
 */
static inline void block_q2_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b + 80), least = load_half(b + 82);
    for (int run = 0; run < SUPER_BLOCK / 16; run++) {
        const uint8_t *q = b + 16 + (run >> 3) * 32 + (run & 1) * 16;
        int shift = (run >> 1 & 3) * 2;
        float scale = d * (float)(b[run] & 15), m = least * (float)(b[run] >> 4);
        for (int l = 0; l < 16; l++)
            ret[run * 16 + l] = scale * (float)(q[l] >> shift & 3) - m;
    }
}

/* Scale of 16 elements, -32 … 31: twelve bytes hold 16 nibbles, then 16 pairs of high bits. */
static inline int q3_k_scale(const uint8_t *scales, int run)
{
    int low = run < 8 ? scales[run] & 15 : scales[run - 8] >> 4;
    int high = scales[8 + (run & 3)] >> (run >> 2) * 2 & 3;
    return (low | high << 4) - 32;
}

/* As Q2_K, with a third bit: bit g of 32 bytes is of group g. No minimum. */
static inline void block_q3_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b + 108);
    for (int run = 0; run < SUPER_BLOCK / 16; run++) {
        const uint8_t *q = b + 32 + (run >> 3) * 32 + (run & 1) * 16, *high = b + (run & 1) * 16;
        int group = run >> 1, shift = (group & 3) * 2;
        float scale = d * (float)q3_k_scale(b + 96, run);
        for (int l = 0; l < 16; l++)
            ret[run * 16 + l] =
                scale * (float)((q[l] >> shift & 3) + (high[l] >> group & 1) * 4 - 4);
    }
}

/* Six-bit scale and minimum of a group of Q4_K and Q5_K, out of twelve bytes. */
static inline int q4_k_scale(const uint8_t *s, int group)
{
    return group < 4 ? s[group] & 63 : (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
}

static inline int q4_k_min(const uint8_t *s, int group)
{
    return group < 4 ? s[group + 4] & 63 : s[group + 4] >> 4 | s[group] >> 6 << 4;
}

/* Two groups share 32 bytes: the low nibbles are the even one's. */
static inline void block_q4_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b), least = load_half(b + 2);
    for (int g = 0; g < SUPER_BLOCK / BLOCK; g++) {
        const uint8_t *q = b + 16 + (g >> 1) * 32;
        float scale = d * (float)q4_k_scale(b + 4, g), m = least * (float)q4_k_min(b + 4, g);
        for (int l = 0; l < BLOCK; l++)
            ret[g * BLOCK + l] = scale * (float)(q[l] >> (g & 1) * 4 & 15) - m;
    }
}

/* As Q4_K, with a fifth bit: bit g of 32 bytes is of group g. */
static inline void block_q5_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b), least = load_half(b + 2);
    for (int g = 0; g < SUPER_BLOCK / BLOCK; g++) {
        const uint8_t *high = b + 16, *q = b + 48 + (g >> 1) * 32;
        float scale = d * (float)q4_k_scale(b + 4, g), m = least * (float)q4_k_min(b + 4, g);
        for (int l = 0; l < BLOCK; l++)
            ret[g * BLOCK + l] =
                scale * (float)((q[l] >> (g & 1) * 4 & 15) | (high[l] >> g & 1) << 4) - m;
    }
}

/*
 * 128 low nibbles, 64 pairs of high bits, 16 scales of 16 elements, one half. A run of 16 elements
 * takes its nibbles and bits from 16 neighbouring bytes, so the inner loop is one vector.
 */
static inline void block_q6_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b + 208);
    for (int run = 0; run < SUPER_BLOCK / 16; run++) {
        int part = run >> 3, quarter = run >> 1 & 3, from = (run & 1) * 16;
        const uint8_t *low = b + part * 64 + (quarter & 1) * 32 + from;
        const uint8_t *high = b + 128 + part * 32 + from;
        int low_shift = (quarter >> 1) * 4, high_shift = quarter * 2;
        float scale = d * (float)(int8_t)b[192 + run];
        for (int l = 0; l < 16; l++)
            ret[run * 16 + l] =
                scale *
                (float)(((low[l] >> low_shift & 15) | (high[l] >> high_shift & 3) << 4) - 32);
    }
}

/* Scale of a group, -32 … 31: a nibble of four bytes and two bits of a 16-bit word. */
static inline int iq4_xs_scale(const uint8_t *b, int group)
{
    int low = b[4 + (group >> 1)] >> (group & 1) * 4 & 15;
    return (low | (load_u16(b + 2) >> 2 * group & 3) << 4) - 32;
}

static inline void block_iq4_xs(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b);
    for (int g = 0; g < SUPER_BLOCK / BLOCK; g++)
        iq4_elements(ret + g * BLOCK, b + 8 + g * 16, d * (float)iq4_xs_scale(b, g));
}

/*
 * Ternary, base 3: a byte is a fraction of 256 whose digits are elements; times 3^n drops the first
 * n, and the next is what times 3 carries out. n_bytes × digits elements, digit by digit.
 */
static inline void ternary(float *ret, const uint8_t *bytes, int n_bytes, int digits, float d)
{
    for (int n = 0, power = 1; n < digits; n++, power *= 3)
        for (int i = 0; i < n_bytes; i++)
            ret[n * n_bytes + i] = d * (float)((bytes[i] * power & 255) * 3 / 256 - 1);
}

static inline void block_tq1_0(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b + 52);
    ternary(ret, b, 32, 5, d);
    ternary(ret + 160, b + 32, 16, 5, d);
    ternary(ret + 240, b + 48, 4, 4, d);
}

/* Ternary, two bits each, laid out as Q2_K. */
static inline void block_tq2_0(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = load_half(b + 64);
    for (int g = 0; g < SUPER_BLOCK / BLOCK; g++)
        for (int l = 0; l < BLOCK; l++)
            ret[g * BLOCK + l] = d * (float)((b[(g >> 2) * 32 + l] >> (g & 3) * 2 & 3) - 1);
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

#define DEFINE_UNPACK(name, elements, bytes)                                                       \
    static inline void unpack_##name(float *ret, const void *row, size_t k)                        \
    {                                                                                              \
        const uint8_t *b = row;                                                                    \
        size_t i = 0;                                                                              \
        for (; i + (elements) <= k; i += (elements), b += (bytes))                                 \
            block_##name(ret + i, b);                                                              \
        if (i < k) { /* a last block that is partly used */                                        \
            float last[elements];                                                                  \
            block_##name(last, b);                                                                 \
            memcpy(ret + i, last, (k - i) * sizeof(float));                                        \
        }                                                                                          \
    }
DEFINE_UNPACK(q4_0, BLOCK, Q4_0_BYTES)
DEFINE_UNPACK(q4_1, BLOCK, Q4_1_BYTES)
DEFINE_UNPACK(q5_0, BLOCK, Q5_0_BYTES)
DEFINE_UNPACK(q5_1, BLOCK, Q5_1_BYTES)
DEFINE_UNPACK(q8_0, BLOCK, Q8_0_BYTES)
DEFINE_UNPACK(iq4_nl, BLOCK, IQ4_NL_BYTES)
DEFINE_UNPACK(q2_k, SUPER_BLOCK, Q2_K_BYTES)
DEFINE_UNPACK(q3_k, SUPER_BLOCK, Q3_K_BYTES)
DEFINE_UNPACK(q4_k, SUPER_BLOCK, Q4_K_BYTES)
DEFINE_UNPACK(q5_k, SUPER_BLOCK, Q5_K_BYTES)
DEFINE_UNPACK(q6_k, SUPER_BLOCK, Q6_K_BYTES)
DEFINE_UNPACK(iq4_xs, SUPER_BLOCK, IQ4_XS_BYTES)
DEFINE_UNPACK(tq1_0, SUPER_BLOCK, TQ1_0_BYTES)
DEFINE_UNPACK(tq2_0, SUPER_BLOCK, TQ2_0_BYTES)
#undef DEFINE_UNPACK
