//! The operations from the framework's tensor operations alone: what every backend can do, and what one does that brings no
//! body of its own. The arithmetic is that of `quantize`, `conv`, `dense` and `norm`; the tests hold the two together.
//!
//! Nothing is read back: a value that the CPU body takes as a number (the shape `beta`, the range `top`) stays a tensor here,
//! and a choice by it is a product with 0 or 1, so that a GPU never waits for the host.

mod array;
mod layers;
mod quantize;

pub use layers::{
    batch_norm, batch_norm_backward, conv2d, conv2d_input, conv2d_weight, dense, dense_input, dense_weight,
};
pub use quantize::{activations, activations_backward, weights, weights_backward};

#[cfg(test)]
mod tests;
