//! Ternary operands as two bits each, packed before the sums: what computes on packed signs computes on these, two words for a word of
//! weights.
//!
//! Beside binary weights the bits say whether the element is not 0 and whether it is +1: products of what is 0 are left out of what is
//! counted, as those of ternary weights are, and every pixel's others are counted once. Beside ternary weights that would be two counts for
//! every weight. So there the bits are two signs, of which the element is the mean, whether it is at least 0 and whether it is above (a
//! thermometer code; Buckman et al., "Thermometer Encoding", ICLR 2018): with w the weights, the sum of x w is half that of both signs
//! by w, so that a sign that differs from its weight takes 1 from it.

use super::nest::{Job, Packed, Site};
use super::view::{View, WORD};
use crate::ir::Depth;
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

/// The job on packed operands.
pub fn job<'a>(job: &Job<'a>) -> Job<'a> {
    let x = job.x.split();
    Job {
        x,
        x_range: x.ty().range(),
        given: Some((job.x, job.x_range)),
        packed: match job.packed_codes() {
            Some((Depth::Binary, _)) => Packed::Live,
            _ => Packed::Means,
        },
        ..job.clone()
    }
}

/// Words whose ones are counted for a word of weights.
pub fn words(job: &Job) -> usize {
    match job.packed {
        Packed::Means => 2,
        Packed::Signs | Packed::Live => 1,
    }
}

/// The words whose ones lessen a sum: of an operand's `bits`, the weights that are +1, and the places that count if not all do, as where weights are 0.
pub fn differ(job: &Job, bits: &[Expr], plus: &Expr, live: Option<&Expr>) -> Vec<Expr> {
    let differ = |(sign, live): (&Expr, Option<&Expr>)| {
        let differ = sign.clone() ^ plus.clone();
        live.into_iter().fold(differ, |differ, live| differ & live.clone())
    };
    match job.packed {
        Packed::Signs | Packed::Means => bits.iter().map(|sign| differ((sign, live))).collect(),
        Packed::Live => {
            let differ = differ((&bits[1], Some(&bits[0])));
            vec![live.into_iter().fold(differ, |differ, live| differ & live.clone())]
        }
    }
}

/// What sums read.
pub struct Operand {
    /// Packed elements.
    pub words: Buf,
    /// Of every pixel, how many elements are not 0, where they say so ([`Packed::Live`]).
    live: Option<Buf>,
}

/// What the sums of `job` read: packed in scratch memory where that is asked for, else `x` itself. Elements that are not 0 are counted
/// only if `counted`.
pub fn read(b: &mut Builder, job: &Job, x: Buf, counted: bool) -> Operand {
    let Some((given, _)) = job.given else {
        return Operand { words: x, live: None };
    };
    let words = b.param("packed", Ty::U32, job.x.elements(), Role::Scratch, Ty::U32.range());
    let live = (counted && job.packed == Packed::Live).then(|| {
        let ty = if given.c > 255 { Ty::I32 } else { Ty::U8 };
        let buf = b.param("live", ty, given.h * given.w, Role::Scratch, (0, given.c as i64));
        (buf, ty)
    });
    let split = Split { job, given, x, words };
    let (whole, rest) = (given.c / WORD, given.c % WORD);
    b.each("row", given.h, false, |b, row| {
        b.each("col", given.w, false, |b, col| {
            let pixel = row.clone() * idx(given.w) + col.clone();
            let at = [row, col];
            let count = live.map(|_| b.mutable("count", int(0, Ty::I32)));
            let pack = |b: &mut Builder, group: Expr, channels: usize| {
                let first = match split.vectors().filter(|_| channels == WORD) {
                    Some(ty) => split.by_vectors(b, &at, group, ty),
                    None => split.one_by_one(b, &at, group, channels),
                };
                if let Some(count) = count {
                    b.add(count, first.popcnt().cast(Ty::I32));
                }
            };
            if whole > 0 {
                b.each("group", whole, false, |b, group| pack(b, group, WORD));
            }
            if rest > 0 {
                pack(b, idx(whole), rest);
            }
            if let (Some((live, ty)), Some(count)) = (live, count) {
                // Where bits are counted by arithmetic, the verifier does not see how few they are.
                let count = Expr::Var(count).min(int(given.c as i64, Ty::I32));
                b.store(live, pixel, if ty == Ty::I32 { count } else { count.cast(ty) });
            }
        });
    });
    Operand {
        words,
        live: live.map(|(buf, _)| buf),
    }
}

