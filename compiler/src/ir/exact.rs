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
    pub fn compare(&self, t: &Q) -> Ordering {
        let w = t - &self.c;
        match (sign(&self.u), sign(&w)) {
            (Ordering::Greater, Ordering::Greater) => (&self.u * &self.u * &self.r).cmp(&(&w * &w)),
            (Ordering::Less, Ordering::Less) => (&w * &w).cmp(&(&self.u * &self.u * &self.r)),
            (u, w) => u.cmp(&w),
        }
    }

    /// The sum, if it has one square root.
    pub fn plus(&self, other: &Surd) -> Option<Surd> {
        let (u, r) = if other.u.is_zero() || self.r == other.r {
            (&self.u + &other.u, &self.r)
        } else if self.u.is_zero() {
            (other.u.clone(), &other.r)
        } else {
            return None;
        };
        Some(Surd {
            u,
            r: r.clone(),
            c: &self.c + &other.c,
        })
    }

    /// Compares the sum of two numbers with a rational one.
    pub fn compare_sum(&self, other: &Surd, t: &Q) -> Ordering {
        if let Some(sum) = self.plus(other) {
            return sum.compare(t);
        }
        // u sqrt(r) - t' against -v sqrt(s): by their signs, else by their squares, of which one is rational.
        let t = t - &self.c - &other.c;
        let left = Surd {
            u: self.u.clone(),
            r: self.r.clone(),
            c: -&t,
        };
        let right = -&other.u;
        let signs = (left.compare(&Q::zero()), sign(&right));
        if signs.0 != signs.1 {
            return signs.0.cmp(&signs.1);
        }
        let squared = Surd {
            u: integer(-2) * &self.u * &t,
            r: self.r.clone(),
            c: &self.u * &self.u * &self.r + &t * &t,
        };
        let order = squared.compare(&(&other.u * &other.u * &other.r));
        if signs.0 == Ordering::Less {
            order.reverse()
        } else {
            order
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
            match self.compare(&middle) {
                Ordering::Less => break,
                Ordering::Equal if x.to_bits() % 2 == 0 => break,
                Ordering::Equal | Ordering::Greater => x = next,
            }
        }
        if x == 0.0 { 0.0 } else { x }
    }

    /// The integer nearest to `self / step`, ties to even, clamped.
    pub fn quantize(&self, step: &Quantum, lo: i64, hi: i64) -> i64 {
        let (mut low, mut high) = (lo, hi);
        let (near, error) = self.estimate();
        let (least, greatest) = ((near - error) / step.near, (near + error) / step.near);
        if least.is_finite() && greatest.is_finite() {
            // One more on each side makes up for the division's own rounding.
            low = (least.floor() as i64).saturating_sub(1).clamp(lo, hi);
            high = (greatest.ceil() as i64).saturating_add(1).clamp(lo, hi);
        }
        while low < high {
            let k = low + (high - low) / 2 + 1;
            if step.rounding_edge(k).reached_by(self) {
                low = k
            } else {
                high = k - 1
            }
        }
        low
    }

    /// The number, if it is rational.
    pub fn rational(&self) -> Option<Q> {
        (self.r.is_one() || self.u.is_zero()).then(|| &self.u * &self.r + &self.c)
    }
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

    /// Floating-point estimates, for [`reaches`](Self::reaches).
    pub fn estimate(&self) -> LineEstimate {
        let root = estimate(&self.at_zero.r).sqrt();
        LineEstimate {
            rise: estimate(&self.slope) * root,
            u: estimate(&self.at_zero.u) * root,
            c: estimate(&self.at_zero.c),
        }
    }

    /// Least integer in `first..=last` whose value reaches the edge (or passes it, if it is strict); `last + 1` if there is
    /// none. The line must rise, and `near` be its estimate.
    pub fn reaches(&self, near: &LineEstimate, edge: &Edge, first: i64, last: i64) -> i64 {
        let LineEstimate { rise, u, c } = *near;
        let x = (edge.near - c - u) / rise;
        let error = (edge.near.abs() + c.abs() + u.abs() + TINY) * EPSILON / rise + x.abs() * EPSILON;
        let (least, greatest) = ((x - error).floor(), (x + error).floor());
        // The casts saturate. Estimates that are not numbers leave the whole range to the exact search.
        let known = least.is_finite() && greatest.is_finite();
        let (mut low, mut high) = (first, last + 1);
        if known {
            low = (least as i64).clamp(first, last + 1);
            high = (greatest as i64).saturating_add(1).clamp(first, last + 1);
            if least == greatest && x - error > least {
                return high;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if edge.reached_by(&self.at(middle)) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        low
    }
}

/// `(x, y) -> a(x) + b(y)`.
#[derive(Clone, Debug)]
pub struct Plane<'a> {
    a: &'a Line,
    b: &'a Line,
    near: [LineEstimate; 2],
}

