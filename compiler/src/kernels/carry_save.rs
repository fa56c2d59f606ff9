//! Packed signs by packed weights for CPUs that do not count bits: words are added bit by bit with carry-save adders, and only
//! the few words that are left are counted (Harley and Seal; Warren, Hacker's Delight, 2nd edition, section 5-2).
//!
//! An adder takes five operations and leaves a word less to count, which takes ten. On Thumb-2 a product of 32 pairs takes 9
//! instructions this way, 13 with a count per word (3x3 convolution, 64 to 64 channels, counted under QEMU).

use super::nest::{Channel, Job};
use super::planes::{At, MOST, Planes, Word, Words};
use super::split;
use super::tiles::Shape;
use super::view::WORD;
use super::window::Taps;
use super::windows::{self, At as Place, Source};
use super::xnor::refuses as not_packed;
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{Buf, Expr, Kernel, Ty};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Fewer words leave nothing to add.
const LEAST: usize = 3;

/// The greatest that [`Counters::count`] returns for a block of many words, as the verifier sees it.
pub(super) const GREATEST: i64 = 0xffff;

/// Why this family cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    not_packed(job).or_else(|| few(windows::words(job, windows::wanted(job)) * split::words(job)))
}

/// Why so many words are not added, if they are not.
pub(super) fn few(words: usize) -> Option<String> {
    (words < LEAST).then(|| format!("{words} words are too few to add"))
}

/// The words of differences for a row and a column of the weights, and a word.
type Differ<'a> = dyn FnMut(&mut Builder, [Expr; 2], &Word) -> Vec<Expr> + 'a;

/// Loops over rows of taps, their columns, and a pixel's words in two, of which straight-line code takes the innermost.
pub(super) struct Loops {
    trips: [usize; 4],
    /// Words to add for each of the weights.
    each: usize,
    /// From which on there is straight-line code.
    straight: usize,
    words: Words,
}

impl Loops {
    /// Loops of so many turns over rows, columns and words of weights, for `each` of which there are so many to add.
    pub fn new(each: usize, [rows, cols, words]: [usize; 3], of_tap: Words) -> Loops {
        let most = MOST / each;
        let inner = divisor(words, most);
        let trips = [rows, cols, words / inner, inner];
        let fits = |d: &usize| trips[*d..].iter().product::<usize>() <= most;
        let straight = (0..4).find(fits).expect("one word fits");
        debug_assert!(!of_tap.apart() || inner == words);
        Loops {
            trips,
            each,
            straight,
            words: of_tap,
        }
    }

    /// The ones in all words of `ty` that `word` gives for a row, a column and a word of the weights.
    pub fn ones(&self, b: &mut Builder, ty: Ty, word: &mut Differ) -> Expr {
        let sums = Ty::I32.times(ty.lanes());
        if self.straight == 0 {
            return self.block(b, ty, word, &[]).cast(sums);
        }
        let acc = b.mutable("acc", splat(int(0, Ty::I32), sums));
        self.level(b, &mut vec![], &mut |b, at| {
            let ones = self.block(b, ty, word, at);
            b.add(acc, ones.cast(sums));
        });
        Expr::Var(acc)
    }

    /// The loops around a block of straight-line code.
    fn level(&self, b: &mut Builder, at: &mut Vec<Expr>, block: &mut dyn FnMut(&mut Builder, &[Expr])) {
        match at.len() {
            d if d == self.straight => block(b, at),
            d => b.each(["ky", "kx", "part", "w"][d], self.trips[d], false, |b, i| {
                at.push(i);
                self.level(b, at, block);
                at.pop();
            }),
        }
    }

    /// The ones in the words of the loops below `outer`.
    fn block(&self, b: &mut Builder, ty: Ty, word: &mut Differ, outer: &[Expr]) -> Expr {
        let trips = &self.trips;
        let mut counters = Counters::new(ty);
        for step in 0..trips[outer.len()..].iter().product() {
            let mut at = outer.to_vec();
            at.extend((outer.len()..4).map(|d| idx(step / trips[d + 1..].iter().product::<usize>() % trips[d])));
            let [ky, kx, part, w] = <[Expr; 4]>::try_from(at).expect("four loops");
            let at = match self.words.apart() {
                true => self.words.each().nth(step % trips[3]).expect("all of a tap"),
                false => self.words.word(part * idx(trips[3]) + w),
            };
            let words = word(b, [ky, kx], &at);
            debug_assert_eq!(words.len(), self.each);
            for word in words {
                counters.add(b, word);
            }
        }
        counters.count(b)
    }
}

