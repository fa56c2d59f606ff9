//! One weight after the other: every operand, every weight, every geometry.
//!
//! Binary and ternary codes are read from their bits, 8-bit and `f32` weights from tables. With the channel and tap loops
//! opened, the weights become code: additions and subtractions, nothing where a weight is 0.

use super::bits::{self, First, Planes};
use super::nest::{Channel, Job, Site, nest};
use super::view;
use crate::ir::{Elem, WeightData};
use crate::kir::build::{Builder, float, floats, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Ty, Var};

/// Weights in the form that this family reads.
enum Table {
    Bits(Planes),
    Codes(Buf),
    Floats(Buf),
}

/// Builds the kernel; `unroll` turns weights into code.
pub fn build(job: &Job, unroll: bool) -> Kernel {
    nest(
        job,
        unroll,
        |b, x| (x, declare(b, job)),
        |b, (x, table), site, channel| sum(b, job, unroll, table, *x, site, channel),
    )
}

fn declare(b: &mut Builder, job: &Job) -> Table {
    if let Some((depth, codes)) = job.packed_codes() {
        return Table::Bits(bits::pack(b, job, depth, codes, First::Low, false));
    }
    let ordered = |k: usize| job.source(k / job.taps(), k % job.taps());
    match &job.weights.data {
        WeightData::Coded { codes, .. } => {
            let data = ints((0..codes.len()).map(|k| codes[ordered(k)] as i64), Ty::I8);
            Table::Codes(b.constants("weights", Ty::I8, data))
        }
        WeightData::Float(values) => {
            let data: Vec<f32> = (0..values.len()).map(|k| values[ordered(k)]).collect();
            Table::Floats(b.constants("weights", Ty::F32, floats(&data)))
        }
    }
}

fn sum(b: &mut Builder, job: &Job, unroll: bool, table: &Table, x: Buf, site: &Site, channel: &Channel) -> Expr {
    let [_, inputs, _, kw] = job.weights.shape;
    let acc = b.mutable("acc", job.zero());
    if site.rows.count == 0 || site.cols.count == 0 {
        return Expr::Var(acc);
    }
    b.each("ky", site.rows.count, unroll, |b, ky| {
        b.each("kx", site.cols.count, unroll, |b, kx| {
            b.each("c", inputs, unroll, |b, c| {
                let row = channel.o.clone() * idx(job.taps());
                let tap =
                    ((idx(site.rows.first) + ky.clone()) * idx(kw) + idx(site.cols.first) + kx.clone()) * idx(inputs);
                let weight = row + tap + c.clone();
                let y = site.y.clone() + ky.clone() * idx(job.geom.dilation[0]);
                let col = site.x.clone() + kx.clone() * idx(job.geom.dilation[1]);
                let operand = operand(b, job, x, channel.first_input.clone() + c, y, col);
                accumulate(b, job, acc, table, weight, operand);
            });
        });
    });
    Expr::Var(acc)
}

/// The operand as a term of the sum's type.
fn operand(b: &Builder, job: &Job, x: Buf, c: Expr, y: Expr, col: Expr) -> Expr {
    let ty = if job.integer() { Ty::I32 } else { Ty::F32 };
    match job.x.elem {
        Elem::Sign => {
            let bit = view::bit(b, x, job.x.at(view::word(c.clone()), y, col), c);
            let plus = bit.ge(int(1, Ty::U32));
            match ty {
                Ty::F32 => plus.select(float(1.0), float(-1.0)),
                _ => plus.select(int(1, ty), int(-1, ty)),
            }
        }
        Elem::F32 => b.load(x, job.x.at(c, y, col)),
        _ => b.load(x, job.x.at(c, y, col)).cast(Ty::I32),
    }
}

fn accumulate(b: &mut Builder, job: &Job, acc: Var, table: &Table, at: Expr, x: Expr) {
    match table {
        Table::Bits(planes) => {
            let bit = |b: &Builder, plane: Buf| view::bit(b, plane, view::word(at.clone()), at.clone());
            if job.integer() {
                // All ones where the weight is -1 or live; `(x ^ m) - m` is -x where m is all ones, and x where it is 0.
                let mask = |bit: Expr| -bit.cast(Ty::I32);
                let minus = mask(bit(b, planes.minus));
                let term = (x ^ minus.clone()) - minus;
                let term = match planes.live {
                    Some(live) => term & mask(bit(b, live)),
                    None => term,
                };
                b.add(acc, term);
            } else {
                let minus = bit(b, planes.minus).ge(int(1, Ty::U32));
                let term = minus.select(-x.clone(), x);
                let term = match planes.live {
                    // The sum is never -0.0, so that adding 0.0 leaves every bit of it.
                    Some(live) => bit(b, live).ge(int(1, Ty::U32)).select(term, float(0.0)),
                    None => term,
                };
                b.add(acc, term);
            }
        }
        Table::Codes(weights) => {
            let w = b.load(*weights, at);
            let w = if job.integer() {
                w.cast(Ty::I32)
            } else {
                w.cast(Ty::I32).cast(Ty::F32)
            };
            add_product(b, job, acc, x * w);
        }
        Table::Floats(weights) => {
            let x = if job.x.elem == Elem::U8 || job.x.elem == Elem::I8 {
                x.cast(Ty::F32)
            } else {
                x
            };
            let w = b.load(*weights, at);
            add_product(b, job, acc, x * w);
        }
    }
}

fn add_product(b: &mut Builder, job: &Job, acc: Var, product: Expr) {
    // Named where it rounds, so that no compiler contracts product and sum.
    let product = if job.integer() {
        product
    } else {
        b.val("product", product)
    };
    b.add(acc, product);
}
