//! Whole runs on drawn images of four classes: resuming, what gamma does, and the exported file against the trainer.
//!
//! One test, because the framework's generator is one per process and a second run beside it would take its numbers.

use anyhow::{Result, bail};
use onnx_protobuf::{Message, ModelProto};
use sq_train::arch::{self, Arch, Kind, parse};
use sq_train::checkpoint::{Checkpoint, Folder, Run};
use sq_train::data::{Augment, Dataset, Normalise, Pixels, Source, Split};
use sq_train::device::cpu;
use sq_train::nn::{ActivationConfig, ActivationKind, Method, Net, QuantConfig, Range};
use sq_train::optim::{Decay, Optimizer, Ramp, Schedule};
use sq_train::quant::{BETA_MAX, BETA_MIN, Depth, Granularity, Power, Scale, WeightKind};
use sq_train::train::{self, Config, EpochReport};
use sq_train::{export, reference};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bars: class `c` has its ink in three of four bands of rows, shifted by what differs between images.
fn bars(count: usize, salt: usize, [channels, rows, columns]: [usize; 3]) -> Dataset {
    let band = rows / 4;
    let mut set = Dataset {
        images: vec![0; count * channels * rows * columns],
        labels: vec![],
        shape: [channels, rows, columns],
    };
    for i in 0..count {
        let class = (i * 7 + salt) % 4;
        for c in 0..channels {
            for y in band * class + 1..band * (class + 1) {
                let x = (i * 5 + salt + c) % (columns / 3);
                let at = ((i * channels + c) * rows + y) * columns + x;
                set.images[at..][..columns / 2].fill(100 + (i * 31 % 150) as u8);
            }
        }
        set.labels.push(class as u16);
    }
    set
}

fn split(shape: [usize; 3], train: usize) -> Split {
    Split {
        train: bars(train, 0, shape),
        test: bars(50, 3, shape),
        classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
    }
}

/// Two convolutions and two dense layers: the smallest network with everything that LeNet-5 has.
const SMALL: &str = r#"layers = [
    { type = "conv", outputs = 6, kernel = 3 }, { type = "norm" }, { type = "max_pool", size = 2 }, { type = "activation" },
    { type = "conv", outputs = 8, kernel = 3 }, { type = "norm" }, { type = "max_pool", size = 2 }, { type = "activation" },
    { type = "flatten" },
    { type = "dense", outputs = 16 }, { type = "norm" }, { type = "activation" },
    { type = "classifier" },
]"#;

