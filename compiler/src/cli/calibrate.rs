//! `sqc calibrate`.

use super::{Bar, print_text};
use sqc::calibrate::calibrate;
use sqc::diag::{Code, Diag, Result};
use std::path::PathBuf;

/// Measures every kernel on a set of layers and fits the target's prices to them.
#[derive(clap::Args)]
pub struct Args {
    /// An emulated target; `sqc targets` lists them.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// The target's file, whose `[cost]` table is replaced; without it the table is printed.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    let found = calibrate(&args.target, bar)?;
    bar.suspend(|| print_text(&found.report()))?;
    let table = found.table();
    let Some(path) = &args.write else {
        return bar.suspend(|| print_text(&format!("\n{table}")));
    };
    let failed = |e: std::io::Error| Diag::new(Code::WriteOutput, e.to_string()).file(path);
    let text = std::fs::read_to_string(path).map_err(failed)?;
    std::fs::write(path, found.replace(&text)).map_err(failed)?;
    Ok(())
}
