//! The training loop: cross-entropy plus the regulariser of Smart Quantization, one run and no search.

use crate::arch::{Arch, Graph};
use crate::checkpoint::{Checkpoint, Folder, Run};
use crate::data::{self, Augment, Dataset, Pixels, Split};
use crate::device;
use crate::nn::{ActivationConfig, ActivationKind, Net, QuantConfig};
use crate::optim::{Optimizer, Ramp, Schedule};
use crate::parallel::{self, Part, Worker};
use crate::progress::Progress;
use crate::quant::{LayerReport, WeightKind};
use crate::reference::hits;
use crate::settings;
use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Images per forward pass when measuring.
const EVAL_BATCH: usize = 500;

/// Batches that the statistics of batch norms are averaged over after an epoch: 8,192 images at the usual size, for which a
/// mean is off by a hundredth of a standard deviation.
const STATISTICS_BATCHES: usize = 64;

/// The remedy for values that are not finite.
const SMALLER_STEPS: &str = "try a smaller --lr or a --warm-up";

/// Settings of a run; on the CPU they determine its outcome bit for bit, with the data and the version of the trainer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Layers, with their width as trained.
    pub arch: Arch,
    /// Data set.
    pub source: data::Source,
    /// Normalisation of raw pixels.
    pub pixels: Pixels,
    /// Channels, rows and columns of an image.
    pub input: [usize; 3],
    /// Scores.
    pub classes: usize,
    /// What weights become.
    pub quant: QuantConfig,
    /// What activations become.
    pub activations: ActivationConfig,
    /// Course of `lambda`.
    pub lambda_ramp: Ramp,
    /// Course of `gamma`.
    pub gamma_ramp: Ramp,
    /// Passes over the training set.
    pub epochs: usize,
    /// Last epochs, in which no layer's shape moves any more, and so no depth.
    pub freeze_epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Learning rate.
    pub schedule: Schedule,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Random changes of training images.
    pub augment: Augment,
    /// Training images to use, the first of the set; all where `None`.
    pub limit: Option<usize>,
    /// Seed of the latent weights, the order and the changes of images.
    pub seed: u64,
}

impl Config {
    /// Whether a layer may be under Smart Quantization, which alone reads the settings of the regulariser.
    pub fn is_regularised(&self) -> bool {
        let sq = Some(WeightKind::Sq);
        let mut own = self.arch.options().into_iter().map(|options| options.weights);
        self.quant.method.weights() == WeightKind::Sq
            || self.quant.first == sq
            || self.quant.last == sq
            || own.any(|weights| weights == sq)
    }

    /// The same settings with the usual value of each that no layer reads, so that runs that cannot differ have equal ones.
    pub fn canonical(mut self) -> Config {
        let usual = QuantConfig::sq();
        if !self.is_regularised() {
            (self.lambda_ramp, self.gamma_ramp) = (Ramp::Constant, Ramp::Constant);
            self.quant = QuantConfig {
                power: usual.power,
                epsilon: usual.epsilon,
                beta: usual.beta,
                lambda: usual.lambda,
                gamma: usual.gamma,
                ..self.quant
            };
        }
        if self.activations.kind != ActivationKind::Int8 {
            self.activations.range = ActivationConfig::new(self.activations.kind).range;
        }
        self
    }

    /// A fresh network for these settings.
    ///
    /// # Errors
    /// Layers that do not fit each other or the images.
    pub fn net(&self, device: &Device) -> Result<Net> {
        Ok(Net::new(&self.graph()?, &self.quant, self.activations, device))
    }

    /// Shapes of the network.
    ///
    /// # Errors
    /// Layers that do not fit each other or the images, with their lines.
    pub fn graph(&self) -> Result<Graph> {
        Graph::new(&self.arch, self.input, self.classes)
    }

