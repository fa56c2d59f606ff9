//! `max` commutes with every nondecreasing function.
//!
//! Behind a layer, pools move down to the quantizer, where [`super::fuse_pool`] merges them into that layer. Where no layer
//! stands between a stored value and a pool, the pool moves up to the stored value.

use super::rewrite::{operand, swap, user};
use crate::diag::Result;
use crate::ir::{Elem, Graph, NodeId, Op, Ty};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let pools = g.find(|op| matches!(op, Op::MaxPool(_)));
    // Those that move down start with the last, so that none meets another on its way; then the others.
    for mut pool in pools.into_iter().rev() {
        while let Some(moved) = down(g, pool) {
            pool = moved;
        }
    }
    for mut pool in g.find(|op| matches!(op, Op::MaxPool(_))) {
        while let Some(moved) = up(g, pool) {
            pool = moved;
        }
    }
    Ok(())
}

/// Moves a pool behind the step that follows it; its new id, if it moved.
fn down(g: &mut Graph, pool: NodeId) -> Option<NodeId> {
    let (source, next) = (operand(g, pool)?, user(g, pool)?);
    if !rises(&g.node(next).op) || reads_stored(g, source) {
        return None;
    }
    let elem = g.node(next).ty.elem;
    let above = Ty::new(elem, g.node(source).ty.shape.clone());
    let below = Ty::new(elem, g.node(pool).ty.shape.clone());
    let [_, pool] = swap(g, pool, next, above, below);
    Some(pool)
}

/// Moves a pool before the step that it reads; its new id, if it moved.
fn up(g: &mut Graph, pool: NodeId) -> Option<NodeId> {
    let source = operand(g, pool)?;
    let stored = operand(g, source)?;
    if !reads_stored(g, source) {
        return None;
    }
    let small = g.node(pool).ty.shape.clone();
    let above = Ty::new(g.node(stored).ty.elem, small.clone());
    let below = Ty::new(g.node(source).ty.elem, small);
    let [pool, _] = swap(g, source, pool, above, below);
    Some(pool)
}

/// Nondecreasing steps.
fn rises(op: &Op) -> bool {
    match op {
        Op::Relu | Op::Clip { .. } | Op::Sign | Op::Quantize { .. } => true,
        Op::Affine { mul, div, .. } => {
            let all = |sign: fn(f32) -> bool| mul.iter().chain(div).all(|&x| sign(x));
            all(|x| x >= 0.0) || all(|x| x <= 0.0)
        }
        Op::BatchNorm { scale, .. } => scale.iter().all(|&s| s >= 0.0),
        _ => false,
    }
}

/// Whether only nondecreasing steps lead from a stored value to the result of `id`.
fn reads_stored(g: &Graph, mut id: NodeId) -> bool {
    loop {
        match &g.node(id).op {
            Op::Dequantize { .. } | Op::FromSign => return true,
            op if g.node(id).ty.elem == Elem::Real && rises(op) => match operand(g, id) {
                Some(above) => id = above,
                None => return false,
            },
            _ => return false,
        }
    }
}