impl Operand {
    /// How many elements are not 0 among a site's taps, where the operand says so.
    pub fn counted(&self, b: &mut Builder, job: &Job, site: &Site) -> Option<Expr> {
        let live = self.live?;
        let (rows, cols) = (site.rows, site.cols);
        let [down, right] = job.geom.dilation;
        let counts: Vec<Expr> = (0..rows.count * cols.count)
            .map(|tap| {
                let y = site.y.clone() + idx(tap / cols.count * down);
                let x = site.x.clone() + idx(tap % cols.count * right);
                b.load(live, y * idx(job.x.w) + x)
            })
            .collect();
        let counts = counts
            .into_iter()
            .map(|n| if b.ty(&n) == Ty::I32 { n } else { n.cast(Ty::I32) });
        let all = counts.reduce(|a, b| a + b).unwrap_or(int(0, Ty::I32));
        Some(b.val("live", all))
    }

    /// How many products of binary weights are not 0.
    pub fn live(&self, b: &mut Builder, job: &Job, site: &Site) -> Expr {
        let all = (site.rows.count * site.cols.count * job.inputs()) as i64;
        self.counted(b, job, site).unwrap_or(int(all, Ty::I32))
    }
}

struct Split<'a> {
    job: &'a Job<'a>,
    given: View,
    x: Buf,
    words: Buf,
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

    /// Packs the channels of `group`, a vector of elements at a time; the word of the first plane.
    fn by_vectors(&self, b: &mut Builder, at: &[Expr; 2], group: Expr, ty: Ty) -> Expr {
        let lanes = usize::from(ty.lanes());
        let [mut not_below, mut above] = [vec![], vec![]];
        for part in 0..WORD / lanes {
            let c = group.clone() * idx(WORD) + idx(part * lanes);
            let v = b.load_n(self.x, self.given.at(c, at[0].clone(), at[1].clone()), lanes, ty);
            let v = b.val("v", v);
            for (least, masks) in [&mut not_below, &mut above].into_iter().enumerate() {
                let reached = v.clone().ge(splat(int(least as i64, Ty::I8), ty));
                let mask = Expr::Vector(VecOp::Mask, vec![reached]);
                masks.push(if part > 0 {
                    mask << int((part * lanes) as i64, Ty::U32)
                } else {
                    mask
                });
            }
        }
        let [not_below, above] = [not_below, above].map(|masks| {
            let word = masks.into_iter().reduce(|a, b| a | b).expect("a part");
            b.val("reached", word)
        });
        let first = match self.job.packed {
            // What is above, and what is below.
            Packed::Live => b.val("not_zero", above.clone() | (not_below ^ int(u32::MAX.into(), Ty::U32))),
            _ => not_below,
        };
        self.store(b, at, group, [first.clone(), above]);
        first
    }

    /// Packs the first `count` channels of `group`; the word of the first plane.
    fn one_by_one(&self, b: &mut Builder, at: &[Expr; 2], group: Expr, count: usize) -> Expr {
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
        let odd = b.val("odd", odd);
        let not_below = b.val("not_below", below ^ lit(u32::MAX >> unused));
        let first = match self.job.packed {
            Packed::Live => odd.clone(),
            _ => not_below.clone(),
        };
        self.store(b, at, group, [first.clone(), odd & not_below]);
        first
    }

    fn store(&self, b: &mut Builder, [row, col]: &[Expr; 2], group: Expr, planes: [Expr; 2]) {
        let x = &self.job.x;
        for (plane, word) in planes.into_iter().enumerate() {
            let to = x.at(x.word(group.clone(), plane), row.clone(), col.clone());
            b.store(self.words, to, word);
        }
    }
}