    /// Refuses settings that cannot train on `split`.
    ///
    /// # Errors
    /// The setting that makes no sense, or that does not fit the data.
    pub fn check(&self, split: &Split) -> Result<()> {
        self.graph()?;
        self.quant.check()?;
        self.activations.check()?;
        self.schedule.check()?;
        self.optimizer.check()?;
        for set in [&split.train, &split.test] {
            ensure!(
                set.shape == self.input,
                "the run was set up for images {:?}, not {:?} (channels, rows, columns)",
                self.input,
                set.shape
            );
        }
        ensure!(
            split.classes.len() == self.classes,
            "the run was set up for {} classes, not {}",
            self.classes,
            split.classes.len()
        );
        ensure!(self.epochs > 0, "no epochs to train");
        ensure!(
            self.freeze_epochs <= self.epochs,
            "{} frozen epochs of {}: give --freeze-epochs of at most as many, or more --epochs",
            self.freeze_epochs,
            self.epochs
        );
        ensure!(
            self.schedule.warm_up <= self.epochs as f64,
            "{} epochs of warm-up in a run of {}",
            self.schedule.warm_up,
            self.epochs
        );
        let [_, rows, columns] = self.input;
        ensure!(
            self.augment.shift < rows.min(columns),
            "a shift by {} moves images of {rows}x{columns} pixels out of sight",
            self.augment.shift
        );
        ensure!(
            self.batch > 1,
            "a batch of {} has no variance to normalise by",
            self.batch
        );
        ensure!(
            split.train.len() > 1,
            "one training image has no variance to normalise by"
        );
        Ok(())
    }
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy over the epoch's steps.
    pub loss: f64,
    /// The regulariser's part of the objective at the epoch's end.
    pub penalty: f64,
    /// Share of training images classified correctly when they were seen.
    pub train_accuracy: f64,
    /// Share of test images classified correctly after the epoch.
    pub test_accuracy: f64,
    /// Learning rate at the epoch's end.
    pub learning_rate: f64,
    /// Duration, the measurement on the test set included.
    pub seconds: f64,
    /// Every layer's quantizer after the epoch.
    pub layers: Vec<LayerReport>,
}

/// Where a run stands between two steps: with the network and the optimizer's state, all that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Reports of the finished epochs.
    pub history: Vec<EpochReport>,
    /// Sums over the steps done in the epoch after them.
    pub totals: Totals,
}

/// Sums over the first steps of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Steps done.
    pub steps: usize,
    images: usize,
    hits: usize,
    /// Sum of the losses, as the bits of a f64: text would round it.
    loss: u64,
    seconds: f64,
}

impl Totals {
    fn loss(&self) -> f64 {
        f64::from_bits(self.loss)
    }
}

/// A network in training, with its optimizer.
pub struct Stepper {
    /// The network, on the training device.
    pub net: Net,
    optimizer: ModuleOptimizer,
    device: Device,
    workers: Vec<Worker>,
}

/// What a step came to.
pub struct StepReport {
    /// Cross-entropy before the step.
    pub loss: f64,
    /// Images classified correctly before the step.
    pub hits: usize,
}

impl Stepper {
    /// A fresh network and optimizer by these settings on the first of `devices`; the others take their parts of every batch. The
    /// latent weights are drawn by the seed, on the CPU, so that they are the same on every device.
    ///
    /// # Errors
    /// Settings that make no network, or no devices.
    pub fn new(config: &Config, devices: &[Device]) -> Result<Stepper> {
        let (first, others) = devices.split_first().context("no device to train on")?;
        device::cpu().seed(config.seed);
        Ok(Stepper {
            net: config.net(&device::cpu().autodiff())?.fork(first),
            optimizer: config.optimizer.init(),
            device: first.clone().autodiff(),
            workers: others
                .iter()
                .map(|device| Worker::new(device.clone().autodiff()))
                .collect(),
        })
    }

    /// One step on a batch of raw images.
    ///
    /// # Errors
    /// A loss that is not finite, with the layer it comes from.
    pub fn step(mut self, config: &Config, pixels: &[u8], labels: &[u16], rate: f64) -> Result<(Stepper, StepReport)> {
        let part = self.gradients(config, pixels, labels)?;
        // By value, so that the optimizer owns the parameters and can update them in place.
        self.net = self.optimizer.step(rate, self.net, part.gradients);
        self.net.project();
        let report = StepReport {
            loss: part.loss,
            hits: hits(&part.scores, labels),
        };
        Ok((self, report))
    }

