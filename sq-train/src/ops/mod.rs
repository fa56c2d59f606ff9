//! Operations with their own gradients: what the framework lacks (Smart Quantization) or has slowly (convolution, dense
//! layers, batch normalisation on a CPU).
//!
//! [`SqOps`] is what the network calls, [`Kernels`] what its gradients need of a backend; how the two make operations of burn is
//! written here, once for any backend. Both have a body for every backend (`portable`, from burn's own operations), which is
//! what GPUs run. The CPU backend, Flex, has faster ones: the arithmetic of `conv`, `dense`, `norm` and `quantize`, on plain
//! slices. The tests hold the two bodies together.

mod conv;
mod dense;
mod flex;
mod gemm;
mod norm;
mod portable;
mod quantize;

pub use quantize::{CLIP, Estimator, INT8_TOP, Levels, int8_level, penalty};

use crate::quant::Rule;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Three tensors: of a normalisation `(y, mean, variance)`, of a gradient `(dx, dgamma, dbeta)` or `(dw, dmu, dbeta)`.
pub type Triple<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

/// Differentiable operations, called through the functions of this module.
///
/// Every backend that the trainer may be built with must be listed: on another one these operations panic.
#[backend_extension(
    Flex,
    Cube: cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm")),
    Autodiff
)]
pub trait SqOps: Backend {
    /// See [`quantize_weights`].
    fn sq_weights(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: Rule,
    ) -> FloatTensor<Self> {
        portable::weights::<Self>(w, mu, beta, &rule)
    }
    /// See [`quantize_activations`].
    fn sq_activations(x: FloatTensor<Self>, top: FloatTensor<Self>, levels: Levels) -> FloatTensor<Self> {
        portable::activations::<Self>(x, top, levels)
    }
    /// See [`conv2d`].
    fn sq_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, stride: usize, pad: usize) -> FloatTensor<Self> {
        portable::conv2d::<Self>(x, w, stride, pad)
    }
    /// See [`dense`].
    fn sq_dense(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::dense::<Self>(x, w)
    }
    /// See [`batch_norm`].
    fn sq_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::batch_norm::<Self>(x, gamma, beta, epsilon)
    }
}

/// Gradients that a backend computes itself.
pub trait Kernels: SqOps {
    /// `(dw, dmu, dbeta)` of [`quantize_weights`] and of the layer's penalty.
    fn weights_backward(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: Rule,
        dq: FloatTensor<Self>,
    ) -> Triple<Self> {
        portable::weights_backward::<Self>(w, mu, beta, &rule, dq)
    }
    /// `(dx, dtop)` of [`quantize_activations`].
    fn activations_backward(
        x: FloatTensor<Self>,
        top: FloatTensor<Self>,
        levels: Levels,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::activations_backward::<Self>(x, top, levels, dy)
    }
    /// Input gradient of [`conv2d`].
    fn conv2d_input(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        stride: usize,
        pad: usize,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::conv2d_input::<Self>(x, w, stride, pad, dy)
    }
    /// Weight gradient of [`conv2d`].
    fn conv2d_weight(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        stride: usize,
        pad: usize,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::conv2d_weight::<Self>(x, w, stride, pad, dy)
    }
    /// Input gradient of [`dense`].
    fn dense_input(w: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::dense_input::<Self>(w, dy)
    }
    /// Weight gradient of [`dense`].
    fn dense_weight(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::dense_weight::<Self>(x, dy)
    }
    /// `(dx, dgamma, dbeta)` of [`batch_norm`], from the statistics that it returned.
    fn batch_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
    ) -> Triple<Self> {
        portable::batch_norm_backward::<Self>(x, gamma, mean, variance, dy, epsilon)
    }
}

/// Quantised weights by `rule`, from latent weights (output channels first), scales `mu` (`[rule.channels]` where they are
/// learned, else ignored) and the shape `beta [1]`.
///
/// Backward, in one pass: the gradient passes straight through to `w` where `|w| <= CLIP * mu`; `mu` receives the sum of
/// level times gradient; and each receives the gradient of the layer's [`penalty`] in the objective, whose own term in the loss
/// would cost two more passes over the weights.
pub fn quantize_weights<const D: usize>(w: Tensor<D>, mu: Tensor<1>, beta: Tensor<1>, rule: Rule) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::sq_weights(
        w.into_dispatch(),
        mu.into_dispatch(),
        beta.into_dispatch(),
        rule,
    ))
}

/// Quantised activations with a straight-through gradient; `top [1]` is the value of the highest int8 level.
pub fn quantize_activations<const D: usize>(x: Tensor<D>, top: Tensor<1>, levels: Levels) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::sq_activations(x.into_dispatch(), top.into_dispatch(), levels))
}

/// Convolution of `x [batch, inputs, h, w]` with `w [outputs, inputs, k, k]`, `pad` zeros on each side.
pub fn conv2d(x: Tensor<4>, w: Tensor<4>, stride: usize, pad: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::sq_conv2d(x.into_dispatch(), w.into_dispatch(), stride, pad))
}

/// `x [batch, inputs]` times the transpose of `w [outputs, inputs]`.
pub fn dense(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::sq_dense(x.into_dispatch(), w.into_dispatch()))
}

/// Normalises `x [batch, channels, ..]` by its own statistics; returns also the mean and the biased variance, outside the
/// graph.
pub fn batch_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f32,
) -> (Tensor<D>, Tensor<1>, Tensor<1>) {
    let (y, mean, variance) =
        Dispatch::sq_batch_norm(x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), epsilon);
    (
        Tensor::from_dispatch(y),
        Tensor::from_dispatch(mean),
        Tensor::from_dispatch(variance),
    )
}

