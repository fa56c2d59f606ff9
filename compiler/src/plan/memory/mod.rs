//! Where values live: offsets into the arena's pools. Strategies propose, the checker disposes.
//!
//! Values of different types either have memory apart, which generated Rust hands out without a cast, or share it.

mod by_size;
mod ends;
mod first_fit;

use crate::kir::{self, Pool, SHARED_ALIGN};
use std::fmt;

/// A value that the arena has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Type of its elements.
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
    /// One pool per type in use. They are apart, or all of them begin at byte 0.
    pub pools: Vec<Pool>,
    /// Bytes of the largest set of values alive at once: no arrangement takes less.
    pub lower_bound: u64,
}

/// A way to arrange values: offsets in their order.
type Strategy = fn(&[Value]) -> Vec<u32>;

/// The pools, and the first element of every value, in their order.
type Arranged = (Vec<Pool>, Vec<u32>);

const STRATEGIES: &[(&str, Strategy)] = &[
    ("by size", by_size::arrange),
    ("first fit", first_fit::arrange),
    ("ends", ends::arrange),
];

/// How far above the lower bound, in percent, types may have memory apart. Sharing needs a cast in Rust, the one place where a
/// crate without vectors is not safe code.
const APART_PERCENT: u64 = 5;

impl Value {
    /// Whether both are alive in one step. A step's operand and its result are: no kernel works in place.
    pub fn meets(&self, other: &Value) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    fn bytes(&self) -> u32 {
        self.len * self.ty.bytes()
    }
}

impl Memory {
    /// Bytes of the arena.
    pub fn bytes(&self) -> u64 {
        self.pools.iter().map(|p| u64::from(p.end())).max().unwrap_or(0)
    }

    /// Whether values of different types share memory.
    pub fn shared(&self) -> bool {
        self.pools.len() > 1 && self.pools.iter().all(|p| p.at == 0)
    }
}

/// Arranges `values` with every strategy and keeps the smallest arrangement, the earlier strategy where two are alike. Types
/// share memory only where that saves some, and where they `may`.
pub fn arrange(values: &[Value], may: bool) -> Memory {
    let lower_bound = u64::from(peak(values, Value::bytes));
    let all = |arrange: fn(&[Value], Strategy) -> Arranged| {
        let candidates = STRATEGIES.iter().map(|&(strategy, f)| {
            let (pools, offsets) = arrange(values, f);
            Memory {
                strategy,
                offsets,
                pools,
                lower_bound,
            }
        });
        candidates.min_by_key(Memory::bytes).expect("there are strategies")
    };
    let apart = all(apart);
    if !may || apart.bytes() * 100 <= lower_bound * (100 + APART_PERCENT) {
        return apart;
    }
    let shared = all(shared);
    if shared.bytes() < apart.bytes() { shared } else { apart }
}

