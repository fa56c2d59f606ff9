//! Layers without a quantizer behind them: `max(sum * mul + add, floor)` in `f32`.
//!
//! `mul` and `add` are composed exactly and rounded once.

use super::layer::{Layer, not_fused};
use crate::diag::{Code, Diag, Result};
use crate::ir::exact::Surd;
use crate::ir::{Elem, Epilogue, Graph, NodeId, Op};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for conv in g.find(|op| matches!(op, Op::Conv { .. })) {
        fuse(g, conv)?;
    }
    // What only passes values on has their type.
    for id in g.find(|op| matches!(op, Op::MaxPool(_) | Op::Output)) {
        let real = g.node(id).ty.elem == Elem::Real;
        if real && g.operands(id).iter().all(|&o| g.node(o).ty.elem == Elem::F32) {
            g.node_mut(id).ty.elem = Elem::F32;
        }
    }
    Ok(())
}

fn fuse(g: &mut Graph, conv: NodeId) -> std::result::Result<(), Diag> {
    // Pools between the layer before and this one become `f32` with that layer.
    let mut id = conv;
    let mut pools = Vec::new();
    while let Some(&source) = g.operands(id).first()
        && matches!(g.node(source).op, Op::MaxPool(_))
    {
        pools.push(source);
        id = source;
    }
    for &pool in pools.iter().rev() {
        if g.operands(pool).iter().all(|&o| g.node(o).ty.elem == Elem::F32) {
            g.node_mut(pool).ty.elem = Elem::F32;
        }
    }
    let layer = Layer::collect(g, conv)?;
    let last = layer.last;
    // Integer sums become `f32` before anything is rounded.
    const EXACT: i64 = 1 << 24;
    if let Some((o, (lo, hi))) = layer
        .sums
        .iter()
        .flatten()
        .enumerate()
        .find(|(_, (lo, hi))| *hi >= EXACT || *lo <= -EXACT)
    {
        let found = format!("the sums of output channel {o} reach from {lo} to {hi}, beyond the 24 bits of an f32");
        return Err(Diag::new(Code::AccumulatorOverflow, found).node(&layer.name));
    }
    let round = |x: &Surd| {
        let rounded = x.to_f32();
        let found = "a composed constant does not fit an f32";
        if rounded.is_finite() {
            Ok(rounded)
        } else {
            Err(Diag::new(Code::NotFinite, found).node(&g.node(last).name))
        }
    };
    let (mut mul, mut add, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for f in &layer.functions {
        mul.push(round(&f.rise())?);
        add.push(round(f.offset())?);
        let (floor, ceiling) = f.cuts();
        if ceiling.is_some() {
            return Err(not_fused(
                g,
                last,
                "it is cut off above, by a clip or by a falling step behind a rectifier".into(),
            ));
        }
        floors.push(floor.map(&round).transpose()?);
    }
    let floor = floors[0];
    if floors.iter().any(|f| *f != floor) {
        return Err(not_fused(
            g,
            last,
            "steps behind a rectifier differ between channels".into(),
        ));
    }
    layer.replace(g, last, Elem::F32, Epilogue::Float { mul, add, floor });
    Ok(())
}
