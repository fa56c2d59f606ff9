//! 8-bit operands by weights where the vector unit multiplies and sums across all lanes: the lanes are taps, and each sum is a
//! scalar. `vector-row` expands packed weights to bytes once for a block of outputs, and they serve every pixel. `vector-row-code` is
//! for one pixel, a dense layer's: codes are picked from their bytes where they are multiplied.

use super::codes::{Packed, at_place, code, of};
use super::im2col;
use super::nest::Job;
use super::tiles::{self, Shape, Sum, Sums, Tile};
use super::vector_dot::{Corrections, Operand, bound, pixels};
use super::view::Layout;
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{Buf, Expr, Kernel, Role, Ty, Var, VecOp};
use crate::target::Simd;

/// Taps that one instruction takes.
const LANES: usize = 16;
const BYTES: Ty = Ty::Vec(crate::kir::Lane::I8, LANES as u8);
const CODES: Ty = Ty::Vec(crate::kir::Lane::U8, LANES as u8);

/// Outputs whose rows are expanded together. Their sums for two pixels stay in registers: of the fourteen that Armv8.1-M has,
/// only even ones take sums across lanes, and with eight sums GCC spills six.
const BLOCK: usize = 2;

/// The same where codes are picked. As many binary weights as a byte holds: what fills no byte of one output fills bytes of all.
const CODES_BLOCK: usize = 8;

/// Of these so many share each operand that is loaded.
const SHARING: usize = 4;

fn machine(simd: &Simd) -> bool {
    let own = [
        "dot_i32_i8x16_i8x16",
        "load_i8x16",
        "store_i8x16",
        "load_u8x16",
        "and_u8x16",
        "shr_u8x16",
        "cast_i8x16_u8x16",
    ];
    own.iter().all(|o| simd.has(o))
}

/// Why `vector-row` cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    unfit(job).or_else(|| (pixels(job) < 2).then(|| "one pixel is too few to expand weights for".into()))
}

/// Why `vector-row-code` cannot build `job`, if so.
pub fn refuses_codes(job: &Job) -> Option<String> {
    unfit(job).or_else(|| (pixels(job) != 1).then(|| format!("{} pixels", pixels(job))))
}

fn unfit(job: &Job) -> Option<String> {
    if !machine(job.simd) {
        return Some("the target does not sum products across lanes".into());
    }
    if !matches!(job.x.elem, Elem::I8 | Elem::U8) || job.packed_codes().is_none() {
        return Some("no binary or ternary weights by 8-bit integers".into());
    }
    (job.geom.groups != 1).then(|| format!("{} groups", job.geom.groups))
}

/// Sums of `blocks` outputs by `pixels` at a time.
fn shape(blocks: usize, pixels: usize) -> Shape {
    Shape {
        lanes: 1,
        blocks,
        pixels,
        together: 1,
    }
}

/// The operand as it is, or its windows gathered.
fn operand(b: &mut Builder, job: &Job, patches: Option<&Job>, x: Buf) -> Operand {
    let Some(rows) = patches else {
        return Operand::new(b, job, LANES, Ty::I8, x);
    };
    let (buf, offset) = im2col::gather(b, job, rows, Ty::I8, x);
    Operand {
        buf,
        held: Ty::I8,
        wanted: Ty::I8,
        offset,
    }
}

/// Builds `vector-row`.
pub fn build(job: &Job) -> Kernel {
    let direct = job.x.layout == Layout::Interleaved && job.inputs().is_multiple_of(LANES);
    let given = job.x;
    let patches = (!direct).then(|| im2col::plan(job, LANES));
    let inner = patches.as_ref().unwrap_or(job);
    let shape = shape(BLOCK, 2);
    tiles::nest(inner, (given, job.x_range), shape, bound(inner, Ty::I8), |b, x| {
        let x = operand(b, job, patches.as_ref(), x);
        let (depth, codes) = inner.packed_codes().expect("asked before");
        let row = |(first, valid): (usize, usize)| -> Vec<i8> {
            let steps = (0..inner.taps() / LANES).flat_map(|step| (0..valid * LANES).map(move |at| (step, at)));
            let weight = |(step, at)| codes[inner.source(first + at / LANES, step * LANES + at % LANES)];
            steps.map(weight).collect()
        };
        let blocks: Vec<Vec<i8>> = shape.runs(inner).map(row).collect();
        let len = shape.slots(inner) * BLOCK * inner.taps() + LANES;
        Rows {
            job: inner,
            corrections: Corrections::new(x.offset, shape, inner.taps()),
            x,
            packed: Packed::declare(b, depth, LANES, &blocks),
            bytes: b.param("bytes", Ty::I8, len, Role::Scratch, (-1, 1)),
        }
    })
}

