//! `sqc verify`.

use super::{Bar, args, print};
use serde::Serialize;
use sqc::diag::{Result, render};
use sqc::inspect::{self, Inspection};
use sqc::progress::Progress;
use sqc::target::Run;
use sqc::verify::{self, Report};
use sqc::{data, driver, package};
use std::fmt;
use std::path::PathBuf;

/// Runs the generated code, here or in an emulator, and holds it against the interpreter and the float model.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// What to run on; `sqc targets` lists them.
    #[arg(long, value_name = "NAME", default_value = "native")]
    target: String,
    #[command(flatten)]
    plan: args::Plan,
    /// Languages of the generated code.
    #[arg(long, value_enum, value_name = "LANG", default_value = "both")]
    lang: args::Langs,
    /// Data set: MNIST's idx files, or one of images. `$SQ_DATA_DIR/mnist` if absent, or synthetic samples.
    #[arg(long, value_name = "SET")]
    data: Option<PathBuf>,
    /// At most so many samples; if absent, all of them on this machine, and 100 in an emulator.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Prints the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Synthetic samples where there is no data set.
const SYNTHETIC: usize = 1000;

/// Samples in an emulator, which is a hundred times slower than this machine.
const EMULATED: usize = 100;

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = driver::read(&args.model.path, args.model.expect())?;
    let inspection = inspect::inspect(&model);
    let compile = |&lang| {
        let options = args.plan.options(lang);
        driver::compile(model.clone(), &args.target, &options, bar, &mut |_, _, _| ())
    };
    let programs: Vec<_> = args.lang.list().iter().map(compile).collect::<Result<_>>()?;

    let emulated = programs[0].target.run != Run::Host;
    let limit = args
        .limit
        .map_or(if emulated { EMULATED } else { usize::MAX }, |n| n as usize);
    let input = package::input_ty(&model.graph);
    let samples = match (&args.data, data::default_dir()) {
        (Some(set), _) => data::load(set, &input, limit)?,
        // The default set is used where it fits the model.
        (None, Some(dir)) => {
            data::load(&dir, &input, limit).unwrap_or_else(|_| data::synthetic(&input, SYNTHETIC.min(limit)))
        }
        (None, None) => data::synthetic(&input, SYNTHETIC.min(limit)),
    };
    let (report, findings) = verify::verify(&args.model.path, &programs, &samples, bar)?;
    let verification = Verification {
        passed: findings.is_empty(),
        errors: render::json(&findings),
        inspection,
        report,
    };
    if args.json || !bar.is_quiet() {
        print(&verification, args.json, bar)?;
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// What was verified, and how it went.
#[derive(Serialize)]
struct Verification {
    passed: bool,
    errors: serde_json::Value,
    #[serde(flatten)]
    inspection: Inspection,
    #[serde(flatten)]
    report: Report,
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.inspection, self.report)?;
        writeln!(f, "{}", if self.passed { "verified" } else { "NOT verified" })
    }
}
