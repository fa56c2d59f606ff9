//! Time on this machine: what rounds of many calls took.

use crate::diag::Result;
use crate::run::Built;
use serde::Serialize;

/// Rounds that a figure is taken from; each lasts at least as long as the harness says (5 ms), so that the clock's steps and a
/// call's place in a round count for nothing.
const ROUNDS: u32 = 25;

/// Microseconds of one inference: the median of the rounds, and the middle half of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// The median round's.
    pub median: f64,
    /// A quarter of the rounds took less.
    pub low: f64,
    /// A quarter of the rounds took more.
    pub high: f64,
    /// Number of rounds.
    pub rounds: u32,
}

/// Times `built` on a sample.
///
/// # Errors
/// As for [`Built::time`].
pub fn time(built: &Built, sample: &[u8]) -> Result<Time> {
    Ok(Time::of(built.time(sample, ROUNDS)?))
}

impl Time {
    /// Of rounds in nanoseconds a call; there is at least one.
    fn of(mut rounds: Vec<f64>) -> Time {
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| rounds[((rounds.len() - 1) as f64 * share).round() as usize] / 1000.0;
        Time {
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
            rounds: rounds.len() as u32,
        }
    }

    /// Half the distance between the quarters, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_round_does_not_count() {
        let time = Time::of(vec![4000.0, 1000.0, 2000.0, 3000.0, 90000.0]);
        assert_eq!((time.low, time.median, time.high, time.rounds), (2.0, 3.0, 4.0, 5));
        assert!((time.spread() - 1.0 / 3.0).abs() < 1e-9);
    }
}
