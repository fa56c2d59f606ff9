//! Arguments that several commands share.

use clap::{Args, ValueEnum};
use sqc::inspect::Expect;
use std::path::PathBuf;

/// The model, and what is known about it.
#[derive(Args)]
pub struct Model {
    /// ONNX file.
    #[arg(value_name = "MODEL")]
    pub path: PathBuf,
    /// Makes it an error if the weights of a layer are anything else.
    #[arg(long, value_name = "DEPTH")]
    expect: Option<Depth>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Depth {
    /// {-a, 0, +a} in every layer.
    Ternary,
    /// {-a, +a} in every layer.
    Binary,
    /// One of the two in every layer.
    Packed,
}

impl Model {
    /// What is expected of every layer.
    pub fn expect(&self) -> Option<Expect> {
        self.expect.map(|depth| match depth {
            Depth::Ternary => Expect::Ternary,
            Depth::Binary => Expect::Binary,
            Depth::Packed => Expect::Packed,
        })
    }
}
