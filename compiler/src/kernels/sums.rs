//! Binary and ternary weights as indices of tables of partial sums: all sums that a few operands can make are computed once, and
//! every output adds one of them for its few weights. (Known from vector and memory-bound engines as T-MAC or LUT kernels.)
//!
//! Two pixels share each table, each addition and each index: their sums lie in the halves of a word, offset so that none is
//! below 0 and nothing is carried between them. Where there is one pixel, as in a dense layer, two tables share their building.
//! What lies off the map is masked to 0 when a table is built.
//!
//! Where a pixel has too few channels for an index, as in a first layer, the operands of a table are the taps of a whole window, of which
//! two are copied side by side first.
//!
//! Where the indices of an output's tap fill no bytes, two outputs share them: twenty binary weights are five indices of four bits.

use super::im2col;
use super::nest::{Finish, Job, channels, coordinate};
use super::view::{Layout, WORD};
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};

/// A way to cut weights into indices.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// What the weights are.
    pub depth: Depth,
    /// Weights in an index.
    pub digits: usize,
    /// Bits of an index.
    pub bits: usize,
    /// Whether the tables of a row of operands serve all rows of the kernel; the sums of a whole column of outputs lie in RAM.
    pub strips: bool,
}

impl Code {
    /// Four binary weights: 16 sums.
    pub const FOUR_BITS: Code = Code::new(Depth::Binary, 4, 4);
    /// Eight binary weights: 256 sums.
    pub const EIGHT_BITS: Code = Code::new(Depth::Binary, 8, 8);
    /// Two ternary weights: 9 sums.
    pub const TWO_TRITS: Code = Code::new(Depth::Ternary, 2, 4);
    /// Four ternary weights: 81 sums.
    pub const FOUR_TRITS: Code = Code::new(Depth::Ternary, 4, 7);
    /// Five ternary weights, a byte: 243 sums.
    pub const FIVE_TRITS: Code = Code::new(Depth::Ternary, 5, 8);

    const fn new(depth: Depth, digits: usize, bits: usize) -> Code {
        Code {
            depth,
            digits,
            bits,
            strips: false,
        }
    }

    /// The same with tables that serve all rows of the kernel.
    pub const fn in_strips(self) -> Code {
        Code { strips: true, ..self }
    }
}

/// How indices are stored.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The type of a word of them.
    word: Ty,
    /// Neighbouring outputs whose indices alternate.
    outputs: usize,
}

/// Bytes of tables that lie in RAM at a time where there is room, unless one word of indices needs more.
const TABLES: usize = 4096;

/// Bytes of a sum, and of an entry of a table.
const WORD_BYTES: usize = WORD / 8;

/// Indices added in straight-line code.
const STRAIGHT: usize = 16;

/// Fewer inputs hardly fill a word of indices.
const LEAST_INPUTS: usize = 8;

/// Words may hold one index more than there are for so many; no code is stored in more bits than another and one in so many.
const NEAR: usize = 64;

impl Code {
    fn radix(&self) -> usize {
        if self.depth == Depth::Binary { 2 } else { 3 }
    }

    /// Indices in a word.
    fn fields(&self, word: Ty) -> usize {
        8 * word.bytes() as usize / self.bits
    }

    /// How the indices of `inputs` are stored: for as few outputs together and in as wide words as waste next to nothing.
    fn cut(&self, inputs: usize) -> Cut {
        let words = [Ty::U32, Ty::U16, Ty::U8];
        let cuts = [1, 2]
            .into_iter()
            .flat_map(|outputs| words.map(|word| Cut { word, outputs }));
        let cuts = cuts.filter(|cut| self.fields(cut.word).is_multiple_of(cut.outputs));
        let bits = |cut: &Cut| 8 * self.words(inputs, *cut) * cut.word.bytes() as usize / cut.outputs;
        let least = cuts.clone().map(|cut| bits(&cut)).min().expect("a byte holds one");
        let near = |cut: &Cut| bits(cut) - least <= least / NEAR;
        cuts.into_iter().find(near).expect("one is the least")
    }

