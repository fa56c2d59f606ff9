//! `sqc inspect`.

use super::{Bar, args, print};
use sqc::diag::Result;
use sqc::import;
use sqc::inspect::{check, inspect};
use sqc::progress::Progress;

/// Shows every layer: what its weights are, what they cost, packed and as float.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// Prints the table as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The table is printed even where the model then turns out not to compile, or not to be as expected.
pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = import::read(&args.model.path)?;
    let inspection = inspect(&model);
    print(&inspection, args.json, bar)?;
    if let Some(expect) = args.model.expect() {
        check(&inspection, expect, &args.model.path)?;
    }
    Ok(())
}
