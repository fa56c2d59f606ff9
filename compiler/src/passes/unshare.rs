//! Gives every reader of a stored value its own steps between it and that value.
//!
//! A residual block reads its operand twice: as the operand of a convolution, into which the steps fuse, and as the shortcut.

use super::rewrite::operand;
use crate::diag::Result;
use crate::ir::{Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    // Readers first: a copied step reads what the step before it makes, which is then shared too.
    for id in g.order().into_iter().rev() {
        if !reads_stored(g, id) {
            continue;
        }
        let Some(source) = operand(g, id) else { continue };
        let node = g.node(id).clone();
        for user in g.users(id).into_iter().skip(1) {
            let copy = g.add(&*node.name, node.op.clone(), node.ty.clone(), &[source]);
            g.replace_use(id, copy, user);
        }
    }
    Ok(())
}

/// Whether a step, and nothing but such steps, stands between `id` and a stored value.
fn reads_stored(g: &Graph, mut id: NodeId) -> bool {
    loop {
        match (&g.node(id).op, operand(g, id)) {
            (Op::Dequantize { .. } | Op::FromSign, _) => return true,
            (Op::Affine { .. }, Some(above)) => id = above,
            _ => return false,
        }
    }
}