struct Rows<'a> {
    job: &'a Job<'a>,
    x: Operand,
    packed: Packed,
    bytes: Buf,
    corrections: Corrections,
}

/// Runs `body` for every step, some of them in straight-line code: GCC steps a pointer for each load otherwise.
fn each(b: &mut Builder, steps: usize, body: impl Fn(&mut Builder, Expr)) {
    let inner = (1..=4).rev().find(|d| steps.is_multiple_of(*d)).expect("1 divides");
    b.each("part", steps / inner, false, |b, part| {
        b.each("c", inner, true, |b, c| body(b, part.clone() * idx(inner) + c));
    });
}

/// Expanded weights lie `[slot][step][output of the block][16]`.
impl Sums for Rows<'_> {
    fn prepare(&self, b: &mut Builder, block: &Expr, slot: &Expr, valid: usize) {
        let taps = self.job.taps();
        let at = slot.clone() * idx(BLOCK * taps);
        self.packed.expand(b, block, valid * taps, self.bytes, &at, Ty::I8);
    }

    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let [_, inputs, _, kw] = self.job.weights.shape;
        let geom = &self.job.geom;
        let valid = tile.valid;
        let sums: Vec<Vec<Var>> = tile
            .sites
            .iter()
            .map(|_| (0..valid).map(|_| b.mutable("sum", int(0, Ty::I32))).collect())
            .collect();
        let [rows, cols, steps] = tile.loops(self.job, inputs / LANES);
        b.each("ky", rows, false, |b, ky| {
            b.each("kx", cols, false, |b, kx| {
                each(b, steps, |b, c| {
                    let tap = (idx(tile.rows.first) + ky.clone()) * idx(kw) + idx(tile.cols.first) + kx.clone();
                    let slot = tile.slot.clone() * idx(BLOCK * self.job.taps());
                    let step = tap * idx(inputs / LANES) + c.clone();
                    let first = b.val("first", slot + step * idx(valid * LANES));
                    let operand = |b: &mut Builder, s: usize| {
                        let site = &tile.sites[s];
                        let y = site.y.clone() + ky.clone() * idx(geom.dilation[0]);
                        let x = site.x.clone() + kx.clone() * idx(geom.dilation[1]);
                        taps(b, &self.x, self.job.x.at(c.clone() * idx(LANES), y, x))
                    };
                    let operands: Vec<Expr> = (0..tile.sites.len()).map(|s| operand(b, s)).collect();
                    for q in 0..valid {
                        let w = b.load_n(self.bytes, first.clone() + idx(q * LANES), LANES, BYTES);
                        let w = b.val("w", w);
                        for (sums, x) in sums.iter().zip(&operands) {
                            dot(b, sums[q], x, w.clone());
                        }
                    }
                });
            });
        });
        let mut out = vec![];
        for sums in &sums {
            out.push(
                (0..valid)
                    .map(|q| Sum::Whole(self.corrections.apply(b, self.job, tile, q, Expr::Var(sums[q]))))
                    .collect(),
            );
        }
        out
    }
}

