//! Windows of packed operands, copied so that their bits lie side by side: of nine taps of 20 inputs six words for nine.
//!
//! A tap whose inputs fill no words leaves bits of its last unused, in the operand as in the weights, and every output meets them again. To move the
//! taps of a pixel together takes a load, a shift and an or each, once for all outputs.
//!
//! [`nest`] copies those of an output at a time. The outputs of the map's edges, whichever taps they lack, are computed by the same code: their windows
//! hold anything there, and a mask says so. Those of its inside are computed by another without masks. Kernels of tiles copy those of the whole map first
//! ([`Source::of_map`]): their pixels share weights.

use super::im2col;
use super::nest::{self, Channel, Finish, Job, Packed, Site, channels, coordinate};
use super::split::{self, Operand};
use super::view::{self, Layout, View, WORD};
use super::window::{Axis, Span, Taps};
use crate::ir::Geometry;
use crate::kir::build::{Builder, idx, int, ints};
use crate::kir::{Buf, Expr, Kernel, Role, Ty};

/// Fewer outputs are not worth the copy.
const LEAST_OUTPUTS: usize = 8;

/// Words of an operand that are copied in straight-line code. (A window of 24x24 taps of 12 inputs took 5.7 KB in C on the Cortex-M4, in loops 1.1.)
const STRAIGHT: usize = 32;

/// Where a sum is taken.
#[derive(Clone, Debug)]
pub enum At<'a> {
    /// On the operand itself.
    Map(&'a Site),
    /// On a copied window.
    Window {
        /// Which of those that an output pools.
        number: Expr,
        /// Which taps are on the map, if not all: one of [`Edges`].
        edge: Option<Expr>,
    },
}

impl At<'_> {
    /// Whether no tap is on the map, as is known here.
    pub fn is_empty(&self) -> bool {
        matches!(self, At::Map(site) if site.rows.count * site.cols.count == 0)
    }
}

/// The bits that count: those of weights that are not 0, and those on the map, where not all are.
pub fn among(live: Option<Expr>, mask: Option<Expr>) -> Option<Expr> {
    match (live, mask) {
        (Some(live), Some(mask)) => Some(live & mask),
        (live, mask) => live.or(mask),
    }
}

/// Whether kernels of packed operands are better to copy windows for weights of this shape.
pub fn copies([outputs, inputs, kh, kw]: [usize; 4], geom: &Geometry) -> bool {
    kh * kw > 1 && !inputs.is_multiple_of(WORD) && geom.groups == 1 && outputs >= LEAST_OUTPUTS
}

/// Whether kernels of `job` that take one output or few at a time are better to copy its windows.
pub fn wanted(job: &Job) -> bool {
    copies(job.weights.shape, &job.geom)
}

/// The windows of `h` by `w` sums as the map of a job of one tap.
fn rows<'a>(job: &Job<'a>, [h, w]: [usize; 2]) -> Job<'a> {
    Job {
        weights: im2col::rows(job, job.taps()),
        geom: Geometry::UNIT,
        x: View {
            c: job.taps(),
            h,
            w,
            plane: h,
            elem: job.x.elem,
            planes: job.x.planes,
            layout: Layout::Packed,
        },
        ..job.clone()
    }
}

/// Whether kernels of tiles whose outputs are in vectors of so many lanes are better to copy all windows of the map of `job`.
///
/// A word of a tap that is copied takes as long as a vector of outputs by a word, a little more; where sums are pooled, six tenths, for there
/// neighbours share fewer loads of an operand that is not copied. So the faster of both was told right for 36 of 42 kernels (fourteen layers of 1 to 50 inputs
/// and 8 to 64 outputs on AArch64, 32-bit Arm and AVX-512); the others take 1.01 to 1.15 times as long as they could.
pub fn pays(job: &Job, lanes: usize) -> bool {
    if !wanted(job) {
        return false;
    }
    let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
    let sums = [job.y.h * ph, job.y.w * pw];
    let on_map = |axis: usize| -> usize {
        let map = [job.x.h, job.x.w][axis];
        let spans = Axis::new(axis, map, job.kernel()[axis], sums[axis], &job.geom, None).spans();
        spans.iter().map(|span| span.count * span.offsets[0].count).sum()
    };
    let of_tap = job.inputs().div_ceil(WORD);
    let taps: usize = job.kernel().iter().product();
    let vectors = job.y.c.div_ceil(lanes);
    let [all, edges] = [sums[0] * sums[1], at_edges(job) * ph * pw];
    let as_they_are = on_map(0) * on_map(1) * of_tap * vectors;
    // A mask is a fourth operation.
    let copied = (all + edges / 4) * job.taps().div_ceil(WORD) * vectors;
    let tenths = match job.pool {
        // No weights but these: fewer bytes are to be read.
        _ if all == 1 => 0,
        Some(_) => 6,
        None => 11,
    };
    as_they_are * 10 > copied * 10 + all * taps * of_tap * tenths
}

