//! Smart Quantization: a layer's regulariser, its quantizer, and the depth that follows from its learned shape.

pub mod reparam;
mod sq;

pub use sq::{BETA_MAX, BETA_MIN, Depth, Power, Pull, SqShape};
