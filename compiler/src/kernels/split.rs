//! Ternary operands as two signs each, whose mean they are: what computes on packed signs computes on these, two words of signs for
//! a word of weights.
//!
//! -1 is two times -1, 0 is +1 and -1, +1 is two times +1: the first sign says whether the element is at least 0, the second whether
//! it is above (a thermometer code; Buckman et al., "Thermometer Encoding", ICLR 2018). With w the weights, the sum of x w is half that of
//! both signs by w, so that weights that differ from a sign take 1 from it.

use super::nest::Job;
use super::view::{View, WORD};
use crate::kir::build::{Builder, idx, int, splat};
use crate::kir::{Buf, Expr, Role, Ty, VecOp};

/// Why a family of packed signs cannot build `job` so, if it cannot; `family` is what it says of signs.
pub fn refuses(job: &Job, family: fn(&Job) -> Option<String>) -> Option<String> {
    let (lo, hi) = job.x_range;
    if !matches!(job.x.ty(), Ty::I8 | Ty::U8) {
        return Some("operand is not of bytes".into());
    }
    if lo < -1 || hi > 1 {
        return Some(format!("operand is not ternary: {lo} to {hi}"));
    }
    family(&self::job(job))
}

/// The job on signs.
pub fn job<'a>(job: &Job<'a>) -> Job<'a> {
    let x = job.x.split();
    Job {
        x,
        x_range: x.ty().range(),
        given: Some((job.x, job.x_range)),
        ..job.clone()
    }
}

/// What the sums of `job` read: signs in scratch memory where `x` is to be split, else itself.
pub fn read(b: &mut Builder, job: &Job, x: Buf) -> Buf {
    let Some((given, _)) = job.given else { return x };
    let to = b.param("signs", Ty::U32, job.x.elements(), Role::Scratch, Ty::U32.range());
    let split = Split { job, given, x, to };
    let (whole, rest) = (given.c / WORD, given.c % WORD);
    b.each("row", given.h, false, |b, row| {
        b.each("col", given.w, false, |b, col| {
            let at = [row, col];
            if whole > 0 {
                b.each("group", whole, false, |b, group| match split.vectors() {
                    Some(ty) => split.by_vectors(b, &at, group, ty),
                    None => split.one_by_one(b, &at, group, WORD),
                });
            }
            if rest > 0 {
                split.one_by_one(b, &at, idx(whole), rest);
            }
        });
    });
    to
}

struct Split<'a> {
    job: &'a Job<'a>,
    given: View,
    x: Buf,
    to: Buf,
}

impl Split<'_> {
    /// The type of vectors that are compared lane by lane.
    fn vectors(&self) -> Option<Ty> {
        let able = |ty: &Ty| {
            ["load", "splat", "ge_mask"]
                .iter()
                .all(|op| self.job.simd.has(&format!("{op}_{ty}")))
        };
        let bytes = self.given.ty() == Ty::I8 && self.given.side_by_side();
        [32, 16]
            .map(|lanes| Ty::I8.times(lanes))
            .into_iter()
            .find(|ty| bytes && able(ty))
    }

    /// The signs of the channels of `group`, a vector of elements at a time.
    fn by_vectors(&self, b: &mut Builder, at: &[Expr; 2], group: Expr, ty: Ty) {
        let lanes = usize::from(ty.lanes());
        let masks: Vec<[Expr; 2]> = (0..WORD / lanes)
            .map(|part| {
                let c = group.clone() * idx(WORD) + idx(part * lanes);
                let v = b.load_n(self.x, self.given.at(c, at[0].clone(), at[1].clone()), lanes, ty);
                let v = b.val("v", v);
                [0, 1].map(|least| {
                    let reached = v.clone().ge(splat(int(least, Ty::I8), ty));
                    let mask = Expr::Vector(VecOp::Mask, vec![reached]);
                    let mask = if part > 0 {
                        mask << int((part * lanes) as i64, Ty::U32)
                    } else {
                        mask
                    };
                    b.val("reached", mask)
                })
            })
            .collect();
        let signs = [0, 1].map(|sign| {
            let parts = masks.iter().map(|mask| mask[sign].clone());
            parts.reduce(|a, b| a | b).expect("a part")
        });
        self.store(b, at, group, signs);
    }

    /// The signs of the first `count` channels of `group`.
    fn one_by_one(&self, b: &mut Builder, at: &[Expr; 2], group: Expr, count: usize) {
        let lit = |v: u32| int(v.into(), Ty::U32);
        // Which are odd, and which are below 0; the last element's bit is the highest.
        let [odd, below] = ["odd", "below"].map(|name| b.mutable(name, lit(0)));
        b.each("bit", count, false, |b, bit| {
            let c = group.clone() * idx(WORD) + bit;
            let v = b.load(self.x, self.given.at(c, at[0].clone(), at[1].clone()));
            let v = b.val("v", v.cast(Ty::I32).cast(Ty::U32));
            b.set(odd, (Expr::Var(odd) >> lit(1)) | (v.clone() << lit(31)));
            b.set(below, (Expr::Var(below) >> lit(1)) | (v & lit(1 << 31)));
        });
        let unused = (WORD - count) as u32;
        let [odd, below] = [odd, below].map(|word| match unused {
            0 => Expr::Var(word),
            n => Expr::Var(word) >> lit(n),
        });
        let not_below = b.val("not_below", below ^ lit(u32::MAX >> unused));
        self.store(b, at, group, [not_below.clone(), odd & not_below]);
    }

    fn store(&self, b: &mut Builder, [row, col]: &[Expr; 2], group: Expr, signs: [Expr; 2]) {
        let x = &self.job.x;
        for (sign, word) in signs.into_iter().enumerate() {
            let to = x.at(x.word(group.clone(), sign), row.clone(), col.clone());
            b.store(self.to, to, word);
        }
    }
}
