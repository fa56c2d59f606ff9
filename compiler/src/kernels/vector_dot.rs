//! 8-bit operands by weights on dot product instructions: each lane sums four products of one output at a time.
//!
//! Two families share this file. `vector-dot` expands packed weights to bytes once for each block of outputs and uses them for
//! every pixel; 8-bit weights are bytes already. Where an instruction multiplies matrices, a lane is one of two outputs by one of
//! two pixels, and sums are sorted by pixel when they are complete.
//!
//! `vector-code` is for the one pixel of a dense layer: codes stay packed, and a mask picks those of one place in every byte. What
//! is left beside it scales the products by a power of two, which one shift of the final sum takes back; a place that would leave
//! the operand's type is shifted down first.

use super::codes::{Packed, code, of};
use super::im2col;
use super::nest::Job;
use super::tiles::{self, Shape, Sum, Sums, Tile};
use super::view::Layout;
use super::window::{Axis, Taps};
use crate::ir::{Depth, Elem, WeightData};
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Kernel, Role, Ty, Var, VecOp};
use crate::target::Simd;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Products that one lane sums at a time, where an instruction sums any.
const SHARE: usize = 4;

/// The same, where an instruction multiplies two rows of weights by the taps of two pixels.
const ROW: usize = 8;

/// Pixels of a row that make many outputs by few pixels pay.
const LONG: usize = 16;

/// Pixels below which expanding weights does not pay.
const FEW: usize = 8;

/// The dot product of a target.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// Lanes of the final sums.
    lanes: usize,
    /// Type of the first operand, `u8` or `i8`; the second is `i8`.
    first: Ty,
    /// Whether products are summed in 16 bits at first.
    short: bool,
    /// Products that one lane sums at a time.
    share: usize,
    /// Taps that a vector of the operand holds, of which an instruction takes `share` for all lanes; `share` where these are
    /// loaded again and again.
    taps: usize,
}

impl Machine {
    fn of(simd: &Simd) -> Option<Machine> {
        let form = |first: Ty, short: bool| {
            let operations = |n: usize| {
                let b = SHARE * n;
                let sums = if short {
                    Ty::I16.times(2 * n as u8)
                } else {
                    Ty::I32.times(n as u8)
                };
                let mut all: Vec<String> = [
                    "load_i32",
                    "splat_i32",
                    "add_i32",
                    "sub_i32",
                    "max_i32",
                    "ge_mask_i32",
                    "shr_i32",
                ]
                .iter()
                .map(|o| format!("{o}x{n}"))
                .collect();
                all.extend(
                    [
                        "load_u8",
                        "load_i8",
                        "store_i8",
                        "repeat4_u8",
                        "repeat4_i8",
                        "and_u8",
                        "shr_u8",
                    ]
                    .map(|o| format!("{o}x{b}")),
                );
                all.push(format!("dot_{sums}_{first}x{b}_i8x{b}"));
                all.push(format!("cast_i8x{b}_u8x{b}"));
                if short {
                    all.extend([format!("pairs_{sums}"), format!("add_{sums}")]);
                }
                all
            };
            let lanes = tiles::widest(simd, operations)?;
            Some(Machine {
                lanes,
                first,
                short,
                share: SHARE,
                taps: SHARE,
            })
        };
        form(Ty::U8, false)
            .or_else(|| form(Ty::I8, false))
            .or_else(|| form(Ty::U8, true))
            .or_else(|| form(Ty::I8, true))
    }

    /// The machine for weights that serve many pixels: one whose instructions take a part of an operand's vector for all lanes,
    /// if there is one for the weights and the operand's elements. A product of 16 bits is as good as a dot product of four
    /// bytes in two steps, and needs no sum of pairs.
    fn of_many(job: &Job) -> Option<Machine> {
        let plain = Machine::of(job.simd)?;
        let operand = job.x.ty();
        let bytes = "dot_group_i32x4_i8x16_i8x16".to_string();
        let matrices = [
            "matrix_i32x4_i8x16_i8x16",
            "even8_i8x16",
            "odd8_i8x16",
            "even1_i32x4",
            "odd1_i32x4",
        ];
        let words = [
            "dot_group_i16x8_i16x8_i16x8".to_string(),
            "lower_i16x8".into(),
            "lower_i8x16".into(),
            format!("load_{operand}x8"),
            format!("cast_i16x8_{operand}x8"),
        ];
        let grouped = match plain {
            Machine {
                lanes: 4,
                first: Ty::I8,
                short: false,
                ..
            } if matrices.iter().all(|o| job.simd.has(o)) && in_pairs(job) => Machine {
                share: ROW,
                taps: 16,
                ..plain
            },
            Machine {
                lanes: 4,
                first: Ty::I8,
                short: false,
                ..
            } if job.simd.has(&bytes) => Machine { taps: 16, ..plain },
            Machine {
                lanes: 4, short: true, ..
            } if job.packed_codes().is_some() && words.iter().all(|o| job.simd.has(o)) => Machine {
                first: operand,
                share: 1,
                taps: 8,
                ..plain
            },
            _ => return Some(plain),
        };
        // Rows are made of windows where taps are not neighbours; or not as many as a vector holds, if the other way is slow.
        let whole = job.inputs().is_multiple_of(grouped.taps) || !direct(job);
        Some(if whole || grouped.share == 1 { grouped } else { plain })
    }

