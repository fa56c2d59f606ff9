//! Activations: ReLU, ReLU in int8 steps, sign.

use crate::network::Function;
use crate::ops::{self, INT8_TOP, Levels};
use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor, activation::relu};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Weight of the newest batch in the running range of int8 activations: an average over some hundred batches, so that one
/// outlier does not widen the steps.
const RANGE_MOMENTUM: f32 = 0.01;

/// What activations a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationKind {
    /// ReLU in f32.
    Float,
    /// ReLU in 128 levels: int8 with zero point 0.
    Int8,
    /// Sign: +1 where `x >= 0`, else -1.
    Binary,
}

impl fmt::Display for ActivationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ActivationKind::Float => "float",
            ActivationKind::Int8 => "int8",
            ActivationKind::Binary => "binary",
        })
    }
}

/// One activation layer. An int8 layer keeps a running average of its batches' largest value, which becomes level 127.
#[derive(Module, Debug)]
pub struct Activation {
    range: RunningState<Tensor<1>>,
    #[module(skip)]
    kind: ActivationKind,
}

impl Activation {
    /// A layer of this kind that has seen no data.
    pub fn new(kind: ActivationKind, device: &Device) -> Activation {
        Activation {
            range: RunningState::new(Tensor::zeros([1], device)),
            kind,
        }
    }

    /// Applies the layer; on a training device an int8 layer widens or narrows its range first.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.kind {
            ActivationKind::Float => relu(x),
            ActivationKind::Binary => ops::quantize_activations(x, Levels::Sign),
            ActivationKind::Int8 => {
                if x.is_autodiff() {
                    self.observe(x.clone().inner().max().into_scalar());
                }
                ops::quantize_activations(x, Levels::Int8 { scale: self.scale() })
            }
        }
    }

    fn observe(&self, batch_max: f32) {
        let old = self.range.value_sync();
        let range = match old.clone().into_scalar::<f32>() {
            0.0 => batch_max,
            before => before + RANGE_MOMENTUM * (batch_max - before),
        };
        self.range
            .update(Tensor::from_floats([range.max(f32::MIN_POSITIVE)], &old.device()));
    }

    /// Step of int8 levels.
    fn scale(&self) -> f32 {
        self.range.value_sync().into_scalar::<f32>() / INT8_TOP
    }

    /// The layer as plain numbers.
    pub fn function(&self) -> Function {
        match self.kind {
            ActivationKind::Float => Function::Relu,
            ActivationKind::Int8 => Function::Int8 { scale: self.scale() },
            ActivationKind::Binary => Function::Sign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_range_follows_the_data_while_training_only() {
        let device = Device::flex();
        let layer = Activation::new(ActivationKind::Int8, &device.clone().autodiff());
        let batch = |top: f32, device: &Device| Tensor::<1>::from_floats([-1.0, top], device);
        layer.forward(batch(127.0, &device.clone().autodiff()));
        assert_eq!(layer.function(), Function::Int8 { scale: 1.0 });
        layer.forward(batch(227.0, &device.clone().autodiff()));
        assert_eq!(layer.function(), Function::Int8 { scale: 128.0 / 127.0 });
        let layer = layer.valid();
        layer.forward(batch(999.0, &device));
        assert_eq!(layer.function(), Function::Int8 { scale: 128.0 / 127.0 });
    }
}