    /// Loss, scores and gradients of a batch of raw images, over all devices.
    fn gradients(&self, config: &Config, pixels: &[u8], labels: &[u16]) -> Result<Part> {
        let shares = parallel::shares(labels.len(), 1 + self.workers.len());
        let size: usize = config.input.iter().product();
        let of = |share: &Range<usize>| (&pixels[share.start * size..share.end * size], &labels[share.clone()]);
        let workers = &self.workers[..shares.len() - 1];
        for (worker, share) in workers.iter().zip(&shares[1..]) {
            let (config, (pixels, labels)) = (config.clone(), of(share));
            let (pixels, labels) = (pixels.to_vec(), labels.to_vec());
            worker.begin(
                &self.net,
                Box::new(move |net, device| part(net, &config, &pixels, &labels, device)),
            )?;
        }
        let (own, own_labels) = of(&shares[0]);
        let first = part(&self.net, config, own, own_labels, &self.device);
        // All are waited for, so that no device is left in the middle of a step whose error ends the run.
        let rest: Vec<Result<Part>> = workers.iter().map(Worker::end).collect();
        if rest.is_empty() {
            return first;
        }
        let mut parts = vec![first?];
        for part in rest {
            parts.push(part?);
        }
        let weight = |share: &Range<usize>| share.len() as f64 / labels.len() as f64;
        Ok(Part {
            loss: parts
                .iter()
                .zip(&shares)
                .map(|(part, share)| part.loss * weight(share))
                .sum(),
            scores: parts
                .iter_mut()
                .flat_map(|part| std::mem::take(&mut part.scores))
                .collect(),
            gradients: parallel::reduce(
                &self.net,
                parts
                    .into_iter()
                    .zip(&shares)
                    .map(|(part, share)| (weight(share) as f32, part.gradients))
                    .collect(),
                &self.device.clone().without_autodiff(),
            ),
        })
    }
}

/// Loss, scores and gradients of raw images by `net` on the training device `device`.
fn part(net: &Net, config: &Config, pixels: &[u8], labels: &[u16], device: &Device) -> Result<Part> {
    let input = images(pixels, config, device);
    let scores = net.forward(input.clone());
    let targets: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [labels.len()]), device);
    let loss = CrossEntropyLossConfig::new()
        .init(device)
        .forward(scores.clone(), targets);
    let value = loss.clone().into_scalar::<f32>() as f64;
    if !value.is_finite() {
        // Outputs before statistics: those of all layers behind the first one are not finite either.
        let place = net
            .first_weights_not_finite()
            .or_else(|| net.first_output_not_finite(input))
            .or_else(|| net.first_not_finite());
        bail!(
            "{} not finite; {SMALLER_STEPS}",
            place.unwrap_or("the loss itself is".into())
        );
    }
    Ok(Part {
        loss: value,
        gradients: GradientsParams::from_grads(loss.backward(), net),
        scores: scores.into_data().try_to_vec::<f32>().expect("f32 data"),
    })
}

