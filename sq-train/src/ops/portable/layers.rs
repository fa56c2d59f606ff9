//! Convolution, dense layers and batch normalisation: the framework's own.

use crate::ops::Triple;
use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::ops::ConvOptions;

fn options(stride: usize, pad: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [pad; 2], [1; 2], 1)
}

/// See [`conv2d`](crate::ops::conv2d).
pub fn conv2d<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>, stride: usize, pad: usize) -> FloatTensor<B> {
    B::conv2d(x, w, None, options(stride, pad))
}

/// Gradient of the input of [`conv2d`].
pub fn conv2d_input<B: Backend>(
    x: FloatTensor<B>,
    w: FloatTensor<B>,
    stride: usize,
    pad: usize,
    dy: FloatTensor<B>,
) -> FloatTensor<B> {
    B::conv2d_x_backward(x, w, dy, options(stride, pad))
}

/// Gradient of the weights of [`conv2d`].
pub fn conv2d_weight<B: Backend>(
    x: FloatTensor<B>,
    w: FloatTensor<B>,
    stride: usize,
    pad: usize,
    dy: FloatTensor<B>,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(x, w, dy, options(stride, pad))
}

/// See [`dense`](crate::ops::dense).
pub fn dense<B: Backend>(x: FloatTensor<B>, w: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_transpose(w))
}

/// Gradient of the input of [`dense`].
pub fn dense_input<B: Backend>(w: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(dy, w)
}

/// Gradient of the weights of [`dense`].
pub fn dense_weight<B: Backend>(x: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(B::float_transpose(dy), x)
}

/// See [`batch_norm`](crate::ops::batch_norm).
pub fn batch_norm<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    epsilon: f32,
) -> Triple<B> {
    let out = B::batch_norm_train(x, gamma, beta, epsilon.into());
    (out.output, out.mean, out.variance)
}

/// Gradients `(dx, dgamma, dbeta)` of [`batch_norm`], from the statistics that it returned.
pub fn batch_norm_backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    dy: FloatTensor<B>,
    epsilon: f32,
) -> Triple<B> {
    let d = B::batch_norm_train_backward(x, gamma, mean, variance, epsilon.into(), dy);
    (d.x_grad, d.gamma_grad, d.beta_grad)
}
