//! The command line of the trainer.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sq_runtime::metadata;
use sq_train::checkpoint::{Checkpoint, Run};
use sq_train::data;
use sq_train::export::{self, Card};
use sq_train::nn::ActivationKind;
use sq_train::quant::Power;
use sq_train::quant::reparam::SqConfig;
use sq_train::train::{self, Config};
use sq_train::{arch, progress, reference};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Non-trimming: glibc gives every large activation buffer back to the system and faults it in again, which costs about a
/// tenth of a training step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains networks whose layers choose binary or ternary weights by themselves.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a network, with a checkpoint after every epoch.
    Train(TrainArgs),
    /// Writes the ONNX file of a run's latest checkpoint, once tract agrees with it.
    Export {
        /// Directory that `train --out` named.
        run: PathBuf,
        /// ONNX file to write.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Measures the accuracy on the test set: of a run by the trainer, of an ONNX file by tract.
    Eval {
        /// Directory of a run, or an ONNX file.
        path: PathBuf,
        /// Data set to measure an ONNX file with; a run knows its own.
        #[arg(long, default_value = "mnist", value_parser = data::NAMES)]
        data: String,
        /// Directory of data sets; without it the environment variable SQ_DATA_DIR.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
}

#[derive(Args)]
struct TrainArgs {
    /// Architecture.
    #[arg(long, default_value = "lenet5", value_parser = arch::NAMES)]
    arch: String,
    /// Data set.
    #[arg(long, default_value = "mnist", value_parser = data::NAMES)]
    data: String,
    /// Directory of data sets; without it the environment variable SQ_DATA_DIR.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Activations.
    #[arg(long, value_enum, default_value_t = Activations::Float)]
    activations: Activations,
    /// Passes over the training set.
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Last epochs, in which the depth of every layer is frozen.
    #[arg(long, default_value_t = 4)]
    freeze_epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along half a cosine.
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Weight of the regulariser in the objective.
    #[arg(long, default_value_t = 1.0)]
    lambda: f32,
    /// Price of a layer's third value: the greater, the more layers become binary.
    #[arg(long, default_value_t = 0.01)]
    gamma: f32,
    /// Shape that every layer begins with, between pi/4 (three equal wells) and pi/2 (two).
    #[arg(long, default_value_t = 1.2)]
    beta: f32,
    /// A layer is binary where its threshold is below this share of its scale.
    #[arg(long, default_value_t = 0.05)]
    epsilon: f32,
    /// Power of the regulariser.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    power: u8,
    /// Greatest random shift of a training image, in pixels.
    #[arg(long, default_value_t = 0)]
    shift: usize,
    /// Learn from the first images of the training set only.
    #[arg(long)]
    limit: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory for checkpoints and metrics.
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in --out; all other flags as they were.
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Activations {
    Float,
    Int8,
    Binary,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Train(args) => train_command(args),
        Command::Export { run, output } => export_command(&run, &output),
        Command::Eval { path, data, data_dir } => eval_command(&path, &data, data_dir.as_deref()),
    }
}

fn train_command(args: TrainArgs) -> Result<()> {
    let directory = data::directory(args.data_dir.as_deref())?;
    let mut split = data::load(&args.data, &directory)?;
    if let Some(limit) = args.limit {
        split.train = split.train.take(limit);
    }
    let (out, resume) = (args.out.clone(), args.resume);
    let run = Run {
        config: config(args),
        command: command_line(),
    };
    train::train(&run, &split, &out, resume, |report| {
        writeln!(io::stdout(), "{}", progress::describe(report)).context("cannot print the report")
    })?;
    Ok(())
}

fn config(args: TrainArgs) -> Config {
    Config {
        arch: args.arch,
        data: args.data,
        activations: match args.activations {
            Activations::Float => ActivationKind::Float,
            Activations::Int8 => ActivationKind::Int8,
            Activations::Binary => ActivationKind::Binary,
        },
        epochs: args.epochs,
        freeze_epochs: args.freeze_epochs,
        batch: args.batch,
        learning_rate: args.lr,
        sq: SqConfig {
            power: if args.power == 1 { Power::One } else { Power::Two },
            epsilon: args.epsilon,
            beta: args.beta,
            lambda: args.lambda,
            gamma: args.gamma,
        },
        shift: args.shift,
        limit: args.limit,
        seed: args.seed,
    }
}

/// The command as typed, without what names places on this machine.
fn command_line() -> String {
    let mut words = vec!["sq-train".to_string()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--data-dir" | "--out" => _ = arguments.next(),
            "--resume" => {}
            _ if word.starts_with("--data-dir=") || word.starts_with("--out=") => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}

fn export_command(run: &Path, output: &Path) -> Result<()> {
    let checkpoint = Checkpoint::load(run)?;
    let net = checkpoint.net()?;
    export::export(&net, &card(&checkpoint)?, output)
}

/// What the file says about itself.
fn card(checkpoint: &Checkpoint) -> Result<Card> {
    let config = &checkpoint.run.config;
    let last = checkpoint.history.last().context("the checkpoint has no history")?;
    let depths: Vec<String> = last.layers.iter().map(|l| format!("{}={}", l.name, l.depth)).collect();
    Ok(vec![
        (metadata::ARCH, config.arch.clone()),
        (metadata::DATA, config.data.clone()),
        (metadata::ACTIVATIONS, config.activations.to_string()),
        (metadata::DEPTHS, depths.join(",")),
        (metadata::TEST_ACCURACY, last.test_accuracy.to_string()),
        (metadata::EPOCHS, last.epoch.to_string()),
        (metadata::SEED, config.seed.to_string()),
        (metadata::COMMAND, checkpoint.run.command.clone()),
    ])
}

fn eval_command(path: &Path, data: &str, data_dir: Option<&Path>) -> Result<()> {
    let directory = data::directory(data_dir)?;
    let (accuracy, images) = if path.is_dir() {
        let checkpoint = Checkpoint::load(path)?;
        let test = data::load(&checkpoint.run.config.data, &directory)?.test;
        (train::accuracy(&checkpoint.net()?, &test)?, test.len())
    } else {
        let test = data::load(data, &directory)?.test;
        (reference::accuracy(path, &test)?, test.len())
    };
    println!("{:.2} % of {images} test images", 100.0 * accuracy);
    Ok(())
}
