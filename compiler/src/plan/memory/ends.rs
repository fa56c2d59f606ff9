//! In the order of their making, at the bottom and at the top in turn; what serves one step alone, between them.
//!
//! A network that is a chain fits its lower bound this way: a step's operand lies at one end and its result at the other, and
//! what the bound leaves between them is enough for the step's scratch buffers.

use super::{Value, lowest, peak};

/// Offsets in the values' order.
pub fn arrange(values: &[Value]) -> Vec<u32> {
    let top = peak(values, |v| v.len);
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Values that last come first, so that scratch buffers fill the gaps.
    order.sort_by_key(|&i| (values[i].from == values[i].to, values[i].from, i));
    let mut placed: Vec<(Value, u32)> = vec![];
    let mut offsets = vec![0; values.len()];
    let mut high = false;
    for i in order {
        let v = &values[i];
        let at = top.saturating_sub(v.len);
        let free = placed.iter().all(|(p, from)| !p.meets(v) || from + p.len <= at);
        offsets[i] = if high && free { at } else { lowest(v, &placed) };
        high = !high;
        placed.push((*v, offsets[i]));
    }
    offsets
}
