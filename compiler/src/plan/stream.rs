//! Which layers are computed row by row, and in what order.
//!
//! A row of a map is made when the next layer needs it, so that of a map between two such layers only the rows of one window are
//! kept. Once the buffer is full, the rows that are still of use move to its front: for a 3x3 kernel two rows are copied for
//! each row of its result, a load and a store beside nine products for every output channel. Nothing is computed twice.

use super::job::{self, Band};
use super::{bytes, last_use};
use crate::ir::{Graph, NodeId, Op};
use crate::kernels::Layout;
use std::ops::Range;

/// Which rows of its operand each row of a node's result takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Distance on the operand between what neighbouring rows take.
    step: usize,
    /// How many each takes, padding included.
    size: usize,
    /// Rows of padding above the operand.
    before: usize,
    /// Rows of the operand.
    operands: usize,
    /// Rows of the result.
    pub results: usize,
}

impl Rows {
    /// Of a node that can be computed row by row, wherever its operand and its result lie.
    pub fn of(g: &Graph, id: NodeId) -> Option<Rows> {
        let height = |id: NodeId| g.node(id).ty.chw()[1];
        let operand = *g.operands(id).first()?;
        let (step, size, before) = match &g.node(id).op {
            Op::Linear {
                weights, geom, pool, ..
            } => {
                let (pool, apart) = pool.map_or((1, 1), |p| (p.size[0], p.stride[0]));
                let kernel = (weights.shape[2] - 1) * geom.dilation[0] + 1;
                (
                    apart * geom.stride[0],
                    (pool - 1) * geom.stride[0] + kernel,
                    geom.pads[0],
                )
            }
            Op::MaxPool(w) => (w.stride[0], w.size[0], w.pads[0]),
            _ => return None,
        };
        let rows = Rows {
            step,
            size,
            before,
            operands: height(operand),
            results: height(id),
        };
        // Of a whole map there is no part, and a row from padding alone is a kernel without operand.
        let sound = rows.results > 1 && (0..rows.results).all(|row| !rows.window(row).is_empty());
        sound.then_some(rows)
    }

    /// Rows of the operand that row `row` of the result takes.
    pub fn window(&self, row: usize) -> Range<usize> {
        let start = row * self.step;
        let end = (start + self.size).saturating_sub(self.before).min(self.operands);
        start.saturating_sub(self.before).min(end)..end
    }

    /// The part of the node that makes row `row`.
    pub fn band(&self, row: usize) -> Band {
        let window = self.window(row);
        let above = self.before.saturating_sub(row * self.step);
        Band {
            rows: window.len(),
            pads: [above, self.size - above - window.len()],
        }
    }

    /// The most that a row takes.
    pub fn most(&self) -> usize {
        (0..self.results).map(|row| self.window(row).len()).max().unwrap_or(0)
    }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A layer makes a row of its result.
    Row {
        /// Number of the layer.
        layer: usize,
        /// The first row that it takes, counted in what is kept of its operand.
        from: usize,
        /// Number of the row.
        row: usize,
        /// Where it goes, counted likewise.
        to: usize,
    },
    /// What is kept of a map moves to the front of its buffer.
    Keep {
        /// Number of the map: the result of the layer before the one of this number.
        map: usize,
        /// How much.
        keep: Keep,
    },
}

/// How far rows move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Rows in front of those that stay.
    pub drop: usize,
    /// Rows that stay.
    pub rows: usize,
}

/// The order of everything that layers with these rows do.
pub fn schedule(layers: &[Rows]) -> Vec<Event> {
    let mut s = Schedule {
        layers,
        kept: vec![0..0; layers.len()],
        events: vec![],
    };
    s.kept[0] = 0..layers[0].operands;
    let last = layers.len() - 1;
    for row in 0..layers[last].results {
        s.make(last, row, row);
    }
    s.events
}

struct Schedule<'a> {
    layers: &'a [Rows],
    /// Of each layer's operand, the rows that are kept.
    kept: Vec<Range<usize>>,
    events: Vec<Event>,
}

impl Schedule<'_> {
    fn make(&mut self, layer: usize, row: usize, to: usize) {
        let window = self.layers[layer].window(row);
        if layer > 0 {
            self.need(layer, &window);
        }
        self.events.push(Event::Row {
            layer,
            from: window.start - self.kept[layer].start,
            row,
            to,
        });
    }

    /// Makes what is not there yet of the rows that a layer is about to take.
    fn need(&mut self, map: usize, window: &Range<usize>) {
        if self.kept[map].end <= window.start {
            // Rows between windows are not made.
            self.kept[map] = window.start..window.start;
        }
        while self.kept[map].end < window.end {
            let kept = self.kept[map].clone();
            if kept.len() == self.layers[map].most() {
                let keep = Keep {
                    drop: window.start - kept.start,
                    rows: kept.end - window.start,
                };
                self.kept[map].start = window.start;
                self.events.push(Event::Keep { map, keep });
            }
            let to = self.kept[map].len();
            self.make(map - 1, kept.end, to);
            self.kept[map].end += 1;
        }
    }
}

