//! Moves [`Op::Flatten`] down.
//!
//! A dense layer right behind it can then read the map as it is ([`super::dense_to_conv`]), and an output has the same
//! bytes with or without it.

use super::rewrite::{bypass, operand, swap, user};
use crate::diag::Result;
use crate::ir::{Graph, Op, Ty};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    while step(g) {}
    Ok(())
}

fn step(g: &mut Graph) -> bool {
    for flatten in g.find(|op| *op == Op::Flatten) {
        let (Some(source), Some(next)) = (operand(g, flatten), user(g, flatten)) else {
            continue;
        };
        let map = g.node(source).ty.clone();
        let [_, h, w] = map.chw();
        let per_channel = h * w == 1;
        let passes = match &g.node(next).op {
            Op::Output => {
                g.node_mut(next).ty = map;
                bypass(g, flatten);
                return true;
            }
            Op::Flatten => {
                bypass(g, flatten);
                return true;
            }
            Op::Relu | Op::Clip { .. } | Op::Sign | Op::FromSign | Op::Dequantize { .. } | Op::Quantize { .. } => true,
            Op::Affine { mul, div, add } => per_channel || [mul, div, add].iter().all(|v| v.len() == 1),
            Op::BatchNorm { .. } => per_channel,
            _ => false,
        };
        if passes {
            let (above, below) = (Ty::new(g.node(next).ty.elem, map.shape), g.node(next).ty.clone());
            swap(g, flatten, next, above, below);
            return true;
        }
    }
    false
}
