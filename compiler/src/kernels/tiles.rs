//! What vector kernels of a linear layer have in common: outputs side by side in the lanes, a tile of pixels by blocks of outputs
//! whose sums stay in registers, and the epilogue on vectors. A family adds how the sums of a tile are taken.
//!
//! Neighbouring outputs in neighbouring lanes need no sum across lanes, and every weight that is loaded serves all pixels of the
//! tile. The sites of a pooling window are pixels of one tile, so pooling is a maximum between registers.

use super::nest::{self, Finish, High, Job};
use super::view::{Layout, View, WORD};
use super::window::{Axis, Span, Taps};
use super::windows::Places;
use crate::ir::{Epilogue, Ties};
use crate::kir::build::{Builder, idx, int, ints, splat};
use crate::kir::{BinOp, Buf, Expr, Kernel, Role, Ty, VecOp};
use crate::target::Simd;
use std::cell::Cell;

/// Size of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Outputs in a vector.
    pub lanes: usize,
    /// Vectors of outputs.
    pub blocks: usize,
    /// Pixels at most, those of a pooling window counted one by one.
    pub pixels: usize,
    /// Of how many pixels an instruction takes sums together; a tile of fewer does no less work.
    pub together: usize,
}

/// Where one sum is taken: the coordinates of the first tap.
#[derive(Clone, Debug)]
pub struct Site {
    /// Row.
    pub y: Expr,
    /// Column.
    pub x: Expr,
    /// The same as distances from the tile's origin, known here.
    pub at: [usize; 2],
}

/// Sites that see the same taps, for one block of outputs.
#[derive(Clone, Debug)]
pub struct Tile<'a> {
    /// The sites.
    pub sites: &'a [Site],
    /// Whether they are windows that may have taps off the map.
    pub hangs: bool,
    /// Vertical taps; `base` means nothing here.
    pub rows: Taps,
    /// Horizontal taps.
    pub cols: Taps,
    /// Which block of `lanes * blocks` outputs.
    pub block: Expr,
    /// Which of the blocks that were prepared together.
    pub slot: Expr,
    /// Outputs of the block, all of [`Shape::outputs`] but in the last block. Weights lie side by side: a vector that is not full takes
    /// what comes behind them, and these sums are dropped.
    pub valid: usize,
}

impl Tile<'_> {
    /// Trip counts of the loops over rows of taps, columns, and the `steps` of a pixel. Where the taps of a row are neighbours,
    /// the steps run through all of them.
    pub fn loops(&self, job: &Job, steps: usize) -> [usize; 3] {
        match job.geom.dilation[1] == 1 && job.x.layout != Layout::Planar {
            true => [self.rows.count, 1, self.cols.count * steps],
            false => [self.rows.count, self.cols.count, steps],
        }
    }
}

impl Shape {
    /// One sum at a time.
    pub const ONE: Shape = Shape {
        lanes: 1,
        blocks: 1,
        pixels: 1,
        together: 1,
    };

    /// The same with no more vectors, `step` of them or a multiple, than cover the outputs of `job` in as many blocks: fewer outputs
    /// beyond the last to compute, and fewer weights. Blocks that words of signs are made of stay.
    pub fn fitted(self, job: &Job, step: usize) -> Shape {
        let vectors = job.y.c.div_ceil(self.lanes);
        let even = vectors.div_ceil(vectors.div_ceil(self.blocks));
        let blocks = match job.y.layout {
            Layout::Packed => self.blocks,
            _ => even.next_multiple_of(step),
        };
        Shape { blocks, ..self }
    }

    /// Of so many pixels, those of a tile, each with so many sites: as few tiles as possible, and these as even as possible.
    fn wide(&self, pixels: usize, sites: usize) -> usize {
        let most = (self.pixels / sites).max(1);
        let even = pixels.div_ceil(pixels.div_ceil(most));
        even.next_multiple_of(self.together).min(most).min(pixels)
    }

    /// Outputs of a block.
    pub fn outputs(&self) -> usize {
        self.lanes * self.blocks
    }

    /// Outputs of all blocks, those beyond the last of the layer included; where signs are packed, of whole words.
    pub fn padded(&self, job: &Job) -> usize {
        let multiple = match job.y.layout {
            Layout::Packed => WORD.max(self.outputs()),
            _ => self.outputs(),
        };
        job.y.c.next_multiple_of(multiple)
    }

