//! Dot products of bytes: FEAT_DotProd (Armv8.2 and later).
//!
//! Rust's intrinsics for it are not stable, so the instruction is written out; what it computes is `dot` of the kernel IR.

use super::neon::{I8x16, I32x4};
use core::arch::asm;

#[inline]
#[target_feature(enable = "dotprod")]
pub fn dot_i32x4_i8x16_i8x16(acc: I32x4, a: I8x16, b: I8x16) -> I32x4 {
    let mut sum = acc;
    // SAFETY: reads and writes these registers alone.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Four bytes of `b` for all lanes.
#[inline]
#[target_feature(enable = "dotprod")]
pub fn dot_group_i32x4_i8x16_i8x16<const N: i32>(acc: I32x4, a: I8x16, b: I8x16) -> I32x4 {
    let mut sum = acc;
    // SAFETY: reads and writes these registers alone.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{n}]",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            n = const N,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
