//! `sqc verify`: every way to run a network agrees, on this machine and in emulators.

use sq_tests::model::fixed_point;
use sq_tests::tools::require_target;
use sq_tests::{MODELS, committed};
use sqc::progress::Silent;
use sqc::synth::{self, Form};
use sqc::target::{Lang, Target};
use sqc::{data, driver, package, plan, verify};
use std::path::Path;

/// Verifies a model of ours on a target with so many synthetic samples.
fn check(model: &str, target: &str, samples: usize) {
    check_plan(&committed(model), target, samples, plan::Optimize::default());
}

/// Verifies a model as it is planned for a goal; how many of its layers are computed row by row.
fn check_plan(path: &Path, target: &str, samples: usize, optimize: plan::Optimize) -> usize {
    if !require_target(&Target::load(target).expect("the target is known")) {
        return 0;
    }
    let m = driver::read(path, None).expect("the model is sound");
    let samples = data::synthetic(&package::input_ty(&m.graph), samples);
    let programs = Lang::ALL.map(|lang| {
        let options = plan::Options {
            lang,
            optimize,
            ..plan::Options::default()
        };
        let c = driver::compile(m.clone(), target, &options, &Silent, &mut |_, _, _| ());
        c.unwrap_or_else(|e| panic!("{} for {target}: {}", path.display(), e[0]))
    });
    let (report, findings) = verify::verify(path, &programs, &samples, &Silent)
        .unwrap_or_else(|e| panic!("{} on {target}: {}", path.display(), e[0]));
    assert_eq!(findings, [], "{} on {target}:\n{report}", path.display());
    assert_eq!(report.runs.len(), 4);
    assert!(report.runs[2..].iter().all(|r| r.agree == samples.count()), "{report}");
    let by_rows = programs[0]
        .plan
        .steps
        .iter()
        .map(|s| s.layers.len())
        .filter(|layers| *layers > 1);
    by_rows.sum()
}

#[test]
fn every_model_agrees_on_this_machine() {
    MODELS.iter().for_each(|model| check(model, "native", 200));
}

#[test]
fn every_target_agrees() {
    for target in Target::names() {
        check("lenet5_int8", target, 8);
        check("lenet5_binary", target, 8);
    }
}

#[test]
fn floats_agree() {
    for target in Target::names() {
        check("lenet5_float", target, 3);
    }
}

/// Without padding and with it; bytes, and words beside the bytes of the sums' tables; one channel of the image and three.
#[test]
fn layers_computed_row_by_row_agree() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let mut models = vec![committed("lenet5_int8"), committed("lenet5_binary")];
    for x in ["int8", "ternary", "binary"] {
        let line = format!("3x14x14 24C3-40C3-MP2-32C3s2-10FC x={x}");
        let path = dir.path().join(format!("padded_{x}.onnx"));
        let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Network);
        std::fs::write(&path, bytes).expect("it can be written");
        models.push(path);
    }
    for target in ["native", "cortex-m0", "cortex-m55", "rv32imc", "armv7-neon", "aarch64"] {
        for path in &models {
            let layers = check_plan(path, target, 3, plan::Optimize::Size);
            let runs = require_target(&Target::load(target).expect("the target is known"));
            assert!(layers >= 2 || !runs, "{} for {target}", path.display());
        }
    }
}

/// Halves go to the even integer, as tract's do; of scales that are powers of two its numbers are as exact.
#[test]
fn ties_agree() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let path = dir.path().join("fixed_point.onnx");
    std::fs::write(&path, fixed_point().encode()).expect("it can be written");
    let m = driver::read(&path, None).expect("the model is sound");
    let options = plan::Options::default();
    let c = driver::compile(m, "generic", &options, &Silent, &mut |_, _, _| ()).expect("it has an integer form");
    let text = c.graph.to_string();
    let rounded = text.lines().filter(|line| line.contains(" ties ")).count();
    assert_eq!(rounded, 5, "both convolutions, both averages and the sum:\n{text}");
    for target in ["native", "cortex-m0", "cortex-m4", "rv32imc", "aarch64"] {
        check_plan(&path, target, 20, plan::Optimize::default());
    }
}

/// Ternary operands, of which two signs each are packed: in vectors where the target has them.
#[test]
fn ternary_operands_agree() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for (w, targets) in [
        ("binary", ["native", "cortex-m4", "cortex-m55", "armv7-neon"]),
        ("ternary", ["cortex-m0", "rv32imac-zbb", "aarch64", "wasm32"]),
    ] {
        let line = format!("3x8x8 40C3-64C3-MP2-70FC-10FC w={w} x=ternary");
        let path = dir.path().join(format!("{w}.onnx"));
        let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Network);
        std::fs::write(&path, bytes).expect("it can be written");
        for target in targets {
            check_plan(&path, target, 3, plan::Optimize::Speed);
        }
    }
}

/// Convolutions that keep channels apart, of signs in slices and of bytes; dense layers whose codes are picked, and signs added in vectors
/// where the target has them.
#[test]
fn channels_apart_and_dense_layers_agree() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for (w, x) in [("binary", "int8"), ("ternary", "binary")] {
        let line = format!("3x9x8 40C3-DW3s2-64C1-DW3-MP2-70FC-10FC w={w} x={x}");
        let path = dir.path().join(format!("apart_{x}.onnx"));
        let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Network);
        std::fs::write(&path, bytes).expect("it can be written");
        for target in [
            "native",
            "cortex-m0",
            "cortex-m4",
            "cortex-m55",
            "rv32imac-zbb",
            "aarch64",
        ] {
            check_plan(&path, target, 3, plan::Optimize::Speed);
        }
    }
}

/// Weights as code, for pairs of pixels and for a dense layer, with fences between its chunks.
#[test]
fn straight_line_code_agrees() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for w in ["binary", "ternary"] {
        let line = format!("3x8x8 12C3-16C3-24FC-10FC w={w} x=int8");
        let path = dir.path().join(format!("code_{w}.onnx"));
        let bytes = synth::onnx(&line.parse().expect("a sound line"), Form::Network);
        std::fs::write(&path, bytes).expect("it can be written");
        for target in ["cortex-m0", "cortex-m4", "rv32imc"] {
            check_plan(&path, target, 3, plan::Optimize::Speed);
        }
    }
}
