//! What happens to the sum of one output channel on its way to the quantizer.

use crate::ir::exact::{Edge, Line, Norm, Q, Quantum, Surd, TwoRoots, rational};
use num_traits::Zero;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// A line, cut off below and above by rectifiers and clips.
#[derive(Clone, Debug)]
pub(super) struct Function {
    line: Line,
    floor: Option<Surd>,
    ceiling: Option<Surd>,
}

impl Function {
    /// `sum * slope + offset`.
    pub fn new(slope: Q, offset: Q) -> Self {
        Function {
            line: Line::new(slope, offset),
            floor: None,
            ceiling: None,
        }
    }

    /// Puts `y -> y * mul + add` behind it.
    pub fn affine(&mut self, mul: &Q, add: &Q) {
        self.line.affine(mul, add);
        for bound in [&mut self.floor, &mut self.ceiling].into_iter().flatten() {
            bound.affine(mul, add);
        }
        if *mul < Q::zero() {
            std::mem::swap(&mut self.floor, &mut self.ceiling);
        }
    }

    /// Puts a batch normalisation behind it.
    pub fn batch_norm(&mut self, n: &Norm) -> Result<(), TwoRoots> {
        self.line.batch_norm(n)?;
        for bound in [&mut self.floor, &mut self.ceiling].into_iter().flatten() {
            bound.batch_norm(n)?;
        }
        if n.gain < Q::zero() {
            std::mem::swap(&mut self.floor, &mut self.ceiling);
        }
        Ok(())
    }

    /// Puts `y -> max(y, lo)` behind it.
    pub fn raise(&mut self, lo: &Q) {
        let below = |bound: &Surd| bound.compare(lo) == Ordering::Less;
        if self.floor.as_ref().is_none_or(below) {
            self.floor = Some(lo.clone().into());
        }
        if self.ceiling.as_ref().is_some_and(below) {
            self.ceiling = Some(lo.clone().into());
        }
    }

    /// Puts `y -> min(y, hi)` behind it.
    pub fn lower(&mut self, hi: &Q) {
        let above = |bound: &Surd| bound.compare(hi) == Ordering::Greater;
        if self.ceiling.as_ref().is_none_or(above) {
            self.ceiling = Some(hi.clone().into());
        }
        if self.floor.as_ref().is_some_and(above) {
            self.floor = Some(hi.clone().into());
        }
    }

    /// Puts a clip to `lo..=hi` behind it.
    pub fn clip(&mut self, lo: f32, hi: f32) {
        self.raise(&rational(lo));
        self.lower(&rational(hi));
    }

    /// The line, where nothing cuts it.
    pub fn line(&self) -> Option<&Line> {
        (self.floor.is_none() && self.ceiling.is_none()).then_some(&self.line)
    }

    /// Whether it falls anywhere. Then it falls everywhere.
    pub fn falls(&self) -> bool {
        self.line.direction() == Ordering::Less
    }

    /// Puts `sum -> -sum` before it.
    pub fn mirror(&mut self) {
        self.line.mirror();
    }

    /// Least sum in `first..=last` where a function that does not fall reaches an edge; `last + 1` if there is none.
    pub fn reaches(&self, edge: &Edge, first: i64, last: i64) -> i64 {
        if self.floor.as_ref().is_some_and(|f| edge.reached_by(f)) {
            return first;
        }
        if self.ceiling.as_ref().is_some_and(|c| !edge.reached_by(c)) {
            return last + 1;
        }
        match self.line.direction() {
            Ordering::Greater => self.line.reaches(&self.line.estimate(), edge, first, last),
            _ if edge.reached_by(self.line.offset()) => first,
            _ => last + 1,
        }
    }

    /// For each `k` of a range, the least sum in `first..=last` whose value, in units of `step`, rounds to `k` or more;
    /// `last + 1` where there is none.
    pub fn rounds_to(&self, range: RangeInclusive<i64>, step: &Quantum, first: i64, last: i64) -> Vec<i64> {
        let (below, above) = (*range.start() - 1, *range.end());
        let quantized = |bound: &Option<Surd>| bound.as_ref().map(|b| b.quantize(step, below, above));
        let (floor, ceiling) = (quantized(&self.floor), quantized(&self.ceiling));
        if self.line.direction() != Ordering::Greater {
            let level = self.line.offset().quantize(step, below, above);
            let level = level.max(floor.unwrap_or(level)).min(ceiling.unwrap_or(above));
            return range.map(|k| if k <= level { first } else { last + 1 }).collect();
        }
        let near = self.line.estimate();
        let edge = |k: i64| match (floor, ceiling) {
            (Some(floor), _) if k <= floor => first,
            (_, Some(ceiling)) if k > ceiling => last + 1,
            _ => self.line.reaches(&near, &step.rounding_edge(k), first, last),
        };
        range.map(edge).collect()
    }

    /// Rise per unit of the sum.
    pub fn rise(&self) -> Surd {
        self.line.rise()
    }

    /// Value at sum 0, before the cuts.
    pub fn offset(&self) -> &Surd {
        self.line.offset()
    }

    /// Where it is cut off: below, above.
    pub fn cuts(&self) -> (Option<&Surd>, Option<&Surd>) {
        (self.floor.as_ref(), self.ceiling.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::exact::integer;

    fn q(n: i64) -> Q {
        integer(n)
    }

    #[test]
    fn a_rectifier_behind_a_falling_step_cuts_above() {
        // max(x - 2, 0) * -1 + 3: at most 3, falls from sum 2.
        let mut f = Function::new(q(1), q(-2));
        f.raise(&q(0));
        f.affine(&q(-1), &q(3));
        assert!(f.falls());
        f.mirror();
        // Sum -3 gives 2, sum -2 and above 3; in units of 2, 3 is a tie that goes to 2.
        let two = Quantum::from(2.0);
        assert_eq!(f.rounds_to(-1..=3, &two, -10, 10), [-7, -6, -3, -2, 11]);
        assert_eq!(f.reaches(&two.zero(), -10, 10), -5);
    }

    #[test]
    fn a_clipped_round_has_two_edges() {
        // round(clip(sum / 4, -1, 1)): the ties at -2 and 2 go to 0.
        let mut f = Function::new(q(1), q(0));
        f.affine(&(q(1) / q(4)), &q(0));
        f.raise(&q(-1));
        f.lower(&q(1));
        let one = Quantum::from(1.0);
        assert_eq!(f.rounds_to(-1..=2, &one, -9, 9), [-9, -2, 3, 10]);
        // A floor above the ceiling that follows is the ceiling.
        f.raise(&q(3));
        f.lower(&q(2));
        assert_eq!(f.rounds_to(2..=3, &one, -9, 9), [-9, 10]);
    }

    #[test]
    fn rounding_ties_go_to_even() {
        let f = Function::new(q(1), q(0));
        // sum / 2: 1 -> 0.5 -> 0, 2 -> 1, 3 -> 1.5 -> 2.
        assert_eq!(f.rounds_to(1..=2, &Quantum::from(2.0), -9, 9), [2, 3]);
    }
}
