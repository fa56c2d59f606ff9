/* Vectors of 128 bits: NEON (Advanced SIMD) as every AArch64 processor has it, and many of 32 bits. */
#ifndef SQ_SIMD_NEON
#define SQ_SIMD_NEON

#ifndef __ARM_NEON
#error "this is for Arm processors with NEON"
#endif

/* The kernels are written so that what they need at a time is in registers. GCC, which gathers sums at the end of a block and
   moves operands to its beginning, would spill up to a third of them. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns", "no-tree-ter", "no-tree-reassoc")
#endif

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8x16_t sq_u8x16;
typedef int8x16_t sq_i8x16;
typedef uint8x8_t sq_u8x8;
typedef int8x8_t sq_i8x8;
typedef uint16x8_t sq_u16x8;
typedef int16x8_t sq_i16x8;
typedef uint16x4_t sq_u16x4;
typedef uint32x4_t sq_u32x4;
typedef int32x4_t sq_i32x4;
/* Four bytes in a word. */
typedef uint32_t sq_i8x4;
typedef uint32_t sq_u8x4;

#ifndef __aarch64__
/* What is one instruction on AArch64 alone, under its name there. */
SQ_INLINE uint32_t vaddvq_u32(uint32x4_t a)
{
    const uint32x2_t pairs = vpadd_u32(vget_low_u32(a), vget_high_u32(a));
    return vget_lane_u32(vpadd_u32(pairs, pairs), 0);
}
SQ_INLINE int32_t vaddvq_s32(int32x4_t a) { return (int32_t)vaddvq_u32(vreinterpretq_u32_s32(a)); }
SQ_INLINE int16x8_t vpaddq_s16(int16x8_t a, int16x8_t b)
{
    return vcombine_s16(vpadd_s16(vget_low_s16(a), vget_high_s16(a)), vpadd_s16(vget_low_s16(b), vget_high_s16(b)));
}
SQ_INLINE int16x8_t vmull_high_s8(int8x16_t a, int8x16_t b) { return vmull_s8(vget_high_s8(a), vget_high_s8(b)); }
SQ_INLINE int64x2_t vmull_high_s32(int32x4_t a, int32x4_t b) { return vmull_s32(vget_high_s32(a), vget_high_s32(b)); }
SQ_INLINE int16x8_t vmovl_high_s8(int8x16_t a) { return vmovl_s8(vget_high_s8(a)); }
SQ_INLINE int32x4_t vmovl_high_s16(int16x8_t a) { return vmovl_s16(vget_high_s16(a)); }
SQ_INLINE int32x4_t vuzp2q_s32(int32x4_t a, int32x4_t b) { return vuzpq_s32(a, b).val[1]; }
SQ_INLINE uint8x16_t vqtbl1q_u8(uint8x16_t table, uint8x16_t index)
{
    const uint8x8x2_t halves = {{vget_low_u8(table), vget_high_u8(table)}};
    return vcombine_u8(vtbl2_u8(halves, vget_low_u8(index)), vtbl2_u8(halves, vget_high_u8(index)));
}
#define vdupq_laneq_u32(a, n) vdupq_lane_u32((n) < 2 ? vget_low_u32(a) : vget_high_u32(a), (n) % 2)
#define vmlaq_laneq_s16(sum, a, b, n) vmlaq_lane_s16(sum, a, (n) < 4 ? vget_low_s16(b) : vget_high_s16(b), (n) % 4)
#endif

#define SQ_OP(out, name, args, ...) SQ_INLINE sq_##out sq_##name args { return __VA_ARGS__; }

