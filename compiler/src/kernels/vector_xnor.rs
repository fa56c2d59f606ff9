//! Packed signs by packed weights, a tile of pixels and outputs at a time.
//!
//! `vector-xnor` has a vector of outputs: each lane holds 32 weights of one output, and every word of signs goes to all
//! lanes. Where the vector unit counts the bits of bytes only, counts are summed in bytes as long as these hold them.
//! `xnor-tile` is the same with single words, for processors without vectors that count the bits of one: each word that is
//! loaded serves several sums. On RV32 with Zbb 32 pairs take 9 instructions with carry-save adders, 5 so, all told (3x3 convolution,
//! 64 to 64 channels, counted under QEMU).
//!
//! `vector-carry-save` is `vector-xnor` for vectors that count no bits: words are added bit by bit, as in `carry-save`.

use super::carry_save::{self, LiveCounts, Loops};
use super::nest::{self, Job};
use super::planes::{At, MOST, Planes, Word};
use super::split;
use super::tiles::{self, Shape, Site, Sum, Sums, Tile};
use super::view::WORD;
use super::window::Span;
use super::windows::{self, At as Place, Places, Source};
use super::xnor;
use crate::kir::build::{Builder, idx, int, splat};
use crate::kir::{Expr, Kernel, Ty, Var, VecOp};
use crate::target::Simd;
use std::collections::BTreeMap;

/// Words of a row of taps that straight-line code takes.
const STRAIGHT: usize = 8;

/// How ones are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    /// In each word at once.
    Words,
    /// In bytes, whose counts are added.
    Bytes,
    /// In what carry-save adders leave of many words.
    CarrySave,
}

/// Why `vector-xnor` cannot build `job`, if so.
pub fn refuses(job: &Job) -> Option<String> {
    refuses_vectors(job).or_else(|| {
        let counts = machine(job.simd).is_some();
        (!counts).then(|| "the target has no vectors that count bits".into())
    })
}

/// Why `vector-carry-save` cannot build `job`, if so.
pub fn refuses_carry_save(job: &Job) -> Option<String> {
    if machine(job.simd).is_some() {
        return Some("the target has vectors that count bits".into());
    }
    let words = windows::words(job, windows::wanted(job)) * split::words(job);
    refuses_vectors(job).or_else(|| carry_save::few(words)).or_else(|| {
        let adds = adders(job.simd).is_some();
        (!adds).then(|| "the target has no vectors of words".into())
    })
}

fn refuses_vectors(job: &Job) -> Option<String> {
    let floats = matches!(job.epilogue, crate::ir::Epilogue::Float { .. });
    xnor::refuses(job).or_else(|| (floats && job.y.c < 8).then(|| "too few outputs for vectors".into()))
}

/// What all vectors of `n` words are to do.
fn common(n: usize) -> impl Iterator<Item = String> {
    let names = [
        "load_u32",
        "repeat1_u32",
        "xor_u32",
        "and_u32",
        "add_u32",
        "ge_mask_i32",
        "splat_i32",
        "sub_i32",
        "max_i32",
    ];
    names.into_iter().map(move |o| format!("{o}x{n}"))
}

/// Outputs in a vector of words, which adds and counts by logic and shifts.
fn adders(simd: &Simd) -> Option<usize> {
    let own = ["or_u32", "sub_u32", "mul_u32", "shl_u32", "shr_u32", "splat_u32"];
    tiles::widest(simd, |n| {
        common(n).chain(own.into_iter().map(|o| format!("{o}x{n}"))).collect()
    })
}

/// Outputs in a vector whose bits are counted, and how.
fn machine(simd: &Simd) -> Option<(usize, Count)> {
    let words = |n: usize| common(n).chain([format!("popcnt_u32x{n}")]).collect();
    let bytes = |n: usize| {
        let (b, h) = (4 * n, 2 * n);
        let own = [
            format!("popcnt_u8x{b}"),
            format!("pairs_u8x{b}"),
            format!("pairs_u16x{h}"),
            format!("add_u8x{b}"),
        ];
        common(n).chain(own).collect()
    };
    let whole = tiles::widest(simd, words).map(|n| (n, Count::Words));
    whole.or_else(|| tiles::widest(simd, bytes).map(|n| (n, Count::Bytes)))
}

