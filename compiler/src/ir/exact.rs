//! Real numbers as the imported dialect needs them: rationals, and rationals with one square root (batch normalisation).
//!
//! Every decision is exact. A floating-point estimate with an error bound answers most questions; rational arithmetic
//! answers the rest.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// A rational number.
pub type Q = BigRational;

/// The number that a finite `f32` is.
pub fn rational(x: f32) -> Q {
    Q::from_float(x).expect("constants are finite: the importer checks them")
}

/// An integer as a rational.
pub fn integer(x: i64) -> Q {
    Q::from_integer(BigInt::from(x))
}

/// `u * sqrt(r) + c`, with `r` positive, and 1 wherever the root is rational.
#[derive(Clone, Debug, PartialEq)]
pub struct Surd {
    u: Q,
    r: Q,
    c: Q,
}

/// A second square root that does not merge with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoRoots;

/// Constants of a batch normalisation of one channel: `(x - mean) * gain / sqrt(variance) + bias`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// gamma.
    pub gain: Q,
    /// beta.
    pub bias: Q,
    /// Mean.
    pub mean: Q,
    /// Variance with epsilon added; positive.
    pub variance: Q,
}

impl Norm {
    /// From the constants of a file.
    pub fn new(gain: f32, bias: f32, mean: f32, variance: f32, epsilon: f32) -> Self {
        Norm {
            gain: rational(gain),
            bias: rational(bias),
            mean: rational(mean),
            variance: rational(variance) + rational(epsilon),
        }
    }
}

impl From<Q> for Surd {
    fn from(c: Q) -> Self {
        Surd {
            u: Q::zero(),
            r: Q::one(),
            c,
        }
    }
}

impl Surd {
    /// Becomes `self * mul + add`.
    pub fn affine(&mut self, mul: &Q, add: &Q) {
        self.u = &self.u * mul;
        self.c = &self.c * mul + add;
    }

    /// Becomes its batch normalisation. Returns the factor that the coefficient of the root was multiplied with.
    pub fn batch_norm(&mut self, n: &Norm) -> Result<Q, TwoRoots> {
        let distance = &self.c - &n.mean;
        if self.r.is_one() {
            self.u += distance;
        } else if !distance.is_zero() {
            return Err(TwoRoots);
        }
        let mut factor = n.gain.clone();
        self.r = &self.r / &n.variance;
        if let Some(root) = rational_root(&self.r) {
            factor *= root;
            self.r = Q::one();
        }
        self.u *= &factor;
        self.c = n.bias.clone();
        Ok(factor)
    }

    /// Compares with a rational number.
    pub fn cmp(&self, t: &Q) -> Ordering {
        let w = t - &self.c;
        match (sign(&self.u), sign(&w)) {
            (Ordering::Greater, Ordering::Greater) => (&self.u * &self.u * &self.r).cmp(&(&w * &w)),
            (Ordering::Less, Ordering::Less) => (&w * &w).cmp(&(&self.u * &self.u * &self.r)),
            (u, w) => u.cmp(&w),
        }
    }

    /// An estimate and a bound of its error.
    pub fn estimate(&self) -> (f64, f64) {
        let root = estimate(&self.u) * estimate(&self.r).sqrt();
        let c = estimate(&self.c);
        (root + c, (root.abs() + c.abs()) * EPSILON + TINY)
    }

    /// Rounds to the nearest `f32`, ties to even; infinite beyond the range.
    pub fn to_f32(&self) -> f32 {
        let (value, error) = self.estimate();
        let (low, high) = ((value - error) as f32, (value + error) as f32);
        if low == high {
            return if low == 0.0 { 0.0 } else { low };
        }
        // The nearest `f32` changes inside the error bound: walk to the midpoint that decides.
        let mut x = low;
        while x < high && x.is_finite() {
            let next = x.next_up();
            let middle = Q::from_float((f64::from(x) + f64::from(next)) / 2.0);
            let Some(middle) = middle else { break };
            match self.cmp(&middle) {
                Ordering::Less => break,
                Ordering::Equal if x.to_bits() % 2 == 0 => break,
                Ordering::Equal | Ordering::Greater => x = next,
            }
        }
        if x == 0.0 { 0.0 } else { x }
    }

    /// The integer nearest to `self / step`, ties to even, clamped.
    pub fn quantize(&self, step: &Q, lo: i64, hi: i64) -> i64 {
        // Least k in lo..=hi such that k + 1/2 is not passed.
        let (mut low, mut high) = (lo, hi);
        while low < high {
            let k = low + (high - low) / 2;
            if self.rounds_to_at_least(k + 1, step) {
                low = k + 1
            } else {
                high = k
            }
        }
        low
    }