    /// Blocks that the outermost loop takes together: those of a word, where signs are packed.
    pub fn slots(&self, job: &Job) -> usize {
        match job.y.layout {
            Layout::Packed => WORD.div_ceil(self.outputs()),
            _ => 1,
        }
    }

    /// The first output of every block, and the number of its outputs.
    pub fn runs(&self, job: &Job) -> impl Iterator<Item = (usize, usize)> {
        let (outputs, all) = (self.outputs(), job.weights.shape[0]);
        (0..all).step_by(outputs).map(move |o| (o, outputs.min(all - o)))
    }

    /// Vectors that hold `valid` outputs.
    pub fn vectors(&self, valid: usize) -> usize {
        valid.div_ceil(self.lanes)
    }

    /// Outputs beyond the last that vectors of `lanes` take.
    pub fn beyond(job: &Job, lanes: usize) -> usize {
        job.y.c.next_multiple_of(lanes) - job.y.c
    }

    /// The type of sums.
    pub fn sums(&self) -> Ty {
        Ty::I32.times(self.lanes as u8)
    }
}

/// A vector of sums of several outputs.
#[derive(Clone, Debug)]
pub enum Sum {
    /// As they are.
    Whole(Expr),
    /// `live - 2 * wrong` of products that are -1, 0 or +1: how many are not 0, and how many are -1. `live - wrong` of weights and operands
    /// each of which is the mean of two signs: how many weights are not 0, and how many signs differ.
    Counted {
        /// Products, or weights, that are not 0.
        live: Expr,
        /// How many fewer these are than the weights of all taps that are not 0, if as many for every output.
        missing: Option<i64>,
        /// Products that are -1, or signs that differ.
        wrong: Expr,
    },
}

impl Sum {
    fn whole(self, job: &Job) -> Expr {
        match self {
            Sum::Whole(sum) => sum,
            Sum::Counted { live, wrong, .. } => live - job.lost(wrong),
        }
    }
}

/// How a family takes sums.
pub trait Sums {
    /// Where windows are copied, and sites are sums by their rows and columns: the outputs that have all taps on the map, and the others.
    fn places(&self) -> Option<([Span; 2], Option<&Places>)> {
        None
    }

    /// What the outermost loop does first for the `valid` outputs of a block, one of [`Shape::slots`].
    fn prepare(&self, _: &mut Builder, _block: &Expr, _slot: &Expr, _valid: usize) {}

    /// The sums of a tile's sites, `[site][vector]`, as [`Shape::sums`]: as many vectors as hold the tile's outputs.
    fn sums(&self, b: &mut Builder, tile: &Tile) -> Vec<Vec<Sum>>;
}

/// Builds the kernel of `job`, whose operand is `given` with the range of its elements: the family may make another of it.
/// `declare` adds the family's buffers; no sum exceeds `bound`.
pub fn nest<S: Sums>(
    job: &Job,
    (given, range): (View, (i64, i64)),
    shape: Shape,
    bound: i64,
    declare: impl FnOnce(&mut Builder, Buf) -> S,
) -> Kernel {
    let mut b = Builder::new(&job.name, &job.doc);
    let x = b.param("x", given.ty(), given.elements(), Role::In, range);
    if let Some(turns) = job.turns {
        return tile_alone(b, job, shape, turns, |b| declare(b, x));
    }
    let y = b.param("y", job.y.ty(), job.y.elements(), Role::Out, job.y.ty().range());
    let finish = VectorFinish::declare(&mut b, job, shape, bound);
    let family = declare(&mut b, x);
    let packed = job.y.layout == Layout::Packed;
    let group = if packed {
        WORD.max(shape.outputs())
    } else {
        shape.outputs()
    };
    // The last block in place of those that the last word lacks takes less flash than the same code for a shorter word.
    let again = packed && job.y.c > group && job.y.c.is_multiple_of(shape.outputs());
    let nest = Nest {
        job,
        shape,
        y,
        finish,
        family,
        last: again.then(|| job.y.c / shape.outputs() - 1),
    };
    let whole = match again {
        true => job.y.c.div_ceil(group),
        false => job.y.c / group,
    };
    if whole > 0 {
        b.each("group", whole, false, |b, g| nest.group(b, &g, group, group));
    }
    if whole * group < job.y.c {
        nest.group(&mut b, &idx(whole), group, job.y.c - whole * group);
    }
    b.finish()
}

