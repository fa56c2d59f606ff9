//! The command line: the only place that knows clap's commands.

mod args;
mod commands;
mod grid;
mod pictures;

use anyhow::Result;
use args::TrainArgs;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use sq_train::nn::Method;
use sq_train::results::Format;
use std::path::PathBuf;

/// Trains networks whose layers choose binary or ternary weights by themselves.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a network; Ctrl-C saves the state, --resume goes on.
    Train {
        #[command(flatten)]
        args: Box<TrainArgs>,
        /// Directory for checkpoints and metrics.
        #[arg(long)]
        out: PathBuf,
        /// Goes on with the run in --out; all other flags as they were.
        #[arg(long)]
        resume: bool,
    },
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
        #[command(flatten)]
        data: DataArgs,
    },
    /// Trains a grid of runs, each in a folder of its own; finished ones are skipped, begun ones go on. Prints the table at the end.
    Sweep {
        #[command(flatten)]
        grid: Box<GridArgs>,
        /// The i-th of n machines that share --out: takes every n-th run, as 1/4.
        #[arg(long, value_parser = args::shard, default_value = "1/1")]
        shard: Shard,
        /// Folder of the runs' folders.
        #[arg(long)]
        out: PathBuf,
    },
    /// Gathers finished runs, seeds together, with the published neighbours beside them.
    Table {
        /// Folders of runs, searched with all folders below them.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// How to write the table.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// A line to stand under the table.
        #[arg(long)]
        note: Option<String>,
        /// First trains what --methods, --gammas, --lambdas and --seeds name and the first folder lacks.
        #[arg(long)]
        train: bool,
        #[command(flatten)]
        grid: Box<GridArgs>,
    },
    /// Draws pictures as SVG and PNG: of one run its course, its shapes and its weights; of several, accuracy against memory.
    Plot {
        /// Folders of runs, searched with all folders below them.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Folder for the pictures.
        #[arg(short, long)]
        output: PathBuf,
        /// Of several runs draws each one's pictures too, in a folder of its name.
        #[arg(long)]
        each: bool,
    },
    /// Times training steps on random images and prints one line of JSON.
    Bench {
        #[command(flatten)]
        args: Box<TrainArgs>,
        /// Steps to time, after three that are not.
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// Channels, rows and columns of the images, as 1x28x28.
        #[arg(long, value_parser = args::image, default_value = "1x28x28")]
        image: [usize; 3],
    },
}

/// Runs to train: every combination. A baseline, which has neither gamma nor lambda, is trained once a seed.
#[derive(Args, Clone)]
struct GridArgs {
    /// Methods; without them that of --method.
    #[arg(long, value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Values of gamma; without them that of --gamma.
    #[arg(long, value_delimiter = ',')]
    gammas: Vec<f32>,
    /// Values of lambda; without them that of --lambda.
    #[arg(long, value_delimiter = ',')]
    lambdas: Vec<f32>,
    /// Seeds; without them that of --seed.
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
    #[command(flatten)]
    args: TrainArgs,
}

/// A machine's share of a grid.
#[derive(Clone, Copy)]
struct Shard {
    /// Which machine, from 0.
    index: usize,
    /// How many there are.
    of: usize,
}

#[derive(Args, Clone)]
struct DataArgs {
    /// Data set: mnist, fashion-mnist, cifar10, a folder with train/CLASS/*.png and test/CLASS/*.png, or a .npz file.
    #[arg(long, default_value = "mnist")]
    data: String,
    /// Directory of the named data sets; without it the environment variable SQ_DATA_DIR.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Rows and columns to scale the images of a folder to, as 32x32.
    #[arg(long, value_parser = args::size)]
    size: Option<[usize; 2]>,
    /// Channels to convert the images of a folder to: 1 or 3 (the default).
    #[arg(long)]
    channels: Option<usize>,
}

impl Cli {
    /// The command line of this process; ends it where the command line is wrong or asks for help.
    pub fn read() -> Cli {
        Cli::from_arg_matches(&commands_with_rules().get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// All commands; a training flag of a table that trains nothing would have no effect, and is refused.
fn commands_with_rules() -> clap::Command {
    const OWN: [&str; 4] = ["folders", "format", "note", "train"];
    Cli::command().mut_subcommand("table", |table| {
        table.mut_args(|arg| match OWN.contains(&arg.get_id().as_str()) {
            true => arg,
            false => arg.requires("train"),
        })
    })
}

/// Runs the command.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Train { args, out, resume } => commands::train(*args, &out, resume),
        Command::Export { run, output } => commands::export(&run, &output),
        Command::Eval { path, data } => commands::eval(&path, &data),
        Command::Sweep { grid, shard, out } => grid::sweep(&grid, shard, &out),
        Command::Table {
            folders,
            format,
            note,
            train,
            grid,
        } => {
            if train {
                grid::train_and_table(&grid, &folders, format, note.as_deref())
            } else {
                grid::table(&folders, format, note.as_deref())
            }
        }
        Command::Plot { folders, output, each } => pictures::plot(&folders, &output, each),
        Command::Bench { args, count, image } => commands::bench(&args, count, image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_training_flags_only_where_it_trains() {
        let parse = |line: &str| commands_with_rules().try_get_matches_from(line.split_whitespace());
        assert!(parse("sq-train table runs --format md --note x").is_ok());
        assert!(parse("sq-train table runs --train --lr 0.1 --methods sq").is_ok());
        for flag in ["--lr 0.1", "--methods sq", "--data mnist", "--flip"] {
            let error = parse(&format!("sq-train table runs {flag}")).err().unwrap().to_string();
            assert!(error.contains("--train"), "{flag}: {error}");
        }
    }
}
