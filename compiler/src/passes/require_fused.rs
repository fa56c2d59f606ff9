//! The last word: what the planner cannot take is an error that names the node.

use super::layer::not_fused;
use crate::diag::Result;
use crate::ir::{Graph, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let left = g.find(|op| !matches!(op, Op::Input | Op::Output | Op::MaxPool(_) | Op::Linear { .. }));
    let found: Vec<_> = left
        .into_iter()
        .map(|id| not_fused(g, id, "it stands where no layer can take it in".into()))
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}