/// Builds the kernel.
pub fn build(job: &Job) -> Kernel {
    let declare = |b: &mut Builder, x: &Source| CarrySave {
        planes: Planes::declare(b, x.job(), Shape::ONE),
        live: LiveCounts::of(job, Shape::ONE),
    };
    windows::nest(job, declare, |b, (x, kernel), place, channel| {
        kernel.sum(b, x, place, channel)
    })
}

struct CarrySave<'a> {
    planes: Planes,
    /// Number of weights that are not 0, by sets of taps: `[set][output]`.
    live: LiveCounts<'a>,
}

impl CarrySave<'_> {
    fn sum(&self, b: &mut Builder, x: &Source, place: &Place, channel: &Channel) -> Expr {
        if place.is_empty() {
            return int(0, Ty::I32);
        }
        let (job, site) = (x.job(), x.site(place));
        let (rows, cols) = (site.rows, site.cols);
        let [_, _, _, kw] = job.weights.shape;
        let words = self.planes.words();
        let weights = |ky: &Expr, kx: &Expr| At {
            block: channel.o.clone(),
            valid: 1,
            tap: (idx(rows.first) + ky.clone()) * idx(kw) + idx(cols.first) + kx.clone(),
        };
        let mut differ = |b: &mut Builder, [ky, kx]: [Expr; 2], word: &Word| {
            let at = weights(&ky, &kx);
            let y = site.y.clone() + ky * idx(job.geom.dilation[0]);
            let col = site.x.clone() + kx * idx(job.geom.dilation[1]);
            let bits = |plane| {
                let at = job.x.at(job.x.word(words.index(word), plane), y.clone(), col.clone());
                b.load(x.words(), at)
            };
            let bits: Vec<Expr> = (0..job.x.planes).map(bits).collect();
            let first = self.planes.first(&at, word);
            let plus = self.planes.plus(b, word, &first, 0);
            let live = self.planes.live(b, word, &first, 0);
            let live = windows::among(live, x.mask(b, place, words.index(word), Ty::U32));
            let words = split::differ(job, &bits, &plus, live.as_ref()).into_iter();
            words.map(|word| b.val("d", word)).collect()
        };
        // More words than straight-line code takes are all alike, and their last is added apart.
        let each = split::words(job);
        let parts = if words.apart() && words.all * each > MOST {
            words.parts().to_vec()
        } else {
            vec![words]
        };
        let ones = parts.into_iter().map(|words| {
            let loops = Loops::new(each, [rows.count, cols.count, words.all], words);
            loops.ones(b, Ty::U32, &mut differ)
        });
        let wrong = ones.reduce(|a, b| a + b).expect("a part");
        let wrong = b.val("wrong", wrong);
        // Of products that are not 0; of weights that are not 0, where some are.
        let live = match self.planes.zeros() {
            true => self.live.load(b, x, place, channel.o.clone()),
            false => x.live(b, place),
        };
        live - job.lost(wrong)
    }
}

/// How many weights of outputs are not 0 among the taps on the map, in tables that are declared where they are needed.
pub(super) struct LiveCounts<'a> {
    job: &'a Job<'a>,
    shape: Shape,
    /// By sets of taps.
    tables: RefCell<BTreeMap<Vec<[usize; 4]>, Buf>>,
}

