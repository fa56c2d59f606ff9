//! Convolutions that keep channels apart: the taps of a channel are summed in straight-line code, channel after channel.
//!
//! A map's channels are neighbours in memory, and so are the weights of a tap here, one byte each: compilers make vectors of
//! the loop over channels. Weights packed to bits would save a few bytes of a small table, and cost a shift and a mask for
//! every product.

use super::nest::{Channel, Job, Site, nest};
use super::view;
use crate::ir::{Elem, WeightData};
use crate::kir::build::{Builder, float, floats, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Ty};

/// Taps beyond which a loop over them is shorter than what it saves: average pools over whole maps.
const OPEN: usize = 25;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let apart = job.inputs() == 1 && job.weights.shape[0] == job.geom.groups;
    (!apart).then(|| "a channel reads others".into())
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    nest(
        job,
        false,
        |b, x| (x, declare(b, job)),
        |b, (x, weights), site, channel| sum(b, job, *weights, *x, site, channel),
    )
}

/// The weights, `[row][column][channel]`; nothing where all are 1, as those of sums are.
fn declare(b: &mut Builder, job: &Job) -> Option<Buf> {
    let (channels, taps) = (job.weights.shape[0], job.taps());
    let source = |at: usize| job.source(at % channels, at / channels);
    match &job.weights.data {
        WeightData::Coded { codes, .. } if codes.iter().all(|&c| c == 1) => None,
        WeightData::Coded { codes, .. } => {
            let data = ints((0..channels * taps).map(|at| codes[source(at)].into()), Ty::I8);
            Some(b.constants("weights", Ty::I8, data))
        }
        WeightData::Float(values) => {
            let data: Vec<f32> = (0..channels * taps).map(|at| values[source(at)]).collect();
            Some(b.constants("weights", Ty::F32, floats(&data)))
        }
    }
}

fn sum(b: &mut Builder, job: &Job, weights: Option<Buf>, x: Buf, site: &Site, channel: &Channel) -> Expr {
    let kw = job.kernel()[1];
    let acc = b.mutable("acc", job.zero());
    if site.rows.count == 0 || site.cols.count == 0 {
        return Expr::Var(acc);
    }
    let open = job.taps() <= OPEN;
    b.each("ky", site.rows.count, open, |b, ky| {
        b.each("kx", site.cols.count, open, |b, kx| {
            let y = site.y.clone() + ky.clone() * idx(job.geom.dilation[0]);
            let col = site.x.clone() + kx.clone() * idx(job.geom.dilation[1]);
            let operand = operand(b, job, x, channel.o.clone(), y, col);
            let tap = (idx(site.rows.first) + ky) * idx(kw) + idx(site.cols.first) + kx;
            let weight = weights.map(|w| b.load(w, tap * idx(job.weights.shape[0]) + channel.o.clone()));
            let term = term(b, job, operand, weight);
            b.add(acc, term);
        });
    });
    Expr::Var(acc)
}

/// An element of the operand in the sum's type.
fn operand(b: &Builder, job: &Job, x: Buf, c: Expr, y: Expr, col: Expr) -> Expr {
    let ty = if job.integer() { Ty::I32 } else { Ty::F32 };
    match job.x.elem {
        Elem::Sign => {
            let bit = view::bit(b, x, job.x.at(view::word(c.clone()), y, col), c);
            let sign = bit.cast(Ty::I32) * int(2, Ty::I32) - int(1, Ty::I32);
            if ty == Ty::F32 { sign.cast(ty) } else { sign }
        }
        Elem::F32 => b.load(x, job.x.at(c, y, col)),
        _ => b.load(x, job.x.at(c, y, col)).cast(ty),
    }
}

/// A tap's part of the sum.
fn term(b: &mut Builder, job: &Job, x: Expr, weight: Option<Expr>) -> Expr {
    let Some(weight) = weight else { return x };
    if job.integer() {
        return x * weight.cast(Ty::I32);
    }
    match job.packed_codes() {
        // Not a product: 0 times infinity is no 0. The sum is never -0.0, so that adding 0.0 leaves every bit of it.
        Some(_) => {
            let weight = b.val("weight", weight.cast(Ty::I32));
            let x = b.val("operand", x);
            let minus = weight.clone().ge(int(0, Ty::I32)).select(float(0.0), -x.clone());
            weight.ge(int(1, Ty::I32)).select(x, minus)
        }
        None => {
            let weight = match b.ty(&weight) {
                Ty::F32 => weight,
                _ => weight.cast(Ty::I32).cast(Ty::F32),
            };
            // Named where it rounds, so that no compiler contracts product and sum.
            b.val("product", x * weight)
        }
    }
}
