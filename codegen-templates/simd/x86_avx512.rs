//! Vectors of 512 bits: AVX-512 with F, BW, VL, VNNI and VPOPCNTDQ.
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

use super::x86_avx2::{I8x16, U8x16, U16x16};
use core::arch::x86_64::*;

macro_rules! operations {
    ($($name:ident $(<$n:ident>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
        pub fn $name $(<const $n: u32>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident, $store:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned loads are allowed.
            unsafe { _mm512_loadu_si512(x.as_ptr().add(at).cast()) }
        }
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned stores are allowed.
            unsafe { _mm512_storeu_si512(x.as_mut_ptr().add(at).cast(), v) }
        }
    )* };
}

pub type U8x64 = __m512i;
pub type I8x64 = __m512i;
pub type U16x32 = __m512i;
pub type I16x32 = __m512i;
pub type U32x16 = __m512i;
pub type I32x16 = __m512i;

memory! {
    U8x64 of 64 u8: load_u8x64, store_u8x64;
    I8x64 of 64 i8: load_i8x64, store_i8x64;
    U16x32 of 32 u16: load_u16x32, store_u16x32;
    I16x32 of 32 i16: load_i16x32, store_i16x32;
    U32x16 of 16 u32: load_u32x16, store_u32x16;
    I32x16 of 16 i32: load_i32x16, store_i32x16;
}

/// Four bytes again and again.
macro_rules! repeats {
    ($($name:ident of $scalar:ident -> $vector:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx512f")]
        pub unsafe fn $name(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            _mm512_set1_epi32(unsafe { x.as_ptr().add(at).cast::<i32>().read_unaligned() })
        }
    )* };
}

repeats! {
    repeat4_u8x64 of u8 -> U8x64;
    repeat4_i8x64 of i8 -> I8x64;
}

#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn repeat1_u32x16(x: &[u32], at: usize) -> U32x16 {
    debug_assert!(at < x.len());
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { *x.get_unchecked(at) } as i32)
}