/// Trains the network of `run` on `split` and these devices, with a checkpoint in `out` and a call of `observe` after every
/// epoch; with `resume`, from the run's latest checkpoint on. Returns the network on the CPU, off the training device.
///
/// As soon as `stop` is set, the state is saved and the run ends with an error that says so.
///
/// # Errors
/// Settings that contradict each other or the data, a run in `out` that does not fit or that another process trains, a loss or
/// at an epoch's end anything else that is not finite (with the layer it comes from), a file that cannot be written, or what `observe` returns, which ends the run where it can be resumed.
pub fn train(
    run: &Run,
    split: &Split,
    devices: &[Device],
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
    mut observe: impl FnMut(&EpochReport) -> Result<()>,
) -> Result<Net> {
    let config = &run.config;
    config.check(split)?;
    let mut position = Position::default();
    let mut stepper = Stepper::new(config, devices)?;
    let folder;
    if resume {
        Run::load(out)?; // a folder without a run is to stay as it is
        folder = Folder::hold(out)?;
        let begun = Run::load(out)?;
        let (was, now) = (begun.config.canonical(), config.clone().canonical());
        ensure!(
            was == now,
            "the run in {} was begun otherwise ({}): give the same flags, or another --out. It was begun by: {}",
            out.display(),
            settings::differences(&was, &now),
            begun.command
        );
        if let Some(checkpoint) = Checkpoint::find(out)? {
            (stepper.net, stepper.optimizer) = checkpoint.resume(stepper.optimizer, &stepper.device)?;
            position = checkpoint.position;
            folder.write_metrics(&position.history)?;
        }
    } else {
        folder = Folder::hold(out)?;
        folder.begin(run)?;
    }
    if position == Position::default() {
        let first: Vec<usize> = data::shuffled(split.train.len(), config.seed, 1)
            .into_iter()
            .take(config.batch)
            .collect();
        let (pixels, _) = data::batch(&split.train, &first, Augment::default(), config.seed, 1);
        stepper.net.calibrate(images(&pixels, config, &stepper.device));
    }
    while position.history.len() < config.epochs {
        let finished;
        (stepper, finished) = run_epoch(stepper, config, &split.train, &mut position, stop)?;
        let epoch = position.history.len() + 1;
        if !finished {
            ensure_finite(&stepper.net, epoch)?;
            folder.save(&stepper.net, &stepper.optimizer, &position)?;
            bail!(
                "stopped in epoch {epoch} after {} steps; the state is saved: the same command with --resume goes on",
                position.totals.steps
            );
        }
        let start = Instant::now();
        average_statistics(&mut stepper.net, config, &split.train, epoch, &stepper.device);
        ensure_finite(&stepper.net, epoch)?;
        let totals = std::mem::take(&mut position.totals);
        let layers = stepper.net.reports();
        let report = EpochReport {
            epoch,
            loss: totals.loss() / totals.steps as f64,
            penalty: layers.iter().map(|layer| layer.penalty as f64).sum(),
            train_accuracy: totals.hits as f64 / totals.images as f64,
            test_accuracy: accuracy(&stepper.net.valid(), config, &split.test)
                .with_context(|| format!("epoch {epoch}"))?,
            learning_rate: config
                .schedule
                .at(epoch * totals.steps, config.epochs * totals.steps, totals.steps),
            seconds: totals.seconds + start.elapsed().as_secs_f64(),
            layers,
        };
        position.history.push(report);
        folder.save(&stepper.net, &stepper.optimizer, &position)?;
        observe(&position.history[epoch - 1])?;
    }
    Ok(stepper.net.valid().fork(&device::cpu()))
}

/// Refuses a network that has come to something not finite, which would train no further and which files cannot hold.
fn ensure_finite(net: &Net, epoch: usize) -> Result<()> {
    match net.first_not_finite() {
        None => Ok(()),
        Some(place) => bail!("epoch {epoch}: {place} not finite, and nothing of the epoch is saved; {SMALLER_STEPS}"),
    }
}

