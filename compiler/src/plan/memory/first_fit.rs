//! In the order of their making, each at the lowest free offset.

use super::{Value, lowest};

/// Offsets in the values' order.
pub fn arrange(values: &[Value]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&i| (values[i].from, i));
    let mut placed: Vec<(Value, u32)> = vec![];
    let mut offsets = vec![0; values.len()];
    for i in order {
        offsets[i] = lowest(&values[i], &placed);
        placed.push((values[i], offsets[i]));
    }
    offsets
}
