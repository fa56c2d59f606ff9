//! Packed signs by packed weights: exclusive or and population count, 32 products at a time.
//!
//! With d the number of places where sign and weight differ, n of them live, the sum is n - 2 d. Where every operand is the mean of
//! two signs it is n - d, d counted for both; n - 2 d again where operands that are 0 are left out of both.

use super::nest::{Channel, Job, Site, nest};
use super::split::{self, Operand};
use super::view::WORD;
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Ty};

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    if job.x.elem != Elem::Sign {
        return Some("operand is not packed".into());
    }
    if job.packed_codes().is_none() {
        return Some("weights are neither binary nor ternary".into());
    }
    (job.geom.groups != 1).then(|| format!("{} groups", job.geom.groups))
}

/// Weights' words, pixel by pixel like the operand's.
pub(super) struct Words {
    /// 1 where the weight is +1.
    pub plus: Buf,
    /// 1 where the weight is not 0; absent for binary weights.
    pub live: Option<Buf>,
}

/// Declares the weights' words.
pub(super) fn declare(b: &mut Builder, job: &Job, depth: Depth, codes: &[i8]) -> Words {
    Words {
        plus: plane(b, job, "plus", codes, &|c| c > 0),
        live: (depth == Depth::Ternary).then(|| plane(b, job, "live", codes, &|c| c != 0)),
    }
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let (depth, codes) = job.packed_codes().expect("asked before");
    nest(
        job,
        false,
        |b, x| (split::read(b, job, x), declare(b, job, depth, codes)),
        |b, (x, words), site, channel| sum(b, job, words, x, site, channel),
    )
}

/// One bit per weight, `[output][row][column][input / 32]`; the bits beyond the last input are 0.
fn plane(b: &mut Builder, job: &Job, name: &str, codes: &[i8], is: &dyn Fn(i8) -> bool) -> Buf {
    let [outputs, inputs, kh, kw] = job.weights.shape;
    let per_pixel = inputs.div_ceil(WORD);
    let mut words = vec![0u32; outputs * kh * kw * per_pixel];
    for o in 0..outputs {
        for k in 0..job.taps() {
            if is(codes[job.source(o, k)]) {
                let (pixel, c) = (k / inputs, k % inputs);
                words[(o * kh * kw + pixel) * per_pixel + c / WORD] |= 1 << (c % WORD);
            }
        }
    }
    b.constants(name, Ty::U32, ints(words.into_iter().map(i64::from), Ty::U32))
}

fn sum(b: &mut Builder, job: &Job, words: &Words, x: &Operand, site: &Site, channel: &Channel) -> Expr {
    let [_, inputs, kh, kw] = job.weights.shape;
    let per_pixel = inputs.div_ceil(WORD);
    let acc = b.mutable("acc", int(0, Ty::I32));
    if site.rows.count == 0 || site.cols.count == 0 {
        return Expr::Var(acc);
    }
    b.each("ky", site.rows.count, false, |b, ky| {
        b.each("kx", site.cols.count, false, |b, kx| {
            let tap = (idx(site.rows.first) + ky.clone()) * idx(kw) + idx(site.cols.first) + kx.clone();
            let word = b.val("word", (channel.o.clone() * idx(kh * kw) + tap) * idx(per_pixel));
            let y = site.y.clone() + ky * idx(job.geom.dilation[0]);
            let col = site.x.clone() + kx * idx(job.geom.dilation[1]);
            let pixel = b.val("pixel", job.x.at(idx(0), y, col));
            b.each("w", per_pixel, false, |b, w| {
                let planes = 0..job.x.planes;
                let bits: Vec<Expr> = planes
                    .map(|p| b.load(x.words, pixel.clone() + job.x.word(w.clone(), p)))
                    .collect();
                let plus = b.load(words.plus, word.clone() + w.clone());
                let plus = if bits.len() > 1 { b.val("plus_w", plus) } else { plus };
                let live = words.live.map(|live| b.val("l", b.load(live, word.clone() + w)));
                let wrong = split::differ(job, &bits, &plus, live.as_ref()).into_iter();
                let wrong = wrong.map(|differ| differ.popcnt().cast(Ty::I32)).reduce(|a, b| a + b);
                let wrong = wrong.expect("a plane");
                let term = match live {
                    None => wrong,
                    Some(live) => {
                        let wrong = b.val("wrong", wrong);
                        // live less what is lost, counted down from 0 like the binary sum.
                        job.lost(wrong) - live.popcnt().cast(Ty::I32)
                    }
                };
                b.add(acc, term);
            });
        });
    });
    match words.live {
        None => {
            let n = x.live(b, job, site);
            n - int(job.per_bit(), Ty::I32) * Expr::Var(acc)
        }
        Some(_) => -Expr::Var(acc),
    }
}