    /// Words of indices for a tap of `inputs`, of all outputs that share them.
    fn words(&self, inputs: usize, cut: Cut) -> usize {
        (inputs.div_ceil(self.digits) * cut.outputs).div_ceil(self.fields(cut.word))
    }

    /// Bits of an output's indices for `inputs`.
    fn bits(&self, inputs: usize) -> usize {
        let cut = self.cut(inputs);
        8 * self.words(inputs, cut) * cut.word.bytes() as usize / cut.outputs
    }

    /// Bits of an output's indices for all inputs of all taps.
    fn stored(&self, job: &Job) -> usize {
        match self.copies(job) {
            true => self.bits(job.taps()),
            false => job.kernel().iter().product::<usize>() * self.bits(job.inputs()),
        }
    }

    /// Whether windows are copied: where a pixel's inputs are few, or fill the indices of a window, but not their own.
    fn copies(&self, job: &Job) -> bool {
        let (taps, of_tap) = (job.kernel().iter().product::<usize>(), self.bits(job.inputs()));
        let waste = taps * of_tap - self.bits(job.taps()).min(taps * of_tap);
        let fills = waste > taps * of_tap / NEAR && !self.strips && halves(job) != Halves::Tables;
        taps > 1 && (job.inputs() < LEAST_INPUTS || fills)
    }

    /// Distance between tables.
    fn stride(&self) -> usize {
        1 << self.bits
    }

    /// Why it cannot build `job`, if so.
    pub fn refuses(&self, job: &Job) -> Option<String> {
        match job.packed_codes() {
            Some((depth, _)) if depth == self.depth => {}
            _ => return Some(format!("weights are not {:?}", self.depth).to_lowercase()),
        }
        if !matches!(job.x.elem, Elem::I8 | Elem::U8) {
            return Some("operand is not of 8 bits".into());
        }
        if job.geom.groups != 1 {
            return Some(format!("{} groups", job.geom.groups));
        }
        if self.copies(job) {
            return match () {
                _ if self.strips => Some(format!("{} inputs are too few for indices", job.inputs())),
                _ if job.taps() < LEAST_INPUTS => Some(format!("{} taps are too few for indices", job.taps())),
                _ => (halves(job) == Halves::Tables).then(|| "no two windows are side by side".into()),
            };
        }
        let finest = if self.depth == Depth::Binary {
            Code::FOUR_BITS
        } else {
            Code::TWO_TRITS
        };
        let (stored, least) = (self.stored(job), finest.stored(job));
        if stored > least + least / NEAR {
            return Some(format!(
                "indices take {stored} bits for an output, shorter ones {least}"
            ));
        }
        let rows = job.kernel()[0] > 1 && job.geom.stride[0] == 1 && job.geom.pads[0] <= reach(job);
        (self.strips && !rows).then(|| "no two rows of the kernel read the same operands".into())
    }

    /// Builds the kernel.
    pub fn build(&self, given: &Job) -> Kernel {
        let windows = self.copies(given).then(|| im2col::plan(given, self.digits));
        let job = windows.as_ref().unwrap_or(given);
        let mut b = Builder::new(&job.name, &job.doc);
        let x = b.param("x", given.x.ty(), given.x.elements(), Role::In, given.x_range);
        let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
        let shape = Shape::of(self, job, windows.is_some());
        let scratch =
            |b: &mut Builder, name: &str, len: usize| b.param(name, Ty::U32, len, Role::Scratch, Ty::U32.range());
        let weights = b.constants("weights", shape.cut.word, shape.indices(job));
        let finish = Finish::declare(&mut b, job);
        let window = windows.as_ref().map(|_| Window {
            job: given,
            buf: scratch(&mut b, "window", shape.reads()),
        });
        let kernel = Sums {
            job,
            x,
            window,
            weights,
            tables: scratch(&mut b, "tables", shape.pitch() * self.stride()),
            sums: scratch(&mut b, "sums", shape.sums()),
            shape,
        };
        if let Some(window) = &kernel.window {
            let (taps, all) = (window.job.taps(), kernel.shape.reads());
            b.each("i", all - taps, false, |b, i| {
                b.store(window.buf, idx(taps) + i, int(0, Ty::U32))
            });
        }
        let pixels = kernel.shape.pixels();
        b.each("tile", job.y.w.div_ceil(pixels), false, |b, tile| {
            // The last of an odd number of columns is computed beside the one before it, again.
            let col = match pixels {
                1 => tile,
                n if job.y.w.is_multiple_of(n) => tile * idx(n),
                n => (tile * idx(n)).min(idx(job.y.w - n)),
            };
            let col = b.val("out_col", col);
            kernel.tile(b, &finish, y, &col);
        });
        let mut kernel = b.finish();
        // 4 to 12 % fewer instructions on a Cortex-M0, and code that is a tenth shorter. (Sums are better not left in order: 11 % more.)
        kernel.by_priority = true;
        kernel
    }
}