SQ_OP(u8x16, load_u8x16, (const uint8_t *x, size_t at), vld1q_u8(x + at))
SQ_INLINE void sq_store_u8x16(uint8_t *x, size_t at, sq_u8x16 v) { vst1q_u8(x + at, v); }
SQ_OP(u8x16, repeat1_u8x16, (const uint8_t *x, size_t at), vld1q_dup_u8(x + at))
SQ_OP(u8x16, splat_u8x16, (uint8_t x), vdupq_n_u8(x))
SQ_OP(u8x16, and_u8x16, (sq_u8x16 a, sq_u8x16 b), vandq_u8(a, b))
SQ_OP(u8x16, or_u8x16, (sq_u8x16 a, sq_u8x16 b), vorrq_u8(a, b))
SQ_OP(u8x16, xor_u8x16, (sq_u8x16 a, sq_u8x16 b), veorq_u8(a, b))
SQ_OP(u8x16, add_u8x16, (sq_u8x16 a, sq_u8x16 b), vaddq_u8(a, b))
SQ_OP(u8x16, sub_u8x16, (sq_u8x16 a, sq_u8x16 b), vsubq_u8(a, b))
SQ_OP(u8x16, min_u8x16, (sq_u8x16 a, sq_u8x16 b), vminq_u8(a, b))
SQ_OP(u8x16, max_u8x16, (sq_u8x16 a, sq_u8x16 b), vmaxq_u8(a, b))
SQ_OP(u8x16, mul_u8x16, (sq_u8x16 a, sq_u8x16 b), vmulq_u8(a, b))
SQ_OP(u8x16, not_u8x16, (sq_u8x16 a), vmvnq_u8(a))
#define sq_shl_u8x16(a, n) vshlq_n_u8(a, n)
#define sq_shr_u8x16(a, n) vshrq_n_u8(a, n)

SQ_OP(i8x16, load_i8x16, (const int8_t *x, size_t at), vld1q_s8(x + at))
SQ_INLINE void sq_store_i8x16(int8_t *x, size_t at, sq_i8x16 v) { vst1q_s8(x + at, v); }
SQ_OP(i8x16, repeat1_i8x16, (const int8_t *x, size_t at), vld1q_dup_s8(x + at))
SQ_OP(i8x16, splat_i8x16, (int8_t x), vdupq_n_s8(x))
SQ_OP(i8x16, and_i8x16, (sq_i8x16 a, sq_i8x16 b), vandq_s8(a, b))
SQ_OP(i8x16, or_i8x16, (sq_i8x16 a, sq_i8x16 b), vorrq_s8(a, b))
SQ_OP(i8x16, xor_i8x16, (sq_i8x16 a, sq_i8x16 b), veorq_s8(a, b))
SQ_OP(i8x16, add_i8x16, (sq_i8x16 a, sq_i8x16 b), vaddq_s8(a, b))
SQ_OP(i8x16, sub_i8x16, (sq_i8x16 a, sq_i8x16 b), vsubq_s8(a, b))
SQ_OP(i8x16, min_i8x16, (sq_i8x16 a, sq_i8x16 b), vminq_s8(a, b))
SQ_OP(i8x16, max_i8x16, (sq_i8x16 a, sq_i8x16 b), vmaxq_s8(a, b))
SQ_OP(i8x16, mul_i8x16, (sq_i8x16 a, sq_i8x16 b), vmulq_s8(a, b))
SQ_OP(i8x16, not_i8x16, (sq_i8x16 a), vmvnq_s8(a))
#define sq_shr_i8x16(a, n) vshrq_n_s8(a, n)

SQ_OP(u16x8, load_u16x8, (const uint16_t *x, size_t at), vld1q_u16(x + at))
SQ_INLINE void sq_store_u16x8(uint16_t *x, size_t at, sq_u16x8 v) { vst1q_u16(x + at, v); }
SQ_OP(u16x8, repeat1_u16x8, (const uint16_t *x, size_t at), vld1q_dup_u16(x + at))
SQ_OP(u16x8, splat_u16x8, (uint16_t x), vdupq_n_u16(x))
SQ_OP(u16x8, and_u16x8, (sq_u16x8 a, sq_u16x8 b), vandq_u16(a, b))
SQ_OP(u16x8, or_u16x8, (sq_u16x8 a, sq_u16x8 b), vorrq_u16(a, b))
SQ_OP(u16x8, xor_u16x8, (sq_u16x8 a, sq_u16x8 b), veorq_u16(a, b))
SQ_OP(u16x8, add_u16x8, (sq_u16x8 a, sq_u16x8 b), vaddq_u16(a, b))
SQ_OP(u16x8, sub_u16x8, (sq_u16x8 a, sq_u16x8 b), vsubq_u16(a, b))
SQ_OP(u16x8, min_u16x8, (sq_u16x8 a, sq_u16x8 b), vminq_u16(a, b))
SQ_OP(u16x8, max_u16x8, (sq_u16x8 a, sq_u16x8 b), vmaxq_u16(a, b))
SQ_OP(u16x8, mul_u16x8, (sq_u16x8 a, sq_u16x8 b), vmulq_u16(a, b))
SQ_OP(u16x8, not_u16x8, (sq_u16x8 a), vmvnq_u16(a))
#define sq_shl_u16x8(a, n) vshlq_n_u16(a, n)
#define sq_shr_u16x8(a, n) vshrq_n_u16(a, n)

