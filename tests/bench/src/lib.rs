//! What the benchmarks share.

#[allow(
    unsafe_code,
    reason = "vector loads, and calls of functions for instructions that were looked for"
)]
#[cfg(target_arch = "x86_64")]
pub mod ceilings;

use std::time::{Duration, Instant};

/// The workloads whose speed is watched, as lines of `sqc synth`; the first half of a pair names it in reports.
pub const LAYERS: &[(&str, &str)] = &[
    ("binary x binary conv 64x56x56", "64x56x56 64C3 w=binary x=binary"),
    ("binary x binary conv 256x14x14", "256x14x14 256C3 w=binary x=binary"),
    ("binary x ternary conv 64x56x56", "64x56x56 64C3 w=binary x=ternary"),
    ("ternary x ternary conv 64x56x56", "64x56x56 64C3 w=ternary x=ternary"),
    ("binary x int8 conv 64x56x56", "64x56x56 64C3 w=binary x=int8"),
    ("ternary x int8 conv 64x56x56", "64x56x56 64C3 w=ternary x=int8"),
    ("binary x int8 conv 256x14x14", "256x14x14 256C3 w=binary x=int8"),
    ("ternary x int8 conv 256x14x14", "256x14x14 256C3 w=ternary x=int8"),
    ("ternary x int8 dense 1024", "1024 1024FC w=ternary x=int8"),
    ("ternary x int8 dense 4096", "4096 4096FC w=ternary x=int8"),
    ("binary x int8 dense 1024", "1024 1024FC w=binary x=int8"),
];

/// VGG-7 for CIFAR-10's images, without what it says of weights and activations.
pub const VGG7: &str = "3x32x32 128C3-128C3-MP2-256C3-256C3-MP2-512C3-512C3-MP2-1024FC-10FC";

/// Nanoseconds of one call, from a round of calls that lasts 5 ms or more.
pub fn round(mut call: impl FnMut()) -> f64 {
    const ROUND: Duration = Duration::from_millis(5);
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < ROUND {
        (0..4).for_each(|_| call());
        calls += 4;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
