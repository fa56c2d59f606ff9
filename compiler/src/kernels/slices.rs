//! Packed signs where channels are kept apart: a word is one tap of 32 channels, and every one of its bits a sum of its own. Carry-save
//! adders add the words of all taps, which leaves the binary digits of the sums in a word each ("bit slices"), and thresholds in the
//! same form are compared with them digit by digit. One bit after the other, 9 taps take 56 instructions a channel on a Cortex-M4,
//! so 2 (3x3 convolution of 64 channels, counted under QEMU).

use super::carry_save::Counters;
use super::depthwise;
use super::nest::Job;
use super::view::WORD;
use super::window::{Axis, Taps};
use crate::ir::{Depth, Elem, Epilogue};
use crate::kir::build::{Builder, idx, ints};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};
use std::collections::BTreeMap;

/// Taps that straight-line code adds.
const MOST: usize = 64;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let wrong = match () {
        _ if job.x.elem != Elem::Sign => "operand is not packed".into(),
        _ if job.packed_codes().is_none() => "weights are neither binary nor ternary".into(),
        _ if !matches!(job.epilogue, Epilogue::Threshold(_)) => "outputs are no signs".into(),
        _ if job.taps() > MOST => format!("{} taps are more than {MOST}", job.taps()),
        _ => return depthwise::refuses(job),
    };
    Some(wrong)
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let mut b = Builder::new(&job.name, &job.doc);
    let x = b.param("x", job.x.ty(), job.x.elements(), Role::In, job.x_range);
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let (depth, _) = job.packed_codes().expect("asked before");
    let mut slices = Slices {
        job,
        x,
        plus: plane(&mut b, job, "plus", &|c| c > 0),
        live: (depth == Depth::Ternary).then(|| plane(&mut b, job, "live", &|c| c != 0)),
        limits: BTreeMap::new(),
    };
    let [kh, kw] = job.kernel();
    let rows = Axis::new(0, job.x.h, kh, job.y.h, &job.geom, job.pool.as_ref()).spans();
    let cols = Axis::new(1, job.x.w, kw, job.y.w, &job.geom, job.pool.as_ref()).spans();
    b.each("word", words(job), false, |b, word| {
        for row in &rows {
            for col in &cols {
                b.each("row", row.count, false, |b, i| {
                    b.each("col", col.count, false, |b, j| {
                        let mut reached: Option<Expr> = None;
                        for rows in &row.offsets {
                            for cols in &col.offsets {
                                let at = [
                                    i.clone() * idx(row.step) + idx(rows.base),
                                    j.clone() * idx(col.step) + idx(cols.base),
                                ];
                                let here = slices.reached(b, &word, *rows, *cols, at);
                                // The greatest sum of a window reaches a threshold if any does.
                                reached = Some(match reached.take() {
                                    None => here,
                                    Some(before) => b.val("reached", before | here),
                                });
                            }
                        }
                        let to = [idx(row.start) + i.clone(), idx(col.start) + j];
                        let [to_row, to_col] = to;
                        b.store(
                            y,
                            job.y.at(word.clone(), to_row, to_col),
                            reached.expect("a window has a site"),
                        );
                    });
                });
            }
        }
    });
    b.finish()
}

fn words(job: &Job) -> usize {
    job.weights.shape[0].div_ceil(WORD)
}

/// One bit per weight, `[word of channels][tap]`.
fn plane(b: &mut Builder, job: &Job, name: &str, is: &dyn Fn(i8) -> bool) -> Buf {
    let (_, codes) = job.packed_codes().expect("asked before");
    let taps = job.taps();
    let mut data = vec![0u32; words(job) * taps];
    for (c, k) in (0..job.weights.shape[0]).flat_map(|c| (0..taps).map(move |k| (c, k))) {
        data[c / WORD * taps + k] |= u32::from(is(codes[job.source(c, k)])) << (c % WORD);
    }
    b.constants(name, Ty::U32, ints(data.into_iter().map(i64::from), Ty::U32))
}