    /// Pixels whose sums share vectors, two outputs' each.
    fn pixels(&self) -> usize {
        if self.share == ROW { 2 } else { 1 }
    }

    fn bytes(&self, ty: Ty) -> Ty {
        ty.times((SHARE * self.lanes) as u8)
    }

    /// A vector of expanded weights.
    fn weights(&self) -> Ty {
        match self.share {
            1 => Ty::I16.times(2 * self.lanes as u8),
            _ => self.bytes(Ty::I8),
        }
    }

    /// Lanes of a vector of expanded weights.
    fn width(&self) -> usize {
        self.weights().lanes().into()
    }

    /// Outputs whose weights of a step fill whole vectors.
    fn outputs(&self) -> usize {
        self.width() / self.share
    }

    /// Vectors of sums of `valid` outputs.
    fn vectors(&self, valid: usize) -> usize {
        let outputs = self.outputs().max(self.lanes);
        valid.next_multiple_of(outputs) / self.lanes
    }

    /// The type that dot products are added to.
    fn sums(&self) -> Ty {
        match self.short {
            true => Ty::I16.times(2 * self.lanes as u8),
            false => Ty::I32.times(self.lanes as u8),
        }
    }
}

/// Why neither family can build `job`, if so.
fn unfit(job: &Job) -> Option<String> {
    if !matches!(job.x.elem, Elem::I8 | Elem::U8) || !job.integer() {
        return Some("sums are not of 8-bit integers".into());
    }
    if job.geom.groups != 1 {
        return Some(format!("{} groups", job.geom.groups));
    }
    Machine::of(job.simd)
        .is_none()
        .then(|| "the target has no dot product of bytes".into())
}

pub(super) fn pixels(job: &Job) -> usize {
    job.y.h * job.y.w * job.pool.map_or(1, |p| p.size[0] * p.size[1])
}

/// Whether pixels have neighbours that see the same taps: for one alone, a product of matrices does no more than a dot product,
/// and its operand is to be doubled.
fn in_pairs(job: &Job) -> bool {
    if !direct(job) {
        return pixels(job) > 1;
    }
    let [kh, kw] = job.kernel();
    let spans = |axis, map, kernel, n| Axis::new(axis, map, kernel, n, &job.geom, job.pool.as_ref()).spans();
    let all = [spans(0, job.x.h, kh, job.y.h), spans(1, job.x.w, kw, job.y.w)].concat();
    all.iter().any(|span| span.count > 1)
}

/// Why `vector-dot` cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let few = pixels(job) < FEW && job.packed_codes().is_some();
    let wide = job.packed_codes().is_none() && Machine::of(job.simd).is_some_and(|m| m.short);
    unfit(job)
        .or_else(|| few.then(|| format!("{} pixels are too few to expand weights for", pixels(job))))
        .or_else(|| wide.then(|| "16 bits do not hold two products with 8-bit weights".into()))
}

/// Why `vector-code` cannot build `job`, if so.
pub fn refuses_codes(job: &Job) -> Option<String> {
    let wrong = match () {
        _ if job.packed_codes().is_none() => "weights are neither binary nor ternary".into(),
        _ if pixels(job) != 1 => format!("{} pixels", pixels(job)),
        _ if job.taps() != job.x.elements() => "the window is not the whole map".into(),
        _ if !direct(job) => format!("{} inputs of a pixel are not taken four by four", job.inputs()),
        _ => return unfit(job),
    };
    unfit(job).or(Some(wrong))
}

/// Whether four taps at a time can be read where they are.
fn direct(job: &Job) -> bool {
    neighbours(job, SHARE)
}

/// Whether `taps` of a pixel at a time can be read where they are.
fn neighbours(job: &Job, taps: usize) -> bool {
    job.x.side_by_side() && job.inputs().is_multiple_of(taps)
}

/// The operand as the dot product takes it.
pub(super) struct Operand {
    pub buf: Buf,
    /// The buffer's type, and the type that the instruction wants; both hold every element.
    pub held: Ty,
    pub wanted: Ty,
    /// What was added to every element.
    pub offset: i64,
}

impl Operand {
    /// Takes the operand as it is if its elements are of type `wanted`, else a copy half the range away.
    pub fn new(b: &mut Builder, job: &Job, lanes: usize, wanted: Ty, x: Buf) -> Operand {
        let held = job.x.ty();
        if holds(wanted, job.x_range) {
            return Operand {
                buf: x,
                held,
                wanted,
                offset: 0,
            };
        }
        let n = job.x.elements();
        let copy = b.param("moved", wanted, n, Role::Scratch, wanted.range());
        let vector = |ty: Ty| ty.times(lanes as u8);
        // Half the range away is the other sign bit.
        let flip = |e: Expr, ty: Ty, top: Expr| (e ^ top).cast(ty);
        if n >= lanes && job.simd.has(&format!("xor_{}", vector(held))) {
            b.each("i", n / lanes, false, |b, i| {
                let at = i * idx(lanes);
                let v = b.load_n(x, at.clone(), lanes, vector(held));
                let top = splat(int(top(held), held), vector(held));
                b.store(copy, at, flip(v, vector(wanted), top));
            });
        }
        let done = if n >= lanes { n / lanes * lanes } else { 0 };
        if done < n {
            b.each("i", n - done, false, |b, i| {
                let v = b.load(x, idx(done) + i.clone());
                b.store(copy, idx(done) + i, flip(v, wanted, int(top(held), held)));
            });
        }
        Operand {
            buf: copy,
            held: wanted,
            wanted,
            offset: if wanted == Ty::U8 { 128 } else { -128 },
        }
    }

