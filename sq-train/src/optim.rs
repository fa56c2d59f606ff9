//! Optimizers and the schedules of what changes while training.

use anyhow::{Result, ensure};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How gradients become steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Adam (Kingma, Ba, arXiv 1412.6980).
    Adam,
    /// Stochastic gradient descent.
    Sgd {
        /// Share of the last step that goes into the next.
        momentum: f64,
    },
}

impl Optimizer {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// A momentum that is not a share.
    pub fn check(&self) -> Result<()> {
        if let Optimizer::Sgd { momentum } = self {
            ensure!(
                (0.0..1.0).contains(momentum),
                "momentum {momentum} is not in 0..1: from 1 on steps never fade"
            );
        }
        Ok(())
    }

    /// A fresh optimizer. Weight decay is the quantizers' business, so that it touches weights alone and not scales, shapes or
    /// normalisations.
    pub fn init(self) -> ModuleOptimizer {
        match self {
            Optimizer::Adam => AdamConfig::new().init(),
            Optimizer::Sgd { momentum } => {
                let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
                SgdConfig::new().with_momentum(Some(momentum)).init()
            }
        }
    }
}

/// The learning rate's course after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It stays.
    Constant,
    /// It falls to 0 along half a cosine (Loshchilov, Hutter, arXiv 1608.03983).
    Cosine,
    /// It is multiplied by `factor` after each of these shares of the run.
    Step {
        /// Shares of the run, rising.
        at: Vec<f64>,
        /// Factor.
        factor: f64,
    },
}

/// The learning rate's whole course.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Rate after the warm-up.
    pub rate: f64,
    /// Epochs in which the rate rises linearly from 0.
    pub warm_up: f64,
    /// What follows.
    pub decay: Decay,
}

impl Schedule {
    /// Rate of step `step` of `steps`, of which `per_epoch` make an epoch.
    pub fn at(&self, step: usize, steps: usize, per_epoch: usize) -> f64 {
        let warm = self.warm_up * per_epoch as f64;
        let step = step as f64;
        if step < warm {
            return self.rate * (step + 1.0) / (warm + 1.0);
        }
        let progress = (step - warm) / (steps as f64 - warm).max(1.0);
        self.rate
            * match &self.decay {
                Decay::Constant => 1.0,
                Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
                Decay::Step { at, factor } => factor.powi(at.iter().filter(|&&at| progress >= at).count() as i32),
            }
    }

    /// Refuses a course that makes no sense.
    ///
    /// # Errors
    /// A rate, warm-up, step or factor out of its range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.rate > 0.0 && self.rate.is_finite(),
            "learning rate {} is not positive",
            self.rate
        );
        ensure!(
            self.warm_up >= 0.0 && self.warm_up.is_finite(),
            "{} epochs of warm-up: give 0 or a number of epochs",
            self.warm_up
        );
        if let Decay::Step { at, factor } = &self.decay {
            ensure!(
                *factor > 0.0 && factor.is_finite(),
                "step factor {factor} is not a positive number"
            );
            ensure!(
                at.is_sorted() && at.iter().all(|at| (0.0..=1.0).contains(at)),
                "steps {at:?} are not rising shares of the run between 0 and 1"
            );
        }
        Ok(())
    }
}

/// The course of `lambda` and `gamma` up to the frozen epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ramp {
    /// The full value from the start.
    Constant,
    /// From 0 to the full value in a straight line.
    Linear,
    /// From 0 to the full value along half a cosine.
    Cosine,
}

impl Ramp {
    /// Share of the full value at this share of the way, which may exceed 1.
    pub fn at(self, progress: f64) -> f32 {
        let progress = progress.clamp(0.0, 1.0);
        (match self {
            Ramp::Constant => 1.0,
            Ramp::Linear => progress,
            Ramp::Cosine => 0.5 * (1.0 - (PI * progress).cos()),
        }) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(warm_up: f64, decay: Decay) -> Schedule {
        Schedule {
            rate: 2.0,
            warm_up,
            decay,
        }
    }

    #[test]
    fn rates_rise_and_fall_as_named() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let cosine = schedule(1.0, Decay::Cosine);
        close(cosine.at(0, 110, 10), 2.0 / 11.0);
        close(cosine.at(9, 110, 10), 20.0 / 11.0);
        close(cosine.at(10, 110, 10), 2.0);
        close(cosine.at(60, 110, 10), 1.0);
        close(cosine.at(110, 110, 10), 0.0);
        let step = schedule(
            0.0,
            Decay::Step {
                at: vec![0.5, 0.75],
                factor: 0.1,
            },
        );
        close(step.at(49, 100, 10), 2.0);
        close(step.at(50, 100, 10), 0.2);
        close(step.at(75, 100, 10), 0.02);
        close(schedule(0.0, Decay::Constant).at(99, 100, 10), 2.0);
    }

    #[test]
    fn ramps_reach_the_full_value() {
        for ramp in [Ramp::Constant, Ramp::Linear, Ramp::Cosine] {
            assert!((ramp.at(1.0) - 1.0).abs() < 1e-6 && (ramp.at(1.5) - 1.0).abs() < 1e-6);
        }
        assert_eq!(
            (Ramp::Constant.at(0.0), Ramp::Linear.at(0.25), Ramp::Cosine.at(0.0)),
            (1.0, 0.25, 0.0)
        );
        assert!((Ramp::Cosine.at(0.5) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn senseless_courses_are_refused() {
        assert!(schedule(-1.0, Decay::Cosine).check().is_err());
        assert!(schedule(f64::INFINITY, Decay::Cosine).check().is_err());
        for momentum in [-0.1, 1.0, 50.0, f64::NAN] {
            assert!(Optimizer::Sgd { momentum }.check().is_err(), "{momentum}");
        }
        assert!(Optimizer::Sgd { momentum: 0.9 }.check().is_ok());
        assert!(
            schedule(
                0.0,
                Decay::Step {
                    at: vec![0.7, 0.5],
                    factor: 0.1
                }
            )
            .check()
            .is_err()
        );
        assert!(
            Schedule {
                rate: f64::NAN,
                ..schedule(0.0, Decay::Cosine)
            }
            .check()
            .is_err()
        );
        assert!(schedule(0.5, Decay::Cosine).check().is_ok());
    }
}