/// Words of weights for an output, of copied windows or tap by tap.
pub fn words(job: &Job, copied: bool) -> usize {
    let taps: usize = job.kernel().iter().product();
    match copied {
        true => job.taps().div_ceil(WORD),
        false => taps * job.inputs().div_ceil(WORD),
    }
}

/// Builds the kernel of `job`, whose operand is packed, or is to be. `declare` adds the family's buffers; `sum` computes one sum of what it reads.
pub fn nest<T>(
    job: &Job,
    declare: impl FnOnce(&mut Builder, &Source) -> T,
    sum: impl Fn(&mut Builder, (&Source, &T), &At, &Channel) -> Expr,
) -> Kernel {
    if !wanted(job) {
        let all = |b: &mut Builder, x| {
            let source = Source::uncopied(b, job, x);
            let family = declare(b, &source);
            (source, family)
        };
        return nest::nest(job, false, all, |b, (source, family), site, channel| {
            sum(b, (source, family), &At::Map(site), channel)
        });
    }
    let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
    let mut b = Builder::new(&job.name, &job.doc);
    let (given, range) = job.given();
    let x = b.param("x", given.ty(), given.elements(), Role::In, range);
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let operand = split::read(&mut b, job, x, false);
    let windows = Windows::declare(&mut b, job, [1, ph * pw]);
    let source = Source {
        job,
        operand,
        windows: Some(windows),
        at_edges: None,
    };
    let family = declare(&mut b, &source);
    let finish = Finish::declare(&mut b, job);
    let each = |b: &mut Builder, visit: &mut dyn FnMut(&mut Builder, [Expr; 2], Expr)| {
        b.each("dy", ph, false, |b, dy| {
            b.each("dx", pw, false, |b, dx| {
                visit(b, [dy.clone(), dx.clone()], dy * idx(pw) + dx)
            });
        });
    };
    let outputs = |b: &mut Builder, row: Expr, col: Expr, inside: bool| {
        each(b, &mut |b, [dy, dx], number| {
            let at = [row.clone() * idx(ph) + dy, col.clone() * idx(pw) + dx];
            source.copy(b, at, &number, inside);
        });
        channels(b, job, false, y, (row.clone(), col.clone()), &mut |b, channel| {
            let sum = |b: &mut Builder, number| {
                let edge = source.edge(b, &number, inside);
                sum(b, (&source, &family), &At::Window { number, edge }, channel)
            };
            let greatest = if ph * pw == 1 {
                sum(b, idx(0))
            } else {
                let best = b.mutable("best", int(job.least, Ty::I32));
                each(b, &mut |b, _, number| {
                    let next = sum(b, number);
                    b.set(best, Expr::Var(best).max(next));
                });
                Expr::Var(best)
            };
            finish.apply(b, greatest, channel.o.clone())
        });
    };
    let [rows, cols] = [0, 1].map(|axis| inside(job, axis));
    if rows.1 * cols.1 > 0 {
        b.each("row", rows.1, false, |b, i| {
            b.each("col", cols.1, false, |b, j| {
                outputs(b, idx(rows.0) + i, idx(cols.0) + j, true)
            });
        });
    }
    if let Some(edges) = Places::of_edges(&mut b, job) {
        b.each("edge", edges.count, false, |b, i| {
            let (row, col) = edges.load(b, i);
            outputs(b, row, col, false);
        });
    }
    b.finish()
}

/// Outputs that have taps off the map.
pub struct Places {
    /// How many.
    pub count: usize,
    /// Their rows and columns.
    at: [Buf; 2],
}

