//! Operations with their own gradients: what the framework lacks (Smart Quantization) or has slowly (convolution, batch
//! normalisation on a CPU).
//!
//! The arithmetic is in `conv`, `norm` and `quantize`, on plain slices; this file makes burn operations of it: [`SqOps`] is
//! what the network calls, [`Kernels`] what a backend must bring, and the gradients are written once for any backend
//! that has the kernels. Today that is the CPU backend, Flex.

mod conv;
mod flex;
mod gemm;
mod norm;
mod quantize;

pub use quantize::{CLIP, INT8_TOP, Levels};

use crate::quant::Power;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Three tensors: of a normalisation `(y, mean, variance)`, of a gradient `(dx, dgamma, dbeta)` or `(dw, dmu, dbeta)`.
pub type Triple<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

/// Numbers of a layer's quantizer that are not learned.
#[derive(Clone, Copy, Debug)]
pub struct SqRule {
    /// Power of the regulariser.
    pub power: Power,
    /// A layer is binary where `Delta / mu` is below this.
    pub epsilon: f32,
}

/// Differentiable operations, called through the functions of this module.
#[backend_extension(Flex, Autodiff)]
pub trait SqOps: Backend {
    /// See [`quantize_weights`].
    fn sq_weights(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
    ) -> FloatTensor<Self>;
    /// See [`regulariser`].
    fn sq_regulariser(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
    ) -> FloatTensor<Self>;
    /// See [`quantize_activations`].
    fn sq_activations(x: FloatTensor<Self>, levels: Levels) -> FloatTensor<Self>;
    /// See [`conv2d`].
    fn sq_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, pad: usize) -> FloatTensor<Self>;
    /// See [`batch_norm`].
    fn sq_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Gradients that a backend computes itself.
pub trait Kernels: SqOps {
    /// `(dw, dmu)` of [`quantize_weights`].
    fn weights_backward(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
        dq: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// `(dw, dmu, dbeta)` of [`regulariser`].
    fn regulariser_backward(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
        upstream: FloatTensor<Self>,
    ) -> Triple<Self>;
    /// Gradient of [`quantize_activations`].
    fn activations_backward(x: FloatTensor<Self>, levels: Levels, dy: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Input gradient of [`conv2d`].
    fn conv2d_input(x: FloatTensor<Self>, w: FloatTensor<Self>, pad: usize, dy: FloatTensor<Self>)
    -> FloatTensor<Self>;
    /// Weight gradient of [`conv2d`].
    fn conv2d_weight(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        pad: usize,
        dy: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// `(dx, dgamma, dbeta)` of [`batch_norm`], from the statistics that it returned.
    fn batch_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
    ) -> Triple<Self>;
}

/// Quantised weights: the levels of [`crate::quant::SqShape`] times `mu [1]`. The gradient passes straight through to `w`
/// where `|w| <= CLIP * mu`; `mu` receives the sum of level times gradient; `beta [1]` none.
pub fn quantize_weights<const D: usize>(w: Tensor<D>, mu: Tensor<1>, beta: Tensor<1>, rule: SqRule) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::sq_weights(
        w.into_dispatch(),
        mu.into_dispatch(),
        beta.into_dispatch(),
        rule,
    ))
}

/// Mean of the regulariser over the weights, `[1]`; differentiable in `w`, `mu [1]` and `beta [1]`.
pub fn regulariser<const D: usize>(w: Tensor<D>, mu: Tensor<1>, beta: Tensor<1>, rule: SqRule) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sq_regulariser(
        w.into_dispatch(),
        mu.into_dispatch(),
        beta.into_dispatch(),
        rule,
    ))
}

/// Quantised activations with a clipped straight-through gradient.
pub fn quantize_activations<const D: usize>(x: Tensor<D>, levels: Levels) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::sq_activations(x.into_dispatch(), levels))
}

/// Convolution at stride 1 of `x [batch, inputs, h, w]` with `w [outputs, inputs, k, k]`, `pad` zeros on each side.
pub fn conv2d(x: Tensor<4>, w: Tensor<4>, pad: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::sq_conv2d(x.into_dispatch(), w.into_dispatch(), pad))
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

