//! The operations on burn's CPU backend: tensors in, slices through the arithmetic, tensors out.

use super::conv::{self, ConvShape};
use super::dense::{self, DenseShape};
use super::norm::{self, NormShape};
use super::quantize::{self, Levels};
use super::{Kernels, SqOps, Triple};
use crate::quant::Rule;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape};

impl SqOps for Flex {
    fn sq_weights(w: FlexTensor, mu: FlexTensor, beta: FlexTensor, rule: Rule) -> FlexTensor {
        let (w, mu) = (contiguous(w), contiguous(mu));
        tensor(quantize::weights(&rule, slice(&w), slice(&mu), value(beta)), w.shape())
    }

    fn sq_activations(x: FlexTensor, top: FlexTensor, levels: Levels) -> FlexTensor {
        let x = contiguous(x);
        tensor(quantize::activations(levels, slice(&x), value(top)), x.shape())
    }

    fn sq_conv2d(x: FlexTensor, w: FlexTensor, stride: usize, pad: usize) -> FlexTensor {
        let (x, w) = (contiguous(x), contiguous(w));
        let s = conv_shape(&x, &w, stride, pad);
        let y = conv::forward(s, slice(&x), slice(&w));
        tensor(y, Shape::from([s.batch, s.outputs, s.out_height(), s.out_width()]))
    }

    fn sq_dense(x: FlexTensor, w: FlexTensor) -> FlexTensor {
        let (x, w) = (contiguous(x), contiguous(w));
        let s = dense_shape(&x, &w);
        tensor(
            dense::forward(s, slice(&x), slice(&w)),
            Shape::from([s.batch, s.outputs]),
        )
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
    fn weights_backward(w: FlexTensor, mu: FlexTensor, beta: FlexTensor, rule: Rule, dq: FlexTensor) -> Triple<Self> {
        let [w, mu, dq] = [w, mu, dq].map(contiguous);
        let d = quantize::weights_backward(&rule, slice(&w), slice(&mu), value(beta), slice(&dq));
        (tensor(d.w, w.shape()), vector(d.mu), vector(vec![d.beta]))
    }

    fn activations_backward(
        x: FlexTensor,
        top: FlexTensor,
        levels: Levels,
        dy: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let (dx, dtop) = quantize::activations_backward(levels, slice(&x), value(top), slice(&dy));
        (tensor(dx, x.shape()), vector(vec![dtop]))
    }

    fn conv2d_input(x: FlexTensor, w: FlexTensor, stride: usize, pad: usize, dy: FlexTensor) -> FlexTensor {
        let (w, dy) = (contiguous(w), contiguous(dy));
        let s = conv_shape(&x, &w, stride, pad);
        tensor(conv::input_gradient(s, slice(&w), slice(&dy)), x.shape())
    }

    fn conv2d_weight(x: FlexTensor, w: FlexTensor, stride: usize, pad: usize, dy: FlexTensor) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let s = conv_shape(&x, &w, stride, pad);
        tensor(conv::weight_gradient(s, slice(&x), slice(&dy)), w.shape())
    }

    fn dense_input(w: FlexTensor, dy: FlexTensor) -> FlexTensor {
        let (w, dy) = (contiguous(w), contiguous(dy));
        let s = DenseShape {
            batch: dy.shape()[0],
            inputs: w.shape()[1],
            outputs: w.shape()[0],
        };
        tensor(
            dense::input_gradient(s, slice(&w), slice(&dy)),
            Shape::from([s.batch, s.inputs]),
        )
    }

    fn dense_weight(x: FlexTensor, dy: FlexTensor) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let s = DenseShape {
            batch: x.shape()[0],
            inputs: x.shape()[1],
            outputs: dy.shape()[1],
        };
        tensor(
            dense::weight_gradient(s, slice(&x), slice(&dy)),
            Shape::from([s.outputs, s.inputs]),
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

fn conv_shape(x: &FlexTensor, w: &FlexTensor, stride: usize, pad: usize) -> ConvShape {
    let (x, w) = (x.shape(), w.shape());
    assert!(x[1] == w[1] && w[2] == w[3], "input {x:?} does not fit kernel {w:?}");
    ConvShape {
        batch: x[0],
        inputs: x[1],
        height: x[2],
        width: x[3],
        outputs: w[0],
        kernel: w[2],
        stride,
        pad,
    }
}

fn dense_shape(x: &FlexTensor, w: &FlexTensor) -> DenseShape {
    let (x, w) = (x.shape(), w.shape());
    assert!(x[1] == w[1], "input {x:?} does not fit weights {w:?}");
    DenseShape {
        batch: x[0],
        inputs: x[1],
        outputs: w[0],
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