fn run(arch: Arch, split: &Split, kind: ActivationKind) -> Run {
    let config = Config {
        arch,
        source: Source {
            data: "bars".into(),
            size: None,
            channels: 1,
        },
        pixels: Pixels::fit(Normalise::Unit, &split.train),
        input: split.train.shape,
        classes: 4,
        quant: QuantConfig {
            gamma: 0.005,
            ..QuantConfig::sq()
        },
        activations: ActivationConfig::new(kind),
        lambda_ramp: Ramp::Constant,
        gamma_ramp: Ramp::Constant,
        epochs: 4,
        freeze_epochs: 1,
        batch: 16,
        schedule: Schedule {
            rate: 5e-3,
            warm_up: 0.5,
            decay: Decay::Cosine,
        },
        optimizer: Optimizer::Adam,
        augment: Augment { shift: 1, flip: true },
        limit: None,
        seed: 5,
    };
    Run {
        config,
        classes: split.classes.clone(),
        command: "sq-train train".into(),
    }
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// Trains without stopping.
fn straight(run: &Run, split: &Split, out: &Path) -> (Net, Vec<EpochReport>) {
    let mut reports = Vec::new();
    let net = train::train(run, split, &[cpu()], out, false, &never(), |report| {
        reports.push(report.clone());
        Ok(())
    });
    (net.unwrap(), reports)
}

#[test]
fn runs() {
    let temp = tempfile::tempdir().unwrap();
    let small = split([1, 16, 16], 640);
    let arch = parse("small", SMALL).unwrap();
    let run_of = run(arch.clone(), &small, ActivationKind::Int8);
    let (net, reports) = straight(&run_of, &small, &temp.path().join("straight"));
    learns_and_keeps_its_bounds(&reports);
    for optimizer in [Optimizer::Adam, Optimizer::Sgd { momentum: 0.9 }] {
        resumed_equals_straight(&run_of, optimizer, &small, temp.path());
    }
    refuses_what_does_not_fit(&run_of, &small, temp.path());
    names_the_layer_that_is_not_finite(&run_of, &small, temp.path());
    gamma_decides_the_depth(&arch, &small, temp.path());
    exported_file_has_the_documented_form(&net, &run_of.config, &reports, temp.path());
    every_method_and_activation_exports(&arch, &small, temp.path());
    every_built_in_network_trains_and_exports(temp.path());
}

fn learns_and_keeps_its_bounds(reports: &[EpochReport]) {
    let last = &reports[reports.len() - 1];
    assert!(last.test_accuracy > 0.9, "{reports:?}");
    assert!(last.loss < reports[0].loss);
    for report in reports {
        assert_eq!(report.layers.len(), 4);
        assert!(
            report
                .layers
                .iter()
                .all(|l| (BETA_MIN..=BETA_MAX).contains(&l.beta.unwrap()) && l.mu > 0.0),
            "{report:?}"
        );
    }
    let moved = |a: &EpochReport, b: &EpochReport| a.layers.iter().zip(&b.layers).all(|(a, b)| a.beta != b.beta);
    assert!(moved(&reports[0], &reports[1]), "beta is learned");
    let frozen = |a: &EpochReport, b: &EpochReport| a.layers.iter().zip(&b.layers).all(|(a, b)| a.beta == b.beta);
    assert!(frozen(&reports[2], &reports[3]), "the last epoch is frozen");
}

/// Stopped by an error after an epoch, then by Ctrl-C's flag within one, and continued both times.
fn resumed_equals_straight(run: &Run, optimizer: Optimizer, split: &Split, temp: &Path) {
    let mut run = run.clone();
    run.config.optimizer = optimizer;
    let name = format!("{optimizer:?}");
    let (net, reports) = straight(&run, split, &temp.join(format!("straight {name}")));
    let out = temp.join(format!("resumed {name}"));
    let after_first = |report: &EpochReport| -> Result<()> {
        match report.epoch {
            1 => bail!("stopped"),
            _ => Ok(()),
        }
    };
    let stopped = train::train(&run, split, &[cpu()], &out, false, &never(), after_first);
    assert_eq!(stopped.unwrap_err().to_string(), "stopped");
    let interrupted = train::train(&run, split, &[cpu()], &out, true, &AtomicBool::new(true), after_first);
    let message = interrupted.unwrap_err().to_string();
    assert!(
        message.starts_with("stopped in epoch 2 after 1 steps; the state is saved"),
        "{message}"
    );
    let checkpoint = Checkpoint::load(&out).unwrap();
    let position = &checkpoint.position;
    assert_eq!((position.history.len(), position.totals.steps), (1, 1));
    the_card_tells_an_unfinished_epoch(&checkpoint);
    // As a kill leaves them: a line cut short, half a checkpoint.
    std::fs::write(out.join("metrics.jsonl"), "{\"epoch\": 1, \"lo").unwrap();
    std::fs::create_dir(out.join("new-epoch-001-00002")).unwrap();
    let stop = never();
    let once_more = train::train(&run, split, &[cpu()], &out, true, &stop, |report| {
        stop.store(report.epoch == 3, Ordering::Relaxed);
        Ok(())
    });
    assert!(once_more.unwrap_err().to_string().starts_with("stopped in epoch 4"));
    let resumed = train::train(&run, split, &[cpu()], &out, true, &never(), after_first).unwrap();
    assert_eq!(resumed.latent(), net.latent(), "bit for bit");
    let scores = |net: &Net| train::scores(net, &run.config, &split.test.images);
    assert_eq!(scores(&resumed), scores(&net));
    assert_eq!(Checkpoint::load(&out).unwrap().net().unwrap().reports(), net.reports());
    assert_eq!(
        timeless(&metrics(&out)),
        timeless(&reports),
        "every number but the seconds"
    );
    assert_eq!(metrics(&out), Checkpoint::load(&out).unwrap().position.history);
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["epoch-004-00000", "lock", "metrics.jsonl", "run.json"]);
}

