//! Parity of the own operations with the framework's, forward and backward.

use super::*;
use burn::nn::BatchNormConfig;
use burn::tensor::module::conv2d as stock_conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tolerance};

fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    a.into_data()
        .assert_approx_eq::<f32>(&b.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

/// Shapes that touch every edge: no padding, padding, more padding than the kernel's half, one channel, tall and wide.
const SHAPES: [(usize, usize, usize, usize, usize, usize); 4] = [
    (3, 2, 4, 3, 1, 9),
    (2, 3, 5, 5, 0, 12),
    (4, 1, 3, 5, 2, 7),
    (9, 2, 2, 1, 0, 4),
];

#[test]
fn convolution_equals_the_framework() {
    let device = Device::flex().autodiff();
    for (batch, inputs, outputs, kernel, pad, height) in SHAPES {
        let random = |shape| Tensor::<4>::random(shape, Distribution::Default, &device);
        let x = random([batch, inputs, height, height + 1]).require_grad();
        let w = random([outputs, inputs, kernel, kernel]).require_grad();
        let stock = stock_conv2d(
            x.clone(),
            w.clone(),
            None,
            ConvOptions::new([1, 1], [pad, pad], [1, 1], 1),
        );
        let own = conv2d(x.clone(), w.clone(), pad);
        close(stock.clone(), own.clone());
        let r = random(stock.dims());
        let (stock, own) = ((stock * r.clone()).sum().backward(), (own * r).sum().backward());
        close(x.grad(&stock).unwrap(), x.grad(&own).unwrap());
        close(w.grad(&stock).unwrap(), w.grad(&own).unwrap());
    }
}

#[test]
fn batch_norm_equals_the_framework() {
    let device = Device::flex().autodiff();
    for (batch, channels, _, _, _, height) in SHAPES {
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

#[test]
fn gradients_reach_weights_scale_and_shape() {
    let device = Device::flex().autodiff();
    let rule = SqRule {
        power: Power::One,
        epsilon: 0.05,
    };
    let w = Tensor::<1>::from_floats([-2.0, -0.3, 0.1, 0.4], &device).require_grad();
    let mu = Tensor::<1>::from_floats([0.5], &device).require_grad();
    let beta = Tensor::<1>::from_floats([std::f32::consts::FRAC_PI_4], &device).require_grad();
    let list = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap();

    let q = quantize_weights(w.clone(), mu.clone(), beta.clone(), rule);
    assert_eq!(list(q.clone()), [-0.5, -0.5, 0.0, 0.5]);
    let grads = (q * Tensor::from_floats([1.0, 2.0, 3.0, 4.0], &device))
        .sum()
        .backward();
    assert_eq!(list(w.grad(&grads).unwrap()), [0.0, 2.0, 3.0, 4.0]);
    assert_eq!(list(mu.grad(&grads).unwrap()), [1.0]);
    assert!(beta.grad(&grads).is_none());

    let r = regulariser(w.clone(), mu.clone(), beta.clone(), rule);
    assert!((list(r.clone())[0] - (1.5 + 0.2 + 0.1 + 0.1) / 4.0).abs() < 1e-6);
    let grads = (r * 4.0).sum().backward();
    assert_eq!(list(w.grad(&grads).unwrap()), [-1.0, 1.0, 1.0, -1.0]);
    assert_eq!(list(mu.grad(&grads).unwrap()), [-1.0 + 1.0 + 1.0]);
    assert!((list(beta.grad(&grads).unwrap())[0] - 2.0 * 0.1).abs() < 1e-6);
}
