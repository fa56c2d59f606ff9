//! Binary and ternary weights as planes of bits, by the words of a packed operand: 32 inputs of a tap in each.
//!
//! Where inputs end in the middle of a word, so do weights: the last word of a tap is kept in 8, 16 or 24 bits, or in as many as there are inputs if
//! bytes would leave too many unused. A word at a time these are read from a stream of bits; for vectors of outputs the bits of all taps lie side by side,
//! and words are made of them in scratch memory before the first sum.

use super::bits;
use super::im2col;
use super::nest::Job;
use super::split;
use super::tiles::Shape;
use super::view::WORD;
use crate::ir::Depth;
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Role, Ty};

/// Words that straight-line code takes at most: bytes hold the counts of this many.
pub const MOST: usize = 31;

/// So many inputs have a bit that may stay unused.
const NEAR: usize = 64;

/// Sums that one making of words has to serve. (For 30 inputs and 50 outputs, 3x3, it takes as long as one sum on AArch64: 472 of 31,193 instructions for 64.)
const SERVED: usize = 16;

/// Words that straight-line code makes at most.
const MADE: usize = 64;

/// A word of weights.
#[derive(Clone, Debug)]
pub enum Word {
    /// One of a tap's that inputs fill, or the last if it is kept whole; where taps are neighbours, any of theirs.
    Whole(Expr),
    /// The last, of the tap so many further on.
    Last(Expr),
}

/// Words of a tap.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// All.
    pub all: usize,
    /// Whether the last is kept in fewer bits.
    pub cut: bool,
    /// Whether in no more than there are inputs.
    exact: bool,
}

impl Words {
    /// Those of `job`, for blocks of a shape. Straight-line code is to take words of which the last is another, but for one sum at a time.
    pub fn of(job: &Job, shape: Shape) -> Words {
        let lanes = shape.lanes;
        let (all, left) = (job.inputs().div_ceil(WORD), job.inputs() % WORD);
        let short = (shape.outputs() == 1 || all * split::words(job) <= MOST) && left > 0;
        let exact = lanes == 1 && short && is_wasteful(job);
        let narrow = |ty: &Ty| {
            let (from, to) = (ty.times(lanes as u8), Ty::U32.times(lanes as u8));
            job.simd.has(&format!("load_{from}")) && job.simd.has(&format!("cast_{to}_{from}"))
        };
        let loads = lanes == 1 || parts(left).is_some_and(|p| p.iter().all(narrow));
        Words {
            all,
            cut: exact || (short && loads && parts(left).is_some()),
            exact,
        }
    }

    /// How many are whole.
    pub fn whole(&self) -> usize {
        self.all - usize::from(self.cut)
    }

    /// Whether straight-line code is to take the words of a tap: the last is not like the others.
    pub fn apart(&self) -> bool {
        self.cut && self.all > 1
    }

    /// The whole ones, and the last if it is kept in fewer bits.
    pub fn parts(&self) -> [Words; 2] {
        let of = |all, cut| Words { all, cut, ..*self };
        [of(self.whole(), false), of(self.all - self.whole(), true)]
    }

    /// A word of those that loops run through.
    pub fn word(&self, at: Expr) -> Word {
        if self.cut { Word::Last(at) } else { Word::Whole(at) }
    }

    /// The words of a tap that straight-line code takes, one after the other.
    pub fn each(&self) -> impl Iterator<Item = Word> {
        let whole = (0..self.whole()).map(|w| Word::Whole(idx(w)));
        whole.chain(self.cut.then_some(Word::Last(idx(0))))
    }

    /// Where the operand's word is among those of a pixel.
    pub fn index(&self, word: &Word) -> Expr {
        match word {
            Word::Whole(w) => w.clone(),
            Word::Last(tap) if self.all == 1 => tap.clone(),
            Word::Last(_) => idx(self.all - 1),
        }
    }
}

/// Whether a tap's last word in bytes leaves too many bits unused.
fn is_wasteful(job: &Job) -> bool {
    let left = job.inputs() % WORD;
    let kept = parts(left).map_or(WORD, |p| p.iter().map(|ty| 8 * ty.bytes() as usize).sum());
    left > 0 && (kept - left) * NEAR > job.inputs()
}

/// What holds the last word's bits, the lowest first; nothing if that is a word.
fn parts(bits: usize) -> Option<&'static [Ty]> {
    match bits {
        1..=8 => Some(&[Ty::U8]),
        9..=16 => Some(&[Ty::U16]),
        17..=24 => Some(&[Ty::U16, Ty::U8]),
        _ => None,
    }
}