struct Slices<'a> {
    job: &'a Job<'a>,
    x: Buf,
    plus: Buf,
    live: Option<Buf>,
    /// Digits of how many products have to be -1 for a sum to miss its threshold, by taps.
    limits: BTreeMap<[usize; 4], Buf>,
}

impl Slices<'_> {
    /// Which of a word's channels reach their thresholds with the taps of a site, the first of which reads at `at`.
    fn reached(&mut self, b: &mut Builder, word: &Expr, rows: Taps, cols: Taps, at: [Expr; 2]) -> Expr {
        let job = self.job;
        let kw = job.kernel()[1];
        let mut counters = Counters::new(Ty::U32);
        for (ky, kx) in (0..rows.count).flat_map(|ky| (0..cols.count).map(move |kx| (ky, kx))) {
            let tap = word.clone() * idx(job.taps()) + idx((rows.first + ky) * kw + cols.first + kx);
            let row = at[0].clone() + idx(ky * job.geom.dilation[0]);
            let col = at[1].clone() + idx(kx * job.geom.dilation[1]);
            let differ = b.load(self.x, job.x.at(word.clone(), row, col)) ^ b.load(self.plus, tap.clone());
            let differ = match self.live {
                None => differ,
                Some(live) => differ & b.load(live, tap),
            };
            let differ = b.val("differ", differ);
            counters.add(b, differ);
        }
        let wrong = counters.digits(b);
        let places = places(rows.count * cols.count);
        let limits = self.limits(b, rows, cols, places);
        let mut less: Option<Expr> = None;
        for place in 0..places {
            let limit = b.val("limit", b.load(limits, word.clone() * idx(places) + idx(place)));
            let next = match (wrong.get(place), less.take()) {
                (None, None) => limit,
                (None, Some(less)) => limit | less,
                (Some(wrong), None) => limit.clone() & (limit ^ wrong.clone()),
                // Where the digits differ, the limit's decides; else those below.
                (Some(wrong), Some(less)) => less.clone() ^ ((limit.clone() ^ wrong.clone()) & (limit ^ less)),
            };
            less = Some(b.val("less", next));
        }
        less.expect("a limit has a digit")
    }

    /// `[word of channels][place]`, the lowest digit first.
    fn limits(&mut self, b: &mut Builder, rows: Taps, cols: Taps, places: usize) -> Buf {
        let job = self.job;
        let key = [rows.first, rows.count, cols.first, cols.count];
        *self.limits.entry(key).or_insert_with(|| {
            let (_, codes) = job.packed_codes().expect("asked before");
            let Epilogue::Threshold(thresholds) = job.epilogue else {
                unreachable!("asked before")
            };
            let kw = job.kernel()[1];
            let taps = |c: usize| {
                let tap = move |ky: usize, kx: usize| (rows.first + ky) * kw + cols.first + kx;
                let all = (0..rows.count).flat_map(move |ky| (0..cols.count).map(move |kx| tap(ky, kx)));
                all.filter(move |&k| codes[job.source(c, k)] != 0).count() as i64
            };
            let mut data = vec![0u32; words(job) * places];
            for (c, &threshold) in thresholds.iter().enumerate() {
                // live - 2 wrong >= threshold for fewer than so many; channels beyond the last never reach theirs.
                let live = taps(c);
                let limit = ((live - i64::from(threshold)).div_euclid(2) + 1).clamp(0, live + 1);
                for place in 0..places {
                    data[c / WORD * places + place] |= ((limit >> place & 1) as u32) << (c % WORD);
                }
            }
            let name = format!("limits_{}_{}_{}_{}", rows.first, rows.count, cols.first, cols.count);
            b.constants(&name, Ty::U32, ints(data.into_iter().map(i64::from), Ty::U32))
        })
    }
}

/// Binary digits of the numbers up to one more than `most`.
fn places(most: usize) -> usize {
    (usize::BITS - (most + 1).leading_zeros()) as usize
}