SQ_OP(i16x8, load_i16x8, (const int16_t *x, size_t at), vld1q_s16(x + at))
SQ_INLINE void sq_store_i16x8(int16_t *x, size_t at, sq_i16x8 v) { vst1q_s16(x + at, v); }
SQ_OP(i16x8, repeat1_i16x8, (const int16_t *x, size_t at), vld1q_dup_s16(x + at))
SQ_OP(i16x8, splat_i16x8, (int16_t x), vdupq_n_s16(x))
SQ_OP(i16x8, and_i16x8, (sq_i16x8 a, sq_i16x8 b), vandq_s16(a, b))
SQ_OP(i16x8, or_i16x8, (sq_i16x8 a, sq_i16x8 b), vorrq_s16(a, b))
SQ_OP(i16x8, xor_i16x8, (sq_i16x8 a, sq_i16x8 b), veorq_s16(a, b))
SQ_OP(i16x8, add_i16x8, (sq_i16x8 a, sq_i16x8 b), vaddq_s16(a, b))
SQ_OP(i16x8, sub_i16x8, (sq_i16x8 a, sq_i16x8 b), vsubq_s16(a, b))
SQ_OP(i16x8, min_i16x8, (sq_i16x8 a, sq_i16x8 b), vminq_s16(a, b))
SQ_OP(i16x8, max_i16x8, (sq_i16x8 a, sq_i16x8 b), vmaxq_s16(a, b))
SQ_OP(i16x8, mul_i16x8, (sq_i16x8 a, sq_i16x8 b), vmulq_s16(a, b))
SQ_OP(i16x8, not_i16x8, (sq_i16x8 a), vmvnq_s16(a))
#define sq_shr_i16x8(a, n) vshrq_n_s16(a, n)

SQ_OP(u32x4, load_u32x4, (const uint32_t *x, size_t at), vld1q_u32(x + at))
SQ_INLINE void sq_store_u32x4(uint32_t *x, size_t at, sq_u32x4 v) { vst1q_u32(x + at, v); }
SQ_OP(u32x4, repeat1_u32x4, (const uint32_t *x, size_t at), vld1q_dup_u32(x + at))
SQ_OP(u32x4, splat_u32x4, (uint32_t x), vdupq_n_u32(x))
SQ_OP(u32x4, and_u32x4, (sq_u32x4 a, sq_u32x4 b), vandq_u32(a, b))
SQ_OP(u32x4, or_u32x4, (sq_u32x4 a, sq_u32x4 b), vorrq_u32(a, b))
SQ_OP(u32x4, xor_u32x4, (sq_u32x4 a, sq_u32x4 b), veorq_u32(a, b))
SQ_OP(u32x4, add_u32x4, (sq_u32x4 a, sq_u32x4 b), vaddq_u32(a, b))
SQ_OP(u32x4, sub_u32x4, (sq_u32x4 a, sq_u32x4 b), vsubq_u32(a, b))
SQ_OP(u32x4, min_u32x4, (sq_u32x4 a, sq_u32x4 b), vminq_u32(a, b))
SQ_OP(u32x4, max_u32x4, (sq_u32x4 a, sq_u32x4 b), vmaxq_u32(a, b))
SQ_OP(u32x4, mul_u32x4, (sq_u32x4 a, sq_u32x4 b), vmulq_u32(a, b))
SQ_OP(u32x4, not_u32x4, (sq_u32x4 a), vmvnq_u32(a))
#define sq_shl_u32x4(a, n) vshlq_n_u32(a, n)
#define sq_shr_u32x4(a, n) vshrq_n_u32(a, n)