/// The sums of the first tile of a layer whose kernel is a single tap, so many times: what a mix of instructions does at most, with its
/// operands and weights in the first cache and no epilogue. The result is the greatest, `[pixel][output]`, of all turns' sums and the turn's number,
/// without which turns were the same to a compiler.
fn tile_alone<S: Sums>(
    mut b: Builder,
    job: &Job,
    shape: Shape,
    turns: usize,
    declare: impl FnOnce(&mut Builder) -> S,
) -> Kernel {
    let pixels = shape.pixels.min(job.y.w);
    let valid = shape.outputs().min(job.y.c);
    let y = b.param("y", Ty::I32, pixels * shape.outputs(), Role::Out, Ty::I32.range());
    let family = declare(&mut b);
    family.prepare(&mut b, &idx(0), &idx(0), valid);
    let site = |t| Site {
        y: idx(0),
        x: idx(t),
        at: [0, t],
    };
    let sites: Vec<Site> = (0..pixels).map(site).collect();
    let tile = Tile {
        sites: &sites,
        hangs: false,
        rows: Taps::ONE,
        cols: Taps::ONE,
        block: idx(0),
        slot: idx(0),
        valid,
    };
    let least = splat(int(Ty::I32.range().0, Ty::I32), shape.sums());
    let greatest: Vec<_> = (0..pixels * shape.blocks)
        .map(|_| b.mutable("greatest", least.clone()))
        .collect();
    b.each("turn", turns, false, |b, turn| {
        let turn = b.val("more", splat(turn.cast(Ty::I32), shape.sums()));
        let sums = family.sums(b, &tile).into_iter().flatten();
        for (&greatest, sum) in greatest.iter().zip(sums) {
            let sum = b.val("sum", sum.whole(job));
            b.set(greatest, Expr::Var(greatest).max(sum + turn.clone()));
        }
    });
    for (at, greatest) in greatest.into_iter().enumerate() {
        b.store(y, idx(at * shape.lanes), Expr::Var(greatest));
    }
    b.finish()
}

struct Nest<'a, S> {
    job: &'a Job<'a>,
    shape: Shape,
    y: Buf,
    finish: VectorFinish,
    family: S,
    /// The last block, if it is computed in place of those behind it.
    last: Option<usize>,
}

