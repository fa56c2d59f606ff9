//! Layers without a quantizer behind them: `max(sum * mul + add, floor)` in `f32`.
//!
//! `mul` and `add` are composed exactly and rounded once. Sums of two such values are added in `f32`.

use super::layer::{Layer, not_fused};
use super::rewrite::user;
use crate::diag::{Code, Diag, Result};
use crate::ir::exact::Surd;
use crate::ir::{Elem, Epilogue, Graph, Join, NodeId, Op, Ty};

pub(super) fn run(g: &mut Graph) -> Result<()> {
    for id in g.find(|op| matches!(op, Op::Conv { .. } | Op::Add)) {
        match g.node(id).op {
            Op::Add => join(g, id),
            _ => fuse(g, id)?,
        }
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

/// A sum of two `f32` values, with the rectifier behind it.
fn join(g: &mut Graph, add: NodeId) {
    let operands = g.operands(add);
    if operands.iter().any(|&o| g.node(o).ty.elem != Elem::F32) {
        return; // `require_fused` names it.
    }
    let relu = user(g, add).filter(|&id| g.node(id).op == Op::Relu);
    let floor = relu.map(|_| 0.0);
    let (name, ty) = (
        g.node(add).name.clone(),
        Ty::new(Elem::F32, g.node(add).ty.shape.clone()),
    );
    let new = g.add(name, Op::Join(Join::Float { floor }), ty, &operands);
    g.replace_uses(relu.unwrap_or(add), new);
    relu.into_iter().for_each(|id| g.remove(id));
    g.remove(add);
}
