//! `max` commutes with every nondecreasing function.
//!
//! Pools move down to stand right behind a quantizer, where [`super::fuse_pool`] merges them into the layer before it; a pool
//! between a dequantizer and a layer moves up, for the same reason.

use super::rewrite::{operand, swap, user};
use crate::diag::Result;
use crate::ir::{Graph, NodeId, Op, Ty};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    while step(g) {}
    Ok(())
}

fn step(g: &mut Graph) -> bool {
    for pool in g.find(|op| matches!(op, Op::MaxPool(_))) {
        let (Some(source), Some(next)) = (operand(g, pool), user(g, pool)) else {
            continue;
        };
        let large = g.node(source).ty.shape.clone();
        let small = g.node(pool).ty.shape.clone();
        if descends(&g.node(next).op) {
            let elem = g.node(next).ty.elem;
            swap(g, pool, next, Ty::new(elem, large), Ty::new(elem, small));
            return true;
        }
        if stored(g, source) {
            let Some(above) = operand(g, source) else { continue };
            let (elem, real) = (g.node(above).ty.elem, g.node(source).ty.elem);
            swap(g, source, pool, Ty::new(elem, small.clone()), Ty::new(real, small));
            return true;
        }
    }
    false
}

/// Nondecreasing steps that end in a layer's epilogue.
fn descends(op: &Op) -> bool {
    match op {
        Op::Relu | Op::Sign | Op::Quantize { .. } => true,
        Op::Affine { mul, div, .. } => {
            let all = |sign: fn(f32) -> bool| mul.iter().chain(div).all(|&x| sign(x));
            all(|x| x >= 0.0) || all(|x| x <= 0.0)
        }
        Op::BatchNorm { scale, .. } => scale.iter().all(|&s| s >= 0.0),
        _ => false,
    }
}

/// Readers of a stored value.
fn stored(g: &Graph, id: NodeId) -> bool {
    matches!(g.node(id).op, Op::Dequantize { .. } | Op::FromSign)
}
