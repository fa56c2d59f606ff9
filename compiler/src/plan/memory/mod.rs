//! Where values live: offsets into the arena's pools. Strategies propose, the checker disposes.

mod by_size;
mod first_fit;

use crate::kir;
use std::fmt;

/// A value that the arena has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Type of its elements; values of different types never share memory.
    pub ty: kir::Ty,
    /// Number of elements.
    pub len: u32,
    /// Step that writes it.
    pub from: usize,
    /// Last step that reads it.
    pub to: usize,
}

/// A place for every value, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The strategy that won.
    pub strategy: &'static str,
    /// First element in the pool of the value's type.
    pub offsets: Vec<u32>,
    /// Elements that each type's pool takes.
    pub pools: Vec<kir::Pool>,
    /// Bytes of the largest set of values alive at once: no arrangement takes less.
    pub lower_bound: u64,
}

/// A way to arrange values of one type: offsets in their order.
type Strategy = fn(&[Value]) -> Vec<u32>;

const STRATEGIES: &[(&str, Strategy)] = &[("by size", by_size::arrange), ("first fit", first_fit::arrange)];

impl Value {
    /// Whether both are alive in one step. A step's operand and its result are: no kernel works in place.
    pub fn meets(&self, other: &Value) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

impl Memory {
    /// Bytes of the arena.
    pub fn bytes(&self) -> u64 {
        self.pools.iter().map(|p| p.len as u64 * p.ty.bytes() as u64).sum()
    }
}

/// Arranges `values` with every strategy and keeps the smallest arrangement, the earlier strategy where two are alike.
pub fn arrange(values: &[Value]) -> Memory {
    let candidates = STRATEGIES.iter().map(|(name, strategy)| {
        let mut memory = Memory {
            strategy: name,
            offsets: vec![0; values.len()],
            ..Memory::default()
        };
        use kir::Ty::{F32, I8, I16, I32, U8, U16, U32};
        for ty in [I8, U8, I16, U16, I32, U32, F32] {
            let ids: Vec<usize> = (0..values.len()).filter(|&i| values[i].ty == ty).collect();
            if ids.is_empty() {
                continue;
            }
            let own: Vec<Value> = ids.iter().map(|&i| values[i]).collect();
            let offsets = strategy(&own);
            let len = own.iter().zip(&offsets).map(|(v, at)| at + v.len).max().unwrap_or(0);
            memory.pools.push(kir::Pool { ty, len });
            for (&i, at) in ids.iter().zip(offsets) {
                memory.offsets[i] = at;
            }
        }
        memory.lower_bound = lower_bound(values);
        memory
    });
    candidates.min_by_key(Memory::bytes).expect("there are strategies")
}

/// Bytes of the largest set of values alive at once.
fn lower_bound(values: &[Value]) -> u64 {
    let alive = |step: usize| values.iter().filter(move |v| v.from <= step && step <= v.to);
    let bytes = |step| alive(step).map(|v| v.len as u64 * v.ty.bytes() as u64).sum();
    (0..=values.iter().map(|v| v.to).max().unwrap_or(0))
        .map(bytes)
        .max()
        .unwrap_or(0)
}

/// Whether no two values share an element while both are alive, and all fit their pools. Knows nothing of strategies.
///
/// # Errors
/// What is wrong, with the values' numbers.
pub fn check(values: &[Value], memory: &Memory) -> Result<(), String> {
    for (i, v) in values.iter().enumerate() {
        let end = memory.offsets[i] + v.len;
        let pool = memory.pools.iter().find(|p| p.ty == v.ty).map_or(0, |p| p.len);
        if end > pool {
            return Err(format!("value {i} ends at {end} in a pool of {pool}"));
        }
        for (j, w) in values.iter().enumerate().skip(i + 1) {
            let apart = end <= memory.offsets[j] || memory.offsets[j] + w.len <= memory.offsets[i];
            if v.ty == w.ty && v.meets(w) && !apart {
                return Err(format!("values {i} and {j} overlap"));
            }
        }
    }
    Ok(())
}

/// The lowest offset at which `v` meets none of the `placed` values.
fn lowest(v: &Value, placed: &[(Value, u32)]) -> u32 {
    let mut taken: Vec<(u32, u32)> = placed
        .iter()
        .filter(|(p, _)| p.meets(v))
        .map(|(p, at)| (*at, at + p.len))
        .collect();
    taken.sort_unstable();
    let mut at = 0;
    for (from, to) in taken {
        if at + v.len <= from {
            break;
        }
        at = at.max(to);
    }
    at
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "arena {} bytes ({}; lower bound {})",
            self.bytes(),
            self.strategy,
            self.lower_bound
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, arrange, check};
    use crate::kir;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        (0..3usize, 1..100u32, 0..12usize, 0..5usize).prop_map(|(ty, len, from, life)| Value {
            ty: [kir::Ty::I8, kir::Ty::U32, kir::Ty::F32][ty],
            len,
            from,
            to: from + life,
        })
    }

    proptest! {
        #[test]
        fn arrangements_pass_the_checker(values in prop::collection::vec(value(), 0..20)) {
            let memory = arrange(&values);
            prop_assert_eq!(check(&values, &memory), Ok(()));
            prop_assert!(memory.bytes() >= memory.lower_bound || memory.pools.len() > 1);
        }
    }

    fn chain(lens: &[u32]) -> Vec<Value> {
        lens.iter()
            .enumerate()
            .map(|(i, &len)| Value {
                ty: kir::Ty::I8,
                len,
                from: i,
                to: i + 1,
            })
            .collect()
    }

    #[test]
    fn a_chain_reaches_the_lower_bound() {
        let memory = arrange(&chain(&[4608, 1024, 512, 700, 300]));
        assert_eq!((memory.bytes(), memory.lower_bound), (5632, 5632));
    }

    #[test]
    fn the_checker_sees_an_overlap() {
        let values = chain(&[10, 10]);
        let mut memory = arrange(&values);
        memory.offsets = vec![0, 9];
        assert_eq!(check(&values, &memory), Err("values 0 and 1 overlap".into()));
        memory.offsets = vec![0, 11];
        assert_eq!(
            check(&values, &memory),
            Err("value 1 ends at 21 in a pool of 20".into())
        );
    }
}
