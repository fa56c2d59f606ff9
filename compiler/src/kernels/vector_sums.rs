//! Binary and ternary weights as indices of tables of partial sums that lie in vectors: one instruction looks up the sums of four
//! operands for as many outputs as a vector has bytes. (Known as in-register look-up tables: T-MAC, arXiv 2407.00088.)
//!
//! For the one pixel of a dense layer. A byte does not hold four operands of 8 bits, so that their low and high halves (4 bits) have
//! a table each: 16 sums of at most 60. Four of these fit a byte, after which they are added in 16 bits, those of even and of odd bytes
//! apart. Binary weights are looked up where they are +1; what is left of all operands is by -1. Ternary ones take a look-up
//! for +1 and one for -1.

use super::nest::Job;
use super::tiles::{self, Shape, Sum, Sums, Tile};
use super::vector_dot::{Operand, pixels};
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Kernel, Role, Ty, Var, VecOp};
use crate::target::Simd;

/// Operands of a table.
const DIGITS: usize = 4;

/// Sums of a table.
const TABLE: usize = 16;

/// Greatest sum of a table.
const GREATEST: usize = DIGITS * 15;

/// Look-ups that are added in bytes.
const QUAD: usize = 4;

/// Vectors of 32-bit sums from one of bytes.
const SPREAD: usize = 4;

/// Vectors of a target.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// Bytes of one: outputs that are looked up together.
    bytes: usize,
    /// How many of them share the tables in registers.
    vectors: usize,
}

impl Machine {
    fn of(simd: &Simd) -> Option<Machine> {
        [32, 16]
            .map(|bytes| Machine {
                bytes,
                vectors: if bytes == 16 && simd.registers >= 32 { 2 } else { 1 },
            })
            .into_iter()
            .find(|m| m.looks_up(simd))
    }

    /// Whether the target has what not every one with vectors has.
    fn looks_up(&self, simd: &Simd) -> bool {
        let [bytes, shorts, words] = [self.ty(Ty::U8), self.ty(Ty::U16), self.ty(Ty::U32)];
        let operations = [
            format!("lookup_{bytes}"),
            format!("load_u8x{TABLE}"),
            format!("repeat1_{bytes}"),
            format!("repeat1_{}", self.ty(Ty::I8)),
            format!("shr_{bytes}"),
            format!("bits_{shorts}_{bytes}"),
            format!("min_{shorts}"),
            format!("bits_{words}_{shorts}"),
            format!("cast_{}_{words}", self.ty(Ty::I32)),
        ];
        operations.iter().all(|o| simd.has(o))
    }

    /// Whole vectors of a type.
    fn ty(&self, scalar: Ty) -> Ty {
        scalar.times((self.bytes / scalar.bytes() as usize) as u8)
    }

    /// Sums in a vector of 32 bits.
    fn lanes(&self) -> usize {
        self.bytes / SPREAD
    }

    fn shape(&self) -> Shape {
        Shape {
            lanes: self.lanes(),
            blocks: self.vectors * SPREAD,
            pixels: 1,
            together: 1,
        }
    }

    /// Every lane, shifted by a constant.
    fn shift(&self, op: BinOp, v: Expr, by: i64, scalar: Ty) -> Expr {
        Expr::Bin(op, v.into(), splat(int(by, scalar), self.ty(scalar)).into())
    }

