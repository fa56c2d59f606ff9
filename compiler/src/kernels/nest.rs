//! What every kernel of a linear layer has in common: the loops over positions, channels and the pooling window, and the
//! epilogue. A family adds how one sum is taken.

use super::view::{Layout, View, WORD};
use super::window::{Axis, Span, Taps};
use crate::ir::{Depth, Elem, Epilogue, Geometry, Ties, WeightData, Weights, Window, range};
use crate::kir::build::{Builder, float, floats, idx, int, ints, splat};
use crate::kir::{Buf, Expr, Kernel, Role, Ty, Var};
use crate::target::Simd;
use std::ops::Range;

/// A linear layer to build a kernel for.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Name of the kernel.
    pub name: String,
    /// What it computes, for the reader of the generated source.
    pub doc: String,
    /// `[outputs, inputs / groups, kernel height, kernel width]`.
    pub weights: Weights,
    /// Where it reads.
    pub geom: Geometry,
    /// Pooling over the sums.
    pub pool: Option<Window>,
    /// From sums to outputs.
    pub epilogue: &'a Epilogue,
    /// Operand, as the sums read it.
    pub x: View,
    /// Result.
    pub y: View,
    /// Least and greatest element of an integer operand.
    pub x_range: (i64, i64),
    /// What is handed in, and the range of its elements, where the kernel makes `x` of it first.
    pub given: Option<(View, (i64, i64))>,
    /// What the bits of a packed operand mean.
    pub packed: Packed,
    /// Least sum of any channel, where sums are integers.
    pub least: i64,
    /// Greatest magnitude of any channel's sum, where sums are integers.
    pub greatest: i64,
    /// Bytes of RAM that there are for the kernel's own use. What needs more is built all the same; what can do with less does.
    pub scratch: u64,
    /// Bytes of the stack beyond what every plan reserves that are reserved for kernels already, apart from `scratch`; what one takes
    /// beyond these is no scratch. Nothing if it may take none.
    pub stack: Option<u64>,
    /// If anything, not the layer: the sums of its first tile, so many times.
    pub turns: Option<usize>,
    /// The target's vector operations.
    pub simd: &'a Simd,
}

/// What the bits of a packed operand mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// One: whether it is +1, or else -1.
    Signs,
    /// Two such signs, of which it is the mean.
    Means,
    /// Two: whether it is not 0, and then whether it is +1.
    Live,
}

/// Where one sum is taken: the taps on the map, and the coordinates of the first.
#[derive(Clone, Debug)]
pub struct Site {
    /// Vertical taps.
    pub rows: Taps,
    /// Horizontal taps.
    pub cols: Taps,
    /// Row that the first tap reads.
    pub y: Expr,
    /// Column that the first tap reads.
    pub x: Expr,
}

impl Site {
    /// A single tap in column `x` of a map of one row.
    pub fn of_tap(x: Expr) -> Site {
        Site {
            rows: Taps::ONE,
            cols: Taps::ONE,
            y: idx(0),
            x,
        }
    }
}

/// One output channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its number.
    pub o: Expr,
    /// First input channel of its group.
    pub first_input: Expr,
}