SQ_OP(i32x4, load_i32x4, (const int32_t *x, size_t at), vld1q_s32(x + at))
SQ_INLINE void sq_store_i32x4(int32_t *x, size_t at, sq_i32x4 v) { vst1q_s32(x + at, v); }
SQ_OP(i32x4, repeat1_i32x4, (const int32_t *x, size_t at), vld1q_dup_s32(x + at))
SQ_OP(i32x4, splat_i32x4, (int32_t x), vdupq_n_s32(x))
SQ_OP(i32x4, and_i32x4, (sq_i32x4 a, sq_i32x4 b), vandq_s32(a, b))
SQ_OP(i32x4, or_i32x4, (sq_i32x4 a, sq_i32x4 b), vorrq_s32(a, b))
SQ_OP(i32x4, xor_i32x4, (sq_i32x4 a, sq_i32x4 b), veorq_s32(a, b))
SQ_OP(i32x4, add_i32x4, (sq_i32x4 a, sq_i32x4 b), vaddq_s32(a, b))
SQ_OP(i32x4, sub_i32x4, (sq_i32x4 a, sq_i32x4 b), vsubq_s32(a, b))
SQ_OP(i32x4, min_i32x4, (sq_i32x4 a, sq_i32x4 b), vminq_s32(a, b))
SQ_OP(i32x4, max_i32x4, (sq_i32x4 a, sq_i32x4 b), vmaxq_s32(a, b))
SQ_OP(i32x4, mul_i32x4, (sq_i32x4 a, sq_i32x4 b), vmulq_s32(a, b))
SQ_OP(i32x4, not_i32x4, (sq_i32x4 a), vmvnq_s32(a))
#define sq_shr_i32x4(a, n) vshrq_n_s32(a, n)

