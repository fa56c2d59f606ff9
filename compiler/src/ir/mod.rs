//! The graph IR: a network with one exact meaning.

pub mod eval;
pub mod exact;
mod graph;
mod op;
pub mod range;
mod text;
mod ty;
pub mod verify;

pub use graph::{Graph, Node, NodeId};
pub use op::{Depth, Epilogue, Geometry, Join, Op, Ties, WeightData, Weights, Window};
pub use ty::{Elem, Ty};
