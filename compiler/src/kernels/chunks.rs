//! Weights as code on the operands that fit the registers: additions and subtractions, nothing for weights that are 0.
//!
//! The taps are cut into chunks whose operands fit the registers. A chunk is straight-line code that runs through the outputs,
//! with the sums in RAM. Where registers are few it reads the operands from RAM too, where they were put together for a row of the
//! kernel.
//!
//! Where a row has several pixels, two are computed at a time: their operands lie in the halves of a word, and one addition or
//! subtraction serves both. (Additions of whole words do what `SADD16` does but for the borrow that a negative lower half takes
//! from the upper one, which is given back when the halves are parted; so no processor needs an instruction for it.) A half holds
//! 16 bits. Where the sums of a layer may be greater, taps are cut into blocks of whose sums it is known that they are not, and
//! the blocks' sums are added up in words.
//!
//! Of binary weights, those that are 1 alone are added up. The sum of the others is what is left of the sum of all operands, which
//! all outputs share: `sum(w x) = 2 sum(x where w = 1) - sum(x)`. A chunk takes whichever half has fewer weights, so that
//! in the mean two weights in five cost an instruction.

use super::nest::{Finish, Job, channels, coordinate, some_channels};
use super::view::{Layout, WORD};
use crate::ir::{Depth, Elem};
use crate::kir::build::{Builder, idx, int};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};
use std::collections::BTreeMap;
use std::ops::Range;

/// Additions beyond which the code is no candidate: 130 to 180 KB, for which rustc and GCC take 7 to 20 seconds.
const LIMIT: usize = 28_000;

/// Outputs below which building operands costs as much as adding them.
const LEAST_OUTPUTS: usize = 4;

/// Registers below which a load reaches no further than [`REACH`] words from a register: Armv6-M, section A6.7.26.
const FEW_WORDS: usize = 12;

/// Registers that hold the sums of two operands beside the operands.
const MANY_WORDS: usize = 20;

/// Sums of a chunk whose addresses are at constant distances from one register there. LLVM keeps the addresses of further ones on
/// the stack, over 4 KB for 64 outputs.
const REACH: usize = 32;

/// Bytes of stack that such code takes beyond the kilobyte that plans reserve: rustc's takes 1,316 for a dense layer on RV32IMC and has
/// that of other kernels above it. Where operands are put together it takes 660 for 128 channels, in a network 812; for a 5x5 kernel
/// of one channel on Armv6-M 604.
fn stack(job: &Job, lanes: usize) -> u64 {
    match () {
        _ if packs(job, lanes) => 512,
        _ if job.taps() > FEW_TAPS => 1536,
        _ => 0,
    }
}

/// Those that are not the kernel's to take, and lessen its scratch.
fn beyond(job: &Job, lanes: usize) -> u64 {
    stack(job, lanes).saturating_sub(job.stack.unwrap_or(0))
}

/// Taps whose addresses are no burden.
pub const FEW_TAPS: usize = 64;

