//! What finished runs came to: gathered from result folders, grouped over seeds, with the published neighbours beside them.

use crate::checkpoint::{Checkpoint, Run};
use crate::nn::{ActivationKind, Method};
use crate::quant::{Depth, Granularity, LayerReport};
use crate::settings::{self, Setting};
use crate::train::{Config, EpochReport};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// A run in a result folder: finished, or as far as it has come.
pub struct Gathered {
    /// The run's folder.
    pub path: PathBuf,
    /// What it was begun with.
    pub run: Run,
    /// Reports of its finished epochs.
    pub history: Vec<EpochReport>,
}

impl Gathered {
    /// Whether all its epochs are done.
    pub fn is_finished(&self) -> bool {
        self.history.len() == self.run.config.epochs
    }

    /// The last epoch's report; the run must have finished one.
    pub fn last(&self) -> &EpochReport {
        &self.history[self.history.len() - 1]
    }
}

/// The finished runs in `folders` and the folders below them, in the order of their paths; with the number of unfinished ones. A run
/// that two of the folders lead to counts once.
///
/// # Errors
/// A folder that cannot be listed, or a run that cannot be read.
pub fn gather(folders: &[PathBuf]) -> Result<(Vec<Gathered>, usize)> {
    let (finished, begun): (Vec<Gathered>, Vec<Gathered>) =
        gather_all(folders)?.into_iter().partition(Gathered::is_finished);
    Ok((finished, begun.len()))
}

/// As [`gather`], with the unfinished runs, whose histories are shorter, among the others.
///
/// # Errors
/// A folder that cannot be listed, or a run that cannot be read.
pub fn gather_all(folders: &[PathBuf]) -> Result<Vec<Gathered>> {
    let mut paths = Vec::new();
    for folder in folders {
        find(folder, &mut paths)?;
    }
    let mut seen = HashSet::new();
    let mut runs = Vec::new();
    for path in paths {
        let place = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        if !seen.insert(place) {
            continue;
        }
        let (run, history) = match Checkpoint::find(&path)? {
            Some(checkpoint) => (checkpoint.run, checkpoint.position.history),
            None => (Run::load(&path)?, vec![]),
        };
        runs.push(Gathered { path, run, history });
    }
    Ok(runs)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("run.json").is_file() {
        found.push(folder.to_path_buf());
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut below: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    below.sort();
    below
        .iter()
        .filter(|path| path.is_dir())
        .try_for_each(|path| find(path, found))
}

/// Bytes that the weights of these layers take when packed: their bits, and 4 bytes for every scale. Biases and
/// normalisations, which stay floats under every method, are not counted.
pub fn memory(layers: &[LayerReport]) -> f64 {
    let bits = |layer: &LayerReport| layer.weights * layer.depth.bits() + 32 * layer.scales;
    layers.iter().map(bits).sum::<usize>() as f64 / 8.0
}

/// One line of the table: runs that differ in their seed alone, or a published result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Network.
    pub network: String,
    /// Data set.
    pub data: String,
    /// `float`, `bwn`, `twn` or `sq`.
    pub method: String,
    /// Kind of activations.
    pub activations: String,
    /// Price of a third value, under Smart Quantization.
    pub gamma: Option<f32>,
    /// Weight of the regulariser, under Smart Quantization.
    pub lambda: Option<f32>,
    /// What else sets the runs apart from others in the table.
    pub remark: String,
    /// Number of runs; 0 where published.
    pub seeds: usize,
    /// Mean accuracy on the test set, as a fraction.
    pub accuracy: f64,
    /// Standard deviation over seeds (of a sample), where there are several.
    pub deviation: Option<f64>,
    /// Mean bits of a weight, scales not counted.
    pub bits_per_weight: Option<f64>,
    /// Mean share of weights that are 0.
    pub zeros: Option<f64>,
    /// Mean bytes of weights and scales.
    pub bytes: Option<f64>,
    /// Depth of every layer, a letter each (b, t, 8, f), for every different outcome.
    pub depths: Vec<String>,
}

