//! Binary weights as indices of tables of partial sums that lie in vectors: one instruction looks up the sums of four operands for
//! as many outputs as a vector has bytes. (Known as in-register look-up tables: T-MAC, arXiv 2407.00088.)
//!
//! For the one pixel of a dense layer. A byte does not hold four operands of 8 bits, so that their low and high halves (4 bits) have
//! a table each: 16 sums of at most 60. Four of these fit a byte, after which they are added in 16 bits, those of even and of odd bytes
//! apart.

use super::nest::Job;
use super::tiles::{self, Shape, Sum, Sums, Tile};
use super::vector_dot::{Operand, pixels};
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Kernel, Lane, Role, Ty, Var, VecOp};
use crate::target::Simd;

/// Operands of a table.
const DIGITS: usize = 4;

/// Sums of a table.
const TABLE: usize = 16;

/// Greatest sum of a table.
const GREATEST: usize = DIGITS * 15;

/// Look-ups that are added in bytes.
const QUAD: usize = 4;

/// Bytes of a vector of indices: outputs that are looked up together.
const OUTPUTS: usize = 32;

/// Sums in a vector of 32 bits.
const LANES: usize = 8;

const BYTES: Ty = Ty::Vec(Lane::U8, OUTPUTS as u8);
const SHORTS: Ty = Ty::Vec(Lane::U16, OUTPUTS as u8 / 2);
const WORDS: Ty = Ty::Vec(Lane::U32, LANES as u8);
const SUMS: Ty = Ty::Vec(Lane::I32, LANES as u8);

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let inputs = job.taps();
    Some(match () {
        _ if !matches!(job.packed_codes(), Some((Depth::Binary, _))) => "weights are not binary".into(),
        _ if !matches!(job.x.elem, Elem::I8 | Elem::U8) => "operand is not of 8 bits".into(),
        _ if !looks_up(job.simd) => "the target does not look bytes up in vectors".into(),
        _ if job.geom.groups != 1 => format!("{} groups", job.geom.groups),
        _ if pixels(job) != 1 => format!("{} pixels", pixels(job)),
        _ if inputs != job.x.elements() || !job.x.side_by_side() => "the window is not the whole map".into(),
        _ if !inputs.is_multiple_of(DIGITS * QUAD) => format!("{inputs} inputs are no multiple of {}", DIGITS * QUAD),
        _ => return None,
    })
}

/// Whether the target has what not every one with vectors has.
fn looks_up(simd: &Simd) -> bool {
    let operations = [
        "lookup_u8x32",
        "load_u8x16",
        "repeat1_u8x32",
        "repeat1_i8x32",
        "shr_u8x32",
        "bits_u16x16_u8x32",
        "min_u16x16",
        "bits_u32x8_u16x16",
        "cast_i32x8_u32x8",
    ];
    operations.iter().all(|o| simd.has(o))
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let shape = Shape {
        lanes: LANES,
        blocks: OUTPUTS / LANES,
        pixels: 1,
        together: 1,
    };
    let (_, codes) = job.packed_codes().expect("asked before");
    tiles::nest(job, (job.x, job.x_range), shape, job.greatest, |b, x| {
        let x = Operand::new(b, job, OUTPUTS, Ty::U8, x);
        let tables = b.param(
            "tables",
            Ty::U8,
            job.taps() / DIGITS * 2 * TABLE,
            Role::Scratch,
            Ty::U8.range(),
        );
        build_tables(b, job, &x, tables);
        let all = total(b, job, &x);
        let moved: Vec<i64> = (0..job.y.c.next_multiple_of(OUTPUTS))
            .map(|o| match o < job.y.c {
                true => x.offset * (0..job.taps()).map(|k| i64::from(codes[job.source(o, k)])).sum::<i64>(),
                false => 0,
            })
            .collect();
        Lookups {
            job,
            indices: indices(b, job, codes),
            tables,
            all,
            moved: (x.offset != 0).then(|| b.constants("moved_by", Ty::I32, ints(moved, Ty::I32))),
        }
    })
}

