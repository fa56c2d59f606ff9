//! Binary and ternary weights by the word: 32 weights are loaded at once and shifted out from the top, so that the sign of
//! the word is the weight at hand and one arithmetic shift makes its mask.

use super::bits::{self, First, Planes};
use super::nest::{Channel, Job, Site, nest};
use super::view::WORD;
use crate::ir::Elem;
use crate::kir::build::{Builder, float, idx, int};
use crate::kir::{Buf, Expr, Kernel, Ty, Var};

/// Weights shifted out in straight-line code, before the loop turns. Eight keep the loop below 200 bytes on Thumb.
const STEP: usize = 8;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    if job.packed_codes().is_none() {
        return Some("weights are neither binary nor ternary".into());
    }
    if !matches!(job.x.elem, Elem::I8 | Elem::U8 | Elem::F32) {
        return Some("operand is packed".into());
    }
    if !job.x.side_by_side() || job.geom.groups != 1 || !job.inputs().is_multiple_of(WORD) {
        return Some(format!("{} input channels do not fill words", job.inputs()));
    }
    None
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let (depth, codes) = job.packed_codes().expect("asked before");
    nest(
        job,
        false,
        |b, x| (x, bits::pack(b, job, depth, codes, First::High, true)),
        |b, (x, planes), site, channel| sum(b, job, planes, *x, site, channel),
    )
}

fn sum(b: &mut Builder, job: &Job, planes: &Planes, x: Buf, site: &Site, channel: &Channel) -> Expr {
    let [_, inputs, kh, kw] = job.weights.shape;
    let words = inputs / WORD;
    let acc = b.mutable("acc", job.zero());
    if site.rows.count == 0 || site.cols.count == 0 {
        return Expr::Var(acc);
    }
    b.each("ky", site.rows.count, false, |b, ky| {
        b.each("kx", site.cols.count, false, |b, kx| {
            let tap = (idx(site.rows.first) + ky.clone()) * idx(kw) + idx(site.cols.first) + kx.clone();
            let word = b.val("word", (channel.o.clone() * idx(kh * kw) + tap) * idx(words));
            let y = site.y.clone() + ky * idx(job.geom.dilation[0]);
            let col = site.x.clone() + kx * idx(job.geom.dilation[1]);
            let pixel = b.val("pixel", job.x.at(idx(0), y, col));
            b.each("w", words, false, |b, w| {
                let at = word.clone() + w.clone();
                let minus = b.mutable("m", b.load(planes.minus, at.clone()));
                let live = planes.live.map(|p| b.mutable("l", b.load(p, at)));
                if job.integer() {
                    corrections(b, acc, minus, live);
                }
                b.each("s", WORD / STEP, false, |b, s| {
                    let first = pixel.clone() + w.clone() * idx(WORD) + s * idx(STEP);
                    b.each("k", STEP, true, |b, k| {
                        let operand = b.load(x, first.clone() + k);
                        term(b, job, acc, minus, live, operand);
                        for plane in [Some(minus), live].into_iter().flatten() {
                            b.set(plane, Expr::Var(plane) << int(1, Ty::U32));
                        }
                    });
                });
            });
        });
    });
    Expr::Var(acc)
}

/// `-x` is `(x ^ -1) + 1`: the additions of 1 for all weights of a word at once.
fn corrections(b: &mut Builder, acc: Var, minus: Var, live: Option<Var>) {
    let negative = match live {
        Some(live) => Expr::Var(minus) & Expr::Var(live),
        None => Expr::Var(minus),
    };
    b.add(acc, negative.popcnt().cast(Ty::I32));
}

fn term(b: &mut Builder, job: &Job, acc: Var, minus: Var, live: Option<Var>, operand: Expr) {
    // All ones where the top bit is set.
    let mask = |v: Var| Expr::Var(v).cast(Ty::I32) >> int(31, Ty::I32);
    let term = if job.integer() {
        let flipped = operand.cast(Ty::I32) ^ mask(minus);
        match live {
            Some(live) => flipped & mask(live),
            None => flipped,
        }
    } else {
        let top = |v: Var| Expr::Var(v).ge(int(1 << 31, Ty::U32));
        let signed = top(minus).select(-operand.clone(), operand);
        match live {
            // The sum is never -0.0, so that adding 0.0 leaves every bit of it.
            Some(live) => top(live).select(signed, float(0.0)),
            None => signed,
        }
    };
    b.add(acc, term);
}