/// Builds `vector-row-code`.
pub fn build_codes(job: &Job) -> Kernel {
    let direct = job.x.side_by_side() && job.taps() == job.x.elements() && job.taps().is_multiple_of(LANES);
    let given = job.x;
    let patches = (!direct).then(|| im2col::plan(job, LANES));
    let inner = patches.as_ref().unwrap_or(job);
    // Codes count from 0 to 3 for the verifier, and the operand's total is taken off.
    let bound = 4 * bound(inner, Ty::I8);
    let shape = shape(CODES_BLOCK, 1);
    tiles::nest(inner, (given, job.x_range), shape, bound, |b, x| {
        let x = operand(b, job, patches.as_ref(), x);
        let (depth, codes) = inner.packed_codes().expect("asked before");
        // Behind the last tap the operand is 0, unless something was added to it, and weights may be anything.
        let steps = Steps::of(
            inner.taps(),
            if x.offset == 0 { job.taps() } else { inner.taps() },
            depth,
        );
        Codes {
            job: inner,
            depth,
            packed: pack(b, inner, shape, &steps, codes),
            steps,
            total: total(b, &x, inner.taps()),
            corrections: Corrections::new(x.offset, shape, inner.taps()),
            x,
        }
    })
}

/// Sixteen elements of the operand.
fn taps(b: &mut Builder, x: &Operand, at: Expr) -> Expr {
    let v = b.load_n(x.buf, at, LANES, x.held.times(LANES as u8));
    let v = if x.held == Ty::I8 { v } else { v.cast(BYTES) };
    b.val("taps", v)
}

/// `x` and `y` multiplied lane by lane, added to a sum.
fn dot(b: &mut Builder, sum: Var, x: &Expr, y: Expr) {
    b.set(sum, Expr::Vector(VecOp::Dot, vec![Expr::Var(sum), x.clone(), y]));
}

/// The sum of the operand's first `n` elements.
fn total(b: &mut Builder, x: &Operand, n: usize) -> Expr {
    let all = b.mutable("total", int(0, Ty::I32));
    b.each("step", n / LANES, false, |b, step| {
        let taps = taps(b, x, step * idx(LANES));
        dot(b, all, &taps, splat(int(1, Ty::I8), BYTES));
    });
    b.val("x_total", Expr::Var(all))
}

struct Codes<'a> {
    job: &'a Job<'a>,
    depth: Depth,
    packed: Buf,
    steps: Steps,
    total: Expr,
    corrections: Corrections,
    x: Operand,
}

/// How the steps of a row of codes lie in memory.
#[derive(Clone, Copy, Debug)]
struct Steps {
    /// Codes of a byte.
    per: usize,
    /// Bits of a code.
    bits: u32,
    /// Steps whose lanes all have taps.
    full: usize,
    /// Lanes that have taps in a step behind these; 0 if there is none.
    last: usize,
}

impl Steps {
    /// Rows of `padded` taps of which the first `taps` mean something.
    fn of(padded: usize, taps: usize, depth: Depth) -> Steps {
        let (bits, per) = code(depth);
        debug_assert_eq!(padded, taps.next_multiple_of(LANES));
        Steps {
            per,
            bits,
            full: taps / LANES,
            last: taps % LANES,
        }
    }

    /// Steps that fill bytes, in chunks of as many as a byte has codes, and those that do not.
    fn chunks(&self) -> (usize, usize) {
        (self.full / self.per, self.full % self.per)
    }

    /// The first byte of what is behind the chunks of a block of `valid` outputs; that of the last step; and their end.
    fn bounds(&self, valid: usize) -> [usize; 3] {
        let (chunks, left) = self.chunks();
        let rest = chunks * valid * LANES;
        let last = rest + (valid * left).div_ceil(self.per) * LANES;
        [rest, last, last + valid.div_ceil(self.per) * self.last]
    }
}

/// `[block][chunk][output of the block][16]` bytes; place p of byte j is the code of tap `(chunk * per + p) * 16 + j`. Behind a block's chunks
/// are the steps that fill no byte, `[output][step][16]`, each vector of them in the next place of a byte, and then the last step of all
/// outputs, of as many bytes as it has taps: it is loaded with what is behind it.
fn pack(b: &mut Builder, job: &Job, shape: Shape, steps: &Steps, codes: &[i8]) -> Buf {
    let (depth, _) = job.packed_codes().expect("asked before");
    let (chunks, left) = steps.chunks();
    let mut data = vec![];
    for (first, valid) in shape.runs(job) {
        let start = data.len();
        let [rest, last, end] = steps.bounds(valid);
        data.resize(start + end, 0);
        for (o, k) in (0..valid).flat_map(|o| (0..steps.full * LANES + steps.last).map(move |k| (o, k))) {
            let (step, j) = (k / LANES, k % LANES);
            let (vector, place) = match step {
                step if step == steps.full => (last + o / steps.per * steps.last, o % steps.per),
                step if step / steps.per < chunks => ((step / steps.per * valid + o) * LANES, step % steps.per),
                step => {
                    let slot = o * left + step % steps.per;
                    (rest + slot / steps.per * LANES, slot % steps.per)
                }
            };
            let code = of(depth, codes[job.source(first + o, k)]);
            data[start + vector + j] |= code << (place as u32 * steps.bits);
        }
    }
    data.resize(data.len() + (LANES - steps.last) % LANES, 0);
    b.constants("codes", Ty::U8, ints(data.into_iter().map(i64::from), Ty::U8))
}

