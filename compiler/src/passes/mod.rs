//! From the imported dialect to the fused one: each pass keeps the exact meaning of the graph.

mod average_to_conv;
mod center_zero_points;
mod commute_pool;
mod dense_to_conv;
mod exact_join;
mod exact_requant;
mod function;
mod fuse_float;
mod fuse_pool;
mod fuse_threshold;
mod layer;
mod require_fused;
mod rewrite;
mod sink_flatten;
#[cfg(test)]
mod tests;
mod ties;
mod unit_layer;
mod unshare;

use crate::diag::{Code, Diag, Result};
use crate::ir::{Graph, verify};

/// One pass.
pub struct Row {
    /// Its file and the name that `--dump` shows.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Changes the graph, or says why it cannot.
    pub run: fn(&mut Graph) -> Result<()>,
}

/// The passes, in the order in which they run.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    Row { name: "average_to_conv", doc: "Turns average-pooling into a convolution by 1, whose sums of integers are exact, and a division.", run: average_to_conv::run },
    Row { name: "unshare", doc: "Copies the steps behind a stored value for each of its readers.", run: unshare::run },
    Row { name: "sink_flatten", doc: "Moves flattening down to the dense layer, or to the output, that wants a vector.", run: sink_flatten::run },
    Row { name: "dense_to_conv", doc: "Turns a dense layer into a convolution whose kernel is the whole map.", run: dense_to_conv::run },
    Row { name: "center_zero_points", doc: "Stores a value with the zero point in the middle or at the end of its range in the type whose zero means 0.", run: center_zero_points::run },
    Row { name: "commute_pool", doc: "Moves max-pooling behind the nondecreasing steps that follow it, up to the quantizer.", run: commute_pool::run },
    Row { name: "unshare", doc: "The same for steps that pools have moved above.", run: unshare::run },
    Row { name: "unit_layer", doc: "Puts a convolution by 1 where a quantizer or the output reads no layer.", run: unit_layer::run },
    Row { name: "fuse_threshold", doc: "Layers with a sign behind them: one exact integer threshold per channel.", run: fuse_threshold::run },
    Row { name: "exact_requant", doc: "Layers with a quantizer behind them: multiply, add and shift, proven for every reachable sum.", run: exact_requant::run },
    Row { name: "exact_join", doc: "Sums of two values with a quantizer behind them: factors, addend and shift, proven for every reachable pair.", run: exact_join::run },
    Row { name: "fuse_float", doc: "The other layers: constants composed exactly, rounded once to f32.", run: fuse_float::run },
    Row { name: "fuse_pool", doc: "Takes the maximum over the sums of the layer before it.", run: fuse_pool::run },
    Row { name: "require_fused", doc: "Names every node that is left in the imported dialect.", run: require_fused::run },
];

/// Runs every pass, verifies the graph after each, and shows it to `after_each`.
pub fn run(mut g: Graph, after_each: &mut dyn FnMut(&'static str, &Graph)) -> Result<Graph> {
    for row in TABLE {
        (row.run)(&mut g)?;
        verify::verify(&g).map_err(|e| Diag::new(Code::Internal, format!("after {}: {e}", row.name)))?;
        after_each(row.name, &g);
    }
    Ok(g)
}
