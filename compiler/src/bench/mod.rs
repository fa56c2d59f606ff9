//! `sqc bench`: what an inference takes, measured on generated code.

pub mod layer;
mod time;

use crate::data;
use crate::diag::{Code, Diag, Result};
use crate::driver::Compiled;
use crate::emit;
use crate::inspect;
use crate::ir::Elem;
use crate::kir::{Port, Program, eval};
use crate::package;
use crate::plan;
use crate::run::Figures;
use crate::synth::{HEAD, TAIL};
use crate::table::{Align, Table, grouped};
use crate::target::Run;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
pub use time::Time;

/// One row per model or layer, target and language.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measurements {
    /// What was measured.
    pub rows: Vec<Row>,
    /// What could not be.
    pub unfit: Vec<Unfit>,
}

/// A model that exceeds a target's memory.
#[derive(Clone, Debug, Serialize)]
pub struct Unfit {
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// Language of the generated code.
    pub lang: String,
    /// What it would need.
    pub why: String,
}

/// The figures of one model, or of one of its layers, on one target in one language.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Name of the layer, or names of layers that are computed together, row by row; absent for the whole network.
    pub layer: Option<String>,
    /// The layer's kernel; absent likewise.
    pub kernel: Option<String>,
    /// Name of the target.
    pub target: String,
    /// Language of the generated code.
    pub lang: String,
    /// Dense multiply-adds: what a float engine would compute, zeros included.
    pub macs: u64,
    /// Bytes of weights as they are stored.
    pub weights: u64,
    /// Bytes of the arena; of a layer, those of its operand, its result and its scratch.
    pub arena: u64,
    /// Code, constants, stack and instructions.
    #[serde(flatten)]
    pub figures: Figures,
    /// Multiply-adds per executed instruction; absent where nothing counts instructions.
    pub macs_per_instruction: Option<f64>,
    /// Microseconds on this machine; absent for emulated targets, whose time means nothing.
    pub microseconds: Option<Time>,
    /// Billions of multiply-adds in a second of the median time.
    pub gmacs: Option<f64>,
    /// The same of the kernel's innermost loops alone, measured right after: what its mix of instructions does at most. Of layers whose kernel
    /// sums tiles.
    pub ceiling: Option<f64>,
    /// The program that was measured, where it is kept.
    pub program: Option<PathBuf>,
}

/// What is measured of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole network.
    Network,
    /// The whole network, then each of its layers as a program of its own.
    NetworkAndLayers,
    /// The layers alone, without those that [`crate::synth::Form::Layers`] adds.
    Layers,
}

/// Builds and measures a model. Programs are kept under `keep`, if that is given.
///
/// # Errors
/// A missing tool, or a build or a run that fails.
pub fn measure(c: &Compiled, scope: Scope, keep: Option<&Path>) -> Result<Vec<Row>> {
    let mut rows = vec![];
    if scope != Scope::Layers {
        let sample = data::synthetic(&package::input_ty(&c.graph), 1);
        rows.push(one(c, None, &c.program, sample.get(0), keep)?);
    }
    if scope != Scope::Network {
        let added = |name: &str| [HEAD, TAIL].contains(&name) || name.starts_with(&format!("{HEAD}."));
        for (i, step) in c.plan.steps.iter().enumerate() {
            if scope == Scope::Layers && added(&step.last().name) {
                continue;
            }
            if let Some((program, operand)) = layer::alone(c, i) {
                rows.push(one(c, Some(i), &program, &operand, keep)?);
            }
        }
    }
    Ok(rows)
}

/// RAM that step `i` of the plan of `c` wants as a program of its own, the stack's reserve included.
///
/// # Panics
/// If the step has two operands.
pub fn ram_of_layer(c: &Compiled, i: usize) -> u64 {
    let (program, operand) = layer::alone(c, i).expect("layers of a choice of kernels read one operand");
    let stack = plan::STACK_RESERVE + c.plan.steps[i].cost().stack;
    program.arena() + operand.len() as u64 + bytes(&program.output) + stack
}

fn bytes(p: &Port) -> u64 {
    p.shape.iter().product::<usize>() as u64 * u64::from(p.ty.bytes())
}