operations! {
    splat_u8x64(x: u8) -> U8x64 = _mm512_set1_epi8(x as i8);
    and_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_and_si512(a, b);
    or_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_or_si512(a, b);
    xor_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_xor_si512(a, b);
    not_u8x64(a: U8x64) -> U8x64 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_add_epi8(a, b);
    sub_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_sub_epi8(a, b);
    min_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_min_epu8(a, b);
    max_u8x64(a: U8x64, b: U8x64) -> U8x64 = _mm512_max_epu8(a, b);
    shr_u8x64<N>(a: U8x64) -> U8x64 = _mm512_and_si512(_mm512_srli_epi16::<N>(a), _mm512_set1_epi8((255u8 >> N) as i8));
    splat_i8x64(x: i8) -> I8x64 = _mm512_set1_epi8(x as i8);
    and_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_and_si512(a, b);
    or_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_or_si512(a, b);
    xor_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_xor_si512(a, b);
    not_i8x64(a: I8x64) -> I8x64 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_add_epi8(a, b);
    sub_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_sub_epi8(a, b);
    min_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_min_epi8(a, b);
    max_i8x64(a: I8x64, b: I8x64) -> I8x64 = _mm512_max_epi8(a, b);
    splat_u16x32(x: u16) -> U16x32 = _mm512_set1_epi16(x as i16);
    and_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_and_si512(a, b);
    or_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_or_si512(a, b);
    xor_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_xor_si512(a, b);
    not_u16x32(a: U16x32) -> U16x32 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_add_epi16(a, b);
    sub_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_sub_epi16(a, b);
    min_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_min_epu16(a, b);
    max_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_max_epu16(a, b);
    mul_u16x32(a: U16x32, b: U16x32) -> U16x32 = _mm512_mullo_epi16(a, b);
    shl_u16x32<N>(a: U16x32) -> U16x32 = _mm512_slli_epi16::<N>(a);
    shr_u16x32<N>(a: U16x32) -> U16x32 = _mm512_srli_epi16::<N>(a);
    splat_i16x32(x: i16) -> I16x32 = _mm512_set1_epi16(x as i16);
    and_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_and_si512(a, b);
    or_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_or_si512(a, b);
    xor_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_xor_si512(a, b);
    not_i16x32(a: I16x32) -> I16x32 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_add_epi16(a, b);
    sub_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_sub_epi16(a, b);
    min_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_min_epi16(a, b);
    max_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_max_epi16(a, b);
    mul_i16x32(a: I16x32, b: I16x32) -> I16x32 = _mm512_mullo_epi16(a, b);
    shr_i16x32<N>(a: I16x32) -> I16x32 = _mm512_srai_epi16::<N>(a);
    splat_u32x16(x: u32) -> U32x16 = _mm512_set1_epi32(x as i32);
    and_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_and_si512(a, b);
    or_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_or_si512(a, b);
    xor_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_xor_si512(a, b);
    not_u32x16(a: U32x16) -> U32x16 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_add_epi32(a, b);
    sub_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_sub_epi32(a, b);
    min_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_min_epu32(a, b);
    max_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_max_epu32(a, b);
    mul_u32x16(a: U32x16, b: U32x16) -> U32x16 = _mm512_mullo_epi32(a, b);
    shl_u32x16<N>(a: U32x16) -> U32x16 = _mm512_slli_epi32::<N>(a);
    shr_u32x16<N>(a: U32x16) -> U32x16 = _mm512_srli_epi32::<N>(a);
    splat_i32x16(x: i32) -> I32x16 = _mm512_set1_epi32(x as i32);
    and_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_and_si512(a, b);
    or_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_or_si512(a, b);
    xor_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_xor_si512(a, b);
    not_i32x16(a: I32x16) -> I32x16 = _mm512_xor_si512(a, _mm512_set1_epi32(-1));
    add_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_add_epi32(a, b);
    sub_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_sub_epi32(a, b);
    min_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_min_epi32(a, b);
    max_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_max_epi32(a, b);
    mul_i32x16(a: I32x16, b: I32x16) -> I32x16 = _mm512_mullo_epi32(a, b);
    shr_i32x16<N>(a: I32x16) -> I32x16 = _mm512_srai_epi32::<N>(a);
    popcnt_u32x16(a: U32x16) -> U32x16 = _mm512_popcnt_epi32(a);
    ge_mask_i32x16(a: I32x16, b: I32x16) -> u32 = _mm512_cmpge_epi32_mask(a, b).into();
    dot_i32x16_u8x64_i8x64(acc: I32x16, a: U8x64, b: I8x64) -> I32x16 = _mm512_dpbusd_epi32(acc, a, b);
    high_i32x16(a: I32x16, b: I32x16) -> I32x16 = {
        let even = _mm512_srli_epi64::<32>(_mm512_mul_epi32(a, b));
        let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
        _mm512_mask_mov_epi32(even, 0xaaaa, odd)
    };
    total_i32x16(a: I32x16) -> i32 = _mm512_reduce_add_epi32(a);
    cast_i8x64_u8x64(a: U8x64) -> I8x64 = a;
    cast_u8x64_i8x64(a: I8x64) -> U8x64 = a;
    cast_i32x16_u32x16(a: U32x16) -> I32x16 = a;
    cast_u32x16_i32x16(a: I32x16) -> U32x16 = a;
    cast_u32x16_u16x16(a: U16x16) -> U32x16 = _mm512_cvtepu16_epi32(a);
    cast_u32x16_u8x16(a: U8x16) -> U32x16 = _mm512_cvtepu8_epi32(a);
    cast_i32x16_i8x16(a: I8x16) -> I32x16 = _mm512_cvtepi8_epi32(a);
    cast_i32x16_u8x16(a: U8x16) -> I32x16 = _mm512_cvtepu8_epi32(a);
    cast_i8x16_i32x16(a: I32x16) -> I8x16 = _mm512_cvtepi32_epi8(a);
    cast_u8x16_i32x16(a: I32x16) -> U8x16 = _mm512_cvtepi32_epi8(a);
    bits_u8x64_u32x16(a: U32x16) -> U8x64 = a;
    bits_u32x16_u8x64(a: U8x64) -> U32x16 = a;
    bits_i8x64_u32x16(a: U32x16) -> I8x64 = a;
}
