//! Two values become one, element by element: the end of a residual block.

use super::nest;
use super::view::{self, Layout, View, WORD};
use crate::ir::{Elem, Join, Ties};
use crate::kir::build::{Builder, float, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};

/// Builds the kernel; `bounds` are the operands' least and greatest integers.
pub fn build(name: &str, doc: &str, x: [View; 2], bounds: [(i64, i64); 2], y: View, join: &Join) -> Kernel {
    let mut b = Builder::new(name, doc);
    let operands = [0, 1].map(|i| {
        let name = ["a", "b"][i];
        let range = match x[i].elem {
            Elem::Sign | Elem::I32 => x[i].ty().range(),
            _ => bounds[i],
        };
        let buf = b.param(name, x[i].ty(), x[i].elements(), Role::In, range);
        (buf, x[i], bounds[i])
    });
    let output = b.param("y", y.ty(), y.elements(), Role::Out, y.ty().range());
    let rule = Rule::declare(&mut b, join, y);
    b.each("row", y.h, false, |b, row| {
        b.each("col", y.w, false, |b, col| {
            let value = |b: &mut Builder, c: Expr| {
                let [left, right] =
                    operands.map(|(buf, view, bounds)| rule.load(b, buf, view, bounds, [&c, &row, &col]));
                rule.apply(b, left, right, c)
            };
            if y.layout != Layout::Packed {
                b.each("c", y.c, false, |b, c| {
                    let v = value(b, c.clone());
                    b.store(output, y.at(c, row.clone(), col.clone()), v);
                });
                return;
            }
            let word = |b: &mut Builder, word: Expr, count: usize| {
                let bits = b.mutable("bits", int(0, Ty::U32));
                b.each("bit", count, false, |b, bit| {
                    let v = value(b, word.clone() * idx(WORD) + bit.clone());
                    b.set(bits, Expr::Var(bits) | (v << bit.cast(Ty::U32)));
                });
                b.store(output, y.at(word, row.clone(), col.clone()), Expr::Var(bits));
            };
            let (whole, rest) = (y.c / WORD, y.c % WORD);
            if whole > 0 {
                b.each("word", whole, false, |b, w| word(b, w, WORD));
            }
            if rest > 0 {
                word(b, idx(whole), rest);
            }
        });
    });
    b.finish()
}

/// The rule with its tables.
enum Rule {
    Integer {
        mul: [Buf; 2],
        add: Buf,
        shift: i64,
        ties: Option<Ties>,
        lo: i64,
        hi: i64,
        y: View,
    },
    Float {
        floor: Option<f32>,
    },
}

impl Rule {
    fn declare(b: &mut Builder, join: &Join, y: View) -> Rule {
        match join {
            Join::Float { floor } => Rule::Float { floor: *floor },
            Join::Integer {
                mul,
                add,
                shift,
                ties,
                lo,
                hi,
            } => {
                let mut table =
                    |name, values: &[i64]| b.constants(name, Ty::I64, ints(values.iter().copied(), Ty::I64));
                Rule::Integer {
                    mul: [table("mul_a", &mul[0]), table("mul_b", &mul[1])],
                    add: table("add", add),
                    shift: (*shift).into(),
                    ties: *ties,
                    lo: (*lo).into(),
                    hi: (*hi).into(),
                    y,
                }
            }
        }
    }

    /// An element of an operand: `f32`, or a 64-bit integer.
    fn load(&self, b: &Builder, buf: Buf, view: View, (lo, hi): (i64, i64), [c, row, col]: [&Expr; 3]) -> Expr {
        let (row, col) = (row.clone(), col.clone());
        match view.elem {
            Elem::F32 => b.load(buf, view.at(c.clone(), row, col)),
            Elem::Sign => {
                let bit = view::bit(b, buf, view.at(view::word(c.clone()), row, col), c.clone());
                (bit.cast(Ty::I32) * int(2, Ty::I32) - int(1, Ty::I32)).cast(Ty::I64)
            }
            // The bounds of sums follow from the weights; the verifier, which has seen a loop add them, cannot know.
            Elem::I32 => {
                let sum = b.load(buf, view.at(c.clone(), row, col));
                sum.max(int(lo, Ty::I32)).min(int(hi, Ty::I32)).cast(Ty::I64)
            }
            _ => b.load(buf, view.at(c.clone(), row, col)).cast(Ty::I64),
        }
    }

    /// The value to store; a sign as a word that is 1 or 0.
    fn apply(&self, b: &mut Builder, left: Expr, right: Expr, c: Expr) -> Expr {
        match self {
            Rule::Float { floor } => {
                let sum = left + right;
                floor.map_or(sum.clone(), |floor| sum.max(float(floor)))
            }
            Rule::Integer {
                mul,
                add,
                shift,
                ties,
                lo,
                hi,
                y,
            } => {
                let products = left * b.load(mul[0], c.clone()) + right * b.load(mul[1], c.clone());
                let sum = products + b.load(*add, c);
                if y.elem == Elem::Sign {
                    // A shift keeps the sign.
                    return sum.ge(int(0, Ty::I64)).cast(Ty::U32);
                }
                let shift = int(*shift, Ty::I64);
                let even = match ties {
                    None => sum,
                    Some(ties) => nest::lifted(b, *ties, sum, shift.clone(), (Ty::I64, Ty::I64)),
                };
                let clamped = (even >> shift).max(int(*lo, Ty::I64)).min(int(*hi, Ty::I64));
                clamped.cast(y.ty())
            }
        }
    }
}