/// Why this family cannot build `job` with `lanes` pixels at a time, if so.
pub fn refuses(job: &Job, lanes: usize) -> Option<String> {
    let columns = columns(job);
    match () {
        _ if job.packed_codes().is_none() => Some("weights are not binary or ternary".into()),
        _ if !matches!(job.x.elem, Elem::I8 | Elem::U8) => Some("operand is not of 8 bits".into()),
        _ if job.geom.groups != 1 => Some(format!("{} groups", job.geom.groups)),
        _ if job.y.c < LEAST_OUTPUTS => Some(format!("{} outputs are too few to share operands", job.y.c)),
        _ if lanes == 1 && columns > 1 => Some("two pixels at a time take fewer instructions".into()),
        _ if lanes == 2 && columns < 2 => Some("no two pixels are side by side".into()),
        _ if lanes == 2 && job.pool.is_some() && columns % 2 == 1 => Some("an odd number of columns is pooled".into()),
        _ if job.stack.is_none() && stack(job, lanes) > 0 => Some("other layers leave its stack no room".into()),
        // Its chunks would take long to count.
        _ if job.weights.shape.iter().product::<usize>() > 8 * LIMIT => Some(format!(
            "more than {} weights are more than {LIMIT} additions",
            8 * LIMIT
        )),
        _ => {
            let blocks = blocks(job, lanes);
            let weights = blocks.iter().flatten().flat_map(|c| c.weights.iter().flatten());
            let additions = weights.filter(|w| **w != 0).count();
            let ram = cut(job, lanes, &blocks).bytes() + beyond(job, lanes);
            if additions > LIMIT {
                Some(format!("{additions} additions are more than {LIMIT}"))
            } else {
                (ram > job.scratch).then(|| format!("{ram} bytes of sums and stack are more than {}", job.scratch))
            }
        }
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
    /// For each slot the weights of the taps, and where weights are binary of the sum of all their operands.
    weights: Vec<Vec<i8>>,
}

struct Chunks<'a> {
    job: &'a Job<'a>,
    /// Pixels in a word.
    lanes: usize,
    /// Groups of pixels in a part of a row, which is computed at a time.
    groups: usize,
    x: Buf,
    /// `[group of pixels][tap]`, the operands of a kernel's row, if they are put together before the chunks.
    packed: Option<Buf>,
    /// Chunks of which the sums fit the parts of words.
    blocks: Vec<Vec<Chunk>>,
    /// The sums of a block. Nothing where the only chunk yields the outputs.
    words: Vec<Words>,
    /// `[row of the pool][column][output]`, of all blocks, if there are several.
    sums: Option<Buf>,
}

/// `[group of pixels][slot]`, of a block; where there is one block alone, `[row of the pool][group][slot]`. A slot is that of an
/// output, or behind these that of the sum of all operands.
struct Words {
    slots: Range<usize>,
    buf: Buf,
}

impl Words {
    /// Where a group's slots begin.
    fn at(&self, group: &Expr) -> Expr {
        group.clone() * idx(self.slots.len())
    }
}

/// Slots that a chunk's code runs through one after the other, each piece with sums in a buffer of its own: its base is a register
/// that loads and stores reach them from. (In one buffer GCC takes all offsets from its beginning, and the further ones an instruction
/// each.) Outputs that are packed make whole words of signs.
fn pieces(job: &Job) -> Vec<Range<usize>> {
    let outputs = job.y.c;
    let reach = if job.simd.words < FEW_WORDS { REACH } else { outputs };
    let end = |from: usize| {
        if from + reach < outputs {
            from + reach
        } else {
            slots(job)
        }
    };
    (0..outputs).step_by(reach).map(|from| from..end(from)).collect()
}

/// Slots of a group of pixels.
fn slots(job: &Job) -> usize {
    job.y.c + usize::from(from_all(job))
}

/// Whether sums are put together from those of the weights that are 1 and the sum of all operands.
fn from_all(job: &Job) -> bool {
    job.packed_codes().is_some_and(|(depth, _)| depth == Depth::Binary)
}