/// One bit of every weight.
#[derive(Clone, Debug)]
struct Plane {
    /// `[block][row][column][word][output of the block]`, without the words that are cut.
    whole: Option<Buf>,
    /// `[block][row][column][output of the block]`: what of the last words is kept.
    last: Last,
}

/// Last words.
#[derive(Clone, Debug)]
enum Last {
    /// Their lowest bits, and those above.
    Parts(Vec<(Buf, Ty)>),
    /// So many bits of each, one after the other in words.
    Bits(Buf, usize),
}

/// The planes of a layer.
#[derive(Clone, Debug)]
pub struct Planes {
    shape: Shape,
    words: Words,
    taps: usize,
    plus: Plane,
    live: Option<Plane>,
}

impl Planes {
    /// Packs the weights of `job` for vectors and blocks of a shape, and makes words of them if that pays and may take scratch memory.
    pub fn made(b: &mut Builder, job: &Job, shape: Shape) -> Planes {
        let taps: usize = job.kernel().iter().product();
        let sums = job.y.h * job.y.w * job.pool.map_or(1, |p| p.size.iter().product());
        let vector = Ty::U32.times(shape.lanes as u8);
        let able = ["store", "shl", "shr", "or", "and", "splat"].iter();
        let able = able.map(|op| format!("{op}_{vector}")).all(|op| job.simd.has(&op));
        let many = taps * job.inputs().div_ceil(WORD) > MADE;
        if shape.lanes == 1 || sums < SERVED {
            return Planes::declare(b, job, shape);
        }
        if taps == 1 && is_wasteful(job) {
            return Planes::with_last_words(b, job, shape);
        }
        if taps == 1 || many || !able || job.inputs().is_multiple_of(WORD) {
            return Planes::declare(b, job, shape);
        }
        let rows = Job {
            weights: im2col::rows(job, job.taps()),
            ..job.clone()
        };
        // The last outputs are loaded with those before them, if these fill a vector.
        let last = (job.y.c - 1) % shape.outputs() + 1;
        let words = Words::of(&rows, shape);
        Planes::pack(b, &rows, (shape, shape.lanes.saturating_sub(last)), words).into_words(b, job)
    }

    /// Packs the weights of `job`, of a single tap, with the bits of last words one after the other, and makes words of these.
    fn with_last_words(b: &mut Builder, job: &Job, shape: Shape) -> Planes {
        let words = Words {
            all: job.inputs().div_ceil(WORD),
            cut: true,
            exact: true,
        };
        let (outputs, beyond) = (job.y.c, Shape::beyond(job, shape.lanes));
        let mut planes = Planes::pack(b, job, (shape, beyond), words);
        let named = [
            Some((&mut planes.plus, "plus_last")),
            planes.live.as_mut().map(|p| (p, "live_last")),
        ];
        for (plane, name) in named.into_iter().flatten() {
            let Last::Bits(stream, bits) = plane.last else {
                unreachable!("exact")
            };
            let made = b.param(name, Ty::U32, outputs + beyond, Role::Scratch, Ty::U32.range());
            b.each("o", outputs, false, |b, o| {
                let word = bits::field(b, stream, o.clone(), bits);
                b.store(made, o, word);
            });
            clear(b, made, outputs, beyond);
            plane.last = Last::Parts(vec![(made, Ty::U32)]);
        }
        planes
    }

    /// The planes of all taps' bits side by side as those of `job`, tap by tap.
    fn into_words(self, b: &mut Builder, job: &Job) -> Planes {
        let (shape, taps) = (self.shape, job.kernel().iter().product());
        let words = Words {
            all: job.inputs().div_ceil(WORD),
            cut: false,
            exact: false,
        };
        let (len, beyond) = (taps * words.all * job.y.c, Shape::beyond(job, shape.lanes));
        let mut scratch = |name: &str| Plane {
            whole: Some(b.param(name, Ty::U32, len + beyond, Role::Scratch, Ty::U32.range())),
            last: Last::Parts(vec![]),
        };
        let made = Planes {
            shape,
            words,
            taps,
            plus: scratch("plus_words"),
            live: self.live.is_some().then(|| scratch("live_words")),
        };
        let block = |b: &mut Builder, block: Expr, valid: usize| {
            b.each("vector", shape.vectors(valid), false, |b, q| {
                // The last is full if any is: some of its outputs are the last but one's as well.
                let at = q * idx(shape.lanes);
                let at = match valid.is_multiple_of(shape.lanes) {
                    true => at,
                    false => at.min(idx(valid.saturating_sub(shape.lanes))),
                };
                let at = b.val("from", at);
                self.make(b, job, &made, &block, valid, &at);
            });
        };
        let (whole, left) = (job.y.c / shape.outputs(), job.y.c % shape.outputs());
        b.each("block", whole, false, |b, at| block(b, at, shape.outputs()));
        if left > 0 {
            block(b, idx(whole), left);
        }
        // What vectors of sums take beyond the last output is dropped, but it is read.
        for plane in [Some(&made.plus), made.live.as_ref()].into_iter().flatten() {
            clear(b, plane.whole.expect("in scratch memory"), len, beyond);
        }
        made
    }