    /// Taps of a site: as many as fill a vector, or those of a lane again and again.
    fn taps(&self, b: &Builder, machine: &Machine, at: Expr) -> Expr {
        if machine.taps == machine.share {
            return self.repeat(b, machine, at);
        }
        let n = machine.taps as u8;
        let (held, wanted) = match machine.share {
            1 => (self.held.times(n), Ty::I16.times(n)),
            _ => (self.held.times(n), self.wanted.times(n)),
        };
        let v = b.load_n(self.buf, at, machine.taps, held);
        if held == wanted { v } else { v.cast(wanted) }
    }

    /// Four elements, again and again.
    fn repeat(&self, b: &Builder, machine: &Machine, at: Expr) -> Expr {
        let four = b.load_n(self.buf, at, SHARE, machine.bytes(self.held));
        if self.held == self.wanted {
            four
        } else {
            four.cast(machine.bytes(self.wanted))
        }
    }
}

/// The number whose only bit is the highest of a byte.
fn top(ty: Ty) -> i64 {
    if ty == Ty::U8 { 128 } else { -128 }
}

/// Products of `a` and `b` added to a sum.
fn dot(acc: Var, a: Expr, b: Expr) -> Expr {
    Expr::Vector(VecOp::Dot, vec![Expr::Var(acc), a, b])
}

/// Builds `vector-dot`.
pub fn build(job: &Job) -> Kernel {
    let machine = Machine::of_many(job).expect("asked before");
    let together = machine.pixels();
    let shape = match machine.lanes {
        16 => Shape {
            lanes: 16,
            blocks: if job.y.layout == Layout::Packed { 2 } else { 4 },
            pixels: if job.y.layout == Layout::Packed { 8 } else { 5 },
            together,
        },
        8 => Shape {
            lanes: 8,
            blocks: 2,
            pixels: 4,
            together,
        },
        // Measured on Arm in instructions, Rust and C: more sums than these make GCC move vectors to and fro.
        _ => {
            let (blocks, pixels) = match (machine.share, machine.taps) {
                (1, _) if job.simd.registers < 32 => (4, 4),
                // On rows of some length 6.04 multiply-adds an instruction from GCC, where sixteen outputs by eight pixels make it move
                // operands (5.58); on short ones the code is longer and the expanded weights take twice the RAM for nothing.
                (1, _) if job.y.c.is_multiple_of(32) && job.y.w >= LONG => (8, 4),
                (1, _) => (4, 8),
                // Sixteen sums as well; of twenty-four LLVM spills some. Sixteen outputs load fewest operands; eight leave fewer
                // to be stored one by one.
                (ROW, _) if job.y.c.is_multiple_of(16) || job.y.layout == Layout::Packed => (4, 4),
                (ROW, _) => (2, 8),
                (_, SHARE) => (4, 4),
                _ => (2, 5),
            };
            Shape {
                lanes: 4,
                blocks,
                pixels,
                together,
            }
        }
    };
    // Codes are expanded by whole vectors.
    let shape = shape.fitted(job, SHARE.div_ceil(machine.share));
    let given = job.x;
    let patches = (!neighbours(job, machine.taps)).then(|| im2col::plan(job, machine.taps));
    let inner = patches.as_ref().unwrap_or(job);
    let bound = bound(inner, machine.first);
    tiles::nest(inner, (given, job.x_range), shape, bound, |b, x| {
        let wanted = machine.first;
        let (x, offset) = match &patches {
            None => {
                let x = Operand::new(b, inner, SHARE * machine.lanes, wanted, x);
                let offset = x.offset;
                (x, offset)
            }
            Some(_) => {
                let (buf, offset) = im2col::gather(b, job, inner, wanted, x);
                (
                    Operand {
                        buf,
                        held: wanted,
                        wanted,
                        offset,
                    },
                    offset,
                )
            }
        };
        let taps = match inner.packed_codes() {
            Some(_) => job.taps().next_multiple_of(machine.share),
            None => inner.taps(),
        };
        let weights = Weights::declare(b, inner, taps, shape, &machine);
        Dot {
            job: inner,
            taps,
            machine,
            shape,
            x,
            offset,
            weights,
            corrections: Corrections::new(offset, shape, taps),
        }
    })
}

/// No sum is greater, as far as the verifier can tell: an operand that is moved by half its range comes back by a table whose
/// entries it takes at their greatest.
pub(super) fn bound(job: &Job, wanted: Ty) -> i64 {
    let weight = match &job.weights.data {
        WeightData::Coded { depth, .. } => i64::from(depth.range().0.unsigned_abs()),
        WeightData::Float(_) => unreachable!("sums are integers"),
    };
    let (lo, hi) = job.x_range;
    let x = if holds(wanted, (lo, hi)) {
        lo.abs().max(hi.abs())
    } else {
        255 + 128
    };
    job.taps() as i64 * x * weight
}

