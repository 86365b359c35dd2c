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

enum { Q8_0_BYTES = 34, Q4_0_BYTES = 18, Q6_K_BYTES = 210, BLOCK = 32, SUPER_BLOCK = 256 };

static inline void block_q8_0(float ret[static BLOCK], const uint8_t *b)
{
    float d = half_to_float(load_u16(b));
    for (int i = 0; i < BLOCK; i++)
        ret[i] = d * (float)(int8_t)b[2 + i];
}

static inline void block_q4_0(float ret[static BLOCK], const uint8_t *b)
{
    float d = half_to_float(load_u16(b));
    for (int i = 0; i < BLOCK / 2; i++) {
        ret[i] = d * (float)((b[2 + i] & 15) - 8);
        ret[i + BLOCK / 2] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

/*
 * 128 low nibbles, 64 pairs of high bits, 16 scales of 16 elements, one half. A run of 16 elements
 * takes its nibbles and bits from 16 neighbouring bytes, so the inner loop is one vector.
 */
static inline void block_q6_k(float ret[static SUPER_BLOCK], const uint8_t *b)
{
    float d = half_to_float(load_u16(b + 208));
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
DEFINE_UNPACK(q8_0, BLOCK, Q8_0_BYTES)
DEFINE_UNPACK(q4_0, BLOCK, Q4_0_BYTES)
DEFINE_UNPACK(q6_k, SUPER_BLOCK, Q6_K_BYTES)
#undef DEFINE_UNPACK