/// What shares a word: two sums, and two operands of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halves {
    /// Neighbouring outputs of a row.
    Outputs,
    /// Neighbours in a pooling window.
    Pool,
    /// Two tables, where there is one output pixel. A sum in the half at hand is not disturbed by what is in the other.
    Tables,
}

fn halves(job: &Job) -> Halves {
    match (job.pool.map_or(1, |p| p.size[1]).is_multiple_of(2), job.y.w) {
        (true, _) => Halves::Pool,
        (_, 1) => Halves::Tables,
        _ => Halves::Outputs,
    }
}

/// How a job is cut.
struct Shape<'a> {
    code: &'a Code,
    halves: Halves,
    /// Rows and columns of the pooling window.
    pool: [usize; 2],
    /// Outputs, those beyond the last included that share its words.
    outputs: usize,
    /// How indices are stored.
    cut: Cut,
    /// Words of indices per tap, of outputs that share them.
    words: usize,
    /// Words that are looked up in straight-line code, but for the last part.
    straight: usize,
    /// Rows of sums.
    rows: usize,
}

impl<'a> Shape<'a> {
    /// `windows`: whether these are copied.
    fn of(code: &'a Code, job: &Job, windows: bool) -> Self {
        let pool = job.pool.map_or([1, 1], |p| p.size);
        let halves = halves(job);
        let cut = code.cut(job.inputs());
        let words = code.words(job.inputs(), cut);
        let mut shape = Shape {
            code,
            halves,
            pool,
            outputs: job.y.c.next_multiple_of(cut.outputs),
            cut,
            words,
            straight: 1,
            rows: if code.strips { job.x.h + reach(job) } else { pool[0] },
        };
        let window = if windows { shape.reads() } else { 0 };
        let taken = WORD_BYTES * (shape.sums() + window);
        let free = usize::try_from(job.scratch).unwrap_or(usize::MAX).saturating_sub(taken);
        let tables = TABLES.min(free) * shape.tables_in_word() / (WORD_BYTES * code.stride());
        let room = tables * cut.outputs / shape.fields();
        let most = (STRAIGHT / shape.fields()).min(room).max(1);
        let divides = (1..=most).rev().find(|n| words.is_multiple_of(*n)).expect("1 divides");
        // Code of its own for what is left rather than parts of half the length.
        shape.straight = match 2 * divides > most {
            true => divides,
            false => words.div_ceil(words.div_ceil(most)),
        };
        shape
    }

    /// Indices in a word.
    fn fields(&self) -> usize {
        self.code.fields(self.cut.word)
    }

    /// Indices of an output in so many words.
    fn groups(&self, words: usize) -> usize {
        words * self.fields() / self.cut.outputs
    }

    /// Sums that share a word.
    fn lanes(&self) -> usize {
        if self.halves == Halves::Tables { 1 } else { 2 }
    }

    /// Words of a set of tables for one index, which serve so many words of indices.
    fn chunk(&self, words: usize) -> usize {
        self.groups(words).div_ceil(self.tables_in_word())
    }

    /// The words of the last part.
    fn last(&self) -> usize {
        (self.words - 1) % self.straight + 1
    }

