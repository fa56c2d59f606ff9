//! The last word: what the planner cannot take is an error that names the node.

use super::layer::not_fused;
use super::rewrite::operand;
use crate::diag::{Diag, Result};
use crate::ir::{Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let left = g.find(|op| {
        !matches!(
            op,
            Op::Input | Op::Output | Op::MaxPool(_) | Op::Linear { .. } | Op::Join(_)
        )
    });
    let found: Vec<_> = left.into_iter().map(|id| explain(g, id)).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn explain(g: &Graph, id: NodeId) -> Diag {
    if operand(g, id).is_some_and(|source| matches!(g.node(source).op, Op::MaxPool(_))) {
        return not_fused(g, id, "it falls in a channel, and follows a max-pool".into())
            .help("pool behind the batch normalisation, not before it");
    }
    if g.node(id).op == Op::Add {
        return not_fused(
            g,
            id,
            "an operand of this sum is neither a layer's result nor a stored value".into(),
        )
        .help("put a quantizer or a rectifier between two sums");
    }
    let of_input = operand(g, id).is_some_and(|source| g.node(source).op == Op::Input);
    if of_input && matches!(g.node(id).op, Op::Quantize { .. }) {
        return not_fused(g, id, "it quantises the network's input, which is float".into())
            .help("make its result the input, as `uint8` or `int8`: whoever calls the code quantises");
    }
    not_fused(g, id, "it stands where no layer can take it in".into())
}