/// Whether a type holds every number of a range.
pub(super) fn holds(ty: Ty, range: (i64, i64)) -> bool {
    ty.range().0 <= range.0 && range.1 <= ty.range().1
}

/// Weights `[step][output of the block][tap of the step]`, for one block of outputs or for all.
enum Weights {
    /// For all blocks, as they are.
    Bytes(Buf),
    /// Packed for all blocks; expanded for those of a slot each.
    Codes { packed: Packed, expanded: Buf },
}

/// Steps of as many taps as a lane sums at a time.
fn steps(taps: usize, share: usize) -> usize {
    taps.div_ceil(share)
}

/// The code of tap `k` of an output; 0 beyond the last.
fn weight(job: &Job, codes: &[i8], o: usize, k: usize) -> i8 {
    if o < job.weights.shape[0] && k < job.taps() {
        codes[job.source(o, k)]
    } else {
        0
    }
}

impl Weights {
    /// Of the taps of `job` only the first `taps` can meet anything but padding.
    fn declare(b: &mut Builder, job: &Job, taps: usize, shape: Shape, machine: &Machine) -> Weights {
        let WeightData::Coded { codes, .. } = &job.weights.data else {
            unreachable!("sums are integers")
        };
        let share = machine.share;
        let row = |(first, valid): (usize, usize)| -> Vec<i8> {
            let steps = (0..steps(taps, share)).flat_map(|step| (0..valid * share).map(move |at| (step, at)));
            let weight = |(step, at)| weight(job, codes, first + at / share, step * share + at % share);
            steps.map(weight).collect()
        };
        let blocks: Vec<Vec<i8>> = shape.runs(job).map(row).collect();
        let beyond = Shape::beyond(job, machine.outputs()) * share;
        if let Some((depth, _)) = job.packed_codes() {
            let width = SHARE * machine.lanes;
            let len = shape.slots(job) * steps(job.taps(), share) * shape.outputs() * share + width;
            let ty = machine.weights().scalar();
            return Weights::Codes {
                packed: Packed::declare(b, depth, width, &blocks),
                expanded: b.param("expanded", ty, len, Role::Scratch, (-1, 1)),
            };
        }
        let mut data: Vec<i64> = blocks.into_iter().flatten().map(i64::from).collect();
        data.resize(data.len() + beyond, 0);
        Weights::Bytes(b.constants("weights", Ty::I8, ints(data, Ty::I8)))
    }
}

struct Dot<'a> {
    job: &'a Job<'a>,
    /// Taps that can meet anything but padding, and those that share their step.
    taps: usize,
    machine: Machine,
    shape: Shape,
    x: Operand,
    offset: i64,
    weights: Weights,
    corrections: Corrections,
}

impl Sums for Dot<'_> {
    fn prepare(&self, b: &mut Builder, block: &Expr, slot: &Expr, valid: usize) {
        let Weights::Codes { packed, expanded } = self.weights else {
            return;
        };
        let (machine, of_step) = (&self.machine, valid * self.machine.share);
        let at = self.slot(slot);
        let n = steps(self.taps, machine.share) * of_step;
        packed.expand(b, block, n, expanded, &at, machine.weights().scalar());
        // Taps that meet nothing but padding, and what the vectors of the last step load behind it.
        let width = machine.width();
        let beyond = of_step.next_multiple_of(width) - of_step;
        let left = steps(self.job.taps(), machine.share) * of_step + beyond - n;
        b.each("i", left.div_ceil(width), false, |b, i| {
            let zero = splat(int(0, machine.weights().scalar()), machine.weights());
            b.store(expanded, at.clone() + idx(n) + i * idx(width), zero);
        });
    }

    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let machine = self.machine;
        let [rows, cols, steps] = tile.loops(self.job, self.job.inputs() / machine.taps);
        let ty = machine.sums();
        // As many products as 16 bits hold before sums are widened.
        let products = if machine.share == 1 { machine.taps } else { SHARE / 2 };
        let most = match machine.short {
            true => 32767 / (products * self.x_greatest() * self.w_greatest()),
            false => usize::MAX,
        };
        let inner = (1..=steps.min(most))
            .rev()
            .find(|d| steps.is_multiple_of(*d))
            .expect("1 divides");
        let loops = [rows, cols, steps / inner, inner];
        let depth = (0..4)
            .find(|&d| loops[d..].iter().product::<usize>() <= most)
            .expect("one step fits");
        let sums = self.zeros(b, tile, "sum", self.shape.sums());
        let mut at = vec![];
        self.level(
            b,
            tile,
            loops,
            (ty != self.shape.sums()).then_some(depth),
            &mut at,
            &sums,
        );
        let mut out = vec![];
        for site in 0..tile.sites.len() {
            let corrected = (0..self.shape.vectors(tile.valid)).map(|q| {
                let sum = self.sum(&sums, site, q);
                Sum::Whole(self.corrections.apply(b, self.job, tile, q, sum))
            });
            out.push(corrected.collect());
        }
        out
    }
}

