//! Packed signs by packed weights: exclusive or and population count, 32 products at a time.
//!
//! With d the number of places where sign and weight differ, n of them live, the sum is n - 2 d. Where every operand is the mean of
//! two signs it is n - d, d counted for both; n - 2 d again where operands that are 0 are left out of both.

use super::nest::{Channel, Job};
use super::planes::{At, Planes, Word};
use super::split;
use super::tiles::Shape;
use super::windows::{self, At as Place, Source};
use crate::ir::Elem;
use crate::kir::build::{Builder, idx, int};
use crate::kir::{Expr, Kernel, Ty};

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

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let declare = |b: &mut Builder, x: &Source| Planes::declare(b, x.job(), Shape::ONE);
    windows::nest(job, declare, sum)
}

fn sum(b: &mut Builder, (x, planes): (&Source, &Planes), place: &Place, channel: &Channel) -> Expr {
    let (job, site) = (x.job(), x.site(place));
    let [_, _, kh, kw] = job.weights.shape;
    let words = planes.words();
    let acc = b.mutable("acc", int(0, Ty::I32));
    if place.is_empty() {
        return Expr::Var(acc);
    }
    b.each("ky", site.rows.count, false, |b, ky| {
        b.each("kx", site.cols.count, false, |b, kx| {
            let tap = (idx(site.rows.first) + ky.clone()) * idx(kw) + idx(site.cols.first) + kx.clone();
            // Taps of all outputs, counted through.
            let at = At {
                block: idx(0),
                valid: 1,
                tap: b.val("tap", channel.o.clone() * idx(kh * kw) + tap),
            };
            let y = site.y.clone() + ky * idx(job.geom.dilation[0]);
            let col = site.x.clone() + kx * idx(job.geom.dilation[1]);
            let pixel = b.val("pixel", job.x.at(idx(0), y, col));
            let add = |b: &mut Builder, word: &Word| {
                let load = |plane| b.load(x.words(), pixel.clone() + job.x.word(words.index(word), plane));
                let bits: Vec<Expr> = (0..job.x.planes).map(load).collect();
                let first = planes.first(&at, word);
                let plus = planes.plus(b, word, &first, 0);
                let plus = if bits.len() > 1 { b.val("plus_w", plus) } else { plus };
                let mask = x.mask(b, place, words.index(word), Ty::U32);
                let live = planes.live(b, word, &first, 0);
                let live = live.map(|live| mask.iter().fold(live, |live, mask| live & mask.clone()));
                let live = live.map(|live| b.val("l", live));
                let wrong = split::differ(job, &bits, &plus, live.as_ref().or(mask.as_ref())).into_iter();
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
            };
            b.each("w", words.whole(), false, |b, w| add(b, &Word::Whole(w)));
            if words.cut {
                add(b, &Word::Last(idx(0)));
            }
        });
    });
    match planes.zeros() {
        false => {
            let n = x.live(b, place);
            n - int(job.per_bit(), Ty::I32) * Expr::Var(acc)
        }
        true => -Expr::Var(acc),
    }
}