/// Why `xnor-tile` cannot build `job`, if so.
pub fn refuses_words(job: &Job) -> Option<String> {
    xnor::refuses(job)
}

/// Builds `vector-xnor`.
pub fn build(job: &Job) -> Kernel {
    let (lanes, count) = machine(job.simd).expect("asked before");
    let shape = match lanes {
        16 => Shape {
            lanes,
            blocks: 2,
            pixels: 8,
            together: 1,
        },
        8 => Shape {
            lanes,
            blocks: 4,
            pixels: 2,
            together: 1,
        },
        // Sixteen registers hold eight sums, two weights and some of the signs: in C sums of 4 by 2 take 91,456 and 4 by 3 104,000
        // instructions for a convolution that takes 90,657 so (3x3, 64 to 64 channels, 8x8 pixels, 32-bit Arm).
        _ if job.simd.registers < 32 => Shape {
            lanes,
            blocks: 2,
            pixels: 4,
            together: 1,
        },
        // Twelve sums, four weights and the signs of a row of taps stay in 32 registers; with sixteen sums compilers spill.
        _ => Shape {
            lanes,
            blocks: 4,
            pixels: 3,
            together: 1,
        },
    };
    tile(job, shape, count)
}

/// Builds `vector-carry-save`. One sum at a time: the adders of eighteen words hold seven vectors, and MVE has eight registers.
pub fn build_carry_save(job: &Job) -> Kernel {
    let shape = Shape {
        lanes: adders(job.simd).expect("asked before"),
        blocks: 1,
        pixels: 1,
        together: 1,
    };
    tile(job, shape, Count::CarrySave)
}

/// Builds `xnor-tile`.
pub fn build_words(job: &Job) -> Kernel {
    // Eight sums, four weights, two words of signs and the addresses stay in RISC-V's 31 registers.
    let shape = Shape {
        lanes: 1,
        blocks: 4,
        pixels: 2,
        together: 1,
    };
    tile(job, shape, Count::Words)
}

fn tile(job: &Job, shape: Shape, count: Count) -> Kernel {
    let shape = shape.fitted(job, 1);
    // The verifier counts the unused bits of a word, and takes weights that are not 0 and signs that differ apart.
    // One sum at a time shares nothing with its neighbours.
    let copied = match count {
        Count::CarrySave => windows::wanted(job),
        _ => windows::pays(job, shape.lanes),
    };
    let words = windows::words(job, copied);
    let bound = 2 * match count {
        Count::CarrySave => carry_save::GREATEST * words as i64,
        _ => (words * WORD) as i64,
    };
    tiles::nest(job, job.given(), shape, bound, |b, x| {
        let x = Source::of_map(b, job, x, copied);
        Xnor {
            shape,
            count,
            planes: match count {
                // On microcontrollers RAM is dearer than a few bits.
                Count::CarrySave => Planes::declare(b, x.job(), shape),
                _ => Planes::made(b, x.job(), shape),
            },
            x,
            counts: LiveCounts::of(job, shape),
        }
    })
}

struct Xnor<'a> {
    shape: Shape,
    count: Count,
    x: Source<'a>,
    planes: Planes,
    counts: LiveCounts<'a>,
}

/// What the sums of a tile read.
struct Read<'a> {
    /// The tile, by taps of [`Source::job`].
    tile: &'a Tile<'a>,
    /// Where each of its sums is taken.
    at: Vec<Place<'a>>,
}

impl Sums for Xnor<'_> {
    fn places(&self) -> Option<([Span; 2], Option<&Places>)> {
        self.x.places()
    }

    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>> {
        let site = |site: &Site| nest::Site {
            rows: tile.rows,
            cols: tile.cols,
            y: site.y.clone(),
            x: site.x.clone(),
        };
        let sites: Vec<nest::Site> = tile.sites.iter().map(site).collect();
        let mut at = |site| self.x.at(b, site, !tile.hangs);
        let read = &Read {
            tile,
            at: sites.iter().map(&mut at).collect(),
        };
        let wrong = match self.count {
            Count::CarrySave => self.added(b, read),
            _ => self.counted(b, read),
        };
        // How many fewer products, or weights, there are than of all taps, if as many for every output.
        let [_, inputs, kh, kw] = self.x.job().weights.shape;
        let missing = (kh * kw - tile.rows.count * tile.cols.count) * inputs;
        let alike = !tile.hangs && !self.x.says_live() && (missing == 0 || !self.planes.zeros());
        let mut rows = vec![];
        for (at, wrong) in read.at.iter().zip(wrong) {
            let of_all = (!self.planes.zeros()).then(|| splat(self.x.live(b, at), self.shape.sums()));
            let counted = |(q, wrong): (usize, Expr)| Sum::Counted {
                live: of_all.clone().unwrap_or_else(|| self.live(b, tile, at, q)),
                missing: alike.then_some(missing as i64),
                wrong,
            };
            rows.push(wrong.into_iter().enumerate().map(counted).collect());
        }
        rows
    }
}