impl Places {
    fn of_edges(b: &mut Builder, job: &Job) -> Option<Places> {
        let [rows, cols] = [0, 1].map(|axis| inside(job, axis));
        let within = |(first, count): (usize, usize), at| (first..first + count).contains(&at);
        let all = (0..job.y.h).flat_map(|row| (0..job.y.w).map(move |col| (row, col)));
        let edge = all.filter(|&(row, col)| !(within(rows, row) && within(cols, col)));
        let edge: Vec<_> = edge.collect();
        (!edge.is_empty()).then(|| Places {
            count: edge.len(),
            at: [
                numbers(b, "edge_row", edge.iter().map(|at| at.0)),
                numbers(b, "edge_col", edge.iter().map(|at| at.1)),
            ],
        })
    }

    /// Row and column of one.
    pub fn load(&self, b: &mut Builder, number: Expr) -> (Expr, Expr) {
        let [row, col] = self.at.map(|table| b.load(table, number.clone()).cast(Ty::Idx));
        (b.val("row", row), b.val("col", col))
    }
}

/// The first output along an axis all of whose taps are on the map, and how many there are.
fn inside(job: &Job, axis: usize) -> (usize, usize) {
    let (map, outputs) = ([job.x.h, job.x.w][axis], [job.y.h, job.y.w][axis]);
    let kernel = job.kernel()[axis];
    let spans = Axis::new(axis, map, kernel, outputs, &job.geom, job.pool.as_ref()).spans();
    let whole = |taps: &Taps| taps.count == kernel;
    let span = spans.iter().find(|span| span.offsets.iter().all(whole));
    span.map_or((0, 0), |span| (span.start, span.count))
}

/// How many outputs have taps off the map.
fn at_edges(job: &Job) -> usize {
    let [rows, cols] = [0, 1].map(|axis| inside(job, axis).1);
    job.y.h * job.y.w - rows * cols
}

/// A table in the narrowest elements.
fn numbers(b: &mut Builder, name: &str, numbers: impl Iterator<Item = usize> + Clone) -> Buf {
    let ty = match numbers.clone().max() {
        Some(256..) => Ty::U16,
        _ => Ty::U8,
    };
    b.constants(name, ty, ints(numbers.map(|n| n as i64), ty))
}

/// How a window's words are copied.
enum Copy {
    /// One after the other.
    Straight,
    /// In a loop over so many taps, which lie side by side and fill words.
    Turns(usize),
    /// In loops over taps and their words.
    Loops,
}

impl Copy {
    fn of(job: &Job) -> Copy {
        let taps: usize = job.kernel().iter().product();
        let of_tap = job.inputs().div_ceil(WORD);
        if taps * of_tap <= STRAIGHT {
            return Copy::Straight;
        }
        let turn = WORD >> job.inputs().trailing_zeros();
        let whole_rows = job.kernel()[1] == job.x.w && job.geom.dilation == [1; 2] && job.geom.pads == [0; 4];
        match whole_rows && turn * of_tap <= STRAIGHT {
            true => Copy::Turns(turn),
            false => Copy::Loops,
        }
    }
}

/// The row (0) or column (1) of the map that a tap reads.
type Coordinate<'a> = &'a dyn Fn(&mut Builder, usize, Expr) -> Expr;

/// What sums read: the operand tap by tap, or copied windows.
pub struct Source<'a> {
    job: &'a Job<'a>,
    operand: Operand,
    windows: Option<Windows<'a>>,
    /// Outputs whose windows may have taps off the map, if those of the whole map are copied.
    at_edges: Option<Places>,
}

struct Windows<'a> {
    /// The job of one tap.
    rows: Job<'a>,
    words: Buf,
    edges: Option<Edges>,
    /// How many elements of each are not 0, where bits say that.
    counts: Option<Buf>,
}

/// The sets of taps that windows may have on the map.
struct Edges {
    /// Of each: rows and columns.
    taps: Vec<[Taps; 2]>,
    /// By the sums' rows and columns, what to add for the number of the set.
    axes: [Buf; 2],
    /// By number, words that are 1 where bits are on the map.
    masks: Buf,
    /// By number, how many elements are.
    counts: Buf,
    /// The numbers of the windows' sets.
    of_windows: Buf,
}

