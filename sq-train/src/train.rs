//! The training loop: cross-entropy plus the regulariser of Smart Quantization, Adam, one run and no search.

use crate::arch::{self, Arch};
use crate::checkpoint::{self, Checkpoint, Run};
use crate::data::{self, Dataset, Split};
use crate::export::INPUT_SCALE;
use crate::nn::{ActivationKind, Net};
use crate::progress::Progress;
use crate::quant::reparam::{LayerReport, Project, SqConfig};
use crate::quant::{BETA_MAX, BETA_MIN};
use crate::reference::hits;
use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::path::Path;
use std::time::Instant;

/// Images per forward pass when measuring.
const EVAL_BATCH: usize = 500;

/// Settings of a run; with the data and the version of the trainer they determine its outcome bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Architecture, one of [`arch::NAMES`].
    pub arch: String,
    /// Data set, one of [`data::NAMES`].
    pub data: String,
    /// Activations.
    pub activations: ActivationKind,
    /// Passes over the training set.
    pub epochs: usize,
    /// Last epochs, in which no layer's shape moves any more, and so no depth.
    pub freeze_epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Learning rate at the start; it falls to 0 along half a cosine.
    pub learning_rate: f64,
    /// Smart Quantization.
    pub sq: SqConfig,
    /// Greatest random shift of a training image, in pixels along each axis.
    pub shift: usize,
    /// Training images to use, the first of the set; all where `None`.
    pub limit: Option<usize>,
    /// Seed of the latent weights, the order and the shifts.
    pub seed: u64,
}

impl Config {
    /// A fresh network for these settings.
    pub fn net(&self, device: &Device) -> Result<Net> {
        Ok(Net::new(&self.arch()?, self.activations, self.sq, device))
    }

    fn arch(&self) -> Result<Arch> {
        Arch::named(&self.arch).with_context(|| {
            format!(
                "unknown architecture `{}`; known are {}",
                self.arch,
                arch::NAMES.join(", ")
            )
        })
    }

    /// Refuses settings that cannot train on `split`.
    fn check(&self, split: &Split) -> Result<()> {
        let (arch, sq) = (self.arch()?, &self.sq);
        for set in [&split.train, &split.test] {
            ensure!(!set.is_empty(), "no images in the training or the test set");
            ensure!(
                set.shape == arch.input,
                "{} takes images {:?}, not {:?}",
                self.arch,
                arch.input,
                set.shape
            );
        }
        ensure!(self.epochs > 0, "no epochs to train");
        ensure!(
            self.freeze_epochs <= self.epochs,
            "{} frozen epochs of {}",
            self.freeze_epochs,
            self.epochs
        );
        ensure!(
            self.batch > 1,
            "a batch of {} has no variance to normalise by",
            self.batch
        );
        ensure!(
            self.learning_rate > 0.0,
            "learning rate {} is not positive",
            self.learning_rate
        );
        ensure!(
            (BETA_MIN..=BETA_MAX).contains(&sq.beta),
            "beta {} is not in {BETA_MIN}..={BETA_MAX}",
            sq.beta
        );
        ensure!(
            sq.lambda >= 0.0 && sq.gamma >= 0.0,
            "lambda {} or gamma {} is negative",
            sq.lambda,
            sq.gamma
        );
        Ok(())
    }

    /// Learning rate of step `step` of `steps`.
    fn rate(&self, step: usize, steps: usize) -> f64 {
        self.learning_rate * 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos())
    }
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy over the epoch's steps.
    pub loss: f64,
    /// Mean of the regulariser's part of the objective.
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