/// Builds the kernel with `lanes` pixels at a time.
pub fn build(job: &Job, lanes: usize) -> Kernel {
    let mut b = Builder::new(&job.name, &job.doc);
    let x = b.param("x", job.x.ty(), job.x.elements(), Role::In, job.x_range);
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let finish = Finish::declare(&mut b, job);
    let [rows, pw] = job.pool.map_or([1, 1], |p| p.size);
    let blocks = blocks(job, lanes);
    let Cut {
        parts,
        groups,
        one,
        yields,
        words,
        sums,
        packed,
    } = cut(job, lanes, &blocks);
    let mut scratch =
        |name: &str, len: usize| (len > 0).then(|| b.param(name, Ty::U32, len, Role::Scratch, Ty::U32.range()));
    let pieces = pieces(job);
    let some_words = |(i, slots): (usize, &Range<usize>)| {
        let buf = scratch(&format!("words{i}"), words / self::slots(job) * slots.len())?;
        Some(Words {
            slots: slots.clone(),
            buf,
        })
    };
    let kernel = Chunks {
        words: pieces.iter().enumerate().filter_map(some_words).collect(),
        sums: scratch("sums", sums),
        packed: scratch("packed", packed),
        lanes,
        groups,
        blocks,
        job,
        x,
    };
    b.each("row", job.y.h, false, |b, row| {
        b.each("part", parts, parts == 1, |b, part| {
            let before = b.val("before", part.clone() * idx(groups));
            b.each("dy", rows, false, |b, dy| {
                let top = (row.clone() * idx(rows) + dy.clone()) * idx(job.geom.stride[0]);
                let above = if one { dy.clone() * idx(groups) } else { idx(0) };
                let mut packed = None;
                for (i, block) in kernel.blocks.iter().enumerate() {
                    for (j, chunk) in block.iter().enumerate() {
                        let ky = chunk.taps[0].ky;
                        if let Some(buf) = kernel.packed
                            && packed.replace(ky) != Some(ky)
                        {
                            kernel.pack(b, buf, &top, ky, &before);
                        }
                        let last = yields && j + 1 == block.len();
                        for (piece, some) in pieces.iter().enumerate() {
                            b.each("group", groups, false, |b, group| {
                                let operands = kernel.operands(b, chunk, &top, &before, &group);
                                let sums = above.clone() + group.clone();
                                if last {
                                    let place = (row.clone(), kernel.column(before.clone() + group));
                                    let sums = (j > 0).then_some(sums);
                                    kernel.outputs(b, &finish, y, place, some, chunk, &operands, sums);
                                } else {
                                    kernel.chunk(b, &kernel.words[piece], chunk, &operands, j == 0, &sums);
                                }
                            });
                            // Without a loop all of them would be one block of code, and every sum a variable.
                            if groups == 1 {
                                b.fence();
                            }
                        }
                    }
                    if let Some(sums) = kernel.sums {
                        kernel.part(b, sums, i == 0, &dy);
                    }
                }
            });
            if yields {
                return;
            }
            let count = if parts > 1 { groups * lanes / pw } else { job.y.w };
            let from = part * idx(count);
            // The last of an odd number of columns begins before its end, as its operands do.
            let from = if parts * count > job.y.w {
                from.min(idx(job.y.w - count))
            } else {
                from
            };
            let place = (row.clone(), from, count);
            match kernel.sums {
                Some(sums) => kernel.finish(b, &finish, y, place, sums),
                None => kernel.finish_words(b, &finish, y, place),
            }
        });
    });
    let mut kernel = b.finish();
    kernel.stack = stack(job, lanes);
    // GCC sums operands once that several outputs add, and lacks registers for these: without, a Cortex-M4 takes 4 to 7 % fewer
    // instructions, and together with pieces and priority a Cortex-M0 15 to 24 %. RISC-V has more registers: 2 % fewer of ternary
    // weights, but 4.5 % more of binary ones, of which more outputs share sums.
    kernel.in_order = !from_all(job) || job.simd.words < MANY_WORDS;
    kernel.by_priority = true;
    kernel
}

/// How a row is cut.
struct Cut {
    /// Parts of the row, each of which is computed at a time.
    parts: usize,
    /// Groups of pixels in a part.
    groups: usize,
    /// Whether sums stay words until they are finished.
    one: bool,
    /// Whether the last chunk finishes them, rather than a loop: that saves a store, a load and the loop's own instructions, and
    /// makes the code longer by all that finishes an output.
    yields: bool,
    /// Words for [`Chunks::words`], and for [`Chunks::sums`].
    words: usize,
    sums: usize,
    /// Words for [`Chunks::packed`].
    packed: usize,
}