/// The tables of all operands, `[group][half][index]`: the sums of those operands of a group whose bit of the index is set.
fn build_tables(b: &mut Builder, job: &Job, x: &Operand, tables: Buf) {
    // Low halves of an operand go to the sums of the first table, high ones to those of the second.
    let picks = |first: usize| -> Vec<i64> {
        let bytes = (0..DIGITS).flat_map(|d| (0..2 * TABLE).map(move |at| (d, at)));
        let picked = |(d, at): (usize, usize)| at / TABLE * TABLE == first && (at % TABLE) >> d & 1 == 1;
        bytes.map(|at| if picked(at) { 15 } else { 0 }).collect()
    };
    let [low, high] =
        [("low", 0), ("high", TABLE)].map(|(name, first)| b.constants(name, Ty::U8, ints(picks(first), Ty::U8)));
    b.each("group", job.taps() / DIGITS, false, |b, group| {
        let mut sums: Option<Expr> = None;
        for d in 0..DIGITS {
            let v = b.load_n(
                x.buf,
                group.clone() * idx(DIGITS) + idx(d),
                1,
                x.held.times(OUTPUTS as u8),
            );
            let v = b.val("v", if x.held == x.wanted { v } else { v.cast(BYTES) });
            let pick = |b: &Builder, of: Buf| b.load_n(of, idx(d * 2 * TABLE), OUTPUTS, BYTES);
            let halves = (v.clone() & pick(b, low)) | (shr(v, 4) & pick(b, high));
            let next = match sums.take() {
                None => halves,
                Some(before) => before + halves,
            };
            sums = Some(b.val("s", next));
        }
        b.store(tables, group * idx(2 * TABLE), sums.expect("a group has operands"));
    });
}

/// The sum of all operands.
fn total(b: &mut Builder, job: &Job, x: &Operand) -> Expr {
    let n = job.taps();
    let all = b.mutable("all", int(0, Ty::I32));
    b.each("i", n, false, |b, i| {
        let v = b.load(x.buf, i).cast(Ty::I32);
        b.add(all, v);
    });
    Expr::Var(all)
}

/// Indices `[block][two groups][output]`, of the first group in the low half of a byte. The outputs of a block are as the sums come out:
/// of four neighbouring bytes, each goes to a vector of its own.
fn indices(b: &mut Builder, job: &Job, codes: &[i8]) -> Buf {
    let (groups, blocks) = (job.taps() / DIGITS, job.y.c.div_ceil(OUTPUTS));
    let index = |o: usize, group: usize| {
        let bit = |d: &usize| o < job.y.c && codes[job.source(o, group * DIGITS + d)] > 0;
        (0..DIGITS).filter(bit).map(|d| 1 << d).sum::<i64>()
    };
    let mut bytes = vec![];
    for block in 0..blocks {
        for pair in 0..groups / 2 {
            for at in 0..OUTPUTS {
                let o = block * OUTPUTS + at % 4 * LANES + at / 4;
                bytes.push(index(o, 2 * pair) | index(o, 2 * pair + 1) << 4);
            }
        }
    }
    b.constants("weights", Ty::U8, ints(bytes, Ty::U8))
}

/// Every lane, shifted down.
fn shr(v: Expr, by: i64) -> Expr {
    shift(BinOp::Shr, v, by, BYTES)
}

fn shift(op: BinOp, v: Expr, by: i64, ty: Ty) -> Expr {
    Expr::Bin(op, v.into(), splat(int(by, ty.scalar()), ty).into())
}

fn bits(v: Expr, ty: Ty) -> Expr {
    Expr::Vector(VecOp::Bits(ty), vec![v])
}

struct Lookups<'a> {
    job: &'a Job<'a>,
    indices: Buf,
    tables: Buf,
    /// The sum of all operands.
    all: Expr,
    /// What moving the operand has added to every sum.
    moved: Option<Buf>,
}