impl<'a> Plane<'a> {
    /// The sum of two lines, of which the first does not fall.
    pub fn new(a: &'a Line, b: &'a Line) -> Self {
        let near = [a.estimate(), b.estimate()];
        Plane { a, b, near }
    }

    /// Estimates: rise along `x`, rise along `y`, value at the origin.
    pub fn estimates(&self) -> [f64; 3] {
        let [a, b] = self.near;
        [a.rise, b.rise, a.u + a.c + b.u + b.c]
    }

    /// For this `y` the least `x` in `first..=last` whose value reaches the edge; `last + 1` if there is none.
    pub fn reaches(&self, edge: &Edge, y: i64, (first, last): (i64, i64)) -> i64 {
        let [a, b] = self.near;
        let along = b.rise * y as f64;
        let (mut low, mut high) = (first, last + 1);
        if a.rise > 0.0 {
            let x = (edge.near - a.c - a.u - b.c - b.u - along) / a.rise;
            let parts = [edge.near, a.c, a.u, b.c, b.u, along, TINY];
            let error = parts.iter().map(|p| p.abs()).sum::<f64>() * EPSILON / a.rise + x.abs() * EPSILON;
            let (least, greatest) = ((x - error).floor(), (x + error).floor());
            // As for a line: the casts saturate, and what is no number leaves the range to the exact search.
            if least.is_finite() && greatest.is_finite() {
                low = (least as i64).clamp(first, last + 1);
                high = (greatest as i64).saturating_add(1).clamp(first, last + 1);
                if least == greatest && x - error > least {
                    return high;
                }
            }
        }
        let other = self.b.at(y);
        while low < high {
            let middle = low + (high - low) / 2;
            if edge.reached_by_sum(&self.a.at(middle), &other) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        low
    }
}

/// Estimates of a [`Line`]: `x -> rise * x + u + c`.
#[derive(Clone, Copy, Debug)]
pub struct LineEstimate {
    rise: f64,
    u: f64,
    c: f64,
}

/// A number that a value must reach, or pass: `twice / 2 * step`.
#[derive(Clone, Debug)]
pub struct Edge<'a> {
    twice: i64,
    step: &'a Quantum,
    strict: bool,
    near: f64,
}

/// The step of a quantizer, with its estimate.
#[derive(Clone, Debug)]
pub struct Quantum {
    exact: Q,
    near: f64,
}

impl From<f32> for Quantum {
    fn from(step: f32) -> Self {
        Quantum {
            exact: rational(step),
            near: f64::from(step),
        }
    }
}

impl Quantum {
    /// The number itself.
    pub fn exact(&self) -> &Q {
        &self.exact
    }

    /// Its estimate.
    pub fn near(&self) -> f64 {
        self.near
    }

