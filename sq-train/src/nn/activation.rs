//! Activations: ReLU, ReLU in int8 steps, ternary, sign.

use crate::network::Function;
use crate::ops::{self, Estimator, INT8_TOP, Levels};
use crate::quant::clamp;
use anyhow::{Result, ensure};
use burn::module::{Module, Param, RunningState};
use burn::tensor::{Device, Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Weight of the newest batch in the running range of int8 activations: an average over some hundred batches, so that one
/// outlier does not widen the steps.
const RANGE_MOMENTUM: f32 = 0.01;

/// Least value of the highest int8 level.
const TOP_MIN: f32 = 1e-3;

/// What activations a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ActivationKind {
    /// ReLU in f32.
    Float,
    /// ReLU in 128 levels: int8 with zero point 0.
    Int8,
    /// -1, 0 and 1.
    Ternary,
    /// Sign: +1 where `x >= 0`, else -1.
    Binary,
}

impl fmt::Display for ActivationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ActivationKind::Float => "float",
            ActivationKind::Int8 => "int8",
            ActivationKind::Ternary => "ternary",
            ActivationKind::Binary => "binary",
        })
    }
}

/// Where the range of int8 activations comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// From the gradient, beginning with the greatest value of the first batch (PACT, arXiv 1805.06085).
    Learned,
    /// A running average of the batches' greatest values.
    Average,
}

/// Activations of a whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationConfig {
    /// Which.
    pub kind: ActivationKind,
    /// Where the range comes from, where int8.
    pub range: Range,
    /// Straight-through estimator, where binary.
    pub estimator: Estimator,
}

impl ActivationConfig {
    /// Activations of this kind with the settings that the command line has by default.
    pub fn new(kind: ActivationKind) -> ActivationConfig {
        ActivationConfig {
            kind,
            range: Range::Learned,
            estimator: Estimator::Hardtanh,
        }
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// An estimator that the kind of activation does not have.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.estimator == Estimator::Hardtanh || self.kind == ActivationKind::Binary,
            "the approx-sign estimator is for binary activations, not {} ones",
            self.kind
        );
        Ok(())
    }
}

/// One activation layer.
#[derive(Module, Debug)]
pub struct Activation {
    /// Value of the highest int8 level, where it is learned.
    top: Option<Param<Tensor<1>>>,
    /// The same, where it is an average.
    average: RunningState<Tensor<1>>,
    #[module(skip)]
    config: ActivationConfig,
}

impl Activation {
    /// A layer that has seen no data.
    pub fn new(config: ActivationConfig, device: &Device) -> Activation {
        let learned = config.kind == ActivationKind::Int8 && config.range == Range::Learned;
        Activation {
            top: learned.then(|| Param::from_tensor(Tensor::from_floats([1.0], device))),
            average: RunningState::new(Tensor::zeros([1], device)),
            config,
        }
    }

    /// Begins a learned range with the greatest value of `x`.
    pub fn calibrate<const D: usize>(&mut self, x: &Tensor<D>) {
        let device = x.device();
        if let Some(top) = self.top.take() {
            let greatest: f32 = x.clone().inner().max().into_scalar();
            let id = top.id;
            let tensor = Tensor::<1>::from_floats([greatest.max(TOP_MIN)], &device).require_grad();
            self.top = Some(Param::initialized(id, tensor));
        }
    }

    /// Applies the layer; on a training device a running range follows the data first.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let levels = match self.config.kind {
            ActivationKind::Float => return relu(x),
            ActivationKind::Int8 => Levels::Int8,
            ActivationKind::Ternary => Levels::Ternary,
            ActivationKind::Binary => Levels::Sign(self.config.estimator),
        };
        let top = match (&self.top, levels) {
            (Some(top), _) => top.val(),
            (None, Levels::Int8) => {
                if x.is_autodiff() {
                    self.observe(x.clone().inner().max().into_scalar());
                }
                self.average.value_sync()
            }
            (None, _) => Tensor::zeros([1], &x.device()),
        };
        ops::quantize_activations(x, top, levels)
    }

    fn observe(&self, batch_max: f32) {
        let old = self.average.value_sync();
        let range = match old.clone().into_scalar::<f32>() {
            0.0 => batch_max,
            before => before + RANGE_MOMENTUM * (batch_max - before),
        };
        self.average
            .update(Tensor::from_floats([range.max(TOP_MIN)], &old.device()));
    }

    /// Makes the running range what the last batch made it; the framework holds an update back until it is read.
    pub fn settle(&self) {
        self.average.value_sync();
    }

    /// Keeps a learned range positive; to be called after each optimizer step.
    pub fn project(&mut self) {
        self.top = self.top.take().map(|top| clamp(top, TOP_MIN, f32::MAX));
    }

    /// The layer as plain numbers.
    pub fn function(&self) -> Function {
        let top = match &self.top {
            Some(top) => top.val(),
            None => self.average.value_sync(),
        };
        match self.config.kind {
            ActivationKind::Float => Function::Relu,
            ActivationKind::Int8 => Function::Int8 {
                scale: top.into_scalar::<f32>() / INT8_TOP,
            },
            ActivationKind::Ternary => Function::Ternary,
            ActivationKind::Binary => Function::Sign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_range_follows_the_data_while_training_only() {
        let device = Device::flex();
        let config = ActivationConfig {
            range: Range::Average,
            ..ActivationConfig::new(ActivationKind::Int8)
        };
        let layer = Activation::new(config, &device.clone().autodiff());
        let batch = |top: f32, device: &Device| Tensor::<1>::from_floats([-1.0, top], device);
        layer.forward(batch(127.0, &device.clone().autodiff()));
        assert_eq!(layer.function(), Function::Int8 { scale: 1.0 });
        layer.forward(batch(227.0, &device.clone().autodiff()));
        assert_eq!(layer.function(), Function::Int8 { scale: 128.0 / 127.0 });
        let layer = layer.valid();
        layer.forward(batch(999.0, &device));
        assert_eq!(layer.function(), Function::Int8 { scale: 128.0 / 127.0 });
    }

    #[test]
    fn learned_range_begins_with_the_data_and_stays_positive() {
        let device = Device::flex().autodiff();
        let mut layer = Activation::new(ActivationConfig::new(ActivationKind::Int8), &device);
        layer.calibrate(&Tensor::<1>::from_floats([-1.0, 254.0], &device));
        assert_eq!(layer.function(), Function::Int8 { scale: 2.0 });
        layer.calibrate(&Tensor::<1>::from_floats([-1.0, -2.0], &device));
        assert_eq!(layer.function(), Function::Int8 { scale: TOP_MIN / 127.0 });
        layer.project();
        let y = layer.forward(Tensor::<1>::from_floats([2.0], &device));
        assert!((y.into_scalar::<f32>() - TOP_MIN).abs() < 1e-6);
    }
}
