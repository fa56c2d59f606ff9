//! A quantizer or an output that no layer precedes gets one: a depthwise convolution by 1.
//!
//! The planner then sees one kind of node, with an exact epilogue, for a binarised image as for a hidden layer.

use super::layer;
use super::rewrite::operand;
use crate::diag::Result;
use crate::ir::{Depth, Elem, Geometry, Graph, NodeId, Op, WeightData, Weights};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for end in g.find(|op| matches!(op, Op::Quantize { .. } | Op::Sign | Op::Output | Op::Add)) {
        // Sums before a quantizer read stored values as they are.
        let quantized = |id: NodeId| matches!(g.node(id).op, Op::Quantize { .. } | Op::Sign);
        if g.node(end).op == Op::Add && layer::end(g, end).1.is_some_and(quantized) {
            continue;
        }
        for read in g.operands(end) {
            let Some(start) = start_without_layer(g, read) else {
                continue;
            };
            let ty = g.node(start).ty.clone();
            let channels = ty.chw()[0];
            let op = Op::Conv {
                weights: Weights {
                    shape: [channels, 1, 1, 1],
                    data: WeightData::Coded {
                        depth: Depth::Binary,
                        codes: vec![1; channels],
                        scale: vec![1.0; channels],
                    },
                },
                geom: Geometry {
                    groups: channels,
                    ..Geometry::UNIT
                },
                bias: None,
            };
            let name = format!("{}.unit", g.node(end).name);
            let mut real = ty;
            real.elem = Elem::Real;
            let unit = g.add(name, op, real, &[start]);
            g.replace_uses(start, unit);
        }
    }
    Ok(())
}

/// What the real-valued steps up to `last` start from, if that is no layer.
fn start_without_layer(g: &Graph, last: NodeId) -> Option<NodeId> {
    let mut id = last;
    let mut steps = 0;
    loop {
        match &g.node(id).op {
            Op::Affine { .. } | Op::BatchNorm { .. } | Op::Relu | Op::Clip { .. } => id = operand(g, id)?,
            Op::MaxPool(_) if g.node(id).ty.elem == Elem::Real => id = operand(g, id)?,
            Op::Dequantize { .. } | Op::FromSign => return Some(id),
            // An `f32` input that goes straight to the output needs nothing, nor does a pool of it.
            Op::Input | Op::MaxPool(_) if g.node(id).ty.elem == Elem::F32 => return (steps > 0).then_some(id),
            _ => return None,
        }
        steps += 1;
    }
}