impl<B: Kernels, C: CheckpointStrategy> SqOps for Autodiff<B, C> {
    fn sq_weights(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Weights;
        impl<B: Kernels> Backward<B, 2> for Weights {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, SqRule);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dq = grads.consume::<B>(&ops.node);
                let (w, mu, beta, rule) = ops.state;
                let (dw, dmu) = B::weights_backward(w, mu, beta, rule, dq);
                for (parent, gradient) in ops.parents.into_iter().zip([dw, dmu]) {
                    if let Some(parent) = parent {
                        grads.register::<B>(parent.id, gradient);
                    }
                }
            }
        }
        let ((w, w_node), (mu, mu_node), (beta, _)) = (w.into_parts(), mu.into_parts(), beta.into_parts());
        let q = B::sq_weights(w.clone(), mu.clone(), beta.clone(), rule);
        match Backward::<B, 2>::prepare::<C>(Weights, [w_node, mu_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((w, mu, beta, rule), q),
            OpsKind::UnTracked(prep) => prep.finish(q),
        }
    }

    fn sq_regulariser(
        w: FloatTensor<Self>,
        mu: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        rule: SqRule,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Regulariser;
        impl<B: Kernels> Backward<B, 3> for Regulariser {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, SqRule);
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let upstream = grads.consume::<B>(&ops.node);
                let (w, mu, beta, rule) = ops.state;
                let (dw, dmu, dbeta) = B::regulariser_backward(w, mu, beta, rule, upstream);
                for (parent, gradient) in ops.parents.into_iter().zip([dw, dmu, dbeta]) {
                    if let Some(parent) = parent {
                        grads.register::<B>(parent.id, gradient);
                    }
                }
            }
        }
        let ((w, w_node), (mu, mu_node), (beta, beta_node)) = (w.into_parts(), mu.into_parts(), beta.into_parts());
        let r = B::sq_regulariser(w.clone(), mu.clone(), beta.clone(), rule);
        match Backward::<B, 3>::prepare::<C>(Regulariser, [w_node, mu_node, beta_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((w, mu, beta, rule), r),
            OpsKind::UnTracked(prep) => prep.finish(r),
        }
    }

    fn sq_activations(x: FloatTensor<Self>, levels: Levels) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Activations;
        impl<B: Kernels> Backward<B, 1> for Activations {
            type State = (FloatTensor<B>, Levels);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, levels) = ops.state;
                if let [Some(parent)] = ops.parents {
                    grads.register::<B>(parent.id, B::activations_backward(x, levels, dy));
                }
            }
        }
        let (x, node) = x.into_parts();
        let y = B::sq_activations(x.clone(), levels);
        match Backward::<B, 1>::prepare::<C>(Activations, [node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, levels), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn sq_conv2d(x: FloatTensor<Self>, w: FloatTensor<Self>, pad: usize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Conv;
        impl<B: Kernels> Backward<B, 2> for Conv {
            type State = (FloatTensor<B>, FloatTensor<B>, usize);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, w, pad) = ops.state;
                let [input, weight] = ops.parents;
                if let Some(parent) = weight {
                    let gradient = B::conv2d_weight(x.clone(), w.clone(), pad, dy.clone());
                    grads.register::<B>(parent.id, gradient);
                }
                if let Some(parent) = input {
                    grads.register::<B>(parent.id, B::conv2d_input(x, w, pad, dy));
                }
            }
        }
        let ((x, x_node), (w, w_node)) = (x.into_parts(), w.into_parts());
        let y = B::sq_conv2d(x.clone(), w.clone(), pad);
        match Backward::<B, 2>::prepare::<C>(Conv, [x_node, w_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, w, pad), y),
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
                for (parent, gradient) in ops.parents.into_iter().zip([dx, dgamma, dbeta]) {
                    if let Some(parent) = parent {
                        grads.register::<B>(parent.id, gradient);
                    }
                }
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
