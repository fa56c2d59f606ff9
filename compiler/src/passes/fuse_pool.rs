//! A pool behind a layer becomes a maximum over its sums: every epilogue is nondecreasing, rounding included.

use super::rewrite::{bypass, operand, user};
use crate::diag::Result;
use crate::ir::{Graph, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for id in g.find(|op| matches!(op, Op::MaxPool(_))) {
        let (Op::MaxPool(window), Some(source)) = (&g.node(id).op, operand(g, id)) else {
            continue;
        };
        let window = *window;
        let apart = (0..2).all(|axis| window.stride[axis] >= window.size[axis]);
        if window.pads != [0; 4] || !apart || user(g, source) != Some(id) {
            continue;
        }
        let shape = g.node(id).ty.shape.clone();
        if let Op::Linear { pool: pool @ None, .. } = &mut g.node_mut(source).op {
            *pool = Some(window);
            g.node_mut(source).ty.shape = shape;
            bypass(g, id);
        }
    }
    Ok(())
}