    /// Makes the words of a vector of outputs, from `at` on among those of a block.
    fn make(&self, b: &mut Builder, job: &Job, made: &Planes, block: &Expr, valid: usize, at: &Expr) {
        let place = |tap| At {
            block: block.clone(),
            valid,
            tap: idx(tap),
        };
        let ty = Ty::U32.times(self.shape.lanes as u8);
        let lit = |n: usize| splat(int(n as i64, Ty::U32), ty);
        for (from, to) in [
            (Some(&self.plus), Some(&made.plus)),
            (self.live.as_ref(), made.live.as_ref()),
        ] {
            let (Some(from), Some(to)) = (from, to) else { continue };
            let load = |b: &mut Builder, word: Word| {
                let first = self.first(&place(0), &word) + at.clone();
                let bits = from.load(b, self.shape, &word, &first, 0);
                b.val("bits", bits)
            };
            let all: Vec<Expr> = self.words.each().map(|word| load(b, word)).collect();
            for tap in 0..made.taps {
                for w in 0..made.words.all {
                    let first = tap * job.inputs() + w * WORD;
                    let count = (job.inputs() - w * WORD).min(WORD);
                    let (word, shift) = (first / WORD, first % WORD);
                    let mut bits = match shift {
                        0 => all[word].clone(),
                        n => Expr::Bin(BinOp::Shr, all[word].clone().into(), lit(n).into()),
                    };
                    if shift + count > WORD {
                        bits = bits | Expr::Bin(BinOp::Shl, all[word + 1].clone().into(), lit(WORD - shift).into());
                    }
                    // Bits of the next tap.
                    if count < WORD && shift + count != WORD {
                        bits = bits & lit((1 << count) - 1);
                    }
                    let to_word = made.first(&place(tap), &Word::Whole(idx(w))) + at.clone();
                    b.store(to.whole.expect("in scratch memory"), to_word, bits);
                }
            }
        }
    }

    /// Packs the weights of `job` for vectors and blocks of a shape.
    pub fn declare(b: &mut Builder, job: &Job, shape: Shape) -> Planes {
        Planes::pack(b, job, (shape, Shape::beyond(job, shape.lanes)), Words::of(job, shape))
    }

    /// The same, for vectors that take so many outputs beyond the last.
    fn pack(b: &mut Builder, job: &Job, (shape, beyond): (Shape, usize), words: Words) -> Planes {
        let (depth, codes) = job.packed_codes().expect("asked before");
        let mut plane = |name: &str, is: &dyn Fn(i8) -> bool| {
            let bit = |o: usize, k: usize| is(codes[job.source(o, k)]);
            Plane::declare(b, job, (shape, beyond), words, name, &bit)
        };
        Planes {
            shape,
            words,
            taps: job.kernel().iter().product(),
            plus: plane("plus", &|code| code > 0),
            live: (depth == Depth::Ternary).then(|| plane("live", &|code| code != 0)),
        }
    }

    /// Words of a tap.
    pub fn words(&self) -> Words {
        self.words
    }

    /// Whether some weights are 0.
    pub fn zeros(&self) -> bool {
        self.live.is_some()
    }

    /// Where a word of a tap's weights is, for the first vector of a block.
    pub fn first(&self, at: &At, word: &Word) -> Expr {
        let (of_tap, w) = match word {
            Word::Whole(w) => (self.words.whole(), w.clone()),
            Word::Last(tap) => (1, tap.clone()),
        };
        if at.valid == self.shape.outputs() {
            // One product instead of a sum of two: GCC and LLVM keep fewer pointers, 10 % of the time of a convolution in C on AVX-512 and a third of
            // its code in Rust on AArch64 (64 to 64 channels).
            let tap = at.block.clone() * idx(self.taps) + at.tap.clone();
            return (tap * idx(of_tap) + w) * idx(at.valid);
        }
        let block = at.block.clone() * idx(self.taps * of_tap * self.shape.outputs());
        block + (at.tap.clone() * idx(of_tap) + w) * idx(at.valid)
    }