/// Runs what is left of the epoch at `position`; returns whether it came to its end.
fn run_epoch(
    mut stepper: Stepper,
    config: &Config,
    set: &Dataset,
    position: &mut Position,
    stop: &AtomicBool,
) -> Result<(Stepper, bool)> {
    let start = Instant::now();
    let epoch = position.history.len() + 1;
    let frozen = epoch + config.freeze_epochs > config.epochs;
    let order = data::shuffled(set.len(), config.seed, epoch);
    // A last batch of one image has no variance to normalise by.
    let batches: Vec<&[usize]> = order.chunks(config.batch).filter(|batch| batch.len() > 1).collect();
    let steps = config.epochs * batches.len();
    let free_steps = (config.epochs - config.freeze_epochs) * batches.len();
    let totals = &mut position.totals;
    let before = totals.seconds;
    let progress = Progress::epoch(epoch, config.epochs, batches.len(), totals.steps);
    let mut finished = true;
    for indices in &batches[totals.steps..] {
        let step = (epoch - 1) * batches.len() + totals.steps;
        let way = step as f64 / free_steps.max(1) as f64;
        stepper
            .net
            .set_strength(config.lambda_ramp.at(way), config.gamma_ramp.at(way), frozen);
        let (pixels, labels) = data::batch(set, indices, config.augment, config.seed, epoch);
        let rate = config.schedule.at(step, steps, batches.len());
        let report;
        (stepper, report) = stepper
            .step(config, &pixels, &labels, rate)
            .with_context(|| format!("epoch {epoch}, step {}", totals.steps + 1))?;

        totals.steps += 1;
        totals.images += labels.len();
        totals.hits += report.hits;
        totals.loss = (totals.loss() + report.loss).to_bits();
        totals.seconds = before + start.elapsed().as_secs_f64();
        progress.step(totals.loss() / totals.steps as f64);
        if stop.load(Ordering::Relaxed) {
            finished = totals.steps == batches.len();
            break;
        }
    }
    progress.finish();
    Ok((stepper, finished))
}

/// Averages the statistics of batch norms over images as inference will meet them, without random changes.
fn average_statistics(net: &mut Net, config: &Config, set: &Dataset, epoch: usize, device: &Device) {
    let order = data::shuffled(set.len(), config.seed, epoch);
    let batches = order.chunks(config.batch).filter(|batch| batch.len() > 1);
    net.average_statistics(batches.take(STATISTICS_BATCHES).map(|indices| {
        let (pixels, _) = data::batch(set, indices, Augment::default(), config.seed, epoch);
        images(&pixels, config, device)
    }));
}

/// Share of the images of `set` that `net` (off the training device) classifies correctly.
///
/// # Errors
/// A set without images, or scores that are not finite.
pub fn accuracy(net: &Net, config: &Config, set: &Dataset) -> Result<f64> {
    ensure!(!set.is_empty(), "no images to measure with");
    let scores = scores(net, config, &set.images);
    ensure!(
        scores.iter().all(|score| score.is_finite()),
        "the scores of test images are not finite; {SMALLER_STEPS}"
    );
    Ok(hits(&scores, &set.labels) as f64 / set.len() as f64)
}

/// Scores of raw images, row after row, by `net` off the training device.
pub fn scores(net: &Net, config: &Config, pixels: &[u8]) -> Vec<f32> {
    let device = net.device();
    let size: usize = config.input.iter().product();
    let of_batch = |batch: &[u8]| {
        let scores = net.forward(images(batch, config, &device)).into_data();
        scores.try_to_vec::<f32>().expect("f32 data")
    };
    pixels.chunks(EVAL_BATCH * size).flat_map(of_batch).collect()
}

