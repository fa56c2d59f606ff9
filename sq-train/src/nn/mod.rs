//! Networks and their layers. [`Conv`] and [`Dense`] are ordinary modules of the framework and drop into any model of it:
//! their weights are quantised in the forward pass, and the regulariser's gradient is added in the backward pass, so that the
//! model's own loss and training loop need no change but a call of `project` after each optimizer step.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::loss::CrossEntropyLossConfig;
//! use burn::optim::{AdamConfig, GradientsParams};
//! use burn::tensor::activation::relu;
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use sq_train::arch::{Options, Window};
//! use sq_train::nn::{Conv, Dense, QuantConfig};
//! use sq_train::quant::Depth;
//!
//! #[derive(Module, Debug)]
//! struct Model {
//!     conv: Conv,
//!     dense: Dense,
//! }
//!
//! impl Model {
//!     /// Scores `[batch, 2]` of images `[batch, 1, 6, 6]`.
//!     fn forward(&self, images: Tensor<4>) -> Tensor<2> {
//!         self.dense.forward(relu(self.conv.forward(images)).flatten(1, 3))
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! // Smart Quantization at a price of zeros that leaves none; `false, false`: neither the first nor the last layer is special.
//! let quant = QuantConfig { gamma: 10.0, ..QuantConfig::sq() };
//! let rule = |outputs| quant.rule(&Options::default(), false, false, outputs);
//! let window = Window { kernel: 3, stride: 1, pad: 0 };
//! let mut model = Model {
//!     conv: Conv::new([1, 4], window, 1, false, rule(4), quant.beta, &device),
//!     dense: Dense::new([4 * 4 * 4, 2], true, rule(2), quant.beta, &device),
//! };
//!
//! // Dark images of class 0, bright ones of class 1.
//! let noise = Tensor::<4>::random([8, 1, 6, 6], Distribution::Uniform(0.0, 0.4), &device);
//! let bright = Tensor::<1>::from_floats([0.0, 0.6, 0.0, 0.6, 0.0, 0.6, 0.0, 0.6], &device);
//! let images = noise + bright.reshape([8, 1, 1, 1]);
//! let labels = Tensor::<1, Int>::from_ints([0, 1, 0, 1, 0, 1, 0, 1], &device);
//!
//! let mut optimizer = AdamConfig::new().init();
//! let mut losses = Vec::new();
//! for _ in 0..100 {
//!     let loss = CrossEntropyLossConfig::new().init(&device).forward(model.forward(images.clone()), labels.clone());
//!     losses.push(loss.clone().into_scalar::<f32>());
//!     let gradients = GradientsParams::from_grads(loss.backward(), &model);
//!     model = optimizer.step(1e-2, model, gradients);
//!     model.conv.project();
//!     model.dense.project();
//! }
//! assert!(losses[99] < 0.5 * losses[0], "{losses:?}");
//!
//! // What a device stores: a level for each weight, and their scale.
//! let weights = model.dense.quantizer.plain(&model.dense.weight.val());
//! assert_eq!(weights.depth, Depth::Binary);
//! assert!(weights.levels.iter().all(|level| level.abs() == 1));
//! ```

mod activation;
mod config;
mod layers;
mod net;
mod norm;

pub use activation::{Activation, ActivationConfig, ActivationKind, Range};
pub use config::{Method, QuantConfig};
pub use layers::{Conv, Dense};
pub use net::{Net, Value};
pub use norm::Norm;