impl Dot<'_> {
    /// Where the weights of a block begin, or those of a slot.
    fn slot(&self, slot: &Expr) -> Expr {
        let Machine { share, .. } = self.machine;
        slot.clone() * idx(steps(self.job.taps(), share) * share * self.shape.outputs())
    }

    fn x_greatest(&self) -> usize {
        let (lo, hi) = match self.offset {
            0 => self.job.x_range,
            // A copy in the other sign: how far its bits are known to reach, the verifier does not follow.
            128 => Ty::U8.range(),
            _ => Ty::I8.range(),
        };
        lo.unsigned_abs().max(hi.unsigned_abs()) as usize
    }

    fn w_greatest(&self) -> usize {
        match self.weights {
            Weights::Bytes(_) => 128,
            Weights::Codes { .. } => 1,
        }
    }

    fn zeros(&self, b: &mut Builder, tile: &Tile, name: &str, ty: Ty) -> Vec<Vec<Var>> {
        let zero = splat(int(0, ty.scalar()), ty);
        let pixels = self.machine.pixels();
        // A vector has as many lanes as outputs, or pairs of lanes, or outputs by pixels.
        let vectors = match (self.machine.share, ty.scalar()) {
            (1, Ty::I16) => tile.valid.div_ceil(ty.lanes().into()),
            _ => self.machine.vectors(tile.valid) * pixels,
        };
        let row = |b: &mut Builder| (0..vectors).map(|_| b.mutable(name, zero.clone())).collect();
        tile.sites.chunks(pixels).map(|_| row(b)).collect()
    }

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
            let short = self.zeros(b, tile, "short", self.machine.sums());
            self.level(b, tile, loops, None, at, &short);
            let wide = |op: VecOp, short: Var| Expr::Vector(op, vec![Expr::Var(short)]);
            for (sums, short) in sums.iter().zip(short) {
                for (q, &sum) in sums.iter().enumerate() {
                    let addend = match self.machine.share {
                        1 => wide(VecOp::Half((q % 2) as u8), short[q / 2]),
                        _ => wide(VecOp::Pairs, short[q]),
                    };
                    b.add(sum, addend);
                }
            }
            return;
        }
        match at.len() {
            4 => self.step(b, tile, loops[3], at, sums),
            d => b.each(
                ["ky", "kx", "part", "c"][d],
                loops[d],
                d == 3 && self.machine.taps == SHARE && loops[3] <= 2,
                |b, i| {
                    at.push(i);
                    self.level(b, tile, loops, flush, at, sums);
                    at.pop();
                },
            ),
        }
    }

    /// As many taps of every site as an operand's vector holds.
    fn step(&self, b: &mut Builder, tile: &Tile, inner: usize, at: &[Expr], sums: &[Vec<Var>]) {
        let [_, inputs, _, kw] = self.job.weights.shape;
        let geom = &self.job.geom;
        let (ky, kx) = (at[0].clone(), at[1].clone());
        let c = at[2].clone() * idx(inner) + at[3].clone();
        let tap = (idx(tile.rows.first) + ky.clone()) * idx(kw) + idx(tile.cols.first) + kx.clone();
        let Machine { share, taps, .. } = self.machine;
        let groups = taps / share;
        let step = (tap * idx(inputs / taps) + c.clone()) * idx(groups);
        let (buf, block) = match self.weights {
            Weights::Bytes(buf) => (buf, self.slot(&tile.block)),
            Weights::Codes { expanded, .. } => (expanded, self.slot(&tile.slot)),
        };
        // Bytes of a step.
        let stride = tile.valid * share;
        let first = b.val("first", block + step * idx(stride));
        let operands: Vec<Expr> = tile
            .sites
            .iter()
            .map(|site| {
                let y = site.y.clone() + ky.clone() * idx(geom.dilation[0]);
                let x = site.x.clone() + kx.clone() * idx(geom.dilation[1]);
                let at = self.job.x.at(c.clone() * idx(taps), y, x);
                let v = self.x.taps(b, &self.machine, at);
                b.val("taps", v)
            })
            .collect();
        for group in 0..groups {
            if self.machine.share == ROW {
                let first = first.clone() + idx(group * stride);
                self.matrices(b, buf, (first, tile.valid), group, &operands, sums);
                continue;
            }
            let width = self.machine.width();
            let load = |b: &mut Builder, q: usize| {
                let at = first.clone() + idx(group * stride + q * width);
                let v = b.load_n(buf, at, width, self.machine.weights());
                b.val("w", v)
            };
            let weights: Vec<Expr> = (0..stride.div_ceil(width)).map(|q| load(b, q)).collect();
            for (x, sums) in operands.iter().zip(sums) {
                for (w, &sum) in weights.iter().zip(sums) {
                    let next = match groups {
                        1 => dot(sum, x.clone(), w.clone()),
                        _ => Expr::Vector(VecOp::DotGroup(group as u8), vec![Expr::Var(sum), w.clone(), x.clone()]),
                    };
                    b.set(sum, next);
                }
            }
        }
    }

    /// A row of taps of every site, by pairs of sites, times the weights from `first` on, by pairs of outputs.
    fn matrices(
        &self,
        b: &mut Builder,
        buf: Buf,
        (first, valid): (Expr, usize),
        group: usize,
        operands: &[Expr],
        sums: &[Vec<Var>],
    ) {
        let half = VecOp::Unzip {
            group: ROW as u8,
            at: group as u8,
        };
        let pairs: Vec<Expr> = operands
            .chunks(2)
            .map(|pair| {
                // A site that is left alone is a pair of its own.
                let pair = vec![pair[0].clone(), pair[pair.len() - 1].clone()];
                b.val("pair", Expr::Vector(half, pair))
            })
            .collect();
        let width = self.machine.width();
        for q in 0..(valid * ROW).div_ceil(width) {
            let w = b.load_n(buf, first.clone() + idx(q * width), width, self.machine.weights());
            let w = b.val("w", w);
            for (x, sums) in pairs.iter().zip(sums) {
                let next = Expr::Vector(VecOp::Matrix, vec![Expr::Var(sums[q]), w.clone(), x.clone()]);
                b.set(sums[q], next);
            }
        }
    }

    /// Vector `q` of a site's sums.
    fn sum(&self, sums: &[Vec<Var>], site: usize, q: usize) -> Expr {
        match self.machine.pixels() {
            1 => Expr::Var(sums[site][q]),
            n => {
                let of = VecOp::Unzip {
                    group: 1,
                    at: (site % n) as u8,
                };
                let pair = &sums[site / n][n * q..n * q + n];
                Expr::Vector(of, pair.iter().map(|&v| Expr::Var(v)).collect())
            }
        }
    }
}