impl<S: Sums> Nest<'_, S> {
    /// A block, or the last in place of what is behind it.
    fn existing(&self, block: Expr) -> Expr {
        match self.last {
            Some(last) => block.min(idx(last)),
            None => block,
        }
    }

    /// The outputs `g * group ..`, of which there are `valid`.
    fn group(&self, b: &mut Builder, g: &Expr, group: usize, valid: usize) {
        let outputs = self.shape.outputs();
        let (whole, left) = (valid / outputs, valid % outputs);
        let prepare = |b: &mut Builder, slot: &Expr, valid: usize| {
            let block = self.existing(g.clone() * idx(group / outputs) + slot.clone());
            self.family.prepare(b, &block, slot, valid);
        };
        b.each("slot", whole, false, |b, slot| prepare(b, &slot, outputs));
        if left > 0 {
            prepare(b, &idx(whole), left);
        }
        let (rows, cols, edges) = match self.family.places() {
            Some((spans, edges)) => {
                let [rows, cols] = spans.map(|span| Vec::from_iter((span.count > 0).then_some(span)));
                (rows, cols, edges)
            }
            None => {
                let job = self.job;
                let [kh, kw] = job.kernel();
                let rows = Axis::new(0, job.x.h, kh, job.y.h, &job.geom, job.pool.as_ref()).spans();
                let cols = Axis::new(1, job.x.w, kw, job.y.w, &job.geom, job.pool.as_ref()).spans();
                (rows, cols, None)
            }
        };
        for row in &rows {
            for col in &cols {
                let sites = row.offsets.len() * col.offsets.len();
                // A map's left and right edges have neighbours only above and below.
                let down = sites < self.shape.together && col.count == 1;
                let (line, run) = if down { (col, row) } else { (row, col) };
                let wide = self.shape.wide(run.count, sites);
                let names = if down { ["col", "row"] } else { ["row", "col"] };
                b.each(names[0], line.count, false, |b, i| {
                    let tile = |b: &mut Builder, first: Expr, count: usize| {
                        let (i, j) = if down { (&first, &i) } else { (&i, &first) };
                        let at = Pixels::neighbours(b, [row, col], [i, j], count, down);
                        self.pixels(b, &at, g, group, valid);
                    };
                    b.each(names[1], run.count / wide, false, |b, j| tile(b, j * idx(wide), wide));
                    let left = run.count % wide;
                    if left > 0 {
                        tile(b, idx(run.count - left), left);
                    }
                });
            }
        }
        if let Some(edges) = edges {
            let pool = self.job.pool.map_or([1, 1], |p| p.size);
            let wide = self.shape.wide(edges.count, pool.iter().product());
            let tile = |b: &mut Builder, first: Expr, count: usize| {
                let at = Pixels::at_edges(b, edges, first, count, pool);
                self.pixels(b, &at, g, group, valid);
            };
            b.each("edge", edges.count / wide, false, |b, i| tile(b, i * idx(wide), wide));
            let left = edges.count % wide;
            if left > 0 {
                tile(b, idx(edges.count - left), left);
            }
        }
    }

    /// The tile of some output pixels.
    fn pixels(&self, b: &mut Builder, at: &Pixels, g: &Expr, group: usize, valid: usize) {
        let count = at.places.len();
        let bits: Vec<_> = match self.finish {
            VectorFinish::Threshold(_) => (0..count).map(|_| b.mutable("bits", int(0, Ty::U32))).collect(),
            _ => vec![],
        };
        let outputs = self.shape.outputs();
        let (whole, left) = (valid / outputs, valid % outputs);
        let block = |b: &mut Builder, slot: &Expr, valid: usize| {
            let index = b.val("block", g.clone() * idx(group / outputs) + slot.clone());
            let first = index.clone() * idx(outputs);
            let existing = match self.last {
                Some(_) => b.val("existing", self.existing(index.clone())),
                None => index,
            };
            for (t, sums) in self.outputs(b, at, &existing, slot, valid).into_iter().enumerate() {
                match &self.finish {
                    VectorFinish::Threshold(thresholds) => {
                        let word = match whole + left.min(1) {
                            1 => Expr::Var(bits[t]),
                            _ => Expr::Var(bits[t]) << int(outputs as i64, Ty::U32),
                        };
                        let masks = self.masks(b, sums, thresholds, first.clone());
                        b.set(bits[t], masks.into_iter().fold(word, |word, mask| word | mask));
                    }
                    finish => {
                        let sums = sums.into_iter().map(|s| b.val("sum", s.whole(self.job))).collect();
                        finish.store(
                            b,
                            self.job,
                            self.shape,
                            self.y,
                            sums,
                            first.clone(),
                            valid,
                            at.places[t].clone(),
                        );
                    }
                }
            }
        };
        // From the last on, so that a word of signs moves by a constant, which Arm's processors do on the way.
        if left > 0 {
            block(b, &idx(whole), left);
        }
        b.each("slot", whole, false, |b, slot| {
            let slot = match self.finish {
                VectorFinish::Threshold(_) if whole > 1 => b.val("from_last", idx(whole - 1) - slot),
                _ => slot,
            };
            block(b, &slot, outputs);
        });
        for ((row, col), bits) in at.places.iter().zip(bits) {
            let to = self.job.y.at(g.clone(), row.clone(), col.clone());
            b.store(self.y, to, Expr::Var(bits));
        }
    }

    /// Which sums reach the thresholds from `at` on: bits, each where it belongs among those of a block.
    fn masks(&self, b: &mut Builder, sums: Vec<Sum>, thresholds: &Thresholds, at: Expr) -> Vec<Expr> {
        let (lanes, ty) = (self.shape.lanes, self.shape.sums());
        let group = if self.job.simd.has(&format!("ge_mask4_{ty}")) {
            4
        } else {
            1
        };
        let mut reached = vec![];
        for (q, sum) in sums.into_iter().enumerate() {
            let load = |b: &mut Builder, table: Buf| b.load_n(table, at.clone() + idx(q * lanes), lanes, ty);
            reached.push(match sum {
                Sum::Whole(sum) => {
                    let table = thresholds.table(b);
                    sum.ge(load(b, table))
                }
                // The limit is the same for all pixels, the sum is not.
                Sum::Counted {
                    missing: Some(n),
                    wrong,
                    ..
                } if n % self.job.per_bit() == 0 => {
                    let table = thresholds.limits(b, self.job);
                    let limit = load(b, table);
                    let limit = match n {
                        0 => limit,
                        n => limit - splat(int(n / self.job.per_bit(), Ty::I32), ty),
                    };
                    b.val("limit", limit).ge(wrong)
                }
                Sum::Counted { live, wrong, .. } => {
                    let table = thresholds.table(b);
                    let limit = live - load(b, table);
                    let limit = match self.job.per_bit() {
                        1 => limit,
                        _ => Expr::Bin(BinOp::Shr, limit.into(), splat(int(1, Ty::I32), ty).into()),
                    };
                    b.val("limit", limit).ge(wrong)
                }
            });
        }
        let mut masks = vec![];
        let mut q = 0;
        while q < reached.len() {
            let n = if q + group <= reached.len() { group } else { 1 };
            let mask = match lanes {
                1 => reached[q].clone().cast(Ty::U32),
                _ => Expr::Vector(VecOp::Mask, reached[q..q + n].to_vec()),
            };
            masks.push(match q {
                0 => mask,
                q => mask << int((q * lanes) as i64, Ty::U32),
            });
            q += n;
        }
        masks
    }

    /// The sums of each output pixel, the greatest of its pooling window, vector by vector.
    fn outputs(&self, b: &mut Builder, at: &Pixels, block: &Expr, slot: &Expr, valid: usize) -> Vec<Vec<Sum>> {
        debug_assert!(self.job.geom.groups == 1);
        let mut sites = at.sites.clone();
        let same = |a: &Taps, b: &Taps| (a.first, a.count) == (b.first, b.count);
        let mut best: Vec<Option<Vec<Sum>>> = vec![None; at.places.len()];
        while let Some((_, [rows, cols], _)) = sites.first().cloned() {
            let (now, later): (Vec<_>, Vec<_>) = sites
                .into_iter()
                .partition(|(_, [r, c], _)| same(r, &rows) && same(c, &cols));
            sites = later;
            let tile: Vec<Site> = now.iter().map(|(.., s)| s.clone()).collect();
            let sums = match rows.count * cols.count {
                0 => {
                    let zero = Sum::Whole(splat(int(0, Ty::I32), self.shape.sums()));
                    vec![vec![zero; self.shape.vectors(valid)]; tile.len()]
                }
                _ => self.family.sums(
                    b,
                    &Tile {
                        sites: &tile,
                        hangs: at.hang,
                        rows,
                        cols,
                        block: block.clone(),
                        slot: slot.clone(),
                        valid,
                    },
                ),
            };
            for ((t, ..), sums) in now.iter().zip(sums) {
                best[*t] = Some(match best[*t].take() {
                    None => sums,
                    Some(before) => before
                        .into_iter()
                        .zip(sums)
                        .map(|(a, s)| self.greater(b, a, s))
                        .collect(),
                });
            }
        }
        best.into_iter().map(|s| s.expect("an output has a site")).collect()
    }

    fn greater(&self, b: &mut Builder, left: Sum, right: Sum) -> Sum {
        match (left, right) {
            (
                Sum::Counted {
                    live,
                    missing,
                    wrong: a,
                },
                Sum::Counted { live: other, wrong, .. },
            ) if live == other && self.job.simd.has(&format!("min_{}", self.shape.sums())) => {
                let wrong = b.val("wrong", a.min(wrong));
                Sum::Counted { live, missing, wrong }
            }
            (left, right) => Sum::Whole(b.val("sum", left.whole(self.job).max(right.whole(self.job)))),
        }
    }
}

