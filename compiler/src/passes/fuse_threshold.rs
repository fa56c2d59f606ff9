//! [`Op::Sign`] behind a layer: the least sum that gives +1, per channel.
//!
//! A channel that is always +1 gets the least reachable sum, one that never is gets the greatest plus 1.

use super::layer::{Layer, end, not_fused};
use crate::diag::{Diag, Result};
use crate::ir::exact::Quantum;
use crate::ir::{Elem, Epilogue, Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    let mut found = Vec::new();
    for conv in g.find(|op| matches!(op, Op::Conv { .. })) {
        if let (_, Some(sign)) = end(g, conv)
            && g.node(sign).op == Op::Sign
            && let Err(diag) = fuse(g, conv, sign)
        {
            found.push(diag);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn fuse(g: &mut Graph, conv: NodeId, sign: NodeId) -> std::result::Result<(), Diag> {
    let layer = Layer::collect(g, conv)?;
    let Some(sums) = &layer.sums else {
        return Err(not_fused(
            g,
            sign,
            format!("it takes the sign of `{}`, whose sums are float", layer.name),
        ));
    };
    let unit = Quantum::from(1.0);
    let thresholds = layer.functions.iter().zip(sums).map(|(f, &(lo, hi))| {
        // The bounds fit 31 bits: `Layer::collect` checks them.
        f.reaches(&unit.zero(), lo, hi) as i32
    });
    let epilogue = Epilogue::Threshold(thresholds.collect());
    layer.replace(g, sign, Elem::Sign, epilogue);
    Ok(())
}
