//! The imported dialect: exact real numbers.
//!
//! A value is a rational with at most one square root ([`Surd`]). Where that does not suffice - a convolution that reads
//! roots, a second root - the value goes on as an `f64`: such parts of a network are float parts, and their fused form is not
//! exact either.

use super::fused::pool;
use super::{Tensor, Value};
use crate::ir::exact::{Norm, Q, Quantum, Surd, integer, rational};
use crate::ir::verify::conv_extent;
use crate::ir::{Elem, Geometry, Op, Ty, WeightData, Weights};
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{ToPrimitive, Zero};
use std::cmp::Ordering;

/// Real numbers in logical row-major order.
#[derive(Clone)]
pub(super) struct Reals(Vec<Number>);

#[derive(Clone, Debug)]
enum Number {
    Exact(Surd),
    Near(f64),
}

impl Reals {
    /// What an operation reads in a stored value.
    pub fn read(op: &Op, t: &Tensor) -> Reals {
        let number = |x: i64| Number::Exact(integer(x).into());
        let dequantized = |x: i64| match op {
            Op::Dequantize { scale, zero_point } => {
                Number::Exact((rational(*scale) * integer(x - i64::from(*zero_point))).into())
            }
            _ => number(x),
        };
        Reals(match t {
            Tensor::U8(v) => v.iter().map(|&x| dequantized(x.into())).collect(),
            Tensor::I8(v) => v.iter().map(|&x| dequantized(x.into())).collect(),
            Tensor::Sign(v) => v.iter().map(|&x| number(if x { 1 } else { -1 })).collect(),
            Tensor::I32(v) => v.iter().map(|&x| number(x.into())).collect(),
            Tensor::F32(v) => v
                .iter()
                .map(|&x| Q::from_float(x).map_or(Number::Near(x.into()), |q| Number::Exact(q.into())))
                .collect(),
        })
    }

    /// Sums, element by element: exact unless two square roots meet.
    pub fn plus(&self, other: &Reals) -> Reals {
        let sum = |(a, b): (&Number, &Number)| match (a, b) {
            (Number::Exact(x), Number::Exact(y)) => x
                .plus(y)
                .map_or_else(|| Number::Near(a.near() + b.near()), Number::Exact),
            _ => Number::Near(a.near() + b.near()),
        };
        Reals(self.0.iter().zip(&other.0).map(sum).collect())
    }

    /// Rounded to nearest, ties to even.
    pub fn to_f32(&self) -> Vec<f32> {
        let round = |n: &Number| match n {
            Number::Exact(s) => s.to_f32(),
            Number::Near(x) => *x as f32,
        };
        self.0.iter().map(round).collect()
    }
}

/// One operation of the imported dialect.
pub(super) fn step(op: &Op, from: &Ty, x: &Reals, to: &Ty) -> Value {
    let pixels = to.len() / to.chw()[0];
    let each = |f: &dyn Fn(usize, &Number) -> Number| {
        Value::Real(Reals(x.0.iter().enumerate().map(|(i, n)| f(i / pixels, n)).collect()))
    };
    match op {
        Op::Quantize { scale, zero_point } => {
            let (least, greatest) = if to.elem == Elem::U8 { (0, 255) } else { (-128, 127) };
            let zero = i64::from(*zero_point);
            let step = Quantum::from(*scale);
            let codes =
                x.0.iter()
                    .map(|n| n.quantize(&step, least - zero, greatest - zero) + zero);
            Value::Stored(match to.elem {
                Elem::U8 => Tensor::U8(codes.map(|c| c as u8).collect()),
                _ => Tensor::I8(codes.map(|c| c as i8).collect()),
            })
        }
        Op::Sign => Value::Stored(Tensor::Sign(
            x.0.iter().map(|n| n.against(&Q::zero()) != Ordering::Less).collect(),
        )),
        Op::Relu => each(&|_, n| match n.against(&Q::zero()) {
            Ordering::Less => Number::Exact(Q::zero().into()),
            _ => n.clone(),
        }),
        Op::Clip { lo, hi } => {
            let (lo, hi) = (rational(*lo), rational(*hi));
            each(&|_, n| {
                if n.against(&lo) == Ordering::Less {
                    Number::Exact(lo.clone().into())
                } else if n.against(&hi) == Ordering::Greater {
                    Number::Exact(hi.clone().into())
                } else {
                    n.clone()
                }
            })
        }
        Op::Affine { mul, div, add } => {
            let at = |v: &[f32], c: usize| rational(if v.len() == 1 { v[0] } else { v[c] });
            each(&|c, n| n.affine(&(at(mul, c) / at(div, c)), &at(add, c)))
        }
        Op::BatchNorm {
            scale,
            bias,
            mean,
            variance,
            epsilon,
        } => each(&|c, n| n.batch_norm(&Norm::new(scale[c], bias[c], mean[c], variance[c], *epsilon))),
        Op::MaxPool(w) => Value::Real(Reals(pool(&x.0, from.chw(), w, to.chw(), Number::max))),
        Op::AveragePool(w) => {
            let (weights, geom) = w.sums(from.chw()[0]);
            let share = integer(w.cells() as i64).recip();
            let Reals(sums) = conv(x, from.chw(), &weights, &geom, None);
            Value::Real(Reals(sums.iter().map(|n| n.affine(&share, &Q::zero())).collect()))
        }
        Op::Conv { weights, geom, bias } => Value::Real(conv(x, from.chw(), weights, geom, bias.as_deref())),
        Op::Dense { weights, bias } => Value::Real(conv(x, from.chw(), weights, &Geometry::UNIT, bias.as_deref())),
        // What was read in the stored value is the result already.
        _ => Value::Real(Reals(x.0.clone())),
    }
}

