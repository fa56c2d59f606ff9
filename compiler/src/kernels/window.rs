//! Which kernel taps fall on the map, resolved at compile time.
//!
//! Padding is exact without a third value and without a condition at run time: output rows whose windows hang over the edge by
//! the same taps form a span, and every span gets its own static loop.

use crate::ir::{Geometry, Window};

/// Taps of one convolution output along one axis that fall on the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First tap.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Coordinate that the first tap reads, for the span's first output.
    pub base: usize,
}

impl Taps {
    /// The only tap of an axis.
    pub const ONE: Taps = Taps {
        first: 0,
        count: 1,
        base: 0,
    };

    /// So many, all there are.
    pub fn all(count: usize) -> Taps {
        Taps { count, ..Taps::ONE }
    }
}

/// Neighbouring outputs along one axis that see the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First output.
    pub start: usize,
    /// How many.
    pub count: usize,
    /// One per offset in the pooling window.
    pub offsets: Vec<Taps>,
    /// Distance on the map between what neighbouring outputs read.
    pub step: usize,
}

/// One axis of a convolution with a pooling window fused to it.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Extent of the map.
    pub map: usize,
    /// Taps.
    pub kernel: usize,
    /// Distance between outputs.
    pub stride: usize,
    /// Zeros before the map.
    pub before: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Outputs after pooling.
    pub outputs: usize,
    /// Convolution outputs per pooled output.
    pub pool: usize,
}

impl Axis {
    /// Rows (0) or columns (1).
    pub fn new(axis: usize, map: usize, kernel: usize, outputs: usize, g: &Geometry, pool: Option<&Window>) -> Self {
        Axis {
            map,
            kernel,
            stride: g.stride[axis],
            before: g.pads[axis],
            dilation: g.dilation[axis],
            outputs,
            pool: pool.map_or(1, |p| p.size[axis]),
        }
    }

    fn taps(&self, position: usize) -> Taps {
        let coordinate = |tap: usize| (position * self.stride + tap * self.dilation).checked_sub(self.before);
        let mut valid = (0..self.kernel).filter_map(|t| coordinate(t).filter(|&at| at < self.map).map(|at| (t, at)));
        match valid.next() {
            Some((first, base)) => Taps {
                first,
                count: 1 + valid.count(),
                base,
            },
            None => Taps {
                first: 0,
                count: 0,
                base: 0,
            },
        }
    }

    /// The outputs in spans, in order.
    pub fn spans(&self) -> Vec<Span> {
        let step = self.pool * self.stride;
        let mut spans: Vec<Span> = vec![];
        for output in 0..self.outputs {
            let offsets: Vec<Taps> = (0..self.pool).map(|d| self.taps(output * self.pool + d)).collect();
            match spans.last_mut() {
                Some(s) if same(&s.offsets, &offsets) => s.count += 1,
                _ => spans.push(Span {
                    start: output,
                    count: 1,
                    offsets,
                    step,
                }),
            }
        }
        spans
    }
}

/// Whether two outputs see the same taps, wherever on the map.
fn same(a: &[Taps], b: &[Taps]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a.first, a.count) == (b.first, b.count))
}

impl Span {
    /// So many outputs from one on that pool sums of a single tap each, side by side.
    pub fn of_sums(start: usize, count: usize, pool: usize) -> Span {
        let tap = |d: usize| Taps {
            base: start * pool + d,
            ..Taps::ONE
        };
        Span {
            start,
            count,
            offsets: (0..pool).map(tap).collect(),
            step: pool,
        }
    }

    /// Whether the offsets differ only by where they read, so that a loop can run over them.
    pub fn uniform(&self) -> bool {
        self.offsets
            .iter()
            .all(|t| same(std::slice::from_ref(t), &self.offsets[..1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(map: usize, kernel: usize, before: usize, outputs: usize, pool: usize) -> Axis {
        Axis {
            map,
            kernel,
            stride: 1,
            before,
            dilation: 1,
            outputs,
            pool,
        }
    }

    #[test]
    fn without_padding_there_is_one_span() {
        let spans = axis(28, 5, 0, 12, 2).spans();
        assert_eq!(spans.len(), 1);
        assert!(spans[0].uniform());
        assert_eq!(
            spans[0].offsets,
            [
                Taps {
                    first: 0,
                    count: 5,
                    base: 0
                },
                Taps {
                    first: 0,
                    count: 5,
                    base: 1
                }
            ]
        );
    }

    #[test]
    fn padding_makes_the_edges_spans_of_their_own() {
        let spans = axis(8, 3, 1, 8, 1).spans();
        let seen: Vec<_> = spans.iter().map(|s| (s.start, s.count, s.offsets[0])).collect();
        assert_eq!(
            seen,
            [
                (
                    0,
                    1,
                    Taps {
                        first: 1,
                        count: 2,
                        base: 0
                    }
                ),
                (
                    1,
                    6,
                    Taps {
                        first: 0,
                        count: 3,
                        base: 0
                    }
                ),
                (
                    7,
                    1,
                    Taps {
                        first: 0,
                        count: 2,
                        base: 6
                    }
                ),
            ]
        );
    }

    #[test]
    fn pooled_edges_are_not_uniform() {
        let spans = axis(8, 3, 1, 4, 2).spans();
        assert_eq!(
            spans.iter().map(|s| s.uniform()).collect::<Vec<_>>(),
            [false, true, false]
        );
    }
}
