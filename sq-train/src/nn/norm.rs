//! Batch normalisation: the framework's layer and records, our operation in training.

use crate::network::Stage;
use crate::ops;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};

/// Batch normalisation over channels.
#[derive(Module, Debug)]
pub struct Norm {
    inner: BatchNorm,
}

impl Norm {
    /// A layer for this many channels.
    pub fn new(channels: usize, device: &Device) -> Norm {
        Norm {
            inner: BatchNormConfig::new(channels).init(device),
        }
    }

    /// `x [batch, channels, ..]` normalised: on a training device by its own statistics, which the running ones follow;
    /// else by the running ones.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let layer = &self.inner;
        if !x.is_autodiff() {
            return layer.forward(x);
        }
        let (y, mean, variance) = ops::batch_norm(x, layer.gamma.val(), layer.beta.val(), layer.epsilon as f32);
        let blend = |old: Tensor<1>, new: Tensor<1>| old * (1.0 - layer.momentum) + new.detach() * layer.momentum;
        layer
            .running_mean
            .update(blend(layer.running_mean.value_sync(), mean).detach());
        layer
            .running_var
            .update(blend(layer.running_var.value_sync(), variance).detach());
        y
    }

    /// Sets how much of the running statistics the next batch replaces, 0 to 1; without a number, as usual.
    pub fn follow(&mut self, weight: Option<f64>) {
        self.inner.momentum = weight.unwrap_or(BatchNormConfig::new(1).momentum);
    }

    /// Makes the running statistics what the last batch made them; the framework holds an update back until they are read.
    pub fn settle(&self) {
        self.inner.running_mean.value_sync();
        self.inner.running_var.value_sync();
    }

    /// The layer as plain numbers.
    pub fn stage(&self) -> Stage {
        let list = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().expect("f32 data");
        Stage::BatchNorm {
            gamma: list(self.inner.gamma.val()),
            beta: list(self.inner.beta.val()),
            mean: list(self.inner.running_mean.value_sync()),
            variance: list(self.inner.running_var.value_sync()),
            epsilon: self.inner.epsilon as f32,
        }
    }
}
