//! Vectors of 128 bits: NEON (Advanced SIMD) as every AArch64 processor has it.
//!
//! Functions that read or write memory are unsafe: the caller sees to it that all elements are in range.

use core::arch::aarch64::*;
use core::arch::asm;

macro_rules! operations {
    ($($name:ident $(<$n:ident>)? ($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => { $(
        #[inline]
        #[target_feature(enable = "neon")]
        pub fn $name $(<const $n: i32>)? ($($arg: $ty),*) -> $out { $body }
    )* };
}

macro_rules! memory {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident $ld:ident, $store:ident $st:ident, $repeat:ident $ld_dup:ident;)*) => { $(
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise.
            unsafe { $ld(x.as_ptr().add(at)) }
        }
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $vector) {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise.
            unsafe { $st(x.as_mut_ptr().add(at), v) }
        }
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at < x.len());
            // SAFETY: the caller's promise.
            unsafe { $ld_dup(x.as_ptr().add(at)) }
        }
    )* };
}

pub type U8x16 = uint8x16_t;
pub type I8x16 = int8x16_t;
pub type U8x8 = uint8x8_t;
pub type I8x8 = int8x8_t;
pub type U16x8 = uint16x8_t;
pub type I16x8 = int16x8_t;
pub type U16x4 = uint16x4_t;
pub type U32x4 = uint32x4_t;
pub type I32x4 = int32x4_t;
/// Four bytes in a word.
pub type I8x4 = u32;
/// Four bytes in a word.
pub type U8x4 = u32;

memory! {
    U8x16 of 16 u8: load_u8x16 vld1q_u8, store_u8x16 vst1q_u8, repeat1_u8x16 vld1q_dup_u8;
    I8x16 of 16 i8: load_i8x16 vld1q_s8, store_i8x16 vst1q_s8, repeat1_i8x16 vld1q_dup_s8;
    U16x8 of 8 u16: load_u16x8 vld1q_u16, store_u16x8 vst1q_u16, repeat1_u16x8 vld1q_dup_u16;
    I16x8 of 8 i16: load_i16x8 vld1q_s16, store_i16x8 vst1q_s16, repeat1_i16x8 vld1q_dup_s16;
    U32x4 of 4 u32: load_u32x4 vld1q_u32, store_u32x4 vst1q_u32, repeat1_u32x4 vld1q_dup_u32;
    I32x4 of 4 i32: load_i32x4 vld1q_s32, store_i32x4 vst1q_s32, repeat1_i32x4 vld1q_dup_s32;
}

macro_rules! halves {
    ($($vector:ident of $lanes:literal $scalar:ident: $load:ident $ld:ident;)*) => { $(
        /// Loads half a vector.
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $load(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + $lanes <= x.len());
            // SAFETY: the caller's promise.
            unsafe { $ld(x.as_ptr().add(at)) }
        }
    )* };
}

halves! {
    U8x8 of 8 u8: load_u8x8 vld1_u8;
    I8x8 of 8 i8: load_i8x8 vld1_s8;
    U16x4 of 4 u16: load_u16x4 vld1_u16;
}

macro_rules! fours {
    ($($scalar:ident $vector:ident $repeat:ident $cast:ident $four:ident $store:ident;)*) => { $(
        /// Four bytes again and again.
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $repeat(x: &[$scalar], at: usize) -> $vector {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned reads are allowed.
            $cast(vdupq_n_u32(unsafe { x.as_ptr().add(at).cast::<u32>().read_unaligned() }))
        }
        /// Stores four bytes.
        #[inline]
        #[target_feature(enable = "neon")]
        pub unsafe fn $store(x: &mut [$scalar], at: usize, v: $four) {
            debug_assert!(at + 4 <= x.len());
            // SAFETY: the caller's promise; unaligned writes are allowed.
            unsafe { x.as_mut_ptr().add(at).cast::<u32>().write_unaligned(v) }
        }
    )* };
}

fours! {
    u8 U8x16 repeat4_u8x16 vreinterpretq_u8_u32 U8x4 store_u8x4;
    i8 I8x16 repeat4_i8x16 vreinterpretq_s8_u32 I8x4 store_i8x4;
}

/// Loads four bytes.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn load_u8x4(x: &[u8], at: usize) -> U8x4 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: the caller's promise; unaligned reads are allowed.
    unsafe { x.as_ptr().add(at).cast::<u32>().read_unaligned() }
}