/// Rows of the table: one per group of runs that differ in nothing but their seed, in the order of network, data, activations,
/// method and gamma; then what was published for the networks among them, of whatever width. A run that lies in two folders counts
/// once.
///
/// # Errors
/// No runs, or two of equal settings and seed that came to something different.
pub fn rows(runs: &[Gathered]) -> Result<Vec<Row>> {
    ensure!(!runs.is_empty(), "no finished runs");
    let groups = groups(runs)?;
    let configs: Vec<Config> = groups.iter().map(|group| settled(group[0])).collect();
    let mut rows: Vec<Row> = groups
        .iter()
        .zip(remarks(&configs))
        .map(|(group, remark)| row(group, remark))
        .collect();
    for published in PUBLISHED {
        if rows
            .iter()
            .any(|row| row.seeds > 0 && is_a(&row.network, published.0) && row.data == published.1)
        {
            rows.push(published_row(published));
        }
    }
    Ok(rows)
}

/// Runs of equal settings but their seeds, in the table's order.
fn groups(runs: &[Gathered]) -> Result<Vec<Vec<&Gathered>>> {
    type Key = (String, String, ActivationKind, Method, String);
    let mut groups: BTreeMap<Key, Vec<&Gathered>> = BTreeMap::new();
    for run in runs {
        let config = settled(run);
        let same_but_seed = Config {
            seed: 0,
            ..config.clone()
        };
        // Zero-padded, so that gammas sort as numbers.
        let rest = format!(
            "{:012.6} {}",
            config.quant.gamma,
            serde_json::to_string(&same_but_seed)?
        );
        let key = (
            config.arch.name,
            config.source.data,
            config.activations.kind,
            config.quant.method,
            rest,
        );
        let group = groups.entry(key).or_default();
        match group.iter().find(|other| other.run.config.seed == config.seed) {
            None => group.push(run),
            Some(other) => ensure!(
                other.last().layers == run.last().layers && other.last().test_accuracy == run.last().test_accuracy,
                "{} and {} have equal settings and seeds and came to something different: leave one out",
                other.path.display(),
                run.path.display()
            ),
        }
    }
    Ok(groups.into_values().collect())
}

fn settled(run: &Gathered) -> Config {
    run.run.config.clone().canonical()
}

/// What sets each of these settings apart from the others in the table, beside what has a column: always the epochs and the images,
/// and every setting in which those on one network and data differ that read it.
fn remarks(configs: &[Config]) -> Vec<String> {
    let all: Vec<Vec<Setting>> = configs.iter().map(settings::of).collect();
    let alike = |a: &Config, b: &Config| a.arch.name == b.arch.name && a.source.data == b.source.data;
    let remark = |(config, own): (&Config, &Vec<Setting>)| {
        let mut parts = vec![format!("{} epochs", config.epochs)];
        if let Some(limit) = config.limit {
            parts.push(format!("{limit} images"));
        }
        if config.quant.granularity == Granularity::Channel && config.quant.method != Method::Float {
            parts.push("scales per channel".into());
        }
        let others = || configs.iter().zip(&all).filter(|(other, _)| alike(config, other));
        for (i, (flag, value)) in own.iter().enumerate() {
            let differs = others().any(|(reads, other)| is_read(reads, flag) && other[i].1 != *value);
            match value {
                Some(value) if differs && has_no_column(flag) && is_read(config, flag) => {
                    parts.push(if value == "on" {
                        flag.to_string()
                    } else {
                        format!("{flag} {value}")
                    });
                }
                _ => {}
            }
        }
        parts.join(", ")
    };
    configs.iter().zip(&all).map(remark).collect()
}

/// Whether the table shows a setting nowhere else.
fn has_no_column(flag: &str) -> bool {
    const SHOWN: [&str; 10] = [
        "arch",
        "data",
        "method",
        "activations",
        "gamma",
        "epochs",
        "limit",
        "granularity",
        "seed",
        "image",
    ];
    !SHOWN.contains(&flag)
}

