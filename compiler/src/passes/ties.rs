//! Addends that round a staircase exactly, ties included.
//!
//! A staircase `(n + add) >> shift` has an edge at `k` where it should iff the number `n` of the first place that must give `k` or more and
//! the one of the last that must not are on either side of `k << shift`: each bounds `add` from one side. Ties go to the even
//! result, so that edges of one parity take them in and those of the other do not. Where no addend suits both, [`Ties`] lifts what would
//! give a result of the other parity by the same for all channels: edges of even results see `add + lift`, those of odd ones `add`.
//!
//! That is enough. Take a place that must give an even `r`. By the edges at `r` and `r + 1`, `n + add + lift` is at least `r << shift`, and
//! `n + add` below `(r + 1) << shift`. Unlifted that is `r` or, as the lift is one step at most, `r - 1`; this is odd, so it is lifted, to
//! `r` and not beyond. Where it must give an odd `r`, `n + add` is at least `r << shift`, and `n + add + lift` below `(r + 1) << shift`: it
//! gives `r` either way.

use crate::ir::Ties;

/// Least and greatest addend that edges allow, by the parity of their results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides([(i128, i128); 2]);

impl Sides {
    /// What no edge has bounded.
    pub const OPEN: Sides = Sides([(i128::MIN, i128::MAX); 2]);

    fn of(&mut self, k: i64) -> &mut (i128, i128) {
        &mut self.0[usize::from(k % 2 != 0)]
    }

    /// `n` must give `k` or more; `one` is a step.
    pub fn reach(&mut self, k: i64, n: i128, one: i128) {
        let side = self.of(k);
        side.0 = side.0.max(i128::from(k) * one - n);
    }

    /// `n` must give less than `k`.
    pub fn stay(&mut self, k: i64, n: i128, one: i128) {
        let side = self.of(k);
        side.1 = side.1.min(i128::from(k) * one - n - 1);
    }

    /// What suits edges of both parities, if the first is no greater than the second.
    pub fn both(&self) -> (i128, i128) {
        let [even, odd] = self.0;
        (even.0.max(odd.0), even.1.min(odd.1))
    }

    /// Whether there is an addend for each parity.
    pub fn are_open(&self) -> bool {
        self.0.iter().all(|(least, greatest)| least <= greatest)
    }

    /// The bounds of `add`, and those of it with the lift, for results whose parity is `zero`'s.
    fn apart(&self, zero: i64) -> [(i128, i128); 2] {
        match zero % 2 {
            0 => [self.0[1], self.0[0]],
            _ => self.0,
        }
    }
}

/// The lift that all channels can do with; `zero` is the quantizer's zero point. Each channel's sides are open.
pub(super) fn common<'a>(all: impl Iterator<Item = &'a Sides>, zero: i64, shift: u32) -> Option<Ties> {
    let (mut least, mut greatest) = (0, 1i128 << shift);
    for sides in all {
        let [plain, lifted] = sides.apart(zero);
        least = least.max(lifted.0.saturating_sub(plain.1));
        greatest = greatest.min(lifted.1.saturating_sub(plain.0));
    }
    (least <= greatest).then(|| Ties {
        lift: (least + (greatest - least) / 2) as i64,
        parity: 1 - (zero % 2).abs(),
    })
}

/// A bound moved down by `lift`, if there is one.
fn lowered(bound: i128, lift: i128) -> i128 {
    match bound {
        i128::MIN | i128::MAX => bound,
        n => n - lift,
    }
}

/// A channel's addend for a lift that it can do with; `any` if all do.
pub(super) fn add(sides: &Sides, ties: Ties, any: i128) -> Option<i128> {
    let [plain, lifted] = sides.apart(1 - ties.parity);
    let lift = i128::from(ties.lift);
    let least = plain.0.max(lowered(lifted.0, lift));
    let greatest = plain.1.min(lowered(lifted.1, lift));
    (least <= greatest).then(|| middle((least, greatest), any))
}

/// The middle of what bounds leave; `any` if that is everything.
pub(super) fn middle(bounds: (i128, i128), any: i128) -> i128 {
    match bounds {
        (i128::MIN, i128::MAX) => any,
        (i128::MIN, greatest) => greatest,
        (least, i128::MAX) => least,
        (least, greatest) => least + (greatest - least) / 2,
    }
}