/// The low bytes of four numbers.
#[inline]
#[target_feature(enable = "neon")]
fn low_bytes(a: I32x4) -> u32 {
    let halves = vmovn_s32(a);
    vget_lane_u32::<0>(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))))
}

/// The bits 1, 2, 4, 8.
#[inline]
#[target_feature(enable = "neon")]
fn lane_bits() -> U32x4 {
    vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(0x2_0000_0001), vcreate_u64(0x8_0000_0004)))
}

operations! {
    splat_u8x16(x: u8) -> U8x16 = vdupq_n_u8(x);
    and_u8x16(a: U8x16, b: U8x16) -> U8x16 = vandq_u8(a, b);
    or_u8x16(a: U8x16, b: U8x16) -> U8x16 = vorrq_u8(a, b);
    xor_u8x16(a: U8x16, b: U8x16) -> U8x16 = veorq_u8(a, b);
    add_u8x16(a: U8x16, b: U8x16) -> U8x16 = {
        // LLVM would add the counts of a whole block first, and spill them.
        let mut sum = a;
        // SAFETY: reads and writes these registers alone.
        unsafe {
            asm!(
                "add {sum:v}.16b, {sum:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    };
    sub_u8x16(a: U8x16, b: U8x16) -> U8x16 = vsubq_u8(a, b);
    min_u8x16(a: U8x16, b: U8x16) -> U8x16 = vminq_u8(a, b);
    max_u8x16(a: U8x16, b: U8x16) -> U8x16 = vmaxq_u8(a, b);
    mul_u8x16(a: U8x16, b: U8x16) -> U8x16 = vmulq_u8(a, b);
    not_u8x16(a: U8x16) -> U8x16 = vmvnq_u8(a);
    shl_u8x16<N>(a: U8x16) -> U8x16 = vshlq_n_u8::<N>(a);
    shr_u8x16<N>(a: U8x16) -> U8x16 = vshrq_n_u8::<N>(a);
    splat_i8x16(x: i8) -> I8x16 = vdupq_n_s8(x);
    and_i8x16(a: I8x16, b: I8x16) -> I8x16 = vandq_s8(a, b);
    or_i8x16(a: I8x16, b: I8x16) -> I8x16 = vorrq_s8(a, b);
    xor_i8x16(a: I8x16, b: I8x16) -> I8x16 = veorq_s8(a, b);
    add_i8x16(a: I8x16, b: I8x16) -> I8x16 = vaddq_s8(a, b);
    sub_i8x16(a: I8x16, b: I8x16) -> I8x16 = vsubq_s8(a, b);
    min_i8x16(a: I8x16, b: I8x16) -> I8x16 = vminq_s8(a, b);
    max_i8x16(a: I8x16, b: I8x16) -> I8x16 = vmaxq_s8(a, b);
    mul_i8x16(a: I8x16, b: I8x16) -> I8x16 = vmulq_s8(a, b);
    not_i8x16(a: I8x16) -> I8x16 = vmvnq_s8(a);
    shr_i8x16<N>(a: I8x16) -> I8x16 = vshrq_n_s8::<N>(a);
    splat_u16x8(x: u16) -> U16x8 = vdupq_n_u16(x);
    and_u16x8(a: U16x8, b: U16x8) -> U16x8 = vandq_u16(a, b);
    or_u16x8(a: U16x8, b: U16x8) -> U16x8 = vorrq_u16(a, b);
    xor_u16x8(a: U16x8, b: U16x8) -> U16x8 = veorq_u16(a, b);
    add_u16x8(a: U16x8, b: U16x8) -> U16x8 = vaddq_u16(a, b);
    sub_u16x8(a: U16x8, b: U16x8) -> U16x8 = vsubq_u16(a, b);
    min_u16x8(a: U16x8, b: U16x8) -> U16x8 = vminq_u16(a, b);
    max_u16x8(a: U16x8, b: U16x8) -> U16x8 = vmaxq_u16(a, b);
    mul_u16x8(a: U16x8, b: U16x8) -> U16x8 = vmulq_u16(a, b);
    not_u16x8(a: U16x8) -> U16x8 = vmvnq_u16(a);
    shl_u16x8<N>(a: U16x8) -> U16x8 = vshlq_n_u16::<N>(a);
    shr_u16x8<N>(a: U16x8) -> U16x8 = vshrq_n_u16::<N>(a);
    splat_i16x8(x: i16) -> I16x8 = vdupq_n_s16(x);
    and_i16x8(a: I16x8, b: I16x8) -> I16x8 = vandq_s16(a, b);
    or_i16x8(a: I16x8, b: I16x8) -> I16x8 = vorrq_s16(a, b);
    xor_i16x8(a: I16x8, b: I16x8) -> I16x8 = veorq_s16(a, b);
    add_i16x8(a: I16x8, b: I16x8) -> I16x8 = vaddq_s16(a, b);
    sub_i16x8(a: I16x8, b: I16x8) -> I16x8 = vsubq_s16(a, b);
    min_i16x8(a: I16x8, b: I16x8) -> I16x8 = vminq_s16(a, b);
    max_i16x8(a: I16x8, b: I16x8) -> I16x8 = vmaxq_s16(a, b);
    mul_i16x8(a: I16x8, b: I16x8) -> I16x8 = vmulq_s16(a, b);
    not_i16x8(a: I16x8) -> I16x8 = vmvnq_s16(a);
    shr_i16x8<N>(a: I16x8) -> I16x8 = vshrq_n_s16::<N>(a);
    splat_u32x4(x: u32) -> U32x4 = vdupq_n_u32(x);
    and_u32x4(a: U32x4, b: U32x4) -> U32x4 = vandq_u32(a, b);
    or_u32x4(a: U32x4, b: U32x4) -> U32x4 = vorrq_u32(a, b);
    xor_u32x4(a: U32x4, b: U32x4) -> U32x4 = veorq_u32(a, b);
    add_u32x4(a: U32x4, b: U32x4) -> U32x4 = vaddq_u32(a, b);
    sub_u32x4(a: U32x4, b: U32x4) -> U32x4 = vsubq_u32(a, b);
    min_u32x4(a: U32x4, b: U32x4) -> U32x4 = vminq_u32(a, b);
    max_u32x4(a: U32x4, b: U32x4) -> U32x4 = vmaxq_u32(a, b);
    mul_u32x4(a: U32x4, b: U32x4) -> U32x4 = vmulq_u32(a, b);
    not_u32x4(a: U32x4) -> U32x4 = vmvnq_u32(a);
    shl_u32x4<N>(a: U32x4) -> U32x4 = vshlq_n_u32::<N>(a);
    shr_u32x4<N>(a: U32x4) -> U32x4 = vshrq_n_u32::<N>(a);
    splat_i32x4(x: i32) -> I32x4 = vdupq_n_s32(x);
    and_i32x4(a: I32x4, b: I32x4) -> I32x4 = vandq_s32(a, b);
    or_i32x4(a: I32x4, b: I32x4) -> I32x4 = vorrq_s32(a, b);
    xor_i32x4(a: I32x4, b: I32x4) -> I32x4 = veorq_s32(a, b);
    add_i32x4(a: I32x4, b: I32x4) -> I32x4 = vaddq_s32(a, b);
    sub_i32x4(a: I32x4, b: I32x4) -> I32x4 = vsubq_s32(a, b);
    min_i32x4(a: I32x4, b: I32x4) -> I32x4 = vminq_s32(a, b);
    max_i32x4(a: I32x4, b: I32x4) -> I32x4 = vmaxq_s32(a, b);
    mul_i32x4(a: I32x4, b: I32x4) -> I32x4 = vmulq_s32(a, b);
    not_i32x4(a: I32x4) -> I32x4 = vmvnq_s32(a);
    shr_i32x4<N>(a: I32x4) -> I32x4 = vshrq_n_s32::<N>(a);
    dot_i16x8_i8x16_i8x16(acc: I16x8, a: I8x16, b: I8x16) -> I16x8 = {
        let (low, high) = (vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
        vaddq_s16(acc, vpaddq_s16(low, high))
    };
    popcnt_u8x16(a: U8x16) -> U8x16 = vcntq_u8(a);
    pairs_u8x16(a: U8x16) -> U16x8 = vpaddlq_u8(a);
    pairs_u16x8(a: U16x8) -> U32x4 = vpaddlq_u16(a);
    pairs_i8x16(a: I8x16) -> I16x8 = vpaddlq_s8(a);
    pairs_i16x8(a: I16x8) -> I32x4 = vpaddlq_s16(a);
    lookup_u8x16(table: U8x16, index: U8x16) -> U8x16 = vqtbl1q_u8(table, index);
    cast_i8x16_u8x16(a: U8x16) -> I8x16 = vreinterpretq_s8_u8(a);
    cast_u8x16_i8x16(a: I8x16) -> U8x16 = vreinterpretq_u8_s8(a);
    cast_i32x4_u32x4(a: U32x4) -> I32x4 = vreinterpretq_s32_u32(a);
    cast_u32x4_i32x4(a: I32x4) -> U32x4 = vreinterpretq_u32_s32(a);
    cast_u32x4_u16x4(a: U16x4) -> U32x4 = vmovl_u16(a);
    cast_u32x4_u8x4(a: U8x4) -> U32x4 = vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(a)))));
    bits_u8x16_u32x4(a: U32x4) -> U8x16 = vreinterpretq_u8_u32(a);
    bits_u16x8_u8x16(a: U8x16) -> U16x8 = vreinterpretq_u16_u8(a);
    bits_u32x4_u16x8(a: U16x8) -> U32x4 = vreinterpretq_u32_u16(a);
    bits_u32x4_u8x16(a: U8x16) -> U32x4 = vreinterpretq_u32_u8(a);
    bits_i8x16_u32x4(a: U32x4) -> I8x16 = vreinterpretq_s8_u32(a);
    cast_i8x4_i32x4(a: I32x4) -> I8x4 = low_bytes(a);
    cast_u8x4_i32x4(a: I32x4) -> U8x4 = low_bytes(a);
    ge_mask_i32x4(a: I32x4, b: I32x4) -> u32 = vaddvq_u32(vandq_u32(vcgeq_s32(a, b), lane_bits()));
    // The bits 1, 2, 4, ... 128 of either half, added up by half.
    ge_mask_i8x16(a: I8x16, b: I8x16) -> u32 = {
        let bits = vandq_u8(vcgeq_s8(a, b), vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201)));
        let pairs = vpadd_u8(vget_low_u8(bits), vget_high_u8(bits));
        let fours = vpadd_u8(pairs, pairs);
        u32::from(vget_lane_u16::<0>(vreinterpret_u16_u8(vpadd_u8(fours, fours))))
    };
    high_i32x4(a: I32x4, b: I32x4) -> I32x4 = {
        let low = vmull_s32(vget_low_s32(a), vget_low_s32(b));
        vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(vmull_high_s32(a, b)))
    };
    spread1_u32x4<N>(a: U32x4) -> U32x4 = vdupq_laneq_u32::<N>(a);
    cast_i16x8_u8x8(a: U8x8) -> I16x8 = vreinterpretq_s16_u16(vmovl_u8(a));
    cast_i16x8_i8x8(a: I8x8) -> I16x8 = vmovl_s8(a);
    lower_i8x16(a: I8x16) -> I16x8 = vmovl_s8(vget_low_s8(a));
    upper_i8x16(a: I8x16) -> I16x8 = vmovl_high_s8(a);
    dot_group_i16x8_i16x8_i16x8<N>(acc: I16x8, a: I16x8, b: I16x8) -> I16x8 = {
        // LLVM would multiply for a whole block first, and spill the products.
        let mut sum = acc;
        // SAFETY: reads and writes these registers alone.
        unsafe {
            asm!(
                "mla {sum:v}.8h, {a:v}.8h, {b:v}.h[{n}]",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg_low16) b,
                n = const N,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    };
    lower_i16x8(a: I16x8) -> I32x4 = vmovl_s16(vget_low_s16(a));
    upper_i16x8(a: I16x8) -> I32x4 = vmovl_high_s16(a);
    total_i32x4(a: I32x4) -> i32 = vaddvq_s32(a);
}

/// A bit for every lane of four pairs of vectors. First a bit of each vector goes to every fourth place of its lanes.
#[inline]
#[target_feature(enable = "neon")]
pub fn ge_mask4_i32x4(
    a0: I32x4, b0: I32x4, a1: I32x4, b1: I32x4, a2: I32x4, b2: I32x4, a3: I32x4, b3: I32x4,
) -> u32 {
    let mut all = vcgeq_s32(a3, b3);
    for (a, b) in [(a2, b2), (a1, b1), (a0, b0)] {
        all = vsliq_n_u32::<4>(vcgeq_s32(a, b), all);
    }
    vaddvq_u32(vandq_u32(all, vmulq_n_u32(lane_bits(), 0x1111)))
}
