//! `sqc synth`.

use super::Bar;
use sqc::diag::{Code, Diag, Result};
use sqc::progress::Progress;
use sqc::synth::{self, Form, Spec};
use std::path::PathBuf;

/// Writes a network of random weights from a line such as `3x32x32 128C3-MP2-10FC w=ternary x=int8`, to measure or to try out.
///
/// The sample (CxHxW, or N) comes first, then the layers: `nCk` is a convolution to n channels with a k x k kernel and padding k/2
/// (`s2`: stride 2; `p0`: no padding), `DWk` a depthwise one, `nFC` a dense layer, `MPk` max-pooling; then w=binary|ternary,
/// x=binary|ternary|int8|uint8|float, zeros=PERCENT, seed=N.
#[derive(clap::Args)]
pub struct Args {
    /// The network in a line.
    #[arg(value_name = "SPEC")]
    spec: Spec,
    /// Puts the layers between a quantizer of the image and a layer with one output: then they read and write what they
    /// would in the midst of a network.
    #[arg(long)]
    layers: bool,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("write", 1);
    let form = if args.layers { Form::Layers } else { Form::Network };
    let bytes = synth::onnx(&args.spec, form);
    Ok(std::fs::write(&args.out, bytes).map_err(|e| Diag::new(Code::WriteOutput, e.to_string()).file(&args.out))?)
}