fn metrics(out: &Path) -> Vec<EpochReport> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn timeless(reports: &[EpochReport]) -> Vec<EpochReport> {
    let timeless = |report: &EpochReport| EpochReport {
        seconds: 0.0,
        ..report.clone()
    };
    reports.iter().map(timeless).collect()
}

/// Depths and zeros are those of the network in the file; accuracies, which were measured before, are left out.
fn the_card_tells_an_unfinished_epoch(checkpoint: &Checkpoint) {
    let net = checkpoint.net().unwrap();
    let card = export::card(checkpoint, &net).unwrap();
    let get = |key: &str| card.iter().find(|(known, _)| *known == key).map(|(_, value)| &**value);
    assert_eq!((get("sq.epochs"), get("sq.steps")), (Some("1"), Some("1")));
    assert_eq!((get("sq.test_accuracy"), get("sq.train_accuracy")), (None, None));
    let zeros: Vec<String> = net
        .reports()
        .iter()
        .map(|l| format!("{}={:.4}", l.name, l.zeros))
        .collect();
    assert_eq!(get("sq.zeros"), Some(&*zeros.join(",")));
    assert_eq!(get("sq.classes"), Some(r#"["a","b","c","d"]"#));
}

fn refuses_what_does_not_fit(run: &Run, split: &Split, temp: &Path) {
    let out = temp.join("straight");
    let error = |run: &Run, resume| {
        let refused = train::train(run, split, &[cpu()], &out, resume, &never(), |_| Ok(()));
        refused.unwrap_err().to_string()
    };
    let message = error(run, false);
    assert!(message.contains("holds a run already"), "{message}");
    let mut other = run.clone();
    other.config.seed += 1;
    other.config.quant.lambda = 0.3;
    other.config.augment.flip = false;
    let message = error(&other, true);
    assert!(
        message.contains("was begun otherwise (--lambda 1, not 0.3; --flip on, not off; --seed 5, not 6)"),
        "{message}"
    );
    let held = Folder::hold(&out).unwrap();
    let message = error(run, true);
    assert!(message.starts_with("another process trains in "), "{message}");
    drop(held);
    an_extended_sweep_finds_its_baselines(run, split, temp);
    other.config.quant.beta = 0.5;
    let message = error(&other, false);
    assert!(message.contains("beta 0.5 is not in"), "{message}");

    let model = out.join("epoch-004-00000").join("model.bpk");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = Checkpoint::load(&out).unwrap().net().unwrap_err().to_string();
    assert!(damaged.contains("model.bpk is damaged"), "{damaged}");
}

/// A baseline does not read gamma and lambda, so that other values of them change nothing.
fn an_extended_sweep_finds_its_baselines(run: &Run, split: &Split, temp: &Path) {
    let mut run = run.clone();
    let out = temp.join("baseline");
    (run.config.quant.method, run.config.epochs, run.config.freeze_epochs) = (Method::Bwn, 1, 0);
    straight(&run, split, &out);
    run.config.quant.gamma = 0.5;
    run.config.quant.lambda = 0.1;
    train::train(&run, split, &[cpu()], &out, true, &never(), |_| {
        panic!("it is finished")
    })
    .unwrap();
    run.config.quant.last = Some(WeightKind::Sq);
    let refused = train::train(&run, split, &[cpu()], &out, true, &never(), |_| Ok(()));
    let message = refused.err().unwrap().to_string();
    assert!(
        message.contains("--last off, not sq; --lambda 1, not 0.1; --gamma 0.01, not 0.5"),
        "{message}"
    );
}

fn names_the_layer_that_is_not_finite(run: &Run, split: &Split, temp: &Path) {
    let mut run = run.clone();
    run.config.schedule.rate = 1e38;
    run.config.schedule.warm_up = 0.0;
    let refused = train::train(&run, split, &[cpu()], &temp.join("nan"), false, &never(), |_| Ok(()));
    let message = format!("{:#}", refused.unwrap_err());
    assert!(
        message.starts_with("epoch 1, step ") && message.contains("conv1"),
        "{message}"
    );
    assert!(
        message.ends_with("not finite; try a smaller --lr or a --warm-up"),
        "{message}"
    );

    // One step, whose own loss is fine; what it makes of the weights is seen at the epoch's end.
    let out = temp.join("last step");
    (run.config.epochs, run.config.freeze_epochs, run.config.batch) = (1, 0, split.train.len());
    run.config.quant.method = Method::Bwn;
    run.config.schedule.decay = Decay::Constant;
    let refused = train::train(&run, split, &[cpu()], &out, false, &never(), |_| Ok(()));
    let message = format!("{:#}", refused.unwrap_err());
    assert!(
        message.starts_with("epoch 1: the ") && message.contains("conv1"),
        "{message}"
    );
    assert!(message.contains("nothing of the epoch is saved"), "{message}");
    assert!(Checkpoint::find(&out).unwrap().is_none());
    // The remedy that the message names, in the same folder.
    run.config.schedule.rate = 1e-3;
    straight(&run, split, &out);
}

fn gamma_decides_the_depth(arch: &Arch, split: &Split, temp: &Path) {
    let depths = |arch: &Arch, gamma: f32, power| -> Vec<Depth> {
        let mut run = run(arch.clone(), split, ActivationKind::Float);
        run.config.quant.gamma = gamma;
        run.config.quant.power = power;
        run.config.schedule.rate = 2e-2;
        run.config.epochs = 8;
        let out = tempfile::tempdir_in(temp).unwrap();
        let (_, reports) = straight(&run, split, out.path());
        reports[7].layers.iter().map(|layer| layer.depth).collect()
    };
    for power in [Power::One, Power::Two] {
        assert_eq!(depths(arch, 0.0, power), [Depth::Ternary; 4], "{power:?}");
        assert_eq!(depths(arch, 10.0, power), [Depth::Binary; 4], "{power:?}");
        // Dear zeros in one layer alone, and free ones in one layer alone.
        let mut mixed = arch.clone();
        own_gamma(&mut mixed, 4, 10.0);
        let expected = [Depth::Ternary, Depth::Binary, Depth::Ternary, Depth::Ternary];
        assert_eq!(depths(&mixed, 0.0, power), expected, "{power:?}");
        own_gamma(&mut mixed, 4, 0.0);
        let expected = [Depth::Binary, Depth::Ternary, Depth::Binary, Depth::Binary];
        assert_eq!(depths(&mixed, 10.0, power), expected, "{power:?}");
    }
    // Between the extremes one price for all ends mixed, for what a layer loses by a missing zero differs from layer to layer.
    let between = depths(arch, 0.03, Power::One);
    assert!(
        between.contains(&Depth::Ternary) && between.contains(&Depth::Binary),
        "{between:?}"
    );
}

/// Gives the convolution at this place of the list a gamma of its own.
fn own_gamma(arch: &mut Arch, at: usize, gamma: f32) {
    match &mut arch.layers[at].kind {
        Kind::Conv { options, .. } => options.gamma = Some(gamma),
        other => panic!("no convolution: {other:?}"),
    }
}

fn exported_file_has_the_documented_form(net: &Net, config: &Config, reports: &[EpochReport], temp: &Path) {
    let path = temp.join("model.onnx");
    export::export(net, config, &vec![("key", "value".into())], &path).unwrap();
    let model = ModelProto::parse_from_bytes(&std::fs::read(&path).unwrap()).unwrap();
    let ops: Vec<&str> = model.graph.node.iter().map(|n| n.op_type.as_str()).collect();
    let activation = ["Relu", "QuantizeLinear", "DequantizeLinear"];
    let conv = [
        &["DequantizeLinear", "Conv", "BatchNormalization", "MaxPool"],
        &activation[..],
    ]
    .concat();
    let fc1 = [&["DequantizeLinear", "Gemm", "BatchNormalization"], &activation[..]].concat();
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
    let card: Vec<(&str, &str)> = model.metadata_props.iter().map(|p| (&*p.key, &*p.value)).collect();
    assert_eq!(card, [("key", "value")]);

    for layer in &reports[reports.len() - 1].layers {
        let name = format!("{}.weight", layer.name);
        let weight = model.graph.initializer.iter().find(|t| t.name == name).unwrap();
        let mut levels: Vec<i8> = weight.raw_data.iter().map(|&b| b as i8).collect();
        levels.sort_unstable();
        levels.dedup();
        let expected: &[i8] = match layer.depth {
            Depth::Binary => &[-1, 1],
            _ => &[-1, 0, 1],
        };
        assert_eq!(levels, expected, "{name}");
    }
    let nowhere = temp.join("absent").join("model.onnx");
    let message = export::export(net, config, &vec![], &nowhere).unwrap_err().to_string();
    assert!(message.contains("cannot write") && !nowhere.exists(), "{message}");
}

/// One epoch each of every method, granularity and activation; export holds tract against the trainer.
fn every_method_and_activation_exports(arch: &Arch, split: &Split, temp: &Path) {
    let small = Split {
        train: split.train.clone().take(48),
        ..split.clone()
    };
    let activations = [
        ActivationKind::Float,
        ActivationKind::Int8,
        ActivationKind::Ternary,
        ActivationKind::Binary,
    ];
    for (i, method) in Method::ALL.into_iter().enumerate() {
        for (j, kind) in activations.into_iter().enumerate() {
            let mut run = run(arch.clone(), &small, kind);
            let config = &mut run.config;
            (config.epochs, config.freeze_epochs) = (1, 0);
            config.quant.method = method;
            config.quant.decay = 1e-4;
            config.quant.granularity = if i % 2 == 0 {
                Granularity::Channel
            } else {
                Granularity::Layer
            };
            config.quant.scale = [None, Some(Scale::Learned), Some(Scale::Statistical)][(i + j) % 3];
            config.quant.first = [None, Some(WeightKind::Int8)][j % 2];
            config.quant.last = [None, Some(WeightKind::Float)][j / 2];
            config.activations.range = [Range::Average, Range::Learned][i % 2];
            config.pixels = Pixels::fit([Normalise::Set, Normalise::Channel][j % 2], &small.train);
            let name = format!("{method}-{kind}");
            let (net, reports) = straight(&run, &small, &temp.join(&name));
            let path = temp.join(format!("{name}.onnx"));
            export::export(&net, &run.config, &vec![], &path).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            let theirs = reference::accuracy(&path, &small.test).unwrap();
            assert!(
                (theirs - reports[0].test_accuracy).abs() < 0.03,
                "{name}: {theirs} {}",
                reports[0].test_accuracy
            );
        }
    }
}

fn every_built_in_network_trains_and_exports(temp: &Path) {
    let split = split([3, 32, 32], 24);
    for name in arch::names() {
        let arch = Arch::find(name).unwrap().scaled(0.1);
        let mut run = run(arch, &split, ActivationKind::Float);
        run.config.pixels = Pixels::fit(Normalise::Channel, &split.train);
        (run.config.epochs, run.config.freeze_epochs, run.config.batch) = (1, 0, 12);
        let (net, _) = straight(&run, &split, &temp.join(name));
        let path = temp.join(format!("{name}.onnx"));
        export::export(&net, &run.config, &vec![], &path).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}
