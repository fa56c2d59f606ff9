//! Vectors of 128 bits: WebAssembly's fixed-width SIMD.
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

use core::arch::wasm32::*;

macro_rules! operations {
    ($($name:ident $(<$n:ident: $kind:ty>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline]
        #[target_feature(enable = "simd128")]
        pub fn $name $(<const $n: $kind>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident, $store:ident, $repeat:ident $splat:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "simd128")]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned loads are allowed.
            unsafe { v128_load(x.as_ptr().add(at).cast()) }
        }
        #[inline]
        #[target_feature(enable = "simd128")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned stores are allowed.
            unsafe { v128_store(x.as_mut_ptr().add(at).cast(), v) }
        }
        #[inline]
        #[target_feature(enable = "simd128")]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at < x.len());
            // SAFETY: the caller's promise.
            $splat(unsafe { *x.get_unchecked(at) })
        }
    )* };
}

pub type U8x16 = v128;
pub type I8x16 = v128;
pub type U16x8 = v128;
pub type I16x8 = v128;
pub type U32x4 = v128;
pub type I32x4 = v128;
/// Four bytes in a word.
pub type I8x4 = u32;
/// Four bytes in a word.
pub type U8x4 = u32;
/// Four numbers in the lower half of a vector.
pub type U16x4 = v128;

memory! {
    U8x16 of 16 u8: load_u8x16, store_u8x16, repeat1_u8x16 u8x16_splat;
    I8x16 of 16 i8: load_i8x16, store_i8x16, repeat1_i8x16 i8x16_splat;
    U16x8 of 8 u16: load_u16x8, store_u16x8, repeat1_u16x8 u16x8_splat;
    I16x8 of 8 i16: load_i16x8, store_i16x8, repeat1_i16x8 i16x8_splat;
    U32x4 of 4 u32: load_u32x4, store_u32x4, repeat1_u32x4 u32x4_splat;
    I32x4 of 4 i32: load_i32x4, store_i32x4, repeat1_i32x4 i32x4_splat;
}

macro_rules! fours {
    ($($scalar:ident $vector:ident $repeat:ident $four:ident $store:ident;)*) => { $(
        /// Four bytes again and again.
        #[inline]
        #[target_feature(enable = "simd128")]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            unsafe { v128_load32_splat(x.as_ptr().add(at).cast()) }
        }
        /// Stores four bytes.
        #[inline]
        #[target_feature(enable = "simd128")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $four) {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned writes are allowed.
            unsafe { x.as_mut_ptr().add(at).cast::<u32>().write_unaligned(v) }
        }
    )* };
}

fours! {
    u8 U8x16 repeat4_u8x16 U8x4 store_u8x4;
    i8 I8x16 repeat4_i8x16 I8x4 store_i8x4;
}

/// Loads four bytes.
#[inline]
#[target_feature(enable = "simd128")]
pub unsafe fn load_u8x4(x: &[u8], at: usize) -> U8x4 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { x.as_ptr().add(at).cast::<u32>().read_unaligned() }
}

/// Loads half a vector.
#[inline]
#[target_feature(enable = "simd128")]
pub unsafe fn load_u16x4(x: &[u16], at: usize) -> U16x4 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { v128_load64_zero(x.as_ptr().add(at).cast()) }
}

/// The low bytes of four numbers.
#[inline]
#[target_feature(enable = "simd128")]
fn low_bytes(a: I32x4) -> u32 {
    u32x4_extract_lane::<0>(i8x16_shuffle::<0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12>(a, a))
}

