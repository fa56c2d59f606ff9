//! `sqc bench` and `sqc synth` through the binary.

use serde_json::Value;
use sq_tests::{binary, tools};
use sqc::target::Target;
use std::path::Path;
use std::process::Command;

fn sqc(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(binary::sqc()).args(args).current_dir(dir).output();
    let output = output.expect("sqc runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    assert!(output.status.success(), "{args:?}: {}", text(output.stderr));
    text(output.stdout)
}

/// The rows of `sqc bench ... --json`, run in `dir`.
fn rows(dir: &Path, args: &[&str]) -> Vec<Value> {
    let text = sqc(dir, &[&["bench", "--json"], args].concat());
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all["rows"].as_array().expect("rows").clone()
}

#[test]
fn a_layer_is_timed_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let line = "64x6x6 32C3 w=binary x=binary";
    let rows = rows(dir.path(), &["--layer", line, "--target", "generic", "--keep", "kept"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert_eq!((&row["model"], &row["layer"]), (&line.into(), &"conv1".into()));
        assert_eq!(row["macs"], 6 * 6 * 32 * 64 * 9);
        assert_eq!(row["weights"], 32 * 64 * 9 / 8);
        // Packed signs, in and out.
        assert_eq!(row["arena"], 6 * 6 * (64 + 32) / 8);
        let time = &row["microseconds"];
        let [low, median, high] = ["low", "median", "high"].map(|k| time[k].as_f64().expect("a time"));
        assert!(0.0 < low && low <= median && median <= high, "{time}");
        let gmacs = row["gmacs"].as_f64().expect("a rate");
        assert!((gmacs * median * 1000.0 / (6.0 * 6.0 * 32.0 * 64.0 * 9.0) - 1.0).abs() < 1e-6);
        assert!(row["instructions"].is_null());
        let program = row["program"].as_str().expect("a path");
        assert!(std::fs::metadata(program).expect("it is kept").is_file());
    }
}

#[test]
fn a_network_is_counted_as_a_whole_and_by_layers() {
    if !tools::require_target(&Target::load("cortex-m4").expect("a target")) {
        return;
    }
    let line = "1x8x8 8C3-MP2-10FC x=int8";
    let dir = tempfile::tempdir().expect("a directory");
    let rows = rows(
        dir.path(),
        &["--network", line, "--layers", "--target", "cortex-m4", "--lang", "c"],
    );
    let layers: Vec<&str> = rows.iter().filter_map(|r| r["layer"].as_str()).collect();
    assert_eq!(layers, ["conv1", "fc1"]);
    assert!(rows[0]["layer"].is_null());
    let counts: Vec<f64> = rows
        .iter()
        .map(|r| r["instructions"].as_f64().expect("a count"))
        .collect();
    let parts = counts[1] + counts[2];
    // A layer alone reads other values than in the network, and is called another way.
    assert!((parts / counts[0] - 1.0).abs() < 0.05, "{counts:?}");
    assert_eq!(rows[1]["macs"], 8 * 8 * 8 * 9);
    assert!(rows[1]["microseconds"].is_null());
}

/// At `opt-level = 3` rustc unrolls the kernel of this layer into 4 KB.
#[test]
fn what_is_compiled_for_size_is_built_for_size() {
    if !tools::require_target(&Target::load("cortex-m4").expect("a target")) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let line = "24x8x8 32C3 w=ternary x=int8";
    let flags = ["--layer", line, "--target", "cortex-m4", "--optimize", "size"];
    for row in rows(dir.path(), &flags) {
        assert!(row["code"].as_u64().expect("bytes") < 1200, "{row}");
    }
}

#[test]
fn a_network_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let line = "3x8x8 8C3-MP2-16FC-10FC w=ternary x=binary";
    sqc(dir.path(), &["synth", line, "--out", "vgg.onnx"]);
    let text = sqc(dir.path(), &["inspect", "vgg.onnx", "--expect", "ternary", "--json"]);
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let reads: Vec<&str> = found["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|l| l["reads"].as_str().expect("a type"))
        .collect();
    assert_eq!(reads, ["int8", "sign", "sign"]);
}

#[test]
fn a_wrong_line_is_wrong_usage() {
    let output = Command::new(binary::sqc())
        .args(["bench", "--layer", "8x8 8C3"])
        .output()
        .expect("sqc runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("`8x8` is no sample; write 3x32x32 or 1024"), "{text}");
}