/// The figures of step `i` of the plan of `c`, as a program of its own.
///
/// # Errors
/// As for [`measure`].
///
/// # Panics
/// If the step has two operands.
pub fn measure_layer(c: &Compiled, i: usize) -> Result<Row> {
    let (program, operand) = layer::alone(c, i).expect("layers of a choice of kernels read one operand");
    one(c, Some(i), &program, &operand, None)
}

/// Multiply-adds up to which what is measured is compared with the interpreter's result, which takes a second for these.
const INTERPRETED: u64 = 10_000_000;

/// The figures of `program`, which is that of `c`, or of its step of this number.
fn one(c: &Compiled, step: Option<usize>, program: &Program, sample: &[u8], keep: Option<&Path>) -> Result<Row> {
    let step = step.map(|i| &c.plan.steps[i]);
    let work = package::scratch()?;
    let directory = match keep {
        None => work.path().to_owned(),
        Some(keep) => {
            let lang = c.lang.to_string();
            let layer = step.map_or("network".to_owned(), plan::Step::name);
            let parts = [c.model.name.as_str(), &layer, &c.target_name, &lang];
            keep.join(parts.map(emit::names::snake).join("-"))
        }
    };
    let failed = |e: std::io::Error| Diag::new(Code::WriteOutput, e.to_string()).file(&directory);
    std::fs::create_dir_all(&directory).map_err(failed)?;
    // A program is started in its own directory, where a relative path leads elsewhere.
    let directory = directory.canonicalize().map_err(failed)?;
    let built = match step {
        None => package::build(c, &directory)?,
        Some(_) => package::build_part(c, program, &directory)?,
    };
    let (figures, result) = built.measure(sample)?;
    let microseconds = match c.target.run {
        Run::Host => Some(time::time(&built, sample)?),
        Run::QemuUser { .. } | Run::QemuSystem { .. } | Run::Wasi { .. } => None,
    };
    let ceiling = match (step, microseconds) {
        (Some(step), Some(_)) => ceiling(c, step, &directory)?,
        _ => None,
    };
    let layers = inspect::inspect(&c.model).layers;
    let of_step = |l: &&inspect::Layer| step.is_none_or(|s| s.layers.iter().any(|of| of.name == l.name));
    let macs = layers.iter().filter(of_step).map(|l| l.size.macs).sum();
    if macs <= INTERPRETED && result != eval::eval(program, sample) {
        let found = format!("{}: its result is not the interpreter's", built.program().display());
        return Err(Diag::new(Code::RunFailed, found).into());
    }
    let weights = |p: &Program| p.kernels.iter().map(package::weight_bytes).sum::<u64>();
    Ok(Row {
        model: c.model.name.clone(),
        layer: step.map(plan::Step::name),
        kernel: step.map(plan::Step::family),
        target: c.target_name.clone(),
        lang: c.lang.to_string(),
        macs,
        weights: match step {
            None => c.all().map(|c| weights(&c.program)).sum(),
            Some(_) => weights(program),
        },
        arena: match step {
            // The caller's holds what any variant wants.
            None => c.all().map(|c| c.program.arena()).max().unwrap_or(0),
            Some(_) => program.arena() + bytes(&program.input) + bytes(&program.output),
        },
        figures,
        macs_per_instruction: figures.instructions.map(|n| macs as f64 / n as f64),
        gmacs: microseconds.map(|t| macs as f64 / t.median / 1000.0),
        ceiling,
        microseconds,
        program: keep.map(|_| built.program().to_owned()),
    })
}

/// Billions of multiply-adds a second of the innermost loops of a step's kernel.
fn ceiling(c: &Compiled, step: &plan::Step, directory: &Path) -> Result<Option<f64>> {
    let [layer] = &step.layers[..] else { return Ok(None) };
    let Some((program, macs)) = plan::ceiling(&c.graph, layer.node, layer.family, &c.target) else {
        return Ok(None);
    };
    let directory = directory.join("ceiling");
    std::fs::create_dir_all(&directory).map_err(|e| Diag::new(Code::WriteOutput, e.to_string()).file(&directory))?;
    let built = package::build_part(c, &program, &directory)?;
    let bytes = bytes(&program.input) as usize;
    // Words take any bytes.
    let range = program.kernels[0].params().next().map(|x| x.range);
    let range = range.filter(|_| program.input.ty.bytes() == 1);
    let operand = layer::random(Elem::U8, bytes, range).to_bytes();
    let time = time::time(&built, &operand)?;
    Ok(Some(macs as f64 / time.median / 1000.0))
}

