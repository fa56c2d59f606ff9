//! Weights as code on two pixels at a time: their operands lie in the halves of a word, and one addition or subtraction serves
//! both. Nothing is spent on weights that are 0.
//!
//! The taps are cut into chunks whose operands fit the registers. A chunk is straight-line code that runs through all outputs,
//! with the sums in RAM, and stands in a loop over the pairs of a row. (Additions of whole words do what `SADD16` does but for
//! the borrow that a negative lower half takes from the upper one, which is given back when the halves are parted; so no
//! processor needs an instruction for it.)
//!
//! A half holds 16 bits. Where the sums of a layer may be greater, taps are cut into blocks of whose sums it is known that they
//! are not, and the blocks' sums are added up in words.

use super::nest::{Finish, Job, channels, coordinate};
use crate::ir::Elem;
use crate::kir::build::{Builder, idx, int};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};

/// Additions beyond which the code is no candidate: some 100 KB, for which compilers take half a minute. Nor does longer code pay:
/// 36,864 binary weights on RV32IMC took 1.83 million instructions in Rust and 2.17 million in C, tables of sums 1.75 million.
const LIMIT: usize = 24_000;

/// Outputs below which building operands costs as much as adding them.
const LEAST_OUTPUTS: usize = 4;

/// Registers below which operands are not kept in them: on Armv6-M, where eight have to do, LLVM holds every address that a load
/// cannot reach on the stack, over 4 KB for 64 outputs (GCC takes 252 bytes and 0.86 instructions a multiply-add).
const LEAST_WORDS: usize = 12;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let live = job
        .packed_codes()
        .map_or(0, |(_, codes)| codes.iter().filter(|c| **c != 0).count());
    match () {
        _ if job.simd.words < LEAST_WORDS => Some(format!("{} registers are too few", job.simd.words)),
        _ if job.packed_codes().is_none() => Some("weights are not binary or ternary".into()),
        _ if !matches!(job.x.elem, Elem::I8 | Elem::U8) => Some("operand is not of 8 bits".into()),
        _ if job.geom.groups != 1 => Some(format!("{} groups", job.geom.groups)),
        _ if live > LIMIT => Some(format!("{live} additions are more than {LIMIT}")),
        _ if job.y.c < LEAST_OUTPUTS => Some(format!("{} outputs are too few to share operands", job.y.c)),
        _ if columns(job) < 2 => Some("no two pixels are side by side".into()),
        _ if job.pool.is_some() && columns(job) % 2 == 1 => Some("an odd number of columns is pooled".into()),
        _ => None,
    }
}

/// Columns of sums in a row.
fn columns(job: &Job) -> usize {
    job.y.w * job.pool.map_or(1, |p| p.size[1])
}

/// A weight's place: the kernel's row and column, and the channel.
#[derive(Clone, Copy)]
struct Tap {
    ky: usize,
    kx: usize,
    c: usize,
}

/// Taps whose operands are in registers together.
struct Chunk {
    taps: Vec<Tap>,
    /// For each output the weights of the taps.
    weights: Vec<Vec<i8>>,
}