/* The low bytes of four numbers. */
SQ_INLINE uint32_t sq_low_bytes(sq_i32x4 a)
{
    const int16x4_t halves = vmovn_s32(a);
    return vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))), 0);
}
SQ_INLINE sq_u8x16 sq_repeat4_u8x16(const uint8_t *x, size_t at)
{
    uint32_t four;
    memcpy(&four, x + at, 4);
    return vreinterpretq_u8_u32(vdupq_n_u32(four));
}
SQ_INLINE void sq_store_u8x4(uint8_t *x, size_t at, sq_u8x4 v) { memcpy(x + at, &v, 4); }
SQ_INLINE sq_i8x16 sq_repeat4_i8x16(const int8_t *x, size_t at)
{
    uint32_t four;
    memcpy(&four, x + at, 4);
    return vreinterpretq_s8_u32(vdupq_n_u32(four));
}
SQ_INLINE void sq_store_i8x4(int8_t *x, size_t at, sq_i8x4 v) { memcpy(x + at, &v, 4); }
SQ_OP(u8x16, popcnt_u8x16, (sq_u8x16 a), vcntq_u8(a))
SQ_OP(u16x8, pairs_u8x16, (sq_u8x16 a), vpaddlq_u8(a))
SQ_OP(u32x4, pairs_u16x8, (sq_u16x8 a), vpaddlq_u16(a))
SQ_OP(i16x8, pairs_i8x16, (sq_i8x16 a), vpaddlq_s8(a))
SQ_OP(i32x4, pairs_i16x8, (sq_i16x8 a), vpaddlq_s16(a))
SQ_OP(u8x16, lookup_u8x16, (sq_u8x16 table, sq_u8x16 index), vqtbl1q_u8(table, index))
SQ_OP(i8x16, cast_i8x16_u8x16, (sq_u8x16 a), vreinterpretq_s8_u8(a))
SQ_OP(u8x16, cast_u8x16_i8x16, (sq_i8x16 a), vreinterpretq_u8_s8(a))
SQ_OP(i32x4, cast_i32x4_u32x4, (sq_u32x4 a), vreinterpretq_s32_u32(a))
SQ_OP(u32x4, cast_u32x4_i32x4, (sq_i32x4 a), vreinterpretq_u32_s32(a))
SQ_OP(u16x4, load_u16x4, (const uint16_t *x, size_t at), vld1_u16(x + at))
SQ_OP(u32x4, cast_u32x4_u16x4, (sq_u16x4 a), vmovl_u16(a))
SQ_INLINE sq_u8x4 sq_load_u8x4(const uint8_t *x, size_t at)
{
    sq_u8x4 four;
    memcpy(&four, x + at, 4);
    return four;
}
SQ_OP(u32x4, cast_u32x4_u8x4, (sq_u8x4 a), vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(a))))))
SQ_OP(u8x16, bits_u8x16_u32x4, (sq_u32x4 a), vreinterpretq_u8_u32(a))
SQ_OP(u16x8, bits_u16x8_u8x16, (sq_u8x16 a), vreinterpretq_u16_u8(a))
SQ_OP(u32x4, bits_u32x4_u16x8, (sq_u16x8 a), vreinterpretq_u32_u16(a))
SQ_OP(u32x4, bits_u32x4_u8x16, (sq_u8x16 a), vreinterpretq_u32_u8(a))
SQ_OP(i8x16, bits_i8x16_u32x4, (sq_u32x4 a), vreinterpretq_s8_u32(a))
SQ_OP(i8x4, cast_i8x4_i32x4, (sq_i32x4 a), sq_low_bytes(a))
SQ_OP(u8x4, cast_u8x4_i32x4, (sq_i32x4 a), sq_low_bytes(a))
SQ_INLINE uint32_t sq_ge_mask_i32x4(sq_i32x4 a, sq_i32x4 b)
{
    /* The bits 1, 2, 4, 8. */
    const uint32x4_t bits = vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(0x200000001u), vcreate_u64(0x800000004u)));
    return vaddvq_u32(vandq_u32(vcgeq_s32(a, b), bits));
}
SQ_INLINE uint32_t sq_ge_mask_i8x16(sq_i8x16 a, sq_i8x16 b)
{
    /* The bits 1, 2, 4, ... 128 of either half, added up by half. */
    const uint8x16_t bits = vandq_u8(vcgeq_s8(a, b), vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u)));
    uint8x8_t pairs = vpadd_u8(vget_low_u8(bits), vget_high_u8(bits));
    pairs = vpadd_u8(pairs, pairs);
    return vget_lane_u16(vreinterpret_u16_u8(vpadd_u8(pairs, pairs)), 0);
}
SQ_INLINE sq_i16x8 sq_dot_i16x8_i8x16_i8x16(sq_i16x8 acc, sq_i8x16 a, sq_i8x16 b)
{
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vaddq_s16(acc, vpaddq_s16(low, vmull_high_s8(a, b)));
}
SQ_INLINE sq_i32x4 sq_high_i32x4(sq_i32x4 a, sq_i32x4 b)
{
    const int64x2_t low = vmull_s32(vget_low_s32(a), vget_low_s32(b));
    return vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(vmull_high_s32(a, b)));
}
#define sq_spread1_u32x4(a, n) vdupq_laneq_u32(a, n)
SQ_OP(u8x8, load_u8x8, (const uint8_t *x, size_t at), vld1_u8(x + at))
SQ_OP(i8x8, load_i8x8, (const int8_t *x, size_t at), vld1_s8(x + at))
SQ_OP(i16x8, cast_i16x8_u8x8, (sq_u8x8 a), vreinterpretq_s16_u16(vmovl_u8(a)))
SQ_OP(i16x8, cast_i16x8_i8x8, (sq_i8x8 a), vmovl_s8(a))
SQ_OP(i16x8, lower_i8x16, (sq_i8x16 a), vmovl_s8(vget_low_s8(a)))
SQ_OP(i16x8, upper_i8x16, (sq_i8x16 a), vmovl_high_s8(a))
#define sq_dot_group_i16x8_i16x8_i16x8(acc, a, b, n) vmlaq_laneq_s16(acc, a, b, n)
SQ_OP(i32x4, lower_i16x8, (sq_i16x8 a), vmovl_s16(vget_low_s16(a)))
SQ_OP(i32x4, upper_i16x8, (sq_i16x8 a), vmovl_high_s16(a))
/* A bit for every lane of four pairs of vectors. First a bit of each vector goes to every fourth place of its lanes. */
SQ_INLINE uint32_t sq_ge_mask4_i32x4(
    sq_i32x4 a0, sq_i32x4 b0, sq_i32x4 a1, sq_i32x4 b1, sq_i32x4 a2, sq_i32x4 b2, sq_i32x4 a3, sq_i32x4 b3)
{
    const uint32x4_t bits =
        vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(0x222200001111u), vcreate_u64(0x888800004444u)));
    uint32x4_t all = vcgeq_s32(a3, b3);
    all = vsliq_n_u32(vcgeq_s32(a2, b2), all, 4);
    all = vsliq_n_u32(vcgeq_s32(a1, b1), all, 4);
    all = vsliq_n_u32(vcgeq_s32(a0, b0), all, 4);
    return vaddvq_u32(vandq_u32(all, bits));
}
SQ_INLINE int32_t sq_total_i32x4(sq_i32x4 a) { return vaddvq_s32(a); }

#undef SQ_OP
#endif
