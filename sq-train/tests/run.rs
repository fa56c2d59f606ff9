//! Whole runs on drawn digits of four classes: resuming, and the exported file against the trainer.
//!
//! One test, because the framework's generator is one per process and a second run beside it would take its numbers.

use anyhow::{Result, bail};
use onnx_protobuf::{Message, ModelProto};
use sq_train::checkpoint::{Checkpoint, Run};
use sq_train::data::{Dataset, Split};
use sq_train::nn::{ActivationKind, Net};
use sq_train::quant::reparam::SqConfig;
use sq_train::quant::{BETA_MAX, BETA_MIN, Depth, Power};
use sq_train::train::{self, Config, EpochReport};
use sq_train::{export, reference};
use std::path::Path;

/// Bars: class `c` has its ink in rows `6 c + 2 ..= 6 c + 4`, shifted by what differs between images.
fn bars(count: usize, salt: usize) -> Dataset {
    let mut set = Dataset {
        images: vec![0; count * 784],
        labels: vec![],
        shape: [1, 28, 28],
    };
    for i in 0..count {
        let class = (i * 7 + salt) % 4;
        for y in 6 * class + 2..=6 * class + 4 {
            let x = (i * 5 + salt) % 9;
            set.images[i * 784 + y * 28 + x..][..12].fill(100 + (i * 31 % 150) as u8);
        }
        set.labels.push(class as u8);
    }
    set
}

fn run(activations: ActivationKind) -> Run {
    let sq = SqConfig {
        power: Power::One,
        epsilon: 0.05,
        beta: 1.2,
        lambda: 1.0,
        gamma: 0.005,
    };
    let config = Config {
        arch: "lenet5".into(),
        data: "mnist".into(),
        activations,
        epochs: 3,
        freeze_epochs: 1,
        batch: 16,
        learning_rate: 3e-3,
        sq,
        shift: 1,
        limit: None,
        seed: 5,
    };
    Run {
        config,
        command: "sq-train train".into(),
    }
}

/// Trains without stopping.
fn straight(run: &Run, split: &Split, out: &Path) -> (Net, Vec<EpochReport>) {
    let mut reports = Vec::new();
    let net = train::train(run, split, out, false, |report| {
        reports.push(EpochReport {
            seconds: 0.0,
            ..report.clone()
        });
        Ok(())
    });
    (net.unwrap(), reports)
}

fn stop_after_first(report: &EpochReport) -> Result<()> {
    match report.epoch {
        1 => bail!("stopped"),
        _ => Ok(()),
    }
}

#[test]
fn runs() {
    let split = Split {
        train: bars(160, 0),
        test: bars(50, 3),
    };
    let temp = tempfile::tempdir().unwrap();
    let run_of = run(ActivationKind::Int8);
    let (net, reports) = straight(&run_of, &split, &temp.path().join("straight"));
    learns_and_keeps_its_bounds(&reports);
    resumed_equals_straight(&run_of, &split, temp.path(), &net, &reports);
    refuses_what_does_not_fit(&run_of, &split, temp.path());
    for kind in [ActivationKind::Float, ActivationKind::Int8, ActivationKind::Binary] {
        exported_file_agrees(kind, &split, temp.path());
    }
}

fn learns_and_keeps_its_bounds(reports: &[EpochReport]) {
    assert!(reports[2].test_accuracy > 0.9, "{reports:?}");
    assert!(reports[2].loss < reports[0].loss);
    for report in reports {
        assert_eq!(report.layers.len(), 4);
        assert!(
            report
                .layers
                .iter()
                .all(|l| (BETA_MIN..=BETA_MAX).contains(&l.beta) && l.mu > 0.0),
            "{report:?}"
        );
    }
    let moved = |a: &EpochReport, b: &EpochReport| a.layers.iter().zip(&b.layers).all(|(a, b)| a.beta != b.beta);
    assert!(moved(&reports[0], &reports[1]), "beta is learned");
    let frozen = |a: &EpochReport, b: &EpochReport| a.layers.iter().zip(&b.layers).all(|(a, b)| a.beta == b.beta);
    assert!(frozen(&reports[1], &reports[2]), "the last epoch is frozen");
}