impl<'a> LiveCounts<'a> {
    /// Those of `job`, of so many outputs at a time.
    pub fn of(job: &'a Job<'a>, shape: Shape) -> LiveCounts<'a> {
        LiveCounts {
            job,
            shape,
            tables: RefCell::default(),
        }
    }

    /// Those of a vector of outputs from `o` on.
    pub fn load(&self, b: &mut Builder, x: &Source, place: &Place, o: Expr) -> Expr {
        let (taps, number) = x.on_map(place);
        // Vectors may go beyond the last output.
        let outputs = match self.shape.lanes {
            1 => self.job.y.c,
            _ => self.shape.padded(self.job),
        };
        let sets = taps
            .iter()
            .map(|[rows, cols]| [rows.first, rows.count, cols.first, cols.count]);
        let key: Vec<[usize; 4]> = sets.collect();
        let known = self.tables.borrow().get(&key).copied();
        let table = known.unwrap_or_else(|| {
            let of_set = |[rows, cols]: &[Taps; 2]| {
                let mut counts = live(self.job, *rows, *cols);
                counts.resize(outputs, 0);
                counts
            };
            let counts: Vec<i64> = taps.iter().flat_map(of_set).collect();
            let widest = counts.iter().max().expect("a layer has outputs");
            let ty = if self.shape.lanes > 1 || *widest > 255 {
                Ty::I32
            } else {
                Ty::U8
            };
            let name = match &key[..] {
                [[y, rows, x, cols]] => format!("live_{y}_{rows}_{x}_{cols}"),
                _ => "live_of_edges".into(),
            };
            let table = b.constants(&name, ty, ints(counts, ty));
            self.tables.borrow_mut().insert(key, table);
            table
        });
        let at = number * idx(outputs) + o;
        if self.shape.lanes > 1 {
            return b.load_n(table, at, self.shape.lanes, self.shape.sums());
        }
        let count = b.load(table, at);
        if b.ty(&count) == Ty::I32 {
            count
        } else {
            count.cast(Ty::I32)
        }
    }
}

/// Per output, how many weights among the taps are not 0.
fn live(job: &Job, rows: Taps, cols: Taps) -> Vec<i64> {
    let (_, codes) = job.packed_codes().expect("asked before");
    let [kh, kw] = job.kernel();
    let within = |taps: Taps, tap: usize| (taps.first..taps.first + taps.count).contains(&tap);
    let seen: Vec<bool> = (0..kh * kw)
        .map(|tap| within(rows, tap / kw) && within(cols, tap % kw))
        .collect();
    let of_output = |codes: &[i8]| {
        let taps = codes.iter().zip(seen.iter().cycle());
        taps.filter(|(code, seen)| **seen && **code != 0).count() as i64
    };
    codes.chunks(job.taps()).map(of_output).collect()
}

/// The greatest divisor of `n` that is at most `most`.
fn divisor(n: usize, most: usize) -> usize {
    (1..=n.min(most))
        .rev()
        .find(|d| n.is_multiple_of(*d))
        .expect("1 divides")
}

/// Words whose bits count 1, 2, 4, ...: at most two of each.
pub(super) struct Counters {
    levels: Vec<Vec<Expr>>,
    /// Words added.
    words: usize,
    /// Their type: one, or those of several outputs side by side.
    ty: Ty,
}

impl Counters {
    /// None yet, of type `ty`.
    pub fn new(ty: Ty) -> Counters {
        Counters {
            levels: vec![],
            words: 0,
            ty,
        }
    }

    /// Adds a word whose bits count 1.
    pub fn add(&mut self, b: &mut Builder, word: Expr) {
        self.words += 1;
        self.add_to(b, 0, word);
    }

    /// Adds a word whose bits count as those of a level do.
    fn add_to(&mut self, b: &mut Builder, level: usize, word: Expr) {
        let mut carry = word;
        for level in level.. {
            if level == self.levels.len() {
                self.levels.push(vec![]);
            }
            let here = &mut self.levels[level];
            here.push(carry);
            let [p, q, r] = &here[..] else { return };
            let half = b.val("half", p.clone() ^ q.clone());
            carry = b.val("carry", (p.clone() & q.clone()) | (half.clone() & r.clone()));
            *here = vec![b.val("sum", half ^ r.clone())];
        }
    }

    /// The binary digits of every bit's sum, the lowest first.
    pub fn digits(mut self, b: &mut Builder) -> Vec<Expr> {
        let mut level = 0;
        while level < self.levels.len() {
            if let [p, q] = &self.levels[level][..] {
                let (sum, carry) = (p.clone() ^ q.clone(), p.clone() & q.clone());
                self.levels[level] = vec![b.val("sum", sum)];
                let carry = b.val("carry", carry);
                self.add_to(b, level + 1, carry);
            }
            level += 1;
        }
        self.levels.into_iter().flatten().collect()
    }