impl Cut {
    /// Bytes of RAM for all.
    fn bytes(&self) -> u64 {
        4 * (self.words + self.sums + self.packed) as u64
    }
}

/// Whether the operands of a kernel's row are put together in RAM before its chunks, from where they are words one behind the other:
/// where there are few registers for their addresses. Of a 3x3 kernel of 64 channels for 64 outputs, 8x8 pixels, this made 1.44
/// multiply-accumulates an instruction of 0.78 in Rust and 1.17 of 1.14 in C on a Cortex-M0. LLVM keeps the addresses of operands on
/// the map on the stack and steps each of them: 2.4 KB for 128 channels and 30 outputs. Where there are more registers it saves rustc
/// 2 to 7 % of the instructions on a Cortex-M4 and costs GCC 6 to 11 %, and 6 to 16 % both on RV32IMC.
fn packs(job: &Job, lanes: usize) -> bool {
    lanes > 1 && job.taps() > FEW_TAPS && job.simd.words < FEW_WORDS
}

/// As few parts as RAM allows, each of whole groups and whole pooling windows; where operands are put together, as many as there can be:
/// compilers unroll a loop over two or three groups, and the code is as many times as long.
fn cut(job: &Job, lanes: usize, blocks: &[Vec<Chunk>]) -> Cut {
    let (columns, [ph, pw]) = (columns(job), job.pool.map_or([1, 1], |p| p.size));
    let slots = slots(job);
    let one = blocks.len() == 1 && job.pool.is_none_or(|p| p.size[1].is_multiple_of(lanes));
    let packs = packs(job, lanes);
    let yields = blocks.len() == 1 && job.pool.is_none() && job.taps() <= FEW_TAPS;
    let kept = !yields || blocks[0].len() > 1;
    let into = |parts: usize| {
        let groups = columns.div_ceil(lanes) / parts;
        Cut {
            parts,
            groups,
            one,
            yields,
            words: if kept {
                groups * slots * if one { ph } else { 1 }
            } else {
                0
            },
            sums: if one { 0 } else { ph * lanes * groups * job.y.c },
            packed: if packs { groups * row_taps(job) } else { 0 },
        }
    };
    if packs && !columns.is_multiple_of(lanes) {
        return into(columns.div_ceil(lanes));
    }
    let whole = |parts: &usize| columns.is_multiple_of(lanes * parts) && (columns / parts).is_multiple_of(pw);
    let mut least = into(1);
    for cut in (2..=columns).filter(whole).map(into) {
        if !packs && least.bytes() + beyond(job, lanes) <= job.scratch {
            break;
        }
        least = cut;
    }
    least
}

/// Taps in a row of the kernel.
fn row_taps(job: &Job) -> usize {
    let [_, inputs, _, kw] = job.weights.shape;
    kw * inputs
}

/// Cuts the taps.
fn blocks(job: &Job, lanes: usize) -> Vec<Vec<Chunk>> {
    let (_, codes) = job.packed_codes().expect("asked before");
    let [outputs, inputs, kh, kw] = job.weights.shape;
    let in_order = (0..kh).flat_map(|ky| (0..kw).flat_map(move |kx| (0..inputs).map(move |c| Tap { ky, kx, c })));
    let taps: Vec<Tap> = in_order.collect();
    // A sum, the address of the sums and a constant beside the operands.
    let most = job.simd.words - 3 - usize::from(from_all(job));
    // Chunks are of one row of the kernel if operands are put together for it.
    let together = if packs(job, lanes) { row_taps(job) } else { taps.len() };
    // Equal chunks: a short one would load and store every sum for little.
    let size = together.div_ceil(together.div_ceil(most));
    // Of every output, what the block's sum may reach. Off the map is 0.
    let (lo, hi) = (job.x_range.0.min(0), job.x_range.1.max(0));
    let mut reach = vec![(0, 0); outputs];
    let mut blocks: Vec<Vec<Chunk>> = vec![vec![]];
    for taps in taps.chunks(together).flat_map(|row| row.chunks(size)) {
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
        if lanes > 1 && !reach.iter().zip(&own).all(fits) {
            blocks.push(vec![]);
            reach = vec![(0, 0); outputs];
        }
        for (reach, own) in reach.iter_mut().zip(&own) {
            *reach = (reach.0 + own.0, reach.1 + own.1);
        }
        blocks.last_mut().expect("begun above").push(Chunk {
            taps: taps.to_vec(),
            weights: if from_all(job) { halved(weights) } else { weights },
        });
    }
    blocks
}