impl Sums for Lookups<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let quads = self.job.taps() / DIGITS / QUAD;
        // Words hold the sums of so many.
        let most = usize::from(u16::MAX) / (GREATEST * QUAD);
        let inner = (1..=quads.min(most))
            .rev()
            .find(|n| quads.is_multiple_of(*n))
            .expect("1 divides");
        let zero = |ty: Ty| splat(int(0, ty.scalar()), ty);
        let picked: Vec<Var> = (0..OUTPUTS / LANES).map(|_| b.mutable("picked", zero(WORDS))).collect();
        b.each("part", quads / inner, false, |b, part| {
            // Low and high halves of operands, of even and of odd bytes.
            let shorts = [0; 4].map(|_| b.mutable("count", zero(SHORTS)));
            b.each("quad", inner, false, |b, quad| {
                let first = b.val("first", part.clone() * idx(inner) + quad);
                self.quad(b, tile, &first, &shorts);
            });
            let greatest = splat(int((inner * QUAD * GREATEST) as i64, Ty::U16), SHORTS);
            let shorts = shorts
                .map(|v| bits(Expr::Var(v).min(greatest.clone()), WORDS))
                .map(|v| b.val("sums", v));
            for (q, &picked) in picked.iter().enumerate() {
                let half = |v: &Expr| match q / 2 {
                    0 => v.clone() & splat(int(0xffff, Ty::U32), WORDS),
                    _ => shift(BinOp::Shr, v.clone(), 16, WORDS),
                };
                let (low, high) = (half(&shorts[q % 2]), half(&shorts[2 + q % 2]));
                b.add(picked, low + shift(BinOp::Shl, high, 4, WORDS));
            }
        });
        let block = tile.block.clone() * idx(OUTPUTS);
        let sum = |(q, picked): (usize, Var)| {
            // Operands by +1, less those by -1: what is not picked.
            let twice = Expr::Var(picked).cast(SUMS);
            let mut sum = (twice.clone() + twice) - splat(self.all.clone(), SUMS);
            if let Some(moved) = self.moved {
                sum = sum - b.load_n(moved, block.clone() + idx(q * LANES), LANES, SUMS);
            }
            // What the verifier cannot see.
            let greatest = self.job.greatest;
            let limit = |to: i64| splat(int(to, Ty::I32), SUMS);
            Sum::Whole(b.val("sum", sum.max(limit(-greatest)).min(limit(greatest))))
        };
        vec![picked.into_iter().enumerate().map(sum).collect()]
    }
}

impl Lookups<'_> {
    /// Adds the sums of four groups.
    fn quad(&self, b: &mut Builder, tile: &Tile, quad: &Expr, shorts: &[Var; 4]) {
        let pairs = self.job.taps() / DIGITS / 2;
        let mut halves: [Option<Expr>; 2] = [None, None];
        for pair in 0..QUAD / 2 {
            let at = tile.block.clone() * idx(pairs) + quad.clone() * idx(QUAD / 2) + idx(pair);
            let both = b.load_n(self.indices, at * idx(OUTPUTS), OUTPUTS, BYTES);
            let both = b.val("both", both);
            let index = [both.clone() & splat(int(15, Ty::U8), BYTES), shr(both, 4)];
            for (group, index) in index.into_iter().enumerate() {
                let index = b.val("index", index);
                let first = quad.clone() * idx(QUAD) + idx(2 * pair + group);
                for (half, sum) in halves.iter_mut().enumerate() {
                    let table = first.clone() * idx(2 * TABLE) + idx(half * TABLE);
                    let table = b.load_n(self.tables, table, TABLE, Ty::U8.times(TABLE as u8));
                    let found = Expr::Vector(VecOp::Lookup, vec![table, index.clone()]);
                    *sum = Some(match sum.take() {
                        None => found,
                        Some(before) => b.val("bytes", before + found),
                    });
                }
            }
        }
        for (half, sum) in halves.into_iter().enumerate() {
            let sum = bits(sum.expect("four groups"), SHORTS);
            let sum = b.val("pairs", sum);
            b.add(shorts[2 * half], sum.clone() & splat(int(0xff, Ty::U16), SHORTS));
            b.add(shorts[2 * half + 1], shift(BinOp::Shr, sum, 8, SHORTS));
        }
    }
}