/// Bytes of `id`'s result that are kept for `user`.
pub fn kept(g: &Graph, id: NodeId, user: NodeId) -> u64 {
    let view = job::view(g, id);
    let most = Rows::of(g, user).map_or(view.h, |rows| rows.most());
    (most * view.row()) as u64 * u64::from(view.ty().bytes())
}

/// Parts `nodes` into steps so that as few bytes as can be are in use at a time, and of such ways the one with the fewest layers
/// row by row. `scratch` is what each node's kernel takes by itself when it computes the whole map.
pub fn groups(g: &Graph, nodes: &[NodeId], scratch: &[u64]) -> Vec<Range<usize>> {
    let last: Vec<usize> = nodes.iter().map(|&id| last_use(g, nodes, id)).collect();
    let held: Vec<u64> = nodes
        .iter()
        .map(|&id| if caller_holds(g, id) { 0 } else { bytes(g, id) })
        .collect();
    // Of the first so many nodes: the bytes, the layers row by row, and where the last step begins.
    let mut best: Vec<(u64, usize, usize)> = vec![(0, 0, 0)];
    for end in 1..=nodes.len() {
        let mut found: Option<(u64, usize, usize)> = None;
        for start in (0..end).rev() {
            let whole = end - start == 1;
            if !whole && !goes_by_rows(g, &nodes[start..end]) {
                break;
            }
            let before: u64 = (0..start).filter(|&m| last[m] >= start).map(|m| held[m]).sum();
            let own = match whole {
                true => scratch[start],
                false => (start + 1..end).map(|i| kept(g, nodes[i - 1], nodes[i])).sum(),
            };
            let (peak, layers, _) = best[start];
            let layers = layers + if whole { 0 } else { end - start };
            let candidate = (peak.max(before + own + held[end - 1]), layers, start);
            if found.is_none_or(|f| (candidate.0, candidate.1) < (f.0, f.1)) {
                found = Some(candidate);
            }
        }
        best.push(found.expect("a node is a step"));
    }
    let mut groups = vec![];
    let mut end = nodes.len();
    while end > 0 {
        let start = best[end].2;
        groups.push(start..end);
        end = start;
    }
    groups.reverse();
    groups
}

pub fn caller_holds(g: &Graph, id: NodeId) -> bool {
    g.users(id).iter().any(|&user| g.node(user).op == Op::Output)
}

/// Whether each of the nodes reads the one before, row by row, and nobody else does.
fn goes_by_rows(g: &Graph, nodes: &[NodeId]) -> bool {
    let by_rows = |&id: &NodeId| Rows::of(g, id).is_some() && job::view(g, id).layout != Layout::Planar;
    let chained = |pair: &[NodeId]| {
        let whole = job::view(g, pair[0]).h;
        g.users(pair[0]) == [pair[1]] && Rows::of(g, pair[1]).is_some_and(|rows| rows.most() < whole)
    };
    nodes.iter().all(by_rows) && nodes.windows(2).all(chained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(step: usize, size: usize, before: usize, operands: usize, results: usize) -> Rows {
        Rows {
            step,
            size,
            before,
            operands,
            results,
        }
    }

    #[test]
    fn padding_belongs_to_the_rows_at_the_edges() {
        let r = rows(1, 3, 1, 8, 8);
        let band = |rows, pads| Band { rows, pads };
        assert_eq!((r.window(0), r.band(0)), (0..2, band(2, [1, 0])));
        assert_eq!((r.window(3), r.band(3)), (2..5, band(3, [0, 0])));
        assert_eq!((r.window(7), r.band(7)), (6..8, band(2, [0, 1])));
        // A kernel of 3 under a pool of 2, and a map that is smaller than the window.
        let r = rows(2, 4, 1, 2, 1);
        assert_eq!((r.window(0), r.band(0)), (0..2, band(2, [1, 1])));
    }

    #[test]
    fn a_row_is_made_when_it_is_needed() {
        // A layer of 1x1 before one of 3x3, on a map of 4 rows.
        let events = schedule(&[rows(1, 1, 0, 4, 4), rows(1, 3, 0, 4, 2)]);
        let row = |layer, from, row, to| Event::Row { layer, from, row, to };
        assert_eq!(
            events,
            [
                row(0, 0, 0, 0),
                row(0, 1, 1, 1),
                row(0, 2, 2, 2),
                row(1, 0, 0, 0),
                Event::Keep {
                    map: 1,
                    keep: Keep { drop: 1, rows: 2 }
                },
                row(0, 3, 3, 2),
                row(1, 0, 1, 1),
            ]
        );
    }

    #[test]
    fn rows_that_nothing_takes_are_not_made() {
        // 1x1 at every third row.
        let events = schedule(&[rows(1, 1, 0, 7, 7), rows(3, 1, 0, 7, 3)]);
        let made: Vec<usize> = events
            .iter()
            .filter_map(|e| match e {
                Event::Row { layer: 0, row, .. } => Some(*row),
                _ => None,
            })
            .collect();
        assert_eq!(made, [0, 3, 6]);
    }
}