impl Edges {
    fn declare(b: &mut Builder, job: &Job, rows: &Job) -> Edges {
        let pooled = job.pool.map_or([1, 1], |p| p.size);
        let of_axis = |axis: usize| -> Vec<Taps> {
            let (map, sums) = ([job.x.h, job.x.w][axis], [job.y.h, job.y.w][axis] * pooled[axis]);
            let spans = Axis::new(axis, map, job.kernel()[axis], sums, &job.geom, None).spans();
            spans.iter().flat_map(|s| vec![s.offsets[0]; s.count]).collect()
        };
        let alike = |a: &Taps, b: &Taps| (a.first, a.count) == (b.first, b.count);
        let axes = [0, 1].map(of_axis);
        let sets = axes.clone().map(|mut taps| {
            taps.dedup_by(|a, b| alike(a, b));
            taps
        });
        let each = sets[1].len();
        let mut axis = |name: &str, axis: usize, factor: usize| {
            let number = |taps: &Taps| sets[axis].iter().position(|t| alike(t, taps)).expect("a set");
            numbers(b, name, axes[axis].iter().map(|taps| number(taps) * factor))
        };
        let axes = [axis("row_edge", 0, each), axis("col_edge", 1, 1)];
        let taps: Vec<[Taps; 2]> = sets[0].iter().flat_map(|r| sets[1].iter().map(|c| [*r, *c])).collect();
        let [_, kw] = job.kernel();
        let on_map = |[rows, cols]: &[Taps; 2], bit: usize| {
            let tap = bit / job.inputs();
            let has = |taps: &Taps, at: usize| (taps.first..taps.first + taps.count).contains(&at);
            bit < job.taps() && has(rows, tap / kw) && has(cols, tap % kw)
        };
        let words = rows.x.pixel() / rows.x.planes;
        let word = |taps: &[Taps; 2], w: usize| -> i64 {
            (0..WORD)
                .map(|bit| i64::from(on_map(taps, w * WORD + bit)) << bit)
                .sum()
        };
        let masks = taps.iter().flat_map(|taps| (0..words).map(move |w| word(taps, w)));
        let masks = b.constants("on_map", Ty::U32, ints(masks, Ty::U32));
        let count = |[rows, cols]: &[Taps; 2]| rows.count * cols.count * job.inputs();
        let counts = numbers(b, "on_map_count", taps.iter().map(count));
        let most = taps.len() as i64 - 1;
        let ty = if most > 255 { Ty::U16 } else { Ty::U8 };
        let of_windows = b.param("edges", ty, rows.x.h * rows.x.w, Role::Scratch, (0, most));
        Edges {
            taps,
            axes,
            masks,
            counts,
            of_windows,
        }
    }
}