/// Whether the run depends on a setting at all.
fn is_read(config: &Config, flag: &str) -> bool {
    match flag {
        "lambda" | "lambda-ramp" | "gamma-ramp" | "beta" | "epsilon" | "power" => config.is_regularised(),
        "range" => config.activations.kind == ActivationKind::Int8,
        "estimator" => config.activations.kind == ActivationKind::Binary,
        _ => true,
    }
}

/// Whether a network is the named one, of whatever width.
fn is_a(network: &str, name: &str) -> bool {
    let width = network.strip_prefix(name);
    width.is_some_and(|width| width.is_empty() || width.starts_with("-x"))
}

fn row(runs: &[&Gathered], remark: String) -> Row {
    let config = &runs[0].run.config;
    let sq = config.is_regularised();
    let mean = |value: &dyn Fn(&Gathered) -> f64| runs.iter().map(|run| value(run)).sum::<f64>() / runs.len() as f64;
    let accuracy = mean(&|run| run.last().test_accuracy);
    let squares = mean(&|run| (run.last().test_accuracy - accuracy).powi(2));
    let weights = |run: &Gathered| run.last().layers.iter().map(|l| l.weights).sum::<usize>() as f64;
    let mut depths: Vec<String> = runs.iter().map(|run| letters(&run.last().layers)).collect();
    depths.sort();
    depths.dedup();
    Row {
        network: config.arch.name.clone(),
        data: config.source.data.clone(),
        method: config.quant.method.to_string(),
        activations: config.activations.kind.to_string(),
        gamma: sq.then_some(config.quant.gamma),
        lambda: sq.then_some(config.quant.lambda),
        remark,
        seeds: runs.len(),
        accuracy,
        deviation: (runs.len() > 1).then(|| (squares * runs.len() as f64 / (runs.len() - 1) as f64).sqrt()),
        bits_per_weight: Some(mean(&|run| {
            let bits = run
                .last()
                .layers
                .iter()
                .map(|l| l.weights * l.depth.bits())
                .sum::<usize>();
            bits as f64 / weights(run)
        })),
        zeros: Some(mean(&|run| {
            run.last()
                .layers
                .iter()
                .map(|l| l.zeros * l.weights as f64)
                .sum::<f64>()
                / weights(run)
        })),
        bytes: Some(mean(&|run| memory(&run.last().layers))),
        depths,
    }
}

fn letters(layers: &[LayerReport]) -> String {
    let letter = |layer: &LayerReport| match layer.depth {
        Depth::Binary => 'b',
        Depth::Ternary => 't',
        Depth::Int8 => '8',
        Depth::Float => 'f',
    };
    layers.iter().map(letter).collect()
}

