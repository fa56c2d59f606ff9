//! Parity of the own operations with the framework's, forward and backward.

use super::*;
use crate::quant::{Power, Scale, WeightKind};
use burn::nn::BatchNormConfig;
use burn::tensor::module::conv2d as stock_conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tolerance};

fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    a.into_data()
        .assert_approx_eq::<f32>(&b.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

/// `(batch, inputs, outputs, kernel, stride, pad, height)` that touch every edge: no padding, padding, more padding than the
/// kernel's half, one channel, tall and wide, strides that do and do not divide the side, single pixels.
pub(super) const SHAPES: [(usize, usize, usize, usize, usize, usize, usize); 8] = [
    (3, 2, 4, 3, 1, 1, 9),
    (2, 3, 5, 5, 1, 0, 12),
    (4, 1, 3, 5, 1, 2, 7),
    (9, 2, 2, 1, 1, 0, 4),
    (3, 2, 4, 3, 2, 1, 9),
    (2, 3, 3, 3, 3, 2, 8),
    (2, 4, 3, 1, 2, 0, 7),
    (5, 3, 2, 2, 2, 0, 6),
];

#[test]
fn convolution_equals_the_framework() {
    let device = Device::flex().autodiff();
    for (batch, inputs, outputs, kernel, stride, pad, height) in SHAPES {
        let random = |shape| Tensor::<4>::random(shape, Distribution::Default, &device);
        let x = random([batch, inputs, height, height + 1]).require_grad();
        let w = random([outputs, inputs, kernel, kernel]).require_grad();
        let options = ConvOptions::new([stride, stride], [pad, pad], [1, 1], 1);
        let stock = stock_conv2d(x.clone(), w.clone(), None, options);
        let own = conv2d(x.clone(), w.clone(), stride, pad);
        close(stock.clone(), own.clone());
        let r = random(stock.dims());
        let (stock, own) = ((stock * r.clone()).sum().backward(), (own * r).sum().backward());
        close(x.grad(&stock).unwrap(), x.grad(&own).unwrap());
        close(w.grad(&stock).unwrap(), w.grad(&own).unwrap());
    }
}

#[test]
fn dense_equals_the_framework() {
    let device = Device::flex().autodiff();
    for (batch, inputs, outputs) in [(3, 5, 2), (65, 130, 67), (1, 1, 1), (2, 33, 32)] {
        let random = |shape| Tensor::<2>::random(shape, Distribution::Default, &device);
        let (x, w) = (
            random([batch, inputs]).require_grad(),
            random([outputs, inputs]).require_grad(),
        );
        let (stock, own) = (x.clone().matmul(w.clone().transpose()), dense(x.clone(), w.clone()));
        close(stock.clone(), own.clone());
        let r = random([batch, outputs]);
        let (stock, own) = ((stock * r.clone()).sum().backward(), (own * r).sum().backward());
        close(x.grad(&stock).unwrap(), x.grad(&own).unwrap());
        close(w.grad(&stock).unwrap(), w.grad(&own).unwrap());
    }
}

#[test]
fn batch_norm_equals_the_framework() {
    let device = Device::flex().autodiff();
    for (batch, channels, _, _, _, _, height) in SHAPES {
        let random = |shape, low, high| Tensor::<4>::random(shape, Distribution::Uniform(low, high), &device);
        let x = random([batch, channels, height, height + 1], 4.0, 6.0).require_grad(); // a mean well off 0
        let layer = BatchNormConfig::new(channels).init(&device);
        let (gamma, beta) = (layer.gamma.val(), layer.beta.val());
        let stock = layer.forward(x.clone());
        let (own, _, _) = batch_norm(x.clone(), gamma.clone(), beta.clone(), layer.epsilon as f32);
        let loose = Tolerance::rel_abs(1e-3, 1e-3);
        stock.to_data().assert_approx_eq::<f32>(&own.to_data(), loose);
        let r = random(stock.dims(), 0.0, 1.0);
        let (stock, own) = ((stock * r.clone()).sum().backward(), (own * r).sum().backward());
        let same = |a: Tensor<1>, b: Tensor<1>| a.into_data().assert_approx_eq::<f32>(&b.into_data(), loose);
        x.grad(&stock)
            .unwrap()
            .into_data()
            .assert_approx_eq::<f32>(&x.grad(&own).unwrap().into_data(), loose);
        same(gamma.grad(&stock).unwrap(), gamma.grad(&own).unwrap());
        same(beta.grad(&stock).unwrap(), beta.grad(&own).unwrap());
    }
}

/// One backward pass gives the gradients of the data's term and of the penalty.
#[test]
fn gradients_reach_weights_scale_and_shape() {
    let device = Device::flex().autodiff();
    let rule = |frozen| Rule {
        kind: WeightKind::Sq,
        channels: 1,
        scale: Scale::Learned,
        power: Power::One,
        epsilon: 0.05,
        lambda: 4.0,
        gamma: 0.25,
        decay: 0.0,
        frozen,
    };
    let w = Tensor::<1>::from_floats([-2.0, -0.3, 0.1, 0.4], &device).require_grad();
    let mu = Tensor::<1>::from_floats([0.5], &device).require_grad();
    let beta = Tensor::<1>::from_floats([std::f32::consts::FRAC_PI_4], &device).require_grad();
    let list = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap();

    let g = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &device);
    let q = quantize_weights(w.clone(), mu.clone(), beta.clone(), rule(false));
    assert_eq!(list(q.clone()), [-0.5, -0.5, 0.0, 0.5]);
    let grads = (q * g.clone()).sum().backward();
    assert_eq!(list(w.grad(&grads).unwrap()), [-1.0, 2.0 + 1.0, 3.0 + 1.0, 4.0 - 1.0]);
    assert_eq!(list(mu.grad(&grads).unwrap()), [-1.0 - 2.0 + 4.0 + (-1.0 + 1.0 + 1.0)]);
    // 4 (mean of sec^2 |w| in the zero branch, 2 * 0.1 / 4, less gamma / sin^2 = 1/2)
    assert!((list(beta.grad(&grads).unwrap())[0] - (0.2 - 2.0)).abs() < 1e-6);

    let q = quantize_weights(w, mu.clone(), beta.clone(), rule(true));
    let grads = (q * g).sum().backward();
    assert!(beta.grad(&grads).is_none() && mu.grad(&grads).is_some());
}

#[test]
fn gradients_reach_activations_and_their_range() {
    let device = Device::flex().autodiff();
    let x = Tensor::<1>::from_floats([-1.0, 0.5, 3.0], &device).require_grad();
    let top = Tensor::<1>::from_floats([1.27], &device).require_grad();
    let y = quantize_activations(x.clone(), top.clone(), Levels::Int8);
    let grads = (y * Tensor::from_floats([1.0, 2.0, 3.0], &device)).sum().backward();
    let list = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(list(x.grad(&grads).unwrap()), [0.0, 2.0, 0.0]);
    assert_eq!(list(top.grad(&grads).unwrap()), [3.0]);
}