    /// Operands that tables are made of for a tap: all inputs, and some beyond.
    fn reads(&self) -> usize {
        let last = self.last();
        let groups = self.groups(self.words - last) + self.chunk(last) * self.tables_in_word();
        groups * self.code.digits
    }

    fn tables_in_word(&self) -> usize {
        if self.halves == Halves::Tables { 2 } else { 1 }
    }

    /// Distance between two sums of a table: neighbours in memory are the sums of the same index, so that a table's number is a
    /// constant offset.
    fn pitch(&self) -> usize {
        self.chunk(self.straight).next_power_of_two()
    }

    /// Output columns of a tile.
    fn pixels(&self) -> usize {
        if self.halves == Halves::Outputs { 2 } else { 1 }
    }

    /// Columns of a pooling window whose sums are taken apart.
    fn strips(&self) -> usize {
        if self.halves == Halves::Pool {
            self.pool[1] / 2
        } else {
            self.pool[1]
        }
    }

    /// All sums.
    fn sums(&self) -> usize {
        self.strips() * self.rows * self.row()
    }

    /// Elements of a row of sums.
    fn row(&self) -> usize {
        self.lanes() * self.outputs
    }

    /// The weights' indices, `[kx][part][ky][outputs that share words][word]`.
    fn indices(&self, job: &Job) -> Vec<crate::kir::Lit> {
        let (_, codes) = job.packed_codes().expect("asked before");
        let [outputs, inputs, kh, kw] = job.weights.shape;
        let code = self.code;
        // What is beyond the last input counts 0 in any case, and what is beyond the last output is not read.
        let digit = |o: usize, tap: usize, c: usize| match c < inputs && o < outputs {
            true => codes[job.source(o, tap * inputs + c)],
            false => 0,
        };
        let index = |o: usize, tap: usize, group: usize| {
            (0..code.digits).rev().fold(0, |index, d| {
                let digit = digit(o, tap, group * code.digits + d);
                let value = if code.depth == Depth::Binary {
                    i8::from(digit > 0)
                } else {
                    digit + 1
                };
                index * code.radix() as i64 + i64::from(value)
            })
        };
        let together = self.cut.outputs;
        let word = |unit: usize, tap: usize, w: usize| -> i64 {
            let field = |f: usize| {
                let at = w * self.fields() + f;
                index(unit * together + at % together, tap, at / together) << (f * code.bits)
            };
            (0..self.fields()).map(field).sum()
        };
        let mut words = vec![];
        for kx in 0..kw {
            for first in (0..self.words).step_by(self.straight) {
                let part = first..self.words.min(first + self.straight);
                for ky in 0..kh {
                    for unit in 0..self.outputs / together {
                        words.extend(part.clone().map(|w| word(unit, ky * kw + kx, w)));
                    }
                }
            }
        }
        ints(words, self.cut.word)
    }
}

/// Rows from a kernel's first tap to its last.
fn reach(job: &Job) -> usize {
    (job.kernel()[0] - 1) * job.geom.dilation[0]
}

/// Two windows side by side.
struct Window<'a> {
    /// The job on the map.
    job: &'a Job<'a>,
    /// A tap of both in each word; 0 beyond the last.
    buf: Buf,
}

struct Sums<'a> {
    /// The job on the map, or on windows.
    job: &'a Job<'a>,
    shape: Shape<'a>,
    x: Buf,
    window: Option<Window<'a>>,
    weights: Buf,
    /// `[index][table]`.
    tables: Buf,
    /// `[strip][row][lane][output]`.
    sums: Buf,
}

/// Rows of the kernel that one set of tables serves, and the row of sums that the first adds to.
enum Uses<'a> {
    /// All; the sums' rows go up as the kernel's go down.
    All(&'a Expr),
    /// One.
    One(&'a Expr, &'a Expr),
}

