//! The trained networks of `tests/models`, from file to fused graph.

use sqc::ir::Op;
use sqc::progress::Silent;
use sqc::target::Target;
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
