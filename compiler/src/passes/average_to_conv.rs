//! Turns [`Op::AveragePool`] into sums over the window, which of quantised values are exact integers, and a division.
//!
//! The planner then sees a layer like any other: with a requantisation behind it if a quantizer follows, else with an `f32`
//! result.

use super::rewrite::operand;
use crate::diag::Result;
use crate::ir::{Graph, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for id in g.find(|op| matches!(op, Op::AveragePool(_))) {
        let (Op::AveragePool(window), Some(source)) = (&g.node(id).op, operand(g, id)) else {
            continue;
        };
        let window = *window;
        let (name, ty) = (g.node(id).name.clone(), g.node(id).ty.clone());
        let (weights, geom) = window.sums(ty.chw()[0]);
        let bias = None;
        let sums = g.add(&*name, Op::Conv { weights, geom, bias }, ty.clone(), &[source]);
        let mean = Op::Affine {
            mul: vec![1.0],
            // Exact: the law of the graph bounds a window's cells by 2^24.
            div: vec![window.cells() as f32],
            add: vec![0.0],
        };
        let mean = g.add(name, mean, ty, &[sums]);
        g.replace_uses(id, mean);
        g.remove(id);
    }
    Ok(())
}
