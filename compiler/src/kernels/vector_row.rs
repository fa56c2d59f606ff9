//! 8-bit operands by weights where the vector unit multiplies and sums across all lanes: the lanes are taps, and each sum is a
//! scalar. `vector-row` expands packed weights to bytes once for a block of outputs, and they serve every pixel. `vector-row-code` is
//! for one pixel, a dense layer's: codes are picked from their bytes where they are multiplied.

use super::im2col;
use super::nest::Job;
use super::tiles::{self, Shape, Sum, Sums, Tile};
use super::vector_dot::{Corrections, Operand, at_place, bound, code, pixels};
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

/// The same where codes are picked: four sums share each operand that is loaded.
const CODES_BLOCK: usize = 4;

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
        let packed = pack(b, inner, depth, codes, BLOCK);
        let bytes = b.param(
            "bytes",
            Ty::I8,
            shape.slots(inner) * BLOCK * row(inner, depth),
            Role::Scratch,
            (-1, 1),
        );
        Rows {
            job: inner,
            corrections: Corrections::new(x.offset, shape),
            x,
            depth,
            packed,
            bytes,
        }
    })
}

/// Taps of an output's row, as many as whole vectors of codes hold.
fn row(job: &Job, depth: Depth) -> usize {
    let (_, per) = code(depth);
    job.taps().next_multiple_of(LANES * per)
}

/// `[output][chunk][16]` bytes; place p of byte j is the code of tap `(chunk * per + p) * 16 + j`, the weight above the least one
/// (halved where there are two). Beyond the last output of the last `block` the rows are empty.
fn pack(b: &mut Builder, job: &Job, depth: Depth, codes: &[i8], block: usize) -> Buf {
    let (bits, per) = code(depth);
    let (outputs, row) = (job.weights.shape[0], row(job, depth));
    let padded = shape(block, 1).padded(job);
    let mut data = vec![0u8; padded * row / per];
    for o in 0..outputs {
        for k in 0..job.taps() {
            let w = codes[job.source(o, k)];
            let code = if depth == Depth::Binary {
                u8::from(w > 0)
            } else {
                (w + 1) as u8
            };
            let (chunk, place, j) = (k / LANES / per, k / LANES % per, k % LANES);
            data[o * row / per + chunk * LANES + j] |= code << (place as u32 * bits);
        }
    }
    b.constants("codes", Ty::U8, ints(data.into_iter().map(i64::from), Ty::U8))
}

struct Rows<'a> {
    job: &'a Job<'a>,
    x: Operand,
    depth: Depth,
    packed: Buf,
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
    fn prepare(&self, b: &mut Builder, block: &Expr, slot: &Expr) {
        let (bits, per) = code(self.depth);
        let chunks = row(self.job, self.depth) / LANES / per;
        b.each("o", BLOCK, false, |b, q| {
            b.each("chunk", chunks, false, |b, chunk| {
                let at = (block.clone() * idx(BLOCK) + q.clone()) * idx(chunks) + chunk.clone();
                let codes = b.load_n(self.packed, at * idx(LANES), LANES, CODES);
                let codes = b.val("c", codes);
                for place in 0..per {
                    let byte = at_place(codes.clone(), place as u32 * bits, bits, CODES).cast(BYTES);
                    let one = splat(int(1, Ty::I8), BYTES);
                    let weight = match self.depth {
                        Depth::Binary => byte.clone() + byte - one,
                        // The code 3 does not occur; the verifier does not know.
                        _ => (byte - one.clone()).min(one),
                    };
                    let step = slot.clone() * idx(chunks * per) + chunk.clone() * idx(per) + idx(place);
                    b.store(self.bytes, (step * idx(BLOCK) + q.clone()) * idx(LANES), weight);
                }
            });
        });
    }

    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let [_, inputs, _, kw] = self.job.weights.shape;
        let geom = &self.job.geom;
        let row = row(self.job, self.depth);
        let sums: Vec<Vec<Var>> = tile
            .sites
            .iter()
            .map(|_| (0..BLOCK).map(|_| b.mutable("sum", int(0, Ty::I32))).collect())
            .collect();
        let [rows, cols, steps] = tile.loops(self.job, inputs / LANES);
        b.each("ky", rows, false, |b, ky| {
            b.each("kx", cols, false, |b, kx| {
                each(b, steps, |b, c| {
                    let tap = (idx(tile.rows.first) + ky.clone()) * idx(kw) + idx(tile.cols.first) + kx.clone();
                    let step = tile.slot.clone() * idx(row / LANES) + tap * idx(inputs / LANES) + c.clone();
                    let first = b.val("first", step * idx(BLOCK * LANES));
                    let operand = |b: &mut Builder, s: usize| {
                        let site = &tile.sites[s];
                        let y = site.y.clone() + ky.clone() * idx(geom.dilation[0]);
                        let x = site.x.clone() + kx.clone() * idx(geom.dilation[1]);
                        taps(b, &self.x, self.job.x.at(c.clone() * idx(LANES), y, x))
                    };
                    let operands: Vec<Expr> = (0..tile.sites.len()).map(|s| operand(b, s)).collect();
                    for q in 0..BLOCK {
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
                (0..BLOCK)
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
        Codes {
            job: inner,
            depth,
            packed: pack(b, inner, depth, codes, CODES_BLOCK),
            total: total(b, &x, inner.taps()),
            corrections: Corrections::new(x.offset, shape),
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
    total: Expr,
    corrections: Corrections,
    x: Operand,
}

impl Codes<'_> {
    /// The first `places` steps of a chunk.
    fn chunk(&self, b: &mut Builder, tile: &Tile, chunk: &Expr, places: usize, sums: &[Var]) {
        let (bits, per) = code(self.depth);
        let chunks = row(self.job, self.depth) / LANES / per;
        let mut codes = vec![];
        for q in 0..CODES_BLOCK {
            let output = tile.block.clone() * idx(CODES_BLOCK) + idx(q);
            let at = (output * idx(chunks) + chunk.clone()) * idx(LANES);
            let v = b.load_n(self.packed, at, LANES, CODES);
            codes.push(b.val("c", v));
        }
        for place in 0..places {
            let step = chunk.clone() * idx(per) + idx(place);
            let taps = taps(b, &self.x, step * idx(LANES));
            for (codes, &sum) in codes.iter().zip(sums) {
                let code = at_place(codes.clone(), place as u32 * bits, bits, CODES).cast(BYTES);
                dot(b, sum, &taps, code);
            }
        }
    }
}

impl Sums for Codes<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let (_, per) = code(self.depth);
        let steps = self.job.taps() / LANES;
        let sums: Vec<Var> = (0..CODES_BLOCK).map(|_| b.mutable("sum", int(0, Ty::I32))).collect();
        b.each("chunk", steps / per, false, |b, chunk| {
            self.chunk(b, tile, &chunk, per, &sums);
        });
        if !steps.is_multiple_of(per) {
            self.chunk(b, tile, &idx(steps / per), steps % per, &sums);
        }
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
