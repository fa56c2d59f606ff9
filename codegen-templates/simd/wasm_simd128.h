/* Vectors of 128 bits: WebAssembly's fixed-width SIMD. */
#ifndef SQ_SIMD_WASM
#define SQ_SIMD_WASM

#ifndef __wasm_simd128__
#error "compile with -msimd128"
#endif

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wasm_simd128.h>

typedef v128_t sq_u8x16;
typedef v128_t sq_i8x16;
typedef v128_t sq_u16x8;
typedef v128_t sq_i16x8;
typedef v128_t sq_u32x4;
typedef v128_t sq_i32x4;
/* Four bytes in a word. */
typedef uint32_t sq_i8x4;
typedef uint32_t sq_u8x4;
/* Four numbers in the lower half of a vector. */
typedef v128_t sq_u16x4;

#define SQ_OP(out, name, args, ...) SQ_INLINE sq_##out sq_##name args { return __VA_ARGS__; }

SQ_OP(u8x16, load_u8x16, (const uint8_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_u8x16(uint8_t *x, size_t at, sq_u8x16 v) { wasm_v128_store(x + at, v); }
SQ_OP(u8x16, repeat1_u8x16, (const uint8_t *x, size_t at), wasm_v128_load8_splat(x + at))
SQ_OP(u8x16, splat_u8x16, (uint8_t x), wasm_u8x16_splat(x))
SQ_OP(u8x16, and_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_v128_and(a, b))
SQ_OP(u8x16, or_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_v128_or(a, b))
SQ_OP(u8x16, xor_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_v128_xor(a, b))
SQ_OP(u8x16, add_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_i8x16_add(a, b))
SQ_OP(u8x16, sub_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_i8x16_sub(a, b))
SQ_OP(u8x16, min_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_u8x16_min(a, b))
SQ_OP(u8x16, max_u8x16, (sq_u8x16 a, sq_u8x16 b), wasm_u8x16_max(a, b))
SQ_OP(u8x16, not_u8x16, (sq_u8x16 a), wasm_v128_not(a))
#define sq_shl_u8x16(a, n) wasm_i8x16_shl(a, n)
#define sq_shr_u8x16(a, n) wasm_u8x16_shr(a, n)

SQ_OP(i8x16, load_i8x16, (const int8_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_i8x16(int8_t *x, size_t at, sq_i8x16 v) { wasm_v128_store(x + at, v); }
SQ_OP(i8x16, repeat1_i8x16, (const int8_t *x, size_t at), wasm_v128_load8_splat(x + at))
SQ_OP(i8x16, splat_i8x16, (int8_t x), wasm_i8x16_splat(x))
SQ_OP(i8x16, and_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_v128_and(a, b))
SQ_OP(i8x16, or_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_v128_or(a, b))
SQ_OP(i8x16, xor_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_v128_xor(a, b))
SQ_OP(i8x16, add_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_i8x16_add(a, b))
SQ_OP(i8x16, sub_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_i8x16_sub(a, b))
SQ_OP(i8x16, min_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_i8x16_min(a, b))
SQ_OP(i8x16, max_i8x16, (sq_i8x16 a, sq_i8x16 b), wasm_i8x16_max(a, b))
SQ_OP(i8x16, not_i8x16, (sq_i8x16 a), wasm_v128_not(a))
#define sq_shr_i8x16(a, n) wasm_i8x16_shr(a, n)

SQ_OP(u16x8, load_u16x8, (const uint16_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_u16x8(uint16_t *x, size_t at, sq_u16x8 v) { wasm_v128_store(x + at, v); }
SQ_OP(u16x8, repeat1_u16x8, (const uint16_t *x, size_t at), wasm_v128_load16_splat(x + at))
SQ_OP(u16x8, splat_u16x8, (uint16_t x), wasm_u16x8_splat(x))
SQ_OP(u16x8, and_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_v128_and(a, b))
SQ_OP(u16x8, or_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_v128_or(a, b))
SQ_OP(u16x8, xor_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_v128_xor(a, b))
SQ_OP(u16x8, add_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_i16x8_add(a, b))
SQ_OP(u16x8, sub_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_i16x8_sub(a, b))
SQ_OP(u16x8, min_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_u16x8_min(a, b))
SQ_OP(u16x8, max_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_u16x8_max(a, b))
SQ_OP(u16x8, mul_u16x8, (sq_u16x8 a, sq_u16x8 b), wasm_i16x8_mul(a, b))
SQ_OP(u16x8, not_u16x8, (sq_u16x8 a), wasm_v128_not(a))
#define sq_shl_u16x8(a, n) wasm_i16x8_shl(a, n)
#define sq_shr_u16x8(a, n) wasm_u16x8_shr(a, n)

SQ_OP(i16x8, load_i16x8, (const int16_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_i16x8(int16_t *x, size_t at, sq_i16x8 v) { wasm_v128_store(x + at, v); }
SQ_OP(i16x8, repeat1_i16x8, (const int16_t *x, size_t at), wasm_v128_load16_splat(x + at))
SQ_OP(i16x8, splat_i16x8, (int16_t x), wasm_i16x8_splat(x))
SQ_OP(i16x8, and_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_v128_and(a, b))
SQ_OP(i16x8, or_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_v128_or(a, b))
SQ_OP(i16x8, xor_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_v128_xor(a, b))
SQ_OP(i16x8, add_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_i16x8_add(a, b))
SQ_OP(i16x8, sub_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_i16x8_sub(a, b))
SQ_OP(i16x8, min_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_i16x8_min(a, b))
SQ_OP(i16x8, max_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_i16x8_max(a, b))
SQ_OP(i16x8, mul_i16x8, (sq_i16x8 a, sq_i16x8 b), wasm_i16x8_mul(a, b))
SQ_OP(i16x8, not_i16x8, (sq_i16x8 a), wasm_v128_not(a))
#define sq_shr_i16x8(a, n) wasm_i16x8_shr(a, n)

SQ_OP(u32x4, load_u32x4, (const uint32_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_u32x4(uint32_t *x, size_t at, sq_u32x4 v) { wasm_v128_store(x + at, v); }
SQ_OP(u32x4, repeat1_u32x4, (const uint32_t *x, size_t at), wasm_v128_load32_splat(x + at))
SQ_OP(u32x4, splat_u32x4, (uint32_t x), wasm_u32x4_splat(x))
SQ_OP(u32x4, and_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_v128_and(a, b))
SQ_OP(u32x4, or_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_v128_or(a, b))
SQ_OP(u32x4, xor_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_v128_xor(a, b))
SQ_OP(u32x4, add_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_i32x4_add(a, b))
SQ_OP(u32x4, sub_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_i32x4_sub(a, b))
SQ_OP(u32x4, min_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_u32x4_min(a, b))
SQ_OP(u32x4, max_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_u32x4_max(a, b))
SQ_OP(u32x4, mul_u32x4, (sq_u32x4 a, sq_u32x4 b), wasm_i32x4_mul(a, b))
SQ_OP(u32x4, not_u32x4, (sq_u32x4 a), wasm_v128_not(a))
#define sq_shl_u32x4(a, n) wasm_i32x4_shl(a, n)
#define sq_shr_u32x4(a, n) wasm_u32x4_shr(a, n)

SQ_OP(i32x4, load_i32x4, (const int32_t *x, size_t at), wasm_v128_load(x + at))
SQ_INLINE void sq_store_i32x4(int32_t *x, size_t at, sq_i32x4 v) { wasm_v128_store(x + at, v); }
SQ_OP(i32x4, repeat1_i32x4, (const int32_t *x, size_t at), wasm_v128_load32_splat(x + at))
SQ_OP(i32x4, splat_i32x4, (int32_t x), wasm_i32x4_splat(x))
SQ_OP(i32x4, and_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_v128_and(a, b))
SQ_OP(i32x4, or_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_v128_or(a, b))
SQ_OP(i32x4, xor_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_v128_xor(a, b))
SQ_OP(i32x4, add_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_i32x4_add(a, b))
SQ_OP(i32x4, sub_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_i32x4_sub(a, b))
SQ_OP(i32x4, min_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_i32x4_min(a, b))
SQ_OP(i32x4, max_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_i32x4_max(a, b))
SQ_OP(i32x4, mul_i32x4, (sq_i32x4 a, sq_i32x4 b), wasm_i32x4_mul(a, b))
SQ_OP(i32x4, not_i32x4, (sq_i32x4 a), wasm_v128_not(a))
#define sq_shr_i32x4(a, n) wasm_i32x4_shr(a, n)

/* The low bytes of four numbers. */
SQ_INLINE uint32_t sq_low_bytes(sq_i32x4 a)
{
    const v128_t bytes = wasm_i8x16_shuffle(a, a, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    return (uint32_t)wasm_i32x4_extract_lane(bytes, 0);
}
SQ_OP(u8x16, repeat4_u8x16, (const uint8_t *x, size_t at), wasm_v128_load32_splat(x + at))
SQ_INLINE void sq_store_u8x4(uint8_t *x, size_t at, sq_u8x4 v) { memcpy(x + at, &v, 4); }
SQ_OP(i8x16, repeat4_i8x16, (const int8_t *x, size_t at), wasm_v128_load32_splat(x + at))
SQ_INLINE void sq_store_i8x4(int8_t *x, size_t at, sq_i8x4 v) { memcpy(x + at, &v, 4); }
SQ_INLINE sq_i16x8 sq_dot_i16x8_i8x16_i8x16(sq_i16x8 acc, sq_i8x16 a, sq_i8x16 b)
{
    const v128_t low = wasm_i16x8_extmul_low_i8x16(a, b);
    const v128_t high = wasm_i16x8_extmul_high_i8x16(a, b);
    const v128_t even = wasm_i16x8_shuffle(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    return wasm_i16x8_add(acc, wasm_i16x8_add(even, wasm_i16x8_shuffle(low, high, 1, 3, 5, 7, 9, 11, 13, 15)));
}
SQ_OP(u8x16, popcnt_u8x16, (sq_u8x16 a), wasm_i8x16_popcnt(a))
SQ_OP(u16x8, pairs_u8x16, (sq_u8x16 a), wasm_u16x8_extadd_pairwise_u8x16(a))
SQ_OP(u32x4, pairs_u16x8, (sq_u16x8 a), wasm_u32x4_extadd_pairwise_u16x8(a))
SQ_OP(i16x8, pairs_i8x16, (sq_i8x16 a), wasm_i16x8_extadd_pairwise_i8x16(a))
SQ_OP(i32x4, pairs_i16x8, (sq_i16x8 a), wasm_i32x4_extadd_pairwise_i16x8(a))
SQ_OP(u8x16, lookup_u8x16, (sq_u8x16 table, sq_u8x16 index), wasm_i8x16_swizzle(table, index))
SQ_OP(i8x16, cast_i8x16_u8x16, (sq_u8x16 a), a)
SQ_OP(u8x16, cast_u8x16_i8x16, (sq_i8x16 a), a)
SQ_OP(i32x4, cast_i32x4_u32x4, (sq_u32x4 a), a)
SQ_OP(u32x4, cast_u32x4_i32x4, (sq_i32x4 a), a)
SQ_OP(u8x16, bits_u8x16_u32x4, (sq_u32x4 a), a)
SQ_OP(u16x8, bits_u16x8_u8x16, (sq_u8x16 a), a)
SQ_OP(u32x4, bits_u32x4_u16x8, (sq_u16x8 a), a)
SQ_OP(u32x4, bits_u32x4_u8x16, (sq_u8x16 a), a)
SQ_OP(i8x16, bits_i8x16_u32x4, (sq_u32x4 a), a)
SQ_OP(i8x4, cast_i8x4_i32x4, (sq_i32x4 a), sq_low_bytes(a))
SQ_OP(u16x4, load_u16x4, (const uint16_t *x, size_t at), wasm_v128_load64_zero(x + at))
SQ_OP(u32x4, cast_u32x4_u16x4, (sq_u16x4 a), wasm_u32x4_extend_low_u16x8(a))
SQ_INLINE sq_u8x4 sq_load_u8x4(const uint8_t *x, size_t at)
{
    sq_u8x4 four;
    memcpy(&four, x + at, 4);
    return four;
}
SQ_OP(u32x4, cast_u32x4_u8x4, (sq_u8x4 a), wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_u32x4_splat(a))))
SQ_OP(u8x4, cast_u8x4_i32x4, (sq_i32x4 a), sq_low_bytes(a))
SQ_INLINE uint32_t sq_ge_mask_i32x4(sq_i32x4 a, sq_i32x4 b) { return (uint32_t)wasm_i32x4_bitmask(wasm_i32x4_ge(a, b)); }
SQ_INLINE uint32_t sq_ge_mask_i8x16(sq_i8x16 a, sq_i8x16 b) { return (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_ge(a, b)); }
SQ_OP(i32x4, high_i32x4, (sq_i32x4 a, sq_i32x4 b),
    wasm_i32x4_shuffle(wasm_i64x2_extmul_low_i32x4(a, b), wasm_i64x2_extmul_high_i32x4(a, b), 1, 3, 5, 7))
#define sq_spread1_u32x4(a, n) wasm_i32x4_shuffle(a, a, n, n, n, n)
SQ_OP(i32x4, lower_i16x8, (sq_i16x8 a), wasm_i32x4_extend_low_i16x8(a))
SQ_OP(i32x4, upper_i16x8, (sq_i16x8 a), wasm_i32x4_extend_high_i16x8(a))
/* A bit for every lane of four pairs of vectors. */
SQ_INLINE uint32_t sq_ge_mask4_i32x4(
    sq_i32x4 a0, sq_i32x4 b0, sq_i32x4 a1, sq_i32x4 b1, sq_i32x4 a2, sq_i32x4 b2, sq_i32x4 a3, sq_i32x4 b3)
{
    const v128_t low = wasm_i16x8_narrow_i32x4(wasm_i32x4_ge(a0, b0), wasm_i32x4_ge(a1, b1));
    const v128_t high = wasm_i16x8_narrow_i32x4(wasm_i32x4_ge(a2, b2), wasm_i32x4_ge(a3, b3));
    return (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(low, high));
}
SQ_INLINE int32_t sq_total_i32x4(sq_i32x4 a)
{
    const v128_t pairs = wasm_i32x4_add(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return wasm_i32x4_extract_lane(pairs, 0) + wasm_i32x4_extract_lane(pairs, 1);
}

#undef SQ_OP
#endif