impl Job<'_> {
    /// Whether sums are integers; `f32` otherwise.
    pub fn integer(&self) -> bool {
        self.x.elem != Elem::F32 && matches!(self.weights.data, WeightData::Coded { .. })
    }

    /// Binary or ternary codes, if the weights are such.
    pub fn packed_codes(&self) -> Option<(Depth, &[i8])> {
        match &self.weights.data {
            WeightData::Coded {
                depth: depth @ (Depth::Binary | Depth::Ternary),
                codes,
                ..
            } => Some((*depth, codes)),
            _ => None,
        }
    }

    /// Input channels of a group.
    pub fn inputs(&self) -> usize {
        self.weights.shape[1]
    }

    /// Kernel height and width.
    pub fn kernel(&self) -> [usize; 2] {
        [self.weights.shape[2], self.weights.shape[3]]
    }

    /// Weights per output channel.
    pub fn taps(&self) -> usize {
        self.inputs() * self.kernel()[0] * self.kernel()[1]
    }

    /// Position in the weights' data of output `o`'s tap `k`, counted over rows, then columns, then input channels: the order
    /// in which sums are taken.
    pub fn source(&self, o: usize, k: usize) -> usize {
        let [_, inputs, kh, kw] = self.weights.shape;
        let (tap, i) = (k / inputs, k % inputs);
        (o * inputs + i) * kh * kw + tap
    }

    /// What is handed in, and the range of its elements.
    pub fn given(&self) -> (View, (i64, i64)) {
        self.given.unwrap_or((self.x, self.x_range))
    }

    /// By how much a bit that differs from its weight lessens a sum.
    pub fn per_bit(&self) -> i64 {
        match self.packed {
            Packed::Means => 1,
            Packed::Signs | Packed::Live => 2,
        }
    }

    /// What `wrong` bits that differ from their weights take off a sum.
    pub fn lost(&self, wrong: Expr) -> Expr {
        match self.per_bit() {
            1 => wrong,
            _ => wrong.clone() + wrong,
        }
    }

    /// Where a sum starts.
    pub fn zero(&self) -> Expr {
        if self.integer() { int(0, Ty::I32) } else { float(0.0) }
    }
}

/// Builds the kernel of `job`. `declare` adds the family's buffers to the operand's; `sum` computes one sum.
pub fn nest<T>(
    job: &Job,
    unroll: bool,
    declare: impl FnOnce(&mut Builder, Buf) -> T,
    sum: impl Fn(&mut Builder, &T, &Site, &Channel) -> Expr,
) -> Kernel {
    let mut b = Builder::new(&job.name, &job.doc);
    let (given, range) = job.given();
    let x = b.param("x", given.ty(), given.elements(), Role::In, range);
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let family = declare(&mut b, x);
    let epilogue = Finish::declare(&mut b, job);
    let [kh, kw] = job.kernel();
    let rows = Axis::new(0, job.x.h, kh, job.y.h, &job.geom, job.pool.as_ref()).spans();
    let cols = Axis::new(1, job.x.w, kw, job.y.w, &job.geom, job.pool.as_ref()).spans();
    for row in &rows {
        for col in &cols {
            b.each("row", row.count, false, |b, i| {
                b.each("col", col.count, false, |b, j| {
                    let at = Place { row, col, i: &i, j: &j };
                    channels(b, job, unroll, y, at.output(), &mut |b, channel| {
                        let best = greatest(b, job, &at, &mut |b, site| sum(b, &family, site, channel));
                        epilogue.apply(b, best, channel.o.clone())
                    });
                });
            });
        }
    }
    b.finish()
}

/// One output position: the spans it belongs to, and its number in each.
struct Place<'a> {
    row: &'a Span,
    col: &'a Span,
    i: &'a Expr,
    j: &'a Expr,
}

impl Place<'_> {
    fn output(&self) -> (Expr, Expr) {
        (
            idx(self.row.start) + self.i.clone(),
            idx(self.col.start) + self.j.clone(),
        )
    }
}

/// Runs `value` for every output channel of a position and stores what it returns; signs are packed first.
pub(super) fn channels(
    b: &mut Builder,
    job: &Job,
    unroll: bool,
    y: Buf,
    at: (Expr, Expr),
    value: &mut dyn FnMut(&mut Builder, &Channel) -> Expr,
) {
    some_channels(b, job, 0..job.y.c, unroll, y, at, value);
}

