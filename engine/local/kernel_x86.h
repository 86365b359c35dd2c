/*
 * What the x86 sets share: blocks of weights as vectors (AVX2), and the rows of AVX2's table that
 * the wider set keeps. Private to kernel_avx2.c and kernel_avx512.c.
 */
#pragma once

#include <immintrin.h>

#include "engine/local/kernel.h"
#include "engine/local/kernel_unpack.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* 16 bytes: the low nibbles, then the high ones. */
INLINE __m256i nibbles(const uint8_t *p)
{
    __m128i packed = load_16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed),
                            _mm256_set1_epi8(15));
}

/* `mask` bits of each of 32 bytes, from bit `shift` on. */
INLINE __m256i bits_at(__m256i bytes, size_t shift, int mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128((int)shift)),
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

INLINE __m256i less(__m256i q, int by)
{
    return _mm256_sub_epi8(q, _mm256_set1_epi8((char)by));
}

INLINE __m256i levels(const uint8_t *packed)
{
    __m256i values = _mm256_broadcastsi128_si256(load_16((const uint8_t *)iq4_levels));
    return _mm256_shuffle_epi8(values, nibbles(packed));
}

/* ---- 32 weights as signed bytes, block b of a row; kernel_unpack.h describes the layouts ---- */

INLINE __m256i bytes_q8_0(const uint8_t *row, size_t b)
{
    return load_32(row + b * Q8_0_BYTES + 2);
}

INLINE __m256i bytes_q4_0(const uint8_t *row, size_t b)
{
    return less(nibbles(row + b * Q4_0_BYTES + 2), 8);
}

INLINE __m256i bytes_q4_1(const uint8_t *row, size_t b)
{
    return nibbles(row + b * Q4_1_BYTES + 4);
}

INLINE __m256i bytes_q5_0(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_0_BYTES;
    return less(_mm256_or_si256(nibbles(p + 6), fifth_bits(load_u32(p + 2))), 16);
}

INLINE __m256i bytes_q5_1(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b * Q5_1_BYTES;
    return _mm256_or_si256(nibbles(p + 8), fifth_bits(load_u32(p + 4)));
}

INLINE __m256i bytes_iq4_nl(const uint8_t *row, size_t b)
{
    return levels(row + b * IQ4_NL_BYTES + 2);
}

INLINE __m256i bytes_q2_k(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q2_K_BYTES;
    return bits_at(load_32(p + 16 + b % GROUPS / 4 * 32), b % 4 * 2, 3);
}

INLINE __m256i bytes_q3_k(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q3_K_BYTES;
    __m256i low = bits_at(load_32(p + 32 + b % GROUPS / 4 * 32), b % 4 * 2, 3);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p), b % GROUPS, 1), 2);
    return less(_mm256_or_si256(low, high), 4);
}

INLINE __m256i bytes_q4_k(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q4_K_BYTES;
    return bits_at(load_32(p + 16 + b % GROUPS / 2 * 32), b % 2 * 4, 15);
}

INLINE __m256i bytes_q5_k(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q5_K_BYTES;
    __m256i low = bits_at(load_32(p + 48 + b % GROUPS / 2 * 32), b % 2 * 4, 15);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p + 16), b % GROUPS, 1), 4);
    return _mm256_or_si256(low, high);
}

INLINE __m256i bytes_q6_k(const uint8_t *row, size_t b)
{
    const uint8_t *p = row + b / GROUPS * Q6_K_BYTES;
    size_t half = b % GROUPS / 4, quarter = b % 4;
    __m256i low = bits_at(load_32(p + half * 64 + quarter % 2 * 32), quarter / 2 * 4, 15);
    __m256i high = _mm256_slli_epi16(bits_at(load_32(p + 128 + half * 32), quarter * 2, 3), 4);
    return less(_mm256_or_si256(low, high), 32);
}

INLINE __m256i bytes_iq4_xs(const uint8_t *row, size_t b)
{
    return levels(row + b / GROUPS * IQ4_XS_BYTES + 8 + b % GROUPS * 16);
}

INLINE __m256i bytes_tq2_0(const uint8_t *row, size_t b)
{
    return less(
        bits_at(load_32(row + b / GROUPS * TQ2_0_BYTES + b % GROUPS / 4 * 32), b % 4 * 2, 3), 1);
}

/* The elements of a group are spread over digits of many bytes: one at a time. */
INLINE __m256i bytes_tq1_0(const uint8_t *row, size_t b)
{
    int8_t q[BLOCK];
    quants_tq1_0(q, row, b);
    return load_32((const uint8_t *)q);
}

/* ---- AVX2's functions that the wider set's table shares ---- */

#define DECLARE_FLOATS(name)                                                                       \
    void avx2_unpack_##name(float *ret, const void *row, size_t k);                                \
    void avx2_dot_##name(const struct matmul *m, uint32_t begin, uint32_t end);
#define DECLARE_MIX(name) void avx2_mix_##name(float *y, const struct mix *m);
#define DECLARE_INTEGER(TYPE, name, halves, least, dot, mix)                                       \
    void avx2_unpack_##name(float *ret, const void *row, size_t k);
DECLARE_FLOATS(f32)
DECLARE_FLOATS(f16)
DECLARE_FLOATS(bf16)
void avx2_dot_q8_0(const struct matmul *m, uint32_t begin, uint32_t end);
DECLARE_MIX(f32)
DECLARE_MIX(f16)
DECLARE_MIX(bf16)
DECLARE_MIX(q8_0)
KERNEL_INTEGER_TYPES(DECLARE_INTEGER)
#undef DECLARE_FLOATS
#undef DECLARE_MIX
#undef DECLARE_INTEGER
void avx2_round_f16(float *ret, const float *x, size_t k);
void avx2_quantise(struct quants *ret, const float *x, size_t k);