    /// What a number must reach to be rounded to `k` or more, in units of the step: the tie between `k - 1` and `k` goes to the
    /// even one.
    pub fn rounding_edge(&self, k: i64) -> Edge<'_> {
        self.edge(2 * k - 1, k % 2 != 0)
    }

    /// 0, which reaching suffices for.
    pub fn zero(&self) -> Edge<'_> {
        self.edge(0, false)
    }

    fn edge(&self, twice: i64, strict: bool) -> Edge<'_> {
        Edge {
            twice,
            step: self,
            strict,
            near: twice as f64 / 2.0 * self.near,
        }
    }
}

impl Edge<'_> {
    /// Whether a value reaches it.
    pub fn reached_by(&self, value: &Surd) -> bool {
        self.passed(value.compare(&self.exact()))
    }

    /// Whether the sum of two values reaches it.
    pub fn reached_by_sum(&self, a: &Surd, b: &Surd) -> bool {
        self.passed(a.compare_sum(b, &self.exact()))
    }

    fn exact(&self) -> Q {
        integer(self.twice) * &self.step.exact / integer(2)
    }

    fn passed(&self, order: Ordering) -> bool {
        match order {
            Ordering::Less => false,
            Ordering::Equal => !self.strict,
            Ordering::Greater => true,
        }
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
        assert_eq!(x.compare(&q(21213, 10000)), Ordering::Greater);
        assert_eq!(x.compare(&q(21214, 10000)), Ordering::Less);
        assert_eq!(x.compare(&q(-3, 1)), Ordering::Greater);
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
    fn sums_of_two_roots_compare_exactly() {
        // 1.5 sqrt(2) x + 2 sqrt(3) y + 1/3, held against floats far from every edge, and against itself at one.
        let a = line(q(3, 2), q(0, 1), q(1, 2), q(1, 3));
        let b = line(q(2, 1), q(0, 1), q(1, 3), q(0, 1));
        for (x, y) in [(-3, 2), (3, -2), (2, 2), (-2, -2), (0, 5), (5, 0), (-4, 3)] {
            let float = 1.5 * 2f64.sqrt() * x as f64 + 2.0 * 3f64.sqrt() * y as f64 + 1.0 / 3.0;
            for t in [q(-7, 2), q(0, 1), q(1, 3), q(5, 1)] {
                let expected = float.total_cmp(&estimate(&t));
                let close = (float - estimate(&t)).abs() < 1e-9;
                let found = a.at(x).compare_sum(&b.at(y), &t);
                assert_eq!(found, if close { Ordering::Equal } else { expected }, "{x} {y} {t}");
            }
        }
        assert_eq!(a.at(0).compare_sum(&b.at(0), &q(1, 3)), Ordering::Equal);
    }

    #[test]
    fn a_plane_reaches_where_its_values_do() {
        let a = line(q(1, 3), q(-1, 1), q(2, 1), q(1, 3));
        let step = Quantum::from(0.75);
        for b in [line(q(1, 7), q(0, 1), q(5, 1), q(0, 1)), Line::new(q(-1, 4), q(1, 2))] {
            let plane = Plane::new(&a, &b);
            for (k, y) in [(-3, 4), (0, 0), (1, -9), (2, 9), (40, 3)] {
                let edge = step.rounding_edge(k);
                let brute = (-50..=50).find(|&x| edge.reached_by_sum(&a.at(x), &b.at(y)));
                assert_eq!(plane.reaches(&edge, y, (-50, 50)), brute.unwrap_or(51));
            }
        }
    }

    #[test]
    fn ties_go_to_the_even_integer() {
        let step = Quantum::from(1.0);
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
            let step = Quantum::from(0.75);
            for k in [-3, 0, 1, 2, 40] {
                let edge = step.rounding_edge(k);
                let found = l.reaches(&l.estimate(), &edge, -50, 50);
                let brute = (-50..=50)
                    .find(|&x| l.at(x).quantize(&step, -1000, 1000) >= k)
                    .unwrap_or(51);
                assert_eq!(found, brute);
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