/// The same for some channels; where signs are packed, the first of a word to the last of one.
pub(super) fn some_channels(
    b: &mut Builder,
    job: &Job,
    some: Range<usize>,
    unroll: bool,
    y: Buf,
    (row, col): (Expr, Expr),
    value: &mut dyn FnMut(&mut Builder, &Channel) -> Expr,
) {
    let per_group = job.y.c / job.geom.groups;
    if job.y.layout != Layout::Packed {
        for (start, count) in runs(some.start, some.len(), per_group) {
            b.each("o", count, unroll, |b, o| {
                let channel = channel(job, per_group, start, o);
                let v = value(b, &channel);
                b.store(y, job.y.at(channel.o, row.clone(), col.clone()), v);
            });
        }
        return;
    }
    let first = some.start / WORD;
    let whole = if per_group == job.y.c || per_group == 1 {
        some.len() / WORD
    } else {
        0
    };
    let mut word = |b: &mut Builder, word: Expr, from: usize, count: usize, offset: Option<Expr>| {
        let bits = b.mutable("bits", int(0, Ty::U32));
        for (start, count) in runs(from, count, per_group) {
            b.each("bit", count, unroll, |b, bit| {
                let o = match &offset {
                    Some(g) => g.clone() * idx(WORD) + bit.clone(),
                    None => bit.clone(),
                };
                let v = value(b, &channel(job, per_group, start, o));
                let shift = (idx(start % WORD) + bit).cast(Ty::U32);
                b.set(bits, Expr::Var(bits) | (v << shift));
            });
        }
        b.store(y, job.y.at(word, row.clone(), col.clone()), Expr::Var(bits));
    };
    if whole > 0 {
        b.each("word", whole, unroll, |b, g| {
            let g = idx(first) + g;
            word(b, g.clone(), 0, WORD, Some(g));
        });
    }
    for g in first + whole..some.end.div_ceil(WORD) {
        word(b, idx(g), g * WORD, WORD.min(some.end - g * WORD), None);
    }
}

/// Output channels `start..start + count` cut where a group ends, unless the group follows from the channel's number.
fn runs(start: usize, count: usize, per_group: usize) -> Vec<(usize, usize)> {
    if per_group == 1 {
        return vec![(start, count)];
    }
    let end = start + count;
    let mut runs = vec![];
    let mut from = start;
    while from < end {
        let to = end.min((from / per_group + 1) * per_group);
        runs.push((from, to - from));
        from = to;
    }
    runs
}

fn channel(job: &Job, per_group: usize, start: usize, o: Expr) -> Channel {
    let o = idx(start) + o;
    let first_input = match per_group {
        1 => o.clone() * idx(job.inputs()),
        _ => idx(start / per_group * job.inputs()),
    };
    Channel { o, first_input }
}

/// The coordinate on the map for one with padding, and all ones where it is on the map; nothing where it always is.
pub(super) fn coordinate(b: &mut Builder, job: &Job, axis: usize, padded: Expr) -> (Expr, Option<Expr>) {
    let geom = &job.geom;
    let (before, after) = (geom.pads[axis], geom.pads[axis + 2]);
    let extent = [job.x.h, job.x.w][axis];
    if before + after == 0 {
        return (b.val("at", padded), None);
    }
    let padded = b.val("padded", padded);
    // Compilers warn of a comparison that always holds.
    let above = (before > 0).then(|| padded.clone().ge(idx(before)));
    let below = (after > 0).then(|| !padded.clone().ge(idx(before + extent)));
    let inside = above.into_iter().chain(below).reduce(|a, b| a & b);
    let mask = inside.map(|inside| b.val("mask", -inside.cast(Ty::I32)));
    let at = if before > 0 { padded.max(idx(before)) } else { padded };
    let at = if after > 0 {
        at.min(idx(before + extent - 1))
    } else {
        at
    };
    (b.val("at", at - idx(before)), mask)
}

/// The greatest sum over the pooling window; the only sum where there is none.
fn greatest(b: &mut Builder, job: &Job, at: &Place, sum: &mut dyn FnMut(&mut Builder, &Site) -> Expr) -> Expr {
    let site = |rows: Taps, cols: Taps, dy: Expr, dx: Expr| Site {
        rows,
        cols,
        y: at.i.clone() * idx(at.row.step) + idx(rows.base) + dy * idx(job.geom.stride[0]),
        x: at.j.clone() * idx(at.col.step) + idx(cols.base) + dx * idx(job.geom.stride[1]),
    };
    let (rows, cols) = (&at.row.offsets, &at.col.offsets);
    if rows.len() * cols.len() == 1 {
        return sum(b, &site(rows[0], cols[0], idx(0), idx(0)));
    }
    // No sum is below this, so it stands for "none yet".
    let none = if job.integer() {
        int(job.least, Ty::I32)
    } else {
        float(f32::MIN)
    };
    let best = b.mutable("best", none);
    let keep = |b: &mut Builder, best: Var, s: Expr| b.set(best, Expr::Var(best).max(s));
    if at.row.uniform() && at.col.uniform() {
        b.each("dy", rows.len(), false, |b, dy| {
            b.each("dx", cols.len(), false, |b, dx| {
                let s = sum(b, &site(rows[0], cols[0], dy.clone(), dx));
                keep(b, best, s);
            });
        });
    } else {
        for r in rows {
            for c in cols {
                let s = sum(b, &site(*r, *c, idx(0), idx(0)));
                keep(b, best, s);
            }
        }
    }
    Expr::Var(best)
}

