//! Products of matrices of bytes: FEAT_I8MM (Armv8.6 and later), and what brings operands and sums into their order.
//!
//! Rust's intrinsic for it is not stable, so the instruction is written out; what it computes is `matrix` of the kernel IR.

use super::neon::{I8x16, I32x4};
use core::arch::aarch64::*;
use core::arch::asm;

#[inline]
#[target_feature(enable = "i8mm")]
pub fn matrix_i32x4_i8x16_i8x16(acc: I32x4, a: I8x16, b: I8x16) -> I32x4 {
    let mut sum = acc;
    // SAFETY: reads and writes these registers alone.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
pub fn even8_i8x16(a: I8x16, b: I8x16) -> I8x16 {
    vreinterpretq_s8_s64(vuzp1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)))
}

#[inline]
#[target_feature(enable = "neon")]
pub fn odd8_i8x16(a: I8x16, b: I8x16) -> I8x16 {
    vreinterpretq_s8_s64(vuzp2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)))
}

#[inline]
#[target_feature(enable = "neon")]
pub fn even1_i32x4(a: I32x4, b: I32x4) -> I32x4 {
    vuzp1q_s32(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
pub fn odd1_i32x4(a: I32x4, b: I32x4) -> I32x4 {
    vuzp2q_s32(a, b)
}
