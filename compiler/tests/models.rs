//! The trained networks of `tests/models`, from file to fused graph.

use sqc::ir::Op;
use sqc::{import, passes};
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