/// The epilogue with its tables.
pub(super) enum Finish {
    Sums,
    Threshold(Buf),
    Requant {
        mul: Buf,
        add: Buf,
        shift: Shift,
        ties: Option<Ties>,
        /// Whether 32 bits hold all of it; 64 otherwise.
        short: bool,
        lo: i64,
        hi: i64,
        ty: Ty,
    },
    /// The same by the high half of a product.
    High {
        mul: Buf,
        add: Buf,
        high: High,
        ty: Ty,
    },
    Float {
        mul: Buf,
        add: Buf,
        floor: Option<f32>,
    },
}

pub(super) enum Shift {
    Same(u8),
    Each(Buf),
}

/// A requantisation of which the high half of a product is enough.
#[derive(Clone, Debug)]
pub(super) struct High {
    /// Addends of the high half.
    pub add: Vec<i64>,
    /// Places that a sum is shifted left before, and the high half right after.
    pub left: u32,
    pub right: u32,
    /// Bounds of the result.
    pub lo: i64,
    pub hi: i64,
}

impl High {
    /// If a layer's epilogue is one.
    pub fn of(job: &Job) -> Option<High> {
        let Epilogue::Requant {
            mul,
            add,
            shift,
            ties: None,
            lo,
            hi,
        } = job.epilogue
        else {
            return None;
        };
        let left = range::headroom(job.greatest);
        let low = 32 - left;
        let fits = |add: i64| add.trailing_zeros() >= low && (add >> low).abs() < 1 << 30;
        let right = u32::from(shift[0]).checked_sub(low).filter(|r| *r < 32)?;
        let all = mul.iter().all(|m| *m > 0) && add.iter().all(|&a| fits(a)) && shift.iter().all(|s| *s == shift[0]);
        all.then(|| High {
            add: add.iter().map(|a| a >> low).collect(),
            left,
            right,
            lo: (*lo).into(),
            hi: (*hi).into(),
        })
    }

    /// A sum (or a vector of sums, of type `ty`) shifted left. As bits: that it fits is known from the weights, not to the
    /// verifier.
    pub fn shifted(&self, sum: Expr, ty: Ty) -> Expr {
        let bits = Ty::U32.times(ty.lanes());
        let by = int(self.left.into(), Ty::U32);
        let by = if ty.lanes() == 1 { by } else { splat(by, bits) };
        (sum.cast(bits) << by).cast(ty)
    }
}

/// A number, or a vector of numbers, of type `bits` that is to be shifted as one of type `wide`, with what [`Ties::lifted`] adds.
pub(super) fn lifted(b: &mut Builder, ties: Ties, number: Expr, shift: Expr, (wide, bits): (Ty, Ty)) -> Expr {
    let all = |n: i64| splat(int(n, bits.scalar()), bits);
    let as_ty = |e: Expr, ty: Ty| if wide == bits { e } else { e.cast(ty) };
    let number = b.val("number", number);
    let odd = as_ty(as_ty(number.clone(), wide) >> shift, bits) & all(1);
    let of = if ties.parity == 1 { odd } else { all(1) - odd };
    number + of * all(ties.lift)
}