    fn bits(&self, v: Expr, scalar: Ty) -> Expr {
        Expr::Vector(VecOp::Bits(self.ty(scalar)), vec![v])
    }
}

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    let inputs = job.taps();
    Some(match () {
        _ if job.packed_codes().is_none() => "weights are neither binary nor ternary".into(),
        _ if !matches!(job.x.elem, Elem::I8 | Elem::U8) => "operand is not of 8 bits".into(),
        _ if Machine::of(job.simd).is_none() => "the target does not look bytes up in vectors".into(),
        _ if job.geom.groups != 1 => format!("{} groups", job.geom.groups),
        _ if pixels(job) != 1 => format!("{} pixels", pixels(job)),
        _ if inputs != job.x.elements() || !job.x.side_by_side() => "the window is not the whole map".into(),
        _ if !inputs.is_multiple_of(DIGITS * QUAD) => {
            format!("{inputs} inputs are no multiple of {}", DIGITS * QUAD)
        }
        _ => return None,
    })
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let machine = Machine::of(job.simd).expect("asked before");
    let shape = machine.shape().fitted(job, SPREAD);
    let machine = Machine {
        vectors: shape.blocks / SPREAD,
        ..machine
    };
    let (depth, codes) = job.packed_codes().expect("asked before");
    tiles::nest(job, (job.x, job.x_range), shape, job.greatest, |b, x| {
        let x = Operand::new(b, job, machine.bytes, Ty::U8, x);
        let len = job.taps() / DIGITS * 2 * TABLE;
        let tables = b.param("tables", Ty::U8, len, Role::Scratch, Ty::U8.range());
        build_tables(b, job, &machine, &x, tables);
        let moved = |o: usize| match o < job.y.c {
            true => x.offset * (0..job.taps()).map(|k| i64::from(codes[job.source(o, k)])).sum::<i64>(),
            false => 0,
        };
        let moved: Vec<i64> = (0..job.y.c.next_multiple_of(shape.outputs())).map(moved).collect();
        let furthest = moved.iter().map(|m| m.abs()).max().unwrap_or(0);
        let sorted = !job.y.c.is_multiple_of(machine.bytes);
        let limit = job.greatest + furthest;
        let sorted = sorted.then(|| {
            ["spread", "sorted"].map(|name| b.param(name, Ty::I32, machine.bytes, Role::Local, (-limit, limit)))
        });
        Lookups {
            job,
            machine,
            plus: indices(b, job, shape, "plus", &|o, k| codes[job.source(o, k)] > 0),
            rest: match depth {
                Depth::Binary => Rest::All(total(b, job, &x)),
                _ => Rest::Minus(indices(b, job, shape, "minus", &|o, k| codes[job.source(o, k)] < 0)),
            },
            tables,
            moved: (x.offset != 0).then(|| b.constants("moved_by", Ty::I32, ints(moved, Ty::I32))),
            sorted,
            limit,
        }
    })
}

