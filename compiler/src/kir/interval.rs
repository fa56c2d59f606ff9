//! Sets of integers between two bounds, and what the operations make of them.
//!
//! Bounds are `i128`, so that no sum or product of `i64` bounds leaves them unseen.

use super::{BinOp, Ty, UnOp};

/// All integers from `lo` to `hi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Least.
    pub lo: i128,
    /// Greatest.
    pub hi: i128,
}

/// All integers from `lo` to `hi`.
pub fn between(lo: impl Into<i128>, hi: impl Into<i128>) -> Interval {
    Interval {
        lo: lo.into(),
        hi: hi.into(),
    }
}

/// One integer.
pub fn exactly(v: impl Into<i128>) -> Interval {
    let v = v.into();
    between(v, v)
}

/// Everything a type holds.
pub fn all(ty: Ty) -> Interval {
    let (lo, hi) = ty.range();
    between(lo, hi)
}

impl Interval {
    /// Whether every element of `other` is in it.
    pub fn contains(self, other: Interval) -> bool {
        self.lo <= other.lo && other.hi <= self.hi
    }

    /// The least interval that contains both.
    pub fn union(self, other: Interval) -> Interval {
        between(self.lo.min(other.lo), self.hi.max(other.hi))
    }

    /// Sum of `n` of its elements.
    pub fn times(self, n: u32) -> Interval {
        between(self.lo.saturating_mul(n.into()), self.hi.saturating_mul(n.into()))
    }

    /// The elements' opposites.
    pub fn negated(self) -> Interval {
        between(-self.hi, -self.lo)
    }

    /// Sums.
    pub fn plus(self, other: Interval) -> Interval {
        between(self.lo.saturating_add(other.lo), self.hi.saturating_add(other.hi))
    }

    /// Least and greatest of `f` at the corners; the image where `f` is monotonic in each operand.
    fn corners(self, other: Interval, f: impl Fn(i128, i128) -> i128) -> Interval {
        let at = |x| exactly(f(x, other.lo)).union(exactly(f(x, other.hi)));
        at(self.lo).union(at(self.hi))
    }
}

/// Result of an operation on one operand, before it is held against the type.
pub fn unary(op: UnOp, ty: Ty, a: Interval) -> Interval {
    let ty = ty.scalar();
    match (op, ty) {
        (UnOp::Not, Ty::Bool) => between(1 - a.hi, 1 - a.lo),
        (UnOp::Not, ty) if ty.wraps() => between(all(ty).hi - a.hi, all(ty).hi - a.lo),
        (UnOp::Not, _) => between(!a.hi, !a.lo),
        (UnOp::Neg, Ty::F32) => all(ty),
        (UnOp::Neg, _) => a.negated(),
        // A number has no more ones than digits.
        (UnOp::Popcnt, _) => between(0, 128 - a.hi.max(0).leading_zeros().min(128)),
    }
}

/// Result of an operation on two operands of type `ty`, before it is held against the type. Shifts are by `0..width`.
pub fn binary(op: BinOp, ty: Ty, a: Interval, b: Interval) -> Interval {
    match op {
        BinOp::Lt | BinOp::Ge | BinOp::Eq => between(0, 1),
        _ if ty == Ty::F32 => all(ty),
        BinOp::Add => a.plus(b),
        BinOp::Sub => a.plus(b.negated()),
        BinOp::Mul => a.corners(b, i128::saturating_mul),
        BinOp::And => match (a.lo >= 0, b.lo >= 0) {
            (true, true) => between(0, a.hi.min(b.hi)),
            (true, false) => between(0, a.hi),
            (false, true) => between(0, b.hi),
            (false, false) => same_digits(a, b),
        },
        BinOp::Or | BinOp::Xor if a.lo >= 0 && b.lo >= 0 => {
            let least = if op == BinOp::Or { a.lo.max(b.lo) } else { 0 };
            between(least, ones(a.hi.max(b.hi)))
        }
        BinOp::Or | BinOp::Xor => same_digits(a, b),
        BinOp::Shl => a.corners(b, |x, s| x << s),
        BinOp::Shr => a.corners(b, |x, s| x >> s),
        BinOp::Min => between(a.lo.min(b.lo), a.hi.min(b.hi)),
        BinOp::Max => between(a.lo.max(b.lo), a.hi.max(b.hi)),
    }
}

/// Numbers of as many binary digits as the operands have, in two's complement: bitwise operations make no digits.
fn same_digits(a: Interval, b: Interval) -> Interval {
    let most = ones(a.hi.max(!a.lo).max(b.hi).max(!b.lo));
    between(!most, most)
}

/// The least number of ones in a row that is at least `v`.
fn ones(v: i128) -> i128 {
    (1i128 << (128 - v.leading_zeros())) - 1
}

#[cfg(test)]
mod tests {
    use super::super::scalar;
    use super::*;

    /// Every result of every pair is in the result of the intervals.
    #[test]
    fn results_contain_every_result() {
        use BinOp::{Add, And, Eq, Ge, Lt, Max, Min, Mul, Or, Shl, Shr, Sub, Xor};
        let cases = [(-5, 3), (0, 7), (2, 6), (-8, -2), (5, 5), (0, 0)];
        let mut seen = 0;
        for op in [Add, Sub, Mul, And, Or, Xor, Shl, Shr, Min, Max, Lt, Ge, Eq] {
            for ((al, ah), (bl, bh)) in cases.iter().flat_map(|a| cases.iter().map(move |b| (*a, *b))) {
                let shift = matches!(op, Shl | Shr);
                if shift && bl < 0 {
                    continue;
                }
                let whole = binary(op, Ty::I32, between(al, ah), between(bl, bh));
                for (x, y) in (al..=ah).flat_map(|x| (bl..=bh).map(move |y| (x, y))) {
                    let v = scalar::binary(op, Ty::I32, i64::from(x), i64::from(y)).unwrap();
                    assert!(whole.contains(exactly(v)), "{op:?} {x} {y}: {v} not in {whole:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 5000);
    }

    #[test]
    fn one_operand() {
        assert_eq!(unary(UnOp::Popcnt, Ty::U32, between(0, 255)), between(0, 8));
        assert_eq!(unary(UnOp::Popcnt, Ty::U32, all(Ty::U32)), between(0, 32));
        assert_eq!(unary(UnOp::Not, Ty::U8, between(1, 4)), between(251, 254));
        assert_eq!(unary(UnOp::Not, Ty::I32, between(1, 4)), between(-5, -2));
        assert_eq!(unary(UnOp::Neg, Ty::I8, between(-128, 4)), between(-4, 128));
    }
}