    /// The sum of all bits: words are counted in groups whose counts of four bits stay below 16, then in bytes, which hold
    /// those of [`MOST`] words.
    fn count(self, b: &mut Builder) -> Expr {
        let lit = |v: i64| splat(int(v, Ty::U32), self.ty);
        let mut total: Option<Expr> = None;
        // Weight of the group, its counts, and their greatest.
        let mut group: Option<(usize, Expr, u32)> = None;
        let bytes = |b: &mut Builder, total: Option<Expr>, (level, fours, _): (usize, Expr, u32)| {
            let fours = b.val("fours", fours);
            let low = fours.clone() & lit(0x0f0f_0f0f);
            let bytes = low + ((fours >> lit(4)) & lit(0x0f0f_0f0f));
            let weighed = if level == 0 { bytes } else { bytes << lit(level as i64) };
            Some(match total {
                None => b.val("bytes", weighed),
                Some(t) => b.val("bytes", t + weighed),
            })
        };
        let words = self.levels.into_iter().enumerate();
        for (level, word) in words.flat_map(|(level, words)| words.into_iter().map(move |w| (level, w))) {
            let fours = fours(b, word);
            group = Some(match group.take() {
                None => (level, fours, 4),
                Some((base, counts, most)) => {
                    let more = 4 << (level - base);
                    if most + more < 16 {
                        let weighed = if level == base {
                            fours
                        } else {
                            fours << lit((level - base) as i64)
                        };
                        (base, b.val("counts", counts + weighed), most + more)
                    } else {
                        total = bytes(b, total.take(), (base, counts, most));
                        (level, fours, 4)
                    }
                }
            });
        }
        let total = bytes(b, total, group.expect("there are words")).expect("there are groups");
        if self.words * WORD < 256 {
            return (total * lit(0x0101_0101)) >> lit(24);
        }
        let halves = (total.clone() & lit(0x00ff_00ff)) + ((total >> lit(8)) & lit(0x00ff_00ff));
        (halves * lit(0x0001_0001)) >> lit(16)
    }
}

/// The number of ones in each four bits.
fn fours(b: &mut Builder, word: Expr) -> Expr {
    let ty = b.ty(&word);
    let lit = |v: i64| splat(int(v, Ty::U32), ty);
    let pairs = b.val("pairs", word.clone() - ((word >> lit(1)) & lit(0x5555_5555)));
    b.val(
        "fours",
        (pairs.clone() & lit(0x3333_3333)) + ((pairs >> lit(2)) & lit(0x3333_3333)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kir::{Arg, Call, Port, Program, Role, eval, verify};
    use crate::random::SplitMix64;

    #[test]
    fn every_number_of_words_is_counted() {
        for n in 1..=MOST {
            let mut b = Builder::new("count", "");
            let x = b.param("x", Ty::U32, n, Role::In, Ty::U32.range());
            let y = b.param("y", Ty::U32, 1, Role::Out, Ty::U32.range());
            let mut counters = Counters::new(Ty::U32);
            for i in 0..n {
                let word = b.load(x, idx(i));
                counters.add(&mut b, word);
            }
            let count = counters.count(&mut b);
            b.store(y, idx(0), count);
            let port = |len| Port {
                name: "p".into(),
                ty: Ty::U32,
                shape: vec![len],
            };
            let p = Program {
                input: port(n),
                output: port(1),
                pools: vec![],
                kernels: vec![b.finish()],
                calls: vec![Call {
                    kernel: 0,
                    args: vec![Arg::Input(0), Arg::Output(0)],
                }],
            };
            assert_eq!(verify::verify(&p), Ok(()));
            let mut random = SplitMix64(n as u64);
            let words: Vec<u32> = (0..n).map(|_| random.next() as u32).collect();
            for words in [words, vec![u32::MAX; n], vec![0; n]] {
                let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                let ones: u32 = words.iter().map(|w| w.count_ones()).sum();
                assert_eq!(eval::eval(&p, &bytes), ones.to_le_bytes(), "{n} words");
            }
        }
    }
}
