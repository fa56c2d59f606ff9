//! The trained networks of `tests/models`, from file to fused graph.

use sqc::ir::{Graph, Op};
use sqc::package;
use sqc::plan::Plan;
use sqc::progress::Silent;
use sqc::synth::{self, Form};
use sqc::target::{Lang, Target};
use sqc::{driver, import, passes, plan};
use std::path::{Path, PathBuf};

fn models() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn every_model_becomes_layers() {
    for path in models() {
        let model = import::read(&path).unwrap_or_else(|e| panic!("{}: {e:#?}", path.display()));
        let fused = passes::run(model.graph, &mut |_, _| {}).unwrap_or_else(|e| panic!("{}: {e:#?}", path.display()));
        let linear = |op: &Op| matches!(op, Op::Linear { .. });
        assert_eq!(fused.find(linear).len(), 4, "{fused}");
        assert_eq!(fused.len(), 6, "{fused}");
        println!("{fused}");
    }
}

#[test]
fn every_arena_is_near_its_lower_bound() {
    for path in models() {
        let model = import::read(&path).unwrap_or_else(|e| panic!("{}: {e:#?}", path.display()));
        for target in Target::names() {
            for optimize in [plan::Optimize::Speed, plan::Optimize::Size] {
                let options = plan::Options {
                    optimize,
                    flash: Some(u64::MAX),
                    ram: Some(u64::MAX),
                    ..plan::Options::default()
                };
                let compiled = driver::compile(model.clone(), target, &options, &Silent, &mut |_, _, _| ());
                let compiled = compiled.unwrap_or_else(|e| panic!("{} {target}: {e:#?}", path.display()));
                let (bytes, bound) = (compiled.program.arena(), compiled.plan.memory.lower_bound);
                assert!(bound <= bytes, "{} {target}", path.display());
                let near = bytes * 100 <= bound * 105;
                assert!(near, "{} {target}: {}", path.display(), compiled.plan.memory);
            }
        }
    }
}

/// What a layer's weights take beyond a bit or two each: nothing for inputs that fill no words, nothing for outputs that fill no vectors, but what the
/// last vector loads behind them.
#[test]
fn weights_take_what_their_codes_take() {
    /// Bytes of their vectors.
    const TARGETS: [(&str, u64); 5] = [
        ("cortex-m4", 0),
        ("cortex-m55", 16),
        ("rv32imac-zbb", 0),
        ("aarch64", 16),
        ("x86_64-avx512", 64),
    ];
    for (line, bits) in [
        ("3x12x12 24C3-40C3-MP2-20FC-7FC w=ternary x=int8", 2),
        ("3x12x12 24C3-40C3-MP2-20FC-7FC w=binary x=binary", 1),
        ("1x12x12 8C3-MP2-56C3-100FC-10FC w=binary x=int8", 1),
        ("1x12x12 8C3-MP2-56C3-100FC-10FC w=ternary x=binary", 2),
        ("3x16x16 24C3-20C3-MP2-24C3-10FC w=binary x=int8", 1),
        ("1x14x14 6C5-MP2-16C5-84FC-10FC w=ternary x=int8", 2),
    ] {
        let model = network(line);
        for (target, vector) in TARGETS {
            weigh(&model, target, (bits, vector), line);
        }
    }
    // Inputs that fill no bytes, packed as signs: windows are copied, or words made of weights.
    for (line, bits) in [
        ("3x8x8 28C1-300C1-28C1-MP8-10FC w=binary x=binary", 1),
        ("3x16x16 24C3-20C3-MP2-28C3-10FC w=binary x=binary", 1),
        ("3x16x16 10C3-21C3-MP2-12C3-100FC-10FC w=ternary x=binary", 2),
    ] {
        let model = network(line);
        for (target, vector) in [TARGETS[0], TARGETS[3], TARGETS[4]] {
            weigh(&model, target, (bits, vector), line);
        }
    }
}

fn network(line: &str) -> import::Model {
    let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Network);
    import::from_bytes(&bytes, Path::new("network.onnx")).expect("a sound model")
}

/// Holds the weights of a model's layers against so many bits each, and a vector for each layer; in C too where that has vectors that Rust has not.
fn weigh(model: &import::Model, target: &str, limits: (u64, u64), line: &str) {
    let langs = if target == "cortex-m55" {
        &Lang::ALL[..]
    } else {
        &[Lang::Rust]
    };
    for &lang in langs {
        let options = plan::Options {
            lang,
            ..plan::Options::default()
        };
        let c = driver::compile(model.clone(), target, &options, &Silent, &mut |_, _, _| ());
        let c = c.unwrap_or_else(|e| panic!("{line} {target}: {e:#?}"));
        weigh_plan(&c.plan, &c.graph, limits, &format!("{line} {target} {lang}"));
    }
}

fn weigh_plan(plan: &Plan, graph: &Graph, (bits, vector): (u64, u64), what: &str) {
    let (mut stored, mut needed, mut layers) = (0, 0, 0);
    for (step, layer) in plan.steps.iter().flat_map(|s| s.layers.iter().map(move |l| (s, l))) {
        let Op::Linear { weights, .. } = &graph.node(layer.node).op else {
            continue;
        };
        let bytes = package::weight_bytes(&step.kernels[layer.kernel]);
        if bytes > 0 {
            let count: usize = weights.shape.iter().product();
            (stored, needed, layers) = (stored + bytes, needed + (count as u64 * bits).div_ceil(8), layers + 1);
        }
    }
    let most = needed + needed / 50 + layers * vector;
    assert!(stored <= most, "{what}: {stored} bytes for {needed}");
}
