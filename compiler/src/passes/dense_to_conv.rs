//! Turns [`Op::Dense`] into [`Op::Conv`]; [`Op::Flatten`] before it vanishes, as both are row-major.

use super::rewrite::{bypass, operand};
use crate::diag::Result;
use crate::ir::{Geometry, Graph, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for dense in g.find(|op| matches!(op, Op::Dense { .. })) {
        if let Some(flatten) = operand(g, dense).filter(|&id| g.node(id).op == Op::Flatten) {
            bypass(g, flatten);
        }
        let Some(map) = operand(g, dense).map(|id| g.node(id).ty.chw()) else {
            continue;
        };
        let node = g.node_mut(dense);
        if let Op::Dense { weights, bias } = &node.op {
            let mut weights = weights.clone();
            weights.shape[1..].copy_from_slice(&map);
            let bias = bias.clone();
            node.op = Op::Conv {
                weights,
                geom: Geometry::UNIT,
                bias,
            };
        }
    }
    Ok(())
}