/// The tables of all operands, `[group][half][index]`: the sums of those operands of a group whose bit of the index is set.
fn build_tables(b: &mut Builder, job: &Job, machine: &Machine, x: &Operand, tables: Buf) {
    let (bytes, n) = (machine.ty(Ty::U8), machine.bytes);
    // Of an operand in all bytes, those that count it. A vector of 32 has both tables: low halves go to the first, high ones to the
    // second.
    let both = n == 2 * TABLE;
    let pattern = |b: &mut Builder, name: &str, table: usize| {
        let picked = |at: usize| (at % TABLE) >> (at / n) & 1 == 1 && (!both || at % n / TABLE == table);
        let data = (0..DIGITS * n).map(|at| if picked(at) { 15 } else { 0 });
        b.constants(name, Ty::U8, ints(data, Ty::U8))
    };
    let low = pattern(b, "low", 0);
    let high = if both { pattern(b, "high", 1) } else { low };
    b.each("group", job.taps() / DIGITS, false, |b, group| {
        let mut sums: [Option<Expr>; 2] = [None, None];
        for d in 0..DIGITS {
            let v = b.load_n(x.buf, group.clone() * idx(DIGITS) + idx(d), 1, machine.ty(x.held));
            let v = b.val("v", if x.held == x.wanted { v } else { v.cast(bytes) });
            let pick = |b: &Builder, of: Buf| b.load_n(of, idx(d * n), n, bytes);
            let halves = [
                v.clone() & pick(b, low),
                machine.shift(BinOp::Shr, v, 4, Ty::U8) & pick(b, high),
            ];
            let parts = match halves {
                [low, high] if both => vec![low | high],
                apart => apart.to_vec(),
            };
            for (sum, part) in sums.iter_mut().zip(parts) {
                let next = match sum.take() {
                    None => part,
                    Some(before) => before + part,
                };
                *sum = Some(b.val("s", next));
            }
        }
        for (half, sum) in sums.into_iter().flatten().enumerate() {
            b.store(tables, group.clone() * idx(2 * TABLE) + idx(half * TABLE), sum);
        }
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

/// Indices `[block][two groups][vector][output]`, of the first group in the low half of a byte: a bit for each weight that `is` holds
/// of. The outputs of a vector are as the sums come out: of four neighbouring bytes, each goes to a vector of its own. Those of one that
/// is not full are in order.
fn indices(b: &mut Builder, job: &Job, shape: Shape, name: &str, is: &dyn Fn(usize, usize) -> bool) -> Buf {
    let groups = job.taps() / DIGITS;
    let lanes = SPREAD * shape.lanes;
    let mut bytes = vec![];
    for (first, valid) in shape.runs(job) {
        let index = |o: usize, group: usize| {
            let bit = |d: &usize| is(first + o, group * DIGITS + d);
            (0..DIGITS).filter(bit).map(|d| 1 << d).sum::<i64>()
        };
        for (pair, at) in (0..groups / 2).flat_map(|pair| (0..valid).map(move |at| (pair, at))) {
            let byte = at % lanes;
            let o = match at - byte + lanes <= valid {
                true => at - byte + byte % SPREAD * shape.lanes + byte / SPREAD,
                false => at,
            };
            bytes.push(index(o, 2 * pair) | index(o, 2 * pair + 1) << 4);
        }
    }
    bytes.resize(bytes.len() + Shape::beyond(job, lanes), 0);
    b.constants(name, Ty::U8, ints(bytes, Ty::U8))
}

/// What is subtracted.
enum Rest {
    /// All operands but those that are added.
    All(Expr),
    /// What these indices look up.
    Minus(Buf),
}

struct Lookups<'a> {
    job: &'a Job<'a>,
    machine: Machine,
    /// Indices of what is added.
    plus: Buf,
    rest: Rest,
    tables: Buf,
    /// What moving the operand has added to every sum.
    moved: Option<Buf>,
    /// Where the sums of a vector that is not full are put in order, if there is one.
    sorted: Option<[Buf; 2]>,
    /// No sum is greater before what moving the operand has added is taken off.
    limit: i64,
}

impl Sums for Lookups<'_> {
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let (m, shape) = (&self.machine, self.machine.shape());
        let ty = m.ty(Ty::I32);
        // What the verifier cannot see.
        let within = |sum: Expr, greatest: i64| {
            let limit = |to: i64| splat(int(to, Ty::I32), ty);
            sum.max(limit(-greatest)).min(limit(greatest))
        };
        let plus = self.picked(b, tile, self.plus);
        let minus = match &self.rest {
            Rest::All(all) => plus.iter().map(|plus| splat(all.clone(), ty) - plus.clone()).collect(),
            Rest::Minus(indices) => self.picked(b, tile, *indices),
        };
        let mut sums: Vec<Expr> = plus.into_iter().zip(minus).map(|(plus, minus)| plus - minus).collect();
        let left = tile.valid % m.bytes;
        if left > 0 {
            let [spread, sorted] = self.sorted.expect("declared where a vector is not full");
            let of_last = sums.split_off(sums.len() - SPREAD);
            for (q, sum) in of_last.into_iter().enumerate() {
                b.store(spread, idx(q * shape.lanes), within(sum, self.limit));
            }
            for o in 0..left.next_multiple_of(shape.lanes) {
                let sum = b.load(spread, idx(o % SPREAD * shape.lanes + o / SPREAD));
                b.store(sorted, idx(o), sum);
            }
            let vectors = left.div_ceil(shape.lanes);
            sums.extend((0..vectors).map(|q| b.load_n(sorted, idx(q * shape.lanes), shape.lanes, ty)));
        }
        let first = tile.block.clone() * idx(shape.outputs());
        let output = |(q, sum): (usize, Expr)| {
            let sum = match self.moved {
                None => sum,
                Some(moved) => sum - b.load_n(moved, first.clone() + idx(q * shape.lanes), shape.lanes, ty),
            };
            Sum::Whole(b.val("sum", within(sum, self.job.greatest)))
        };
        vec![sums.into_iter().enumerate().map(output).collect()]
    }
}

