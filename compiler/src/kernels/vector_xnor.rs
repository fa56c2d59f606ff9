//! Packed signs by packed weights on vectors: each lane holds 32 weights of one output, and every word of signs goes to all
//! lanes. Where the vector unit counts the bits of bytes only, counts are summed in bytes as long as these hold them.

use super::nest::Job;
use super::tiles::{self, Shape, Sums, Tile};
use super::view::WORD;
use super::window::Taps;
use super::xnor;
use crate::ir::Depth;
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{Buf, Expr, Kernel, Ty, Var, VecOp};
use crate::target::Simd;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Words that a byte counts: each adds at most 8.
const WORDS_PER_BYTE: usize = 31;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    if let Some(why) = xnor::refuses(job) {
        return Some(why);
    }
    if matches!(job.epilogue, crate::ir::Epilogue::Float { .. }) && job.y.c < 8 {
        return Some("too few outputs for vectors".into());
    }
    machine(job.simd)
        .is_none()
        .then(|| "the target has no vectors that count bits".into())
}

/// Outputs in a vector, and whether words are counted at once.
fn machine(simd: &Simd) -> Option<(usize, bool)> {
    let common = |n: usize| {
        let names = [
            "load_u32",
            "repeat1_u32",
            "xor_u32",
            "and_u32",
            "add_u32",
            "ge_mask_i32",
            "splat_i32",
            "sub_i32",
            "max_i32",
        ];
        names.into_iter().map(move |o| format!("{o}x{n}"))
    };
    let words = |n: usize| common(n).chain([format!("popcnt_u32x{n}")]).collect();
    let bytes = |n: usize| {
        let (b, h) = (4 * n, 2 * n);
        let own = [
            format!("popcnt_u8x{b}"),
            format!("pairs_u8x{b}"),
            format!("pairs_u16x{h}"),
            format!("add_u8x{b}"),
        ];
        common(n).chain(own).collect()
    };
    let whole = tiles::widest(simd, words).map(|n| (n, true));
    whole.or_else(|| tiles::widest(simd, bytes).map(|n| (n, false)))
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let (depth, codes) = job.packed_codes().expect("asked before");
    let (lanes, whole) = machine(job.simd).expect("asked before");
    let shape = match (lanes, whole) {
        (16, _) => Shape {
            lanes,
            blocks: 2,
            pixels: 8,
        },
        (8, _) => Shape {
            lanes,
            blocks: 4,
            pixels: 2,
        },
        _ => Shape {
            lanes,
            blocks: 8,
            pixels: 2,
        },
    };
    // The verifier counts the unused bits of a word, and takes weights that are not 0 and signs that differ apart.
    let [kh, kw] = job.kernel();
    let bound = 2 * (kh * kw * job.inputs().next_multiple_of(WORD)) as i64;
    tiles::nest(job, (job.x, job.x_range), shape, bound, |b, x| Xnor {
        job,
        shape,
        whole,
        x,
        plus: plane(b, job, shape, "plus", codes, &|c| c > 0),
        live: (depth == Depth::Ternary).then(|| plane(b, job, shape, "live", codes, &|c| c != 0)),
        counts: RefCell::default(),
    })
}

struct Xnor<'a> {
    job: &'a Job<'a>,
    shape: Shape,
    whole: bool,
    x: Buf,
    plus: Buf,
    live: Option<Buf>,
    /// Number of weights that are not 0, by taps.
    counts: RefCell<BTreeMap<[usize; 4], Buf>>,
}

/// One bit per weight, `[block][row][column][input / 32][output of the block]`.
fn plane(b: &mut Builder, job: &Job, shape: Shape, name: &str, codes: &[i8], is: &dyn Fn(i8) -> bool) -> Buf {
    let [outputs, inputs, kh, kw] = job.weights.shape;
    let per_pixel = inputs.div_ceil(WORD);
    let per_block = shape.outputs();
    let blocks = outputs.next_multiple_of(per_block.max(WORD)) / per_block;
    let mut words = vec![0u32; blocks * kh * kw * per_pixel * per_block];
    for o in 0..outputs {
        for k in 0..job.taps() {
            if is(codes[job.source(o, k)]) {
                let (pixel, c) = (k / inputs, k % inputs);
                let step = (o / per_block * kh * kw + pixel) * per_pixel + c / WORD;
                words[step * per_block + o % per_block] |= 1 << (c % WORD);
            }
        }
    }
    b.constants(name, Ty::U32, ints(words.into_iter().map(i64::from), Ty::U32))
}

impl Sums for Xnor<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Expr>> {
        let [rows, cols, words] = tile.loops(self.job, self.job.inputs().div_ceil(WORD));
        // The loop over words is cut so that a byte holds the counts of an inner one.
        let inner = (1..=words.min(WORDS_PER_BYTE))
            .rev()
            .find(|d| words.is_multiple_of(*d))
            .expect("1 divides");
        let loops = [rows, cols, words / inner, inner];
        let depth = (0..4)
            .find(|&d| loops[d..].iter().product::<usize>() <= WORDS_PER_BYTE)
            .expect("one word fits");
        let ty = Ty::U32.times(self.shape.lanes as u8);
        let sums = self.zeros(b, tile, "wrong", ty);
        let mut at = vec![];
        let flush = (!self.whole).then_some(depth);
        self.level(b, tile, loops, flush, &mut at, &sums);
        let wrong = |v: Var| Expr::Var(v).cast(self.shape.sums());
        let mut out = vec![];
        for row in &sums {
            let mut vectors = vec![];
            for (q, &v) in row.iter().enumerate() {
                let live = self.live(b, tile, q);
                vectors.push(b.val("s", live - (wrong(v) + wrong(v))));
            }
            out.push(vectors);
        }
        out
    }
}