impl Number {
    fn near(&self) -> f64 {
        match self {
            Number::Exact(s) => s.estimate().0,
            Number::Near(x) => *x,
        }
    }

    fn against(&self, t: &Q) -> Ordering {
        match self {
            Number::Exact(s) => s.compare(t),
            Number::Near(x) => x.total_cmp(&float(t)),
        }
    }

    fn quantize(&self, step: &Quantum, lo: i64, hi: i64) -> i64 {
        match self {
            Number::Exact(s) => s.quantize(step, lo, hi),
            Number::Near(x) => ((x / float(step.exact())).round_ties_even() as i64).clamp(lo, hi),
        }
    }

    fn affine(&self, mul: &Q, add: &Q) -> Number {
        match self {
            Number::Exact(s) => {
                let mut s = s.clone();
                s.affine(mul, add);
                Number::Exact(s)
            }
            Number::Near(x) => Number::Near(x * float(mul) + float(add)),
        }
    }

    fn batch_norm(&self, n: &Norm) -> Number {
        if let Number::Exact(s) = self {
            let mut s = s.clone();
            if s.batch_norm(n).is_ok() {
                return Number::Exact(s);
            }
        }
        Number::Near((self.near() - float(&n.mean)) * float(&n.gain) / float(&n.variance).sqrt() + float(&n.bias))
    }

    /// The greater one. Two exact numbers of one channel share their root, so that the estimate decides unless they are equal.
    fn max(self, other: Number) -> Number {
        if self.near() < other.near() { other } else { self }
    }

    fn rational(&self) -> Option<Q> {
        match self {
            Number::Exact(s) => s.rational(),
            Number::Near(_) => None,
        }
    }
}

fn float(q: &Q) -> f64 {
    q.to_f64().unwrap_or(f64::NAN)
}

/// A convolution: exact where everything it reads is rational, with one denominator for all of it.
fn conv(x: &Reals, map: [usize; 3], w: &Weights, geom: &Geometry, bias: Option<&[f32]>) -> Reals {
    let [outputs, inputs, kh, kw] = w.shape;
    let Some([rows, columns]) = conv_extent(map, w.shape, geom) else {
        return Reals(Vec::new());
    };
    let operand = Operand::read(&x.0);
    let pads = [geom.pads[0], geom.pads[1]];
    let place = |at: usize, k: usize, axis: usize| {
        let place = (at * geom.stride[axis] + k * geom.dilation[axis]).checked_sub(pads[axis])?;
        (place < map[axis + 1]).then_some(place)
    };
    let mut out = Vec::with_capacity(outputs * rows * columns);
    for o in 0..outputs {
        let first = o / (outputs / geom.groups) * inputs;
        let bias = bias.map_or_else(Q::zero, |b| rational(b[o]));
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            let cells = (0..inputs).flat_map(|i| (0..kh).flat_map(move |ky| (0..kw).map(move |kx| [i, ky, kx])));
            let taps = cells.filter_map(|[i, ky, kx]| {
                let at = ((first + i) * map[1] + place(y, ky, 0)?) * map[2] + place(x, kx, 1)?;
                Some((at, ((o * inputs + i) * kh + ky) * kw + kx))
            });
            out.push(operand.sum(taps, w, o, &bias));
        }
    }
    Reals(out)
}

/// What a convolution reads.
enum Operand {
    /// Integers over a common denominator.
    Rational {
        numerators: Vec<BigInt>,
        small: Option<Vec<i64>>,
        denominator: BigInt,
    },
    Near(Vec<f64>),
}

impl Operand {
    fn read(x: &[Number]) -> Operand {
        let rationals: Option<Vec<Q>> = x.iter().map(Number::rational).collect();
        let Some(rationals) = rationals else {
            return Operand::Near(x.iter().map(Number::near).collect());
        };
        let denominator = rationals.iter().fold(BigInt::from(1), |d, q| d.lcm(q.denom()));
        let numerators: Vec<BigInt> = rationals
            .iter()
            .map(|q| q.numer() * (&denominator / q.denom()))
            .collect();
        let small = numerators.iter().map(ToPrimitive::to_i64).collect();
        Operand::Rational {
            numerators,
            small,
            denominator,
        }
    }

    /// Sum of operand times weight over `(operand, weight)` indices, plus a bias.
    fn sum(&self, taps: impl Iterator<Item = (usize, usize)>, w: &Weights, o: usize, bias: &Q) -> Number {
        match (self, &w.data) {
            (Operand::Near(x), _) => {
                let sum: f64 = taps.map(|(at, tap)| x[at] * float(&weight(w, o, tap))).sum();
                Number::Near(sum + float(bias))
            }
            (
                Operand::Rational {
                    small: Some(x),
                    denominator,
                    ..
                },
                WeightData::Coded { codes, scale, .. },
            ) => {
                let sum: i128 = taps.map(|(at, tap)| i128::from(x[at]) * i128::from(codes[tap])).sum();
                Number::Exact((Q::new(sum.into(), denominator.clone()) * rational(scale[o]) + bias).into())
            }
            (
                Operand::Rational {
                    numerators,
                    denominator,
                    ..
                },
                _,
            ) => {
                let sum: Q = taps.map(|(at, tap)| weight(w, o, tap) * &numerators[at]).sum();
                Number::Exact((sum / denominator + bias).into())
            }
        }
    }
}

/// The real weight behind a code.
fn weight(w: &Weights, output: usize, tap: usize) -> Q {
    match &w.data {
        WeightData::Float(values) => rational(values[tap]),
        WeightData::Coded { codes, scale, .. } => rational(scale[output]) * integer(codes[tap].into()),
    }
}