    /// Whether the integer nearest to `self / step`, ties to even, is at least `k`.
    pub fn rounds_to_at_least(&self, k: i64, step: &Q) -> bool {
        let (t, strict) = rounding_edge(k, step);
        match self.cmp(&t) {
            Ordering::Less => false,
            Ordering::Equal => !strict,
            Ordering::Greater => true,
        }
    }

    /// The number, if it is rational.
    pub fn rational(&self) -> Option<Q> {
        (self.r.is_one() || self.u.is_zero()).then(|| &self.u * &self.r + &self.c)
    }
}

/// What a number must reach (or, if the flag is set, pass) to be rounded to `k` or more, in units of `step`: the tie between
/// `k - 1` and `k` goes to the even one.
pub fn rounding_edge(k: i64, step: &Q) -> (Q, bool) {
    let twice = integer(2 * k - 1) * step;
    (twice / integer(2), k % 2 != 0)
}

/// `x -> (slope * x + u) * sqrt(r) + c`.
#[derive(Clone, Debug)]
pub struct Line {
    slope: Q,
    at_zero: Surd,
}

impl Line {
    /// `x -> slope * x + offset`.
    pub fn new(slope: Q, offset: Q) -> Self {
        Line {
            slope,
            at_zero: Surd {
                u: offset,
                r: Q::one(),
                c: Q::zero(),
            },
        }
    }

    /// Puts `y -> y * mul + add` behind it.
    pub fn affine(&mut self, mul: &Q, add: &Q) {
        self.slope = &self.slope * mul;
        self.at_zero.affine(mul, add);
    }

    /// Puts a batch normalisation behind it.
    pub fn batch_norm(&mut self, n: &Norm) -> Result<(), TwoRoots> {
        let factor = self.at_zero.batch_norm(n)?;
        self.slope *= factor;
        Ok(())
    }

    /// Puts `x -> -x` before it.
    pub fn mirror(&mut self) {
        self.slope = -&self.slope;
    }

    /// Whether it falls, is constant or rises.
    pub fn direction(&self) -> Ordering {
        sign(&self.slope)
    }

    /// Its value.
    pub fn at(&self, x: i64) -> Surd {
        let mut value = self.at_zero.clone();
        value.u += &self.slope * integer(x);
        value
    }

    /// Its value at 0.
    pub fn offset(&self) -> &Surd {
        &self.at_zero
    }

    /// Its rise from x to x + 1.
    pub fn rise(&self) -> Surd {
        Surd {
            u: self.slope.clone(),
            r: self.at_zero.r.clone(),
            c: Q::zero(),
        }
    }