/// A backend of GPUs, whichever the program was built with.
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
mod cube {
    use super::{Kernels, SqOps};
    use burn::backend::Cube;

    impl SqOps for Cube {}
    impl Kernels for Cube {}
}

/// Adds each gradient to its parent, where the graph tracks it.
fn register<B: Backend, const N: usize>(
    grads: &mut Gradients,
    parents: [Option<NodeId>; N],
    gradients: [FloatTensor<B>; N],
) {
    for (parent, gradient) in parents.into_iter().zip(gradients) {
        if let Some(parent) = parent {
            grads.register::<B>(parent, gradient);
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> SqOps for Autodiff<B, C> {
    fn sq_weights(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: Rule,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Weights;
        impl<B: Kernels> Backward<B, 3> for Weights {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Rule);
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dq = grads.consume::<B>(&ops.node);
                let (w, mu, beta, rule) = ops.state;
                let (dw, dmu, dbeta) = B::weights_backward(w, mu, beta, rule, dq);
                let [w, mu, beta] = ops.parents.map(|parent| parent.map(|node| node.id));
                // A frozen shape gets no gradient at all: a gradient of 0 would still move it by the optimizer's momentum.
                let beta = beta.filter(|_| !rule.frozen);
                register::<B, 3>(grads, [w, mu, beta], [dw, dmu, dbeta]);
            }
        }
        let ((w, w_node), (mu, mu_node), (beta, beta_node)) = (w.into_parts(), mu.into_parts(), beta.into_parts());
        let q = B::sq_weights(w.clone(), mu.clone(), beta.clone(), rule);
        match Backward::<B, 3>::prepare::<C>(Weights, [w_node, mu_node, beta_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((w, mu, beta, rule), q),
            OpsKind::UnTracked(prep) => prep.finish(q),
        }
    }

    fn sq_activations(x: FloatTensor<Self>, top: FloatTensor<Self>, levels: Levels) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Activations;
        impl<B: Kernels> Backward<B, 2> for Activations {
            type State = (FloatTensor<B>, FloatTensor<B>, Levels);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, top, levels) = ops.state;
                let (dx, dtop) = B::activations_backward(x, top, levels, dy);
                let parents = ops.parents.map(|parent| parent.map(|node| node.id));
                register::<B, 2>(grads, parents, [dx, dtop]);
            }
        }
        let ((x, x_node), (top, top_node)) = (x.into_parts(), top.into_parts());
        let y = B::sq_activations(x.clone(), top.clone(), levels);
        match Backward::<B, 2>::prepare::<C>(Activations, [x_node, top_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, top, levels), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn sq_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, stride: usize, pad: usize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Conv;
        impl<B: Kernels> Backward<B, 2> for Conv {
            type State = (FloatTensor<B>, FloatTensor<B>, usize, usize);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, w, stride, pad) = ops.state;
                let [input, weight] = ops.parents;
                if let Some(parent) = weight {
                    let gradient = B::conv2d_weight(x.clone(), w.clone(), stride, pad, dy.clone());
                    grads.register::<B>(parent.id, gradient);
                }
                if let Some(parent) = input {
                    grads.register::<B>(parent.id, B::conv2d_input(x, w, stride, pad, dy));
                }
            }
        }
        let ((x, x_node), (w, w_node)) = (x.into_parts(), w.into_parts());
        let y = B::sq_conv2d(x.clone(), w.clone(), stride, pad);
        match Backward::<B, 2>::prepare::<C>(Conv, [x_node, w_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, w, stride, pad), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn sq_dense(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Dense;
        impl<B: Kernels> Backward<B, 2> for Dense {
            type State = (FloatTensor<B>, FloatTensor<B>);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, w) = ops.state;
                let [input, weight] = ops.parents;
                if let Some(parent) = weight {
                    grads.register::<B>(parent.id, B::dense_weight(x, dy.clone()));
                }
                if let Some(parent) = input {
                    grads.register::<B>(parent.id, B::dense_input(w, dy));
                }
            }
        }
        let ((x, x_node), (w, w_node)) = (x.into_parts(), w.into_parts());
        let y = B::sq_dense(x.clone(), w.clone());
        match Backward::<B, 2>::prepare::<C>(Dense, [x_node, w_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, w), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn sq_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct Norm;
        impl<B: Kernels> Backward<B, 3> for Norm {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f32);
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, gamma, mean, variance, epsilon) = ops.state;
                let (dx, dgamma, dbeta) = B::batch_norm_backward(x, gamma, mean, variance, dy, epsilon);
                let parents = ops.parents.map(|parent| parent.map(|node| node.id));
                register::<B, 3>(grads, parents, [dx, dgamma, dbeta]);
            }
        }
        let ((x, x_node), (gamma, gamma_node), (beta, beta_node)) =
            (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (y, mean, variance) = B::sq_batch_norm(x.clone(), gamma.clone(), beta, epsilon);
        let y = match Backward::<B, 3>::prepare::<C>(Norm, [x_node, gamma_node, beta_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, gamma, mean.clone(), variance.clone(), epsilon), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        (
            y,
            <Self as AutodiffBackend>::from_inner(mean),
            <Self as AutodiffBackend>::from_inner(variance),
        )
    }
}

#[cfg(test)]
mod tests;
