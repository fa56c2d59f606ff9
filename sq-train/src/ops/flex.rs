//! The operations on burn's CPU backend: tensors in, slices through the arithmetic, tensors out.

use super::conv::{self, ConvShape};
use super::norm::{self, NormShape};
use super::quantize::{self, Levels};
use super::{Kernels, SqOps, SqRule, Triple};
use crate::quant::SqShape;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape};

impl SqOps for Flex {
    fn sq_weights(w: FlexTensor, mu: FlexTensor, beta: FlexTensor, rule: SqRule) -> FlexTensor {
        let (w, mu, shape) = layer(w, mu, beta, rule);
        tensor(quantize::weights(&shape, mu, slice(&w)), w.shape())
    }

    fn sq_regulariser(w: FlexTensor, mu: FlexTensor, beta: FlexTensor, rule: SqRule) -> FlexTensor {
        let (w, _, shape) = layer(w, mu, beta, rule);
        scalar(quantize::regulariser(&shape, slice(&w)))
    }

    fn sq_activations(x: FlexTensor, levels: Levels) -> FlexTensor {
        let x = contiguous(x);
        tensor(quantize::activations(levels, slice(&x)), x.shape())
    }

    fn sq_conv2d(x: FlexTensor, w: FlexTensor, pad: usize) -> FlexTensor {
        let (x, w) = (contiguous(x), contiguous(w));
        let s = conv_shape(&x, &w, pad);
        let y = conv::forward(s, slice(&x), slice(&w));
        tensor(y, Shape::from([s.batch, s.outputs, s.out_height(), s.out_width()]))
    }

    fn sq_batch_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let s = norm_shape(&x);
        let out = norm::forward(s, slice(&x), slice(&gamma), slice(&beta), epsilon);
        (tensor(out.y, x.shape()), vector(out.mean), vector(out.variance))
    }
}

impl Kernels for Flex {
    fn weights_backward(
        w: FlexTensor,
        mu: FlexTensor,
        beta: FlexTensor,
        rule: SqRule,
        dq: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let dq = contiguous(dq);
        let (w, mu, shape) = layer(w, mu, beta, rule);
        let (dw, dmu) = quantize::weights_backward(&shape, mu, slice(&w), slice(&dq));
        (tensor(dw, w.shape()), scalar(dmu))
    }

    fn regulariser_backward(
        w: FlexTensor,
        mu: FlexTensor,
        beta: FlexTensor,
        rule: SqRule,
        upstream: FlexTensor,
    ) -> Triple<Self> {
        let (w, _, shape) = layer(w, mu, beta, rule);
        let (dw, dmu, dbeta) = quantize::regulariser_backward(&shape, slice(&w), value(upstream));
        (tensor(dw, w.shape()), scalar(dmu), scalar(dbeta))
    }

    fn activations_backward(x: FlexTensor, levels: Levels, dy: FlexTensor) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        tensor(quantize::activations_backward(levels, slice(&x), slice(&dy)), x.shape())
    }

    fn conv2d_input(x: FlexTensor, w: FlexTensor, pad: usize, dy: FlexTensor) -> FlexTensor {
        let (w, dy) = (contiguous(w), contiguous(dy));
        tensor(
            conv::input_gradient(conv_shape(&x, &w, pad), slice(&w), slice(&dy)),
            x.shape(),
        )
    }

    fn conv2d_weight(x: FlexTensor, w: FlexTensor, pad: usize, dy: FlexTensor) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        tensor(
            conv::weight_gradient(conv_shape(&x, &w, pad), slice(&x), slice(&dy)),
            w.shape(),
        )
    }

    fn batch_norm_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        dy: FlexTensor,
        epsilon: f32,
    ) -> Triple<Self> {
        let [x, gamma, mean, variance, dy] = [x, gamma, mean, variance, dy].map(contiguous);
        let (dx, dgamma, dbeta) = norm::backward(
            norm_shape(&x),
            slice(&x),
            slice(&gamma),
            slice(&mean),
            slice(&variance),
            slice(&dy),
            epsilon,
        );
        (tensor(dx, x.shape()), vector(dgamma), vector(dbeta))
    }
}

/// The weights ready to read, the layer's `mu`, and the shape that `mu` and `beta` make.
fn layer(w: FlexTensor, mu: FlexTensor, beta: FlexTensor, rule: SqRule) -> (FlexTensor, f32, SqShape) {
    let mu = value(mu);
    (
        contiguous(w),
        mu,
        SqShape::new(mu, value(beta), rule.power, rule.epsilon),
    )
}

fn conv_shape(x: &FlexTensor, w: &FlexTensor, pad: usize) -> ConvShape {
    let (x, w) = (x.shape(), w.shape());
    assert!(x[1] == w[1] && w[2] == w[3], "input {x:?} does not fit kernel {w:?}");
    ConvShape {
        batch: x[0],
        inputs: x[1],
        height: x[2],
        width: x[3],
        outputs: w[0],
        kernel: w[2],
        pad,
    }
}

fn norm_shape(x: &FlexTensor) -> NormShape {
    let shape = x.shape();
    NormShape {
        batch: shape[0],
        channels: shape[1],
        map: shape.num_elements() / (shape[0] * shape[1]),
    }
}

fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() { t } else { t.to_contiguous() }
}

fn slice(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("a contiguous f32 tensor")
}

fn value(t: FlexTensor) -> f32 {
    slice(&contiguous(t))[0]
}

fn tensor(data: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(data), Layout::contiguous(shape), DType::F32)
}

fn vector(data: Vec<f32>) -> FlexTensor {
    let shape = Shape::from([data.len()]);
    tensor(data, shape)
}

fn scalar(x: f32) -> FlexTensor {
    vector(vec![x])
}