impl Sums<'_> {
    /// The outputs of one or two columns.
    fn tile(&self, b: &mut Builder, finish: &Finish, y: Buf, col: &Expr) {
        let (job, shape) = (self.job, &self.shape);
        let ([ph, pw], [kh, _]) = (shape.pool, job.kernel());
        let apart = pw / shape.strips();
        let left = |dx: &Expr| (col.clone() * idx(pw) + dx.clone() * idx(apart)) * idx(job.geom.stride[1]);
        if shape.code.strips {
            self.clear(b);
            b.each("dx", shape.strips(), false, |b, dx| {
                let left = b.val("left", left(&dx));
                b.each("in_row", job.x.h, false, |b, row| {
                    let first = b.val("sums_row", dx * idx(shape.rows) + row.clone());
                    self.row(b, &row, None, &left, &Uses::All(&first));
                });
            });
            b.each("row", job.y.h, false, |b, row| {
                let first = row.clone() * idx(ph) + idx(reach(job) - job.geom.pads[0]);
                self.finish(b, finish, y, (&row, col), &first);
            });
            return;
        }
        b.each("row", job.y.h, false, |b, row| {
            self.clear(b);
            b.each("dx", shape.strips(), false, |b, dx| {
                let left = b.val("left", left(&dx));
                b.each("dy", ph, false, |b, dy| {
                    let top = (row.clone() * idx(ph) + dy.clone()) * idx(job.geom.stride[0]);
                    let sums = b.val("sums_row", dx * idx(shape.rows) + dy);
                    b.each("ky", kh, false, |b, ky| {
                        let (y, on_map) = coordinate(b, job, 0, top + ky.clone() * idx(job.geom.dilation[0]));
                        self.row(b, &y, on_map, &left, &Uses::One(&ky, &sums));
                    });
                });
            });
            self.finish(b, finish, y, (&row, col), &idx(0));
        });
    }

    /// Sets all sums to what makes up for the offsets to come.
    fn clear(&self, b: &mut Builder) {
        let (job, shape) = (self.job, &self.shape);
        let [kh, kw] = job.kernel();
        // Rows of the kernel that add to a row of sums.
        let adding = |row: usize| match shape.code.strips {
            false => kh,
            true => (0..kh)
                .filter(|ky| (ky * job.geom.dilation[0]..job.x.h + ky * job.geom.dilation[0]).contains(&row))
                .count(),
        };
        b.each("dx", shape.strips(), false, |b, dx| {
            let mut first = 0;
            while first < shape.rows {
                let same = (first..shape.rows)
                    .take_while(|&row| adding(row) == adding(first))
                    .count();
                let offset = self.offset() * (shape.groups(shape.words) * kw * adding(first)) as i64;
                let start = int(i64::from((-offset) as i32 as u32), Ty::U32);
                let at = (dx.clone() * idx(shape.rows) + idx(first)) * idx(shape.row());
                b.each("o", same * shape.row(), false, |b, o| b.store(self.sums, at + o, start));
                first += same;
            }
        });
    }

    /// Stores the outputs of a row, whose sums begin in row `first`.
    fn finish(&self, b: &mut Builder, finish: &Finish, y: Buf, (row, col): (&Expr, &Expr), first: &Expr) {
        let (job, shape) = (self.job, &self.shape);
        let [ph, pw] = shape.pool;
        for pixel in 0..shape.pixels() {
            let at = (row.clone(), col.clone() + idx(pixel));
            channels(b, job, false, y, at, &mut |b, channel| {
                let sum = |b: &Builder, dy: Expr, dx: Expr, lane: usize| {
                    let row = dx * idx(shape.rows) + first.clone() + dy;
                    let at = row * idx(shape.row()) + idx(lane * shape.outputs) + channel.o.clone();
                    b.load(self.sums, at).cast(Ty::I32)
                };
                if ph * pw == 1 {
                    let total = sum(b, idx(0), idx(0), pixel);
                    let total = b.val("total", total);
                    return finish.apply(b, total, channel.o.clone());
                }
                let best = b.mutable("best", int(job.least, Ty::I32));
                let lanes = if shape.halves == Halves::Pool {
                    0..2
                } else {
                    pixel..pixel + 1
                };
                b.each("dy", ph, false, |b, dy| {
                    b.each("dx", shape.strips(), false, |b, dx| {
                        for lane in lanes.clone() {
                            let next = sum(b, dy.clone(), dx.clone(), lane);
                            b.set(best, Expr::Var(best).max(next));
                        }
                    });
                });
                finish.apply(b, Expr::Var(best), channel.o.clone())
            });
        }
    }

    /// What the operands of row `y` add.
    fn row(&self, b: &mut Builder, y: &Expr, on_map: Option<Expr>, left: &Expr, uses: &Uses) {
        let (job, shape) = (self.job, &self.shape);
        let [kh, kw] = job.kernel();
        b.each("kx", kw, false, |b, kx| {
            let first = b.val("col", left.clone() + kx.clone() * idx(job.geom.dilation[1]));
            let pixels = match &self.window {
                None => self.pixels(b, y, on_map.as_ref(), &first),
                Some(window) => {
                    self.copy(b, window, y, &first);
                    vec![]
                }
            };
            // A part of so many words, the first of which is `first`.
            let units = shape.outputs / shape.cut.outputs;
            let part = |b: &mut Builder, first: Expr, words: usize| {
                b.each("table", shape.chunk(words), false, |b, table| {
                    let group = first.clone() * idx(shape.groups(1)) + table.clone() * idx(shape.tables_in_word());
                    let operands = self.operands(b, &pixels, &group);
                    self.build(b, &operands, &table);
                });
                let step = b.val("part_at", (kx.clone() * idx(shape.words) + first) * idx(kh * units));
                let add = |b: &mut Builder, ky: &Expr, row: Expr| {
                    let block = b.val("block", step.clone() + ky.clone() * idx(units * words));
                    let sums = b.val("sums_at", row * idx(shape.row()));
                    let together = shape.cut.outputs;
                    b.each(if together == 1 { "o" } else { "unit" }, units, false, |b, unit| {
                        let at = block.clone() + unit.clone() * idx(words);
                        self.add(b, &at, words, &(sums.clone() + unit * idx(together)));
                    });
                };
                match uses {
                    Uses::One(ky, row) => add(b, ky, (*row).clone()),
                    Uses::All(row) => b.each("ky", kh, false, |b, ky| {
                        let up = (idx(kh - 1) - ky.clone()) * idx(job.geom.dilation[0]);
                        add(b, &ky, (*row).clone() + up);
                    }),
                }
            };
            let (whole, left) = (shape.words / shape.straight, shape.words % shape.straight);
            b.each("part", whole, false, |b, n| {
                part(b, n * idx(shape.straight), shape.straight)
            });
            if left > 0 {
                part(b, idx(whole * shape.straight), left);
            }
        });
    }

    /// What is added to every sum of a table, so that none is below 0.
    fn offset(&self) -> i64 {
        let (lo, hi) = self.job.x_range;
        self.shape.code.digits as i64 * lo.abs().max(hi.abs())
    }

    /// Distance of the lanes' columns.
    fn apart(&self) -> usize {
        let neighbours = self.shape.halves == Halves::Pool;
        self.job.geom.stride[1] * if neighbours { 1 } else { self.shape.pool[1] }
    }

    /// Copies the windows whose first is in row `row`, column `col` of all windows.
    fn copy(&self, b: &mut Builder, window: &Window, row: &Expr, col: &Expr) {
        let Window { job, buf } = *window;
        let ([kh, kw], geom, inputs) = (job.kernel(), &job.geom, job.inputs());
        b.each("tap_row", kh, false, |b, ky| {
            let padded = row.clone() * idx(geom.stride[0]) + ky.clone() * idx(geom.dilation[0]);
            let (y, on_row) = coordinate(b, job, 0, padded);
            b.each("tap_col", kw, false, |b, kx| {
                let lane = |b: &mut Builder, lane: usize| {
                    let col = (col.clone() + idx(lane * self.apart())) * idx(geom.stride[1]);
                    let (x, on_col) = coordinate(b, job, 1, col + kx.clone() * idx(geom.dilation[1]));
                    (x, [on_row.clone(), on_col])
                };
                let lanes = [lane(b, 0), lane(b, 1)];
                let tap = b.val("tap", (ky * idx(kw) + kx.clone()) * idx(inputs));
                b.each("c", inputs, true, |b, c| {
                    let [low, high] = lanes.clone().map(|(x, masks)| {
                        let v = b.load(self.x, job.x.at(c.clone(), y.clone(), x)).cast(Ty::I32);
                        masks.into_iter().flatten().fold(v, |v, mask| v & mask).cast(Ty::U32)
                    });
                    b.store(buf, tap.clone() + c, low + (high << int(16, Ty::U32)));
                });
            });
        });
    }

    /// For each lane the first channel's index, and its mask.
    fn pixels(&self, b: &mut Builder, y: &Expr, row: Option<&Expr>, first: &Expr) -> Vec<(Expr, Option<Expr>)> {
        let apart = self.apart();
        let lane = |lane: usize| {
            let (x, col) = coordinate(b, self.job, 1, first.clone() + idx(lane * apart));
            let mask = match (row, col) {
                (Some(r), Some(c)) => Some(b.val("mask", r.clone() & c)),
                (r, c) => r.cloned().or(c),
            };
            (b.val("pixel", self.job.x.at(idx(0), y.clone(), x)), mask)
        };
        (0..self.shape.lanes()).map(lane).collect()
    }

    /// The operands of a word of tables from a group on, two in each: of two pixels, or of two groups.
    fn operands(&self, b: &mut Builder, pixels: &[(Expr, Option<Expr>)], group: &Expr) -> Vec<Expr> {
        let digits = self.shape.code.digits;
        let first = b.val("first", group.clone() * idx(digits));
        if let Some(window) = &self.window {
            let mut tap = |d: usize| b.val("v", b.load(window.buf, first.clone() + idx(d)));
            return (0..digits).map(&mut tap).collect();
        }
        let halves: Vec<(usize, &(Expr, Option<Expr>))> = match pixels {
            [pixel] => vec![(0, pixel), (digits, pixel)],
            _ => pixels.iter().map(|p| (0, p)).collect(),
        };
        let mut operands = vec![];
        for d in 0..digits {
            let mut half = |at: usize| {
                let (offset, (pixel, mask)) = halves[at];
                self.operand(b, first.clone() + idx(offset + d), pixel, mask.as_ref())
            };
            let (low, high) = (half(0), half(1));
            operands.push(b.val("v", low + (high << int(16, Ty::U32))));
        }
        operands
    }

    /// The operand of channel `c` where there is such a channel.
    fn operand(&self, b: &mut Builder, c: Expr, pixel: &Expr, mask: Option<&Expr>) -> Expr {
        let (job, shape) = (self.job, &self.shape);
        let planes = if job.x.layout == Layout::Planar {
            job.x.plane * job.x.w
        } else {
            1
        };
        let padded = shape.reads() > job.inputs();
        let (c, live) = match padded {
            false => (c, None),
            true => {
                let live = -(!c.clone().ge(idx(job.inputs()))).cast(Ty::I32);
                (c.min(idx(job.inputs() - 1)), Some(b.val("live", live)))
            }
        };
        let v = b.load(self.x, pixel.clone() + c * idx(planes)).cast(Ty::I32);
        let masks = mask.into_iter().chain(&live).cloned();
        masks.fold(v, |v, mask| v & mask).cast(Ty::U32)
    }

    /// Writes the sums of `operands` by every index, one digit up or down at a time.
    fn build(&self, b: &mut Builder, operands: &[Expr], table: &Expr) {
        let (code, pitch) = (self.shape.code, self.shape.pitch());
        let least = operands
            .iter()
            .fold(int(self.offset() * 0x1_0001, Ty::U32), |sum, v| sum - v.clone());
        let steps: Vec<Expr> = match code.depth {
            Depth::Binary => operands.iter().map(|v| b.val("twice", v.clone() + v.clone())).collect(),
            _ => operands.to_vec(),
        };
        let mut sum = b.val("s", least);
        let mut index = 0;
        b.store(self.tables, table.clone(), sum.clone());
        for (digit, up) in reflected(code.radix(), code.digits) {
            let weight = code.radix().pow(digit as u32);
            let step = steps[digit].clone();
            (sum, index) = match up {
                true => (sum + step, index + weight),
                false => (sum - step, index - weight),
            };
            sum = b.val("s", sum);
            b.store(self.tables, table.clone() + idx(index * pitch), sum.clone());
        }
    }

    /// Adds the tables' sums for so many words of indices, which outputs share, to their sums from `at` on.
    fn add(&self, b: &mut Builder, words: &Expr, count: usize, at: &Expr) {
        let (shape, code) = (&self.shape, self.shape.code);
        let lit = |v: usize| int(v as i64, Ty::U32);
        let words = b.val("word", words.clone());
        let at = b.val("at", at.clone());
        let (together, apart) = (shape.cut.outputs, shape.tables_in_word());
        // `[output][half of a word]`.
        let mut sums: Vec<Vec<Option<Expr>>> = vec![vec![None; apart]; together];
        for w in 0..count {
            let word = b.val("i", b.load(self.weights, words.clone() + idx(w)).cast(Ty::U32));
            for f in 0..shape.fields() {
                let field = (word.clone() >> lit(f * code.bits)) & lit(code.stride() - 1);
                let (table, output) = ((w * shape.fields() + f) / together, (w * shape.fields() + f) % together);
                let entry = field.cast(Ty::Idx) * idx(shape.pitch()) + idx(table / apart);
                let entry = b.load(self.tables, entry);
                let sum = &mut sums[output][table % apart];
                *sum = Some(match sum.take() {
                    None => b.val("s", entry),
                    Some(s) => b.val("s", s + entry),
                });
            }
        }
        for (output, sums) in sums.into_iter().enumerate() {
            let sums: Vec<Expr> = sums.into_iter().flatten().collect();
            let (low, high) = (sums[0].clone() & lit(0xffff), sums.last().map(|s| s.clone() >> lit(16)));
            let high = high.expect("a word has fields");
            let totals = match shape.halves {
                // Of one index, only the lower table.
                Halves::Tables if sums.len() == 1 => vec![low],
                Halves::Tables => vec![low + high],
                _ => vec![low, high],
            };
            for (lane, total) in totals.into_iter().enumerate() {
                let at = at.clone() + idx(lane * shape.outputs + output);
                b.store(self.sums, at.clone(), b.load(self.sums, at) + total);
            }
        }
    }
}

