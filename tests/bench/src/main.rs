//! For every line of input, times a round of each mix of instructions that this processor has, and prints a JSON object: GMAC/s
//! by mix.

use std::io::stdin;

fn main() {
    for _ in stdin().lines() {
        println!("{{{}}}", figures().join(", "));
    }
}

#[cfg(target_arch = "x86_64")]
fn figures() -> Vec<String> {
    let available = sq_bench::ceilings::MIXES.iter().filter(|m| (m.available)());
    available
        .map(|m| format!("{:?}: {:.1}", m.name, m.macs as f64 / sq_bench::round(m.run)))
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn figures() -> Vec<String> {
    vec![]
}