/// Trains the network of `run` on `split`, with a checkpoint in `out` and a call of `observe` after every epoch; with
/// `resume`, from the run's latest checkpoint on. Returns the network off the training device.
///
/// # Errors
/// An unknown architecture, settings that contradict each other, a run in `out` that does not fit, a loss that is not
/// finite, a file that cannot be written, or what `observe` returns, which ends the run where it can be resumed.
pub fn train(
    run: &Run,
    split: &Split,
    out: &Path,
    resume: bool,
    mut observe: impl FnMut(&EpochReport) -> Result<()>,
) -> Result<Net> {
    let config = &run.config;
    config.check(split)?;
    let device = Device::flex();
    let mut optimizer = AdamConfig::new().init();
    let mut history = Vec::new();
    device.seed(config.seed);
    let mut net = config.net(&device.clone().autodiff())?;
    if resume {
        let begun = Run::load(out)?;
        ensure!(
            begun.config == *config,
            "the run in {} was begun otherwise: {}",
            out.display(),
            begun.command
        );
        if let Some(checkpoint) = Checkpoint::find(out)? {
            (net, optimizer) = checkpoint.resume(optimizer)?;
            history = checkpoint.history;
        }
    } else {
        run.begin(out)?;
    }
    while history.len() < config.epochs {
        let start = Instant::now();
        let epoch = history.len() + 1;
        let totals;
        (net, totals) = run_epoch(net, &mut optimizer, config, &split.train, epoch, &device)?;
        let report = EpochReport {
            epoch,
            loss: totals.loss / totals.steps as f64,
            penalty: totals.penalty / totals.steps as f64,
            train_accuracy: totals.hits as f64 / totals.images as f64,
            test_accuracy: accuracy(&net.valid(), &split.test)?,
            learning_rate: config.rate(epoch * totals.steps, config.epochs * totals.steps),
            seconds: start.elapsed().as_secs_f64(),
            layers: net.reports(),
        };
        history.push(report);
        checkpoint::save(out, &net, &optimizer, &history)?;
        observe(&history[epoch - 1])?;
    }
    Ok(net.valid())
}

#[derive(Default)]
struct Totals {
    steps: usize,
    images: usize,
    hits: usize,
    loss: f64,
    penalty: f64,
}

fn run_epoch(
    mut net: Net,
    optimizer: &mut ModuleOptimizer,
    config: &Config,
    set: &Dataset,
    epoch: usize,
    device: &Device,
) -> Result<(Net, Totals)> {
    let device = device.clone().autodiff();
    let frozen = epoch + config.freeze_epochs > config.epochs;
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let order = data::shuffled(set.len(), config.seed, epoch);
    // A last batch of one image has no variance to normalise by.
    let batches: Vec<&[usize]> = order.chunks(config.batch).filter(|batch| batch.len() > 1).collect();
    ensure!(!batches.is_empty(), "no images to learn from");
    let progress = Progress::epoch(epoch, config.epochs, batches.len());
    let mut totals = Totals::default();
    for indices in &batches {
        let (pixels, labels) = data::shifted_batch(set, indices, config.shift, config.seed, epoch);
        let scores = net.forward(images(&pixels, set.shape, &device));
        let targets: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [labels.len()]), &device);
        let loss = cross_entropy.forward(scores.clone(), targets);
        let penalty = net.penalty(&config.sq, frozen);
        let gradients = GradientsParams::from_grads((loss.clone() + penalty.clone()).backward(), &net);
        let step = (epoch - 1) * batches.len() + totals.steps;
        let rate = config.rate(step, config.epochs * batches.len());
        net = optimizer.step(rate, net, gradients).map(&mut Project::default());

        totals.steps += 1;
        totals.images += labels.len();
        totals.hits += hits(&scores.into_data().try_to_vec::<f32>().expect("f32 data"), &labels);
        totals.loss += loss.into_scalar::<f32>() as f64;
        totals.penalty += penalty.into_scalar::<f32>() as f64;
        ensure!(
            totals.loss.is_finite(),
            "the loss is not finite in step {step}; try a smaller learning rate"
        );
        progress.step(totals.loss / totals.steps as f64);
    }
    progress.finish();
    Ok((net, totals))
}

/// Share of the images of `set` that `net` (off the training device) classifies correctly.
pub fn accuracy(net: &Net, set: &Dataset) -> Result<f64> {
    ensure!(!set.is_empty(), "no images to measure with");
    Ok(hits(&scores(net, &set.images, set.shape)?, &set.labels) as f64 / set.len() as f64)
}

/// Scores of raw images of this shape, row after row, by `net` off the training device.
pub fn scores(net: &Net, pixels: &[u8], shape: [usize; 3]) -> Result<Vec<f32>> {
    let device = Device::flex();
    let mut all = Vec::new();
    for batch in pixels.chunks(EVAL_BATCH * shape.iter().product::<usize>()) {
        all.extend(
            net.forward(images(batch, shape, &device))
                .into_data()
                .try_to_vec::<f32>()
                .expect("f32 data"),
        );
    }
    Ok(all)
}

/// Raw pixels as a tensor `[batch, channels, rows, columns]` in 0..=1.
fn images(pixels: &[u8], [channels, rows, columns]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = pixels.iter().map(|&p| p as f32 * INPUT_SCALE).collect();
    let batch = values.len() / (channels * rows * columns);
    Tensor::from_data(TensorData::new(values, [batch, channels, rows, columns]), device)
}