impl<'a> Source<'a> {
    /// The operand as it is, or packed.
    fn uncopied(b: &mut Builder, job: &'a Job<'a>, x: Buf) -> Source<'a> {
        Source {
            job,
            operand: split::read(b, job, x, true),
            windows: None,
            at_edges: None,
        }
    }

    /// What sums read of `x`, all of it; its windows, if these are to be copied.
    pub fn of_map(b: &mut Builder, job: &'a Job<'a>, x: Buf, copied: bool) -> Source<'a> {
        if !copied {
            return Source::uncopied(b, job, x);
        }
        let operand = split::read(b, job, x, false);
        let [ph, pw] = job.pool.map_or([1, 1], |p| p.size);
        let windows = Windows::declare(b, job, [job.y.h * ph, job.y.w * pw]);
        let View { h, w, .. } = windows.rows.x;
        b.each("row", h, false, |b, row| {
            b.each("col", w, false, |b, col| {
                let number = row.clone() * idx(w) + col.clone();
                windows.copy(b, job, operand.words, [row, col], &number, windows.edges.is_none());
            });
        });
        Source {
            job,
            operand,
            windows: Some(windows),
            at_edges: Places::of_edges(b, job),
        }
    }

    /// Where all windows are copied, the outputs that have all taps on the map, by row and by column, and the others.
    pub fn places(&self) -> Option<([Span; 2], Option<&Places>)> {
        self.windows.as_ref()?;
        let spans = [0, 1].map(|axis| {
            let (first, count) = inside(self.job, axis);
            Span::of_sums(first, count, self.job.pool.map_or(1, |p| p.size[axis]))
        });
        Some((spans, self.at_edges.as_ref()))
    }

    /// Where the sum of a site is taken: if the windows of the whole map are copied, that of its row and column, `inside` the map with all taps or not.
    pub fn at<'s>(&self, b: &mut Builder, site: &'s Site, inside: bool) -> At<'s> {
        let Some(windows) = &self.windows else {
            return At::Map(site);
        };
        let number = site.y.clone() * idx(windows.rows.x.w) + site.x.clone();
        let edge = self.edge(b, &number, inside);
        At::Window { number, edge }
    }

    /// The job whose taps are read, and whose weights are met.
    pub fn job(&self) -> &Job<'a> {
        self.windows.as_ref().map_or(self.job, |w| &w.rows)
    }

    /// Where these taps are.
    pub fn site(&self, at: &At) -> Site {
        match at {
            At::Map(site) => (*site).clone(),
            At::Window { number, .. } => Site::of_tap(number.clone()),
        }
    }

    /// Words of packed elements.
    pub fn words(&self) -> Buf {
        self.windows.as_ref().map_or(self.operand.words, |w| w.words)
    }

    /// Sets of rows and columns of the layer's taps, one of which is on the map, and its number.
    pub fn on_map(&self, at: &At) -> (Vec<[Taps; 2]>, Expr) {
        let edges = self.windows.as_ref().and_then(|w| w.edges.as_ref());
        let (edge, edges) = match (at, edges) {
            (At::Map(site), _) => return (vec![[site.rows, site.cols]], idx(0)),
            (At::Window { edge, .. }, Some(edges)) => (edge.clone(), &edges.taps),
            (At::Window { .. }, None) => return (vec![self.job.kernel().map(Taps::all)], idx(0)),
        };
        let all = |set: &[Taps; 2]| set.map(|taps| taps.count) == self.job.kernel();
        let inside = || idx(edges.iter().position(all).expect("a window is inside"));
        (edges.clone(), edge.unwrap_or_else(inside))
    }

    /// Which bits of word `w` are on the map, in all lanes of `ty`; nothing if all are.
    pub fn mask(&self, b: &mut Builder, at: &At, w: Expr, ty: Ty) -> Option<Expr> {
        let At::Window { edge: Some(edge), .. } = at else {
            return None;
        };
        let windows = self.windows.as_ref()?;
        Some(windows.mask(b, edge, w, ty))
    }

    /// Whether an operand says which of its elements are not 0, so that these are to be counted.
    pub fn says_live(&self) -> bool {
        self.job.packed == Packed::Live
    }

    /// How many products of binary weights are not 0.
    pub fn live(&self, b: &mut Builder, at: &At) -> Expr {
        let (number, edge) = match at {
            At::Map(site) => return self.operand.live(b, self.job, site),
            At::Window { number, edge } => (number, edge),
        };
        let windows = self.windows.as_ref().expect("windows are copied");
        match (windows.counts, &windows.edges, edge) {
            (Some(counts), ..) => b.load(counts, number.clone()),
            (None, Some(edges), Some(edge)) => b.load(edges.counts, edge.clone()).cast(Ty::I32),
            _ => int(self.job.taps() as i64, Ty::I32),
        }
    }

    /// The number of a window's set of taps, if some may be off the map.
    fn edge(&self, b: &mut Builder, number: &Expr, inside: bool) -> Option<Expr> {
        let edges = self.windows.as_ref()?.edges.as_ref().filter(|_| !inside)?;
        Some(b.val("taps", b.load(edges.of_windows, number.clone()).cast(Ty::Idx)))
    }

    /// Copies window `number`, of the sum in so many rows and columns of all.
    fn copy(&self, b: &mut Builder, at: [Expr; 2], number: &Expr, inside: bool) {
        if let Some(windows) = &self.windows {
            windows.copy(b, self.job, self.operand.words, at, number, inside);
        }
    }
}

