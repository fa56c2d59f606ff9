//! Flags of a training run, and the settings they make.

use super::{DataArgs, Shard};
use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use sq_train::arch::Arch;
use sq_train::data::{self, Augment, Normalise, Pixels, Source, Split};
use sq_train::device::Place;
use sq_train::nn::{ActivationConfig, ActivationKind, Method, QuantConfig, Range};
use sq_train::ops::Estimator;
use sq_train::optim::{Decay, Optimizer, Ramp, Schedule};
use sq_train::quant::{Granularity, Power, Scale, WeightKind};
use sq_train::train::Config;

#[derive(Args, Clone)]
pub struct TrainArgs {
    /// Architecture: lenet5, vgg7, resnet8, resnet20, dscnn, mlp, or a .toml file of layers.
    #[arg(long, default_value = "lenet5")]
    pub arch: String,
    /// Factor of every number of channels and hidden outputs.
    #[arg(long, default_value_t = 1.0)]
    pub width: f64,
    #[command(flatten)]
    pub data: DataArgs,
    /// Normalisation of raw pixels: to 0..=1, or to mean 0 and deviation 1 over the set or for each channel.
    #[arg(long, value_enum, default_value_t = Normalise::Unit)]
    pub normalise: Normalise,
    /// What weights become: Smart Quantization or a baseline.
    #[arg(long, value_enum, default_value_t = Method::Sq)]
    pub method: Method,
    /// What the weights of the first layer become, instead.
    #[arg(long, value_enum)]
    pub first: Option<WeightKind>,
    /// What the weights of the last layer become, instead.
    #[arg(long, value_enum)]
    pub last: Option<WeightKind>,
    /// Scales per layer or per output channel.
    #[arg(long, value_enum, default_value_t = Granularity::Layer)]
    pub granularity: Granularity,
    /// Where scales come from; by default learned under sq, statistical under bwn and twn.
    #[arg(long, value_enum)]
    pub scale: Option<Scale>,
    /// Activations.
    #[arg(long, value_enum, default_value_t = ActivationKind::Float)]
    pub activations: ActivationKind,
    /// Where the range of int8 activations comes from.
    #[arg(long, value_enum, default_value_t = Range::Learned)]
    pub range: Range,
    /// Straight-through estimator of binary activations.
    #[arg(long, value_enum, default_value_t = Estimator::Hardtanh)]
    pub estimator: Estimator,
    /// Passes over the training set.
    #[arg(long, default_value_t = 20)]
    pub epochs: usize,
    /// Last epochs, in which the depth of every layer is frozen; without it a fifth of them, at most 4.
    #[arg(long)]
    pub freeze_epochs: Option<usize>,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    pub batch: usize,
    /// Optimizer.
    #[arg(long, value_enum, default_value_t = OptimizerArg::Adam)]
    pub optimizer: OptimizerArg,
    /// Momentum of sgd.
    #[arg(long, default_value_t = 0.9)]
    pub momentum: f64,
    /// Learning rate, after the warm-up.
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Epochs in which the learning rate rises from 0.
    #[arg(long, default_value_t = 0.0)]
    pub warm_up: f64,
    /// Course of the learning rate.
    #[arg(long, value_enum, default_value_t = DecayArg::Cosine)]
    pub schedule: DecayArg,
    /// Shares of the run after which a stepped learning rate falls.
    #[arg(long, value_delimiter = ',', default_value = "0.5,0.75")]
    pub steps: Vec<f64>,
    /// Factor of a stepped learning rate.
    #[arg(long, default_value_t = 0.1)]
    pub step_factor: f64,
    /// Weight decay of the latent weights.
    #[arg(long, default_value_t = 0.0)]
    pub decay: f32,
    /// Weight of the regulariser in the objective.
    #[arg(long, default_value_t = 1.0)]
    pub lambda: f32,
    /// Course of lambda up to the frozen epochs.
    #[arg(long, value_enum, default_value_t = Ramp::Constant)]
    pub lambda_ramp: Ramp,
    /// Price of a layer's third value: the greater, the more layers become binary.
    #[arg(long, default_value_t = 0.01)]
    pub gamma: f32,
    /// Course of gamma up to the frozen epochs.
    #[arg(long, value_enum, default_value_t = Ramp::Constant)]
    pub gamma_ramp: Ramp,
    /// Shape that every layer begins with, between pi/4 (three equal wells) and pi/2 (two).
    #[arg(long, default_value_t = 1.2)]
    pub beta: f32,
    /// A layer is binary where its threshold is below this share of its scale.
    #[arg(long, default_value_t = 0.05)]
    pub epsilon: f32,
    /// Power of the regulariser.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub power: u8,
    /// Greatest random shift of a training image, in pixels: pads by so many zeros and crops.
    #[arg(long, visible_alias = "crop", default_value_t = 0)]
    pub shift: usize,
    /// Mirrors training images left to right by chance.
    #[arg(long)]
    pub flip: bool,
    /// Learn from the first images of the training set only.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Devices to train on: cpu, wgpu, cuda, rocm, a number where there are several (cuda:1); of several, separated by commas,
    /// each takes a part of every batch.
    #[arg(long, value_delimiter = ',', default_value = "cpu")]
    pub device: Vec<Place>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum OptimizerArg {
    Adam,
    Sgd,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DecayArg {
    Constant,
    Cosine,
    Step,
}

impl DataArgs {
    /// What to read. Refuses `--size` and `--channels` where images have theirs already, and the flags would do nothing.
    pub fn source(&self) -> Result<Source> {
        let fixed = data::NAMES.contains(&&*self.data) || self.data.ends_with(".npz");
        ensure!(
            !fixed || self.size.is_none() && self.channels.is_none(),
            "--size and --channels are for folders of images: leave them out, {} has its own",
            self.data
        );
        Ok(Source {
            data: self.data.clone(),
            size: self.size,
            channels: self.channels.unwrap_or(3),
        })
    }
}

impl TrainArgs {
    /// The devices to train on.
    pub fn devices(&self) -> Result<Vec<Device>> {
        self.device.iter().map(|place| place.open()).collect()
    }

    /// The settings on this data.
    pub fn config(&self, split: &Split) -> Result<Config> {
        ensure!(
            self.width > 0.0 && self.width.is_finite(),
            "a --width of {} makes no network; 1 is the architecture's own",
            self.width
        );
        let arch = Arch::find(&self.arch)?;
        Ok(Config {
            arch: if self.width == 1.0 {
                arch
            } else {
                arch.scaled(self.width)
            },
            source: self.data.source()?,
            pixels: Pixels::fit(self.normalise, &split.train),
            input: split.train.shape,
            classes: split.classes.len(),
            quant: QuantConfig {
                method: self.method,
                first: self.first,
                last: self.last,
                granularity: self.granularity,
                scale: self.scale,
                power: if self.power == 1 { Power::One } else { Power::Two },
                epsilon: self.epsilon,
                beta: self.beta,
                lambda: self.lambda,
                gamma: self.gamma,
                decay: self.decay,
            },
            activations: ActivationConfig {
                kind: self.activations,
                range: self.range,
                estimator: self.estimator,
            },
            lambda_ramp: self.lambda_ramp,
            gamma_ramp: self.gamma_ramp,
            epochs: self.epochs,
            freeze_epochs: self.freeze_epochs.unwrap_or((self.epochs / 5).min(4)),
            batch: self.batch,
            schedule: Schedule {
                rate: self.lr,
                warm_up: self.warm_up,
                decay: match self.schedule {
                    DecayArg::Constant => Decay::Constant,
                    DecayArg::Cosine => Decay::Cosine,
                    DecayArg::Step => Decay::Step {
                        at: self.steps.clone(),
                        factor: self.step_factor,
                    },
                },
            },
            optimizer: match self.optimizer {
                OptimizerArg::Adam => Optimizer::Adam,
                OptimizerArg::Sgd => Optimizer::Sgd {
                    momentum: self.momentum,
                },
            },
            augment: Augment {
                shift: self.shift,
                flip: self.flip,
            },
            limit: self.limit,
            seed: self.seed,
        }
        .canonical())
    }
}

/// Reads `32x40` as rows and columns.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let parse = |side: &str| side.parse().ok().filter(|&side| side > 0);
    match text
        .split_once('x')
        .and_then(|(rows, columns)| Some([parse(rows)?, parse(columns)?]))
    {
        Some(size) => Ok(size),
        None => Err("a size is rows x columns, as 32x32".into()),
    }
}

/// Reads `1x28x28` as channels, rows and columns.
pub fn image(text: &str) -> Result<[usize; 3], String> {
    let sides: Option<Vec<usize>> = text
        .split('x')
        .map(|side| side.parse().ok().filter(|&side| side > 0))
        .collect();
    match sides.as_deref() {
        Some(&[channels, rows, columns]) => Ok([channels, rows, columns]),
        _ => Err("an image is channels x rows x columns, as 1x28x28".into()),
    }
}

/// Reads `2/4` as the second of four.
pub fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
    match numbers {
        Some((i, of)) if (1..=of).contains(&i) => Ok(Shard { index: i - 1, of }),
        _ => Err("a shard is i/n with i from 1 to n, as 2/4".into()),
    }
}