impl Finish {
    pub fn declare(b: &mut Builder, job: &Job) -> Finish {
        match job.epilogue {
            Epilogue::Sums => Finish::Sums,
            Epilogue::Threshold(t) => {
                Finish::Threshold(b.constants("threshold", Ty::I32, ints(t.iter().map(|&v| v as i64), Ty::I32)))
            }
            Epilogue::Requant { mul, .. } if let Some(high) = High::of(job) => Finish::High {
                mul: b.constants("mul", Ty::I32, ints(mul.iter().map(|&v| v as i64), Ty::I32)),
                add: b.constants("add", Ty::I32, ints(high.add.iter().copied(), Ty::I32)),
                high,
                ty: job.y.ty(),
            },
            Epilogue::Requant {
                mul,
                add,
                shift,
                ties,
                lo,
                hi,
            } => {
                let lift = ties.map_or(0, |t| t.lift);
                let fits = |(mul, add): (&i32, &i64)| {
                    range::is_short(*mul, add.saturating_abs().saturating_add(lift), job.greatest)
                };
                let short = mul.iter().zip(add).all(fits) && shift.iter().all(|s| *s < 32);
                let wide = if short { Ty::I32 } else { Ty::I64 };
                Finish::Requant {
                    mul: b.constants("mul", Ty::I32, ints(mul.iter().map(|&v| v as i64), Ty::I32)),
                    add: b.constants("add", wide, ints(add.iter().copied(), wide)),
                    shift: match shift.iter().all(|s| s == &shift[0]) {
                        true => Shift::Same(shift[0]),
                        false => {
                            Shift::Each(b.constants("shift", Ty::U8, ints(shift.iter().map(|&v| v as i64), Ty::U8)))
                        }
                    },
                    ties: *ties,
                    short,
                    lo: *lo as i64,
                    hi: *hi as i64,
                    ty: job.y.ty(),
                }
            }
            Epilogue::Float { mul, add, floor } => Finish::Float {
                mul: b.constants("mul", Ty::F32, floats(mul)),
                add: b.constants("add", Ty::F32, floats(add)),
                floor: *floor,
            },
        }
    }

    /// The value to store for a sum; a sign as a word that is 1 or 0.
    pub fn apply(&self, b: &mut Builder, sum: Expr, o: Expr) -> Expr {
        match self {
            Finish::Sums => sum,
            Finish::Threshold(t) => sum.ge(b.load(*t, o)).cast(Ty::U32),
            Finish::Requant {
                mul,
                add,
                shift,
                ties,
                short,
                lo,
                hi,
                ty,
            } => {
                // As bits where 32 are enough: that they are is known from the weights, not to the verifier.
                let (wide, bits) = if *short { (Ty::I32, Ty::U32) } else { (Ty::I64, Ty::I64) };
                let product = sum.cast(bits) * b.load(*mul, o.clone()).cast(bits) + b.load(*add, o.clone()).cast(bits);
                let shift = match shift {
                    Shift::Same(s) => int(*s as i64, wide),
                    Shift::Each(table) => b.load(*table, o).cast(wide),
                };
                let even = match ties {
                    None => product,
                    Some(ties) => lifted(b, *ties, product, shift.clone(), (wide, bits)),
                };
                let clamped = (even.cast(wide) >> shift).max(int(*lo, wide)).min(int(*hi, wide));
                clamped.cast(*ty)
            }
            Finish::High { mul, add, high, ty } => {
                let factor = b.load(*mul, o.clone()).cast(Ty::I64);
                let product = high.shifted(sum, Ty::I32).cast(Ty::I64) * factor;
                let scaled = (product >> int(32, Ty::I64)).cast(Ty::I32) + b.load(*add, o);
                let shifted = scaled >> int(high.right.into(), Ty::I32);
                shifted.max(int(high.lo, Ty::I32)).min(int(high.hi, Ty::I32)).cast(*ty)
            }
            Finish::Float { mul, add, floor } => {
                let sum = if b.ty(&sum) == Ty::F32 { sum } else { sum.cast(Ty::F32) };
                // Named, so that no compiler contracts product and sum.
                let scaled = b.val("scaled", sum * b.load(*mul, o.clone()));
                let moved = scaled + b.load(*add, o);
                match floor {
                    Some(f) => moved.max(float(*f)),
                    None => moved,
                }
            }
        }
    }
}