impl Xnor<'_> {
    fn zeros(&self, b: &mut Builder, tile: &Tile, name: &str, ty: Ty) -> Vec<Vec<Var>> {
        let zero = splat(int(0, ty.scalar()), ty);
        let row = |b: &mut Builder| (0..self.shape.blocks).map(|_| b.mutable(name, zero.clone())).collect();
        tile.sites.iter().map(|_| row(b)).collect()
    }

    /// The loops from one on; at `flush` counts in bytes begin and are added to `sums` at the end.
    fn level(
        &self,
        b: &mut Builder,
        tile: &Tile,
        loops: [usize; 4],
        flush: Option<usize>,
        at: &mut Vec<Expr>,
        sums: &[Vec<Var>],
    ) {
        if flush == Some(at.len()) {
            let ty = Ty::U8.times(4 * self.shape.lanes as u8);
            let bytes = self.zeros(b, tile, "count", ty);
            self.level(b, tile, loops, None, at, &bytes);
            for (&sum, &count) in sums.iter().flatten().zip(bytes.iter().flatten()) {
                let pairs = |e: Expr| Expr::Vector(VecOp::Pairs, vec![e]);
                b.add(sum, pairs(pairs(Expr::Var(count))));
            }
            return;
        }
        match at.len() {
            4 => self.step(b, tile, loops[3], at, sums),
            d => {
                let name = ["ky", "kx", "part", "w"][d];
                // Two or three words a pixel are not worth a loop.
                b.each(name, loops[d], d == 3 && loops[3] <= 4, |b, i| {
                    at.push(i);
                    self.level(b, tile, loops, flush, at, sums);
                    at.pop();
                });
            }
        }
    }

    /// One word of signs of every site.
    fn step(&self, b: &mut Builder, tile: &Tile, inner: usize, at: &[Expr], sums: &[Vec<Var>]) {
        let [_, inputs, kh, kw] = self.job.weights.shape;
        let (words, geom) = (inputs.div_ceil(WORD), &self.job.geom);
        let (ky, kx) = (at[0].clone(), at[1].clone());
        let w = at[2].clone() * idx(inner) + at[3].clone();
        let tap = (idx(tile.rows.first) + ky.clone()) * idx(kw) + idx(tile.cols.first) + kx.clone();
        let step = (tile.block.clone() * idx(kh * kw) + tap) * idx(words) + w.clone();
        let first = b.val("first", step * idx(self.shape.outputs()));
        let lanes = self.shape.lanes;
        let ty = Ty::U32.times(lanes as u8);
        let plane = |b: &mut Builder, name: &str, buf: Buf| -> Vec<Expr> {
            let load = |b: &mut Builder, q: usize| {
                let v = b.load_n(buf, first.clone() + idx(q * lanes), lanes, ty);
                b.val(name, v)
            };
            (0..self.shape.blocks).map(|q| load(b, q)).collect()
        };
        let plus = plane(b, "plus_w", self.plus);
        let live = self.live.map(|l| plane(b, "live_w", l));
        for (site, sums) in tile.sites.iter().zip(sums) {
            let y = site.y.clone() + ky.clone() * idx(geom.dilation[0]);
            let x = site.x.clone() + kx.clone() * idx(geom.dilation[1]);
            let signs = b.load_n(self.x, self.job.x.at(w.clone(), y, x), 1, ty);
            let signs = b.val("signs", signs);
            for (q, &sum) in sums.iter().enumerate() {
                let differ = plus[q].clone() ^ signs.clone();
                let differ = match &live {
                    Some(live) => differ & live[q].clone(),
                    None => differ,
                };
                let counted = match b.ty(&Expr::Var(sum)) {
                    bytes if bytes.scalar() == Ty::U8 => Expr::Vector(VecOp::Bits(bytes), vec![differ]),
                    _ => differ,
                };
                b.add(sum, counted.popcnt());
            }
        }
    }

    /// Number of weights that are not 0 among a tile's taps, for vector `q` of its outputs.
    fn live(&self, b: &mut Builder, tile: &Tile, q: usize) -> Expr {
        let (rows, cols, ty) = (tile.rows, tile.cols, self.shape.sums());
        if self.live.is_none() {
            let n = rows.count * cols.count * self.job.inputs();
            return splat(int(n as i64, Ty::I32), ty);
        }
        let key = [rows.first, rows.count, cols.first, cols.count];
        let known = self.counts.borrow().get(&key).copied();
        let table = known.unwrap_or_else(|| {
            let table = self.count(b, rows, cols);
            self.counts.borrow_mut().insert(key, table);
            table
        });
        let at = tile.block.clone() * idx(self.shape.outputs()) + idx(q * self.shape.lanes);
        b.load_n(table, at, self.shape.lanes, ty)
    }

    fn count(&self, b: &mut Builder, rows: Taps, cols: Taps) -> Buf {
        let (_, codes) = self.job.packed_codes().expect("asked before");
        let [outputs, inputs, _, kw] = self.job.weights.shape;
        let padded = outputs.next_multiple_of(self.shape.outputs().max(WORD));
        let seen = |k: &usize| {
            let (ky, kx) = (k / inputs / kw, k / inputs % kw);
            (rows.first..rows.first + rows.count).contains(&ky) && (cols.first..cols.first + cols.count).contains(&kx)
        };
        let mut counts = vec![0; padded];
        for (o, n) in counts.iter_mut().enumerate().take(outputs) {
            let live = |k: &usize| codes[self.job.source(o, *k)] != 0;
            *n = (0..self.job.taps()).filter(seen).filter(live).count() as i64;
        }
        let name = format!("live_{}_{}_{}_{}", rows.first, rows.count, cols.first, cols.count);
        b.constants(&name, Ty::I32, ints(counts, Ty::I32))
    }
}