struct Pairs<'a> {
    job: &'a Job<'a>,
    x: Buf,
    /// Chunks of which the sums fit the halves of words.
    blocks: Vec<Vec<Chunk>>,
    /// `[pair][output]`, of a block; where there is one block alone, `[row of the pool][pair][output]`.
    halves: Buf,
    /// `[row of the pool][column][output]`, of all blocks, if there are several.
    sums: Option<Buf>,
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let mut b = Builder::new(&job.name, &job.doc);
    let x = b.param("x", job.x.ty(), job.x.elements(), Role::In, job.x_range);
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let finish = Finish::declare(&mut b, job);
    let rows = job.pool.map_or(1, |p| p.size[0]);
    let pairs = columns(job).div_ceil(2);
    let mut scratch = |name: &str, len: usize| b.param(name, Ty::U32, len, Role::Scratch, Ty::U32.range());
    let blocks = blocks(job);
    let one = blocks.len() == 1 && job.pool.is_none_or(|p| p.size[1].is_multiple_of(2));
    let kernel = Pairs {
        halves: scratch("halves", pairs * job.y.c * if one { rows } else { 1 }),
        sums: (!one).then(|| scratch("sums", rows * 2 * pairs * job.y.c)),
        blocks,
        job,
        x,
    };
    b.each("row", job.y.h, false, |b, row| {
        b.each("dy", rows, false, |b, dy| {
            let top = (row.clone() * idx(rows) + dy.clone()) * idx(job.geom.stride[0]);
            let above = if one { dy.clone() * idx(pairs) } else { idx(0) };
            for (i, block) in kernel.blocks.iter().enumerate() {
                for (j, chunk) in block.iter().enumerate() {
                    b.each("pair", pairs, false, |b, pair| {
                        kernel.chunk(b, chunk, j == 0, &top, &above, pair)
                    });
                }
                if let Some(sums) = kernel.sums {
                    kernel.part(b, sums, i == 0, &dy);
                }
            }
        });
        match kernel.sums {
            Some(sums) => kernel.finish(b, &finish, y, &row, sums),
            None => kernel.finish_halves(b, &finish, y, &row),
        }
    });
    b.finish()
}

/// Cuts the taps.
fn blocks(job: &Job) -> Vec<Vec<Chunk>> {
    let (_, codes) = job.packed_codes().expect("asked before");
    let [outputs, inputs, kh, kw] = job.weights.shape;
    let in_order = (0..kh).flat_map(|ky| (0..kw).flat_map(move |kx| (0..inputs).map(move |c| Tap { ky, kx, c })));
    let taps: Vec<Tap> = in_order.collect();
    // A sum, the address of the sums and a constant beside the operands.
    let most = job.simd.words - 3;
    // Equal chunks: a short one would load and store every sum for little.
    let size = taps.len().div_ceil(taps.len().div_ceil(most));
    // Of every output, what the block's sum may reach. Off the map is 0.
    let (lo, hi) = (job.x_range.0.min(0), job.x_range.1.max(0));
    let mut reach = vec![(0, 0); outputs];
    let mut blocks: Vec<Vec<Chunk>> = vec![vec![]];
    for taps in taps.chunks(size) {
        let weight = |o: usize, t: &Tap| codes[job.source(o, (t.ky * kw + t.kx) * inputs + t.c)];
        let weights: Vec<Vec<i8>> = (0..outputs)
            .map(|o| taps.iter().map(|t| weight(o, t)).collect())
            .collect();
        let own: Vec<(i64, i64)> = weights
            .iter()
            .map(|w| {
                let [plus, minus] = [1, -1].map(|s| w.iter().filter(|&&w| w == s).count() as i64);
                (plus * lo - minus * hi, plus * hi - minus * lo)
            })
            .collect();
        let fits = |(a, b): (&(i64, i64), &(i64, i64))| a.0 + b.0 >= i16::MIN.into() && a.1 + b.1 <= i16::MAX.into();
        if !reach.iter().zip(&own).all(fits) {
            blocks.push(vec![]);
            reach = vec![(0, 0); outputs];
        }
        for (reach, own) in reach.iter_mut().zip(&own) {
            *reach = (reach.0 + own.0, reach.1 + own.1);
        }
        let taps = taps.to_vec();
        blocks.last_mut().expect("begun above").push(Chunk { taps, weights });
    }
    blocks
}