impl<'a> Windows<'a> {
    /// Those of so many rows and columns of sums.
    fn declare(b: &mut Builder, job: &Job<'a>, sums: [usize; 2]) -> Windows<'a> {
        let rows = rows(job, sums);
        // In loops a word is written beyond the last, with no bits.
        let beyond = matches!(Copy::of(job), Copy::Loops);
        let len = rows.x.elements() + if beyond { rows.x.planes } else { 0 };
        let words = b.param("windows", Ty::U32, len, Role::Scratch, Ty::U32.range());
        let most = (0, job.taps() as i64);
        let says = job.packed == Packed::Live;
        Windows {
            words,
            edges: (at_edges(job) > 0).then(|| Edges::declare(b, job, &rows)),
            counts: says.then(|| b.param("counts", Ty::I32, rows.x.h * rows.x.w, Role::Scratch, most)),
            rows,
        }
    }

    /// A window's words of a plane.
    fn words_of_plane(&self) -> usize {
        self.rows.x.pixel() / self.rows.x.planes
    }

    fn mask(&self, b: &mut Builder, edge: &Expr, w: Expr, ty: Ty) -> Expr {
        let edges = self.edges.as_ref().expect("some windows are at edges");
        b.load_n(edges.masks, edge.clone() * idx(self.words_of_plane()) + w, 1, ty)
    }

    fn copy(&self, b: &mut Builder, job: &Job, x: Buf, at: [Expr; 2], number: &Expr, inside: bool) {
        let to = self.rows.x;
        let window = b.val("window", number.clone() * idx(to.pixel()));
        let first = [0, 1].map(|axis| b.val("first", at[axis].clone() * idx(job.geom.stride[axis])));
        // The row or column that a tap reads; any of the map where it is off that.
        let coordinate = |b: &mut Builder, axis: usize, tap: Expr| {
            let padded = first[axis].clone() + tap * idx(job.geom.dilation[axis]);
            match inside {
                true => padded - idx(job.geom.pads[axis]),
                false => coordinate(b, job, axis, padded).0,
            }
        };
        match Copy::of(job) {
            Copy::Loops => self.copy_in_loops(b, job, x, &window, &coordinate),
            Copy::Turns(turn) => {
                let [row, col] = [0, 1].map(|axis| coordinate(b, axis, idx(0)));
                let pixel = b.val("pixel", job.x.at(idx(0), row, col));
                self.copy_in_turns(b, job, x, &window, &pixel, turn);
            }
            Copy::Straight => {
                let mut taps = |axis: usize| -> Vec<Expr> {
                    let taps = 0..job.kernel()[axis];
                    taps.map(|tap| coordinate(b, axis, idx(tap))).collect()
                };
                let (rows, cols) = (taps(0), taps(1));
                let all = rows.iter().flat_map(|row| cols.iter().map(move |col| (row, col)));
                let pixel = |(row, col): (&Expr, &Expr)| job.x.at(idx(0), row.clone(), col.clone());
                self.copy_straight(b, job, x, &window, all.map(pixel));
            }
        }
        let edge = self.edges.as_ref().filter(|_| !inside).map(|edges| {
            let [row, col] = [0, 1].map(|axis| b.load(edges.axes[axis], at[axis].clone()).cast(Ty::Idx));
            let edge = b.val("taps", row + col);
            let ty = b.ty(&Expr::Load(edges.of_windows, idx(0).into()));
            b.store(edges.of_windows, number.clone(), edge.clone().cast(ty));
            edge
        });
        if let Some(counts) = self.counts {
            let count = b.mutable("count", int(0, Ty::I32));
            b.each("w", self.words_of_plane(), false, |b, w| {
                let live = b.load(self.words, window.clone() + to.word(w.clone(), 0));
                let mask = edge.as_ref().map(|edge| self.mask(b, edge, w, Ty::U32));
                let live = mask.into_iter().fold(live, |live, mask| live & mask);
                b.add(count, live.popcnt().cast(Ty::I32));
            });
            // The verifier does not see how few they are where bits are counted by arithmetic.
            let count = Expr::Var(count).min(int(job.taps() as i64, Ty::I32));
            b.store(counts, number.clone(), count);
        }
    }

    /// Copies words that are 0 first, two of which each tap changes.
    fn copy_in_loops(&self, b: &mut Builder, job: &Job, x: Buf, window: &Expr, coordinate: Coordinate) {
        let (to, inputs) = (self.rows.x, job.inputs());
        let lit = |n: usize| int(n as i64, Ty::U32);
        b.each("w", to.pixel() + to.planes, false, |b, w| {
            b.store(self.words, window.clone() + w, lit(0))
        });
        let [kh, kw] = job.kernel();
        b.each("ky", kh, false, |b, ky| {
            let row = coordinate(b, 0, ky.clone());
            b.each("kx", kw, false, |b, kx| {
                let col = coordinate(b, 1, kx.clone());
                let pixel = b.val("pixel", job.x.at(idx(0), row.clone(), col));
                let tap = b.val("tap", (ky.clone() * idx(kw) + kx) * idx(inputs));
                b.each("group", inputs.div_ceil(WORD), false, |b, group| {
                    let bit = b.val("at", tap.clone() + group.clone() * idx(WORD));
                    let w = b.val("w", view::word(bit.clone()));
                    let shift = b.val("shift", (bit & idx(WORD - 1)).cast(Ty::U32));
                    for plane in 0..to.planes {
                        let word = b.load(x, pixel.clone() + job.x.word(group.clone(), plane));
                        let word = b.val("bits", word);
                        let at = b.val("to", window.clone() + to.word(w.clone(), plane));
                        let above = at.clone() + idx(to.planes);
                        let low = b.load(self.words, at.clone()) | (word.clone() << shift.clone());
                        b.store(self.words, at, low);
                        // The rest of the word goes to the next, if there is any.
                        let high = (word >> lit(1)) >> (lit(WORD - 1) - shift.clone());
                        let high = b.load(self.words, above.clone()) | high;
                        b.store(self.words, above, high);
                    }
                });
            });
        });
    }

    /// Copies the pixels from one on, so many at a time, which fill words.
    fn copy_in_turns(&self, b: &mut Builder, job: &Job, x: Buf, window: &Expr, pixel: &Expr, turn: usize) {
        let taps: usize = job.kernel().iter().product();
        let words = turn * job.inputs() / WORD * self.rows.x.planes;
        let copy = |b: &mut Builder, part: Expr, count: usize| {
            let to = b.val("to", window.clone() + part.clone() * idx(words));
            let from = b.val("from", pixel.clone() + part * idx(turn * job.x.pixel()));
            let pixels = (0..count).map(|tap| from.clone() + idx(tap * job.x.pixel()));
            self.copy_straight(b, job, x, &to, pixels);
        };
        b.each("part", taps / turn, false, |b, part| copy(b, part, turn));
        if !taps.is_multiple_of(turn) {
            copy(b, idx(taps / turn), taps % turn);
        }
    }

    /// Copies the words of some pixels one after the other, by shifts that are known here.
    fn copy_straight(&self, b: &mut Builder, job: &Job, x: Buf, window: &Expr, pixels: impl Iterator<Item = Expr>) {
        let (to, inputs) = (self.rows.x, job.inputs());
        let pixels: Vec<Expr> = pixels.collect();
        for plane in 0..to.planes {
            // What is not yet stored of the word at hand, and its bits.
            let (mut rest, mut fill, mut w) = (None, 0, 0);
            let put = |b: &mut Builder, w: usize, word: Expr| {
                b.store(self.words, window.clone() + to.word(idx(w), plane), word);
            };
            for pixel in &pixels {
                let pixel = b.val("pixel", pixel.clone());
                for group in 0..inputs.div_ceil(WORD) {
                    let bits = (inputs - group * WORD).min(WORD);
                    let word = b.load(x, pixel.clone() + job.x.word(idx(group), plane));
                    let word = b.val("bits", word);
                    let lit = |n: usize| int(n as i64, Ty::U32);
                    let all = match rest.take() {
                        None => word.clone(),
                        Some(rest) => b.val("rest", rest | (word.clone() << lit(fill))),
                    };
                    fill += bits;
                    rest = Some(all.clone());
                    if fill >= WORD {
                        put(b, w, all);
                        (w, fill) = (w + 1, fill - WORD);
                        rest = (fill > 0).then(|| b.val("rest", word >> lit(bits - fill)));
                    }
                }
            }
            if let Some(rest) = rest {
                put(b, w, rest);
            }
        }
    }
}
