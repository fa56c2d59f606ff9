//! Commands and flags: with `main`, the only room that knows `clap` and `indicatif`. What the commands do is the library's.

mod args;
mod bake;
mod bench;
mod calibrate;
mod compile;
mod explain;
mod inspect;
mod progress;
mod synth;
mod targets;
mod verify;

use clap::{Parser, Subcommand, ValueEnum};
use progress::Bar;
use serde::Serialize;
use sqc::diag::{Code, Diag, Result};
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Compiles binary and ternary neural networks from ONNX to Rust and C.
#[derive(Parser)]
#[command(name = "sqc", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to colour the output.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Says how long every step took.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Prints errors and what was asked for, nothing else.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Compile(compile::Args),
    Inspect(inspect::Args),
    Explain(explain::Args),
    Verify(verify::Args),
    Bake(bake::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    Calibrate(calibrate::Args),
    Synth(synth::Args),
    Targets(targets::Args),
}

#[derive(Clone, Copy, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(&self) -> Result<()> {
        let choice = match self.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        let bar = Bar::new(self.quiet, self.verbose);
        match &self.command {
            Command::Compile(args) => compile::run(args, &bar),
            Command::Inspect(args) => inspect::run(args, &bar),
            Command::Explain(args) => explain::run(args, &bar),
            Command::Verify(args) => verify::run(args, &bar),
            Command::Bake(args) => bake::run(args, &bar),
            Command::Bench(args) => bench::run(args, &bar),
            Command::Calibrate(args) => calibrate::run(args, &bar),
            Command::Synth(args) => synth::run(args, &bar),
            Command::Targets(args) => targets::run(args, &bar),
        }
    }

    /// Whether a program reads the output, and nothing has been put out yet.
    pub fn wants_json(&self) -> bool {
        let json = match &self.command {
            Command::Compile(args) => args.json,
            Command::Inspect(args) => args.json,
            Command::Explain(args) => args.json,
            Command::Verify(args) => args.json,
            Command::Bake(_) | Command::Synth(_) => false,
            Command::Bench(args) => args.json,
            Command::Calibrate(_) => false,
            Command::Targets(args) => args.json,
        };
        json && !PRINTED.load(Ordering::Relaxed)
    }
}

/// Whether a command's output is out. There is one JSON document, also where the command fails after it.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Prints what a command found, for people or for programs.
fn print<T: Serialize + Display>(what: &T, json: bool, bar: &Bar) -> Result<()> {
    let text = match json {
        false => what.to_string(),
        true => match serde_json::to_string_pretty(what) {
            Ok(text) => text + "\n",
            Err(e) => return Err(Diag::new(Code::Internal, e.to_string()).into()),
        },
    };
    bar.suspend(|| print_text(&text))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn print_text(text: &str) -> Result<()> {
    PRINTED.fetch_or(!text.is_empty(), Ordering::Relaxed);
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Diag::new(Code::WriteOutput, e.to_string()).into()),
        _ => Ok(()),
    }
}