const COLUMNS: [(&str, Align); 16] = [
    ("model", Align::Left),
    ("layer", Align::Left),
    ("kernel", Align::Left),
    ("target", Align::Left),
    ("language", Align::Left),
    ("code", Align::Right),
    ("constants", Align::Right),
    ("of which weights", Align::Right),
    ("arena", Align::Right),
    ("stack", Align::Right),
    ("instructions", Align::Right),
    ("MAC/instruction", Align::Right),
    ("µs here", Align::Right),
    ("±", Align::Right),
    ("GMAC/s", Align::Right),
    ("of ceiling", Align::Right),
];

impl Row {
    /// Bytes of code and constants.
    pub fn flash(&self) -> u64 {
        self.figures.code + self.figures.constants
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let f = &self.figures;
        let absent = || "-".to_owned();
        let time = self.microseconds;
        [
            self.model.clone(),
            self.layer.clone().unwrap_or_else(absent),
            self.kernel.clone().unwrap_or_else(absent),
            self.target.clone(),
            self.lang.clone(),
            grouped(f.code),
            grouped(f.constants),
            grouped(self.weights),
            grouped(self.arena),
            grouped(f.stack),
            f.instructions.map_or_else(absent, grouped),
            self.macs_per_instruction.map_or_else(absent, |m| format!("{m:.3}")),
            time.map_or_else(absent, |t| format!("{:.1}", t.median)),
            time.map_or_else(absent, |t| format!("{:.1} %", 100.0 * t.spread())),
            self.gmacs.map_or_else(absent, |g| format!("{g:.1}")),
            self.ceiling
                .zip(self.gmacs)
                .map_or_else(absent, |(most, g)| format!("{:.0} % of {most:.1}", 100.0 * g / most)),
        ]
    }
}

impl Measurements {
    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        self.with_unfit(self.table().markdown())
    }

    /// The columns in which a row has something.
    fn table(&self) -> Table {
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let used: Vec<usize> = (0..COLUMNS.len())
            .filter(|&i| rows.iter().any(|r| r[i] != "-"))
            .collect();
        let mut t = Table::new(&used.iter().map(|&i| COLUMNS[i]).collect::<Vec<_>>());
        rows.iter().for_each(|r| t.row(used.iter().map(|&i| r[i].clone())));
        t
    }

    fn with_unfit(&self, table: String) -> String {
        match self.unfit.is_empty() {
            true => table,
            false => self.unfit.iter().fold(table + "\n", |text, u| text + &format!("{u}\n")),
        }
    }
}

impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_unfit(self.table().to_string()))
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} does not fit {} in {}: {}.",
            self.model, self.target, self.lang, self.why
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            model: "lenet5".into(),
            layer: None,
            kernel: None,
            target: "cortex-m0".into(),
            lang: "C".into(),
            macs: 4_266_000,
            weights: 73_416,
            arena: 5632,
            figures: Figures {
                instructions: Some(12_345_678),
                stack: 96,
                code: 4000,
                constants: 76_000,
            },
            macs_per_instruction: Some(0.3455),
            microseconds: None,
            gmacs: None,
            ceiling: None,
            program: None,
        }
    }

    #[test]
    fn a_row_reads_the_same_in_both_tables_without_empty_columns() {
        let mut all = Measurements::default();
        all.rows.push(row());
        assert_eq!(
            all.markdown(),
            "| model | target | language | code | constants | of which weights | arena | stack | instructions | MAC/instruction |\n\
             | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
             | lenet5 | cortex-m0 | C | 4,000 | 76,000 | 73,416 | 5,632 | 96 | 12,345,678 | 0.345 |\n"
        );
        assert!(all.to_string().contains("12,345,678"));
    }

    #[test]
    fn a_layer_and_a_time_have_columns_of_their_own() {
        let mut all = Measurements::default();
        all.rows.push(Row {
            layer: Some("conv1".into()),
            kernel: Some("xnor".into()),
            microseconds: Some(Time {
                median: 12.34,
                low: 12.0,
                high: 13.0,
                rounds: 25,
            }),
            gmacs: Some(345.69),
            ceiling: Some(400.0),
            ..row()
        });
        let text = all.to_string();
        for word in ["conv1", "xnor", "12.3", "4.1 %", "345.7", "86 % of 400.0"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
