/*
 * AVX-512 with its neural-network instructions: panels of 16 rows for the integer products. All
 * else is AVX2's.
 */
#include "engine/local/kernel.h"

#include "engine/local/kernel_x86.h"

/* NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): places within one tile */

enum { LANES = 16, MAX_X = 6 };
typedef __m512i ints;
typedef __m512 floats;

INLINE ints ints_load(const int16_t *p)
{
    return _mm512_load_si512(p);
}

INLINE void ints_store(int16_t *p, ints v)
{
    _mm512_store_si512(p, v);
}

INLINE ints ints_zero(void)
{
    return _mm512_setzero_si512();
}

INLINE ints ints_pair(const int16_t *p)
{
    return _mm512_set1_epi32((int)load_u32(p));
}

INLINE void ints_pieces(ints ret[static 4], const uint8_t *const *p)
{
    ints x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_castsi128_si512(load_16(p[i]));
        x[i] = _mm512_inserti32x4(x[i], load_16(p[i + 4]), 1);
        x[i] = _mm512_inserti32x4(x[i], load_16(p[i + 8]), 2);
        x[i] = _mm512_inserti32x4(x[i], load_16(p[i + 12]), 3);
    }
    ints low01 = _mm512_unpacklo_epi32(x[0], x[1]), high01 = _mm512_unpackhi_epi32(x[0], x[1]);
    ints low23 = _mm512_unpacklo_epi32(x[2], x[3]), high23 = _mm512_unpackhi_epi32(x[2], x[3]);
    ret[0] = _mm512_unpacklo_epi64(low01, low23);
    ret[1] = _mm512_unpackhi_epi64(low01, low23);
    ret[2] = _mm512_unpacklo_epi64(high01, high23);
    ret[3] = _mm512_unpackhi_epi64(high01, high23);
}

INLINE ints ints_even(ints v)
{
    return _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8);
}

INLINE ints ints_odd(ints v)
{
    return _mm512_srai_epi16(v, 8);
}

INLINE ints ints_low_nibbles(ints v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

INLINE ints ints_high_nibbles(ints v)
{
    return ints_low_nibbles(_mm512_srli_epi16(v, 4));
}

INLINE ints ints_less(ints v, int by)
{
    return _mm512_sub_epi8(v, _mm512_set1_epi8((char)by));
}

INLINE ints ints_or(ints a, ints b)
{
    return _mm512_or_si512(a, b);
}

INLINE ints ints_levels(ints v)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load_16((const uint8_t *)iq4_levels)), v);
}

/* Byte quad / 2 of the lane everywhere in the lane, then one bit of it in each byte. */
INLINE ints ints_fifth(ints bits, int quad)
{
    ints lane = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    ints mask = _mm512_set1_epi32((int)(0x08040201u << quad % 2 * 4));
    __m512i byte =
        _mm512_shuffle_epi8(bits, _mm512_add_epi8(lane, _mm512_set1_epi8((char)(quad / 2))));
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(byte, mask), _mm512_set1_epi8(16));
}

INLINE ints ints_dot(ints sum, ints w, ints x)
{
    return _mm512_dpwssd_epi32(sum, w, x);
}

INLINE floats floats_load(const float *p)
{
    return _mm512_load_ps(p);
}

INLINE void floats_store(float *p, floats v)
{
    _mm512_store_ps(p, v);
}

INLINE floats floats_all(float x)
{
    return _mm512_set1_ps(x);
}

INLINE floats floats_of(ints v)
{
    return _mm512_cvtepi32_ps(v);
}

INLINE floats floats_of_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(load_32((const uint8_t *)(const void *)p));
}

INLINE floats floats_add(floats a, floats b)
{
    return _mm512_add_ps(a, b);
}

INLINE floats floats_sub(floats a, floats b)
{
    return _mm512_sub_ps(a, b);
}

INLINE floats floats_mul(floats a, floats b)
{
    return _mm512_mul_ps(a, b);
}

#include "engine/local/kernel_panel.h"

/* NOLINTEND(bugprone-implicit-widening-of-multiplication-result) */

static bool usable(void)
{
    return kernels_avx2.usable() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
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

const struct kernel_set kernels_avx512 = { "avx512",           usable,         kernels,
                                           ARRAY_LEN(kernels), avx2_round_f16, avx2_quantise };
