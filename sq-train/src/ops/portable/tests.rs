//! Parity of the portable bodies with the CPU's: forward and every gradient, on the CPU backend and, with the feature `wgpu`,
//! on a GPU or a software Vulkan.

use super::*;
use crate::ops::{Estimator, Kernels, Levels, SqOps};
use crate::quant::{BETA_MAX, BETA_MIN, Power, Rule, Scale, WeightKind};
use burn::backend::flex::FlexDevice;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, try_read_sync};
use burn::tensor::TensorData;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A tensor as plain numbers.
#[derive(Clone)]
struct Input {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Uniform within `low..high`, the same for a seed.
fn random<const D: usize>(shape: [usize; D], low: f32, high: f32, seed: u64) -> Input {
    let mut rng = StdRng::seed_from_u64(seed);
    Input {
        shape: shape.into(),
        values: (0..shape.iter().product())
            .map(|_| rng.random_range(low..high))
            .collect(),
    }
}

/// The latent weights and gradients of a test: within a range in which every branch is taken.
fn weights_of<const D: usize>(shape: [usize; D], seed: u64) -> Input {
    random(shape, -1.9, 1.9, seed)
}

impl Input {
    fn on<B: Backend>(&self, device: &B::Device) -> FloatTensor<B> {
        B::float_from_data(TensorData::new(self.values.clone(), self.shape.clone()), device)
    }

    fn flex(&self) -> FloatTensor<Flex> {
        self.on::<Flex>(&FlexDevice)
    }
}

fn values<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let data = try_read_sync(B::float_into_data(tensor)).expect("a backend that can be read at once");
    data.expect("no error on the device").try_to_vec().expect("f32 data")
}

/// Holds a tensor of `B` against one of the CPU body: shape, and every element within a share of the greatest.
fn close<B: Backend>(what: &str, got: FloatTensor<B>, want: FloatTensor<Flex>) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (values::<B>(got), values::<Flex>(want));
    let greatest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!(
            (got - want).abs() <= 2e-5 * greatest,
            "{what} at {i}: {got}, not {want}"
        );
    }
}

fn rules() -> impl Iterator<Item = Rule> {
    let kinds = [
        WeightKind::Float,
        WeightKind::Int8,
        WeightKind::Binary,
        WeightKind::Ternary,
        WeightKind::Sq,
    ];
    let cases = kinds.into_iter().flat_map(|kind| {
        [Power::One, Power::Two].into_iter().flat_map(move |power| {
            [Scale::Learned, Scale::Statistical]
                .into_iter()
                .flat_map(move |scale| [false, true].map(|frozen| (kind, power, scale, frozen)))
        })
    });
    cases.map(|(kind, power, scale, frozen)| Rule {
        kind,
        channels: 1,
        scale,
        power,
        epsilon: 0.05,
        lambda: 1.7,
        gamma: 0.3,
        decay: if frozen { 0.0 } else { 0.25 },
        frozen,
    })
}

fn weights_agree<B: Backend>(device: &B::Device) {
    let inputs = [
        weights_of([4, 3, 3, 3], 1),
        weights_of([5, 7], 2),
        weights_of([1, 1], 3),
        weights_of([3, 1, 5, 5], 4),
        weights_of([33, 129], 5),
    ];
    for rule in rules() {
        for input in &inputs {
            let mut w = input.clone();
            w.values[0] = 0.0;
            let dq = Input {
                shape: w.shape.clone(),
                ..random([w.values.len()], -1.0, 1.0, 9)
            };
            for channels in [1, w.shape[0]] {
                let rule = Rule { channels, ..rule };
                let learned =
                    rule.scale == Scale::Learned && !matches!(rule.kind, WeightKind::Float | WeightKind::Int8);
                let mu = match learned {
                    true => random([channels], 0.3, 0.7, 6),
                    false => random([1], 0.0, 1.0, 6),
                };
                // The last but one is ternary by a hair at epsilon 0.05 and p = 1.
                for beta in [BETA_MIN, 1.1, 1.4, 1.51, BETA_MAX] {
                    let what = format!("{rule:?} {:?} beta {beta}", w.shape);
                    let beta = Input {
                        shape: vec![1],
                        values: vec![beta],
                    };
                    let q = weights::<B>(w.on::<B>(device), mu.on::<B>(device), beta.on::<B>(device), &rule);
                    close::<B>(&what, q, Flex::sq_weights(w.flex(), mu.flex(), beta.flex(), rule));
                    let (dw, dmu, dbeta) = weights_backward::<B>(
                        w.on::<B>(device),
                        mu.on::<B>(device),
                        beta.on::<B>(device),
                        &rule,
                        dq.on::<B>(device),
                    );
                    let want = Flex::weights_backward(w.flex(), mu.flex(), beta.flex(), rule, dq.flex());
                    close::<B>(&format!("dw of {what}"), dw, want.0);
                    close::<B>(&format!("dmu of {what}"), dmu, want.1);
                    close::<B>(&format!("dbeta of {what}"), dbeta, want.2);
                }
            }
        }
    }
}