/// Output pixels of a tile.
struct Pixels {
    /// Their rows and columns.
    places: Vec<(Expr, Expr)>,
    /// Where their sums are taken: the pixel, its taps on the map, and the site.
    sites: Vec<(usize, [Taps; 2], Site)>,
    /// Whether their windows may have taps off the map.
    hang: bool,
}

impl Pixels {
    /// So many neighbours in a row, or in a column, of spans; `i` and `j` of the first are counted from their starts.
    fn neighbours(b: &mut Builder, spans: [&Span; 2], [i, j]: [&Expr; 2], count: usize, down: bool) -> Pixels {
        let [row, col] = spans;
        let out_row = b.val("out_row", idx(row.start) + i.clone());
        let mut pixels = Pixels {
            places: vec![],
            sites: vec![],
            hang: false,
        };
        for t in 0..count {
            let out_col = idx(col.start) + j.clone();
            let (below, right) = if down { (t, 0) } else { (0, t) };
            pixels.places.push(match down {
                false => (out_row.clone(), out_col + idx(t)),
                true => (out_row.clone() + idx(t), out_col),
            });
            for rows in &row.offsets {
                for cols in &col.offsets {
                    let site = Site {
                        y: (i.clone() + idx(below)) * idx(row.step) + idx(rows.base),
                        x: (j.clone() + idx(right)) * idx(col.step) + idx(cols.base),
                        at: [below * row.step + rows.base, right * col.step + cols.base],
                    };
                    pixels.sites.push((t, [*rows, *cols], site));
                }
            }
        }
        pixels
    }