operations! {
    splat_u8x16(x: u8) -> U8x16 = u8x16_splat(x);
    and_u8x16(a: U8x16, b: U8x16) -> U8x16 = v128_and(a, b);
    or_u8x16(a: U8x16, b: U8x16) -> U8x16 = v128_or(a, b);
    xor_u8x16(a: U8x16, b: U8x16) -> U8x16 = v128_xor(a, b);
    add_u8x16(a: U8x16, b: U8x16) -> U8x16 = i8x16_add(a, b);
    sub_u8x16(a: U8x16, b: U8x16) -> U8x16 = i8x16_sub(a, b);
    min_u8x16(a: U8x16, b: U8x16) -> U8x16 = u8x16_min(a, b);
    max_u8x16(a: U8x16, b: U8x16) -> U8x16 = u8x16_max(a, b);
    not_u8x16(a: U8x16) -> U8x16 = v128_not(a);
    shl_u8x16<N: u32>(a: U8x16) -> U8x16 = i8x16_shl(a, N);
    shr_u8x16<N: u32>(a: U8x16) -> U8x16 = u8x16_shr(a, N);
    splat_i8x16(x: i8) -> I8x16 = i8x16_splat(x);
    and_i8x16(a: I8x16, b: I8x16) -> I8x16 = v128_and(a, b);
    or_i8x16(a: I8x16, b: I8x16) -> I8x16 = v128_or(a, b);
    xor_i8x16(a: I8x16, b: I8x16) -> I8x16 = v128_xor(a, b);
    add_i8x16(a: I8x16, b: I8x16) -> I8x16 = i8x16_add(a, b);
    sub_i8x16(a: I8x16, b: I8x16) -> I8x16 = i8x16_sub(a, b);
    min_i8x16(a: I8x16, b: I8x16) -> I8x16 = i8x16_min(a, b);
    max_i8x16(a: I8x16, b: I8x16) -> I8x16 = i8x16_max(a, b);
    not_i8x16(a: I8x16) -> I8x16 = v128_not(a);
    shr_i8x16<N: u32>(a: I8x16) -> I8x16 = i8x16_shr(a, N);
    splat_u16x8(x: u16) -> U16x8 = u16x8_splat(x);
    and_u16x8(a: U16x8, b: U16x8) -> U16x8 = v128_and(a, b);
    or_u16x8(a: U16x8, b: U16x8) -> U16x8 = v128_or(a, b);
    xor_u16x8(a: U16x8, b: U16x8) -> U16x8 = v128_xor(a, b);
    add_u16x8(a: U16x8, b: U16x8) -> U16x8 = i16x8_add(a, b);
    sub_u16x8(a: U16x8, b: U16x8) -> U16x8 = i16x8_sub(a, b);
    min_u16x8(a: U16x8, b: U16x8) -> U16x8 = u16x8_min(a, b);
    max_u16x8(a: U16x8, b: U16x8) -> U16x8 = u16x8_max(a, b);
    mul_u16x8(a: U16x8, b: U16x8) -> U16x8 = i16x8_mul(a, b);
    not_u16x8(a: U16x8) -> U16x8 = v128_not(a);
    shl_u16x8<N: u32>(a: U16x8) -> U16x8 = i16x8_shl(a, N);
    shr_u16x8<N: u32>(a: U16x8) -> U16x8 = u16x8_shr(a, N);
    splat_i16x8(x: i16) -> I16x8 = i16x8_splat(x);
    and_i16x8(a: I16x8, b: I16x8) -> I16x8 = v128_and(a, b);
    or_i16x8(a: I16x8, b: I16x8) -> I16x8 = v128_or(a, b);
    xor_i16x8(a: I16x8, b: I16x8) -> I16x8 = v128_xor(a, b);
    add_i16x8(a: I16x8, b: I16x8) -> I16x8 = i16x8_add(a, b);
    sub_i16x8(a: I16x8, b: I16x8) -> I16x8 = i16x8_sub(a, b);
    min_i16x8(a: I16x8, b: I16x8) -> I16x8 = i16x8_min(a, b);
    max_i16x8(a: I16x8, b: I16x8) -> I16x8 = i16x8_max(a, b);
    mul_i16x8(a: I16x8, b: I16x8) -> I16x8 = i16x8_mul(a, b);
    not_i16x8(a: I16x8) -> I16x8 = v128_not(a);
    shr_i16x8<N: u32>(a: I16x8) -> I16x8 = i16x8_shr(a, N);
    splat_u32x4(x: u32) -> U32x4 = u32x4_splat(x);
    and_u32x4(a: U32x4, b: U32x4) -> U32x4 = v128_and(a, b);
    or_u32x4(a: U32x4, b: U32x4) -> U32x4 = v128_or(a, b);
    xor_u32x4(a: U32x4, b: U32x4) -> U32x4 = v128_xor(a, b);
    add_u32x4(a: U32x4, b: U32x4) -> U32x4 = i32x4_add(a, b);
    sub_u32x4(a: U32x4, b: U32x4) -> U32x4 = i32x4_sub(a, b);
    min_u32x4(a: U32x4, b: U32x4) -> U32x4 = u32x4_min(a, b);
    max_u32x4(a: U32x4, b: U32x4) -> U32x4 = u32x4_max(a, b);
    mul_u32x4(a: U32x4, b: U32x4) -> U32x4 = i32x4_mul(a, b);
    not_u32x4(a: U32x4) -> U32x4 = v128_not(a);
    shl_u32x4<N: u32>(a: U32x4) -> U32x4 = i32x4_shl(a, N);
    shr_u32x4<N: u32>(a: U32x4) -> U32x4 = u32x4_shr(a, N);
    splat_i32x4(x: i32) -> I32x4 = i32x4_splat(x);
    and_i32x4(a: I32x4, b: I32x4) -> I32x4 = v128_and(a, b);
    or_i32x4(a: I32x4, b: I32x4) -> I32x4 = v128_or(a, b);
    xor_i32x4(a: I32x4, b: I32x4) -> I32x4 = v128_xor(a, b);
    add_i32x4(a: I32x4, b: I32x4) -> I32x4 = i32x4_add(a, b);
    sub_i32x4(a: I32x4, b: I32x4) -> I32x4 = i32x4_sub(a, b);
    min_i32x4(a: I32x4, b: I32x4) -> I32x4 = i32x4_min(a, b);
    max_i32x4(a: I32x4, b: I32x4) -> I32x4 = i32x4_max(a, b);
    mul_i32x4(a: I32x4, b: I32x4) -> I32x4 = i32x4_mul(a, b);
    not_i32x4(a: I32x4) -> I32x4 = v128_not(a);
    shr_i32x4<N: u32>(a: I32x4) -> I32x4 = i32x4_shr(a, N);
    dot_i16x8_i8x16_i8x16(acc: I16x8, a: I8x16, b: I8x16) -> I16x8 = {
        let (low, high) = (i16x8_extmul_low_i8x16(a, b), i16x8_extmul_high_i8x16(a, b));
        let even = i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(low, high);
        let odd = i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(low, high);
        i16x8_add(acc, i16x8_add(even, odd))
    };
    popcnt_u8x16(a: U8x16) -> U8x16 = u8x16_popcnt(a);
    pairs_u8x16(a: U8x16) -> U16x8 = u16x8_extadd_pairwise_u8x16(a);
    pairs_u16x8(a: U16x8) -> U32x4 = u32x4_extadd_pairwise_u16x8(a);
    pairs_i8x16(a: I8x16) -> I16x8 = i16x8_extadd_pairwise_i8x16(a);
    pairs_i16x8(a: I16x8) -> I32x4 = i32x4_extadd_pairwise_i16x8(a);
    lookup_u8x16(table: U8x16, index: U8x16) -> U8x16 = u8x16_swizzle(table, index);
    cast_i8x16_u8x16(a: U8x16) -> I8x16 = a;
    cast_u8x16_i8x16(a: I8x16) -> U8x16 = a;
    cast_i32x4_u32x4(a: U32x4) -> I32x4 = a;
    cast_u32x4_i32x4(a: I32x4) -> U32x4 = a;
    cast_u32x4_u16x4(a: U16x4) -> U32x4 = u32x4_extend_low_u16x8(a);
    cast_u32x4_u8x4(a: U8x4) -> U32x4 = u32x4_extend_low_u16x8(u16x8_extend_low_u8x16(u32x4_splat(a)));
    bits_u8x16_u32x4(a: U32x4) -> U8x16 = a;
    bits_u16x8_u8x16(a: U8x16) -> U16x8 = a;
    bits_u32x4_u16x8(a: U16x8) -> U32x4 = a;
    bits_u32x4_u8x16(a: U8x16) -> U32x4 = a;
    bits_i8x16_u32x4(a: U32x4) -> I8x16 = a;
    cast_i8x4_i32x4(a: I32x4) -> I8x4 = low_bytes(a);
    cast_u8x4_i32x4(a: I32x4) -> U8x4 = low_bytes(a);
    ge_mask_i32x4(a: I32x4, b: I32x4) -> u32 = u32::from(i32x4_bitmask(i32x4_ge(a, b)));
    ge_mask_i8x16(a: I8x16, b: I8x16) -> u32 = u32::from(i8x16_bitmask(i8x16_ge(a, b)));
    high_i32x4(a: I32x4, b: I32x4) -> I32x4 = {
        i32x4_shuffle::<1, 3, 5, 7>(i64x2_extmul_low_i32x4(a, b), i64x2_extmul_high_i32x4(a, b))
    };
    spread1_u32x4<N: usize>(a: U32x4) -> U32x4 = u32x4_shuffle::<N, N, N, N>(a, a);
    lower_i16x8(a: I16x8) -> I32x4 = i32x4_extend_low_i16x8(a);
    upper_i16x8(a: I16x8) -> I32x4 = i32x4_extend_high_i16x8(a);
    total_i32x4(a: I32x4) -> i32 = {
        let pairs = i32x4_add(a, i32x4_shuffle::<2, 3, 0, 1>(a, a));
        i32x4_extract_lane::<0>(pairs) + i32x4_extract_lane::<1>(pairs)
    };
}

/// A bit for every lane of four pairs of vectors.
#[inline]
#[target_feature(enable = "simd128")]
pub fn ge_mask4_i32x4(
    a0: I32x4, b0: I32x4, a1: I32x4, b1: I32x4, a2: I32x4, b2: I32x4, a3: I32x4, b3: I32x4,
) -> u32 {
    let low = i16x8_narrow_i32x4(i32x4_ge(a0, b0), i32x4_ge(a1, b1));
    let high = i16x8_narrow_i32x4(i32x4_ge(a2, b2), i32x4_ge(a3, b3));
    u32::from(i8x16_bitmask(i8x16_narrow_i16x8(low, high)))
}