/// Network, data, method, accuracy in percent: table 2 of Ternary Weight Networks (arXiv 1605.04711), float activations.
type Published = (&'static str, &'static str, &'static str, f64);

const PUBLISHED: [Published; 6] = [
    ("lenet5", "mnist", "float", 99.41),
    ("lenet5", "mnist", "bwn", 99.05),
    ("lenet5", "mnist", "twn", 99.35),
    ("vgg7", "cifar10", "float", 92.88),
    ("vgg7", "cifar10", "bwn", 90.18),
    ("vgg7", "cifar10", "twn", 92.56),
];

fn published_row((network, data, method, percent): Published) -> Row {
    Row {
        network: network.into(),
        data: data.into(),
        method: method.into(),
        activations: "float".into(),
        gamma: None,
        lambda: None,
        remark: "published, arXiv 1605.04711".into(),
        seeds: 0,
        accuracy: percent / 100.0,
        deviation: None,
        bits_per_weight: None,
        zeros: None,
        bytes: None,
        depths: vec![],
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns of text.
    Text,
    /// A list of [`Row`]s.
    Json,
    /// Markdown.
    Md,
}

const HEADINGS: [&str; 12] = [
    "network",
    "data",
    "method",
    "activations",
    "gamma",
    "accuracy %",
    "seeds",
    "bits/weight",
    "zeros %",
    "KiB",
    "depths",
    "remark",
];

/// Columns of numbers, which are set to the right.
const NUMBERS: std::ops::RangeInclusive<usize> = 4..=9;

/// The table; text and Markdown end with a line on how to read it, and with `note` where there is one.
///
/// # Errors
/// None but those of writing JSON.
pub fn table(rows: &[Row], format: Format, note: Option<&str>) -> Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string_pretty(&serde_json::json!({ "rows": rows, "note": note }))? + "\n");
    }
    let cells: Vec<[String; 12]> = [HEADINGS.map(String::from)]
        .into_iter()
        .chain(rows.iter().map(cells))
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 12] = std::array::from_fn(width);
    let (edge, between) = if format == Format::Md {
        ("| ", " | ")
    } else {
        ("", "  ")
    };
    let line = |row: &[String; 12]| {
        let padded: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(i, cell)| match NUMBERS.contains(&i) {
                true => format!("{cell:>0$}", widths[i]),
                false => format!("{cell:<0$}", widths[i]),
            })
            .collect();
        format!(
            "{edge}{}{}",
            padded.join(between),
            edge.chars().rev().collect::<String>()
        )
        .trim_end()
        .to_string()
    };
    let mut lines: Vec<String> = cells.iter().map(line).collect();
    if format == Format::Md {
        let rule = |i: usize| match NUMBERS.contains(&i) {
            true => format!("{}:", "-".repeat(widths[i].max(2) - 1)),
            false => "-".repeat(widths[i]),
        };
        lines.insert(1, format!("| {} |", (0..12).map(rule).collect::<Vec<_>>().join(" | ")));
    }
    lines.push(String::new());
    lines.push(
        "Accuracy on the test set: mean and standard deviation over seeds. KiB: packed weights (binary 1 bit, ternary 2, int8 8, \
         float 32) and their scales. Depths: a letter a layer, b binary, t ternary, 8 int8, f float; several outcomes are separated \
         by a slash."
            .into(),
    );
    lines.extend(note.map(String::from));
    Ok(lines.join("\n") + "\n")
}