    /// So many of a map's edge from one on, whose sums are sites of their own.
    fn at_edges(b: &mut Builder, edges: &Places, first: Expr, count: usize, [ph, pw]: [usize; 2]) -> Pixels {
        let place = |t| edges.load(b, first.clone() + idx(t));
        let places: Vec<_> = (0..count).map(place).collect();
        let mut sites = vec![];
        for (t, (row, col)) in places.iter().enumerate() {
            for (dy, dx) in (0..ph).flat_map(|dy| (0..pw).map(move |dx| (dy, dx))) {
                let site = Site {
                    y: row.clone() * idx(ph) + idx(dy),
                    x: col.clone() * idx(pw) + idx(dx),
                    // No neighbours, as far as is known.
                    at: [t * ph + dy, dx],
                };
                sites.push((t, [Taps::ONE; 2], site));
            }
        }
        Pixels {
            places,
            sites,
            hang: true,
        }
    }
}

/// The epilogue with its tables; outputs beyond the last are padding.
enum VectorFinish {
    /// -1 wherever the tables' padding is.
    Threshold(Thresholds),
    /// `clamp((sum * mul + add) >> shift)` in 32 bits, which are enough; of the product the high half, if there is a left shift
    /// to come before.
    Requant {
        mul: Buf,
        add: Buf,
        high: Option<High>,
        shift: i64,
        ties: Option<Ties>,
        lo: i64,
        hi: i64,
        /// Where the last vector of a pixel goes, if it is not full.
        tail: Option<Buf>,
    },
    /// One output after the other; the sums of vectors from this buffer.
    Scalar(Finish, Option<Buf>),
}

/// Thresholds, in tables that are declared where they are needed.
struct Thresholds {
    /// Of every output and of the padding behind them.
    values: Vec<i64>,
    table: Cell<Option<Buf>>,
    limits: Cell<Option<Buf>>,
}

impl Thresholds {
    /// What a sum has to reach.
    fn table(&self, b: &mut Builder) -> Buf {
        self.declared(b, &self.table, "threshold", &mut |_, threshold| threshold)
    }

    /// How many bits may differ from the weights, of all taps.
    fn limits(&self, b: &mut Builder, job: &Job) -> Buf {
        let (_, codes) = job.packed_codes().expect("counted");
        let live: Vec<i64> = codes
            .chunks(job.taps())
            .map(|w| w.iter().filter(|w| **w != 0).count() as i64)
            .collect();
        // Outputs beyond the last have no weights.
        let left = |o: usize, threshold: i64| live.get(o).copied().unwrap_or(0) - threshold;
        let limit = &mut |o: usize, threshold: i64| left(o, threshold).div_euclid(job.per_bit());
        self.declared(b, &self.limits, "limits", limit)
    }