/// Raw pixels as a normalised tensor `[batch, channels, rows, columns]`.
pub fn images(pixels: &[u8], config: &Config, device: &Device) -> Tensor<4> {
    let [channels, rows, columns] = config.input;
    let values = config.pixels.apply(pixels, channels, rows * columns);
    let batch = values.len() / (channels * rows * columns);
    Tensor::from_data(TensorData::new(values, [batch, channels, rows, columns]), device)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arch::parse;
    use crate::data::Source;
    use crate::nn::{ActivationKind, Method};
    use crate::optim::Decay;
    use burn::module::{ModuleVisitor, Param};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const INPUT: [usize; 3] = [2, 9, 8];

    pub(crate) fn config(layers: &str) -> Config {
        Config {
            arch: parse("test", layers).unwrap(),
            source: Source {
                data: "drawn".into(),
                size: None,
                channels: 2,
            },
            pixels: Pixels {
                zero: vec![0],
                scale: vec![1.0 / 255.0],
                step: None,
            },
            input: INPUT,
            classes: 3,
            quant: QuantConfig {
                method: Method::Sq,
                decay: 0.1,
                ..QuantConfig::sq()
            },
            activations: ActivationConfig::new(ActivationKind::Int8),
            lambda_ramp: Ramp::Constant,
            gamma_ramp: Ramp::Constant,
            epochs: 1,
            freeze_epochs: 0,
            batch: 7,
            schedule: Schedule {
                rate: 1e-3,
                warm_up: 0.0,
                decay: Decay::Constant,
            },
            optimizer: Optimizer::Adam,
            augment: Augment::default(),
            limit: None,
            seed: 1,
        }
    }

    pub(crate) const PLAIN: &str = r#"layers = [
        { type = "conv", outputs = 3, kernel = 3 }, { type = "activation" }, { type = "max_pool", size = 2 },
        { type = "flatten" }, { type = "dense", outputs = 6, bias = true }, { type = "activation" }, { type = "classifier" },
    ]"#;

    const NORMALISED: &str = r#"layers = [
        { type = "conv", outputs = 3, kernel = 3, stride = 2, pad = 1 }, { type = "norm" }, { type = "activation" },
        { type = "flatten" }, { type = "dense", outputs = 6 }, { type = "norm" }, { type = "activation" }, { type = "classifier" },
    ]"#;

    fn batch() -> (Vec<u8>, Vec<u16>) {
        let mut rng = StdRng::seed_from_u64(5);
        let pixels = (0..7 * INPUT.iter().product::<usize>()).map(|_| rng.random()).collect();
        (pixels, vec![0, 1, 2, 0, 1, 2, 0])
    }

    /// Every parameter's gradient, in the network's order.
    fn list(net: &Net, gradients: &GradientsParams) -> Vec<Vec<f32>> {
        struct List<'a>(&'a GradientsParams, Vec<Vec<f32>>);
        impl ModuleVisitor for List<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = self.0.get::<D>(param.id);
                self.1
                    .extend(gradient.map(|g| g.into_data().try_to_vec::<f32>().unwrap()));
            }
        }
        let mut list = List(gradients, vec![]);
        net.visit(&mut list);
        list.1
    }

    fn assert_close(got: &[Vec<f32>], want: &[Vec<f32>], tolerance: f32) {
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert_eq!(got.len(), want.len(), "parameter {i}");
            let greatest = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            for (got, want) in got.iter().zip(want) {
                assert!(
                    (got - want).abs() <= tolerance * greatest,
                    "parameter {i}: {got}, not {want}"
                );
            }
        }
    }

    /// Weights and statistics.
    fn numbers(net: &Net) -> String {
        format!("{:?}", net.network())
    }

    fn on(stepper: &mut Stepper, others: &[Device]) {
        stepper.workers = others.iter().map(|d| Worker::new(d.clone().autodiff())).collect();
    }

    #[test]
    fn settings_that_nothing_reads_are_alike() {
        let with = |change: fn(&mut Config)| {
            let mut config = config(PLAIN);
            config.quant.method = Method::Twn;
            change(&mut config);
            config.canonical()
        };
        let plain = with(|_| {});
        assert_eq!(
            with(|c| (c.quant.gamma, c.quant.lambda, c.quant.beta) = (3.0, 4.0, 1.5)),
            plain
        );
        assert_eq!(with(|c| c.gamma_ramp = Ramp::Cosine), plain);
        assert_ne!(with(|c| c.quant.decay = 0.5), plain);
        assert_ne!(
            with(|c| c.activations.range = crate::nn::Range::Average),
            plain,
            "int8 reads it"
        );
        let one_sq = |c: &mut Config| c.quant.last = Some(WeightKind::Sq);
        assert_ne!(
            with(|c| (c.quant.last, c.quant.gamma) = (Some(WeightKind::Sq), 3.0)),
            with(one_sq)
        );
        let mut own = config(PLAIN);
        own.quant.method = Method::Float;
        assert!(!own.is_regularised());
        own.arch = parse("own", "layers = [{ type = \"residual\", body = [{ type = \"conv\", outputs = 2, kernel = 1, weights = \"sq\" }] }]").unwrap();
        assert!(own.is_regularised());
    }

    #[test]
    fn gradients_over_several_devices_are_those_of_one() {
        let (config, (pixels, labels)) = (config(PLAIN), batch());
        let mut stepper = Stepper::new(&config, &[device::cpu()]).unwrap();
        let one = stepper.gradients(&config, &pixels, &labels).unwrap();
        let weights = list(&stepper.net, &one.gradients);
        assert!(weights.len() > 6 && weights.iter().flatten().any(|&g| g != 0.0));
        for others in 1..4 {
            on(&mut stepper, &vec![device::cpu(); others]);
            let several = stepper.gradients(&config, &pixels, &labels).unwrap();
            assert_close(&list(&stepper.net, &several.gradients), &weights, 1e-5);
            assert!((several.loss - one.loss).abs() < 1e-6);
            assert_eq!(several.scores, one.scores);
        }
    }

    #[test]
    fn every_part_has_its_own_statistics_and_the_first_ones_run_on() {
        let (config, (pixels, labels)) = (config(NORMALISED), batch());
        let mut stepper = Stepper::new(&config, &[device::cpu()]).unwrap();
        let apart = stepper.net.valid().train();
        on(&mut stepper, &[device::cpu()]);
        let both = stepper.gradients(&config, &pixels, &labels).unwrap();
        // Seven images are three and four.
        let cut = 3 * INPUT.iter().product::<usize>();
        let cpu = device::cpu().autodiff();
        let first = part(&apart, &config, &pixels[..cut], &labels[..3], &cpu).unwrap();
        assert_eq!(numbers(&stepper.net), numbers(&apart));
        let second = part(&apart, &config, &pixels[cut..], &labels[3..], &cpu).unwrap();
        assert_ne!(numbers(&stepper.net), numbers(&apart));
        let mut want = list(&apart, &first.gradients);
        for (want, second) in want.iter_mut().zip(list(&apart, &second.gradients)) {
            want.iter_mut()
                .zip(second)
                .for_each(|(want, second)| *want = (3.0 * *want + 4.0 * second) / 7.0);
        }
        assert_close(&list(&stepper.net, &both.gradients), &want, 1e-5);
    }

    #[test]
    fn a_worker_that_fails_ends_the_step_and_not_the_program() {
        let (mut config, (pixels, labels)) = (config(PLAIN), batch());
        let mut stepper = Stepper::new(&config, &[device::cpu()]).unwrap();
        on(&mut stepper, &[device::cpu()]);
        config.pixels.scale = vec![f32::NAN];
        let error = stepper.gradients(&config, &pixels, &labels).err().unwrap();
        assert!(error.to_string().contains("not finite"), "{error}");
    }

    /// The network's gradients on a GPU, or a software Vulkan, against the CPU's; then over both.
    #[cfg(feature = "wgpu")]
    #[test]
    fn gradients_on_wgpu_are_those_of_the_cpu() {
        let Ok(wgpu) = "wgpu".parse::<device::Place>().unwrap().open() else {
            use std::io::Write;
            // Not by `eprintln`, whose output the test harness keeps back.
            writeln!(std::io::stderr(), "SKIPPED, NOTHING TESTED: wgpu finds no adapter").unwrap();
            return;
        };
        let (pixels, labels) = batch();
        for layers in [PLAIN, NORMALISED] {
            let config = config(layers);
            let stepper = Stepper::new(&config, &[device::cpu()]).unwrap();
            let mut there = Stepper {
                net: stepper.net.valid().fork(&wgpu).train(),
                optimizer: config.optimizer.init(),
                device: wgpu.clone().autodiff(),
                workers: vec![],
            };
            assert_eq!(there.net.device(), wgpu);
            let got = there.gradients(&config, &pixels, &labels).unwrap();
            let want = stepper.gradients(&config, &pixels, &labels).unwrap();
            assert_close(
                &list(&there.net, &got.gradients),
                &list(&stepper.net, &want.gradients),
                1e-3,
            );
            if layers == PLAIN {
                on(&mut there, &[device::cpu(), wgpu.clone()]);
                let got = there.gradients(&config, &pixels, &labels).unwrap();
                assert_close(
                    &list(&there.net, &got.gradients),
                    &list(&stepper.net, &want.gradients),
                    1e-3,
                );
            }
        }
    }
}