fn activations_agree<B: Backend>(device: &B::Device) {
    let levels = [
        Levels::Int8,
        Levels::Ternary,
        Levels::Sign(Estimator::Hardtanh),
        Levels::Sign(Estimator::ApproxSign),
    ];
    let edges = Input {
        shape: vec![12],
        values: vec![-7.0, -1.0, -0.51, -0.5, -0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 99.0],
    };
    let inputs = [
        edges,
        random([3, 2, 5, 7], -2.0, 2.0, 1),
        random([5, 3], -2.0, 2.0, 2),
        random([9, 4, 13, 17], -2.0, 2.0, 3),
    ];
    for levels in levels {
        for x in &inputs {
            for top in [0.5, 1.27, 63.5] {
                let what = format!("{levels:?} {:?} top {top}", x.shape);
                let top = Input {
                    shape: vec![1],
                    values: vec![top],
                };
                let dy = Input {
                    shape: x.shape.clone(),
                    ..random([x.values.len()], -1.0, 1.0, 4)
                };
                let y = activations::<B>(x.on::<B>(device), top.on::<B>(device), levels);
                close::<B>(&what, y, Flex::sq_activations(x.flex(), top.flex(), levels));
                let (dx, dtop) =
                    activations_backward::<B>(x.on::<B>(device), top.on::<B>(device), levels, dy.on::<B>(device));
                let want = Flex::activations_backward(x.flex(), top.flex(), levels, dy.flex());
                close::<B>(&format!("dx of {what}"), dx, want.0);
                close::<B>(&format!("dtop of {what}"), dtop, want.1);
            }
        }
    }
}

fn convolution_agrees<B: Backend>(device: &B::Device) {
    for (batch, inputs, outputs, kernel, stride, pad, height) in crate::ops::tests::SHAPES {
        let what = format!("{inputs} to {outputs} channels, kernel {kernel}, stride {stride}, pad {pad}");
        let x = random([batch, inputs, height, height + 1], -1.0, 1.0, 1);
        let w = random([outputs, inputs, kernel, kernel], -1.0, 1.0, 2);
        let out = |side: usize| (side + 2 * pad - kernel) / stride + 1;
        let dy = random([batch, outputs, out(height), out(height + 1)], -1.0, 1.0, 3);
        let (bx, bw, bdy) = (x.on::<B>(device), w.on::<B>(device), dy.on::<B>(device));
        let (fx, fw, fdy) = (x.flex(), w.flex(), dy.flex());
        close::<B>(
            &what,
            conv2d::<B>(bx.clone(), bw.clone(), stride, pad),
            Flex::sq_conv2d(fx.clone(), fw.clone(), stride, pad),
        );
        close::<B>(
            &format!("dx of {what}"),
            conv2d_input::<B>(bx.clone(), bw.clone(), stride, pad, bdy.clone()),
            Flex::conv2d_input(fx.clone(), fw.clone(), stride, pad, fdy.clone()),
        );
        close::<B>(
            &format!("dw of {what}"),
            conv2d_weight::<B>(bx, bw, stride, pad, bdy),
            Flex::conv2d_weight(fx, fw, stride, pad, fdy),
        );
    }
}

