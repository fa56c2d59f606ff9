//! Layers with quantised weights.

use crate::arch::Window;
use crate::ops;
use crate::quant::{Quantizer, Rule};
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::module::conv2d as stock_conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

/// Convolution with a square kernel and quantised weights.
#[derive(Module, Debug)]
pub struct Conv {
    /// Latent weights `[outputs, inputs / groups, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// A value added to each output, `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What the latent weights become.
    pub quantizer: Quantizer,
    #[module(skip)]
    window: Window,
    #[module(skip)]
    groups: usize,
}

/// Dense layer with quantised weights.
#[derive(Module, Debug)]
pub struct Dense {
    /// Latent weights `[outputs, inputs]`.
    pub weight: Param<Tensor<2>>,
    /// A value added to each output, `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What the latent weights become.
    pub quantizer: Quantizer,
}

/// Uniform within `1 / sqrt(inputs)`, as the framework's own layers begin.
fn fresh<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let inputs: usize = shape[1..].iter().product();
    let initializer = Initializer::KaimingUniform {
        gain: 1.0 / 3f64.sqrt(),
        fan_out_only: false,
    };
    initializer.init_with(shape, Some(inputs), Some(shape[0]), device)
}

fn zeros(outputs: usize, device: &Device) -> Param<Tensor<1>> {
    Initializer::Zeros.init([outputs], device)
}

impl Conv {
    /// A layer from `inputs` to `outputs` channels with freshly drawn latent weights; `beta` is the shape at the start.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        window: Window,
        groups: usize,
        bias: bool,
        rule: Rule,
        beta: f32,
        device: &Device,
    ) -> Conv {
        let weight = fresh([outputs, inputs / groups, window.kernel, window.kernel], device);
        let quantizer = Quantizer::new(rule, beta, &weight.val());
        Conv {
            weight,
            bias: bias.then(|| zeros(outputs, device)),
            quantizer,
            window,
            groups,
        }
    }

    /// `[batch, outputs, ..]` from `x [batch, inputs, ..]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let w = self.quantizer.apply(self.weight.val());
        let Window { stride, pad, .. } = self.window;
        let y = match self.groups {
            1 => ops::conv2d(x, w, stride, pad),
            groups => stock_conv2d(x, w, None, ConvOptions::new([stride; 2], [pad; 2], [1; 2], groups)),
        };
        match &self.bias {
            Some(bias) => {
                let outputs = bias.dims()[0];
                y + bias.val().reshape([1, outputs, 1, 1])
            }
            None => y,
        }
    }

    /// Brings what the quantizer has learned back into its intervals; to be called after each optimizer step.
    pub fn project(&mut self) {
        self.quantizer.project();
    }
}

impl Dense {
    /// A layer from `inputs` to `outputs` with freshly drawn latent weights; `beta` is the shape at the start.
    pub fn new([inputs, outputs]: [usize; 2], bias: bool, rule: Rule, beta: f32, device: &Device) -> Dense {
        let weight = fresh([outputs, inputs], device);
        let quantizer = Quantizer::new(rule, beta, &weight.val());
        Dense {
            weight,
            bias: bias.then(|| zeros(outputs, device)),
            quantizer,
        }
    }

    /// `[batch, outputs]` from `x [batch, inputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = ops::dense(x, self.quantizer.apply(self.weight.val()));
        match &self.bias {
            Some(bias) => {
                let outputs = bias.dims()[0];
                y + bias.val().reshape([1, outputs])
            }
            None => y,
        }
    }

    /// Brings what the quantizer has learned back into its intervals; to be called after each optimizer step.
    pub fn project(&mut self) {
        self.quantizer.project();
    }
}