impl Lookups<'_> {
    /// The sums of the operands that `indices` pick, by output.
    fn picked(&self, b: &mut Builder, tile: &Tile, indices: Buf) -> Vec<Expr> {
        let m = &self.machine;
        let [shorts, words] = [m.ty(Ty::U16), m.ty(Ty::U32)];
        let quads = self.job.taps() / DIGITS / QUAD;
        // 16 bits hold the sums of so many.
        let most = usize::from(u16::MAX) / (GREATEST * QUAD);
        let inner = (1..=quads.min(most))
            .rev()
            .find(|n| quads.is_multiple_of(*n))
            .expect("1 divides");
        let zero = |ty: Ty| splat(int(0, ty.scalar()), ty);
        let vectors = tile.valid.div_ceil(m.bytes);
        let picked: Vec<Var> = (0..vectors * SPREAD)
            .map(|_| b.mutable("picked", zero(words)))
            .collect();
        b.each("part", quads / inner, false, |b, part| {
            // Of every vector, low and high halves of operands, each of even and of odd bytes.
            let counts: Vec<Var> = picked.iter().map(|_| b.mutable("count", zero(shorts))).collect();
            b.each("quad", inner, false, |b, quad| {
                let quad = b.val("first", part.clone() * idx(inner) + quad);
                self.quad(b, tile, indices, &quad, &counts);
            });
            let greatest = splat(int((inner * QUAD * GREATEST) as i64, Ty::U16), shorts);
            for (counts, picked) in counts.chunks(SPREAD).zip(picked.chunks(SPREAD)) {
                let counts: Vec<Expr> = counts
                    .iter()
                    .map(|v| b.val("counts", m.bits(Expr::Var(*v).min(greatest.clone()), Ty::U32)))
                    .collect();
                for (q, &picked) in picked.iter().enumerate() {
                    let half = |v: &Expr| match q / 2 {
                        0 => v.clone() & splat(int(0xffff, Ty::U32), words),
                        _ => m.shift(BinOp::Shr, v.clone(), 16, Ty::U32),
                    };
                    let (low, high) = (half(&counts[q % 2]), half(&counts[2 + q % 2]));
                    b.add(picked, low + m.shift(BinOp::Shl, high, 4, Ty::U32));
                }
            }
        });
        picked.into_iter().map(|v| Expr::Var(v).cast(m.ty(Ty::I32))).collect()
    }

    /// Adds the sums of four groups.
    fn quad(&self, b: &mut Builder, tile: &Tile, indices: Buf, quad: &Expr, counts: &[Var]) {
        let m = &self.machine;
        let (bytes, shorts) = (m.ty(Ty::U8), m.ty(Ty::U16));
        let pairs = self.job.taps() / DIGITS / 2;
        let vectors = tile.valid.div_ceil(m.bytes);
        let mut sums: Vec<Option<Expr>> = vec![None; 2 * vectors];
        for pair in 0..QUAD / 2 {
            let block = tile.block.clone() * idx(pairs * m.vectors * m.bytes);
            let at = block + (quad.clone() * idx(QUAD / 2) + idx(pair)) * idx(tile.valid);
            let at = b.val("at", at);
            let both: Vec<Expr> = (0..vectors)
                .map(|v| b.val("both", b.load_n(indices, at.clone() + idx(v * m.bytes), m.bytes, bytes)))
                .collect();
            for group in 0..2 {
                let first = quad.clone() * idx(QUAD) + idx(2 * pair + group);
                let tables = [0, TABLE].map(|half| {
                    let table = b.load_n(
                        self.tables,
                        first.clone() * idx(2 * TABLE) + idx(half),
                        TABLE,
                        Ty::U8.times(TABLE as u8),
                    );
                    b.val("table", table)
                });
                for (v, both) in both.iter().enumerate() {
                    let index = match group {
                        0 => both.clone() & splat(int(15, Ty::U8), bytes),
                        _ => m.shift(BinOp::Shr, both.clone(), 4, Ty::U8),
                    };
                    let index = b.val("index", index);
                    for (half, table) in tables.iter().enumerate() {
                        let found = Expr::Vector(VecOp::Lookup, vec![table.clone(), index.clone()]);
                        let sum = &mut sums[2 * v + half];
                        *sum = Some(match sum.take() {
                            None => found,
                            Some(before) => b.val("bytes", before + found),
                        });
                    }
                }
            }
        }
        for (sum, counts) in sums.into_iter().zip(counts.chunks(2)) {
            let sum = m.bits(sum.expect("four groups"), Ty::U16);
            let sum = b.val("pairs", sum);
            b.add(counts[0], sum.clone() & splat(int(0xff, Ty::U16), shorts));
            b.add(counts[1], m.shift(BinOp::Shr, sum, 8, Ty::U16));
        }
    }
}
