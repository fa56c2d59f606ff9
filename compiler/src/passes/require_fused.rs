//! The last word: what the planner cannot take is an error that names the node.

use super::layer::not_fused;
use super::rewrite::operand;
use crate::diag::{Diag, Result};
use crate::ir::{Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let left = g.find(|op| !matches!(op, Op::Input | Op::Output | Op::MaxPool(_) | Op::Linear { .. }));
    let found: Vec<_> = left.into_iter().map(|id| explain(g, id)).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn explain(g: &Graph, id: NodeId) -> Diag {
    if operand(g, id).is_some_and(|source| matches!(g.node(source).op, Op::MaxPool(_))) {
        return not_fused(g, id, "it falls in a channel, and follows a max-pool".into())
            .help("pool behind the batch normalisation, not before it");
    }
    not_fused(g, id, "it stands where no layer can take it in".into())
}
