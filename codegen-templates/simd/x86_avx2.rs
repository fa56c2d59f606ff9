//! Vectors of 128 and 256 bits: AVX2.
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

use core::arch::x86_64::*;

macro_rules! operations {
    ($($name:ident $(<$n:ident>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn $name $(<const $n: i32>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident $loadu:ident, $store:ident $storeu:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned loads are allowed.
            unsafe { $loadu(x.as_ptr().add(at).cast()) }
        }
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise; unaligned stores are allowed.
            unsafe { $storeu(x.as_mut_ptr().add(at).cast(), v) }
        }
    )* };
}

pub type U8x16 = __m128i;
pub type I8x16 = __m128i;
/// Eight bytes in a word.
pub type U8x8 = u64;
/// Eight bytes in a word.
pub type I8x8 = u64;
pub type U8x32 = __m256i;
pub type I8x32 = __m256i;
pub type U16x16 = __m256i;
pub type I16x16 = __m256i;
pub type U16x8 = __m128i;
pub type U32x8 = __m256i;
pub type I32x8 = __m256i;

memory! {
    U8x16 of 16 u8: load_u8x16 _mm_loadu_si128, store_u8x16 _mm_storeu_si128;
    I8x16 of 16 i8: load_i8x16 _mm_loadu_si128, store_i8x16 _mm_storeu_si128;
    U8x32 of 32 u8: load_u8x32 _mm256_loadu_si256, store_u8x32 _mm256_storeu_si256;
    I8x32 of 32 i8: load_i8x32 _mm256_loadu_si256, store_i8x32 _mm256_storeu_si256;
    U16x16 of 16 u16: load_u16x16 _mm256_loadu_si256, store_u16x16 _mm256_storeu_si256;
    I16x16 of 16 i16: load_i16x16 _mm256_loadu_si256, store_i16x16 _mm256_storeu_si256;
    U32x8 of 8 u32: load_u32x8 _mm256_loadu_si256, store_u32x8 _mm256_storeu_si256;
    I32x8 of 8 i32: load_i32x8 _mm256_loadu_si256, store_i32x8 _mm256_storeu_si256;
}

/// Four bytes again and again.
macro_rules! repeats {
    ($($name:ident of $scalar:ident -> $vector:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn $name(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            _mm256_set1_epi32(unsafe { x.as_ptr().add(at).cast::<i32>().read_unaligned() })
        }
    )* };
}

/// One byte again and again.
macro_rules! bytes {
    ($($name:ident of $scalar:ident -> $vector:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn $name(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at < x.len());
            // SAFETY: the caller's promise.
            _mm256_set1_epi8(unsafe { *x.get_unchecked(at) } as i8)
        }
    )* };
}

bytes! {
    repeat1_u8x32 of u8 -> U8x32;
    repeat1_i8x32 of i8 -> I8x32;
}

repeats! {
    repeat4_u8x32 of u8 -> U8x32;
    repeat4_i8x32 of i8 -> I8x32;
}

#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn repeat1_u32x8(x: &[u32], at: usize) -> U32x8 {
    debug_assert!(at < x.len());
    // SAFETY: the caller's promise.
    _mm256_set1_epi32(unsafe { *x.get_unchecked(at) } as i32)
}

macro_rules! eights {
    ($($scalar:ident $vector:ident $store:ident;)*) => { $(
        /// Stores eight bytes.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + 8 <= x.len());
            // SAFETY: the caller's promise; unaligned writes are allowed.
            unsafe { x.as_mut_ptr().add(at).cast::<u64>().write_unaligned(v) }
        }
    )* };
}

eights! {
    u8 U8x8 store_u8x8;
    i8 I8x8 store_i8x8;
}

/// Loads eight bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn load_u8x8(x: &[u8], at: usize) -> U8x8 {
    debug_assert!(at + 8 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { x.as_ptr().add(at).cast::<u64>().read_unaligned() }
}