fn cells(row: &Row) -> [String; 12] {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
    let accuracy = match row.deviation {
        Some(deviation) => format!("{:.2} ± {:.2}", 100.0 * row.accuracy, 100.0 * deviation),
        None => format!("{:.2}", 100.0 * row.accuracy),
    };
    [
        row.network.clone(),
        row.data.clone(),
        row.method.clone(),
        row.activations.clone(),
        row.gamma.map_or("-".into(), |gamma| gamma.to_string()),
        accuracy,
        if row.seeds == 0 {
            "-".into()
        } else {
            row.seeds.to_string()
        },
        number(row.bits_per_weight, 2),
        number(row.zeros.map(|z| 100.0 * z), 1),
        number(row.bytes.map(|b| b / 1024.0), 1),
        if row.depths.is_empty() {
            "-".into()
        } else {
            row.depths.join("/")
        },
        row.remark.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{PLAIN, config};

    fn layer(name: &str, weights: usize, depth: Depth, zeros: f64) -> LayerReport {
        LayerReport {
            name: name.into(),
            weights,
            scales: usize::from(depth != Depth::Float),
            depth,
            beta: None,
            mu: 1.0,
            delta: 0.0,
            zeros,
            penalty: 0.0,
        }
    }

    #[test]
    fn memory_counts_bits_and_scales() {
        let layers = [
            layer("a", 80, Depth::Binary, 0.0),
            layer("b", 80, Depth::Ternary, 0.5),
            layer("c", 10, Depth::Int8, 0.0),
            layer("d", 10, Depth::Float, 0.0),
        ];
        assert_eq!(
            memory(&layers),
            (10 + 4) as f64 + (20 + 4) as f64 + (10 + 4) as f64 + 40.0
        );
        assert_eq!(letters(&layers), "bt8f");
    }

    fn gathered(path: &str, accuracy: f64, change: fn(&mut Config)) -> Gathered {
        let mut config = config(PLAIN);
        config.quant.method = Method::Bwn;
        change(&mut config);
        let report = EpochReport {
            epoch: 1,
            loss: 1.0,
            penalty: 0.0,
            train_accuracy: accuracy,
            test_accuracy: accuracy,
            learning_rate: 0.1,
            seconds: 1.0,
            layers: vec![layer("a", 80, Depth::Binary, 0.0)],
        };
        let run = Run {
            config,
            classes: vec![],
            command: String::new(),
        };
        Gathered {
            path: path.into(),
            run,
            history: vec![report],
        }
    }

    #[test]
    fn runs_that_cannot_differ_share_a_row_and_a_run_counts_once() {
        let runs = [
            gathered("a", 0.5, |c| c.seed = 1),
            gathered("b", 0.7, |c| {
                (c.seed, c.quant.gamma, c.quant.power) = (2, 9.0, crate::quant::Power::Two)
            }),
            gathered("copy of a", 0.5, |c| c.seed = 1),
        ];
        let rows = rows(&runs).unwrap();
        assert_eq!((rows.len(), rows[0].seeds, &*rows[0].remark), (1, 2, "1 epochs"));
        assert!((rows[0].accuracy - 0.6).abs() < 1e-9);
        let runs = [gathered("a", 0.5, |_| {}), gathered("b", 0.6, |_| {})];
        let message = super::rows(&runs).unwrap_err().to_string();
        assert!(
            message.starts_with("a and b have equal settings and seeds"),
            "{message}"
        );
    }

    #[test]
    fn rows_say_every_setting_they_differ_in() {
        let sq = |c: &mut Config| c.quant.method = Method::Sq;
        let runs = [
            gathered("a", 0.5, |_| {}),
            gathered("b", 0.5, |c| c.augment.flip = true),
            gathered("c", 0.5, |c| c.schedule.rate = 0.5),
            gathered("d", 0.5, sq),
            gathered("e", 0.5, |c| (c.quant.method, c.quant.lambda) = (Method::Sq, 0.1)),
            gathered("f", 0.5, |c| (c.arch.name, c.batch) = ("other".into(), 99)),
        ];
        let mut remarks: Vec<String> = rows(&runs).unwrap().into_iter().map(|row| row.remark).collect();
        remarks.sort();
        assert_eq!(
            remarks,
            [
                "1 epochs", // another network, which needs no remark
                "1 epochs, lr 0.001",
                "1 epochs, lr 0.001, flip",
                "1 epochs, lr 0.001, lambda 0.1",
                "1 epochs, lr 0.001, lambda 1",
                "1 epochs, lr 0.5",
            ]
        );
    }

    #[test]
    fn a_narrow_network_has_the_same_neighbours() {
        assert!(is_a("vgg7", "vgg7") && is_a("vgg7-x0.25", "vgg7"));
        assert!(!is_a("vgg70", "vgg7") && !is_a("lenet5", "vgg7"));
    }

    #[test]
    fn tables_line_up_and_name_the_published_neighbours() {
        let ours = Row {
            remark: "6 epochs".into(),
            gamma: Some(0.01),
            seeds: 3,
            deviation: Some(0.0005),
            bits_per_weight: Some(1.25),
            zeros: Some(0.4),
            bytes: Some(2048.0),
            depths: vec!["bt".into(), "tt".into()],
            ..published_row(PUBLISHED[2])
        };
        let rows = [ours, published_row(PUBLISHED[2])];
        let text = table(&rows, Format::Text, Some("a note")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("0.01  99.35 ± 0.05      3         1.25     40.0  2.0  bt/tt   6 epochs"),
            "{text}"
        );
        assert!(lines[2].ends_with("-       published, arXiv 1605.04711"), "{text}");
        assert_eq!(lines[5], "a note");
        let md = table(&rows, Format::Md, None).unwrap();
        let lengths: Vec<usize> = md.lines().take(4).map(|line| line.chars().count()).collect();
        assert!(lengths.iter().all(|&length| length == lengths[0]), "{md}");
        let json: serde_json::Value = serde_json::from_str(&table(&rows, Format::Json, None).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["seeds"], 3);
    }
}