/// The types in use, in a fixed order.
fn types(values: &[Value]) -> Vec<kir::Ty> {
    let mut types: Vec<kir::Ty> = values.iter().map(|v| v.ty).collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// Each type by itself.
fn apart(values: &[Value], strategy: Strategy) -> Arranged {
    let mut offsets = vec![0; values.len()];
    let pool = |ty| {
        let ids: Vec<usize> = (0..values.len()).filter(|&i| values[i].ty == ty).collect();
        let own: Vec<Value> = ids.iter().map(|&i| values[i]).collect();
        let found = strategy(&own);
        let len = own.iter().zip(&found).map(|(v, at)| at + v.len).max().unwrap_or(0);
        for (i, at) in ids.into_iter().zip(found) {
            offsets[i] = at;
        }
        (ty, len)
    };
    let pools = types(values).into_iter().map(pool).collect();
    (Pool::apart(pools), offsets)
}

/// All types in the same memory, in units of [`SHARED_ALIGN`].
fn shared(values: &[Value], strategy: Strategy) -> Arranged {
    let units = values.iter().map(|v| Value {
        len: v.bytes().div_ceil(SHARED_ALIGN),
        ..*v
    });
    let units: Vec<Value> = units.collect();
    let found = strategy(&units);
    let end = units.iter().zip(&found).map(|(v, at)| at + v.len).max().unwrap_or(0);
    let elements = |ty: kir::Ty, units: u32| units * SHARED_ALIGN / ty.bytes();
    let pool = |ty| Pool {
        ty,
        len: elements(ty, end),
        at: 0,
    };
    let offsets = values.iter().zip(found).map(|(v, at)| elements(v.ty, at));
    (types(values).into_iter().map(pool).collect(), offsets.collect())
}

/// The largest sum over the values alive in one step.
fn peak(values: &[Value], size: fn(&Value) -> u32) -> u32 {
    let alive = |step: usize| values.iter().filter(move |v| v.from <= step && step <= v.to);
    let last = values.iter().map(|v| v.to).max().unwrap_or(0);
    (0..=last).map(|step| alive(step).map(size).sum()).max().unwrap_or(0)
}

/// Whether no two values share a byte while both are alive, and all fit their pools. Knows nothing of strategies.
///
/// # Errors
/// What is wrong, with the values' numbers.
pub fn check(values: &[Value], memory: &Memory) -> Result<(), String> {
    let span = |i: usize| {
        let (v, at) = (&values[i], memory.offsets[i]);
        let pool = memory.pools.iter().find(|p| p.ty == v.ty);
        let pool = pool.ok_or_else(|| format!("value {i} has no pool"))?;
        if at + v.len > pool.len {
            return Err(format!("value {i} ends at {} in a pool of {}", at + v.len, pool.len));
        }
        let from = pool.at + at * v.ty.bytes();
        if memory.shared() && !from.is_multiple_of(SHARED_ALIGN) {
            return Err(format!("value {i} begins at byte {from} of shared memory"));
        }
        Ok((from, from + v.bytes()))
    };
    let spans: Vec<(u32, u32)> = (0..values.len()).map(span).collect::<Result<_, _>>()?;
    for (i, v) in values.iter().enumerate() {
        for (j, w) in values.iter().enumerate().skip(i + 1) {
            let apart = spans[i].1 <= spans[j].0 || spans[j].1 <= spans[i].0;
            if v.meets(w) && !apart {
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
            "arena {} bytes ({}{}; lower bound {})",
            self.bytes(),
            self.strategy,
            if self.shared() { ", types share memory" } else { "" },
            self.lower_bound
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, arrange, check};
    use crate::kir;
    use proptest::prelude::*;

    const TYPES: [kir::Ty; 4] = [kir::Ty::I8, kir::Ty::I16, kir::Ty::U32, kir::Ty::F32];

    fn value() -> impl Strategy<Value = Value> {
        (0..TYPES.len(), 1..100u32, 0..12usize, 0..5usize).prop_map(|(ty, len, from, life)| Value {
            ty: TYPES[ty],
            len,
            from,
            to: from + life,
        })
    }

    /// Each step's result, read by the next one, and up to two scratch buffers of its kernel.
    fn network() -> impl Strategy<Value = Vec<Value>> {
        let buffer = || (0..TYPES.len(), 100..10_000u32);
        let step = (buffer(), prop::collection::vec(buffer(), 0..3));
        prop::collection::vec(step, 1..12).prop_map(|steps| {
            let value = |from, to| {
                move |(ty, len)| Value {
                    ty: TYPES[ty],
                    len,
                    from,
                    to,
                }
            };
            let of_step = |(i, (result, scratch)): (usize, (_, Vec<_>))| {
                let scratch = scratch.into_iter().map(value(i, i));
                [value(i, i + 1)(result)].into_iter().chain(scratch).collect::<Vec<_>>()
            };
            steps.into_iter().enumerate().flat_map(of_step).collect()
        })
    }

    proptest! {
        #[test]
        fn arrangements_pass_the_checker(values in prop::collection::vec(value(), 0..20)) {
            let memory = arrange(&values, true);
            prop_assert_eq!(check(&values, &memory), Ok(()));
            prop_assert!(memory.bytes() >= memory.lower_bound);
        }

        #[test]
        fn a_chain_comes_within_five_percent_of_the_lower_bound(values in network()) {
            let memory = arrange(&values, true);
            prop_assert_eq!(check(&values, &memory), Ok(()));
            prop_assert!(memory.bytes() * 100 <= memory.lower_bound * 105, "{}", memory);
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
    fn a_chain_of_one_type_reaches_the_lower_bound() {
        let memory = arrange(&chain(&[4608, 1024, 512, 700, 300]), true);
        assert_eq!((memory.bytes(), memory.lower_bound), (5632, 5632));
        assert!(!memory.shared());
    }

    #[test]
    fn types_share_memory_where_that_saves_some() {
        let mut values = chain(&[4000, 4000, 4000, 4000]);
        values[2].ty = kir::Ty::U8;
        values[3].ty = kir::Ty::U8;
        let memory = arrange(&values, true);
        assert_eq!(
            (memory.bytes(), memory.lower_bound, memory.shared()),
            (8000, 8000, true)
        );
        // A small value of another type costs less than a cast is worth.
        values[2].ty = kir::Ty::I8;
        values[3].len = 20;
        let memory = arrange(&values, true);
        assert_eq!(
            (memory.bytes(), memory.lower_bound, memory.shared()),
            (8020, 8000, false)
        );
    }

    #[test]
    fn the_checker_sees_an_overlap() {
        let values = chain(&[10, 10]);
        let mut memory = arrange(&values, true);
        memory.offsets = vec![0, 9];
        assert_eq!(check(&values, &memory), Err("values 0 and 1 overlap".into()));
        memory.offsets = vec![0, 11];
        assert_eq!(
            check(&values, &memory),
            Err("value 1 ends at 21 in a pool of 20".into())
        );
    }

    #[test]
    fn the_checker_sees_an_overlap_of_types() {
        let mut values = chain(&[4000, 4000, 4000, 4000]);
        values[2].ty = kir::Ty::I16;
        values[3].ty = kir::Ty::I16;
        let mut memory = arrange(&values, true);
        assert!(memory.shared());
        assert_eq!(check(&values, &memory), Ok(()));
        memory.offsets[2] = memory.offsets[1] / 2;
        assert_eq!(check(&values, &memory), Err("values 1 and 2 overlap".into()));
        memory.offsets[0] = 1;
        assert_eq!(
            check(&values, &memory),
            Err("value 0 begins at byte 1 of shared memory".into())
        );
    }
}
