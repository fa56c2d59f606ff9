/* Vectors of 128 bits: MVE (Helium) of Armv8.1-M. */
#ifndef SQ_SIMD_MVE
#define SQ_SIMD_MVE

#if !defined(__ARM_FEATURE_MVE) || !(__ARM_FEATURE_MVE & 1)
#error "compile for a processor with MVE, for example -mcpu=cortex-m55"
#endif

#include <arm_mve.h>
#include <stddef.h>
#include <stdint.h>

typedef int8x16_t sq_i8x16;
typedef uint8x16_t sq_u8x16;
typedef int32x4_t sq_i32x4;
typedef uint32x4_t sq_u32x4;
/* Narrow numbers become words when they are loaded. */
typedef uint32x4_t sq_u8x4;
typedef uint32x4_t sq_u16x4;

#define SQ_OP(out, name, args, ...) SQ_INLINE sq_##out sq_##name args { return __VA_ARGS__; }

SQ_OP(u8x16, load_u8x16, (const uint8_t *x, size_t at), vld1q_u8(x + at))
SQ_OP(i8x16, load_i8x16, (const int8_t *x, size_t at), vld1q_s8(x + at))
SQ_INLINE void sq_store_u8x16(uint8_t *x, size_t at, sq_u8x16 v) { vst1q_u8(x + at, v); }
SQ_INLINE void sq_store_i8x16(int8_t *x, size_t at, sq_i8x16 v) { vst1q_s8(x + at, v); }
SQ_OP(u8x16, splat_u8x16, (uint8_t x), vdupq_n_u8(x))
SQ_OP(i8x16, splat_i8x16, (int8_t x), vdupq_n_s8(x))
SQ_OP(u8x16, and_u8x16, (sq_u8x16 a, sq_u8x16 b), vandq_u8(a, b))
SQ_OP(u8x16, xor_u8x16, (sq_u8x16 a, sq_u8x16 b), veorq_u8(a, b))
SQ_OP(i8x16, xor_i8x16, (sq_i8x16 a, sq_i8x16 b), veorq_s8(a, b))
SQ_OP(i8x16, add_i8x16, (sq_i8x16 a, sq_i8x16 b), vaddq_s8(a, b))
SQ_OP(i8x16, sub_i8x16, (sq_i8x16 a, sq_i8x16 b), vsubq_s8(a, b))
SQ_OP(i8x16, min_i8x16, (sq_i8x16 a, sq_i8x16 b), vminq_s8(a, b))
#define sq_shr_u8x16(a, n) vshrq_n_u8(a, n)
SQ_OP(i8x16, cast_i8x16_u8x16, (sq_u8x16 a), vreinterpretq_s8_u8(a))
SQ_OP(u8x16, cast_u8x16_i8x16, (sq_i8x16 a), vreinterpretq_u8_s8(a))
SQ_INLINE int32_t sq_dot_i32_i8x16_i8x16(int32_t acc, sq_i8x16 a, sq_i8x16 b) { return vmladavaq_s8(acc, a, b); }

SQ_OP(u32x4, load_u32x4, (const uint32_t *x, size_t at), vld1q_u32(x + at))
SQ_INLINE void sq_store_u32x4(uint32_t *x, size_t at, sq_u32x4 v) { vst1q_u32(x + at, v); }
SQ_OP(u32x4, repeat1_u32x4, (const uint32_t *x, size_t at), vdupq_n_u32(x[at]))
SQ_OP(u32x4, splat_u32x4, (uint32_t x), vdupq_n_u32(x))
SQ_OP(u32x4, and_u32x4, (sq_u32x4 a, sq_u32x4 b), vandq_u32(a, b))
SQ_OP(u32x4, or_u32x4, (sq_u32x4 a, sq_u32x4 b), vorrq_u32(a, b))
SQ_OP(u32x4, xor_u32x4, (sq_u32x4 a, sq_u32x4 b), veorq_u32(a, b))
SQ_OP(u32x4, add_u32x4, (sq_u32x4 a, sq_u32x4 b), vaddq_u32(a, b))
SQ_OP(u32x4, sub_u32x4, (sq_u32x4 a, sq_u32x4 b), vsubq_u32(a, b))
SQ_OP(u32x4, mul_u32x4, (sq_u32x4 a, sq_u32x4 b), vmulq_u32(a, b))
#define sq_shl_u32x4(a, n) vshlq_n_u32(a, n)
#define sq_shr_u32x4(a, n) vshrq_n_u32(a, n)

SQ_OP(i32x4, load_i32x4, (const int32_t *x, size_t at), vld1q_s32(x + at))
SQ_INLINE void sq_store_i32x4(int32_t *x, size_t at, sq_i32x4 v) { vst1q_s32(x + at, v); }
SQ_OP(i32x4, splat_i32x4, (int32_t x), vdupq_n_s32(x))
SQ_OP(i32x4, add_i32x4, (sq_i32x4 a, sq_i32x4 b), vaddq_s32(a, b))
SQ_OP(i32x4, sub_i32x4, (sq_i32x4 a, sq_i32x4 b), vsubq_s32(a, b))
SQ_OP(i32x4, min_i32x4, (sq_i32x4 a, sq_i32x4 b), vminq_s32(a, b))
SQ_OP(i32x4, max_i32x4, (sq_i32x4 a, sq_i32x4 b), vmaxq_s32(a, b))
#define sq_shr_i32x4(a, n) vshrq_n_s32(a, n)
SQ_OP(i32x4, cast_i32x4_u32x4, (sq_u32x4 a), vreinterpretq_s32_u32(a))
SQ_OP(u8x4, load_u8x4, (const uint8_t *x, size_t at), vldrbq_u32(x + at))
SQ_OP(u16x4, load_u16x4, (const uint16_t *x, size_t at), vldrhq_u32(x + at))
SQ_OP(u32x4, cast_u32x4_u8x4, (sq_u8x4 a), a)
SQ_OP(u32x4, cast_u32x4_u16x4, (sq_u16x4 a), a)
SQ_INLINE uint32_t sq_ge_mask_i32x4(sq_i32x4 a, sq_i32x4 b)
{
    static const uint32_t bits[4] = {1, 2, 4, 8};
    return vaddvq_p_u32(vld1q_u32(bits), vcmpgeq_s32(a, b));
}
/* A predicate has a bit per byte. */
SQ_INLINE uint32_t sq_ge_mask_i8x16(sq_i8x16 a, sq_i8x16 b) { return vcmpgeq_s8(a, b); }

#undef SQ_OP
#endif
