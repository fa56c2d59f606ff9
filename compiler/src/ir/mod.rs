//! The graph IR: a network with one exact meaning.

mod graph;
mod op;
mod ty;

pub use graph::{Graph, Node, NodeId};
pub use op::{Depth, Epilogue, Geometry, Op, WeightData, Weights, Window};
pub use ty::{Elem, Ty};