/// What an operand's offset adds to the sums, as tables by taps.
pub(super) struct Corrections {
    offset: i64,
    shape: Shape,
    taps: usize,
    tables: RefCell<BTreeMap<[usize; 4], Buf>>,
}

impl Corrections {
    /// For an operand to whose elements `offset` was added, and weights of which all behind the first `taps` of an output are 0.
    pub fn new(offset: i64, shape: Shape, taps: usize) -> Self {
        Corrections {
            offset,
            shape,
            taps,
            tables: RefCell::default(),
        }
    }

    /// Vector `q` of a tile's sums without what the operand's offset added.
    pub fn apply(&self, b: &mut Builder, job: &Job, tile: &Tile, q: usize, sum: Expr) -> Expr {
        if self.offset == 0 {
            return sum;
        }
        let (rows, cols, shape) = (tile.rows, tile.cols, self.shape);
        let key = [rows.first, rows.count, cols.first, cols.count];
        let known = self.tables.borrow().get(&key).copied();
        let table = known.unwrap_or_else(|| {
            let table = correction(b, job, self.taps, shape, self.offset, rows, cols);
            self.tables.borrow_mut().insert(key, table);
            table
        });
        let at = tile.block.clone() * idx(shape.outputs()) + idx(q * shape.lanes);
        sum + b.load_n(table, at, shape.lanes, shape.sums())
    }
}

/// What takes an operand's offset out of the sums over some taps, by output.
fn correction(b: &mut Builder, job: &Job, taps: usize, shape: Shape, offset: i64, rows: Taps, cols: Taps) -> Buf {
    let [_, inputs, _, kw] = job.weights.shape;
    let WeightData::Coded { codes, .. } = &job.weights.data else {
        unreachable!("sums are integers")
    };
    let seen = |k: &usize| {
        let (ky, kx) = (k / inputs / kw, k / inputs % kw);
        (rows.first..rows.first + rows.count).contains(&ky) && (cols.first..cols.first + cols.count).contains(&kx)
    };
    let of = |o: usize| {
        (0..taps)
            .filter(seen)
            .map(|k| i64::from(weight(job, codes, o, k)))
            .sum::<i64>()
    };
    let data: Vec<i64> = (0..shape.padded(job)).map(|o| -offset * of(o)).collect();
    let name = format!("moved_{}_{}_{}_{}", rows.first, rows.count, cols.first, cols.count);
    b.constants(&name, Ty::I32, ints(data, Ty::I32))
}

/// Builds `vector-code`.
pub fn build_codes(job: &Job) -> Kernel {
    let machine = Machine::of(job.simd).expect("asked before");
    let (depth, codes) = job.packed_codes().expect("asked before");
    let blocks = if machine.lanes == 4 && job.simd.registers >= 32 {
        8
    } else {
        4
    };
    let blocks = if job.y.layout == Layout::Packed {
        blocks.min(32 / machine.lanes)
    } else {
        blocks
    };
    let shape = Shape {
        lanes: machine.lanes,
        blocks,
        pixels: 1,
        together: 1,
    }
    .fitted(job, 1);
    // Codes count from 0 to 3 for the verifier, and the operand's total is taken off.
    let bound = 4 * bound(job, Ty::I8);
    tiles::nest(job, (job.x, job.x_range), shape, bound, |b, x| {
        let x = Operand::new(b, job, SHARE * machine.lanes, Ty::I8, x);
        let total = total(b, job, &machine, &x);
        let packed = packed(b, job, shape, depth, codes);
        let all = Taps {
            first: 0,
            count: 1,
            base: 0,
        };
        let correction = (x.offset != 0).then(|| correction(b, job, job.taps(), shape, x.offset, all, all));
        Codes {
            job,
            machine,
            shape,
            depth,
            x,
            total,
            packed,
            correction,
        }
    })
}

