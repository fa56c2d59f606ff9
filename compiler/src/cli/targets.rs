//! `sqc targets`.

use super::{Bar, print};
use sqc::diag::Result;
use sqc::targets;

/// Lists what can be compiled for, and how it is run here.
#[derive(clap::Args)]
pub struct Args {
    /// Prints the list as JSON.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    print(&targets::list()?, args.json, bar)
}
