//! A network built from an [`Arch`]: stock convolutions and dense layers whose weights are reparameterised by [`Sq`].

use super::{Activation, ActivationKind, Norm};
use crate::arch::Arch;
use crate::network::{Network, Stage, Weights};
use crate::ops;
use crate::quant::reparam::{Attach, LayerReport, Sq, SqConfig};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

/// The trained network.
#[derive(Module, Debug)]
pub struct Net {
    convs: Vec<Conv2d>,
    conv_norms: Vec<Norm>,
    conv_activations: Vec<Activation>,
    dense: Vec<Linear>,
    dense_norms: Vec<Norm>,
    dense_activations: Vec<Activation>,
    #[module(skip)]
    arch: Arch,
}

impl Net {
    /// A network of this architecture with freshly drawn latent weights, every weight tensor under Smart Quantization.
    pub fn new(arch: &Arch, activations: ActivationKind, sq: SqConfig, device: &Device) -> Net {
        let activation = || Activation::new(activations, device);
        let inputs = [arch.input[0]].into_iter().chain(arch.convs.iter().map(|c| c.outputs));
        let dense = arch.dense_shapes();
        let last = dense.len() - 1;
        let net = Net {
            convs: inputs
                .zip(&arch.convs)
                .map(|(inputs, c)| {
                    Conv2dConfig::new([inputs, c.outputs], [c.kernel; 2])
                        .with_bias(false)
                        .init(device)
                })
                .collect(),
            conv_norms: arch.convs.iter().map(|c| Norm::new(c.outputs, device)).collect(),
            conv_activations: arch.convs.iter().map(|_| activation()).collect(),
            dense: dense
                .iter()
                .enumerate()
                .map(|(i, &(inputs, width))| LinearConfig::new(inputs, width).with_bias(i == last).init(device))
                .collect(),
            dense_norms: arch.dense.iter().map(|&width| Norm::new(width, device)).collect(),
            dense_activations: arch.dense.iter().map(|_| activation()).collect(),
            arch: arch.clone(),
        };
        net.apply_reparameterization(Attach(sq))
    }

    /// Scores `[batch, classes]` of images `[batch, channels, rows, columns]` with pixels in 0..=1.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (i, spec) in self.arch.convs.iter().enumerate() {
            x = self.conv_norms[i].forward(ops::conv2d(x, self.convs[i].weight.val(), spec.pad));
            if spec.pool {
                x = max_pool2d(x, MaxPoolOptions::new([2, 2]));
            }
            x = self.conv_activations[i].forward(x);
        }
        let mut x: Tensor<2> = x.flatten(1, 3);
        for (i, layer) in self.dense.iter().enumerate() {
            x = layer.forward(x);
            if let Some(norm) = self.dense_norms.get(i) {
                x = self.dense_activations[i].forward(norm.forward(x));
            }
        }
        x
    }

    /// The regulariser's part of the objective, `[1]`: the sum over layers.
    pub fn penalty(&self, config: &SqConfig, frozen: bool) -> Tensor<1> {
        let convs = self
            .convs
            .iter()
            .map(|l| sq(&l.weight).penalty(l.weight.base(), config, frozen));
        let dense = self
            .dense
            .iter()
            .map(|l| sq(&l.weight).penalty(l.weight.base(), config, frozen));
        convs.chain(dense).reduce(|a, b| a + b).expect("a network has layers")
    }

    /// What every layer's quantizer has come to.
    pub fn reports(&self) -> Vec<LayerReport> {
        let convs = self
            .convs
            .iter()
            .enumerate()
            .map(|(i, l)| report(&conv_name(i), &l.weight));
        let dense = self
            .dense
            .iter()
            .enumerate()
            .map(|(i, l)| report(&dense_name(i), &l.weight));
        convs.chain(dense).collect()
    }

    /// The network as plain numbers.
    pub fn network(&self) -> Network {
        let mut stages = Vec::new();
        for (i, spec) in self.arch.convs.iter().enumerate() {
            let name = conv_name(i);
            stages.push(Stage::Conv {
                name: name.clone(),
                weights: weights(&self.convs[i].weight),
                pad: spec.pad,
            });
            stages.push(self.conv_norms[i].stage(&format!("{name}.bn")));
            let pool = spec.pool.then(|| format!("pool{}", i + 1));
            let function = self.conv_activations[i].function();
            stages.push(Stage::Activation {
                name: format!("{name}.act"),
                pool,
                function,
            });
        }
        stages.push(Stage::Flatten);
        for (i, layer) in self.dense.iter().enumerate() {
            let name = dense_name(i);
            let bias = layer.bias.as_ref().map(|b| floats(b.val()));
            stages.push(Stage::Dense {
                name: name.clone(),
                weights: dense_weights(&layer.weight),
                bias,
            });
            if let Some(norm) = self.dense_norms.get(i) {
                stages.push(norm.stage(&format!("{name}.bn")));
                let function = self.dense_activations[i].function();
                stages.push(Stage::Activation {
                    name: format!("{name}.act"),
                    pool: None,
                    function,
                });
            }
        }
        Network {
            input: self.arch.input,
            classes: self.arch.classes,
            stages,
        }
    }
}

fn conv_name(i: usize) -> String {
    format!("conv{}", i + 1)
}

fn dense_name(i: usize) -> String {
    format!("fc{}", i + 1)
}

fn sq<const D: usize>(weight: &Param<Tensor<D>>) -> &Sq {
    weight
        .reparameterization::<Sq>()
        .expect("every weight tensor is under Smart Quantization")
}

fn report<const D: usize>(name: &str, weight: &Param<Tensor<D>>) -> LayerReport {
    LayerReport::new(name, sq(weight), &floats(weight.base()))
}

fn weights<const D: usize>(weight: &Param<Tensor<D>>) -> Weights {
    let (sq, latent) = (sq(weight), weight.base());
    let shape = sq.shape();
    let dims = latent.dims().to_vec();
    let levels = floats(latent).iter().map(|&w| shape.level(w) as i8).collect();
    Weights {
        dims,
        levels,
        scale: sq.mu(),
        depth: shape.depth(),
    }
}

/// The framework keeps a dense layer's weights `[inputs, outputs]`.
fn dense_weights(weight: &Param<Tensor<2>>) -> Weights {
    let Weights {
        dims,
        levels,
        scale,
        depth,
    } = weights(weight);
    let (inputs, outputs) = (dims[0], dims[1]);
    let levels = (0..outputs)
        .flat_map(|o| (0..inputs).map(move |i| i * outputs + o))
        .map(|at| levels[at])
        .collect();
    Weights {
        dims: vec![outputs, inputs],
        levels,
        scale,
        depth,
    }
}

fn floats<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().try_to_vec::<f32>().expect("f32 data")
}