impl Pairs<'_> {
    /// What a chunk adds to the sums of a pair.
    fn chunk(&self, b: &mut Builder, chunk: &Chunk, first: bool, top: &Expr, above: &Expr, pair: Expr) {
        let operands = self.operands(b, chunk, top, &pair);
        let at = b.val("at", (above.clone() + pair) * idx(self.job.y.c));
        for (o, weights) in chunk.weights.iter().enumerate() {
            let at = at.clone() + idx(o);
            let start = (!first).then(|| b.load(self.halves, at.clone()));
            let live = operands.iter().zip(weights).filter(|(_, w)| **w != 0);
            let sum = live.fold(start, |sum, (x, w)| {
                Some(match (sum, w) {
                    (None, 1) => x.clone(),
                    (sum, 1) => sum.expect("the arm above") + x.clone(),
                    (sum, _) => sum.unwrap_or(int(0, Ty::U32)) - x.clone(),
                })
            });
            if first || weights.iter().any(|w| *w != 0) {
                b.store(self.halves, at, sum.unwrap_or(int(0, Ty::U32)));
            }
        }
    }

    /// The operands of a chunk, those of the pair's two pixels in the halves of a word.
    fn operands(&self, b: &mut Builder, chunk: &Chunk, top: &Expr, pair: &Expr) -> Vec<Expr> {
        let job = self.job;
        let columns = columns(job);
        let left = pair.clone() * idx(2);
        // The last of an odd number of columns is computed beside the one before it, again.
        let left = if columns.is_multiple_of(2) {
            left
        } else {
            left.min(idx(columns - 2))
        };
        let left = b.val("left", left * idx(job.geom.stride[1]));
        let mut pixels: Option<(usize, usize, [Pixel; 2])> = None;
        let mut operands = vec![];
        for tap in &chunk.taps {
            if pixels.as_ref().is_none_or(|(ky, kx, _)| (*ky, *kx) != (tap.ky, tap.kx)) {
                pixels = Some((tap.ky, tap.kx, self.pixels(b, tap, top, &left)));
            }
            let (_, _, pair) = pixels.as_ref().expect("set above");
            let [low, high] = pair.each_ref().map(|pixel| {
                let v = b.load(self.x, job.x.at(idx(tap.c), pixel.y.clone(), pixel.x.clone()));
                let v = v.cast(Ty::I32);
                pixel.masks.iter().fold(v, |v, mask| v & mask.clone()).cast(Ty::U32)
            });
            operands.push(b.val("v", low + (high << int(16, Ty::U32))));
        }
        operands
    }

    /// Where a tap of both pixels lies.
    fn pixels(&self, b: &mut Builder, tap: &Tap, top: &Expr, left: &Expr) -> [Pixel; 2] {
        let geom = &self.job.geom;
        let (y, row) = coordinate(b, self.job, 0, top.clone() + idx(tap.ky * geom.dilation[0]));
        [0, 1].map(|lane| {
            let col = left.clone() + idx(lane * geom.stride[1] + tap.kx * geom.dilation[1]);
            let (x, col) = coordinate(b, self.job, 1, col);
            let mask = match (&row, col) {
                (Some(row), Some(col)) => Some(b.val("mask", row.clone() & col)),
                (row, col) => row.clone().or(col),
            };
            Pixel {
                y: y.clone(),
                x,
                masks: mask.into_iter().collect(),
            }
        })
    }

    /// Parts the halves of a block's sums.
    fn part(&self, b: &mut Builder, sums: Buf, first: bool, dy: &Expr) {
        let outputs = self.job.y.c;
        let pairs = columns(self.job).div_ceil(2);
        b.each("pair", pairs, false, |b, pair| {
            let from = b.val("from", pair.clone() * idx(outputs));
            let to = b.val("to", (dy.clone() * idx(pairs) + pair) * idx(2 * outputs));
            b.each("o", outputs, false, |b, o| {
                let word = b.val("word", b.load(self.halves, from.clone() + o.clone()));
                let [low, high] = halves(b, &word).map(|half| half.cast(Ty::U32));
                for (lane, part) in [low, high].into_iter().enumerate() {
                    let at = to.clone() + idx(lane * outputs) + o.clone();
                    let sum = if first { part } else { b.load(sums, at.clone()) + part };
                    b.store(sums, at, sum);
                }
            });
        });
    }

    /// Stores the outputs of a row, whose sums are halves yet.
    fn finish_halves(&self, b: &mut Builder, finish: &Finish, y: Buf, row: &Expr) {
        let job = self.job;
        let (outputs, columns) = (job.y.c, columns(job));
        let pairs = columns.div_ceil(2);
        let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
        let sums = |b: &mut Builder, dy: Expr, pair: Expr, o: Expr| {
            let word = b.load(self.halves, (dy * idx(pairs) + pair) * idx(outputs) + o);
            let word = b.val("word", word);
            halves(b, &word)
        };
        if job.pool.is_some() {
            b.each("col", job.y.w, false, |b, col| {
                channels(b, job, false, y, (row.clone(), col.clone()), &mut |b, channel| {
                    let best = b.mutable("best", int(job.least, Ty::I32));
                    b.each("dy", ph, false, |b, dy| {
                        b.each("dx", pw / 2, false, |b, dx| {
                            let pair = col.clone() * idx(pw / 2) + dx;
                            for sum in sums(b, dy.clone(), pair, channel.o.clone()) {
                                b.set(best, Expr::Var(best).max(sum));
                            }
                        });
                    });
                    finish.apply(b, Expr::Var(best), channel.o.clone())
                });
            });
            return;
        }
        let store = |b: &mut Builder, lane: usize, pair: Expr, col: Expr| {
            channels(b, job, false, y, (row.clone(), col), &mut |b, channel| {
                let [low, high] = sums(b, idx(0), pair.clone(), channel.o.clone());
                let total = b.val("total", if lane == 0 { low } else { high });
                finish.apply(b, total, channel.o.clone())
            });
        };
        b.each("pair", columns / 2, false, |b, pair| {
            for lane in [0, 1] {
                store(b, lane, pair.clone(), pair.clone() * idx(2) + idx(lane));
            }
        });
        // The last of an odd number of columns is the upper half of a pair that begins with its neighbour.
        if columns % 2 == 1 {
            store(b, 1, idx(pairs - 1), idx(columns - 1));
        }
    }

    /// Stores the outputs of a row.
    fn finish(&self, b: &mut Builder, finish: &Finish, y: Buf, row: &Expr, sums: Buf) {
        let job = self.job;
        let (outputs, columns) = (job.y.c, columns(job));
        let slots = columns.next_multiple_of(2);
        let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
        // The last of an odd number of columns has the slot behind that of its repeated neighbour.
        for (count, from, slot) in [(job.y.w - columns % 2, 0, 0), (columns % 2, columns - 1, columns)] {
            if count == 0 {
                continue;
            }
            b.each("col", count, false, |b, col| {
                let at = (row.clone(), col.clone() + idx(from));
                channels(b, job, false, y, at, &mut |b, channel| {
                    let sum = |b: &Builder, dy: Expr, dx: Expr| {
                        let slot = dy * idx(slots) + col.clone() * idx(pw) + idx(slot) + dx;
                        b.load(sums, slot * idx(outputs) + channel.o.clone()).cast(Ty::I32)
                    };
                    if ph * pw == 1 {
                        let total = b.val("total", sum(b, idx(0), idx(0)));
                        return finish.apply(b, total, channel.o.clone());
                    }
                    let best = b.mutable("best", int(job.least, Ty::I32));
                    b.each("dy", ph, false, |b, dy| {
                        b.each("dx", pw, false, |b, dx| {
                            let next = sum(b, dy.clone(), dx);
                            b.set(best, Expr::Var(best).max(next));
                        });
                    });
                    finish.apply(b, Expr::Var(best), channel.o.clone())
                });
            });
        }
    }
}

/// The sums in a word.
fn halves(b: &mut Builder, word: &Expr) -> [Expr; 2] {
    let low = b.val("low", word.clone().cast(Ty::I16).cast(Ty::I32));
    let high = (word.clone() - low.clone().cast(Ty::U32)).cast(Ty::I32) >> int(16, Ty::I32);
    [low, high]
}

/// A tap on the map, and all ones where it is on the map, if it may be off.
struct Pixel {
    y: Expr,
    x: Expr,
    masks: Vec<Expr>,
}
