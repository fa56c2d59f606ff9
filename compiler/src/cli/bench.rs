//! `sqc bench`.

use super::{Bar, args, print, print_text};
use sqc::bench::{self, Measurements, Unfit};
use sqc::diag::{Code, Result};
use sqc::progress::Progress;
use sqc::target::Target;
use sqc::{driver, import};
use std::path::PathBuf;

/// Measures the generated code: flash, arena, stack, instructions (counted in emulators), time (on this machine).
#[derive(clap::Args)]
pub struct Args {
    /// ONNX files.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// What to measure on; may be given more than once. Every target if absent.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    #[command(flatten)]
    plan: args::Plan,
    /// Languages of the generated code.
    #[arg(long, value_enum, value_name = "LANG", default_value = "both")]
    lang: args::Langs,
    /// Prints a Markdown table.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Prints the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    let targets: Vec<&str> = match &args.target[..] {
        [] => Target::names().collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let mut all = Measurements::default();
    for path in &args.models {
        let model = import::read(path)?;
        for target in &targets {
            let compiled = driver::compile(model.clone(), target, &args.plan.options(), bar, &mut |_, _, _| ());
            let compiled = match compiled {
                Err(findings)
                    if findings
                        .iter()
                        .all(|d| matches!(d.code, Code::RamBudget | Code::FlashBudget)) =>
                {
                    all.unfit.extend(findings.iter().map(|d| Unfit {
                        model: model.name.clone(),
                        target: (*target).to_owned(),
                        why: d.found.clone(),
                    }));
                    continue;
                }
                other => other?,
            };
            for &lang in args.lang.list() {
                bar.begin(&format!("measure {} {target} {lang}", model.name), 1);
                all.rows.push(bench::measure(&compiled, lang)?);
            }
        }
    }
    match args.markdown {
        true => bar.suspend(|| print_text(&all.markdown())),
        false => print(&all, args.json, bar),
    }
}
