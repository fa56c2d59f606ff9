//! `sqc calibrate`.

use super::{Bar, print_text};
use sqc::calibrate::calibrate;
use sqc::diag::{Code, Diag, Result};
use sqc::target::Class;
use std::path::{Path, PathBuf};

/// Measures every kernel on a set of layers and fits the target's prices to them.
#[derive(clap::Args)]
pub struct Args {
    /// An emulated target; `sqc targets` lists them.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// Measures layers of this class alone, as `binary-windows-of-signs`, and fits its families' factors to the prices that there are; can be
    /// given several times.
    #[arg(long = "class", value_name = "CLASS", value_parser = class)]
    classes: Vec<Class>,
    /// The target's file, whose `[cost]` table is replaced; without it the table is printed.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    // Before measuring, which takes minutes.
    let file = args.write.as_deref().map(read).transpose()?;
    let found = calibrate(&args.target, &args.classes, bar)?;
    bar.suspend(|| print_text(&found.report()))?;
    match file {
        None => bar.suspend(|| print_text(&format!("\n{}", found.table()))),
        Some((path, text)) => std::fs::write(path, found.replace(&text)).map_err(|e| failed(path, e).into()),
    }
}

fn class(text: &str) -> std::result::Result<Class, String> {
    text.to_owned().try_into()
}

/// A target's file and its text.
fn read(path: &Path) -> Result<(&Path, String)> {
    let text = std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
    Ok((path, text))
}

fn failed(path: &Path, e: std::io::Error) -> Diag {
    Diag::new(Code::WriteOutput, e.to_string()).file(path)
}