/// Weights that make the sums of the operands whose weight is 1, either from these or from the sum of all and the others; and
/// behind the outputs' those of the sum of all.
fn halved(mut weights: Vec<Vec<i8>>) -> Vec<Vec<i8>> {
    let taps = weights.first().map_or(0, Vec::len);
    for weights in &mut weights {
        let minus = weights.iter().filter(|w| **w < 0).count();
        let less = minus + 1 < taps - minus;
        for w in weights.iter_mut() {
            *w = if less { (*w).min(0) } else { (*w).max(0) };
        }
        weights.push(less.into());
    }
    weights.push((0..=taps).map(|i| i8::from(i == taps)).collect());
    weights
}

/// Operands times weights, added to `start`.
fn sum(start: Option<Expr>, weights: &[i8], operands: &[Expr]) -> Expr {
    let live = operands.iter().zip(weights).filter(|(_, w)| **w != 0);
    let sum = live.fold(start, |sum, (x, w)| {
        Some(match (sum, w) {
            (None, 1) => x.clone(),
            (sum, 1) => sum.expect("the arm above") + x.clone(),
            (sum, _) => sum.unwrap_or(int(0, Ty::U32)) - x.clone(),
        })
    });
    sum.unwrap_or(int(0, Ty::U32))
}

impl Chunks<'_> {
    /// What a chunk adds to some sums of a group of pixels.
    fn chunk(&self, b: &mut Builder, words: &Words, chunk: &Chunk, operands: &[Expr], first: bool, group: &Expr) {
        let from = b.val("at", words.at(group));
        for (i, weights) in chunk.weights[words.slots.clone()].iter().enumerate() {
            let at = from.clone() + idx(i);
            if first || weights.iter().any(|w| *w != 0) {
                let start = (!first).then(|| b.load(words.buf, at.clone()));
                b.store(words.buf, at, sum(start, weights, operands));
            }
        }
    }

    /// Stores some outputs of a group of pixels, of which `chunk` is the last; if there were others, their sums are those of `group`.
    #[allow(clippy::too_many_arguments, reason = "one place in a nest has many coordinates")]
    fn outputs(
        &self,
        b: &mut Builder,
        finish: &Finish,
        y: Buf,
        (row, col): (Expr, Expr),
        some: &Range<usize>,
        chunk: &Chunk,
        operands: &[Expr],
        group: Option<Expr>,
    ) {
        let view = &self.job.y;
        let outputs = some.start..some.end.min(view.c);
        let left = |b: &Builder, slot: usize| group.as_ref().map(|group| self.word(b, group, slot));
        let all = from_all(self.job).then(|| {
            let all = sum(left(b, view.c), &chunk.weights[view.c], operands);
            b.val("all", all)
        });
        let mut bits = vec![];
        for o in outputs.clone() {
            let word = sum(left(b, o), &chunk.weights[o], operands);
            for (lane, sum) in self.lanes(b, word, all.as_ref()).into_iter().enumerate() {
                let total = b.val("total", sum);
                let value = finish.apply(b, total, idx(o));
                let at = |c: usize| view.at(idx(c), row.clone(), col.clone() + idx(lane));
                if view.layout != Layout::Packed {
                    b.store(y, at(o), value);
                    continue;
                }
                if o % WORD == 0 {
                    bits.truncate(lane);
                    bits.push(b.mutable("bits", int(0, Ty::U32)));
                }
                let word = bits[lane];
                b.set(word, Expr::Var(word) | (value << int((o % WORD) as i64, Ty::U32)));
                if o % WORD == WORD - 1 || o + 1 == outputs.end {
                    b.store(y, at(o / WORD), Expr::Var(word));
                }
            }
        }
    }

    /// The sum of a group of pixels in a slot.
    fn word(&self, b: &Builder, group: &Expr, slot: usize) -> Expr {
        let words = self.words.iter().find(|w| w.slots.contains(&slot)).expect("a slot");
        b.load(words.buf, words.at(group) + idx(slot - words.slots.start))
    }

    /// The operands of a chunk, those of a group's pixels in the parts of a word; and where weights are binary their sum.
    fn operands(&self, b: &mut Builder, chunk: &Chunk, top: &Expr, before: &Expr, group: &Expr) -> Vec<Expr> {
        let mut operands = match self.packed {
            Some(packed) => {
                let first = chunk.taps[0].kx * self.job.weights.shape[1] + chunk.taps[0].c;
                let from = group.clone() * idx(row_taps(self.job)) + idx(first);
                let from = b.val("from", from);
                let load = |b: &mut Builder, i| b.val("v", b.load(packed, from.clone() + idx(i)));
                (0..chunk.taps.len()).map(|i| load(b, i)).collect()
            }
            None => self.gathered(b, chunk, top, before.clone() + group.clone()),
        };
        if from_all(self.job) {
            let all = operands.iter().cloned().reduce(|a, b| a + b).expect("a tap");
            operands.push(b.val("all", all));
        }
        operands
    }

    /// The operands of a chunk from the map, of which neighbours share pixels.
    fn gathered(&self, b: &mut Builder, chunk: &Chunk, top: &Expr, group: Expr) -> Vec<Expr> {
        let (job, geom) = (self.job, &self.job.geom);
        let left = self.left(b, group);
        let (mut rows, mut cols) = (BTreeMap::new(), BTreeMap::new());
        let (mut pixels, mut values) = (BTreeMap::new(), BTreeMap::new());
        let mut value = |b: &mut Builder, tap: &Tap, lane: usize| -> Expr {
            let [down, right] = [
                tap.ky * geom.dilation[0],
                lane * geom.stride[1] + tap.kx * geom.dilation[1],
            ];
            let row = rows
                .entry(down)
                .or_insert_with(|| coordinate(b, job, 0, top.clone() + idx(down)));
            let col = cols
                .entry(right)
                .or_insert_with(|| coordinate(b, job, 1, left.clone() + idx(right)));
            let pixel = pixels
                .entry((down, right))
                .or_insert_with(|| Pixel::new(b, row.clone(), col.clone()));
            let value = values.entry((down, right, tap.c)).or_insert_with(|| {
                let value = self.masked(b, pixel, idx(tap.c));
                b.val("x", value)
            });
            value.clone()
        };
        let mut operands = vec![];
        for tap in &chunk.taps {
            let parts = (0..self.lanes).map(|lane| value(b, tap, lane)).collect();
            operands.push(b.val("v", together(parts)));
        }
        operands
    }

    /// Puts together the operands of a row of the kernel.
    fn pack(&self, b: &mut Builder, packed: Buf, top: &Expr, ky: usize, before: &Expr) {
        let [_, inputs, _, kw] = self.job.weights.shape;
        b.each("group", self.groups, false, |b, group| {
            let left = self.left(b, before.clone() + group.clone());
            b.each("kx", kw, false, |b, kx| {
                let pixels = self.pixels(b, ky, kx.clone(), top, &left);
                let to = b.val("to", (group * idx(kw) + kx) * idx(inputs));
                b.each("c", inputs, false, |b, c| {
                    let parts = pixels.iter().map(|pixel| self.masked(b, pixel, c.clone())).collect();
                    b.store(packed, to.clone() + c, together(parts));
                });
            });
        });
    }

    /// The column of the sums of a group's first pixel.
    fn column(&self, group: Expr) -> Expr {
        let columns = columns(self.job);
        let column = group * idx(self.lanes);
        // The last of an odd number of columns is computed beside the one before it, again.
        if columns.is_multiple_of(self.lanes) {
            column
        } else {
            column.min(idx(columns - self.lanes))
        }
    }

    /// The column that a group's first pixel reads first.
    fn left(&self, b: &mut Builder, group: Expr) -> Expr {
        b.val("left", self.column(group) * idx(self.job.geom.stride[1]))
    }

    /// A channel of a pixel, 0 off the map.
    fn masked(&self, b: &Builder, pixel: &Pixel, c: Expr) -> Expr {
        let v = b.load(self.x, self.job.x.at(c, pixel.y.clone(), pixel.x.clone()));
        let mask = |v: Expr, mask: &Expr| v & mask.clone();
        pixel.mask.iter().fold(v.cast(Ty::I32), mask).cast(Ty::U32)
    }

    /// Where a tap of each pixel lies.
    fn pixels(&self, b: &mut Builder, ky: usize, kx: Expr, top: &Expr, left: &Expr) -> Vec<Pixel> {
        let geom = &self.job.geom;
        let row = coordinate(b, self.job, 0, top.clone() + idx(ky * geom.dilation[0]));
        let pixel = |lane| {
            let col = left.clone() + idx(lane * geom.stride[1]) + kx.clone() * idx(geom.dilation[1]);
            let col = coordinate(b, self.job, 1, col);
            Pixel::new(b, row.clone(), col)
        };
        (0..self.lanes).map(pixel).collect()
    }

    /// The sums of a group's pixels for an output, from its word and that of the sum of all operands.
    fn lanes(&self, b: &mut Builder, word: Expr, all: Option<&Expr>) -> Vec<Expr> {
        let word = match all {
            Some(all) => (word << int(1, Ty::U32)) - all.clone(),
            None => word,
        };
        if self.lanes == 1 {
            return vec![word.cast(Ty::I32)];
        }
        let word = b.val("word", word);
        let low = b.val("low", word.clone().cast(Ty::I16).cast(Ty::I32));
        let high = (word - low.clone().cast(Ty::U32)).cast(Ty::I32) >> int(16, Ty::I32);
        vec![low, high]
    }

    /// The sum of all operands of a group of pixels.
    fn all(&self, b: &mut Builder, group: &Expr) -> Option<Expr> {
        from_all(self.job).then(|| {
            let all = self.word(b, group, self.job.y.c);
            b.val("all", all)
        })
    }

    /// Parts the words of a block's sums.
    fn part(&self, b: &mut Builder, sums: Buf, first: bool, dy: &Expr) {
        let outputs = self.job.y.c;
        b.each("group", self.groups, false, |b, group| {
            let to = (dy.clone() * idx(self.groups) + group.clone()) * idx(self.lanes * outputs);
            let to = b.val("to", to);
            let all = self.all(b, &group);
            for words in &self.words {
                let from = b.val("from", words.at(&group));
                let some = words.slots.start..words.slots.end.min(outputs);
                b.each("o", some.len(), false, |b, o| {
                    let word = b.load(words.buf, from.clone() + o.clone());
                    for (lane, part) in self.lanes(b, word, all.as_ref()).into_iter().enumerate() {
                        let part = part.cast(Ty::U32);
                        let at = to.clone() + idx(lane * outputs + some.start) + o.clone();
                        let sum = if first { part } else { b.load(sums, at.clone()) + part };
                        b.store(sums, at, sum);
                    }
                });
            }
        });
    }

    /// Stores outputs from a row's column on, whose sums are parts of words yet.
    fn finish_words(&self, b: &mut Builder, finish: &Finish, y: Buf, (row, from, count): (Expr, Expr, usize)) {
        let job = self.job;
        let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
        let sums = |b: &mut Builder, words: &Words, dy: Expr, group: Expr, o: Expr| {
            let group = dy * idx(self.groups) + group;
            let all = self.all(b, &group);
            let word = b.load(words.buf, words.at(&group) + (o - idx(words.slots.start)));
            self.lanes(b, word, all.as_ref())
        };
        type Value<'a> = dyn Fn(&mut Builder, &Words, Expr) -> Expr + 'a;
        let store = |b: &mut Builder, col: Expr, value: &Value| {
            let at = (row.clone(), from.clone() + col);
            for words in &self.words {
                let some = words.slots.start..words.slots.end.min(job.y.c);
                some_channels(b, job, some, false, y, at.clone(), &mut |b, channel| {
                    let sum = value(b, words, channel.o.clone());
                    finish.apply(b, sum, channel.o.clone())
                });
            }
        };
        if job.pool.is_some() {
            b.each("col", count, false, |b, col| {
                store(b, col.clone(), &|b, words, o| {
                    let best = b.mutable("best", int(job.least, Ty::I32));
                    b.each("dy", ph, false, |b, dy| {
                        b.each("dx", pw / self.lanes, false, |b, dx| {
                            let group = col.clone() * idx(pw / self.lanes) + dx;
                            for sum in sums(b, words, dy.clone(), group, o.clone()) {
                                b.set(best, Expr::Var(best).max(sum));
                            }
                        });
                    });
                    Expr::Var(best)
                });
            });
            return;
        }
        let lane = |b: &mut Builder, lane: usize, group: Expr, col: Expr| {
            store(b, col, &|b, words, o| {
                let sum = sums(b, words, idx(0), group.clone(), o).swap_remove(lane);
                b.val("total", sum)
            });
        };
        b.each("group", count / self.lanes, false, |b, group| {
            for i in 0..self.lanes {
                lane(b, i, group.clone(), group.clone() * idx(self.lanes) + idx(i));
            }
        });
        // The last of an odd number of columns is the upper half of a pair that begins with its neighbour.
        if !count.is_multiple_of(self.lanes) {
            lane(b, self.lanes - 1, idx(self.groups - 1), idx(count - 1));
        }
    }

    /// Stores outputs from a row's column on.
    fn finish(&self, b: &mut Builder, finish: &Finish, y: Buf, place: (Expr, Expr, usize), sums: Buf) {
        let job = self.job;
        let (row, from, count) = place;
        let outputs = job.y.c;
        let slots = self.groups * self.lanes;
        let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
        // The last of an odd number of columns has the slot behind that of its repeated neighbour.
        let odd = (count * pw) % self.lanes;
        for (count, first, slot) in [(count - odd, 0, 0), (odd, count - odd, slots - 1)] {
            if count == 0 {
                continue;
            }
            b.each("col", count, false, |b, col| {
                let at = (row.clone(), from.clone() + col.clone() + idx(first));
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

/// A tap on the map, and all ones where it is on the map, if it may be off.
struct Pixel {
    y: Expr,
    x: Expr,
    mask: Option<Expr>,
}

impl Pixel {
    /// Of a row and a column with their masks.
    fn new(b: &mut Builder, (y, row): (Expr, Option<Expr>), (x, col): (Expr, Option<Expr>)) -> Pixel {
        let mask = match (row, col) {
            (Some(row), Some(col)) => Some(b.val("mask", row & col)),
            (row, col) => row.or(col),
        };
        Pixel { y, x, mask }
    }
}

/// Operands of neighbouring pixels in the parts of a word.
fn together(parts: Vec<Expr>) -> Expr {
    let place = |(lane, v): (usize, Expr)| if lane > 0 { v << int(16, Ty::U32) } else { v };
    let placed = parts.into_iter().enumerate().map(place);
    placed.reduce(|low, high| low + high).expect("a lane")
}