/// Bytes of the codes of a block with `valid` outputs.
fn block(shape: Shape, valid: usize, steps: usize, per: usize) -> usize {
    let rest = (shape.vectors(valid) * (steps % per)).div_ceil(per) * SHARE * shape.lanes;
    steps / per * valid * SHARE + rest
}

/// Packed codes, `[block][chunk][output of the block][tap of the step]` bytes; a chunk is as many steps as a byte has codes, the
/// first in the lowest bits. Behind a block's chunks are the steps that fill no byte, `[vector][step][lane][tap of the step]`, each vector of
/// them in the next place of a byte.
fn packed(b: &mut Builder, job: &Job, shape: Shape, depth: Depth, codes: &[i8]) -> Buf {
    let (bits, per) = code(depth);
    let steps = steps(job.taps(), SHARE);
    let (whole, left) = (steps / per, steps % per);
    let width = SHARE * shape.lanes;
    let mut data = vec![];
    let mut beyond = 0;
    for (first, valid) in shape.runs(job) {
        let code = |o: usize, step: usize, j: usize| match o < valid {
            true => of(depth, weight(job, codes, first + o, step * SHARE + j)),
            false => 0,
        };
        let start = data.len();
        for (chunk, at) in (0..whole).flat_map(|chunk| (0..valid * SHARE).map(move |at| (chunk, at))) {
            let place = |p: usize| code(at / SHARE, chunk * per + p, at % SHARE) << (p as u32 * bits);
            data.push((0..per).fold(0, |byte, p| byte | place(p)));
        }
        let rest = data.len();
        data.resize(start + block(shape, valid, steps, per), 0);
        for (q, i, at) in
            (0..shape.vectors(valid)).flat_map(|q| (0..left).flat_map(move |i| (0..width).map(move |at| (q, i, at))))
        {
            let slot = q * left + i;
            let code = code(q * shape.lanes + at / SHARE, whole * per + i, at % SHARE);
            data[rest + slot / per * width + at] |= code << ((slot % per) as u32 * bits);
        }
        // The last chunk's vectors reach into what is behind it.
        beyond = (shape.vectors(valid) * width - valid * SHARE).saturating_sub(data.len() - rest);
    }
    data.resize(data.len() + beyond, 0);
    b.constants("codes", Ty::U8, ints(data.into_iter().map(i64::from), Ty::U8))
}

/// The sum of the operand's elements.
fn total(b: &mut Builder, job: &Job, machine: &Machine, x: &Operand) -> Expr {
    let (n, lanes) = (job.taps(), SHARE * machine.lanes);
    let all = b.mutable("total", int(0, Ty::I32));
    let sums = Ty::I32.times(machine.lanes as u8);
    let vectors = if machine.short || !job.simd.has(&format!("total_{sums}")) {
        0
    } else {
        n / lanes
    };
    if vectors > 0 {
        let acc = b.mutable("totals", splat(int(0, Ty::I32), sums));
        b.each("i", vectors, false, |b, i| {
            let v = b.load_n(x.buf, i * idx(lanes), lanes, machine.bytes(x.held));
            let v = if x.held == Ty::I8 {
                v
            } else {
                v.cast(machine.bytes(Ty::I8))
            };
            let ones = splat(int(1, machine.first), machine.bytes(machine.first));
            b.set(acc, Expr::Vector(VecOp::Dot, vec![Expr::Var(acc), ones, v]));
        });
        b.add(all, Expr::Vector(VecOp::Total, vec![Expr::Var(acc)]));
    }
    if vectors * lanes < n {
        b.each("i", n - vectors * lanes, false, |b, i| {
            let v = b.load(x.buf, idx(vectors * lanes) + i).cast(Ty::I32);
            b.add(all, v);
        });
    }
    b.val("x_total", Expr::Var(all))
}

struct Codes<'a> {
    job: &'a Job<'a>,
    machine: Machine,
    shape: Shape,
    depth: Depth,
    x: Operand,
    total: Expr,
    packed: Buf,
    correction: Option<Buf>,
}

/// A place of a byte: how far it is shifted down, and which sums it goes to, those of products scaled by a power of two.
struct Placed {
    shift: u32,
    scale: u32,
}

impl Codes<'_> {
    /// How the codes of a byte are picked.
    fn places(&self) -> Vec<Placed> {
        let (bits, per) = code(self.depth);
        let place = |p: usize| {
            let at = p as u32 * bits;
            match (self.machine.short, self.machine.first == Ty::U8) {
                // Pairs of products in 16 bits leave no room.
                (true, _) => Placed { shift: at, scale: 0 },
                // A byte without sign holds a code at any place; more than four sets of sums do not stay in registers.
                (_, true) if bits == 2 => Placed { shift: 0, scale: at },
                _ => Placed {
                    shift: at / 4 * 4,
                    scale: at % 4,
                },
            }
        };
        (0..per).map(place).collect()
    }
}