fn resumed_equals_straight(run: &Run, split: &Split, temp: &Path, net: &Net, reports: &[EpochReport]) {
    let out = temp.join("resumed");
    let stopped = train::train(run, split, &out, false, stop_after_first);
    assert_eq!(stopped.unwrap_err().to_string(), "stopped");
    assert_eq!(Checkpoint::load(&out).unwrap().history.len(), 1);
    let resumed = train::train(run, split, &out, true, stop_after_first).unwrap();
    let history: Vec<EpochReport> = Checkpoint::load(&out)
        .unwrap()
        .history
        .into_iter()
        .map(|r| EpochReport { seconds: 0.0, ..r })
        .collect();
    assert_eq!(history, reports);
    let scores = |net: &Net| train::scores(net, &split.test.images, split.test.shape).unwrap();
    assert_eq!(scores(&resumed), scores(net));
    let lines = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
}

fn refuses_what_does_not_fit(run: &Run, split: &Split, temp: &Path) {
    let out = temp.join("straight");
    let error = |run: &Run, resume| {
        train::train(run, split, &out, resume, |_| Ok(()))
            .unwrap_err()
            .to_string()
    };
    assert!(
        error(run, false).contains("holds a run already"),
        "{}",
        error(run, false)
    );
    let mut other = run.clone();
    other.config.seed += 1;
    assert!(
        error(&other, true).contains("was begun otherwise"),
        "{}",
        error(&other, true)
    );
    other.config.sq.beta = 0.5;
    assert!(
        error(&other, false).contains("beta 0.5 is not in"),
        "{}",
        error(&other, false)
    );

    let model = out.join("epoch-003").join("model.bpk");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = Checkpoint::load(&out).unwrap().net().unwrap_err().to_string();
    assert!(damaged.contains("model.bpk is damaged"), "{damaged}");
}

fn exported_file_agrees(kind: ActivationKind, split: &Split, temp: &Path) {
    let (net, reports) = straight(&run(kind), split, &temp.join(kind.to_string()));
    let path = temp.join(format!("{kind}.onnx"));
    export::export(&net, &vec![("key", "value".into())], &path).unwrap();
    assert_eq!(
        reference::accuracy(&path, &split.test).unwrap(),
        reports[2].test_accuracy
    );

    let bytes = std::fs::read(&path).unwrap();
    let model = ModelProto::parse_from_bytes(&bytes).unwrap();
    let ops: Vec<&str> = model.graph.node.iter().map(|n| n.op_type.as_str()).collect();
    let activation: &[&str] = match kind {
        ActivationKind::Float => &["Relu", "MaxPool"],
        ActivationKind::Int8 => &["Relu", "MaxPool", "QuantizeLinear", "DequantizeLinear"],
        ActivationKind::Binary => &["MaxPool", "GreaterOrEqual", "Where"],
    };
    let dense: Vec<&str> = activation.iter().copied().filter(|&op| op != "MaxPool").collect();
    let conv = [&["DequantizeLinear", "Conv", "BatchNormalization"], activation].concat();
    let fc1 = [&["DequantizeLinear", "Gemm", "BatchNormalization"], &dense[..]].concat();
    let expected = [
        &["DequantizeLinear"],
        &conv[..],
        &conv,
        &["Flatten"],
        &fc1,
        &["DequantizeLinear", "Gemm"],
    ]
    .concat();
    assert_eq!(ops, expected);
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 13));

    for layer in &reports[2].layers {
        let name = format!("{}.weight", layer.name);
        let weight = model.graph.initializer.iter().find(|t| t.name == name).unwrap();
        let mut levels: Vec<i8> = weight.raw_data.iter().map(|&b| b as i8).collect();
        levels.sort_unstable();
        levels.dedup();
        let expected: &[i8] = if layer.depth == Depth::Binary {
            &[-1, 1]
        } else {
            &[-1, 0, 1]
        };
        assert_eq!(levels, expected, "{name}");
    }

    let nowhere = temp.join("absent").join("model.onnx");
    assert!(
        export::export(&net, &vec![], &nowhere)
            .unwrap_err()
            .to_string()
            .contains("cannot write")
    );
    assert!(!nowhere.exists());
}