/// The reflected code of `digits` digits, from all 0 on: which digit changes by one, and whether it goes up.
fn reflected(radix: usize, digits: usize) -> Vec<(usize, bool)> {
    let mut steps = vec![];
    let mut value = vec![0; digits];
    let mut up = vec![true; digits];
    while let Some(d) = (0..digits).find(|&d| if up[d] { value[d] + 1 < radix } else { value[d] > 0 }) {
        up[..d].iter_mut().for_each(|u| *u = !*u);
        value[d] = if up[d] { value[d] + 1 } else { value[d] - 1 };
        steps.push((d, up[d]));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_reflected_code_meets_every_index_once() {
        for code in [
            Code::FOUR_BITS,
            Code::EIGHT_BITS,
            Code::TWO_TRITS,
            Code::FOUR_TRITS,
            Code::FIVE_TRITS,
        ] {
            let radix = code.radix() as i64;
            let mut index = 0;
            let mut seen = BTreeSet::from([0]);
            for (digit, up) in reflected(code.radix(), code.digits) {
                index += radix.pow(digit as u32) * if up { 1 } else { -1 };
                assert!(seen.insert(index), "{code:?}: {index}");
            }
            assert_eq!(seen.len(), code.radix().pow(code.digits as u32));
            assert_eq!(seen.last(), Some(&(seen.len() as i64 - 1)));
            assert!(seen.len() <= code.stride());
        }
    }
}