    /// The word at `first` for vector `q`: 1 where the weight is +1.
    pub fn plus(&self, b: &mut Builder, word: &Word, first: &Expr, q: usize) -> Expr {
        self.plus.load(b, self.shape, word, first, q)
    }

    /// The same: 1 where the weight is not 0. Absent where none is.
    pub fn live(&self, b: &mut Builder, word: &Word, first: &Expr, q: usize) -> Option<Expr> {
        let live = self.live.as_ref();
        live.map(|plane| plane.load(b, self.shape, word, first, q))
    }
}

/// Stores 0 in so many words from one on.
fn clear(b: &mut Builder, words: Buf, from: usize, count: usize) {
    b.each("i", count, false, |b, i| b.store(words, idx(from) + i, int(0, Ty::U32)));
}

/// Where weights are.
#[derive(Clone, Debug)]
pub struct At {
    /// The block of outputs.
    pub block: Expr,
    /// Outputs in it.
    pub valid: usize,
    /// The tap, counted over rows, then columns.
    pub tap: Expr,
}

impl Plane {
    fn declare(
        b: &mut Builder,
        job: &Job,
        (shape, beyond): (Shape, usize),
        words: Words,
        name: &str,
        bit: &dyn Fn(usize, usize) -> bool,
    ) -> Plane {
        let inputs = job.inputs();
        let taps: usize = job.kernel().iter().product();
        let word = |o: usize, tap: usize, w: usize| {
            let bits = w * WORD..inputs.min((w + 1) * WORD);
            let bit = |c: usize| i64::from(bit(o, tap * inputs + c)) << (c % WORD);
            bits.map(bit).sum::<i64>()
        };
        let mut whole = vec![];
        let mut last = vec![];
        for (first, valid) in shape.runs(job) {
            for tap in 0..taps {
                let of_word = |w: usize| (first..first + valid).map(move |o| word(o, tap, w));
                whole.extend((0..words.whole()).flat_map(of_word));
                last.extend((words.whole()..words.all).flat_map(of_word));
            }
        }
        let mut table = |name: &str, ty: Ty, mut data: Vec<i64>, beyond: usize| {
            data.resize(data.len() + beyond, 0);
            b.constants(name, ty, ints(data, ty))
        };
        let mut shift = 0;
        let mut part = |ty: &Ty| {
            let bits = 8 * ty.bytes();
            let data = last.iter().map(|word| word >> shift & ((1 << bits) - 1)).collect();
            shift += bits;
            let suffix = if *ty == Ty::U8 { "byte" } else { "half" };
            (table(&format!("{name}_{suffix}"), *ty, data, beyond), *ty)
        };
        let last = match words.exact {
            true => {
                let bits = inputs % WORD;
                let stream = bits::stream(&last, bits);
                // Read bit by bit, never beyond.
                Last::Bits(table(&format!("{name}_bits"), Ty::U32, stream, 0), bits)
            }
            false => {
                let parts = if words.cut { parts(inputs % WORD) } else { None };
                Last::Parts(parts.into_iter().flatten().map(&mut part).collect())
            }
        };
        let whole = (words.whole() > 0).then(|| table(name, Ty::U32, whole, beyond));
        Plane { whole, last }
    }

    fn load(&self, b: &mut Builder, shape: Shape, word: &Word, first: &Expr, q: usize) -> Expr {
        let vector = |scalar: Ty| scalar.times(shape.lanes as u8);
        let load = |buf: Buf, ty: Ty| b.load_n(buf, first.clone() + idx(q * shape.lanes), shape.lanes, vector(ty));
        let ty = vector(Ty::U32);
        let narrow = |&(buf, part): &(Buf, Ty)| match part {
            Ty::U32 => load(buf, part),
            _ => load(buf, part).cast(ty),
        };
        let parts = match (word, &self.last) {
            (Word::Whole(_), _) => return load(self.whole.expect("some are whole"), Ty::U32),
            (Word::Last(_), Last::Bits(stream, bits)) => {
                return bits::field(b, *stream, first.clone() + idx(q * shape.lanes), *bits);
            }
            (Word::Last(_), Last::Parts(parts)) => parts,
        };
        match &parts[..] {
            [low, high] => {
                let shift = splat(int(16, Ty::U32), ty);
                narrow(low) | Expr::Bin(BinOp::Shl, narrow(high).into(), shift.into())
            }
            parts => narrow(&parts[0]),
        }
    }
}
