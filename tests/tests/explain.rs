//! `sqc explain` through the binary: every layer has one choice, and a reason for each kernel.

use serde_json::Value;
use sq_tests::{MODELS, binary, committed, tools};
use sqc::kernels::FAMILIES;
use sqc::target::Target;
use std::collections::BTreeSet;
use std::process::Command;

fn explain(stem: &str, goal: &str, json: bool) -> String {
    let mut command = Command::new(binary::sqc());
    command
        .arg("explain")
        .arg(committed(stem))
        .args(["--target", "cortex-m4", "--optimize", goal]);
    if json {
        command.arg("--json");
    }
    let output = command.output().expect("sqc runs");
    assert!(output.status.success(), "{stem}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_kernel_of_every_layer_has_a_reason() {
    let families: BTreeSet<&str> = FAMILIES.iter().map(|f| f.name).collect();
    for stem in MODELS {
        for goal in ["speed", "size"] {
            let found: Value = serde_json::from_str(&explain(stem, goal, true)).expect("JSON");
            let layers = found["layers"].as_array().expect("layers");
            assert_eq!(layers.len(), 4, "{stem}");
            for layer in layers {
                let kernels = layer["kernels"].as_array().expect("kernels");
                let names: BTreeSet<&str> = kernels.iter().map(|k| k["name"].as_str().expect("a name")).collect();
                assert_eq!(names, families, "{stem} {}", layer["name"]);
                let chosen: Vec<bool> = kernels.iter().map(|k| k["chosen"] == true).collect();
                assert!(chosen[0] && !chosen[1..].contains(&true), "{layer}");
                // What the goal counts rises from kernel to kernel of those that fit; then come those that do not, and what
                // refuses, which costs nothing, last.
                let cost = |k: &Value| match goal {
                    "size" => Some(k["tables"].as_f64()? + k["code"].as_f64()?),
                    _ => k["instructions"].as_f64(),
                };
                let costs: Vec<(bool, f64)> = kernels
                    .iter()
                    .map_while(|k| Some((k["fits"] == true, cost(k)?)))
                    .collect();
                let fit = costs.iter().take_while(|(fits, _)| *fits).count();
                assert!(
                    costs[..fit].is_sorted() && costs[fit..].iter().all(|(fits, _)| !fits),
                    "{layer}"
                );
                // Of those that do not, the nearest to the RAM that there is come first.
                let ram = |k: &Value| {
                    let (needs, _) = k["why"].as_str()?.split_once(" bytes of RAM; ")?;
                    needs.replace(',', "").parse::<u64>().ok()
                };
                let needs: Vec<Option<u64>> = kernels[fit..costs.len()].iter().map(ram).collect();
                assert!(needs.is_sorted(), "{layer}");
                for (i, k) in kernels.iter().enumerate() {
                    let why = k["why"].as_str().expect("a reason");
                    assert_eq!(why.starts_with("refuses: "), i >= costs.len(), "{why}");
                    assert_eq!(why.starts_with("chosen: "), i == 0, "{why}");
                    assert!(k["doc"].as_str().is_some_and(|d| !d.is_empty()));
                }
            }
        }
    }
}

#[test]
fn the_text_names_what_the_json_holds() {
    let text = explain("lenet5_int8", "balanced", false);
    let found: Value = serde_json::from_str(&explain("lenet5_int8", "balanced", true)).expect("JSON");
    assert!(
        text.starts_with("lenet5_int8 for cortex-m4, --optimize balanced\n"),
        "{text}"
    );
    for layer in found["layers"].as_array().expect("layers") {
        for key in ["name", "what", "weights"] {
            let word = layer[key].as_str().expect("a text");
            assert!(text.contains(word), "{word}: {text}");
        }
        for kernel in layer["kernels"].as_array().expect("kernels") {
            let (name, why) = (kernel["name"].as_str(), kernel["why"].as_str());
            let is_line = |l: &str| l.contains(name.expect("a name")) && l.ends_with(why.expect("a reason"));
            assert!(text.lines().any(is_line), "{kernel}: {text}");
        }
    }
}

/// What `explain --measure` says in C of a network for a board of 16 KB of RAM; nothing without tools.
fn measured(line: &str, flags: &[&str]) -> Option<Value> {
    if !tools::require_target(&Target::load("cortex-m0").expect("a target")) {
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("m.onnx");
    let synth = Command::new(binary::sqc())
        .args(["synth", line, "-o"])
        .arg(&model)
        .output();
    assert!(synth.expect("sqc runs").status.success());
    let output = Command::new(binary::sqc())
        .arg("explain")
        .arg(&model)
        .args(["--target", "cortex-m0", "--lang", "c", "--measure", "--json"])
        .args(flags)
        .output()
        .expect("sqc runs");
    assert!(output.status.success(), "{line}: {output:?}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Alone, a kernel of such a layer would compute the whole map.
#[test]
fn layers_that_are_computed_row_by_row_are_not_measured() {
    let Some(found) = measured("3x8x8 6C3-6C3-10FC w=ternary x=int8", &["--optimize", "size"]) else {
        return;
    };
    assert_eq!(found["by_rows"], 2);
    assert!(found["regret"].is_null(), "flash decided");
    for (i, layer) in found["layers"].as_array().expect("layers").iter().enumerate() {
        for k in layer["kernels"].as_array().expect("kernels") {
            let builds = !k["why"].as_str().expect("a reason").starts_with("refuses");
            assert_eq!(k["measured"].is_null(), i < 2 || !builds, "{k}");
        }
    }
}

#[test]
fn a_kernel_that_the_board_does_not_hold_is_not_measured() {
    let Some(found) = measured("20000 8FC w=binary x=int8", &["--ram", "1M"]) else {
        return;
    };
    let kernels = found["layers"][0]["kernels"].as_array().expect("kernels");
    assert!(kernels.iter().all(|k| k["measured"].is_null()), "{found}");
}
