//! What the operations mean on one element; the interpreter and constant folding both ask here.
//!
//! Every value is an `i64`: integers as themselves, in their type's range; truth values as 0 and 1; an `f32` as its bits.

use super::{BinOp, Lit, Ty, UnOp};

/// The value of a constant.
pub fn of(l: Lit) -> i64 {
    match l {
        Lit::Int(v, _) => v,
        Lit::F32(v) => bits(v),
    }
}

/// The constant of a value; none for an `f32` that is not finite.
pub fn lit(v: i64, ty: Ty) -> Option<Lit> {
    match ty {
        Ty::F32 => Some(Lit::F32(float(v))).filter(|_| float(v).is_finite()),
        _ => Some(Lit::Int(v, ty)),
    }
}

/// The `f32` of a value.
pub fn float(v: i64) -> f32 {
    f32::from_bits(v as u32)
}

/// The value of an `f32`.
pub fn bits(v: f32) -> i64 {
    i64::from(v.to_bits())
}

/// `v` in a type: unsigned numbers wrap, the others are none out of their range.
fn fit(v: i128, ty: Ty) -> Option<i64> {
    match ty {
        Ty::U8 => Some(i64::from(v as u8)),
        Ty::U16 => Some(i64::from(v as u16)),
        Ty::U32 => Some(i64::from(v as u32)),
        _ => i64::try_from(v)
            .ok()
            .filter(|v| (ty.range().0..=ty.range().1).contains(v)),
    }
}

/// An operation on one operand of type `ty`; none where a signed number would overflow.
pub fn unary(op: UnOp, ty: Ty, a: i64) -> Option<i64> {
    match (op, ty) {
        (UnOp::Not, Ty::Bool) => Some(a ^ 1),
        (UnOp::Not, _) => fit(!i128::from(a), ty),
        (UnOp::Neg, Ty::F32) => Some(bits(-float(a))),
        (UnOp::Neg, _) => fit(-i128::from(a), ty),
        (UnOp::Popcnt, _) => Some(i64::from(a.count_ones())),
    }
}

/// An operation on two operands of type `ty`; none where a signed number or an index would overflow, or a shift is too far.
#[inline]
pub fn binary(op: BinOp, ty: Ty, a: i64, b: i64) -> Option<i64> {
    if ty == Ty::F32 {
        return Some(float_binary(op, float(a), float(b)));
    }
    let (x, y) = (i128::from(a), i128::from(b));
    match op {
        BinOp::Add => fit(x + y, ty),
        BinOp::Sub => fit(x - y, ty),
        BinOp::Mul => fit(x * y, ty),
        BinOp::And => Some(a & b),
        BinOp::Or => Some(a | b),
        BinOp::Xor => Some(a ^ b),
        BinOp::Shl | BinOp::Shr if !(0..i64::from(ty.width())).contains(&b) => None,
        BinOp::Shl => fit(x << b, ty),
        BinOp::Shr => Some(a >> b),
        BinOp::Min => Some(a.min(b)),
        BinOp::Max => Some(a.max(b)),
        BinOp::Lt => Some(i64::from(a < b)),
        BinOp::Ge => Some(i64::from(a >= b)),
        BinOp::Eq => Some(i64::from(a == b)),
    }
}

/// An operation on two `f32`; a truth value where the operation compares.
fn float_binary(op: BinOp, a: f32, b: f32) -> i64 {
    match op {
        BinOp::Add => bits(a + b),
        BinOp::Sub => bits(a - b),
        BinOp::Mul => bits(a * b),
        BinOp::Min => bits(if a < b { a } else { b }),
        BinOp::Max => bits(if a > b { a } else { b }),
        BinOp::Lt => i64::from(a < b),
        BinOp::Ge => i64::from(a >= b),
        BinOp::Eq => i64::from(a == b),
        BinOp::And | BinOp::Or | BinOp::Xor | BinOp::Shl | BinOp::Shr => unreachable!("bits of an `f32`"),
    }
}

/// Conversion; none where a number is no index.
pub fn cast(from: Ty, to: Ty, a: i64) -> Option<i64> {
    match to {
        Ty::F32 if from != Ty::F32 => Some(bits(a as f32)),
        Ty::I8 => Some(i64::from(a as i8)),
        Ty::I16 => Some(i64::from(a as i16)),
        Ty::I32 => Some(i64::from(a as i32)),
        _ => fit(i128::from(a), to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_wraps_and_signed_does_not() {
        assert_eq!(binary(BinOp::Add, Ty::U8, 250, 10), Some(4));
        assert_eq!(binary(BinOp::Sub, Ty::U32, 0, 1), Some(0xffff_ffff));
        assert_eq!(binary(BinOp::Mul, Ty::I32, 1 << 16, 1 << 15), None);
        assert_eq!(binary(BinOp::Sub, Ty::Idx, 0, 1), None);
        assert_eq!(unary(UnOp::Neg, Ty::I8, -128), None);
    }

    #[test]
    fn shifts_keep_to_the_width() {
        assert_eq!(binary(BinOp::Shl, Ty::U32, 3, 31), Some(1 << 31));
        assert_eq!(binary(BinOp::Shl, Ty::U32, 1, 32), None);
        assert_eq!(binary(BinOp::Shr, Ty::I32, -3, 1), Some(-2));
        assert_eq!(binary(BinOp::Shr, Ty::I8, 1, 8), None);
    }

    #[test]
    fn conversions_are_rusts() {
        assert_eq!(cast(Ty::I32, Ty::U32, -1), Some(0xffff_ffff));
        assert_eq!(cast(Ty::U32, Ty::I8, 0x1ff), Some(-1));
        assert_eq!(cast(Ty::I32, Ty::F32, 16_777_217), Some(bits(16_777_216.0)));
        assert_eq!(cast(Ty::I32, Ty::Idx, -1), None);
        assert_eq!(cast(Ty::F32, Ty::F32, bits(0.5)), Some(bits(0.5)));
    }

    #[test]
    fn float_maximum_is_the_conditional() {
        let max = |a: f32, b: f32| float(binary(BinOp::Max, Ty::F32, bits(a), bits(b)).unwrap());
        assert_eq!(max(1.0, 2.0), 2.0);
        assert_eq!(max(f32::NAN, 2.0), 2.0);
        assert!(max(0.0, -0.0).is_sign_negative(), "equal operands yield the second");
    }
}