    fn declared(
        &self,
        b: &mut Builder,
        known: &Cell<Option<Buf>>,
        name: &str,
        value: &mut dyn FnMut(usize, i64) -> i64,
    ) -> Buf {
        known.get().unwrap_or_else(|| {
            let values = self.values.iter().enumerate().map(|(o, &t)| value(o, t));
            let table = b.constants(name, Ty::I32, ints(values, Ty::I32));
            known.set(Some(table));
            table
        })
    }
}

impl VectorFinish {
    fn declare(b: &mut Builder, job: &Job, shape: Shape, bound: i64) -> VectorFinish {
        let padded = shape.padded(job);
        // No sum is beyond, so it is the same for thresholds; and differences from them stay small.
        let never = bound + 1;
        let table = |values: &mut dyn Iterator<Item = i64>, rest: i64| {
            let mut all: Vec<i64> = values.collect();
            all.resize(padded, rest);
            ints(all, Ty::I32)
        };
        match job.epilogue {
            Epilogue::Threshold(t) => {
                let mut values: Vec<i64> = t.iter().map(|&v| i64::from(v).clamp(-never, never)).collect();
                values.resize(padded, never);
                VectorFinish::Threshold(Thresholds {
                    values,
                    table: Cell::default(),
                    limits: Cell::default(),
                })
            }
            Epilogue::Requant {
                mul,
                add,
                shift,
                ties,
                lo,
                hi,
            } if job.y.layout != Layout::Planar && stores(job, shape, *ties) => {
                let high = High::of(job).filter(|_| job.simd.has(&format!("high_{}", shape.sums())));
                let (addends, shift) = match &high {
                    Some(high) => (&high.add, high.right.into()),
                    None if narrow(mul, add, shift, *ties, bound) => (add, shift[0].into()),
                    None => return VectorFinish::scalar(b, job, shape, bound),
                };
                // One for all spans of the map.
                let part = !job.y.c.is_multiple_of(shape.lanes);
                let tail = |b: &mut Builder| b.param("tail", Ty::I32, shape.lanes, Role::Local, Ty::I32.range());
                let tail = part.then(|| tail(b));
                // Where nothing is, the verifier wants factors no greater than the others.
                VectorFinish::Requant {
                    mul: b.constants("mul", Ty::I32, table(&mut mul.iter().map(|&v| v.into()), mul[0].into())),
                    add: b.constants("add", Ty::I32, table(&mut addends.iter().copied(), addends[0])),
                    high,
                    shift,
                    ties: *ties,
                    lo: (*lo).into(),
                    hi: (*hi).into(),
                    tail,
                }
            }
            _ => VectorFinish::scalar(b, job, shape, bound),
        }
    }

    fn scalar(b: &mut Builder, job: &Job, shape: Shape, bound: i64) -> VectorFinish {
        let local = |b: &mut Builder| b.param("sums", Ty::I32, shape.outputs(), Role::Local, (-bound, bound));
        let sums = (shape.lanes > 1).then(|| local(b));
        VectorFinish::Scalar(Finish::declare(b, job), sums)
    }

    /// A vector of sums of the outputs from `at` on, scaled, before the last shift.
    fn scaled(&self, b: &mut Builder, shape: Shape, sum: Expr, at: &Expr) -> Expr {
        let VectorFinish::Requant {
            mul,
            add,
            high,
            shift,
            ties,
            ..
        } = self
        else {
            unreachable!("only these are scaled")
        };
        let ty = shape.sums();
        let [mul, add] = [mul, add].map(|t| b.load_n(*t, at.clone(), shape.lanes, ty));
        let scaled = match high {
            None => sum * mul + add,
            Some(high) => Expr::Vector(VecOp::High, vec![high.shifted(sum, ty), mul]) + add,
        };
        match ties {
            None => scaled,
            Some(ties) => nest::lifted(b, *ties, scaled, splat(int(*shift, Ty::I32), ty), (ty, ty)),
        }
    }

