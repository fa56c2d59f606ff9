/* Vectors of 512 bits: AVX-512 with F, BW, VL, VNNI and VPOPCNTDQ. */
#ifndef SQ_SIMD_X86_AVX512
#define SQ_SIMD_X86_AVX512

#if !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512VNNI__) || !defined(__AVX512VPOPCNTDQ__)
#error "compile with -mavx512f -mavx512bw -mavx512vl -mavx512vnni -mavx512vpopcntdq"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m512i sq_u8x64;
typedef __m512i sq_i8x64;
typedef __m512i sq_u16x32;
typedef __m512i sq_i16x32;
typedef __m512i sq_u32x16;
typedef __m512i sq_i32x16;

#define SQ_OP(out, name, args, ...) SQ_INLINE sq_##out sq_##name args { return __VA_ARGS__; }

SQ_OP(u8x64, load_u8x64, (const uint8_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_u8x64(uint8_t *x, size_t at, sq_u8x64 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(u8x64, splat_u8x64, (uint8_t x), _mm512_set1_epi8((int8_t)x))
SQ_OP(u8x64, and_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_and_si512(a, b))
SQ_OP(u8x64, or_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_or_si512(a, b))
SQ_OP(u8x64, xor_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_xor_si512(a, b))
SQ_OP(u8x64, not_u8x64, (sq_u8x64 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(u8x64, add_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_add_epi8(a, b))
SQ_OP(u8x64, sub_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_sub_epi8(a, b))
SQ_OP(u8x64, min_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_min_epu8(a, b))
SQ_OP(u8x64, max_u8x64, (sq_u8x64 a, sq_u8x64 b), _mm512_max_epu8(a, b))
#define sq_shr_u8x64(a, n) _mm512_and_si512(_mm512_srli_epi16(a, n), _mm512_set1_epi8((int8_t)(255 >> (n))))

SQ_OP(i8x64, load_i8x64, (const int8_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_i8x64(int8_t *x, size_t at, sq_i8x64 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(i8x64, splat_i8x64, (int8_t x), _mm512_set1_epi8(x))
SQ_OP(i8x64, and_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_and_si512(a, b))
SQ_OP(i8x64, or_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_or_si512(a, b))
SQ_OP(i8x64, xor_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_xor_si512(a, b))
SQ_OP(i8x64, not_i8x64, (sq_i8x64 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(i8x64, add_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_add_epi8(a, b))
SQ_OP(i8x64, sub_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_sub_epi8(a, b))
SQ_OP(i8x64, min_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_min_epi8(a, b))
SQ_OP(i8x64, max_i8x64, (sq_i8x64 a, sq_i8x64 b), _mm512_max_epi8(a, b))

SQ_OP(u16x32, load_u16x32, (const uint16_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_u16x32(uint16_t *x, size_t at, sq_u16x32 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(u16x32, splat_u16x32, (uint16_t x), _mm512_set1_epi16((int16_t)x))
SQ_OP(u16x32, and_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_and_si512(a, b))
SQ_OP(u16x32, or_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_or_si512(a, b))
SQ_OP(u16x32, xor_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_xor_si512(a, b))
SQ_OP(u16x32, not_u16x32, (sq_u16x32 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(u16x32, add_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_add_epi16(a, b))
SQ_OP(u16x32, sub_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_sub_epi16(a, b))
SQ_OP(u16x32, min_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_min_epu16(a, b))
SQ_OP(u16x32, max_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_max_epu16(a, b))
SQ_OP(u16x32, mul_u16x32, (sq_u16x32 a, sq_u16x32 b), _mm512_mullo_epi16(a, b))
#define sq_shl_u16x32(a, n) _mm512_slli_epi16(a, n)
#define sq_shr_u16x32(a, n) _mm512_srli_epi16(a, n)

SQ_OP(i16x32, load_i16x32, (const int16_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_i16x32(int16_t *x, size_t at, sq_i16x32 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(i16x32, splat_i16x32, (int16_t x), _mm512_set1_epi16(x))
SQ_OP(i16x32, and_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_and_si512(a, b))
SQ_OP(i16x32, or_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_or_si512(a, b))
SQ_OP(i16x32, xor_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_xor_si512(a, b))
SQ_OP(i16x32, not_i16x32, (sq_i16x32 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(i16x32, add_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_add_epi16(a, b))
SQ_OP(i16x32, sub_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_sub_epi16(a, b))
SQ_OP(i16x32, min_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_min_epi16(a, b))
SQ_OP(i16x32, max_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_max_epi16(a, b))
SQ_OP(i16x32, mul_i16x32, (sq_i16x32 a, sq_i16x32 b), _mm512_mullo_epi16(a, b))
#define sq_shr_i16x32(a, n) _mm512_srai_epi16(a, n)

SQ_OP(u32x16, load_u32x16, (const uint32_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_u32x16(uint32_t *x, size_t at, sq_u32x16 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(u32x16, splat_u32x16, (uint32_t x), _mm512_set1_epi32((int32_t)x))
SQ_OP(u32x16, and_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_and_si512(a, b))
SQ_OP(u32x16, or_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_or_si512(a, b))
SQ_OP(u32x16, xor_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_xor_si512(a, b))
SQ_OP(u32x16, not_u32x16, (sq_u32x16 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(u32x16, add_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_add_epi32(a, b))
SQ_OP(u32x16, sub_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_sub_epi32(a, b))
SQ_OP(u32x16, min_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_min_epu32(a, b))
SQ_OP(u32x16, max_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_max_epu32(a, b))
SQ_OP(u32x16, mul_u32x16, (sq_u32x16 a, sq_u32x16 b), _mm512_mullo_epi32(a, b))
#define sq_shl_u32x16(a, n) _mm512_slli_epi32(a, n)
#define sq_shr_u32x16(a, n) _mm512_srli_epi32(a, n)

SQ_OP(i32x16, load_i32x16, (const int32_t *x, size_t at), _mm512_loadu_si512(x + at))
SQ_INLINE void sq_store_i32x16(int32_t *x, size_t at, sq_i32x16 v) { _mm512_storeu_si512(x + at, v); }
SQ_OP(i32x16, splat_i32x16, (int32_t x), _mm512_set1_epi32(x))
SQ_OP(i32x16, and_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_and_si512(a, b))
SQ_OP(i32x16, or_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_or_si512(a, b))
SQ_OP(i32x16, xor_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_xor_si512(a, b))
SQ_OP(i32x16, not_i32x16, (sq_i32x16 a), _mm512_xor_si512(a, _mm512_set1_epi32(-1)))
SQ_OP(i32x16, add_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_add_epi32(a, b))
SQ_OP(i32x16, sub_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_sub_epi32(a, b))
SQ_OP(i32x16, min_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_min_epi32(a, b))
SQ_OP(i32x16, max_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_max_epi32(a, b))
SQ_OP(i32x16, mul_i32x16, (sq_i32x16 a, sq_i32x16 b), _mm512_mullo_epi32(a, b))
#define sq_shr_i32x16(a, n) _mm512_srai_epi32(a, n)

SQ_INLINE sq_u8x64 sq_repeat4_u8x64(const uint8_t *x, size_t at)
{
    int32_t four;
    memcpy(&four, x + at, 4);
    return _mm512_set1_epi32(four);
}
SQ_INLINE sq_i8x64 sq_repeat4_i8x64(const int8_t *x, size_t at)
{
    int32_t four;
    memcpy(&four, x + at, 4);
    return _mm512_set1_epi32(four);
}
SQ_OP(u32x16, repeat1_u32x16, (const uint32_t *x, size_t at), _mm512_set1_epi32((int32_t)x[at]))
SQ_OP(u32x16, popcnt_u32x16, (sq_u32x16 a), _mm512_popcnt_epi32(a))
SQ_INLINE uint32_t sq_ge_mask_i32x16(sq_i32x16 a, sq_i32x16 b) { return _mm512_cmpge_epi32_mask(a, b); }
SQ_INLINE sq_i32x16 sq_dot_i32x16_u8x64_i8x64(sq_i32x16 acc, sq_u8x64 a, sq_i8x64 b)
{
#ifdef __GNUC__
    /* GCC 12 copies the sum before and after the intrinsic, and spills where many sums are alive: a fifth of the speed. An operand in
     * memory would be read by every instruction again, over the edge of a cache line as often as not: half of the speed. */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return _mm512_dpbusd_epi32(acc, a, b);
#endif
}
SQ_INLINE sq_i32x16 sq_high_i32x16(sq_i32x16 a, sq_i32x16 b)
{
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epi32(a, b), 32);
    const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    return _mm512_mask_mov_epi32(even, 0xaaaa, odd);
}
SQ_INLINE int32_t sq_total_i32x16(sq_i32x16 a) { return _mm512_reduce_add_epi32(a); }
SQ_OP(i8x64, cast_i8x64_u8x64, (sq_u8x64 a), a)
SQ_OP(u8x64, cast_u8x64_i8x64, (sq_i8x64 a), a)
SQ_OP(i32x16, cast_i32x16_u32x16, (sq_u32x16 a), a)
SQ_OP(u32x16, cast_u32x16_i32x16, (sq_i32x16 a), a)
SQ_OP(u32x16, cast_u32x16_u16x16, (sq_u16x16 a), _mm512_cvtepu16_epi32(a))
SQ_OP(u32x16, cast_u32x16_u8x16, (sq_u8x16 a), _mm512_cvtepu8_epi32(a))
SQ_OP(i32x16, cast_i32x16_i8x16, (sq_i8x16 a), _mm512_cvtepi8_epi32(a))
SQ_OP(i32x16, cast_i32x16_u8x16, (sq_u8x16 a), _mm512_cvtepu8_epi32(a))
SQ_OP(i8x16, cast_i8x16_i32x16, (sq_i32x16 a), _mm512_cvtepi32_epi8(a))
SQ_OP(u8x16, cast_u8x16_i32x16, (sq_i32x16 a), _mm512_cvtepi32_epi8(a))
SQ_OP(u8x64, bits_u8x64_u32x16, (sq_u32x16 a), a)
SQ_OP(u32x16, bits_u32x16_u8x64, (sq_u8x64 a), a)
SQ_OP(i8x64, bits_i8x64_u32x16, (sq_u32x16 a), a)

#undef SQ_OP
#endif
