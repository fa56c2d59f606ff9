//! 8-bit operands by weights where the vector unit multiplies and sums across all lanes: the lanes are taps, and each sum is a
//! scalar. Packed weights are expanded to bytes once for a block of outputs, and serve every pixel.

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

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    if !machine(job.simd) {
        return Some("the target does not sum products across lanes".into());
    }
    if !matches!(job.x.elem, Elem::I8 | Elem::U8) || job.packed_codes().is_none() {
        return Some("no binary or ternary weights by 8-bit integers".into());
    }
    if job.geom.groups != 1 {
        return Some(format!("{} groups", job.geom.groups));
    }
    (pixels(job) < 2).then(|| "one pixel is too few to expand weights for".into())
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let direct = job.x.layout == Layout::Interleaved && job.inputs().is_multiple_of(LANES);
    let given = job.x;
    let patches = (!direct).then(|| im2col::plan(job, LANES));
    let inner = patches.as_ref().unwrap_or(job);
    let shape = Shape {
        lanes: 1,
        blocks: BLOCK,
        pixels: 2,
        together: 1,
    };
    tiles::nest(inner, (given, job.x_range), shape, bound(inner, Ty::I8), |b, x| {
        let x = match &patches {
            None => Operand::new(b, inner, LANES, Ty::I8, x),
            Some(_) => {
                let (buf, offset) = im2col::gather(b, job, inner, Ty::I8, x);
                Operand {
                    buf,
                    held: Ty::I8,
                    wanted: Ty::I8,
                    offset,
                }
            }
        };
        let (depth, codes) = inner.packed_codes().expect("asked before");
        let packed = pack(b, inner, depth, codes);
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
/// (halved where there are two). Beyond the last output the rows are empty.
fn pack(b: &mut Builder, job: &Job, depth: Depth, codes: &[i8]) -> Buf {
    let (bits, per) = code(depth);
    let (outputs, row) = (job.weights.shape[0], row(job, depth));
    let padded = outputs.next_multiple_of(if job.y.layout == Layout::Packed { 32 } else { BLOCK });
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
                        let at = self.job.x.at(c.clone() * idx(LANES), y, x);
                        let v = b.load_n(self.x.buf, at, LANES, self.x.held.times(LANES as u8));
                        let v = if self.x.held == Ty::I8 { v } else { v.cast(BYTES) };
                        b.val("taps", v)
                    };
                    let operands: Vec<Expr> = (0..tile.sites.len()).map(|s| operand(b, s)).collect();
                    for q in 0..BLOCK {
                        let w = b.load_n(self.bytes, first.clone() + idx(q * LANES), LANES, BYTES);
                        let w = b.val("w", w);
                        for (sums, x) in sums.iter().zip(&operands) {
                            let products = Expr::Vector(VecOp::Dot, vec![Expr::Var(sums[q]), x.clone(), w.clone()]);
                            b.set(sums[q], products);
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
