//! Edits that several passes make.

use crate::ir::{Graph, NodeId, Op, Ty};

/// The one operand of a node that has one.
pub(super) fn operand(g: &Graph, id: NodeId) -> Option<NodeId> {
    match g.operands(id)[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The one reader of a value, if it has exactly one.
pub(super) fn user(g: &Graph, id: NodeId) -> Option<NodeId> {
    match g.users(id)[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// Exchanges a node and its only reader. The types are those of the results in the new order; returns the nodes in that order.
pub(super) fn swap(g: &mut Graph, first: NodeId, second: NodeId, new_first: Ty, new_second: Ty) -> [NodeId; 2] {
    let source = g.operands(first);
    let (a, b) = (g.node(first).clone(), g.node(second).clone());
    let moved_up = g.add(b.name, b.op, new_first, &source);
    let moved_down = g.add(a.name, a.op, new_second, &[moved_up]);
    g.replace_uses(second, moved_down);
    g.remove(second);
    g.remove(first);
    [moved_up, moved_down]
}

/// Takes a node out and lets its readers read its operand.
pub(super) fn bypass(g: &mut Graph, id: NodeId) {
    if let Some(source) = operand(g, id) {
        g.replace_uses(id, source);
        g.remove(id);
    }
}

/// Puts one node in the place of the chain that ends in `last` and starts behind `source`.
pub(super) fn replace_chain(g: &mut Graph, source: NodeId, last: NodeId, name: String, op: Op, ty: Ty) -> NodeId {
    let new = g.add(name, op, ty, &[source]);
    g.replace_uses(last, new);
    let mut id = last;
    while id != source {
        let next = g.operands(id)[0];
        g.remove(id);
        id = next;
    }
    new
}

/// The entry of a channel where one entry may stand for all.
pub(super) fn entry(values: &[f32], channel: usize) -> f32 {
    if values.len() == 1 { values[0] } else { values[channel] }
}
