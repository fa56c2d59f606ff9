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
    /// While statistics are averaged, the share of them that the next batch replaces.
    #[module(skip)]
    averaging: Option<f64>,
}

impl Norm {
    /// A layer for this many channels.
    pub fn new(channels: usize, device: &Device) -> Norm {
        Norm {
            inner: BatchNormConfig::new(channels).init(device),
            averaging: None,
        }
    }

    /// `x [batch, channels, ..]` normalised: on a training device, or while statistics are averaged, by its own statistics, which
    /// the running ones follow; else by the running ones.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let layer = &self.inner;
        if !x.is_autodiff() && self.averaging.is_none() {
            return layer.forward(x);
        }
        let (y, mean, variance) = ops::batch_norm(x, layer.gamma.val(), layer.beta.val(), layer.epsilon as f32);
        let weight = self.averaging.unwrap_or(layer.momentum);
        let blend = |old: Tensor<1>, new: Tensor<1>| old * (1.0 - weight) + new.detach() * weight;
        layer
            .running_mean
            .update(blend(layer.running_mean.value_sync(), mean).detach());
        layer
            .running_var
            .update(blend(layer.running_var.value_sync(), variance).detach());
        y
    }

    /// Lets the next batch replace this share of the running statistics, 0 to 1, off the training device too.
    pub fn average(&mut self, weight: f64) {
        self.averaging = Some(weight);
    }

    /// Takes the running statistics of the same layer off the training device.
    pub fn adopt(&self, other: &Norm) {
        let (own, other) = (&self.inner, &other.inner);
        own.running_mean
            .update(Tensor::from_inner(other.running_mean.value_sync()));
        own.running_var
            .update(Tensor::from_inner(other.running_var.value_sync()));
        self.settle();
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
