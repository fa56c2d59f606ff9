//! `sqc bake`.

use super::{Bar, args};
use sqc::diag::Result;
use sqc::progress::Progress;
use sqc::{bake, driver};
use std::path::PathBuf;

/// Writes the folded network in standard operators, which every ONNX runtime reads the same way.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = driver::read(&args.model.path, args.model.expect())?;
    bar.begin("write", 1);
    bake::bake(&model, &args.out)
}