    /// Stores the outputs of one pixel from `first` on: those of the sums that are below `valid`.
    #[allow(clippy::too_many_arguments, reason = "one place in a nest has many coordinates")]
    fn store(
        &self,
        b: &mut Builder,
        job: &Job,
        shape: Shape,
        y: Buf,
        sums: Vec<Expr>,
        first: Expr,
        valid: usize,
        (row, col): (Expr, Expr),
    ) {
        match self {
            VectorFinish::Requant {
                shift, lo, hi, tail, ..
            } => {
                let ty = shape.sums();
                for (q, sum) in sums.into_iter().enumerate() {
                    let at = first.clone() + idx(q * shape.lanes);
                    let scaled = self.scaled(b, shape, sum, &at);
                    if (q + 1) * shape.lanes <= valid {
                        let shifted = Expr::Bin(BinOp::Shr, scaled.into(), splat(int(*shift, Ty::I32), ty).into());
                        let clamped = shifted
                            .max(splat(int(*lo, Ty::I32), ty))
                            .min(splat(int(*hi, Ty::I32), ty));
                        let narrow = clamped.cast(job.y.ty().times(shape.lanes as u8));
                        b.store(y, job.y.at(at, row.clone(), col.clone()), narrow);
                        continue;
                    }
                    // The last is not full: lane by lane.
                    let local = tail.expect("declared where a vector is not full");
                    b.store(local, idx(0), scaled);
                    b.each("o", valid - q * shape.lanes, false, |b, o| {
                        let scaled = b.load(local, o.clone()) >> int(*shift, Ty::I32);
                        let v = scaled.max(int(*lo, Ty::I32)).min(int(*hi, Ty::I32)).cast(job.y.ty());
                        b.store(y, job.y.at(at + o, row.clone(), col.clone()), v);
                    });
                }
            }
            VectorFinish::Scalar(finish, None) => {
                for (q, sum) in sums.into_iter().enumerate().take(valid) {
                    let o = first.clone() + idx(q);
                    let v = finish.apply(b, sum, o.clone());
                    b.store(y, job.y.at(o, row.clone(), col.clone()), v);
                }
            }
            VectorFinish::Scalar(finish, Some(local)) => {
                for (q, sum) in sums.into_iter().enumerate() {
                    b.store(*local, idx(q * shape.lanes), sum);
                }
                b.each("o", valid, false, |b, o| {
                    let sum = b.load(*local, o.clone());
                    let o = first.clone() + o;
                    let v = finish.apply(b, sum, o.clone());
                    b.store(y, job.y.at(o, row.clone(), col.clone()), v);
                });
            }
            VectorFinish::Threshold(_) => unreachable!("signs are packed"),
        }
    }
}

/// Whether 32 bits hold every intermediate number of a requantisation whose sums do not exceed `bound`, by one shift. The
/// factors' and addends' greatest are taken together, as the verifier's intervals do.
fn narrow(mul: &[i32], add: &[i64], shift: &[u8], ties: Option<Ties>, bound: i64) -> bool {
    let greatest = |v: &mut dyn Iterator<Item = i64>| v.map(i64::abs).max().unwrap_or(0);
    let product = greatest(&mut mul.iter().map(|&m| m.into())).checked_mul(bound);
    let addend = greatest(&mut add.iter().copied()).saturating_add(ties.map_or(0, |t| t.lift));
    let sum = product.and_then(|p| p.checked_add(addend));
    shift.iter().all(|&s| s == shift[0] && s < 32) && sum.is_some_and(|s| s <= i32::MAX.into())
}

/// Whether the target rounds sums as wanted, narrows them to outputs and stores them.
fn stores(job: &Job, shape: Shape, ties: Option<Ties>) -> bool {
    let (sums, narrow) = (shape.sums(), job.y.ty().times(shape.lanes as u8));
    let rounds = ties.is_none() || job.simd.has(&format!("and_{sums}"));
    rounds && job.simd.has(&format!("cast_{narrow}_{sums}")) && job.simd.has(&format!("store_{narrow}"))
}

/// The widest vectors of outputs whose operations, named after the number of lanes by `operations`, the target has.
pub fn widest(simd: &Simd, operations: impl Fn(usize) -> Vec<String>) -> Option<usize> {
    [16, 8, 4]
        .into_iter()
        .find(|&lanes| operations(lanes).iter().all(|o| simd.has(o)))
}
