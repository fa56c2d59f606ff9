//! `sqc compile`.

use super::{Bar, args, print, print_text};
use serde::Serialize;
use sqc::diag::{Code, Diag, Result};
use sqc::driver::{self, Form};
use sqc::emit::{self, RuntimeDep};
use sqc::inspect::{self, Inspection};
use sqc::package;
use sqc::progress::Progress;
use sqc::{data, table};
use std::fmt;
use std::path::{Path, PathBuf};

/// Compiles a model to a Rust crate or to C99 sources, with tests that hold it against the float model.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// What to compile for; `sqc targets` lists them.
    #[arg(long, value_name = "NAME")]
    target: String,
    #[command(flatten)]
    plan: args::Plan,
    /// Language of the generated code.
    #[arg(long, value_enum, value_name = "LANG", default_value = "rust")]
    lang: args::Lang,
    /// Directory to write; one named after the model if absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rust: a crate without any dependency.
    #[arg(long, conflicts_with = "runtime")]
    standalone: bool,
    /// Rust: the directory of the sq-runtime crate; its published version if absent.
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
    /// Samples for the generated tests: MNIST's idx files, or one of images. Synthetic ones if absent.
    #[arg(long, value_name = "SET")]
    data: Option<PathBuf>,
    /// Prints one form of the program and writes nothing.
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["out", "json"])]
    dump: Option<Dump>,
    /// Prints the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Dump {
    /// The graph, as imported and after every pass that changed it.
    Ir,
    /// The kernel of every layer, why it and no other, and where values lie.
    Plan,
    /// The kernels.
    Kir,
}

/// Samples to choose the generated tests' vectors from.
const SAMPLES: usize = 64;

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = driver::read(&args.model.path, args.model.expect())?;
    let inspection = inspect::inspect(&model);
    let mut dump = Dumper::new(args.dump);
    let compiled = driver::compile(
        model,
        &args.target,
        &args.plan.options(args.lang.into()),
        bar,
        &mut |form, step, text| {
            dump.show(form, step, text);
        },
    );
    // A dump shows how far it came, also where it came no farther.
    bar.suspend(|| print_text(&dump.text))?;
    let compiled = compiled?;
    if args.dump.is_some() {
        return Ok(());
    }

    bar.begin("test vectors", 1);
    let input = package::input_ty(&compiled.model.graph);
    let samples = match &args.data {
        Some(set) => data::load(set, &input, SAMPLES)?,
        None => data::synthetic(&input, SAMPLES),
    };
    let vectors = package::vectors(&args.model.path, &compiled, &samples)?;

    bar.begin("write", 1);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(&compiled.model.name));
    let files = package::package(&compiled, &args.runtime(&out)?, &args.flags(), vectors);
    emit::write(&files, &out)?;

    let summary = Summary {
        out: out.display().to_string(),
        lang: compiled.lang.to_string(),
        target: args.target.clone(),
        files: files.0.keys().cloned().collect(),
        // One arena for whatever is picked at run time, and the constants of all.
        arena_bytes: compiled.all().map(|c| c.program.arena()).max().unwrap_or(0),
        constant_bytes: compiled.all().map(|c| emit::constant_bytes(&c.program)).sum(),
        flash_estimate: compiled.all().map(|c| c.plan.flash()).sum(),
        inspection,
    };
    match bar.is_quiet() && !args.json {
        true => Ok(()),
        false => print(&summary, args.json, bar),
    }
}

impl Args {
    fn runtime(&self, out: &Path) -> Result<RuntimeDep> {
        Ok(match (&self.runtime, self.standalone) {
            (_, true) => RuntimeDep::Standalone,
            (None, false) => RuntimeDep::Version,
            (Some(path), false) => RuntimeDep::Path(dependency(path, out)?),
        })
    }

    /// The flags that bear on the code, in a fixed order, without those left at their defaults.
    fn flags(&self) -> String {
        let mut flags = self.plan.flags();
        if self.standalone && matches!(self.lang, args::Lang::Rust) {
            flags.push("--standalone".into());
        }
        flags.join(" ")
    }
}

/// The path of the runtime as the generated Cargo.toml names it: as it was given if absolute, else relative to `out`.
fn dependency(runtime: &Path, out: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Diag::new(Code::ReadFile, e.to_string()).file(runtime);
    if !runtime.join("Cargo.toml").is_file() {
        let diag = Diag::new(Code::ReadFile, "there is no Cargo.toml").file(runtime);
        return Err(diag
            .help("--runtime takes the directory of the sq-runtime crate")
            .into());
    }
    if runtime.is_absolute() {
        return Ok(runtime.display().to_string());
    }
    let (runtime, out) = (
        runtime.canonicalize().map_err(failed)?,
        std::path::absolute(out).map_err(failed)?,
    );
    let common = runtime
        .components()
        .zip(out.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = out.components().skip(common).map(|_| "..".to_owned());
    let down = runtime
        .components()
        .skip(common)
        .map(|c| c.as_os_str().to_string_lossy().into_owned());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// Collects one form of the program.
struct Dumper {
    form: Option<Form>,
    last: String,
    text: String,
}

impl Dumper {
    fn new(dump: Option<Dump>) -> Self {
        Dumper {
            form: dump.map(|d| match d {
                Dump::Ir => Form::Ir,
                Dump::Plan => Form::Plan,
                Dump::Kir => Form::Kir,
            }),
            last: String::new(),
            text: String::new(),
        }
    }

    fn show(&mut self, form: Form, step: &str, what: &dyn fmt::Display) {
        if self.form != Some(form) {
            return;
        }
        let text = what.to_string();
        if text != self.last {
            self.text += &format!("; {step}\n{text}\n");
            self.last = text;
        }
    }
}

/// What was written.
#[derive(Serialize)]
struct Summary {
    out: String,
    lang: String,
    target: String,
    files: Vec<String>,
    arena_bytes: u64,
    constant_bytes: u64,
    flash_estimate: u64,
    #[serde(flatten)]
    inspection: Inspection,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [arena, constants, flash] =
            [self.arena_bytes, self.constant_bytes, self.flash_estimate].map(table::grouped);
        writeln!(f, "{}", self.inspection)?;
        writeln!(f, "target  {}", self.target)?;
        writeln!(
            f,
            "memory  arena {arena} bytes; constants {constants} bytes, with code about {flash}"
        )?;
        writeln!(f, "wrote   {} ({}, {} files)", self.out, self.lang, self.files.len())
    }
}