fn dense_agrees<B: Backend>(device: &B::Device) {
    for (batch, inputs, outputs) in [(3, 5, 2), (65, 130, 67), (1, 1, 1), (2, 33, 32)] {
        let what = format!("{batch} by {inputs} to {outputs}");
        let x = random([batch, inputs], -1.0, 1.0, 1);
        let w = random([outputs, inputs], -1.0, 1.0, 2);
        let dy = random([batch, outputs], -1.0, 1.0, 3);
        let (bx, bw, bdy) = (x.on::<B>(device), w.on::<B>(device), dy.on::<B>(device));
        close::<B>(
            &what,
            dense::<B>(bx.clone(), bw.clone()),
            Flex::sq_dense(x.flex(), w.flex()),
        );
        close::<B>(
            &format!("dx of {what}"),
            dense_input::<B>(bw, bdy.clone()),
            Flex::dense_input(w.flex(), dy.flex()),
        );
        close::<B>(
            &format!("dw of {what}"),
            dense_weight::<B>(bx, bdy),
            Flex::dense_weight(x.flex(), dy.flex()),
        );
    }
}

fn batch_norm_agrees<B: Backend>(device: &B::Device) {
    let inputs = [
        random([3, 2, 9, 10], 4.0, 6.0, 1), // a mean well off 0
        random([7, 5], -1.0, 1.0, 2),
        random([2, 1, 3, 1], -1.0, 1.0, 3),
        random([9, 17, 7, 5], -3.0, 1.0, 4),
    ];
    for x in inputs {
        let what = format!("{:?}", x.shape);
        let gamma = random([x.shape[1]], 0.5, 2.0, 5);
        let beta = random([x.shape[1]], -1.0, 1.0, 6);
        let dy = Input {
            shape: x.shape.clone(),
            ..random([x.values.len()], -1.0, 1.0, 7)
        };
        let (y, mean, variance) = batch_norm::<B>(x.on::<B>(device), gamma.on::<B>(device), beta.on::<B>(device), 1e-5);
        let want = Flex::sq_batch_norm(x.flex(), gamma.flex(), beta.flex(), 1e-5);
        let (dx, dgamma, dbeta) = batch_norm_backward::<B>(
            x.on::<B>(device),
            gamma.on::<B>(device),
            mean.clone(),
            variance.clone(),
            dy.on::<B>(device),
            1e-5,
        );
        let back = Flex::batch_norm_backward(x.flex(), gamma.flex(), want.1.clone(), want.2.clone(), dy.flex(), 1e-5);
        close::<B>(&what, y, want.0);
        close::<B>(&format!("mean of {what}"), mean, want.1);
        close::<B>(&format!("variance of {what}"), variance, want.2);
        close::<B>(&format!("dx of {what}"), dx, back.0);
        close::<B>(&format!("dgamma of {what}"), dgamma, back.1);
        close::<B>(&format!("dbeta of {what}"), dbeta, back.2);
    }
}

mod on_the_cpu {
    use super::*;

    #[test]
    fn weights() {
        weights_agree::<Flex>(&FlexDevice);
    }

    #[test]
    fn activations() {
        activations_agree::<Flex>(&FlexDevice);
    }

    #[test]
    fn convolution() {
        convolution_agrees::<Flex>(&FlexDevice);
    }

    #[test]
    fn dense() {
        dense_agrees::<Flex>(&FlexDevice);
    }

    #[test]
    fn batch_norm() {
        batch_norm_agrees::<Flex>(&FlexDevice);
    }
}

/// On the adapter that wgpu prefers: a GPU, or a software Vulkan such as Mesa's llvmpipe.
#[cfg(feature = "wgpu")]
mod on_wgpu {
    use super::*;
    use burn::backend::{Cube, CubeDevice};
    use burn::tensor::{Device, DeviceType};
    use std::io::{self, Write};

    fn with_adapter(test: impl FnOnce(&CubeDevice)) {
        if Device::enumerate(DeviceType::Wgpu).is_empty() {
            // Not by `eprintln`, whose output the test harness keeps back.
            let what =
                "SKIPPED, NOTHING TESTED: wgpu finds no adapter; Debian's mesa-vulkan-drivers has one in software";
            writeln!(io::stderr(), "{what}").expect("a place for errors");
            return;
        }
        test(&burn::backend::WgpuDevice::default().into());
    }

    #[test]
    fn weights() {
        with_adapter(weights_agree::<Cube>);
    }

    #[test]
    fn activations() {
        with_adapter(activations_agree::<Cube>);
    }

    #[test]
    fn convolution() {
        with_adapter(convolution_agrees::<Cube>);
    }

    #[test]
    fn dense() {
        with_adapter(dense_agrees::<Cube>);
    }

    #[test]
    fn batch_norm() {
        with_adapter(batch_norm_agrees::<Cube>);
    }
}
