//! `sqc bench`.

use super::{Bar, args, print, print_text};
use sqc::bench::{self, Measurements, Scope, Unfit};
use sqc::diag::{Code, Result};
use sqc::import::Model;
use sqc::progress::Progress;
use sqc::synth::{self, Form, Spec};
use sqc::target::Target;
use sqc::{driver, import, plan};
use std::path::{Path, PathBuf};

/// Measures the generated code: flash, arena, stack, instructions (counted in emulators), time (on this machine).
#[derive(clap::Args)]
pub struct Args {
    /// ONNX files.
    #[arg(required_unless_present_any = ["network", "layer"], value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// A network of random weights in a line, as `sqc synth` takes it; may be given more than once.
    #[arg(long, value_name = "SPEC")]
    network: Vec<Spec>,
    /// Layers in such a line, measured alone: each reads and writes what it would in the midst of a network.
    #[arg(long, value_name = "SPEC")]
    layer: Vec<Spec>,
    /// Measures every layer of a network as well, as a program of its own.
    #[arg(long)]
    layers: bool,
    /// What to measure on; may be given more than once. Every target if absent.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    #[command(flatten)]
    plan: args::Plan,
    /// Languages of the generated code.
    #[arg(long, value_enum, value_name = "LANG", default_value = "both")]
    lang: args::Langs,
    /// Keeps the programs that were measured, with their sources, in this directory.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
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
    let mut wrong = vec![];
    for (model, scope) in args.models()? {
        for (target, &lang) in targets
            .iter()
            .flat_map(|t| args.lang.list().iter().map(move |l| (t, l)))
        {
            // A layer by itself has no map to keep rows of.
            let options = plan::Options {
                whole: scope == Scope::Layers,
                ..args.plan.options(lang)
            };
            let compiled = driver::compile(model.clone(), target, &options, bar, &mut |_, _, _| ());
            let compiled = match compiled {
                Err(findings)
                    if findings
                        .iter()
                        .all(|d| matches!(d.code, Code::RamBudget | Code::FlashBudget)) =>
                {
                    all.unfit.extend(findings.iter().map(|d| Unfit {
                        model: model.name.clone(),
                        target: (*target).to_owned(),
                        lang: lang.to_string(),
                        why: d.found.clone(),
                    }));
                    wrong.extend(findings);
                    continue;
                }
                other => other?,
            };
            bar.begin(&format!("measure {} {target} {lang}", model.name), 1);
            let rows = bench::measure(&compiled, scope, args.keep.as_deref())?;
            // Code is estimated where kernels are chosen.
            let flash = options.flash.or(compiled.target.memory.flash).unwrap_or(u64::MAX);
            let over = rows.iter().filter(|r| r.layer.is_none() && r.flash() > flash);
            all.unfit.extend(over.map(|r| Unfit {
                model: model.name.clone(),
                target: (*target).to_owned(),
                lang: lang.to_string(),
                why: format!("{} bytes of flash measured, {flash} available", r.flash()),
            }));
            all.rows.extend(rows);
        }
    }
    if all.rows.is_empty() && !wrong.is_empty() {
        return Err(wrong);
    }
    match args.markdown {
        true => bar.suspend(|| print_text(&all.markdown())),
        false => print(&all, args.json, bar),
    }
}

impl Args {
    fn models(&self) -> Result<Vec<(Model, Scope)>> {
        let scope = if self.layers {
            Scope::NetworkAndLayers
        } else {
            Scope::Network
        };
        let files = self.models.iter().map(|path| Ok((import::read(path)?, scope)));
        let networks = self
            .network
            .iter()
            .map(|spec| Ok((synthetic(spec, Form::Network)?, scope)));
        let layers = self
            .layer
            .iter()
            .map(|spec| Ok((synthetic(spec, Form::Layers)?, Scope::Layers)));
        files.chain(networks).chain(layers).collect()
    }
}

/// The model of a line, whose name the line is.
fn synthetic(spec: &Spec, form: Form) -> Result<Model> {
    import::from_bytes(&synth::onnx(spec, form), Path::new(&format!("{spec}.onnx")))
}
