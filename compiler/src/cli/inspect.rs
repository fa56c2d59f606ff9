//! `sqc inspect`.

use super::{Bar, args, print};
use serde::Serialize;
use sqc::diag::{Result, render};
use sqc::import;
use sqc::inspect::{Inspection, check, inspect};
use sqc::progress::Progress;
use std::fmt;

/// Shows every layer: what its weights are, what they cost, packed and as float.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// Prints the table as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The table is printed also where the model is not as expected.
pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = import::read(&args.model.path)?;
    let inspection = inspect(&model);
    let checked = match args.model.expect() {
        Some(expect) => check(&inspection, expect, &args.model.path),
        None => Ok(()),
    };
    let errors = checked.as_ref().err().map(|findings| render::json(findings));
    print(&Inspected { inspection, errors }, args.json, bar)?;
    checked
}

#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    inspection: Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<serde_json::Value>,
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inspection.fmt(f)
    }
}