    /// Least integer in `first..=last` whose value reaches `t` (or passes it, if `strict`); `last + 1` if there is none.
    /// The line must rise.
    pub fn reaches(&self, t: &Q, strict: bool, first: i64, last: i64) -> i64 {
        let root = estimate(&self.at_zero.r).sqrt();
        let (rise, u, c) = (
            estimate(&self.slope) * root,
            estimate(&self.at_zero.u) * root,
            estimate(&self.at_zero.c),
        );
        let edge = estimate(t);
        let x = (edge - c - u) / rise;
        let error = (edge.abs() + c.abs() + u.abs() + TINY) * EPSILON / rise + x.abs() * EPSILON;
        let clamp = |x: f64| {
            if x.is_nan() {
                None
            } else {
                Some((x as i64).clamp(first, last + 1))
            }
        };
        // The casts saturate; a bound that is not a number leaves the whole range to the exact search.
        let mut low = clamp((x - error).floor()).unwrap_or(first);
        let mut high = clamp((x + error).ceil()).unwrap_or(last + 1);
        if (x - error).floor() == (x + error).floor()
            && x + error < (x - error).floor() + 1.0
            && x - error > (x - error).floor()
        {
            return high;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let reached = match self.at(middle).cmp(t) {
                Ordering::Less => false,
                Ordering::Equal => !strict,
                Ordering::Greater => true,
            };
            if reached { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// A dozen roundings of `f64`, with room.
const EPSILON: f64 = 32.0 * f64::EPSILON;
/// Below this an estimate may have lost digits.
const TINY: f64 = 1e-280;

fn estimate(q: &Q) -> f64 {
    q.to_f64().unwrap_or(f64::NAN)
}

fn sign(q: &Q) -> Ordering {
    if q.is_zero() {
        Ordering::Equal
    } else if q.is_negative() {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// The square root, if it is rational.
fn rational_root(q: &Q) -> Option<Q> {
    let root = |n: &BigInt| {
        let s = n.sqrt();
        (&s * &s == *n).then_some(s)
    };
    Some(Q::new(root(q.numer())?, root(q.denom())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(n: i64, d: i64) -> Q {
        Q::new(n.into(), d.into())
    }

    fn line(slope: Q, offset: Q, variance: Q, bias: Q) -> Line {
        let mut l = Line::new(slope, offset);
        let norm = Norm {
            gain: q(1, 1),
            bias,
            mean: q(0, 1),
            variance,
        };
        l.batch_norm(&norm).unwrap();
        l
    }

    #[test]
    fn compares_across_the_root() {
        // 3 / sqrt(2) = 2.1213...
        let x = line(q(3, 1), q(0, 1), q(2, 1), q(0, 1)).at(1);
        assert_eq!(x.cmp(&q(21213, 10000)), Ordering::Greater);
        assert_eq!(x.cmp(&q(21214, 10000)), Ordering::Less);
        assert_eq!(x.cmp(&q(-3, 1)), Ordering::Greater);
    }

    #[test]
    fn merges_a_perfect_square() {
        let x = line(q(1, 1), q(1, 1), q(9, 4), q(1, 3)).at(2);
        assert_eq!(x.rational(), Some(q(2, 1) + q(1, 3)));
    }

    #[test]
    fn refuses_a_second_root() {
        let norm = Norm {
            gain: q(1, 1),
            bias: q(1, 1),
            mean: q(0, 1),
            variance: q(3, 1),
        };
        let mut l = Line::new(q(1, 1), q(0, 1));
        l.batch_norm(&norm).unwrap();
        assert_eq!(l.clone().batch_norm(&norm), Err(TwoRoots));
        // Without the addend between them, sqrt(3) * sqrt(3) merges.
        l.affine(&q(1, 1), &q(-1, 1));
        l.batch_norm(&norm).unwrap();
        assert_eq!(l.at(6).rational(), Some(q(3, 1)));
    }

    #[test]
    fn ties_go_to_the_even_integer() {
        let step = q(1, 1);
        for (x, k) in [
            (q(1, 2), 0),
            (q(3, 2), 2),
            (q(-1, 2), 0),
            (q(-3, 2), -2),
            (q(5, 2), 2),
            (q(7, 2), 4),
        ] {
            assert_eq!(Surd::from(x).quantize(&step, -8, 8), k);
        }
        assert_eq!(Surd::from(q(100, 1)).quantize(&step, -8, 8), 8);
    }

    #[test]
    fn reaches_agrees_with_every_value() {
        for (slope, offset, v) in [
            (q(1, 3), q(-1, 1), q(2, 1)),
            (q(1, 1000), q(5, 7), q(1, 1)),
            (q(2, 1), q(0, 1), q(1, 4)),
        ] {
            let l = line(slope, offset, v, q(1, 3));
            for t in [q(1, 3), q(0, 1), q(-7, 2), q(13, 3)] {
                for strict in [false, true] {
                    let found = l.reaches(&t, strict, -50, 50);
                    let brute = (-50..=50)
                        .find(|&x| match l.at(x).cmp(&t) {
                            Ordering::Less => false,
                            Ordering::Equal => !strict,
                            Ordering::Greater => true,
                        })
                        .unwrap_or(51);
                    assert_eq!(found, brute);
                }
            }
        }
    }

    #[test]
    fn rounds_to_the_nearest_f32() {
        let exact = |x: f32| Surd::from(rational(x)).to_f32();
        for x in [0.0, 1.0, -1.5, 0.1, f32::MIN_POSITIVE, f32::MAX, -3.0e-45] {
            assert_eq!(exact(x).to_bits(), x.to_bits());
        }
        // Halfway between two neighbours: the even mantissa.
        let one = 1.0f32;
        let half = (rational(one) + rational(one.next_up())) / integer(2);
        assert_eq!(Surd::from(half.clone()).to_f32(), 1.0);
        let half = (rational(one.next_up()) + rational(one.next_up().next_up())) / integer(2);
        assert_eq!(Surd::from(half).to_f32(), one.next_up().next_up());
        let root_two = line(q(2, 1), q(0, 1), q(2, 1), q(0, 1)).at(1);
        assert_eq!(root_two.to_f32(), 2f64.sqrt() as f32);
    }
}
