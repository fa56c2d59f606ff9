/* Vectors of 128 and 256 bits: AVX2. */
#ifndef SQ_SIMD_X86_AVX2
#define SQ_SIMD_X86_AVX2

#ifndef __AVX2__
#error "compile with -mavx2"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m128i sq_u8x16;
typedef __m128i sq_i8x16;
/* Eight bytes in a word. */
typedef uint64_t sq_u8x8;
typedef uint64_t sq_i8x8;
typedef __m256i sq_u8x32;
typedef __m256i sq_i8x32;
typedef __m256i sq_u16x16;
typedef __m256i sq_i16x16;
typedef __m128i sq_u16x8;
typedef __m256i sq_u32x8;
typedef __m256i sq_i32x8;

#define SQ_OP(out, name, args, ...) SQ_INLINE sq_##out sq_##name args { return __VA_ARGS__; }

SQ_OP(u8x16, load_u8x16, (const uint8_t *x, size_t at), _mm_loadu_si128((const __m128i *)(const void *)(x + at)))
SQ_INLINE void sq_store_u8x16(uint8_t *x, size_t at, sq_u8x16 v) { _mm_storeu_si128((__m128i *)(void *)(x + at), v); }
SQ_OP(i8x16, load_i8x16, (const int8_t *x, size_t at), _mm_loadu_si128((const __m128i *)(const void *)(x + at)))
SQ_INLINE void sq_store_i8x16(int8_t *x, size_t at, sq_i8x16 v) { _mm_storeu_si128((__m128i *)(void *)(x + at), v); }
SQ_OP(u8x32, load_u8x32, (const uint8_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_u8x32(uint8_t *x, size_t at, sq_u8x32 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(u8x32, splat_u8x32, (uint8_t x), _mm256_set1_epi8((int8_t)x))
SQ_OP(u8x32, and_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_and_si256(a, b))
SQ_OP(u8x32, or_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_or_si256(a, b))
SQ_OP(u8x32, xor_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_xor_si256(a, b))
SQ_OP(u8x32, not_u8x32, (sq_u8x32 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(u8x32, add_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_add_epi8(a, b))
SQ_OP(u8x32, sub_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_sub_epi8(a, b))
SQ_OP(u8x32, min_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_min_epu8(a, b))
SQ_OP(u8x32, max_u8x32, (sq_u8x32 a, sq_u8x32 b), _mm256_max_epu8(a, b))
#define sq_shr_u8x32(a, n) _mm256_and_si256(_mm256_srli_epi16(a, n), _mm256_set1_epi8((int8_t)(255 >> (n))))

SQ_OP(i8x32, load_i8x32, (const int8_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_i8x32(int8_t *x, size_t at, sq_i8x32 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(i8x32, splat_i8x32, (int8_t x), _mm256_set1_epi8(x))
SQ_OP(i8x32, and_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_and_si256(a, b))
SQ_OP(i8x32, or_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_or_si256(a, b))
SQ_OP(i8x32, xor_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_xor_si256(a, b))
SQ_OP(i8x32, not_i8x32, (sq_i8x32 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(i8x32, add_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_add_epi8(a, b))
SQ_OP(i8x32, sub_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_sub_epi8(a, b))
SQ_OP(i8x32, min_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_min_epi8(a, b))
SQ_OP(i8x32, max_i8x32, (sq_i8x32 a, sq_i8x32 b), _mm256_max_epi8(a, b))

SQ_OP(u16x16, load_u16x16, (const uint16_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_u16x16(uint16_t *x, size_t at, sq_u16x16 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(u16x16, splat_u16x16, (uint16_t x), _mm256_set1_epi16((int16_t)x))
SQ_OP(u16x16, and_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_and_si256(a, b))
SQ_OP(u16x16, or_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_or_si256(a, b))
SQ_OP(u16x16, xor_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_xor_si256(a, b))
SQ_OP(u16x16, not_u16x16, (sq_u16x16 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(u16x16, add_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_add_epi16(a, b))
SQ_OP(u16x16, sub_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_sub_epi16(a, b))
SQ_OP(u16x16, min_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_min_epu16(a, b))
SQ_OP(u16x16, max_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_max_epu16(a, b))
SQ_OP(u16x16, mul_u16x16, (sq_u16x16 a, sq_u16x16 b), _mm256_mullo_epi16(a, b))
#define sq_shl_u16x16(a, n) _mm256_slli_epi16(a, n)
#define sq_shr_u16x16(a, n) _mm256_srli_epi16(a, n)

SQ_OP(i16x16, load_i16x16, (const int16_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_i16x16(int16_t *x, size_t at, sq_i16x16 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(i16x16, splat_i16x16, (int16_t x), _mm256_set1_epi16(x))
SQ_OP(i16x16, and_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_and_si256(a, b))
SQ_OP(i16x16, or_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_or_si256(a, b))
SQ_OP(i16x16, xor_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_xor_si256(a, b))
SQ_OP(i16x16, not_i16x16, (sq_i16x16 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(i16x16, add_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_add_epi16(a, b))
SQ_OP(i16x16, sub_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_sub_epi16(a, b))
SQ_OP(i16x16, min_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_min_epi16(a, b))
SQ_OP(i16x16, max_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_max_epi16(a, b))
SQ_OP(i16x16, mul_i16x16, (sq_i16x16 a, sq_i16x16 b), _mm256_mullo_epi16(a, b))
#define sq_shr_i16x16(a, n) _mm256_srai_epi16(a, n)

SQ_OP(u32x8, load_u32x8, (const uint32_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_u32x8(uint32_t *x, size_t at, sq_u32x8 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(u32x8, splat_u32x8, (uint32_t x), _mm256_set1_epi32((int32_t)x))
SQ_OP(u32x8, and_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_and_si256(a, b))
SQ_OP(u32x8, or_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_or_si256(a, b))
SQ_OP(u32x8, xor_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_xor_si256(a, b))
SQ_OP(u32x8, not_u32x8, (sq_u32x8 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(u32x8, add_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_add_epi32(a, b))
SQ_OP(u32x8, sub_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_sub_epi32(a, b))
SQ_OP(u32x8, min_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_min_epu32(a, b))
SQ_OP(u32x8, max_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_max_epu32(a, b))
SQ_OP(u32x8, mul_u32x8, (sq_u32x8 a, sq_u32x8 b), _mm256_mullo_epi32(a, b))
#define sq_shl_u32x8(a, n) _mm256_slli_epi32(a, n)
#define sq_shr_u32x8(a, n) _mm256_srli_epi32(a, n)

SQ_OP(i32x8, load_i32x8, (const int32_t *x, size_t at), _mm256_loadu_si256((const __m256i *)(const void *)(x + at)))
SQ_INLINE void sq_store_i32x8(int32_t *x, size_t at, sq_i32x8 v) { _mm256_storeu_si256((__m256i *)(void *)(x + at), v); }
SQ_OP(i32x8, splat_i32x8, (int32_t x), _mm256_set1_epi32(x))
SQ_OP(i32x8, and_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_and_si256(a, b))
SQ_OP(i32x8, or_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_or_si256(a, b))
SQ_OP(i32x8, xor_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_xor_si256(a, b))
SQ_OP(i32x8, not_i32x8, (sq_i32x8 a), _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
SQ_OP(i32x8, add_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_add_epi32(a, b))
SQ_OP(i32x8, sub_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_sub_epi32(a, b))
SQ_OP(i32x8, min_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_min_epi32(a, b))
SQ_OP(i32x8, max_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_max_epi32(a, b))
SQ_OP(i32x8, mul_i32x8, (sq_i32x8 a, sq_i32x8 b), _mm256_mullo_epi32(a, b))
#define sq_shr_i32x8(a, n) _mm256_srai_epi32(a, n)

SQ_INLINE sq_u8x32 sq_repeat4_u8x32(const uint8_t *x, size_t at)
{
    int32_t four;
    memcpy(&four, x + at, 4);
    return _mm256_set1_epi32(four);
}
SQ_INLINE sq_i8x32 sq_repeat4_i8x32(const int8_t *x, size_t at)
{
    int32_t four;
    memcpy(&four, x + at, 4);
    return _mm256_set1_epi32(four);
}
SQ_OP(i8x32, repeat1_i8x32, (const int8_t *x, size_t at), _mm256_set1_epi8((char)x[at]))
SQ_OP(u8x32, repeat1_u8x32, (const uint8_t *x, size_t at), _mm256_set1_epi8((char)x[at]))
SQ_OP(u32x8, repeat1_u32x8, (const uint32_t *x, size_t at), _mm256_set1_epi32((int32_t)x[at]))
SQ_INLINE sq_u8x32 sq_popcnt_u8x32(sq_u8x32 a)
{
    /* One bits of the numbers 0 to 15, in both halves. */
    const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(a, 4), low);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(a, low)), _mm256_shuffle_epi8(table, high));
}
SQ_OP(u8x32, lookup_u8x32, (sq_u8x16 table, sq_u8x32 index), _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index))
SQ_INLINE uint32_t sq_ge_mask_i32x8(sq_i32x8 a, sq_i32x8 b)
{
    return ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a))) & 0xffu;
}
SQ_INLINE uint32_t sq_ge_mask_i8x32(sq_i8x32 a, sq_i8x32 b) { return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(b, a)); }
SQ_OP(i16x16, dot_i16x16_u8x32_i8x32, (sq_i16x16 acc, sq_u8x32 a, sq_i8x32 b), _mm256_add_epi16(acc, _mm256_maddubs_epi16(a, b)))
SQ_OP(i32x8, dot_i32x8_i16x16_i16x16, (sq_i32x8 acc, sq_i16x16 a, sq_i16x16 b), _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)))
SQ_OP(u16x16, pairs_u8x32, (sq_u8x32 a), _mm256_maddubs_epi16(a, _mm256_set1_epi8(1)))
SQ_OP(u32x8, pairs_u16x16, (sq_u16x16 a), _mm256_add_epi32(_mm256_srli_epi32(a, 16), _mm256_and_si256(a, _mm256_set1_epi32(0xffff))))
SQ_OP(i32x8, pairs_i16x16, (sq_i16x16 a), _mm256_madd_epi16(a, _mm256_set1_epi16(1)))
SQ_OP(i8x32, cast_i8x32_u8x32, (sq_u8x32 a), a)
SQ_OP(u8x32, cast_u8x32_i8x32, (sq_i8x32 a), a)
SQ_OP(i32x8, cast_i32x8_u32x8, (sq_u32x8 a), a)
SQ_OP(u32x8, cast_u32x8_i32x8, (sq_i32x8 a), a)
SQ_OP(i16x16, cast_i16x16_i8x16, (sq_i8x16 a), _mm256_cvtepi8_epi16(a))
SQ_OP(i16x16, cast_i16x16_u8x16, (sq_u8x16 a), _mm256_cvtepu8_epi16(a))
SQ_INLINE void sq_store_u8x8(uint8_t *x, size_t at, sq_u8x8 v) { memcpy(x + at, &v, 8); }
SQ_INLINE void sq_store_i8x8(int8_t *x, size_t at, sq_i8x8 v) { memcpy(x + at, &v, 8); }
/* The low bytes of eight numbers. */
SQ_INLINE uint64_t sq_low_bytes_256(sq_i32x8 a)
{
    const __m256i pick = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m256i fours = _mm256_shuffle_epi8(a, pick);
    const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    return (uint64_t)_mm_cvtsi128_si64(both);
}
SQ_OP(i8x8, cast_i8x8_i32x8, (sq_i32x8 a), sq_low_bytes_256(a))
SQ_OP(u16x8, load_u16x8, (const uint16_t *x, size_t at), _mm_loadu_si128((const __m128i *)(const void *)(x + at)))
SQ_OP(u32x8, cast_u32x8_u16x8, (sq_u16x8 a), _mm256_cvtepu16_epi32(a))
SQ_INLINE sq_u8x8 sq_load_u8x8(const uint8_t *x, size_t at)
{
    sq_u8x8 eight;
    memcpy(&eight, x + at, 8);
    return eight;
}
SQ_OP(u32x8, cast_u32x8_u8x8, (sq_u8x8 a), _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)a)))
SQ_OP(u8x8, cast_u8x8_i32x8, (sq_i32x8 a), sq_low_bytes_256(a))
SQ_INLINE sq_i32x8 sq_high_i32x8(sq_i32x8 a, sq_i32x8 b)
{
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a, b), 32);
    const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    return _mm256_blend_epi32(even, odd, 0xaa);
}
SQ_INLINE int32_t sq_total_i32x8(sq_i32x8 a)
{
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
SQ_OP(u8x32, bits_u8x32_u32x8, (sq_u32x8 a), a)
SQ_OP(u16x16, bits_u16x16_u8x32, (sq_u8x32 a), a)
SQ_OP(u32x8, bits_u32x8_u16x16, (sq_u16x16 a), a)
SQ_OP(u32x8, bits_u32x8_u8x32, (sq_u8x32 a), a)
SQ_OP(i8x32, bits_i8x32_u32x8, (sq_u32x8 a), a)

#undef SQ_OP
#endif