impl Codes<'_> {
    /// The codes from byte `at` of a tile's block on.
    fn codes(&self, b: &mut Builder, tile: &Tile, at: Expr) -> Expr {
        let [.., block] = self.steps.bounds(CODES_BLOCK);
        let v = b.load_n(self.packed, tile.block.clone() * idx(block) + at, LANES, CODES);
        b.val("c", v)
    }

    /// Adds the products of the codes at a place to a sum.
    fn add(&self, b: &mut Builder, codes: &Expr, place: usize, taps: &Expr, sum: Var) {
        let bits = self.steps.bits;
        let code = at_place(codes.clone(), place as u32 * bits, bits, CODES).cast(BYTES);
        dot(b, sum, taps, code);
    }

    /// The steps of a chunk for some sums, from output `q` on.
    fn chunk(&self, b: &mut Builder, tile: &Tile, chunk: &Expr, q: usize, sums: &[Var]) {
        let per = self.steps.per;
        let first = chunk.clone() * idx(tile.valid) + idx(q);
        let codes: Vec<Expr> = (0..sums.len())
            .map(|q| self.codes(b, tile, (first.clone() + idx(q)) * idx(LANES)))
            .collect();
        for place in 0..per {
            let step = chunk.clone() * idx(per) + idx(place);
            let taps = taps(b, &self.x, step * idx(LANES));
            for (codes, &sum) in codes.iter().zip(sums) {
                self.add(b, codes, place, &taps, sum);
            }
        }
    }

    /// The steps that fill no byte.
    fn rest(&self, b: &mut Builder, tile: &Tile, sums: &[Var]) {
        let Steps { per, full, last, .. } = self.steps;
        let (chunks, left) = self.steps.chunks();
        let [rest, narrow, _] = self.steps.bounds(tile.valid);
        let add = |b: &mut Builder, first: usize, left: usize, from: usize, width: usize| {
            let taps: Vec<Expr> = (0..left).map(|i| taps(b, &self.x, idx((first + i) * LANES))).collect();
            let mut codes = None;
            for at in 0..tile.valid * left {
                if at % per == 0 {
                    codes = Some(self.codes(b, tile, idx(from + at / per * width)));
                }
                let codes = codes.as_ref().expect("the first place is a multiple");
                self.add(b, codes, at % per, &taps[at % left], sums[at / left]);
            }
        };
        add(b, chunks * per, left, rest, LANES);
        if last > 0 {
            add(b, full, 1, narrow, last);
        }
    }
}

impl Sums for Codes<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let sums: Vec<Var> = (0..tile.valid).map(|_| b.mutable("sum", int(0, Ty::I32))).collect();
        let (chunks, _) = self.steps.chunks();
        for (i, sums) in sums.chunks(SHARING).enumerate() {
            b.each("chunk", chunks, false, |b, chunk| {
                self.chunk(b, tile, &chunk, i * SHARING, sums);
            });
        }
        self.rest(b, tile, &sums);
        let mut out = vec![];
        for (q, &sum) in sums.iter().enumerate() {
            let sum = Expr::Var(sum);
            let sum = if self.depth == Depth::Binary {
                sum.clone() + sum
            } else {
                sum
            };
            out.push(Sum::Whole(self.corrections.apply(
                b,
                self.job,
                tile,
                q,
                sum - self.total.clone(),
            )));
        }
        vec![out]
    }
}