impl Sums for Codes<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let (bits, per) = code(self.depth);
        let (machine, shape, places) = (self.machine, self.shape, self.places());
        let scales: Vec<u32> = (0..8).filter(|s| places.iter().any(|p| p.scale == *s)).collect();
        let steps = steps(self.job.taps(), SHARE);
        let vectors = shape.vectors(tile.valid);
        let width = SHARE * shape.lanes;
        let first = b.val(
            "block_codes",
            tile.block.clone() * idx(block(shape, shape.outputs(), steps, per)),
        );
        let zero = |ty: Ty| splat(int(0, ty.scalar()), ty);
        let sums: Vec<Vec<Var>> = scales
            .iter()
            .map(|_| (0..vectors).map(|_| b.mutable("sum", zero(shape.sums()))).collect())
            .collect();
        let greatest = if self.depth == Depth::Binary { 1 } else { 3 };
        let most = if machine.short {
            32767 / (2 * 128 * greatest * per)
        } else {
            usize::MAX
        };
        let whole = steps / per;
        let inner = (1..=whole.max(1).min(most))
            .rev()
            .find(|d| whole.is_multiple_of(*d))
            .expect("1 divides");
        let load = |b: &mut Builder, at: Expr| {
            let v = b.load_n(self.packed, at, width, machine.bytes(Ty::U8));
            b.val("c", v)
        };
        let four = |b: &mut Builder, step: Expr| {
            let four = self.x.repeat(b, &machine, step * idx(SHARE));
            b.val("four", four)
        };
        // Adds the products of the codes at a place to the sums of vector `q`.
        let add = |b: &mut Builder, codes: &Expr, place: &Placed, four: &Expr, sums: &[Vec<Var>], q: usize| {
            let set = scales.iter().position(|s| *s == place.scale).expect("listed above");
            let shifted = match place.shift {
                0 => codes.clone(),
                n => Expr::Bin(
                    BinOp::Shr,
                    codes.clone().into(),
                    splat(int(n.into(), Ty::U8), machine.bytes(Ty::U8)).into(),
                ),
            };
            let mask = ((1i64 << bits) - 1) << place.scale;
            let code = shifted & splat(int(mask, Ty::U8), machine.bytes(Ty::U8));
            let code = if machine.first == Ty::U8 {
                code
            } else {
                code.cast(machine.bytes(Ty::I8))
            };
            b.set(sums[set][q], dot(sums[set][q], code, four.clone()));
        };
        let chunk = |b: &mut Builder, chunk: Expr, sums: &[Vec<Var>]| {
            let first = b.val("first", first.clone() + chunk.clone() * idx(tile.valid * SHARE));
            let codes: Vec<Expr> = (0..vectors).map(|q| load(b, first.clone() + idx(q * width))).collect();
            for (p, place) in places.iter().enumerate() {
                let four = four(b, chunk.clone() * idx(per) + idx(p));
                for (q, codes) in codes.iter().enumerate() {
                    add(b, codes, place, &four, sums, q);
                }
            }
        };
        // The steps that fill no byte: each vector's one after the other, in as few bytes as hold them.
        let rest = |b: &mut Builder, sums: &[Vec<Var>]| {
            let first = b.val("rest", first.clone() + idx(whole * tile.valid * SHARE));
            let left = steps % per;
            let fours: Vec<Expr> = (0..left).map(|i| four(b, idx(whole * per + i))).collect();
            let mut codes = None;
            for at in 0..vectors * left {
                if at % per == 0 {
                    codes = Some(load(b, first.clone() + idx(at / per * width)));
                }
                let codes = codes.as_ref().expect("the first place is a multiple");
                add(b, codes, &places[at % per], &fours[at % left], sums, at / left);
            }
        };
        let run = |b: &mut Builder, body: &dyn Fn(&mut Builder, &[Vec<Var>])| match machine.short {
            false => body(b, &sums),
            true => {
                let short: Vec<Vec<Var>> =
                    vec![(0..vectors).map(|_| b.mutable("short", zero(machine.sums()))).collect()];
                body(b, &short);
                for (&sum, &short) in sums[0].iter().zip(&short[0]) {
                    b.add(sum, Expr::Vector(VecOp::Pairs, vec![Expr::Var(short)]));
                }
            }
        };
        let parts = if machine.short { whole / inner } else { 1 };
        b.each("part", parts, false, |b, part| {
            run(b, &|b, sums| {
                let part = part.clone() * idx(inner);
                b.each("chunk", whole / parts, false, |b, i| chunk(b, part.clone() + i, sums));
            });
        });
        if !steps.is_multiple_of(per) {
            run(b, &rest);
        }
        let ty = shape.sums();
        let total = b.val("totals", splat(self.total.clone(), ty));
        let output = |b: &mut Builder, q: usize| {
            let scaled = scales.iter().zip(&sums).map(|(&scale, set)| match scale {
                0 => Expr::Var(set[q]),
                n => Expr::Bin(
                    BinOp::Shr,
                    Expr::Var(set[q]).into(),
                    splat(int(n.into(), Ty::I32), ty).into(),
                ),
            });
            let all = scaled.reduce(|a, b| a + b).expect("a byte has a code");
            let all = b.val("all", all);
            let sum = if self.depth == Depth::Binary {
                all.clone() + all
            } else {
                all
            } - total.clone();
            match self.correction {
                None => sum,
                Some(table) => {
                    let at = tile.block.clone() * idx(shape.outputs()) + idx(q * shape.lanes);
                    sum + b.load_n(table, at, shape.lanes, ty)
                }
            }
        };
        vec![(0..vectors).map(|q| Sum::Whole(output(b, q))).collect()]
    }
}