/// Loads half a vector.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn load_u16x8(x: &[u16], at: usize) -> U16x8 {
    debug_assert!(at + 8 <= x.len());
    // SAFETY: the caller's promise; unaligned loads are allowed.
    unsafe { _mm_loadu_si128(x.as_ptr().add(at).cast()) }
}

/// The low bytes of eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn low_bytes(a: I32x8) -> u64 {
    let pick = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
    let fours = _mm256_shuffle_epi8(a, pick);
    let both = _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours));
    _mm_cvtsi128_si64(both) as u64
}

/// One bits of the numbers 0 to 15, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
fn ones_of_nibbles() -> U8x32 {
    _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4))
}

operations! {
    splat_u8x32(x: u8) -> U8x32 = _mm256_set1_epi8(x as i8);
    and_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_and_si256(a, b);
    or_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_or_si256(a, b);
    xor_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_xor_si256(a, b);
    not_u8x32(a: U8x32) -> U8x32 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_add_epi8(a, b);
    sub_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_sub_epi8(a, b);
    min_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_min_epu8(a, b);
    max_u8x32(a: U8x32, b: U8x32) -> U8x32 = _mm256_max_epu8(a, b);
    shr_u8x32<N>(a: U8x32) -> U8x32 = _mm256_and_si256(_mm256_srli_epi16::<N>(a), _mm256_set1_epi8((255u8 >> N) as i8));
    splat_i8x32(x: i8) -> I8x32 = _mm256_set1_epi8(x as i8);
    and_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_and_si256(a, b);
    or_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_or_si256(a, b);
    xor_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_xor_si256(a, b);
    not_i8x32(a: I8x32) -> I8x32 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_add_epi8(a, b);
    sub_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_sub_epi8(a, b);
    min_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_min_epi8(a, b);
    max_i8x32(a: I8x32, b: I8x32) -> I8x32 = _mm256_max_epi8(a, b);
    splat_u16x16(x: u16) -> U16x16 = _mm256_set1_epi16(x as i16);
    and_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_and_si256(a, b);
    or_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_or_si256(a, b);
    xor_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_xor_si256(a, b);
    not_u16x16(a: U16x16) -> U16x16 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_add_epi16(a, b);
    sub_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_sub_epi16(a, b);
    min_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_min_epu16(a, b);
    max_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_max_epu16(a, b);
    mul_u16x16(a: U16x16, b: U16x16) -> U16x16 = _mm256_mullo_epi16(a, b);
    shl_u16x16<N>(a: U16x16) -> U16x16 = _mm256_slli_epi16::<N>(a);
    shr_u16x16<N>(a: U16x16) -> U16x16 = _mm256_srli_epi16::<N>(a);
    splat_i16x16(x: i16) -> I16x16 = _mm256_set1_epi16(x as i16);
    and_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_and_si256(a, b);
    or_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_or_si256(a, b);
    xor_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_xor_si256(a, b);
    not_i16x16(a: I16x16) -> I16x16 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_add_epi16(a, b);
    sub_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_sub_epi16(a, b);
    min_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_min_epi16(a, b);
    max_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_max_epi16(a, b);
    mul_i16x16(a: I16x16, b: I16x16) -> I16x16 = _mm256_mullo_epi16(a, b);
    shr_i16x16<N>(a: I16x16) -> I16x16 = _mm256_srai_epi16::<N>(a);
    splat_u32x8(x: u32) -> U32x8 = _mm256_set1_epi32(x as i32);
    and_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_and_si256(a, b);
    or_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_or_si256(a, b);
    xor_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_xor_si256(a, b);
    not_u32x8(a: U32x8) -> U32x8 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_add_epi32(a, b);
    sub_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_sub_epi32(a, b);
    min_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_min_epu32(a, b);
    max_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_max_epu32(a, b);
    mul_u32x8(a: U32x8, b: U32x8) -> U32x8 = _mm256_mullo_epi32(a, b);
    shl_u32x8<N>(a: U32x8) -> U32x8 = _mm256_slli_epi32::<N>(a);
    shr_u32x8<N>(a: U32x8) -> U32x8 = _mm256_srli_epi32::<N>(a);
    splat_i32x8(x: i32) -> I32x8 = _mm256_set1_epi32(x as i32);
    and_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_and_si256(a, b);
    or_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_or_si256(a, b);
    xor_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_xor_si256(a, b);
    not_i32x8(a: I32x8) -> I32x8 = _mm256_xor_si256(a, _mm256_set1_epi32(-1));
    add_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_add_epi32(a, b);
    sub_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_sub_epi32(a, b);
    min_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_min_epi32(a, b);
    max_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_max_epi32(a, b);
    mul_i32x8(a: I32x8, b: I32x8) -> I32x8 = _mm256_mullo_epi32(a, b);
    shr_i32x8<N>(a: I32x8) -> I32x8 = _mm256_srai_epi32::<N>(a);
    popcnt_u8x32(a: U8x32) -> U8x32 = {
        let (table, low) = (ones_of_nibbles(), _mm256_set1_epi8(15));
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(a), low);
        _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(a, low)), _mm256_shuffle_epi8(table, high))
    };
    lookup_u8x32(table: U8x16, index: U8x32) -> U8x32 = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
    ge_mask_i32x8(a: I32x8, b: I32x8) -> u32 =
        !_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a))) as u32 & 0xff;
    ge_mask_i8x32(a: I8x32, b: I8x32) -> u32 = !_mm256_movemask_epi8(_mm256_cmpgt_epi8(b, a)) as u32;
    dot_i16x16_u8x32_i8x32(acc: I16x16, a: U8x32, b: I8x32) -> I16x16 = _mm256_add_epi16(acc, _mm256_maddubs_epi16(a, b));
    dot_i32x8_i16x16_i16x16(acc: I32x8, a: I16x16, b: I16x16) -> I32x8 = _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
    pairs_u8x32(a: U8x32) -> U16x16 = _mm256_maddubs_epi16(a, _mm256_set1_epi8(1));
    pairs_u16x16(a: U16x16) -> U32x8 =
        _mm256_add_epi32(_mm256_srli_epi32::<16>(a), _mm256_and_si256(a, _mm256_set1_epi32(0xffff)));
    pairs_i16x16(a: I16x16) -> I32x8 = _mm256_madd_epi16(a, _mm256_set1_epi16(1));
    cast_i8x32_u8x32(a: U8x32) -> I8x32 = a;
    cast_u8x32_i8x32(a: I8x32) -> U8x32 = a;
    cast_i32x8_u32x8(a: U32x8) -> I32x8 = a;
    cast_u32x8_i32x8(a: I32x8) -> U32x8 = a;
    cast_u32x8_u16x8(a: U16x8) -> U32x8 = _mm256_cvtepu16_epi32(a);
    cast_u32x8_u8x8(a: U8x8) -> U32x8 = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(a as i64));
    cast_i16x16_i8x16(a: I8x16) -> I16x16 = _mm256_cvtepi8_epi16(a);
    cast_i16x16_u8x16(a: U8x16) -> I16x16 = _mm256_cvtepu8_epi16(a);
    cast_i8x8_i32x8(a: I32x8) -> I8x8 = low_bytes(a);
    cast_u8x8_i32x8(a: I32x8) -> U8x8 = low_bytes(a);
    high_i32x8(a: I32x8, b: I32x8) -> I32x8 = {
        let even = _mm256_srli_epi64::<32>(_mm256_mul_epi32(a, b));
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
        _mm256_blend_epi32::<0xaa>(even, odd)
    };
    total_i32x8(a: I32x8) -> i32 = {
        let four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0x4e>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0xb1>(two)))
    };
    bits_u8x32_u32x8(a: U32x8) -> U8x32 = a;
    bits_u16x16_u8x32(a: U8x32) -> U16x16 = a;
    bits_u32x8_u16x16(a: U16x16) -> U32x8 = a;
    bits_u32x8_u8x32(a: U8x32) -> U32x8 = a;
    bits_i8x32_u32x8(a: U32x8) -> I8x32 = a;
}