impl Xnor<'_> {
    /// How many signs differ from their weights, `[site][vector]`, one sum after the other.
    fn added(&self, b: &mut Builder, read: &Read) -> Vec<Vec<Expr>> {
        let tile = read.tile;
        let loops = Loops::new(split::words(self.x.job()), self.loops(tile), self.planes.words());
        let sum = |b: &mut Builder, s: usize, q: usize| {
            let site = &tile.sites[s];
            let wrong = loops.ones(b, self.words(), &mut |b, at, word| {
                let bits = |plane| {
                    let index = self.x.job().x.word(self.planes.words().index(word), plane);
                    b.load_n(self.x.words(), self.tap(site, &at, index), 1, self.words())
                };
                let bits: Vec<Expr> = (0..self.x.job().x.planes).map(bits).collect();
                let first = self.planes.first(&self.weights(tile, &at), word);
                let plus = self.planes.plus(b, word, &first, q);
                let live = self.planes.live(b, word, &first, q);
                let mask = self.mask(b, &read.at[s], word);
                let live = windows::among(live, mask);
                let words = split::differ(self.x.job(), &bits, &plus, live.as_ref()).into_iter();
                words.map(|word| b.val("differ", word)).collect()
            });
            b.val("wrong", wrong)
        };
        let row = |s| (0..self.shape.vectors(tile.valid)).map(|q| sum(b, s, q)).collect();
        (0..tile.sites.len()).map(row).collect()
    }

    /// How many signs differ from their weights, `[site][vector]`, all sums at once.
    fn counted(&self, b: &mut Builder, read: &Read) -> Vec<Vec<Expr>> {
        let tile = read.tile;
        let [rows, cols, words] = self.loops(tile);
        // The loop over words is cut so that a byte holds the counts of an inner one.
        let per_byte = MOST / split::words(self.x.job());
        let most = match self.spreads() && !self.planes.words().apart() {
            true => STRAIGHT,
            false => per_byte,
        };
        let inner = (1..=words.min(most))
            .rev()
            .find(|d| words.is_multiple_of(*d))
            .expect("1 divides");
        let loops = [rows, cols, words / inner, inner];
        let depth = (0..4)
            .find(|&d| loops[d..].iter().product::<usize>() <= per_byte)
            .expect("one word fits");
        let ty = Ty::U32.times(self.shape.lanes as u8);
        let sums = self.zeros(b, tile, "wrong", ty);
        let mut at = vec![];
        let flush = (self.count == Count::Bytes).then_some(depth);
        self.level(b, read, loops, flush, &mut at, &sums);
        let wrong = |sum: &Var| Expr::Var(*sum).cast(self.shape.sums());
        sums.iter().map(|row| row.iter().map(wrong).collect()).collect()
    }

    fn zeros(&self, b: &mut Builder, tile: &Tile, name: &str, ty: Ty) -> Vec<Vec<Var>> {
        let zero = splat(int(0, ty.scalar()), ty);
        let vectors = self.shape.vectors(tile.valid);
        let row = |b: &mut Builder| (0..vectors).map(|_| b.mutable(name, zero.clone())).collect();
        tile.sites.iter().map(|_| row(b)).collect()
    }

    /// The loops from one on; at `flush` counts in bytes begin and are added to `sums` at the end.
    fn level(
        &self,
        b: &mut Builder,
        read: &Read,
        loops: [usize; 4],
        flush: Option<usize>,
        at: &mut Vec<Expr>,
        sums: &[Vec<Var>],
    ) {
        let tile = read.tile;
        if flush == Some(at.len()) {
            let ty = Ty::U8.times(4 * self.shape.lanes as u8);
            let bytes = self.zeros(b, tile, "count", ty);
            self.level(b, read, loops, None, at, &bytes);
            for (&sum, &count) in sums.iter().flatten().zip(bytes.iter().flatten()) {
                let pairs = |e: Expr| Expr::Vector(VecOp::Pairs, vec![e]);
                b.add(sum, pairs(pairs(Expr::Var(count))));
            }
            return;
        }
        if at.len() == 3 {
            let words = self.planes.words();
            let of_turn = |w: Expr| words.word(at[2].clone() * idx(loops[3]) + w);
            let of_tap: Vec<Word> = match words.apart() {
                true => words.each().collect(),
                false => (0..loops[3]).map(|w| of_turn(idx(w))).collect(),
            };
            if self.spreads() {
                let signs = self.signs(b, tile, at, loops[3]);
                let of_word = signs.chunks(self.x.job().x.planes).zip(&of_tap);
                return of_word.for_each(|(signs, word)| self.step(b, read, at, word, signs, sums));
            }
            let step = |b: &mut Builder, word: &Word| {
                let signs = self.word(b, tile, at, &words.index(word));
                self.step(b, read, at, word, &signs, sums);
            };
            if words.apart() {
                return of_tap.iter().for_each(|word| step(b, word));
            }
            // Two or three words a pixel are not worth a loop.
            return b.each("w", loops[3], loops[3] <= 4, |b, w| step(b, &of_turn(w)));
        }
        b.each(["ky", "kx", "part"][at.len()], loops[at.len()], false, |b, i| {
            at.push(i);
            self.level(b, read, loops, flush, at, sums);
            at.pop();
        });
    }

    /// Where a site's signs of a tap are.
    fn tap(&self, site: &Site, at: &[Expr], w: Expr) -> Expr {
        let geom = &self.x.job().geom;
        let y = site.y.clone() + at[0].clone() * idx(geom.dilation[0]);
        let x = site.x.clone() + at[1].clone() * idx(geom.dilation[1]);
        self.x.job().x.at(w, y, x)
    }

    /// Whether one lane of a vector of words can be put into all.
    fn spreads(&self) -> bool {
        self.x.job().simd.has(&format!("spread1_{}", self.words()))
    }

    fn words(&self) -> Ty {
        Ty::U32.times(self.shape.lanes as u8)
    }

    /// The words of every site for a word of weights, `[plane][site]`, in all lanes.
    fn word(&self, b: &mut Builder, tile: &Tile, at: &[Expr], group: &Expr) -> Vec<Vec<Expr>> {
        let mut signs = |site: &Site, plane: usize| {
            let word = self.x.job().x.word(group.clone(), plane);
            let v = b.load_n(self.x.words(), self.tap(site, at, word), 1, self.words());
            b.val("signs", v)
        };
        let mut of_sites = |plane| tile.sites.iter().map(|site| signs(site, plane)).collect();
        (0..self.x.job().x.planes).map(&mut of_sites).collect()
    }

    /// The words of every site for `inner` words of weights, `[word][plane][site]` in one list of lists, in all lanes.
    /// Neighbours see the same pixels: words are loaded once for all sites of a row, several at a time.
    fn signs(&self, b: &mut Builder, tile: &Tile, at: &[Expr], inner: usize) -> Vec<Vec<Expr>> {
        let (ty, lanes, inner) = (self.words(), self.shape.lanes, inner * self.x.job().x.planes);
        let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (s, site) in tile.sites.iter().enumerate() {
            rows.entry(site.at[0]).or_default().push(s);
        }
        let mut signs = vec![vec![None; tile.sites.len()]; inner];
        for sites in rows.into_values() {
            let first = *sites
                .iter()
                .min_by_key(|&&s| tile.sites[s].at[1])
                .expect("a row has a site");
            let words = |s: usize| (tile.sites[s].at[1] - tile.sites[first].at[1]) * self.x.job().x.pixel();
            let end = sites.iter().map(|&s| words(s) + inner).max().expect("a row has a site");
            let base = self.tap(&tile.sites[first], at, at[2].clone() * idx(inner));
            let base = b.val("row_words", base);
            let mut loaded: BTreeMap<usize, Expr> = BTreeMap::new();
            let mut spread: BTreeMap<usize, Expr> = BTreeMap::new();
            for (w, signs) in signs.iter_mut().enumerate() {
                for &s in &sites {
                    let word = words(s) + w;
                    let known = spread.entry(word).or_insert_with(|| {
                        let vector = word / lanes;
                        let value = if (vector + 1) * lanes <= end {
                            let four = loaded.entry(vector).or_insert_with(|| {
                                let v = b.load_n(self.x.words(), base.clone() + idx(vector * lanes), lanes, ty);
                                b.val("row", v)
                            });
                            let at = (word % lanes) as u8;
                            Expr::Vector(VecOp::Spread { group: 1, at }, vec![four.clone()])
                        } else {
                            b.load_n(self.x.words(), base.clone() + idx(word), 1, ty)
                        };
                        b.val("signs", value)
                    });
                    signs[s] = Some(known.clone());
                }
            }
        }
        let all = |row: Vec<Option<Expr>>| row.into_iter().map(|s| s.expect("every site has a row")).collect();
        signs.into_iter().map(all).collect()
    }

    /// One word of weights, and `signs` of every site, `[plane][site]`.
    fn step(&self, b: &mut Builder, read: &Read, at: &[Expr], word: &Word, signs: &[Vec<Expr>], sums: &[Vec<Var>]) {
        let tile = read.tile;
        let first = b.val("first", self.planes.first(&self.weights(tile, at), word));
        let vectors = 0..self.shape.vectors(tile.valid);
        let plus = |q| self.planes.plus(b, word, &first, q);
        let plus: Vec<Expr> = vectors.clone().map(plus).collect();
        let plus: Vec<Expr> = plus.into_iter().map(|w| b.val("plus_w", w)).collect();
        let live = |q| self.planes.live(b, word, &first, q);
        let live: Vec<Option<Expr>> = vectors.map(live).collect();
        let live: Vec<Option<Expr>> = live.into_iter().map(|w| w.map(|w| b.val("live_w", w))).collect();
        for (s, sums) in sums.iter().enumerate() {
            let bits: Vec<Expr> = signs.iter().map(|of_sites| of_sites[s].clone()).collect();
            let mask = self.mask(b, &read.at[s], word).map(|w| b.val("on_map_w", w));
            for (q, &sum) in sums.iter().enumerate() {
                let live = windows::among(live[q].clone(), mask.clone());
                for differ in split::differ(self.x.job(), &bits, &plus[q], live.as_ref()) {
                    let counted = match b.ty(&Expr::Var(sum)) {
                        bytes if bytes.scalar() == Ty::U8 => Expr::Vector(VecOp::Bits(bytes), vec![differ]),
                        _ => differ,
                    };
                    b.add(sum, counted.popcnt());
                }
            }
        }
    }

    /// Which bits of a word are on the map, if not all.
    fn mask(&self, b: &mut Builder, at: &Place, word: &Word) -> Option<Expr> {
        self.x.mask(b, at, self.planes.words().index(word), self.words())
    }

    /// Where the weights of a tile's outputs are for a row and a column of its taps.
    fn weights(&self, tile: &Tile, at: &[Expr]) -> At {
        let [_, _, _, kw] = self.x.job().weights.shape;
        At {
            block: tile.block.clone(),
            valid: tile.valid,
            tap: (idx(tile.rows.first) + at[0].clone()) * idx(kw) + idx(tile.cols.first) + at[1].clone(),
        }
    }

    /// Trip counts of the loops over rows of taps, columns, and words. Straight-line code takes the words of one tap.
    fn loops(&self, tile: &Tile) -> [usize; 3] {
        let words = self.planes.words();
        match words.apart() {
            true => [tile.rows.count, tile.cols.count, words.all],
            false => tile.loops(self.x.job(), words.all),
        }
    }

    /// Number of weights that are not 0 where a sum is taken, for vector `q` of a tile's outputs.
    fn live(&self, b: &mut Builder, tile: &Tile, at: &Place, q: usize) -> Expr {
        let first = tile.block.clone() * idx(self.shape.outputs()) + idx(q * self.shape.lanes);
        self.counts.load(b, &self.x, at, first)
    }
}
