//! `u8` with zero point 128 holds the values of `i8` with zero point 0, `i8` with -128 those of `u8`.
//!
//! A stored 0 that means 0 needs no correction at a padded border.

use super::rewrite::user;
use crate::diag::Result;
use crate::ir::{Elem, Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for quantize in g.find(|op| matches!(op, Op::Quantize { .. })) {
        let (Op::Quantize { zero_point: zero, .. }, elem) = (&g.node(quantize).op, g.node(quantize).ty.elem) else {
            continue;
        };
        let centered = match (elem, *zero) {
            (Elem::U8, 128) => Elem::I8,
            (Elem::I8, -128) => Elem::U8,
            _ => continue,
        };
        if let Some(chain) = readers(g, quantize, *zero) {
            for id in chain {
                let node = g.node_mut(id);
                match &mut node.op {
                    Op::Quantize { zero_point, .. } | Op::Dequantize { zero_point, .. } => *zero_point = 0,
                    _ => {}
                }
                if !matches!(node.op, Op::Dequantize { .. }) {
                    node.ty.elem = centered;
                }
            }
        }
    }
    Ok(())
}

/// The quantizer, what carries its value on, and the dequantizer with the same zero point; absent if anything else reads it.
fn readers(g: &Graph, quantize: NodeId, zero: i32) -> Option<Vec<NodeId>> {
    let mut chain = vec![quantize];
    loop {
        let next = user(g, *chain.last()?)?;
        chain.push(next);
        match &g.node(next).op {
            Op::MaxPool(_) | Op::Flatten => {}
            Op::Dequantize { zero_point, .. } if *zero_point == zero => return Some(chain),
            _ => return None,
        }
    }
}
